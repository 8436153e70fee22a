//! HTLCs that came in on one channel and went out on another.
//!
//! A forward is written when its outgoing half is offered and again when that half ends, in the
//! same ordered writer as the channels: the end is durable before the outgoing HTLC's record can
//! be gone, so a preimage is never lost between the two.

use channel::action::Removal;
use lightningd_db::{Batch, Cf, Db, DbError, NotReadable, Record};
use serde::{Deserialize, Serialize};
use wire::{ChannelDbid, HtlcId, MilliSatoshi, PaymentHash, ShortChannelId};

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
    pub end: Option<End>,
    /// Its id, known with its end.
    pub htlc_out: Option<HtlcId>,
    /// The places among all forwards as they were offered, and as they ended, from 1 on.
    pub created_index: u64,
    pub updated_index: Option<u64>,
}

/// How an outgoing half ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The peer said so, or the chain showed the preimage.
    Removed(Removal),
    /// On chain nobody can take it any more.
    TimedOut,
}

impl Record for Forward {
    const CF: Cf = Cf::Forwards;
    const VERSION: u8 = 3;
    type Key = (u64, u64);

    /// Version 1 had no ends on chain, version 2 no places: they are 0 until the database is brought up.
    fn migrate(version: u8, bytes: &[u8]) -> Result<Forward, NotReadable> {
        match version {
            1 => NotReadable::or_decode::<ForwardV1>(bytes).map(|old| ForwardV2::from(old).into()),
            2 => NotReadable::or_decode::<ForwardV2>(bytes).map(Forward::from),
            other => Err(NotReadable(format!("there was never a version {other}"))),
        }
    }
}

impl Forward {
    /// What it has brought us: nothing unless it was fulfilled.
    #[must_use]
    pub fn earned(&self) -> MilliSatoshi {
        match self.end {
            Some(End::Removed(Removal::Fulfil { .. })) => {
                self.amount_in.saturating_sub(self.amount_out)
            }
            Some(
                End::Removed(Removal::Fail { .. } | Removal::Malformed { .. }) | End::TimedOut,
            )
            | None => MilliSatoshi::ZERO,
        }
    }
}

/// What all forwards come to, written with each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// What they have brought us.
    pub collected: MilliSatoshi,
    /// The places given out.
    pub created: u64,
    pub updated: u64,
}

impl Totals {
    pub fn key() -> String {
        "forwards/collected".to_owned()
    }

    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db) -> Result<Totals, DbError> {
        Ok(db.get::<Totals>(&Totals::key())?.unwrap_or_default())
    }

    pub fn put(&self, batch: &mut Batch) {
        batch.put(&Totals::key(), self);
    }
}

impl Record for Totals {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 2;
    type Key = String;

    /// Version 1 had the sum alone.
    fn migrate(version: u8, bytes: &[u8]) -> Result<Totals, NotReadable> {
        match version {
            1 => NotReadable::or_decode::<MilliSatoshi>(bytes).map(|collected| Totals {
                collected,
                ..Totals::default()
            }),
            other => Err(NotReadable(format!("there was never a version {other}"))),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ForwardV2 {
    pub payment_hash: PaymentHash,
    pub amount_in: MilliSatoshi,
    pub amount_out: MilliSatoshi,
    pub scid_out: ShortChannelId,
    pub channel_out: ChannelDbid,
    pub received_at: u64,
    pub resolved_at: Option<u64>,
    pub end: Option<End>,
}

impl From<ForwardV2> for Forward {
    fn from(old: ForwardV2) -> Forward {
        Forward {
            payment_hash: old.payment_hash,
            amount_in: old.amount_in,
            amount_out: old.amount_out,
            scid_out: old.scid_out,
            channel_out: old.channel_out,
            received_at: old.received_at,
            resolved_at: old.resolved_at,
            end: old.end,
            htlc_out: None,
            created_index: 0,
            updated_index: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ForwardV1 {
    payment_hash: PaymentHash,
    amount_in: MilliSatoshi,
    amount_out: MilliSatoshi,
    scid_out: ShortChannelId,
    channel_out: ChannelDbid,
    received_at: u64,
    resolved_at: Option<u64>,
    end: Option<Removal>,
}

impl From<ForwardV1> for ForwardV2 {
    fn from(old: ForwardV1) -> ForwardV2 {
        ForwardV2 {
            payment_hash: old.payment_hash,
            amount_in: old.amount_in,
            amount_out: old.amount_out,
            scid_out: old.scid_out,
            channel_out: old.channel_out,
            received_at: old.received_at,
            resolved_at: old.resolved_at,
            end: old.end.map(End::Removed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_of_the_first_version_keeps_its_preimage() {
        let preimage = wire::Preimage([7; 32]);
        let old = ForwardV1 {
            payment_hash: preimage.payment_hash(),
            amount_in: MilliSatoshi(2),
            amount_out: MilliSatoshi(1),
            scid_out: ShortChannelId(5),
            channel_out: ChannelDbid(6),
            received_at: 7,
            resolved_at: Some(8),
            end: Some(Removal::Fulfil { preimage }),
        };
        let bytes = ipc_transport::codec::encode(&old).unwrap();
        let forward = Forward::migrate(1, &bytes).unwrap();
        let fulfilled = End::Removed(Removal::Fulfil { preimage });
        assert_eq!(forward.end, Some(fulfilled));
        assert_eq!((forward.resolved_at, forward.channel_out.0), (Some(8), 6));
        assert!(Forward::migrate(0, &bytes).is_err());
    }
}
