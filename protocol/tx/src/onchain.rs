//! What a spent channel asks of its signer: hsmd's ONCHAIN role, seen from the onchain core.
//!
//! No request carries a digest, a script or a key. Parents come whole, so that the outputs that are
//! taken have the values that their transaction id commits to: what is signed for a made-up parent
//! spends nothing.

use bitcoin::{Transaction, Witness};
use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use wire::{CommitmentNumber, Preimage, Satoshi};

use crate::claim::{FeeCoin, How};
use crate::ledger::HtlcKey;

/// From onchaind to hsmd. Each gets exactly one [`Reply`], in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: none; our point of commitment `n`.
    /// Refused if: it is beyond the one after our newest validated commitment.
    LocalPoint { n: CommitmentNumber },
    /// Effect: none; the point of the peer's commitment `n`.
    /// Refused if: the peer has not revoked it.
    RevokedPoint { n: CommitmentNumber },
    /// Effect: signs a transaction that takes all of `claims` to the channel's own wallet address.
    /// Refused if: an output is not what its claim says, or the fee is above its caps (X2).
    Sweep {
        parents: Vec<ParentTx>,
        claims: Vec<Claim>,
        fee: Satoshi,
    },
    /// Effect: signs HTLC transactions of our newest commitment, with anchors joined into one that `coins`
    /// pay for; HTLC-success where there is a preimage.
    /// Refused if: our commitment was not signed for broadcast, it has no such HTLC, a coin is not what it says,
    /// or the fee is above its caps (X2).
    HtlcTxs {
        htlcs: Vec<(HtlcKey, Option<Preimage>)>,
        coins: Vec<FeeCoin>,
        fee: Satoshi,
    },
    /// Effect: signs a child of our anchor in `commitment`, paid for by `coins`.
    /// Refused if: `commitment` has no such anchor or does not spend the funding output, a coin is not
    /// what it says, or the fee is above the share of what is at stake (X4).
    Anchor {
        commitment: ParentTx,
        coins: Vec<FeeCoin>,
        fee: Satoshi,
    },
}

/// A transaction in consensus encoding, of which outputs are spent. Its id does not commit to witnesses, nor need they
/// be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentTx(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl ParentTx {
    /// Without its witnesses: what a peer shows there may be long.
    #[must_use]
    pub fn of(tx: &Transaction) -> ParentTx {
        let mut tx = tx.clone();
        for input in &mut tx.input {
            input.witness = Witness::new();
        }
        ParentTx(bitcoin::consensus::serialize(&tx))
    }

    /// `None` if it is none.
    #[must_use]
    pub fn decode(&self) -> Option<Transaction> {
        bitcoin::consensus::deserialize(&self.0).ok()
    }
}

/// Output `vout` of the parent at this place of the request's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub parent: u16,
    pub vout: u32,
    pub how: How,
}

/// From hsmd to onchaind: the reply to the request of the same place in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Point {
        point: PublicKey,
    },
    /// Ready to broadcast, in consensus encoding.
    Signed {
        #[serde(with = "serde_bytes")]
        tx: Vec<u8>,
    },
    /// The request broke a rule; nothing was signed and nothing changed.
    Refused {
        rule: String,
        reason: String,
    },
}
