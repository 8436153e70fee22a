//! What both sides agreed on while opening, and what it was funded with. Immutable afterwards.

use bitcoin::{OutPoint, ScriptBuf};
use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, FeeratePerKw, MilliSatoshi, Satoshi, Side};

/// Shape of the commitment transactions (BOLT 2, `channel_type`; BOLT 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitmentFormat {
    /// `option_static_remotekey` alone.
    StaticRemotekey,
    /// `option_anchors` (anchors, HTLC transactions without fee).
    AnchorsZeroFeeHtlc,
}

/// The four basepoints of one side (BOLT 3, Key Derivation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basepoints {
    pub revocation: PublicKey,
    pub payment: PublicKey,
    pub delayed_payment: PublicKey,
    pub htlc: PublicKey,
}

/// What one side contributed and demanded while opening (BOLT 2, open_channel and accept_channel).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    pub funding_pubkey: PublicKey,
    pub basepoints: Basepoints,
    /// Outputs below this are left out of this side's own commitment transaction.
    pub dust_limit: Satoshi,
    /// Delay that this side demands on the *other* side's outputs to itself.
    pub to_self_delay: BlockDelta,
    /// Balance that this side demands the *other* side to keep.
    pub channel_reserve: Satoshi,
    /// Smallest HTLC that this side accepts.
    pub htlc_minimum: MilliSatoshi,
    /// Most value in HTLCs offered to this side at a time.
    pub max_htlc_value_in_flight: MilliSatoshi,
    /// Most HTLCs offered to this side at a time, at most 483.
    pub max_accepted_htlcs: u16,
    /// Script that this side's funds go to at mutual close, where it was fixed at opening.
    pub upfront_shutdown_script: Option<ScriptBuf>,
}

/// Everything about a channel that is agreed before the funding transaction exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    pub opener: Side,
    pub format: CommitmentFormat,
    pub funding_value: Satoshi,
    /// What the opener gives the other side at once.
    pub push: MilliSatoshi,
    /// Feerate of commitment 0.
    pub feerate: FeeratePerKw,
    pub local: Party,
    pub remote: Party,
}

impl Setup {
    #[must_use]
    pub fn party(&self, side: Side) -> &Party {
        match side {
            Side::Local => &self.local,
            Side::Remote => &self.remote,
        }
    }
}

/// The output that the channel spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funding {
    pub outpoint: OutPoint,
    pub value: Satoshi,
}
