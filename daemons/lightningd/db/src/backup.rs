//! A copy of the database while it is in use.
//!
//! RocksDB's checkpoint is of one moment, and has everything that was written before. Its tables are links
//! to the database's own where both lie on one disk: what is kept is a copy of each, so that a disk that
//! spoils one does not spoil both. The copy is opened before it counts, which reads it through, and says of
//! itself that it is one: the node goes on from the original, so whoever opens the copy has to know that
//! peers may be further ([`Copied`]).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rocksdb::checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::cf::Cf;
use crate::create::sync_folder;
use crate::db::{Db, Found};
use crate::error::DbError;
use crate::open::stands;
use crate::record::Record;
use crate::watermark::Watermark;

/// That a database is a copy, under `db/copied` in `meta`, until the owner has confirmed to go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Seconds since the epoch.
    pub at: u64,
}

impl Copied {
    pub(crate) fn key() -> String {
        "db/copied".into()
    }

    /// Adds to a batch that the database is no copy any more.
    pub fn confirmed(batch: &mut Batch) {
        batch.delete::<Copied>(&Copied::key());
    }
}

impl Record for Copied {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
}

/// Copies the database that `db` is to the folder `to`, which is not there yet, durably. `then` is called as
/// soon as its moment is fixed.
pub(crate) fn backup(
    db: &rocksdb::DB,
    network: &str,
    to: &Path,
    at: u64,
    then: impl FnOnce(),
) -> Result<(), DbError> {
    if stands(to)? {
        return Err(DbError::AlreadyThere { path: to.into() });
    }
    let links = to.with_extension("checkpoint");
    let fail = |e: rocksdb::Error| DbError::io("make the checkpoint", &links, e);
    let checkpoint = Checkpoint::new(db).map_err(fail)?;
    checkpoint.create_checkpoint(&links).map_err(fail)?;
    then();
    let copied = copy_all(&links, to);
    let removed = fs::remove_dir_all(&links).map_err(|e| DbError::io("remove", &links, e));
    copied.and(removed)?;
    Watermark::create(to)?;
    mark(network, to, at)?;
    sync_folder(to)
}

fn copy_all(from: &Path, to: &Path) -> Result<(), DbError> {
    fs::create_dir(to).map_err(|e| DbError::io("create", to, e))?;
    let names = fs::read_dir(from).map_err(|e| DbError::io("read the folder", from, e))?;
    for entry in names {
        let entry = entry.map_err(|e| DbError::io("read the folder", from, e))?;
        let target = to.join(entry.file_name());
        copy(&entry.path(), &target).map_err(|e| DbError::io("copy to", &target, e))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

fn mark(network: &str, to: &Path, at: u64) -> Result<(), DbError> {
    let found = Db::find(to, network)?;
    let identity = found.identity().clone();
    let db = Found::open(found, &identity)?;
    let mut batch = Batch::new();
    batch.put(&Copied::key(), &Copied { at });
    db.commit_blocking(batch)?;
    db.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, SCHEMA};

    #[test]
    fn a_copy_has_what_was_written_before_and_says_that_it_is_one_until_that_is_confirmed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("db"), dir.path().join("copy"));
        let identity = Identity {
            node_id: [2; 33],
            network: "regtest".into(),
            schema: SCHEMA,
        };
        let db = Db::create(&path, &identity).unwrap();
        db.backup(&to, 7, || ()).unwrap();
        assert!(matches!(
            db.backup(&to, 7, || ()),
            Err(DbError::AlreadyThere { .. })
        ));
        // Neither has a file of the other's.
        for entry in fs::read_dir(&to).unwrap().flatten() {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(entry.metadata().unwrap().nlink(), 1, "{entry:?}");
        }
        drop(db);
        assert_eq!(Db::find(&path, "regtest").unwrap().copied(), None);
        let found = Db::find(&to, "regtest").unwrap();
        assert_eq!(found.copied(), Some(Copied { at: 7 }));
        let db = found.open(&identity).unwrap();
        let mut batch = Batch::new();
        Copied::confirmed(&mut batch);
        db.commit_blocking(batch).unwrap();
        drop(db);
        assert_eq!(Db::find(&to, "regtest").unwrap().copied(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
