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
    /// block on and, by `Rescanned`, in the last six. The first one (it may be empty) starts the
    /// reports of blocks: it should hold all that is known at the start.
    Watch {
        outpoints: Vec<OutPoint>,
        scripts: Vec<ScriptBuf>,
    },
    /// Effect: these are watched as with Watch, and the blocks from `since` on that were reported are read
    /// again for them as soon as all blocks that the backend has are: what is found comes as `Rescanned`,
    /// and then one `Searched` names `request`. A chain that is not followed yet stays so.
    Search {
        request: u64,
        outpoints: Vec<OutPoint>,
        scripts: Vec<ScriptBuf>,
        since: BlockHeight,
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
    /// A block was connected, with the transactions that concern us. Heights ascend by one.
    Block(Box<Block>),
    /// A block that was reported before, because a later Watch or Search is about something in it. Only with
    /// the transactions that this one is about, which may have been reported before.
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
