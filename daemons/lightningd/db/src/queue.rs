//! The one writer: applies batches in the order of the calls, and makes them durable in groups.
//!
//! A batch is written to the log and to memory within the call, under one lock, which fixes the
//! order and lets readers see it at once. One thread syncs the log: while a sync runs, the next
//! batches gather, and the next sync serves all of them (group commit).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use rocksdb::{DB, WriteBatch, WriteOptions};
use tokio::sync::{oneshot, watch};

use crate::batch::{Batch, handle};
use crate::cf::Cf;
use crate::db::Stats;
use crate::error::DbError;
use crate::identity::{Sequence, Stamped};
use crate::key::Key;
use crate::manifest::Manifest;
use crate::open::Checked;
use crate::record;
use crate::watermark::Watermark;

/// Batches that may wait for a sync. At the limit a call waits for the sync under way.
const MAX_WAITING: usize = 16_384;
/// Bytes written but not synced. At the limit a call waits for the sync under way.
const MAX_UNSYNCED: usize = 16 << 20;
/// What was written without waiting is durable after this long even if nobody commits.
const LATEST_SYNC: Duration = Duration::from_secs(1);
/// How long a new stamp waits for a batch that takes it along.
const LATEST_STAMP: Duration = Duration::from_secs(5);

/// Gives a few bytes that go into each batch with the state that they belong to; `None` if there are
/// none to be had. Called in the order of the batches, and must not block.
pub type Stamp = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// A batch on its way to the disk. It has taken effect; wait for this before you promise anything
/// that it says. Dropping it changes nothing but that you do not learn whether it is durable.
#[must_use = "nothing may be promised before the batch is durable"]
#[derive(Debug)]
pub struct Committed(State);

#[derive(Debug)]
enum State {
    Waiting(oneshot::Receiver<Result<(), DbError>>),
    Done(Option<DbError>),
}

impl Future for Committed {
    type Output = Result<(), DbError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Done(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            State::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|reply| reply.unwrap_or(Err(DbError::Closed))),
        }
    }
}

enum Waiter {
    Async(oneshot::Sender<Result<(), DbError>>),
    Blocking(mpsc::SyncSender<Result<(), DbError>>),
}

impl Waiter {
    fn tell(self, result: Result<(), DbError>) {
        // Whoever does not wait any more need not be told.
        match self {
            Waiter::Async(waiter) => drop(waiter.send(result)),
            Waiter::Blocking(waiter) => drop(waiter.send(result)),
        }
    }
}

struct Pending {
    /// Number of the last batch that was applied.
    sequence: u64,
    /// Number of the last batch that is durable.
    durable: u64,
    unsynced: usize,
    waiters: Vec<Waiter>,
    /// What the last batch with a stamp has.
    stamped: Stamped,
    closing: bool,
    stats: Stats,
}

/// What is kept beside the database of what is durable in it.
struct Durable {
    watermark: Watermark,
    manifest: Manifest,
}

/// The database, and what has been written but not synced.
pub(crate) struct Queue {
    pub db: DB,
    pending: Mutex<Pending>,
    /// The writer has something to do.
    work: Condvar,
    /// There is room again.
    room: Condvar,
    durable: Mutex<Durable>,
    stamp: OnceLock<Stamp>,
    failure: watch::Sender<Option<Arc<str>>>,
}

impl Queue {
    /// # Errors
    /// The manifest or the file beside it cannot be read or written.
    pub fn new(db: DB, checked: Checked) -> io::Result<Queue> {
        let Checked {
            watermark,
            sequence,
            stamped,
            ..
        } = checked;
        let mut manifest = Manifest::current(db.path())?;
        manifest.follow(&watermark)?;
        Ok(Queue {
            db,
            pending: Mutex::new(Pending {
                sequence,
                durable: sequence,
                unsynced: 0,
                waiters: Vec::new(),
                stamped,
                closing: false,
                stats: Stats::default(),
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            durable: Mutex::new(Durable {
                watermark,
                manifest,
            }),
            stamp: OnceLock::new(),
            failure: watch::Sender::new(None),
        })
    }

    pub fn stamp_with(&self, stamp: Stamp) {
        // There is one for the life of the database.
        drop(self.stamp.set(stamp));
        // The writer may be waiting without a stamp in mind: under its lock, so that it hears of this.
        let pending = self.lock();
        self.work.notify_all();
        drop(pending);
    }

    pub fn write(&self, batch: Batch) -> Result<(), DbError> {
        self.apply(batch, None)
    }

    pub fn commit(&self, batch: Batch) -> Committed {
        let (sender, receiver) = oneshot::channel();
        Committed(match self.apply(batch, Some(Waiter::Async(sender))) {
            Ok(()) => State::Waiting(receiver),
            Err(error) => State::Done(Some(error)),
        })
    }

    pub fn commit_blocking(&self, batch: Batch) -> Result<(), DbError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.apply(batch, Some(Waiter::Blocking(sender)))?;
        receiver.recv().unwrap_or(Err(DbError::Closed))
    }

    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    pub fn failure(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.failure.subscribe()
    }

    /// # Errors
    /// A write or a sync has failed.
    pub fn check(&self) -> Result<(), DbError> {
        match self.failure.borrow().clone() {
            Some(why) => Err(DbError::Failed { why }),
            None => Ok(()),
        }
    }

    /// Tells the writer to finish.
    pub fn close(&self) {
        self.stamp_alone();
        self.lock().closing = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing is left half done when a panic unwinds through here.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, batch: Batch, waiter: Option<Waiter>) -> Result<(), DbError> {
        let size = batch.size();
        let batch = batch.finish(&self.db)?;
        let mut pending = self.lock();
        while pending.is_full() && !pending.closing {
            self.work.notify_one();
            pending = self
                .room
                .wait(pending)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.apply_now(pending, batch, size, waiter)
    }

    fn apply_now(
        &self,
        mut pending: MutexGuard<'_, Pending>,
        mut batch: WriteBatch,
        size: usize,
        waiter: Option<Waiter>,
    ) -> Result<(), DbError> {
        if let Some(why) = self.failure.borrow().clone() {
            return Err(DbError::Failed { why });
        }
        if pending.closing {
            return Err(DbError::Closed);
        }
        let meta = handle(&self.db, Cf::Meta)?;
        let sequence = pending.sequence + 1;
        let number = record::encode(&Sequence(sequence))?;
        batch.put_cf(meta, Sequence::key().to_bytes(), number);
        // Under the lock: what a batch came of is in its stamp, and no stamp goes back.
        let stamped = self.new_stamp(&pending);
        if let Some(stamped) = &stamped {
            batch.put_cf(meta, Stamped::key().to_bytes(), record::encode(stamped)?);
        }
        // Under the lock: the order of the lock is the order in the log.
        if let Err(e) = self.db.write_opt(batch, &WriteOptions::default()) {
            return Err(self.fail(format!("batch {sequence} could not be written: {e}")));
        }
        pending.sequence = sequence;
        pending.stamped = stamped.unwrap_or_else(|| std::mem::take(&mut pending.stamped));
        pending.unsynced += size.max(1);
        pending.stats.batches += 1;
        let wake = waiter.is_some() || pending.unsynced == size.max(1);
        pending.waiters.extend(waiter);
        drop(pending);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// The stamp, if it is another than the last batch has.
    fn new_stamp(&self, pending: &Pending) -> Option<Stamped> {
        let stamp = self.stamp.get()?().map(Stamped);
        stamp.filter(|stamp| *stamp != pending.stamped)
    }

    /// A new stamp that no batch has taken along becomes a batch of its own. Never waits for room:
    /// the writer calls it, who makes the room.
    fn stamp_alone(&self) {
        let pending = self.lock();
        if self.new_stamp(&pending).is_none() {
            return;
        }
        if let Err(error) = self.apply_now(pending, WriteBatch::default(), 0, None) {
            tracing::debug!("the stamp was not written: {error}");
        }
    }

    /// Nothing is written from here on.
    fn fail(&self, why: String) -> DbError {
        tracing::error!("{why}");
        let why: Arc<str> = why.into();
        // The first reason is the one that counts.
        let mut first = Arc::clone(&why);
        self.failure.send_modify(|known| match known {
            Some(known) => first = Arc::clone(known),
            None => *known = Some(why),
        });
        self.work.notify_all();
        DbError::Failed { why: first }
    }

    /// The writer: syncs until it is told to finish. Returns whether all is durable.
    pub fn run(&self) -> Result<(), DbError> {
        loop {
            let Some((waiters, upto, unsynced)) = self.next_group() else {
                return self.finish();
            };
            let result = match self.failure.borrow().clone() {
                // Never sync again: it might succeed without the data.
                Some(why) => Err(DbError::Failed { why }),
                None => Ok(()),
            };
            let result = result.and_then(|()| {
                self.db
                    .flush_wal(true)
                    .map_err(|e| self.fail(format!("a sync of the log failed: {e}")))
            });
            let mut pending = self.lock();
            pending.unsynced -= unsynced;
            if result.is_ok() {
                pending.durable = upto;
                pending.stats.syncs += 1;
            }
            drop(pending);
            if result.is_ok() {
                self.mark(upto);
            }
            self.room.notify_all();
            waiters
                .into_iter()
                .for_each(|waiter| waiter.tell(result.clone()));
        }
    }

    /// What the next sync is for; `None` when there is nothing left and the database closes.
    fn next_group(&self) -> Option<(Vec<Waiter>, u64, usize)> {
        let mut pending = self.lock();
        loop {
            let failed = self.failure.borrow().is_some();
            let due = !pending.waiters.is_empty() || pending.is_full() || pending.closing;
            if pending.unsynced > 0 && (due || failed) {
                break;
            }
            if pending.closing {
                return None;
            }
            let idle = pending.unsynced == 0;
            let wait = match (idle, self.stamp.get()) {
                (false, _) => LATEST_SYNC,
                (true, Some(_)) => LATEST_STAMP,
                (true, None) => Duration::from_secs(3600),
            };
            let (woken, timeout) = self
                .work
                .wait_timeout(pending, wait)
                .unwrap_or_else(PoisonError::into_inner);
            pending = woken;
            if timeout.timed_out() && pending.unsynced > 0 {
                break;
            }
            if timeout.timed_out() && idle && !failed {
                drop(pending);
                self.stamp_alone();
                pending = self.lock();
            }
        }
        Some((
            std::mem::take(&mut pending.waiters),
            pending.sequence,
            pending.unsynced,
        ))
    }

    fn mark(&self, number: u64) {
        let mut durable = self.durable();
        let Durable {
            watermark,
            manifest,
        } = &mut *durable;
        let marked = watermark.write(number);
        if let Err(e) = marked.and_then(|()| manifest.follow(watermark)) {
            self.fail(format!("what is durable could not be written down: {e}"));
        }
    }

    fn durable(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) -> Result<(), DbError> {
        if let Some(why) = self.failure.borrow().clone() {
            return Err(DbError::Failed { why });
        }
        let synced = self.durable().watermark.sync();
        synced.map_err(|e| self.fail(format!("the number of durable commits is not durable: {e}")))
    }
}

impl Pending {
    fn is_full(&self) -> bool {
        self.waiters.len() >= MAX_WAITING || self.unsynced >= MAX_UNSYNCED
    }
}
