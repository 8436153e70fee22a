//! GOSSIP: typed announcements, signed with the node key.

use secp256k1::ecdsa::Signature;
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, ChainHash, MilliSatoshi, ShortChannelId};

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: signs a channel_update (BOLT 7).
    SignChannelUpdate { update: ChannelUpdateFacts },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Signed { signature: Signature },
    Refused(Refused),
}

/// The fields of a channel_update (BOLT 7, The channel_update Message).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelUpdateFacts {
    pub chain_hash: ChainHash,
    pub scid: ShortChannelId,
    /// Seconds since the epoch.
    pub timestamp: u32,
    pub message_flags: u8,
    pub channel_flags: u8,
    pub cltv_expiry_delta: BlockDelta,
    pub htlc_minimum: MilliSatoshi,
    pub fee_base: MilliSatoshi,
    pub fee_proportional_millionths: u32,
    pub htlc_maximum: MilliSatoshi,
}
