//! Reading.

use std::marker::PhantomData;

use rocksdb::{DB, DBIteratorWithThreadMode, Direction, IteratorMode, ReadOptions};

use crate::batch::handle;
use crate::cf::Cf;
use crate::error::DbError;
use crate::key::{Key, after};
use crate::record::{self, Record};

/// An error of RocksDB while it reads.
pub(crate) fn damaged(db: &DB, cf: Cf, why: &rocksdb::Error) -> DbError {
    DbError::Damaged {
        path: db.path().into(),
        detail: format!("{}: {why}", cf.name()),
    }
}

pub(crate) fn get<R: Record>(db: &DB, key: &R::Key) -> Result<Option<R>, DbError> {
    let key = key.to_bytes();
    let value = db
        .get_pinned_cf(handle(db, R::CF)?, &key)
        .map_err(|e| damaged(db, R::CF, &e))?;
    value.map(|value| record::decode(&key, &value)).transpose()
}

/// Records in the order of their keys, as they were when the scan began. After an error it ends.
pub struct Scan<'a, R: Record> {
    db: &'a DB,
    rows: Option<DBIteratorWithThreadMode<'a, DB>>,
    records: PhantomData<fn() -> R>,
}

impl<'a, R: Record> Scan<'a, R> {
    /// From the first key at or after `from` to the last before `to`, or back.
    pub(crate) fn new(
        db: &'a DB,
        from: Vec<u8>,
        to: Option<Vec<u8>>,
        direction: Direction,
    ) -> Result<Scan<'a, R>, DbError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        // A scan is no reason to throw out of the small cache what is read singly.
        options.fill_cache(false);
        let mode = match direction {
            Direction::Forward => IteratorMode::Start,
            Direction::Reverse => IteratorMode::End,
        };
        let rows = Some(db.iterator_cf_opt(handle(db, R::CF)?, options, mode));
        Ok(Scan {
            db,
            rows,
            records: PhantomData,
        })
    }

    pub(crate) fn prefix(
        db: &'a DB,
        prefix: Vec<u8>,
        direction: Direction,
    ) -> Result<Scan<'a, R>, DbError> {
        let to = after(&prefix);
        Scan::new(db, prefix, Some(to), direction)
    }
}

impl<R: Record> Iterator for Scan<'_, R> {
    type Item = Result<(R::Key, R), DbError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.rows.as_mut()?.next()? {
            Ok((key, value)) => record::decode_key::<R>(&key)
                .and_then(|decoded| Ok((decoded, record::decode(&key, &value)?))),
            Err(e) => Err(damaged(self.db, R::CF, &e)),
        };
        if row.is_err() {
            self.rows = None;
        }
        Some(row)
    }
}

/// Reads every block of a column family and checks its checksums.
pub(crate) fn check(db: &DB, cf: Cf) -> Result<(), DbError> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    let mut rows = db.iterator_cf_opt(handle(db, cf)?, options, IteratorMode::Start);
    rows.try_for_each(|row| row.map(drop).map_err(|e| damaged(db, cf, &e)))
}
