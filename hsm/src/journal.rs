//! `hsm-journal`: an append-only file of what was signed, durable before anybody hears of it.
//!
//! The file is a header and records. Each record has its length with a check of its own, the
//! payload, and a tag. The tags authenticate a chain of hashes (each over the one before, the length
//! and the payload) with a key that derives from the seed, so that nothing can be changed, moved,
//! left out or added but by hsmd: see [`format`].
//!
//! Many changes are appended in one write and waited for once ([`Journal::sync`]). A crash within
//! that write leaves a torn tail, of which nobody has heard: it is cut at the next start. A tail is
//! torn only if the file ends within a record, or has nothing but zeros where the tag (or all of
//! it) should be. Everything else that does not verify is damage and is refused: a journal that
//! lost a record could sign a revoked commitment.
//!
//! When it has grown long, a new file is begun with the state itself ([`Journal::compact`]).
//!
//! What this cannot see: a whole file that was replaced by an older one, or cut between two records.
//! That is rule B2's other half, which compares the head with what the database last saw.

mod format;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use nix::fcntl::{Flock, FlockArg, OFlag};
use wire::ChainHash;

use self::format::{Chain, Parsed};
use crate::folder::Folder;
use crate::record::Record;
use crate::secret::{Secret, fill_random};
use crate::state::{Misfit, State};

pub(crate) const FILE: &str = "hsm-journal";
const TEMPORARY: &str = "hsm-journal.new";
/// A journal shorter than this is never compacted, in bytes.
const COMPACT_FROM: u64 = 64 << 20;
/// Nor one that is not this many times as long as its snapshot was.
const COMPACT_RATIO: u64 = 4;

/// The journal cannot be used. Nothing more may be signed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {doing} {FILE}: {error}")]
    Io {
        doing: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("another hsmd uses {FILE}")]
    InUse,
    #[error("{FILE} is no journal, or of a version that this program does not know")]
    NotAJournal,
    #[error("{FILE} belongs to another chain")]
    OtherChain,
    #[error("{FILE} was written with another seed: restore the hsm_secret that belongs to it")]
    OtherSeed,
    #[error(
        "{FILE} is damaged at byte {at}: {what}. Do not delete it: with an older copy a revoked \
         commitment could be signed. Restore it from the same moment as the database, or recover \
         the channels from a static backup"
    )]
    Damaged { at: u64, what: &'static str },
    #[error("a bug: a change could not be recorded: {0}")]
    Bug(String),
}

fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    move |error| JournalError::Io { doing, error }
}

pub(crate) struct Journal {
    file: Flock<File>,
    chain: Chain,
    /// Written bytes of the file.
    len: u64,
    /// Bytes of header and snapshot.
    base: u64,
    /// Encoded and not yet written.
    pending: Vec<u8>,
    /// Something pending must be durable before the next reply leaves.
    urgent: bool,
    /// Something written is not durable yet.
    unsettled: bool,
    /// How often the disk was waited for.
    syncs: u64,
    /// What went wrong: nothing is written any more.
    failed: Option<String>,
}

impl Journal {
    pub(crate) fn exists(folder: &Folder) -> Result<bool, JournalError> {
        let found = folder.open(FILE, OFlag::O_RDONLY).map_err(doing("open"))?;
        Ok(found.is_some())
    }

    /// A new journal with nothing in it, durably.
    pub(crate) fn create(
        folder: &Folder,
        chain_hash: ChainHash,
        key: &Secret<32>,
    ) -> Result<(), JournalError> {
        let mut before = [0; 32];
        fill_random(&mut before).map_err(doing("draw random bytes for"))?;
        let (header, _) = format::header(chain_hash, before, key);
        folder
            .create_whole(FILE, TEMPORARY, 0o600, &header)
            .map_err(doing("create"))
    }

    /// Opens it, cuts a torn tail, and gives the state that it amounts to.
    pub(crate) fn open(
        folder: &Folder,
        chain_hash: ChainHash,
        key: Secret<32>,
    ) -> Result<(Journal, State), JournalError> {
        let file = folder.open(FILE, OFlag::O_RDWR).map_err(doing("open"))?;
        let file = file.ok_or_else(|| doing("open")(io::ErrorKind::NotFound.into()))?;
        let mut file = lock(file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(doing("read"))?;
        let mut chain = format::read_header(&bytes, chain_hash, key)?;
        let mut at = format::HEADER;
        let mut base = at;
        let mut state = State::new();
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let damaged = |what| JournalError::Damaged {
                at: at as u64,
                what,
            };
            match chain.parse(rest).map_err(damaged)? {
                Parsed::End => break,
                Parsed::Torn => {
                    file.set_len(at as u64).map_err(doing("cut"))?;
                    file.sync_all().map_err(doing("sync"))?;
                    break;
                }
                Parsed::Record { record, len } => {
                    let snapshot = matches!(
                        *record,
                        Record::SnapshotCounters { .. } | Record::SnapshotChannel { .. }
                    );
                    state.apply(*record).map_err(|Misfit(what)| damaged(what))?;
                    at = at.saturating_add(len);
                    if snapshot {
                        base = at;
                    }
                }
            }
        }
        let journal = Journal {
            file,
            chain,
            len: at as u64,
            base: base as u64,
            pending: Vec::new(),
            urgent: false,
            unsettled: false,
            syncs: 0,
            failed: None,
        };
        Ok((journal, state))
    }

    /// Adds a record to those that [`Journal::sync`] writes.
    pub(crate) fn append(&mut self, record: &Record) {
        self.urgent |= !record.may_wait();
        if let Err(error) = self.chain.append(record, &mut self.pending) {
            self.fail(error.to_string());
        }
    }

    /// From now on [`Journal::sync`] fails.
    pub(crate) fn fail(&mut self, why: String) {
        self.failed.get_or_insert(why);
    }

    /// Writes what was appended and, unless all of it may wait, waits until it is durable. After an
    /// error nothing that was appended since the last sync may be acted on, and the journal is of no
    /// more use.
    pub(crate) fn sync(&mut self) -> Result<(), JournalError> {
        if let Some(why) = &self.failed {
            return Err(JournalError::Bug(why.clone()));
        }
        if !self.pending.is_empty() {
            let written = self.file.write_all_at(&self.pending, self.len);
            self.or_fail(written, "write")?;
            self.len = self.len.saturating_add(self.pending.len() as u64);
            self.pending.clear();
            self.unsettled = true;
        }
        match self.urgent {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Waits until all that was written is durable.
    pub(crate) fn settle(&mut self) -> Result<(), JournalError> {
        if self.unsettled {
            let synced = self.file.sync_data();
            self.or_fail(synced, "sync")?;
            self.syncs = self.syncs.saturating_add(1);
        }
        (self.urgent, self.unsettled) = (false, false);
        Ok(())
    }

    pub(crate) fn is_settled(&self) -> bool {
        !self.unsettled
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    /// What the disk holds after an error is not known, and no second try makes it known.
    fn or_fail(&mut self, result: io::Result<()>, what: &'static str) -> Result<(), JournalError> {
        let result = result.map_err(doing(what));
        if let Err(error) = &result {
            self.fail(error.to_string());
        }
        result
    }

    /// Whether it has grown so long that [`Journal::compact`] is worth it.
    pub(crate) fn is_long(&self) -> bool {
        self.len > COMPACT_FROM && self.len > self.base.saturating_mul(COMPACT_RATIO)
    }

    /// Begins a new file with the state. Everything appended must be synced.
    pub(crate) fn compact(
        &mut self,
        folder: &Folder,
        chain_hash: ChainHash,
        state: &State,
    ) -> Result<(), JournalError> {
        self.sync()?;
        let file = folder.create(TEMPORARY, 0o600).map_err(doing("create"))?;
        let mut file = lock(file)?;
        let (header, mut chain) = self.chain.successor(chain_hash);
        let (mut buffer, mut len) = (header, 0u64);
        let mut write = |buffer: &mut Vec<u8>| {
            file.write_all(buffer).map_err(doing("write"))?;
            len = len.saturating_add(buffer.len() as u64);
            buffer.clear();
            Ok::<_, JournalError>(())
        };
        for record in state.snapshot() {
            let appended = chain.append(&record, &mut buffer);
            appended.map_err(|error| JournalError::Bug(error.to_string()))?;
            if buffer.len() > 1 << 20 {
                write(&mut buffer)?;
            }
        }
        write(&mut buffer)?;
        file.sync_all().map_err(doing("sync"))?;
        folder.rename(TEMPORARY, FILE).map_err(doing("replace"))?;
        (self.file, self.chain, self.len, self.base) = (file, chain, len, len);
        self.unsettled = false;
        Ok(())
    }
}

fn lock(file: File) -> Result<Flock<File>, JournalError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => JournalError::InUse,
        other => doing("lock")(other.into()),
    })
}
