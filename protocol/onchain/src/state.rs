//! What of a spent channel is stored: what the chain has shown, preimages, and what was broadcast.
//! Everything else follows from it and from the facts, so a reorg only takes entries out.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, Transaction};
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, FeeratePerKw, PaymentHash, Preimage, Satoshi};

use crate::REWIND;
use crate::action::{ClaimId, Encoded};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The last block that was told.
    pub height: BlockHeight,
    /// Transactions in blocks that spend the funding output or what follows from it, parents first.
    pub confirmed: Vec<Confirmed>,
    /// Of HTLCs of this channel, wherever they came from.
    pub preimages: BTreeMap<PaymentHash, Preimage>,
    /// Claims that were broadcast and are not known to be spent otherwise.
    pub claims: BTreeMap<ClaimId, Broadcasted>,
    pub next_claim: u32,
    /// The peer has spoilt a sweep of several outputs by taking one of them: what it can take too is swept one by
    /// one from then on.
    pub split: bool,
}

/// Most bytes of transactions that are handed over. The peer's HTLC transactions may have outputs of whatever length
/// (BOLT 3: SIGHASH_SINGLE and ANYONECANPAY); those for which there is no room are told again at a start.
const MOST: usize = 2 << 20;

impl State {
    /// The block after which all is to be told again at a start: one before what may have been reorganized out, and
    /// before the first transaction that is not kept.
    #[must_use]
    pub fn resumes_after(&self) -> BlockHeight {
        let missing = |confirmed: &&Confirmed| confirmed.tx.0.is_empty();
        let missing = self.confirmed.iter().filter(missing);
        let before = missing.map(|confirmed| confirmed.height.before(1)).min();
        let recent = self.height.before(REWIND);
        before.map_or(recent, |before| before.min(recent))
    }

    /// The one that spends the funding output is the first, and always kept.
    pub(crate) fn confirm(&mut self, tx: &Transaction, height: BlockHeight) {
        let tx = Encoded::of(tx);
        let kept = self.confirmed.iter().map(|confirmed| confirmed.tx.0.len());
        let size = kept.sum::<usize>().saturating_add(tx.0.len());
        let tx = match size <= MOST || self.confirmed.is_empty() {
            true => tx,
            false => Encoded(Vec::new()),
        };
        self.confirmed.push(Confirmed { tx, height });
    }

    /// Forgets the blocks after `height`.
    pub(crate) fn rewind(&mut self, height: BlockHeight) {
        self.confirmed
            .retain(|confirmed| confirmed.height <= height);
        self.height = self.height.min(height);
    }
}

/// A transaction in the block at this height.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Empty if there was no room for it.
    pub tx: Encoded,
    pub height: BlockHeight,
}

/// What was last broadcast for a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broadcasted {
    pub tx: Encoded,
    /// The contract's outputs that it takes.
    pub takes: Vec<OutPoint>,
    pub fee: Satoshi,
    /// What it pays, with an unconfirmed parent.
    pub feerate: FeeratePerKw,
    /// The tip then.
    pub at: BlockHeight,
    /// Wallet coins pay for it.
    pub funded: bool,
}
