//! Channels and their HTLCs.

use bitcoin::Transaction;
use channel::action::{Origin, Persist};
use channel::state::{HtlcRecord, Live, Phase};
use lightningd_db::{Batch, Cf, Db, DbError, NotReadable, Record};
use onchain::action::Spender;
use serde::{Deserialize, Serialize};
use tx::ledger::{Htlc, HtlcKey};
use wire::{
    BlockHeight, ChannelDbid, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, ShortChannelId,
    Side,
};

use super::onchain::OnchainRecord;

mod older;

/// A channel as it is stored: the core's state and what only the node knows of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelRecord {
    pub live: Live,
    pub facts: Facts,
}

/// What the node knows of a channel and the core does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Seconds since the epoch.
    pub opened_at: u64,
    /// The tip then.
    pub opened_height: BlockHeight,
    /// Ours to broadcast again until it confirms; `None` if the peer funds.
    pub funding_tx: Option<Transaction>,
    /// `None` until it is in a block.
    pub funding_height: Option<BlockHeight>,
    pub funding_scid: Option<ShortChannelId>,
    /// The transaction that ends the channel, ours to broadcast again until it confirms. Of a closed channel
    /// where there was none: our newest commitment, unsigned.
    pub closing_tx: Option<Transaction>,
    /// What spent the funding output, and where.
    pub spent_by: Option<(bitcoin::Txid, BlockHeight)>,
    pub closer: Option<Side>,
    /// `closing_tx` is our commitment.
    pub unilateral: bool,
    pub close_cause: Option<String>,
    /// Our balance at its lowest and highest.
    pub least_ours: Option<MilliSatoshi>,
    pub most_ours: Option<MilliSatoshi>,
    /// Our state is older than the peer's: never broadcast it.
    pub stale: bool,
    /// Every change of state: (seconds since the epoch, old, new, cause, message).
    pub history: Vec<StateChange>,
    /// How often the peer was reestablished; last time it was connected.
    pub last_stable: u64,
    /// The peer's newest channel_update, encoded, for route hints.
    pub peer_update: Option<Vec<u8>>,
    /// Whose transaction spent the funding output, once onchaind has said it.
    pub spender: Option<Spender>,
    /// What HTLCs came to that are over and were not fulfilled: ours, and the peer's.
    pub failed_out: MilliSatoshi,
    pub failed_in: MilliSatoshi,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateChange {
    pub at: u64,
    pub old: String,
    pub new: String,
    pub cause: String,
    pub message: String,
}

impl Record for ChannelRecord {
    const CF: Cf = Cf::Channels;
    const VERSION: u8 = 3;
    type Key = u64;

    /// Version 1 did not know of the spender, version 2 not what failed.
    fn migrate(version: u8, bytes: &[u8]) -> Result<ChannelRecord, NotReadable> {
        older::channel(version, bytes)
    }
}

/// An HTLC of a channel: key (channel, offerer, id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HtlcRow(pub HtlcRecord);

impl Record for HtlcRow {
    const CF: Cf = Cf::Htlcs;
    const VERSION: u8 = 1;
    type Key = (u64, u8, u64);
}

/// What of an HTLC stands in commitments of the peer's, and in which; key (channel, offerer, id). Written
/// when it comes, and again when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoodHtlc {
    pub htlc: Htlc,
    /// No commitment of the peer's below this one has it.
    pub from: CommitmentNumber,
    /// Nor this one and those above; `None` while it is not over.
    pub until: Option<CommitmentNumber>,
}

impl Record for StoodHtlc {
    const CF: Cf = Cf::EndedHtlcs;
    const VERSION: u8 = 2;
    type Key = (u64, u8, u64);

    /// Version 1 held what was over alone, and did not know of the commitments.
    fn migrate(version: u8, bytes: &[u8]) -> Result<StoodHtlc, NotReadable> {
        match version {
            1 => NotReadable::or_decode::<Htlc>(bytes).map(|htlc| StoodHtlc {
                htlc,
                from: CommitmentNumber(0),
                until: Some(CommitmentNumber(u64::MAX)),
            }),
            other => Err(NotReadable(format!("there was never a version {other}"))),
        }
    }
}

impl StoodHtlc {
    /// An HTLC that comes now: it can be in what was signed for it in the same turn.
    #[must_use]
    pub fn begins(live: &Live, htlc: Htlc) -> StoodHtlc {
        StoodHtlc {
            htlc,
            from: CommitmentNumber(live.remote_next.0.saturating_sub(2)),
            until: None,
        }
    }

    /// An HTLC that is over now; `known`: what was written when it came.
    #[must_use]
    pub fn ends(live: &Live, htlc: Htlc, known: Option<StoodHtlc>) -> StoodHtlc {
        StoodHtlc {
            htlc,
            from: known.map_or(CommitmentNumber(0), |known| known.from),
            until: Some(live.remote_next),
        }
    }

    /// Whether it is over, and may be in this commitment of the peer's.
    #[must_use]
    pub fn was_in(&self, n: CommitmentNumber) -> bool {
        self.from <= n && self.until.is_some_and(|until| n < until)
    }
}

/// A channel that is over and forgotten, kept for listclosedchannels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedChannel(pub ChannelRecord);

impl Record for ClosedChannel {
    const CF: Cf = Cf::ClosedChannels;
    const VERSION: u8 = 3;
    type Key = u64;

    /// As [`ChannelRecord`].
    fn migrate(version: u8, bytes: &[u8]) -> Result<ClosedChannel, NotReadable> {
        older::channel(version, bytes).map(ClosedChannel)
    }
}

fn htlc_key(channel: ChannelDbid, key: HtlcKey) -> (u64, u8, u64) {
    let offerer = match key.offerer {
        Side::Local => 0,
        Side::Remote => 1,
    };
    (channel.0, offerer, key.id.0)
}

/// Whether some commitment of the peer's has an output for this HTLC: at no feerate is it trimmed less.
#[must_use]
pub fn is_ever_an_output(live: &Live, key: HtlcKey, htlc: &Htlc) -> bool {
    let least = FeeratePerKw(0);
    let (setup, amount) = (&live.setup, htlc.amount);
    !tx::fees::is_trimmed(setup, Side::Remote, least, key.offerer, amount)
}

/// Adds to `batch` what the channel core wants written. `stood`: of the HTLCs that come and go, as far as
/// commitments of the peer's may have outputs for them.
pub fn put_persist(
    batch: &mut Batch,
    facts: &Facts,
    persist: &Persist,
    stood: &[(HtlcKey, StoodHtlc)],
) {
    let dbid = persist.live.dbid;
    for (key, stood) in stood {
        batch.put(&htlc_key(dbid, *key), stood);
    }
    for (key, record) in &persist.htlcs {
        match record {
            Some(record) => batch.put(&htlc_key(dbid, *key), &HtlcRow(record.clone())),
            None => batch.delete::<HtlcRow>(&htlc_key(dbid, *key)),
        };
    }
    put(
        batch,
        &ChannelRecord {
            live: persist.live.clone(),
            facts: facts.clone(),
        },
    );
}

pub fn put(batch: &mut Batch, record: &ChannelRecord) {
    batch.put(&record.live.dbid.0, record);
}

/// A stored channel and its HTLCs.
pub type Stored = (ChannelRecord, Vec<(HtlcKey, HtlcRecord)>);

/// All channels that are not over.
///
/// # Errors
/// A record that cannot be read: the node must not start without it.
pub fn all(db: &Db) -> Result<Vec<Stored>, DbError> {
    let mut stored = Vec::new();
    for (dbid, record) in db.scan::<ChannelRecord>()? {
        stored.push((record, htlcs(db, ChannelDbid(dbid))?));
    }
    Ok(stored)
}

/// The HTLC that this channel holds for `origin`, if it holds one.
///
/// # Errors
/// As [`all`].
pub fn offered_for(db: &Db, dbid: ChannelDbid, origin: Origin) -> Result<Option<HtlcId>, DbError> {
    let mut all = htlcs(db, dbid)?.into_iter();
    let found = all.find(|(_, record)| record.origin == Some(origin));
    Ok(found.map(|(key, _)| key.id))
}

/// What this channel is called, open or closed: its short_channel_id, or our alias while it has none.
///
/// # Errors
/// As [`all`].
pub fn name(db: &Db, dbid: ChannelDbid) -> Result<Option<ShortChannelId>, DbError> {
    let record = match db.get::<ChannelRecord>(&dbid.0)? {
        Some(record) => Some(record),
        None => db.get::<ClosedChannel>(&dbid.0)?.map(|closed| closed.0),
    };
    Ok(record.map(|record| record.live.scid.unwrap_or(record.live.local_alias)))
}

fn htlcs(db: &Db, dbid: ChannelDbid) -> Result<Vec<(HtlcKey, HtlcRecord)>, DbError> {
    let rows = db.scan_prefix::<HtlcRow>(&dbid.0)?;
    Ok(rows
        .into_iter()
        .map(|((_, side, id), row)| (key_of(side, id), row.0))
        .collect())
}

/// The HTLCs of a channel that are over and may be in this commitment of the peer's. However many the
/// channel has had, no more than a few commitments hold are in memory.
///
/// # Errors
/// As [`all`].
pub fn ended_in(
    db: &Db,
    dbid: ChannelDbid,
    n: CommitmentNumber,
) -> Result<Vec<(HtlcKey, Htlc)>, DbError> {
    let mut found = Vec::new();
    for row in db.iter_prefix::<StoodHtlc>(&dbid.0)? {
        let ((_, side, id), stood) = row?;
        if stood.was_in(n) {
            found.push((key_of(side, id), stood.htlc));
        }
    }
    Ok(found)
}

/// What is written of an HTLC that came.
///
/// # Errors
/// As [`all`].
pub fn stood(db: &Db, dbid: ChannelDbid, key: HtlcKey) -> Result<Option<StoodHtlc>, DbError> {
    db.get::<StoodHtlc>(&htlc_key(dbid, key))
}

/// An HTLC of a channel, over or not.
///
/// # Errors
/// As [`all`].
pub fn htlc(db: &Db, dbid: ChannelDbid, key: HtlcKey) -> Result<Option<Htlc>, DbError> {
    let key = htlc_key(dbid, key);
    if let Some(HtlcRow(record)) = db.get::<HtlcRow>(&key)? {
        return Ok(Some(record.htlc));
    }
    Ok(db.get::<StoodHtlc>(&key)?.map(|stood| stood.htlc))
}

fn key_of(side: u8, id: u64) -> HtlcKey {
    let offerer = if side == 0 { Side::Local } else { Side::Remote };
    HtlcKey {
        offerer,
        id: HtlcId(id),
    }
}

impl ChannelRecord {
    /// What all HTLCs came to that `offerer` has ever offered in this channel. `standing`: those that are
    /// not over. HTLCs that failed before version 3 are not in it.
    #[must_use]
    pub fn offered<'a>(
        &self,
        offerer: Side,
        standing: impl Iterator<Item = (&'a HtlcKey, &'a HtlcRecord)>,
    ) -> MilliSatoshi {
        let (fulfilled, failed) = match offerer {
            Side::Local => (self.live.fulfilled_out, self.facts.failed_out),
            Side::Remote => (self.live.fulfilled_in, self.facts.failed_in),
        };
        let over = fulfilled.amount.saturating_add(failed);
        standing
            .filter(|(key, _)| key.offerer == offerer)
            .fold(over, |sum, (_, record)| {
                sum.saturating_add(record.htlc.amount)
            })
    }
}

impl Facts {
    /// Counts an HTLC that is over and was not fulfilled.
    pub fn count_failed(&mut self, offerer: Side, amount: MilliSatoshi) {
        let failed = match offerer {
            Side::Local => &mut self.failed_out,
            Side::Remote => &mut self.failed_in,
        };
        *failed = failed.saturating_add(amount);
    }
}

/// Whether the opening of this channel was broken off, by a crash or a stop, before a funding
/// transaction of ours was signed: nothing was or will be broadcast.
#[must_use]
pub fn is_interrupted_opening(record: &ChannelRecord) -> bool {
    let (live, facts) = (&record.live, &record.facts);
    match live.phase {
        Phase::Opening => true,
        Phase::AwaitingLockin { .. } => live.is_opener() && facts.funding_tx.is_none(),
        Phase::Normal
        | Phase::ShuttingDown { .. }
        | Phase::Closing { .. }
        | Phase::Closed { .. }
        | Phase::Onchain => false,
    }
}

/// Whether a channel is over and forgotten.
///
/// # Errors
/// A record that cannot be read.
pub fn is_closed(db: &Db, dbid: ChannelDbid) -> Result<bool, DbError> {
    Ok(db.get::<ClosedChannel>(&dbid.0)?.is_some())
}

/// Drops a channel whose opening ended before anything bound us. It may have been closed before that.
pub fn drop_opening(batch: &mut Batch, dbid: ChannelDbid) {
    batch.delete::<OnchainRecord>(&dbid.0);
    batch.delete::<ChannelRecord>(&dbid.0);
}

/// Moves a channel from the open to the closed ones.
pub fn close(batch: &mut Batch, record: &ChannelRecord, htlcs: impl Iterator<Item = HtlcKey>) {
    let dbid = record.live.dbid;
    for key in htlcs {
        batch.delete::<HtlcRow>(&htlc_key(dbid, key));
    }
    batch.delete_prefix::<StoodHtlc>(&dbid.0);
    batch.delete::<OnchainRecord>(&dbid.0);
    batch.delete::<ChannelRecord>(&dbid.0);
    batch.put(&dbid.0, &ClosedChannel(record.clone()));
}

#[cfg(test)]
mod tests {
    use wire::{CltvExpiry, PaymentHash};

    use super::*;

    fn htlc() -> Htlc {
        Htlc {
            amount: MilliSatoshi(5_000_000),
            payment_hash: PaymentHash([7; 32]),
            cltv_expiry: CltvExpiry(700),
        }
    }

    #[test]
    fn an_htlc_that_is_over_is_in_the_commitments_from_its_first_to_its_last() {
        let stood = StoodHtlc {
            htlc: htlc(),
            from: CommitmentNumber(5),
            until: Some(CommitmentNumber(8)),
        };
        let held: Vec<u64> = (0..12)
            .filter(|n| stood.was_in(CommitmentNumber(*n)))
            .collect();
        assert_eq!(held, [5, 6, 7]);
        // One that is not over is told in another way.
        let lives = StoodHtlc {
            until: None,
            ..stood
        };
        assert!(!lives.was_in(CommitmentNumber(6)));
    }

    #[test]
    fn an_htlc_of_the_first_version_may_be_in_any_commitment() {
        let bytes = ipc_transport::codec::encode(&htlc()).unwrap();
        let stood = StoodHtlc::migrate(1, &bytes).unwrap();
        assert_eq!(stood.htlc, htlc());
        assert!(stood.was_in(CommitmentNumber(0)) && stood.was_in(CommitmentNumber((1 << 48) - 1)));
        assert!(StoodHtlc::migrate(0, &bytes).is_err());
    }
}
