//! Opening what is there. Everything is checked through a read-only view first, which writes
//! nothing; RocksDB opens for writing only what has passed, because opening itself rewrites its
//! manifest and its log.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rocksdb::{ColumnFamilyDescriptor, DB, Options, WriteOptions};

use crate::backup::Copied;
use crate::batch::Batch;
use crate::cf::Cf;
use crate::error::DbError;
use crate::identity::{Identity, Sequence, Stamped, Stored};
use crate::options::options;
use crate::watermark::Watermark;
use crate::{manifest, read};

/// RocksDB's own column family; nothing of ours is in it.
const DEFAULT: &str = "default";

/// Commits that had been acknowledged and are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Number of the last batch that was known to be durable; none if that cannot be read.
    pub acknowledged: Option<u64>,
    /// Number of the last batch that is there.
    pub found: u64,
}

/// A database that may be opened for writing.
pub(crate) struct Checked {
    pub watermark: Watermark,
    /// Number of the last batch that is there.
    pub sequence: u64,
    /// Number of the last batch that was known to be durable.
    pub acknowledged: Result<u64, DbError>,
    /// What the last batch was stamped with; empty if none was.
    pub stamped: Stamped,
    /// It is a copy, and nobody has confirmed that it is to be gone on with.
    pub copied: Option<Copied>,
    /// Whose it is, and its schema.
    pub identity: Identity,
}

impl Checked {
    /// What the last batch was stamped with; `None` if none was.
    pub fn stamp(&self) -> Option<&[u8]> {
        let bytes = self.stamped.0.as_slice();
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// Every commit that had been acknowledged is there.
    pub fn check_commits(&self, path: &Path) -> Result<(), DbError> {
        let (acknowledged, found) = (self.acknowledged.clone()?, self.sequence);
        match found < acknowledged {
            true => Err(DbError::LostCommits {
                path: path.into(),
                acknowledged,
                found,
            }),
            false => Ok(()),
        }
    }
}

/// Whether anything is at `path`.
pub(crate) fn stands(path: &Path) -> Result<bool, DbError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) if e.kind() == ErrorKind::NotADirectory => Ok(true),
        Err(e) => Err(DbError::io("read the folder", path, e)),
    }
}

/// Reads all that the node cannot run without, and changes nothing.
pub(crate) fn check(path: &Path, network: &str, schema: u32) -> Result<Checked, DbError> {
    inspect(path, network, schema).map(|(checked, _)| checked)
}

/// As [`check`], with the read-only view that it was checked through.
pub(crate) fn inspect(path: &Path, network: &str, schema: u32) -> Result<(Checked, DB), DbError> {
    if !stands(path)? {
        return Err(DbError::Missing { path: path.into() });
    }
    manifest::check(path)?;
    let watermark = Watermark::lock(path)?;
    manifest::check_seal(path, &watermark)?;
    let damaged = |e: rocksdb::Error| DbError::Damaged {
        path: path.into(),
        detail: e.to_string(),
    };
    let names = DB::list_cf(&options(), path).map_err(damaged)?;
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if !names.contains(Cf::Meta.name()) {
        return Err(missing(path, &[Cf::Meta]));
    }
    let view = DB::open_cf_for_read_only(&options(), path, &names, false).map_err(damaged)?;
    let identity = identity(&view, path)?;
    check_identity(&identity, path, network, schema)?;
    check_families(&names, identity.schema, path)?;
    check_tables(&view, path)?;
    let sequence = match read::get::<Sequence>(&view, &Sequence::key())? {
        Some(Sequence(sequence)) => sequence,
        None => return Err(DbError::NotOurs { path: path.into() }),
    };
    for cf in Cf::ALL {
        if cf.checked_on_start() && cf.since() <= identity.schema {
            read::check(&view, cf)?;
        }
    }
    let stamped = read::get::<Stamped>(&view, &Stamped::key())?;
    let copied = read::get::<Copied>(&view, &Copied::key())?;
    let acknowledged = watermark.read(path);
    let checked = Checked {
        watermark,
        sequence,
        acknowledged,
        stamped: stamped.unwrap_or_default(),
        copied,
        identity,
    };
    Ok((checked, view))
}

fn identity(view: &DB, path: &Path) -> Result<Identity, DbError> {
    let stored = read::get::<Stored>(view, &Stored::key())?;
    match stored.map(Identity::try_from) {
        Some(Ok(found)) => Ok(found),
        Some(Err(_)) | None => Err(DbError::NotOurs { path: path.into() }),
    }
}

fn check_identity(found: &Identity, path: &Path, network: &str, known: u32) -> Result<(), DbError> {
    if found.schema > known {
        return Err(DbError::NewerSchema {
            path: path.into(),
            found: found.schema,
            known,
        });
    }
    if found.network != network {
        return Err(DbError::OtherNetwork {
            path: path.into(),
            found: found.network.clone(),
            expected: network.into(),
        });
    }
    Ok(())
}

pub(crate) fn check_node(found: &Identity, path: &Path, expect: &Identity) -> Result<(), DbError> {
    if found.node_id == expect.node_id {
        return Ok(());
    }
    Err(DbError::OtherNode {
        path: path.into(),
        found: found.shown(),
        expected: expect.shown(),
    })
}

fn check_families(names: &BTreeSet<&str>, schema: u32, path: &Path) -> Result<(), DbError> {
    let gone: Vec<Cf> = Cf::ALL
        .into_iter()
        .filter(|cf| cf.since() <= schema && !names.contains(cf.name()))
        .collect();
    if !gone.is_empty() {
        return Err(missing(path, &gone));
    }
    let known = |name: &str| name == DEFAULT || Cf::ALL.iter().any(|cf| cf.name() == name);
    let unknown: Vec<String> = names
        .iter()
        .filter(|name| !known(name))
        .map(|name| (*name).into())
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(DbError::UnknownColumnFamilies {
            path: path.into(),
            names: unknown,
        })
    }
}

/// Every table that the manifest names is there and whole in length. RocksDB itself looks only at
/// the first few, as many as a quarter of the files it may keep open.
fn check_tables(view: &DB, path: &Path) -> Result<(), DbError> {
    let damaged = |detail: String| DbError::Damaged {
        path: path.into(),
        detail,
    };
    let tables = view.live_files().map_err(|e| damaged(e.to_string()))?;
    for table in tables {
        let name = table.name.trim_start_matches('/');
        match fs::metadata(path.join(name)) {
            Ok(found) if found.len() == table.size as u64 => {}
            Ok(found) => {
                let (found, size) = (found.len(), table.size);
                return Err(damaged(format!(
                    "{name} has {found} bytes instead of {size}"
                )));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(damaged(format!("the table {name} is missing")));
            }
            Err(e) => return Err(DbError::io("read", &path.join(name), e)),
        }
    }
    Ok(())
}

fn missing(path: &Path, families: &[Cf]) -> DbError {
    let names = families.iter().map(|cf| cf.name().into()).collect();
    DbError::MissingColumnFamilies {
        path: path.into(),
        names,
    }
}

/// Opens for writing what [`check`] has passed, and brings an older schema up.
pub(crate) fn open(
    path: &Path,
    options: &Options,
    expect: &Identity,
    checked: &Checked,
) -> Result<DB, DbError> {
    // All of it was read just now: what fails is the disk.
    let damaged = |e: rocksdb::Error| match e.kind() {
        rocksdb::ErrorKind::IOError => DbError::NotOpened {
            path: path.into(),
            why: e.to_string(),
        },
        _other => DbError::Damaged {
            path: path.into(),
            detail: e.to_string(),
        },
    };
    let names = DB::list_cf(options, path).map_err(damaged)?;
    let families = names
        .iter()
        .map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
    let mut db = DB::open_cf_descriptors(options, path, families).map_err(damaged)?;
    for cf in Cf::ALL {
        // One that an interrupted upgrade made is there already.
        if cf.since() <= expect.schema && !names.iter().any(|name| name == cf.name()) {
            db.create_cf(cf.name(), options).map_err(damaged)?;
        }
    }
    if checked.identity.schema < expect.schema {
        let mut batch = Batch::new();
        batch.put(&Stored::key(), &Stored::from(expect));
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        db.write_opt(batch.finish(&db)?, &sync).map_err(damaged)?;
    }
    Ok(db)
}
