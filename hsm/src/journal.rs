//! `hsm-journal`: an append-only file of what was signed, durable before anybody hears of it.
//!
//! The file is a header and records. Each record has its length with a check of its own, the
//! payload, and a tag. The tags authenticate a chain of hashes (each over the one before, the length
//! and the payload) with a key that derives from the seed, so that nothing can be changed, moved,
//! left out or added but by hsmd: see [`format`].
//!
//! Many changes are appended in one write and waited for once ([`Journal::sync`]). A crash within
//! that write leaves a torn tail, of which nobody has heard: it is cut at the next start. A tail is
//! torn only if the file ends within a record, or has nothing but zeros from the record's tag, or
//! from one of the disk's sectors within it, to its end. Everything else that does not verify is damage and is refused: a journal that
//! lost a record could sign a revoked commitment.
//!
//! When it has grown long, a new file is begun with the state itself ([`Journal::compact`]).
//!
//! What the chain cannot see: a whole file that was replaced by an older one, or cut between two
//! records. That is rule B2, which compares the heads with what the database last saw: see [`heads`].
//!
//! After an error of the disk nothing is written or synced again: what it then holds is not known, and
//! a second try may succeed without having written anything. hsmd ends, and the next start finds what
//! was acknowledged, at least.

mod format;
mod heads;
mod replay;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use hsm_messages::ctl::Database;
use hsm_messages::mark::Mark;
use nix::fcntl::{Flock, FlockArg, OFlag};
use wire::ChainHash;

use self::format::{Begin, Chain};
use crate::hsm::OpenError;
use crate::record::Record;
use crate::secret::{Secret, fill_random};
use crate::state::State;
use hsm_files::folder::Folder;

pub(crate) use self::format::chain_of;
pub(crate) use self::heads::Heads;
pub(crate) use self::replay::{Replayed, replay};

pub(crate) const FILE: &str = "hsm-journal";
const TEMPORARY: &str = "hsm-journal.new";
/// A journal shorter than this is never compacted, in bytes.
const COMPACT_FROM: u64 = 64 << 20;
/// Nor one that is not this many times as long as its snapshot was.
const COMPACT_RATIO: u64 = 4;

/// The journal cannot be used. Nothing more may be signed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(
        "cannot {doing} {FILE}: {error}. Nothing that was confirmed is lost: free or check the disk, \
         then start the node again"
    )]
    Io {
        doing: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("another hsmd uses {FILE}")]
    InUse,
    #[error(
        "{FILE} is no journal, or of a version that this program does not know: put back the newest, the \
         one of the same moment as the database, or use the version that wrote it"
    )]
    NotAJournal,
    #[error(
        "{FILE} belongs to another chain: put back the one of this network, or check --network"
    )]
    OtherChain,
    #[error("{FILE} was written with another seed: restore the hsm_secret that belongs to it")]
    OtherSeed,
    #[error(
        "{FILE} is damaged at byte {at}: {what}. Do not delete it: with an older copy a revoked \
         commitment could be signed. Restore it from the same moment as the database, or recover \
         the channels from a static backup"
    )]
    Damaged { at: u64, what: &'static str },
    #[error(
        "{FILE} is an older copy, or the database another node's: that has seen record {sequence} of \
         start {epoch}, which is not there (it ends with record {journal}). With it a revoked commitment could be signed, \
         so nothing is signed and nothing was changed. Put back the newest {FILE}; if that is lost, \
         recover the channels from a static backup"
    )]
    Older {
        epoch: u64,
        sequence: u64,
        journal: u64,
    },
    #[error(
        "there is no database, but {FILE} has come to record {journal}: put the folder db back, the \
         one of the same moment, or recover the channels from a static backup; nothing was created"
    )]
    NoDatabase { journal: u64 },
    #[error(
        "the database is an older copy: it has seen record {sequence} of start {epoch}, but {FILE} \
         has come to record {journal} of start {journal_epoch}. Its channels could be at states that \
         are revoked, so nothing is signed and nothing was changed. Put back the newest folder db, \
         the one of the same moment as {FILE}. If that is lost, start the node with \
         --await-recovery and run lightning-hsmtool confirm-recovery: most channels will have to be \
         closed"
    )]
    DatabaseOlder {
        epoch: u64,
        sequence: u64,
        journal_epoch: u64,
        journal: u64,
    },
    #[error("nothing more can be recorded: {0}")]
    Failed(String),
}

pub(crate) fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    move |error| JournalError::Io { doing, error }
}

pub(crate) struct Journal {
    file: Flock<File>,
    chain: Chain,
    heads: Heads,
    /// How far all is durable.
    settled: Mark,
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
        Ok(find(folder, OFlag::O_RDONLY)?.is_some())
    }

    /// All of it, as it lies on the disk.
    pub(crate) fn read(folder: &Folder) -> Result<Vec<u8>, JournalError> {
        read_all(&found(folder, OFlag::O_RDONLY)?)
    }

    /// # Errors
    /// [`JournalError::InUse`]: a running hsmd has it.
    pub(crate) fn check_unused(folder: &Folder) -> Result<(), JournalError> {
        let file = find(folder, OFlag::O_RDONLY)?;
        file.map_or(Ok(()), |file| lock(file).map(drop))
    }

    /// A new journal with nothing in it, durably.
    pub(crate) fn create(
        folder: &Folder,
        chain_hash: ChainHash,
        key: &Secret<32>,
    ) -> Result<(), JournalError> {
        let mut before = [0; 32];
        fill_random(&mut before).map_err(doing("draw random bytes for"))?;
        let (header, _) = format::header(Begin::Nothing, chain_hash, before, key);
        folder
            .create_whole(FILE, TEMPORARY, 0o600, &header)
            .map_err(doing("create"))
    }

    /// Reads all of it as [`Journal::open`] does, and changes nothing: its state, and why it is not of one
    /// moment with the database.
    pub(crate) fn inspect(
        folder: &Folder,
        chain_hash: ChainHash,
        key: Secret<32>,
        database: Database,
    ) -> Result<(State, Option<String>), OpenError> {
        if !Journal::exists(folder)? {
            return Err(OpenError::NoJournal);
        }
        Journal::check_unused(folder)?;
        let Replayed { state, heads, .. } = replay(&Journal::read(folder)?, chain_hash, key)?;
        let moment = heads.check(database, state.channels.len());
        Ok((state, moment.err().map(|error| error.to_string())))
    }

    /// Opens it, cuts a torn tail, and gives the state that it amounts to. What is refused stays as
    /// it is.
    pub(crate) fn open(
        folder: &Folder,
        chain_hash: ChainHash,
        key: Secret<32>,
        database: Database,
    ) -> Result<(Journal, State), JournalError> {
        let file = lock(found(folder, OFlag::O_RDWR)?)?;
        let bytes = read_all(&file)?;
        let Replayed {
            state,
            heads,
            chain,
            len,
            base,
        } = replay(&bytes, chain_hash, key)?;
        heads.check(database, state.channels.len())?;
        if len < bytes.len() as u64 {
            file.set_len(len).map_err(doing("cut"))?;
            file.sync_all().map_err(doing("sync"))?;
        }
        // A compaction that a crash or a full disk ended before it counted.
        folder.remove(TEMPORARY).map_err(doing("clean up beside"))?;
        let journal = Journal {
            file,
            chain,
            settled: heads.newest(),
            heads,
            len,
            base,
            pending: Vec::new(),
            urgent: false,
            unsettled: false,
            syncs: 0,
            failed: None,
        };
        Ok((journal, state))
    }

    /// The record of this start.
    pub(crate) fn start(&self) -> Record {
        Record::Start(self.heads.next_epoch())
    }

    /// The newest of what is durable, for the database.
    pub(crate) fn mark(&self) -> Mark {
        self.settled
    }

    /// Adds a record to those that [`Journal::sync`] writes.
    pub(crate) fn append(&mut self, record: &Record) {
        self.urgent |= !record.may_wait();
        if let Err(error) = self.chain.append(record, &mut self.pending) {
            self.fail(error.to_string());
        } else if let Err(misfit) = self.heads.push(record, self.chain.head()) {
            self.fail(misfit.to_string());
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
        self.check()?;
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
        self.check()?;
        if self.unsettled {
            let synced = self.file.sync_data();
            self.or_fail(synced, "sync")?;
            self.syncs = self.syncs.saturating_add(1);
            self.settled = self.heads.newest();
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

    fn check(&self) -> Result<(), JournalError> {
        match &self.failed {
            Some(why) => Err(JournalError::Failed(why.clone())),
            None => Ok(()),
        }
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

    /// Begins a new file with the state, durably.
    pub(crate) fn compact(
        &mut self,
        folder: &Folder,
        chain_hash: ChainHash,
        state: &State,
    ) -> Result<(), JournalError> {
        self.sync()?;
        let compacted = self.write_snapshot(folder, chain_hash, state);
        // Which of the two files the next start would find is not known.
        let (file, chain, len) = compacted.inspect_err(|error| self.fail(error.to_string()))?;
        (self.file, self.chain, self.len, self.base) = (file, chain, len, len);
        self.settled = self.heads.newest();
        self.unsettled = false;
        Ok(())
    }

    fn write_snapshot(
        &self,
        folder: &Folder,
        chain_hash: ChainHash,
        state: &State,
    ) -> Result<(Flock<File>, Chain, u64), JournalError> {
        let file = folder.create(TEMPORARY, 0o600).map_err(doing("create"))?;
        let mut file = lock(file)?;
        let (mut buffer, mut chain) = self.chain.successor(chain_hash);
        let mut len = 0u64;
        let heads = Record::SnapshotHeads(self.heads.clone());
        for record in state.snapshot().chain(std::iter::once(heads)) {
            let appended = chain.append(&record, &mut buffer);
            appended.map_err(|error| JournalError::Failed(error.to_string()))?;
            if buffer.len() > 1 << 20 {
                file.write_all(&buffer).map_err(doing("write"))?;
                len = len.saturating_add(buffer.len() as u64);
                buffer.clear();
            }
        }
        file.write_all(&buffer).map_err(doing("write"))?;
        len = len.saturating_add(buffer.len() as u64);
        file.sync_all().map_err(doing("sync"))?;
        folder.rename(TEMPORARY, FILE).map_err(doing("replace"))?;
        Ok((file, chain, len))
    }
}

fn find(folder: &Folder, flags: OFlag) -> Result<Option<File>, JournalError> {
    folder.open(FILE, flags).map_err(doing("open"))
}

fn found(folder: &Folder, flags: OFlag) -> Result<File, JournalError> {
    let file = find(folder, flags)?;
    file.ok_or_else(|| doing("open")(io::ErrorKind::NotFound.into()))
}

fn read_all(mut file: &File) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(doing("read"))?;
    Ok(bytes)
}

fn lock(file: File) -> Result<Flock<File>, JournalError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => JournalError::InUse,
        other => doing("lock")(other.into()),
    })
}
