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

/// What a static backup has of a channel: enough to find and take what the peer's commitment pays us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    pub funding: Funding,
    pub format: CommitmentFormat,
    pub opener: Side,
    /// The peer's.
    pub basepoints: Basepoints,
    /// Delay that the peer demands on our outputs to us.
    pub to_self_delay: BlockDelta,
}

impl BackedUp {
    /// Terms with our keys and what the backup has. What it lacks is nothing: no commitment is ever made of
    /// them. In the place of the peer's funding key, which it lacks too, stands a basepoint.
    #[must_use]
    pub fn setup(&self, funding_pubkey: PublicKey, ours: Basepoints) -> Setup {
        let party = |funding_pubkey, basepoints, to_self_delay| Party {
            funding_pubkey,
            basepoints,
            dust_limit: Satoshi::ZERO,
            to_self_delay,
            channel_reserve: Satoshi::ZERO,
            htlc_minimum: MilliSatoshi::ZERO,
            max_htlc_value_in_flight: MilliSatoshi::ZERO,
            max_accepted_htlcs: 0,
            upfront_shutdown_script: None,
        };
        Setup {
            opener: self.opener,
            format: self.format,
            funding_value: self.funding.value,
            push: MilliSatoshi::ZERO,
            feerate: FeeratePerKw::FLOOR,
            local: party(funding_pubkey, ours, BlockDelta::ZERO),
            remote: party(self.basepoints.payment, self.basepoints, self.to_self_delay),
        }
    }
}

/// The output that the channel spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funding {
    pub outpoint: OutPoint,
    pub value: Satoshi,
}
