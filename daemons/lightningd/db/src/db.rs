//! The handle.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rocksdb::Direction;

use crate::backup::{self, Copied};
use crate::batch::Batch;
use crate::error::DbError;
use crate::identity::{Identity, SCHEMA};
use crate::key::{Key, Prefix};
use crate::open::{self, Loss};
use crate::queue::{Committed, Queue, Stamp};
use crate::read::{self, Scan};
use crate::record::Record;
use crate::watermark;
use crate::{create, options};

/// What was written since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches that took effect.
    pub batches: u64,
    /// Syncs of the log that served them.
    pub syncs: u64,
}

/// The open database. Clones are the same database; when the last is dropped, everything is
/// synced and closed.
#[derive(Clone)]
pub struct Db {
    queue: Arc<Queue>,
    writer: Arc<Writer>,
    network: Arc<str>,
}

struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<Result<(), DbError>>>>,
}

impl Db {
    /// Creates a database where nothing stands: `path` is absent or an empty folder. It appears
    /// there whole or not at all.
    ///
    /// # Errors
    /// Something stands there, or the disk refuses.
    pub fn create(path: &Path, identity: &Identity) -> Result<Db, DbError> {
        create::create(path, identity)?;
        Db::open(path, identity)
    }

    /// Opens a database that is there, whole and ours. Blocks: it reads the log and everything
    /// that the node cannot run without. An older schema is brought up to `expect.schema`.
    ///
    /// # Errors
    /// See [`DbError`]; the folder is then as it was.
    pub fn open(path: &Path, expect: &Identity) -> Result<Db, DbError> {
        Found::look(path, &expect.network, expect.schema)?.open(expect)
    }

    /// Looks at a database that is there, before it is known whose node this is. Changes nothing.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn find(path: &Path, network: &str) -> Result<Found, DbError> {
        Found::look(path, network, SCHEMA)
    }

    /// As [`Db::open`], after the owner has confirmed a recovery: what is left is taken even if
    /// acknowledged commits are missing. If the answer is a [`Loss`], no channel's state may be
    /// believed until its peer has shown the newest one.
    ///
    /// # Errors
    /// Anything but lost commits.
    pub fn open_after_loss(path: &Path, expect: &Identity) -> Result<(Db, Option<Loss>), DbError> {
        let Found { checked, .. } = Found::look(path, &expect.network, expect.schema)?;
        let acknowledged = checked.acknowledged.clone().ok();
        let found = checked.sequence;
        if acknowledged.is_some_and(|acknowledged| acknowledged <= found) {
            return Ok((Db::start(path, expect, checked)?, None));
        }
        let mark = |e| DbError::io("write", &path.join(watermark::FILE), e);
        open::check_node(&checked.identity, path, expect)?;
        let db = open::open(path, &options::options(), expect, &checked)?;
        checked.watermark.reset(found).map_err(mark)?;
        tracing::warn!(
            ?acknowledged,
            found,
            "commits were lost, as the owner has accepted"
        );
        let loss = Loss {
            acknowledged,
            found,
        };
        Ok((Db::run(path, db, checked)?, Some(loss)))
    }

    /// Whether something stands at `path`: whether to open, or to create for a new node.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn exists(path: &Path) -> Result<bool, DbError> {
        open::stands(path)
    }

    fn start(path: &Path, expect: &Identity, checked: open::Checked) -> Result<Db, DbError> {
        open::check_node(&checked.identity, path, expect)?;
        let db = open::open(path, &options::options(), expect, &checked)?;
        Db::run(path, db, checked)
    }

    fn run(path: &Path, db: rocksdb::DB, checked: open::Checked) -> Result<Db, DbError> {
        let network = checked.identity.network.as_str().into();
        let unmarked = |e: std::io::Error| DbError::NotOpened {
            path: path.into(),
            why: format!("what is durable cannot be written down: {e}"),
        };
        let queue = Arc::new(Queue::new(db, checked).map_err(unmarked)?);
        let thread = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || queue.run())
        };
        let thread = Mutex::new(Some(thread));
        Ok(Db {
            writer: Arc::new(Writer {
                queue: Arc::clone(&queue),
                thread,
            }),
            queue,
            network,
        })
    }

    /// The record under a key.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get<R: Record>(&self, key: &R::Key) -> Result<Option<R>, DbError> {
        read::get(&self.queue.db, key)
    }

    /// All records of a kind, in the order of their keys. They are all in memory then:
    /// [`Db::iter`] for kinds that grow without bound.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn scan<R: Record>(&self) -> Result<Vec<(R::Key, R)>, DbError> {
        self.iter()?.collect()
    }

    /// All records whose key starts with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn scan_prefix<R: Record>(
        &self,
        prefix: &impl Prefix<R::Key>,
    ) -> Result<Vec<(R::Key, R)>, DbError> {
        self.iter_prefix(prefix)?.collect()
    }

    /// All records of a kind, read one by one as they were when this was called.
    ///
    /// # Errors
    /// The column family is not there.
    pub fn iter<R: Record>(&self) -> Result<Scan<'_, R>, DbError> {
        Scan::new(&self.queue.db, Vec::new(), None, Direction::Forward)
    }

    /// As [`Db::iter`], the highest key first.
    ///
    /// # Errors
    /// As [`Db::iter`].
    pub fn iter_back<R: Record>(&self) -> Result<Scan<'_, R>, DbError> {
        Scan::new(&self.queue.db, Vec::new(), None, Direction::Reverse)
    }

    /// As [`Db::iter`], from `key` on.
    ///
    /// # Errors
    /// As [`Db::iter`].
    pub fn iter_from<R: Record>(&self, key: &R::Key) -> Result<Scan<'_, R>, DbError> {
        Scan::new(&self.queue.db, key.to_bytes(), None, Direction::Forward)
    }

    /// As [`Db::iter`], those whose key starts with `prefix`.
    ///
    /// # Errors
    /// As [`Db::iter`].
    pub fn iter_prefix<R: Record>(
        &self,
        prefix: &impl Prefix<R::Key>,
    ) -> Result<Scan<'_, R>, DbError> {
        Scan::prefix(&self.queue.db, prefix.prefix(), Direction::Forward)
    }

    /// As [`Db::iter_prefix`], the highest key first.
    ///
    /// # Errors
    /// As [`Db::iter`].
    pub fn iter_prefix_back<R: Record>(
        &self,
        prefix: &impl Prefix<R::Key>,
    ) -> Result<Scan<'_, R>, DbError> {
        Scan::prefix(&self.queue.db, prefix.prefix(), Direction::Reverse)
    }

    /// Applies a batch now and makes it durable: it has taken effect when this returns, and is
    /// durable, with everything before it, when the future resolves. The future need not be
    /// polled for that.
    ///
    /// May block for the time of a sync when very much is waiting for one.
    pub fn commit(&self, batch: Batch) -> Committed {
        self.queue.commit(batch)
    }

    /// As [`Db::commit`], and waits. For start-up, tools and tests: it blocks the thread.
    ///
    /// # Errors
    /// The batch is not durable.
    pub fn commit_blocking(&self, batch: Batch) -> Result<(), DbError> {
        self.queue.commit_blocking(batch)
    }

    /// Applies a batch that nothing is promised upon. It is durable no later than the next commit,
    /// and within a second or so without one.
    ///
    /// # Errors
    /// It took no effect.
    pub fn write(&self, batch: Batch) -> Result<(), DbError> {
        self.queue.write(batch)
    }

    /// From now on each batch takes along what `stamp` gives, if it is something new, and a while
    /// without a batch ends with one that has nothing else. [`Found::stamp`] gives it back. The first
    /// call counts.
    pub fn stamp_with(&self, stamp: Stamp) {
        self.queue.stamp_with(stamp);
    }

    /// Copies the database, as it is now, to the folder `to`, which is not there yet: durably, and so that the
    /// copy says of itself that it is one. `at` is now, in seconds since the epoch; `then` is called as soon as
    /// everything that the copy will have is fixed. Blocks for as long as it takes to read and write all of
    /// it; others go on meanwhile.
    ///
    /// # Errors
    /// Something stands there; the disk refuses; a write has failed before.
    pub fn backup(&self, to: &Path, at: u64, then: impl FnOnce()) -> Result<(), DbError> {
        self.queue.check()?;
        backup::backup(&self.queue.db, &self.network, to, at, then)
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        self.queue.stats()
    }

    /// Resolves, with the reason, when a write or a sync has failed. The node must then stop.
    /// Never resolves otherwise, not even when the database is closed.
    pub fn failed(&self) -> impl Future<Output = DbError> + Send + use<> {
        let mut failure = self.queue.failure();
        async move {
            match failure
                .wait_for(Option::is_some)
                .await
                .map(|why| why.clone())
            {
                Ok(Some(why)) => DbError::Failed { why },
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Syncs everything and stops the writer. Other clones can read, but not write any more; the
    /// files are released when the last clone is dropped.
    ///
    /// # Errors
    /// Something is not durable.
    pub fn close(self) -> Result<(), DbError> {
        self.writer.stop()
    }
}

/// A database that passed all checks but whose node it is of. It is locked until it is opened or
/// dropped.
pub struct Found {
    path: PathBuf,
    checked: open::Checked,
}

impl Found {
    fn look(path: &Path, network: &str, schema: u32) -> Result<Found, DbError> {
        Ok(Found {
            path: path.into(),
            checked: open::check(path, network, schema)?,
        })
    }

    /// What the last batch was stamped with, see [`Db::stamp_with`]; `None` if none was.
    #[must_use]
    pub fn stamp(&self) -> Option<&[u8]> {
        self.checked.stamp()
    }

    /// Whether it is a copy that was made while the node ran ([`Db::backup`]), and was not yet gone on with.
    #[must_use]
    pub fn copied(&self) -> Option<Copied> {
        self.checked.copied
    }

    /// Whose it is, and its schema.
    pub(crate) fn identity(&self) -> &Identity {
        &self.checked.identity
    }

    /// Opens it, if it is of this node.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open(self, expect: &Identity) -> Result<Db, DbError> {
        self.checked.check_commits(&self.path)?;
        Db::start(&self.path, expect, self.checked)
    }
}

impl Writer {
    fn stop(&self) -> Result<(), DbError> {
        self.queue.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match thread.map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(DbError::Failed {
                why: "the writer panicked".into(),
            }),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!("{error}");
        }
    }
}
