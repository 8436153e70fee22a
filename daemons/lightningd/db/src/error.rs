//! Why the database cannot be used, and what to do.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cf::Cf;
use crate::watermark;

/// What every refusal to open ends with.
const ADVICE: &str = "Nothing was changed. Do not start with an empty database instead: a node \
                      that forgets its channels, or repeats an old state of one, loses money";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    #[error(
        "there is no database at {path}, but the node has run before. Mount the disk or restore \
         the folder. {}",
        ADVICE
    )]
    Missing { path: PathBuf },
    #[error("{path} is not empty: a new database is created only where nothing stands")]
    AlreadyThere { path: PathBuf },
    #[error("{path} is in use by another process: stop it first")]
    InUse { path: PathBuf },
    #[error(
        "{path} lacks {file}. Restore the folder from a copy taken after the node last ran; \
         single files of an older copy do not help. {}",
        ADVICE
    )]
    MissingFile { path: PathBuf, file: String },
    #[error(
        "{path} lacks the column families {names:?}. Restore the folder from a copy taken after \
         the node last ran. {}",
        ADVICE
    )]
    MissingColumnFamilies { path: PathBuf, names: Vec<String> },
    #[error(
        "{path} has the column families {names:?}, which this version does not know: use the \
         version that wrote them"
    )]
    UnknownColumnFamilies { path: PathBuf, names: Vec<String> },
    #[error(
        "{path} is damaged: {detail}. Check the disk, then restore the folder from a copy taken \
         after the node last ran. {}",
        ADVICE
    )]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "{path} has lost commits: number {acknowledged} was durable, but only {found} are left. \
         The write-ahead log was cut or damaged, or the disk confirmed writes that it had not \
         made. Restore the folder from a copy taken after the node last ran, or confirm a \
         recovery, in which every channel waits for its peer to show the newest state. {}",
        ADVICE
    )]
    LostCommits {
        path: PathBuf,
        acknowledged: u64,
        found: u64,
    },
    #[error(
        "{path}/{} cannot be read: {detail}. It says which commits were durable. Put the folder \
         back from a copy taken after the node last ran, or confirm a recovery. {}",
        watermark::FILE,
        ADVICE
    )]
    Watermark { path: PathBuf, detail: String },
    #[error(
        "{path} cannot be opened for writing: {why}. Nothing that was confirmed is lost: free or check the \
         disk, then start the node again"
    )]
    NotOpened { path: PathBuf, why: String },
    #[error("{path} is a RocksDB database, but not one of this program")]
    NotOurs { path: PathBuf },
    #[error(
        "{path} belongs to node {found}, but the seed is that of node {expected}: put back the \
         hsm_secret that belongs to this folder, or use the folder that belongs to the seed"
    )]
    OtherNode {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error("{path} is for network {found}, not {expected}: check --network and --lightning-dir")]
    OtherNetwork {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error(
        "{path} has schema {found}, this version knows schemas up to {known}: use the version \
         that wrote it, or a newer one"
    )]
    NewerSchema {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    #[error(
        "a record in {cf:?} was written by a newer version ({found}, this one knows {known}): use \
         that version"
    )]
    NewerRecord { cf: Cf, found: u8, known: u8 },
    #[error(
        "the record {key} in {cf:?} cannot be read: {detail}. Do not delete it: put the folder \
         back from a copy taken after the node last ran"
    )]
    Unreadable { cf: Cf, key: String, detail: String },
    #[error("a record for {cf:?} cannot be written: {detail}. This is a bug")]
    Unwritable { cf: Cf, detail: String },
    #[error(
        "a write to the database failed, and nothing is written any more: {why}. Free or check \
         the disk, then start the node again"
    )]
    Failed { why: Arc<str> },
    #[error("the database is closed")]
    Closed,
    #[error("cannot {what} {path}: {why}")]
    Io {
        what: &'static str,
        path: PathBuf,
        why: String,
    },
}

impl DbError {
    pub(crate) fn io(what: &'static str, path: &std::path::Path, why: impl ToString) -> DbError {
        DbError::Io {
            what,
            path: path.into(),
            why: why.to_string(),
        }
    }
}
