//! The chain: blocks that concern us, broadcasts, feerates.

use std::net::SocketAddr;

use bitcoin::block::Header;
use bitcoin::{BlockHash, OutPoint, ScriptBuf, Txid};
use headers::BranchHash;
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, FeeratePerKw};

/// lightningd to chaind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToChaind {
    /// First message.
    Start(Box<Start>),
    /// Answers the `Locate` of this number.
    Located {
        request: u64,
        location: Location,
    },
    /// Effect: transactions that spend these outpoints or pay these scripts are reported, from the next
    /// block on and, by `Rescanned`, in the last six. The first one without `more` (it may be empty) starts
    /// the reports of blocks: by then all should be said that is known at the start.
    Watch {
        outpoints: Vec<OutPoint>,
        scripts: Vec<ScriptBuf>,
        /// Not all yet; the rest follows.
        more: bool,
    },
    /// Effect: these are watched as with Watch, and the blocks from `since` on that were reported are read
    /// again for them as soon as all blocks that the backend has are: what is found comes as `Rescanned`,
    /// and then one `Searched` names `request`. A chain that is not followed yet stays so. Blocks that the backend
    /// has pruned make it unusable, unless it is to be done as far as it can (`partly`).
    Search {
        request: u64,
        outpoints: Vec<OutPoint>,
        scripts: Vec<ScriptBuf>,
        since: BlockHeight,
        partly: bool,
    },
    Unwatch {
        outpoints: Vec<OutPoint>,
    },
    /// Effect: none; `Headers` names `request` once the backend answers. A later one replaces it.
    Headers {
        request: u64,
        from: BlockHeight,
    },
    /// Effect: hands a transaction to the backend, as a package with `parent` where there is one and the
    /// backend takes packages, else one after the other; `Broadcast` names `request`. Safe to repeat.
    Broadcast {
        request: u64,
        #[serde(with = "serde_bytes")]
        tx: Vec<u8>,
        /// An unconfirmed transaction that `tx` spends from and pays for.
        #[serde(with = "serde_bytes")]
        parent: Option<Vec<u8>>,
        /// Skip the backend's fee limit (`allowhighfees`).
        allow_high_fees: bool,
    },
    Stop,
}

impl ToChaind {
    /// Outpoints, and scripts, in one message.
    const SOME: usize = 20_000;

    /// As many `Watch` as it takes, at least one; the last is without `more`.
    #[must_use]
    pub fn watch(outpoints: &[OutPoint], scripts: &[ScriptBuf]) -> Vec<ToChaind> {
        let all = in_turn(outpoints, scripts, ToChaind::SOME);
        let last = all.len().saturating_sub(1);
        let watches = all.into_iter().enumerate();
        let watch = |(n, (outpoints, scripts))| ToChaind::Watch {
            outpoints,
            scripts,
            more: n < last,
        };
        watches.map(watch).collect()
    }

    /// What one Search after the other may ask for, at least one.
    #[must_use]
    pub fn searchable(
        outpoints: &[OutPoint],
        scripts: &[ScriptBuf],
    ) -> Vec<(Vec<OutPoint>, Vec<ScriptBuf>)> {
        in_turn(outpoints, scripts, ToChaind::SOME)
    }
}

/// At most `some` of each at a time.
fn in_turn<A: Clone, B: Clone>(a: &[A], b: &[B], some: usize) -> Vec<(Vec<A>, Vec<B>)> {
    let times = a.len().max(b.len()).div_ceil(some).max(1);
    let (mut a, mut b) = (a.chunks(some), b.chunks(some));
    let next = |_| {
        let a = a.next().unwrap_or_default().to_vec();
        let b = b.next().unwrap_or_default().to_vec();
        (a, b)
    };
    (0..times).map(next).collect()
}

/// Where the backend is and where to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub host: String,
    pub port: u16,
    pub login: Login,
    /// `main`, `test`, `signet` or `regtest`: what getblockchaininfo must answer.
    pub chain: String,
    /// Newest blocks that lightningd has processed, newest first, for finding the fork after a reorg.
    /// Empty: begin where `begin` says.
    pub known: Vec<(BlockHeight, BlockHash)>,
    pub begin: Begin,
    /// Seconds for one request (`bitcoin-rpcclienttimeout`).
    pub timeout: u64,
    /// Seconds for which a backend that does not answer is retried (`bitcoin-retry-timeout`) before each warning.
    pub retry: u64,
}

/// The first block, where none was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Begin {
    /// So many blocks below the tip.
    Below(u32),
    /// This one, or the tip if that is lower.
    At(BlockHeight),
}

/// How the backend knows us, for a person. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Login {
    /// By what is in this file, which bitcoind writes anew at each start.
    CookieFile { path: String },
    /// By this user's password.
    User { user: String },
}

/// Where the backend is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    At(Located),
    /// Its name is not known, or its cookie cannot be read: why, for a person.
    Unknown {
        why: String,
    },
}

/// Its addresses, to be tried in order, and what to say there. Prints no secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    pub addresses: Vec<SocketAddr>,
    /// `user:password`.
    pub credentials: String,
}

impl std::fmt::Debug for Located {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Located({:?})", self.addresses)
    }
}

/// chaind to lightningd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToLightningd {
    /// Before each connection to the backend: chaind opens no file and asks no name service. One
    /// `Located` names `request`.
    Locate {
        request: u64,
    },
    /// The backend does not answer or is not ready: why, for a person. Repeated when it changes.
    Waiting {
        why: String,
    },
    /// The backend itself is behind the network.
    BackendSyncing {
        blocks: BlockHeight,
        headers: BlockHeight,
    },
    /// All blocks that the backend has were reported. Repeated after each Waiting.
    Synced {
        height: BlockHeight,
    },
    /// The backend is not the one that it should be (wrong chain, pruned below what is needed): stop.
    Unusable {
        why: String,
    },
    /// Transactions of the block that the next `Block` connects, which alone would be too long. In order, any
    /// number of times.
    Part(Box<Block>),
    /// A block was connected, with the transactions that concern us, after those of its parts. Heights ascend
    /// by one.
    Block(Box<Block>),
    /// A block that was reported before, because a later Watch or Search is about something in it. Only with
    /// the transactions that this one is about, which may have been reported before, and not all at once.
    Rescanned(Box<Block>),
    /// The Search of this number is done: what it found was reported before this.
    Searched {
        request: u64,
    },
    /// A reorg took out this block; everything above was reported before.
    Disconnected {
        height: BlockHeight,
        hash: BlockHash,
    },
    /// `error`: the backend does not take it. "Already known" and "already confirmed" are no errors.
    Broadcast {
        request: u64,
        error: Option<NotTaken>,
    },
    Feerates(Feerates),
    /// Headers of the backend's chain from the height asked for on, at most 2,016.
    Headers {
        request: u64,
        #[serde(with = "serde_bytes")]
        headers: Vec<u8>,
    },
}

/// `why` of what never was given to the backend.
pub const NO_ROOM: &str = "too many transactions wait for bitcoind";

/// Why the backend does not take a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotTaken {
    /// The backend's words about the transaction itself, not about its parent.
    pub why: String,
    /// The backend has refused it, or never saw it. Else it may have it all the same.
    pub refused: bool,
    /// The transaction in the backend's mempool that spends the first input of the parent, or without
    /// one of the transaction itself.
    #[serde(with = "serde_bytes")]
    pub rival: Option<Vec<u8>>,
}

/// A block, reduced to what concerns us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub height: BlockHeight,
    pub hash: BlockHash,
    /// Its SHA-256d is `hash`.
    pub header: Header,
    pub txs: Vec<BlockTx>,
}

impl Block {
    /// Bytes of a message that may be used; one transaction takes as many as it takes.
    const ROOM: usize = 1 << 20;
    /// Most bytes of a block's transactions and their branches, with [`BlockTx::size`]: a block of the smallest
    /// transactions and the longest branches.
    pub const MOST: usize = 16 << 20;

    /// What is to be sent of it, each short enough for a message; the last is sent as the block.
    #[must_use]
    pub fn parts(self) -> Vec<Block> {
        let empty = Block {
            txs: Vec::new(),
            ..self
        };
        let (mut parts, mut room) = (vec![empty.clone()], Block::ROOM);
        for tx in self.txs {
            let last = parts.last_mut();
            match (last, room.checked_sub(tx.size())) {
                (Some(part), Some(left)) => {
                    room = left;
                    part.txs.push(tx);
                }
                (_, _) => {
                    room = Block::ROOM.saturating_sub(tx.size());
                    let txs = vec![tx];
                    parts.push(Block {
                        txs,
                        ..empty.clone()
                    });
                }
            }
        }
        parts
    }
}

/// A transaction of a block that pays or spends something watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockTx {
    /// Place in the block.
    pub index: u32,
    /// Its Merkle branch: the sibling at each level from the transaction up to below the root.
    pub branch: Vec<BranchHash>,
    pub txid: Txid,
    #[serde(with = "serde_bytes")]
    pub tx: Vec<u8>,
}

/// Estimates by confirmation target, in ascending order of blocks, and the mempool's floor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feerates {
    /// (blocks, feerate). Empty if the backend has no estimates.
    pub estimates: Vec<(u32, FeeratePerKw)>,
    pub floor: FeeratePerKw,
}

impl BlockTx {
    /// Bytes, at least as many as it takes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        let branch = size_of::<BranchHash>().saturating_mul(self.branch.len());
        let others = size_of::<Self>();
        self.tx.len().saturating_add(branch).saturating_add(others)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    fn tx(bytes: usize, levels: usize) -> BlockTx {
        let sibling = BranchHash([7; 32]);
        BlockTx {
            index: 1,
            branch: vec![sibling; levels],
            txid: Txid::all_zeros(),
            tx: vec![1; bytes],
        }
    }

    #[test]
    fn no_part_of_a_block_is_longer_than_a_message_and_none_of_it_is_missing() {
        let header = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
        for txs in [
            Vec::new(),
            vec![tx(100, 14); 16_000],
            vec![tx(3_999_000, 3), tx(100, 3), tx(500_000, 3)],
        ] {
            assert!(txs.iter().map(BlockTx::size).sum::<usize>() < Block::MOST);
            let block = Block {
                height: BlockHeight(1),
                hash: header.block_hash(),
                header,
                txs: txs.clone(),
            };
            let parts = block.parts();
            assert!(!parts.is_empty());
            assert!(
                parts
                    .iter()
                    .all(|part| ipc_transport::codec::encode(part).is_ok())
            );
            let joined: Vec<_> = parts.into_iter().flat_map(|part| part.txs).collect();
            assert!(joined == txs);
        }
    }

    #[test]
    fn all_that_is_watched_is_said_and_the_last_says_that_it_is_all() {
        let scripts: Vec<_> = (0..50_000u32)
            .map(|n| ScriptBuf::from_bytes(n.to_le_bytes().into()))
            .collect();
        let (mut seen, mut ends) = (Vec::new(), Vec::new());
        for message in ToChaind::watch(&[OutPoint::null()], &scripts) {
            let ToChaind::Watch { scripts, more, .. } = message else {
                panic!("{message:?}");
            };
            seen.extend(scripts);
            ends.push(more);
        }
        assert!(seen == scripts);
        assert_eq!(ends, [true, true, false]);
        assert_eq!(ToChaind::watch(&[], &[]).len(), 1);
    }
}
