//! Changes that take effect together or not at all.

use rocksdb::WriteBatch;

use crate::cf::Cf;
use crate::error::DbError;
use crate::key::{Key, MAX_KEY, Prefix, after};
use crate::record::{self, Record};

enum Op {
    Put {
        cf: Cf,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        cf: Cf,
        key: Vec<u8>,
    },
    DeleteRange {
        cf: Cf,
        from: Vec<u8>,
        to: Vec<u8>,
    },
}

/// An atomic set of changes, applied in the order they were added.
#[derive(Default)]
pub struct Batch {
    ops: Vec<Op>,
    size: usize,
    /// The first change that could not be encoded; the batch is refused with it.
    broken: Option<DbError>,
}

impl Batch {
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Writes a record, over what is there.
    pub fn put<R: Record>(&mut self, key: &R::Key, record: &R) -> &mut Batch {
        let key = key.to_bytes();
        match record::encode(record) {
            Ok(value) => self.push(R::CF, key.len() + value.len(), key.len(), |_| Op::Put {
                cf: R::CF,
                key,
                value,
            }),
            Err(error) => {
                self.broken.get_or_insert(error);
                self
            }
        }
    }

    /// Removes a record, if it is there.
    pub fn delete<R: Record>(&mut self, key: &R::Key) -> &mut Batch {
        let key = key.to_bytes();
        self.push(R::CF, key.len(), key.len(), |cf| Op::Delete { cf, key })
    }

    /// Removes every record whose key starts with `prefix`.
    pub fn delete_prefix<R: Record>(&mut self, prefix: &impl Prefix<R::Key>) -> &mut Batch {
        let from = prefix.prefix();
        let to = after(&from);
        self.push(R::CF, 2 * from.len(), from.len(), |cf| Op::DeleteRange {
            cf,
            from,
            to,
        })
    }

    /// Adds the changes of another batch after those of this one.
    pub fn append(&mut self, other: Batch) -> &mut Batch {
        self.ops.extend(other.ops);
        self.size += other.size;
        if self.broken.is_none() {
            self.broken = other.broken;
        }
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.broken.is_none()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    fn push(&mut self, cf: Cf, size: usize, key: usize, op: impl FnOnce(Cf) -> Op) -> &mut Batch {
        if key > MAX_KEY {
            let detail = format!("its key has {key} bytes, more than {MAX_KEY}");
            self.broken
                .get_or_insert(DbError::Unwritable { cf, detail });
        } else {
            self.size += size;
            self.ops.push(op(cf));
        }
        self
    }

    /// The same for RocksDB.
    pub(crate) fn finish(self, db: &rocksdb::DB) -> Result<WriteBatch, DbError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let mut batch = WriteBatch::default();
        for op in self.ops {
            match op {
                Op::Put { cf, key, value } => batch.put_cf(handle(db, cf)?, key, value),
                Op::Delete { cf, key } => batch.delete_cf(handle(db, cf)?, key),
                Op::DeleteRange { cf, from, to } => {
                    batch.delete_range_cf(handle(db, cf)?, from, to);
                }
            }
        }
        Ok(batch)
    }
}

/// Every family of [`Cf::ALL`] is open in a database that was opened.
pub(crate) fn handle(db: &rocksdb::DB, cf: Cf) -> Result<&rocksdb::ColumnFamily, DbError> {
    db.cf_handle(cf.name())
        .ok_or_else(|| DbError::MissingColumnFamilies {
            path: db.path().into(),
            names: vec![cf.name().into()],
        })
}
