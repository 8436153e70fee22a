//! What of a spent channel is stored: what the chain has shown, preimages, and what was broadcast.
//! Everything else follows from it and from the facts, so a reorg only takes entries out.

use std::collections::BTreeMap;

use bitcoin::OutPoint;
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, FeeratePerKw, PaymentHash, Preimage, Satoshi};

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
    /// The peer has spoilt a claim of several outputs by taking one of them: what it can take too is
    /// claimed one by one from then on.
    pub split: bool,
}

impl State {
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
    pub feerate: FeeratePerKw,
    /// The tip then.
    pub at: BlockHeight,
    /// Wallet coins pay for it.
    pub funded: bool,
}
