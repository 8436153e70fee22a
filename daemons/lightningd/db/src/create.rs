//! A new database: built beside its place and moved there when it is whole, so that a crash on the
//! way leaves nothing that looks like a database.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rocksdb::{ColumnFamilyDescriptor, DB, WriteOptions};

use crate::batch::Batch;
use crate::cf::Cf;
use crate::error::DbError;
use crate::identity::{Identity, Sequence, Stored};
use crate::open::stands;
use crate::options::options;
use crate::watermark::Watermark;

pub(crate) fn create(path: &Path, identity: &Identity) -> Result<(), DbError> {
    if stands(path)? {
        return Err(DbError::AlreadyThere { path: path.into() });
    }
    let building = beside(path)?;
    // Left by a creation that was interrupted: no node has ever used it.
    if building.exists() {
        fs::remove_dir_all(&building).map_err(|e| DbError::io("remove", &building, e))?;
    }
    fs::create_dir_all(&building).map_err(|e| DbError::io("create", &building, e))?;
    build(&building, identity)?;
    Watermark::create(&building)?;
    sync_folder(&building)?;
    fs::rename(&building, path).map_err(|e| DbError::io("move the new database to", path, e))?;
    sync_folder(building.parent().unwrap_or(&building))
}

fn build(building: &Path, identity: &Identity) -> Result<(), DbError> {
    let fail = |e: rocksdb::Error| DbError::io("create", building, e);
    let mut options = options();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let families = Cf::ALL.map(|cf| ColumnFamilyDescriptor::new(cf.name(), options.clone()));
    let db = DB::open_cf_descriptors(&options, building, families).map_err(fail)?;
    let mut batch = Batch::new();
    batch.put(&Stored::key(), &Stored::from(identity));
    batch.put(&Sequence::key(), &Sequence(0));
    let mut sync = WriteOptions::default();
    sync.set_sync(true);
    db.write_opt(batch.finish(&db)?, &sync).map_err(fail)
}

fn beside(path: &Path) -> Result<PathBuf, DbError> {
    let mut name = path
        .file_name()
        .ok_or_else(|| DbError::io("create a database at", path, "it has no name"))?
        .to_os_string();
    name.push(".creating");
    Ok(path.with_file_name(name))
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), DbError> {
    // The parent of a bare name is here.
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| DbError::io("sync", folder, e))
}
