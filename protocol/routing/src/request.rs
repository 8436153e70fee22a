//! What a route is asked for.

use invoice::HintHop;
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, MilliSatoshi, NodeId, ShortChannelId};

/// A channel of ours over which an HTLC could be sent now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalChannel {
    pub peer: NodeId,
    /// The real one or our alias: whatever names the channel to the caller.
    pub scid: ShortChannelId,
    /// The most that we could send in one HTLC, after reserve and commitment fees.
    pub spendable: MilliSatoshi,
    /// The peer's limits for one HTLC.
    pub htlc_minimum: MilliSatoshi,
    pub htlc_maximum: MilliSatoshi,
    /// The whole channel's.
    pub capacity: MilliSatoshi,
}

/// One HTLC to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRequest {
    pub channels: Vec<LocalChannel>,
    pub destination: NodeId,
    /// What the destination shall receive.
    pub amount: MilliSatoshi,
    /// What the destination wants between the block height and its HTLC's expiry
    /// (BOLT 11, `min_final_cltv_expiry_delta`), with any margin that the caller adds.
    pub final_cltv_delta: BlockDelta,
    /// Each a path to the destination, see [`HintHop`].
    pub route_hints: Vec<Vec<HintHop>>,
    /// Limits of what all hops together may take.
    pub max_fee: MilliSatoshi,
    /// Limit of the blocks for which our money may be locked, the final delta included.
    pub max_total_delay: BlockDelta,
    /// Channels that must not be used, ours or others'.
    pub excluded: Vec<ShortChannelId>,
}

impl RouteRequest {
    pub(crate) fn excludes(&self, scid: ShortChannelId) -> bool {
        self.excluded.contains(&scid)
    }
}
