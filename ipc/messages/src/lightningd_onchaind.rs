//! One spent channel. The onchain core's own events and actions, plus what the shell adds: lightningd says
//! what the chain shows only as fast as it is handled, so that no spend of an output that is not yet
//! watched is missed.

use bitcoin::{OutPoint, Txid};
use onchain::State;
use onchain::action::{ClaimId, Coins, Encoded, Facts, Feerates, KnownHtlc, Notice};
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, FeeratePerKw, Preimage, Satoshi};

/// lightningd to onchaind. Those after Start are counted, Persisted left out (see `Handled`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToOnchaind {
    /// Only before Start, any number of times: HTLCs of the facts, of which there may be more than one
    /// message holds.
    Htlcs {
        htlcs: Vec<KnownHtlc>,
    },
    /// Once. Effect: begins.
    Start(Box<Start>),
    /// A transaction that spends something watched is in the block at this height. May come again.
    Confirmed {
        tx: Encoded,
        height: BlockHeight,
    },
    /// All blocks up to this one were told, for all that was to be watched.
    Block {
        height: BlockHeight,
    },
    /// A reorg took out all blocks from this height on.
    Disconnected {
        from: BlockHeight,
    },
    /// The preimage of an HTLC that the peer offered. May come again.
    Preimage {
        preimage: Preimage,
    },
    Feerates(Feerates),
    /// Answers NeedCoins; none if the wallet has not enough.
    Coins {
        claim: ClaimId,
        coins: Option<Coins>,
    },
    /// The backend took a transaction that was to be broadcast, or had it.
    Taken {
        txid: Txid,
    },
    /// The backend did not take a transaction that was to be broadcast: its words, and what it has in the
    /// mempool that spends the first input of the package.
    Rejected {
        txid: Txid,
        reason: String,
        rival: Option<Encoded>,
    },
    /// Every Persist up to this sequence number is durable.
    Persisted {
        sequence: u64,
    },
    /// Effect: exits, nothing is owed.
    Stop,
}

/// How an onchaind begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// With the HTLCs that came before.
    pub facts: Facts,
    /// What was persisted last.
    pub state: Option<State>,
    pub feerates: Feerates,
}

/// onchaind to lightningd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToLightningd {
    /// To be written in order; `wait`: answer Persisted when it is durable. Sequence numbers count from 1.
    Persist {
        sequence: u64,
        wait: bool,
        state: Box<State>,
    },
    /// Spends of these are to be told, from the block of their transaction on.
    Watch {
        outpoints: Vec<OutPoint>,
    },
    /// To be handed to the backend; with `parent`, which is in no block, as a package where it can.
    Broadcast {
        tx: Encoded,
        parent: Option<Encoded>,
    },
    /// Coins for a transaction that weighs `weight` without them and without change, and whose other inputs
    /// bring `value` more than its outputs. Answered by Coins, with the same coins for the same claim.
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
    Notice(Box<Notice>),
    /// So many messages after Start were handled; all that they led to was said before this.
    Handled {
        messages: u64,
    },
    /// A rule of hsmd refused what was asked: a fee above the operator's cap, a bug, or somebody meddles.
    Refused {
        rule: String,
        reason: String,
    },
}
