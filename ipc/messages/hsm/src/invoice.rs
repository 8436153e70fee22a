//! INVOICE: BOLT 11 invoices and the preimages that pay for them. hsmd encodes and hashes the fields
//! itself, derives the preimages, and gives one only for HTLCs that pay.

use serde::{Deserialize, Serialize};
use wire::{PaymentHash, Preimage};

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: derives the next preimage, which no invoice had before, and keeps it.
    NewPreimage,
    /// Effect: signs the invoice with the node key and registers its payment hash with amount and expiry.
    /// The same fields again get the same signature.
    /// Refused if: an invoice with other fields is registered for the hash, `holder` is Hsmd and NewPreimage
    /// did not give it, or there are too many invoices that could still be paid.
    SignBolt11 {
        fields: Box<invoice::Bolt11Fields>,
        holder: PreimageHolder,
    },
    /// Effect: none; the preimage of an invoice of ours.
    /// Refused if: the HTLCs that came in with this hash and are committed on both sides do not add up to the
    /// invoice's amount and none of them has been fulfilled, or hsmd does not hold the preimage.
    Release { payment_hash: PaymentHash },
}

/// Who has an invoice's preimage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreimageHolder {
    /// NewPreimage gave its hash.
    Hsmd,
    /// lightningd's client chose it: hsmd has nothing to release.
    Lightningd,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    NewPreimage {
        payment_hash: PaymentHash,
    },
    /// Compact signature and its recovery id (0 to 3).
    Signed {
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
        recovery_id: u8,
    },
    Released {
        preimage: Preimage,
    },
    Refused(Refused),
}
