//! HTLCs that came in on one channel and went out on another.
//!
//! A forward is written when its outgoing half is offered and again when that half ends, in the
//! same ordered writer as the channels: the end is durable before the outgoing HTLC's record can
//! be gone, so a preimage is never lost between the two.

use channel::action::Removal;
use lightningd_db::{Cf, Record};
use serde::{Deserialize, Serialize};
use wire::{ChannelDbid, MilliSatoshi, PaymentHash, ShortChannelId};

/// Key: incoming channel and HTLC id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    pub payment_hash: PaymentHash,
    pub amount_in: MilliSatoshi,
    pub amount_out: MilliSatoshi,
    /// As the onion named it.
    pub scid_out: ShortChannelId,
    pub channel_out: ChannelDbid,
    /// Seconds since the epoch.
    pub received_at: u64,
    pub resolved_at: Option<u64>,
    /// How the outgoing half ended.
    pub end: Option<Removal>,
}

impl Record for Forward {
    const CF: Cf = Cf::Forwards;
    const VERSION: u8 = 1;
    type Key = (u64, u64);
}
