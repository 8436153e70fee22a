//! A database that is only looked at.

use std::path::{Path, PathBuf};

use rocksdb::{DB, Direction};

use crate::backup::Copied;
use crate::cf::Cf;
use crate::error::DbError;
use crate::identity::{Identity, SCHEMA};
use crate::open::{self, Checked};
use crate::read::{self, Scan};
use crate::record::Record;

/// All of a database, as it lies on the disk: nothing of it is changed, nor recovered. Nobody can open it
/// while this lives.
pub struct View {
    path: PathBuf,
    db: DB,
    checked: Checked,
}

impl View {
    /// Checks what [`crate::Db::find`] checks, and every block of the other column families too.
    ///
    /// # Errors
    /// As [`crate::Db::find`]; a block of any column family is damaged.
    pub fn open(path: &Path, network: &str) -> Result<View, DbError> {
        let (checked, db) = open::inspect(path, network, SCHEMA)?;
        for cf in Cf::ALL {
            if !cf.checked_on_start() && cf.since() <= checked.identity.schema {
                read::check(&db, cf)?;
            }
        }
        Ok(View {
            path: path.into(),
            db,
            checked,
        })
    }

    /// Whose it is, and its schema.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.checked.identity
    }

    /// As [`crate::Found::stamp`].
    #[must_use]
    pub fn stamp(&self) -> Option<&[u8]> {
        self.checked.stamp()
    }

    /// As [`crate::Found::copied`].
    #[must_use]
    pub fn copied(&self) -> Option<Copied> {
        self.checked.copied
    }

    /// How many batches were written.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.checked.sequence
    }

    /// # Errors
    /// A commit that was acknowledged is not there, or it cannot be told which were.
    pub fn check_commits(&self) -> Result<(), DbError> {
        self.checked.check_commits(&self.path)
    }

    /// The record under a key.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get<R: Record>(&self, key: &R::Key) -> Result<Option<R>, DbError> {
        read::get(&self.db, key)
    }

    /// All records of a kind, in the order of their keys; of a kind that its schema does not have, none.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn scan<R: Record>(&self) -> Result<Vec<(R::Key, R)>, DbError> {
        self.rows()?.into_iter().flatten().collect()
    }

    /// Decodes every record of a kind; how many there are.
    ///
    /// # Errors
    /// As [`View::scan`].
    pub fn read_through<R: Record>(&self) -> Result<u64, DbError> {
        let rows = self.rows::<R>()?.into_iter().flatten();
        rows.map(|row| row.map(|_| 1u64)).sum()
    }

    fn rows<R: Record>(&self) -> Result<Option<Scan<'_, R>>, DbError> {
        match R::CF.since() <= self.checked.identity.schema {
            true => Scan::new(&self.db, Vec::new(), None, Direction::Forward).map(Some),
            false => Ok(None),
        }
    }
}
