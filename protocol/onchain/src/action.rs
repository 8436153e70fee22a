//! What a spent channel reacts to and what it asks for.

use std::fmt;

use bitcoin::{OutPoint, Transaction, Txid};
use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use tx::claim::FeeCoin;
use tx::ledger::{Htlc, HtlcKey};
use tx::onchain::{Reply, Request};
use tx::setup::{Funding, Setup};
use wire::{BlockHeight, CommitmentNumber, FeeratePerKw, Preimage, Satoshi};

use crate::state::State;

/// What is known of the channel when its funding output is about to be spent. It does not change
/// afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub setup: Setup,
    pub funding: Funding,
    /// The peer's commitments that it has not revoked, by number, with their points: its newest that we
    /// signed, and the one before while that is not revoked. What is below the lowest is revoked.
    pub remote: Vec<(CommitmentNumber, PublicKey)>,
    /// Our newest commitment, as far as the node knows: the signer may have one more, if a crash came in between.
    pub local: Option<CommitmentNumber>,
    /// All HTLCs that may be in a commitment that somebody has: those that are not over first.
    pub htlcs: Vec<KnownHtlc>,
    /// A transaction of ours that spends the funding output, to be broadcast until one is in a block: our
    /// commitment, or the mutual close.
    pub ours: Option<Encoded>,
    pub terms: Terms,
}

/// An HTLC of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownHtlc {
    pub key: HtlcKey,
    pub htlc: Htlc,
    /// It is not over: somebody waits for its end.
    pub live: bool,
    pub places: Places,
    /// Of an HTLC that we offered for another: when that one can be taken back from us.
    pub incoming_expiry: Option<BlockHeight>,
}

/// Which of the commitments that are not revoked have an HTLC: of two that are alike only one may be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// [`Facts::local`].
    pub local: bool,
    /// The first and the second of [`Facts::remote`].
    pub remote: bool,
    pub remote_next: bool,
}

/// How far we go, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Confirmations after which what happened counts (BOLT 5, reasonable depth), at least 1.
    pub reasonable_depth: u32,
    /// Confirmations after which nothing comes back (BOLT 5, irrevocably resolved): the channel is over.
    pub burial_depth: u32,
    /// One in so many satoshi of what a claim takes may go to its fee.
    pub fee_part: u64,
    /// One in so many of what is at stake in a commitment may go to the child of its anchor.
    pub anchor_part: u64,
    /// The operator's cap on a fee, as it is if nobody has moved it: only a refusal shows another one.
    pub max_fee: Satoshi,
}

/// A transaction in consensus encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoded(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl Encoded {
    #[must_use]
    pub fn of(tx: &Transaction) -> Encoded {
        Encoded(bitcoin::consensus::serialize(tx))
    }

    /// `None` if it is none.
    #[must_use]
    pub fn decode(&self) -> Option<Transaction> {
        bitcoin::consensus::deserialize(&self.0).ok()
    }
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A transaction that spends something watched is in the block at this height. May come again.
    Confirmed {
        tx: Transaction,
        height: BlockHeight,
    },
    /// All of this block was told.
    Block {
        height: BlockHeight,
    },
    /// A reorg took out all blocks from this height on.
    Disconnected {
        from: BlockHeight,
    },
    /// The preimage of an HTLC that the peer offered.
    Preimage {
        preimage: Preimage,
    },
    Feerates(Feerates),
    /// Answer to [`Action::AskSigner`], in the order of asking.
    Signer(Reply),
    /// Answer to [`Action::NeedCoins`]; `None` if the wallet has not enough.
    Coins {
        claim: ClaimId,
        coins: Option<Coins>,
    },
    /// The backend has a transaction that was broadcast in its mempool.
    Taken {
        txid: Txid,
    },
    /// The backend did not take a transaction that was broadcast. `rival`: what it has in the mempool that
    /// spends the same (of a package: as its parent).
    Rejected {
        txid: Txid,
        reason: String,
        rival: Option<Transaction>,
    },
}

/// Wallet coins for a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coins {
    pub coins: Vec<FeeCoin>,
    /// Fee of the whole transaction with them.
    pub fee: Satoshi,
}

/// Names a claim of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClaimId(pub u32);

/// Estimates by confirmation target, ascending, and the least that the backend takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feerates {
    /// (blocks, feerate). Empty if the backend has none.
    pub estimates: Vec<(u32, FeeratePerKw)>,
    pub floor: FeeratePerKw,
}

/// What a spent channel asks its shell to do, in order.
#[allow(clippy::large_enum_variant)] // short-lived: made, matched, taken apart
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Durable before the next action.
    Persist(Box<State>),
    /// Written in order, not waited for.
    Record(Box<State>),
    AskSigner(Request),
    /// Spends of these outputs are to be told, from the block of their transaction on.
    Watch(Vec<OutPoint>),
    /// May be a repetition or a replacement.
    Broadcast(Broadcast),
    /// Coins for a transaction that weighs `weight` without them and without change, and whose other inputs
    /// bring `value` more than its outputs; the change goes to the channel's address. Coins that were given
    /// for this claim before are given again.
    NeedCoins {
        claim: ClaimId,
        weight: u64,
        value: Satoshi,
        feerate: FeeratePerKw,
        /// Most that the fee may be.
        most: Satoshi,
    },
    /// The claim needs its coins no more.
    FreeCoins {
        claim: ClaimId,
    },
    Tell(Notice),
}

/// A transaction for the backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    pub tx: Transaction,
    /// An unconfirmed parent that is broadcast with it as a package, where the backend can.
    pub parent: Option<Transaction>,
}

/// What the node hears of a spent channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// An HTLC that we offered is over. Repeated after a restart.
    HtlcEnded { key: HtlcKey, end: HtlcEnd },
    /// Where things stand, after each change.
    Standing(Standing),
    /// Everything is buried: nothing can come back.
    Over,
}

/// How an HTLC that we offered ended on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HtlcEnd {
    /// The peer took it: told as soon as the preimage is seen.
    Fulfilled { preimage: Preimage },
    /// Nobody can take it any more: told at reasonable depth.
    Failed,
}

/// Who spent the funding output with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spender {
    MutualClose,
    /// Our commitment.
    Ours,
    /// A commitment of the peer's that it has not revoked.
    Theirs,
    /// One that it has revoked: all of it is ours.
    Revoked,
    /// One that we do not know: we have lost data, or it is none (BOLT 5, option_data_loss_protect).
    Unknown,
}

impl fmt::Display for Spender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Spender::MutualClose => "the mutual close",
            Spender::Ours => "our commitment",
            Spender::Theirs => "the peer's commitment",
            Spender::Revoked => "a commitment that the peer has revoked, all of which is ours,",
            Spender::Unknown => "a commitment of the peer that is newer than what we know",
        })
    }
}

/// Where a spent channel stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// `None` while the spending transaction is in no block.
    pub spender: Option<(Spender, Txid, BlockHeight)>,
    /// The peer's transaction in the mempool that stands in the way of ours.
    pub rival: Option<Txid>,
    pub outputs: Vec<OutputStanding>,
    /// Block after which the channel can be forgotten, if nothing more happens.
    pub until: Option<BlockHeight>,
}

/// One output of the spending transaction, or of an HTLC transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStanding {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    pub kind: OutputKind,
    pub fate: Fate,
}

/// What an output is (BOLT 3's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputKind {
    ToLocal,
    ToRemote,
    Anchor,
    Htlc(HtlcKey),
    /// Output of the HTLC transaction of this HTLC.
    HtlcTx(HtlcKey),
    /// Ours at a mutual close.
    Close,
    /// The peer's, or not known.
    Theirs,
}

/// A claim pays less than what a block is estimated to want, and may not pay more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub pays: FeeratePerKw,
    pub wanted: FeeratePerKw,
}

/// What becomes of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Nothing to do: it is in the wallet, or the peer's.
    Left,
    /// Ours from this block on.
    Waits { until: BlockHeight },
    /// An HTLC of the peer's whose preimage we do not have: it takes it back after this block.
    NeedsPreimage { until: BlockHeight },
    /// Ours, but the wallet has no coins for the fee of taking it: asked again with each block.
    /// `deadline`: the block before which it should be taken.
    NeedsCoins { deadline: Option<BlockHeight> },
    /// A claim is broadcast and in no block.
    Claimed { txid: Txid, held: Option<Held> },
    /// Smaller than twice the fee of taking it now: taken when fees are lower.
    NeedsLowerFees,
    /// Smaller than the fee of taking it, however low fees get.
    Uneconomic,
    /// In the block at this height, by us or by the peer.
    Spent {
        by_us: bool,
        txid: Txid,
        height: BlockHeight,
    },
}
