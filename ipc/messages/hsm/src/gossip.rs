//! GOSSIP: typed announcements, signed with the node key.

use secp256k1::ecdsa::Signature;
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, ChainHash, ChannelDbid, ChannelUpdate, MilliSatoshi, ShortChannelId};

use super::Refused;

/// More than this is refused: ten times what is forwarded.
pub const MAX_PROPORTIONAL_MILLIONTHS: u32 = 10_000_000;
/// More than this is refused: two weeks. (The base fee's bound is the channel's capacity.)
pub const MAX_CLTV_DELTA: BlockDelta = BlockDelta(2016);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: signs a channel_update (BOLT 7) for our direction of this channel, with a timestamp above all before.
    /// Refused if: the channel is not open, the chain or the direction is not its own, the fees or limits are out
    /// of bounds, it has had too many names, or there were too many updates lately.
    SignChannelUpdate {
        channel: ChannelDbid,
        update: ChannelUpdateFacts,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// `timestamp`: hsmd's, in seconds since the epoch.
    Signed {
        timestamp: u32,
        signature: Signature,
    },
    Refused(Refused),
}

/// The fields of a channel_update (BOLT 7, The channel_update Message) but its timestamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelUpdateFacts {
    pub chain_hash: ChainHash,
    pub scid: ShortChannelId,
    pub message_flags: u8,
    pub channel_flags: u8,
    pub cltv_expiry_delta: BlockDelta,
    pub htlc_minimum: MilliSatoshi,
    pub fee_base: MilliSatoshi,
    pub fee_proportional_millionths: u32,
    pub htlc_maximum: MilliSatoshi,
}

impl ChannelUpdateFacts {
    /// The message, with what hsmd gives to it. `None` if a field does not fit into it.
    #[must_use]
    pub fn with(&self, timestamp: u32, signature: Signature) -> Option<ChannelUpdate> {
        Some(ChannelUpdate {
            signature,
            chain_hash: self.chain_hash,
            short_channel_id: self.scid,
            timestamp,
            message_flags: self.message_flags,
            channel_flags: self.channel_flags,
            cltv_expiry_delta: self.cltv_expiry_delta,
            htlc_minimum_msat: self.htlc_minimum,
            fee_base_msat: u32::try_from(self.fee_base.0).ok()?,
            fee_proportional_millionths: self.fee_proportional_millionths,
            htlc_maximum_msat: self.htlc_maximum,
            rest: Vec::new(),
        })
    }
}
