//! HTLCs that came in on one channel and went out on another.
//!
//! A forward is written when its outgoing half is offered and again when that half ends, in the
//! same ordered writer as the channels: the end is durable before the outgoing HTLC's record can
//! be gone, so a preimage is never lost between the two.

use channel::action::Removal;
use lightningd_db::{Batch, Cf, Db, DbError, NotReadable, Record};
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
    pub end: Option<End>,
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
    const VERSION: u8 = 2;
    type Key = (u64, u64);

    /// Version 1 had no ends on chain.
    fn migrate(version: u8, bytes: &[u8]) -> Result<Forward, NotReadable> {
        match version {
            1 => NotReadable::or_decode::<ForwardV1>(bytes).map(Forward::from),
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

/// What all forwards have brought us, written with each that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected(pub MilliSatoshi);

impl Collected {
    pub fn key() -> String {
        "forwards/collected".to_owned()
    }

    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db) -> Result<Collected, DbError> {
        let there = db.get::<Collected>(&Collected::key())?;
        Ok(there.unwrap_or(Collected(MilliSatoshi::ZERO)))
    }

    pub fn put(&self, batch: &mut Batch) {
        batch.put(&Collected::key(), self);
    }
}

impl Record for Collected {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
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

impl From<ForwardV1> for Forward {
    fn from(old: ForwardV1) -> Forward {
        Forward {
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
