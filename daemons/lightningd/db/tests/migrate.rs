//! An older schema is brought up when it is opened, and everything that it had is there; a crash on the way
//! ends in the old or the new one. Who only looks changes nothing.

mod common;

use std::path::{Path, PathBuf};

use common::{Channel, contents, copy, entry, identity, put, reopen};
use lightningd_db::{Batch, Cf, Db, DbError, Identity, Record, View};
use serde::{Deserialize, Serialize};
use wire::ChannelId;

/// A record of a column family that the first schema did not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Later(u64);

impl Record for Later {
    const CF: Cf = Cf::Onchain;
    const VERSION: u8 = 1;
    type Key = u64;
}

/// What the second schema brought, and the fourth.
const LATER: [Cf; 4] = [
    Cf::EndedHtlcs,
    Cf::Onchain,
    Cf::PendingParts,
    Cf::MinedWalletTxs,
];

fn first() -> Identity {
    Identity {
        schema: 1,
        ..identity()
    }
}

/// Opens the database with RocksDB itself.
fn raw(path: &Path, with: impl FnOnce(&mut rocksdb::DB)) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    with(&mut rocksdb::DB::open_cf(&options, path, names).unwrap());
}

/// A database as the first version left it: without what came later.
fn of_first_schema(folder: &Path) -> PathBuf {
    let path = folder.join("db");
    let db = Db::create(&path, &first()).unwrap();
    let mut batch = Batch::new();
    put(&mut batch, 1, 1, 100);
    batch.put(&ChannelId([3; 32]), &Channel { state: 3 });
    db.commit_blocking(batch).unwrap();
    db.close().unwrap();
    raw(&path, |db| {
        for cf in LATER {
            db.drop_cf(cf.name()).unwrap();
        }
    });
    path
}

/// It has all that it had, and takes what is new.
fn is_brought_up(path: &Path) {
    let db = reopen(path);
    assert_eq!(db.get(&(1, 1)).unwrap(), Some(entry(1, 1, 100)));
    let channel = db.get::<Channel>(&ChannelId([3; 32])).unwrap();
    assert_eq!(channel, Some(Channel { state: 3 }));
    assert_eq!(db.scan::<Later>().unwrap(), []);
    let mut batch = Batch::new();
    batch.put(&7, &Later(7));
    db.commit_blocking(batch).unwrap();
    db.close().unwrap();
    assert_eq!(reopen(path).get(&7).unwrap(), Some(Later(7)));
    // The version from before refuses it, and says what to do.
    let Err(error) = Db::open(path, &first()) else {
        panic!("the older version has opened it");
    };
    assert!(matches!(error, DbError::NewerSchema { .. }), "{error}");
    assert!(error.to_string().contains("use the version that wrote it"));
}

#[test]
fn a_database_of_the_first_schema_is_brought_up_with_all_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_first_schema(folder.path());
    is_brought_up(&path);
}

#[test]
fn a_crash_at_any_step_of_an_upgrade_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_first_schema(folder.path());
    // Column families are made one by one, and the schema is written last.
    for made in 0..=LATER.len() {
        let copies = tempfile::tempdir().unwrap();
        let copied = copies.path().join("db");
        copy(&path, &copied);
        raw(&copied, |db| {
            for cf in &LATER[..made] {
                let options = rocksdb::Options::default();
                db.create_cf(cf.name(), &options).unwrap();
            }
        });
        is_brought_up(&copied);
    }
}

#[test]
fn a_column_family_of_the_own_schema_that_is_gone_is_no_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Db::create(&path, &identity()).unwrap().close().unwrap();
    raw(&path, |db| db.drop_cf("onchain").unwrap());
    let Err(error) = Db::open(&path, &identity()) else {
        panic!("it was made anew");
    };
    assert!(
        matches!(&error, DbError::MissingColumnFamilies { names, .. } if names == &["onchain"]),
        "{error}"
    );
}

#[test]
fn who_only_looks_at_an_older_schema_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_first_schema(folder.path());
    let before = contents(&path);
    let view = View::open(&path, "regtest").unwrap();
    assert_eq!(view.identity().schema, 1);
    assert_eq!(view.scan::<Channel>().unwrap().len(), 1);
    assert_eq!(view.read_through::<Later>().unwrap(), 0);
    // And nobody can open it meanwhile.
    let opened = Db::open(&path, &identity());
    assert!(matches!(opened, Err(DbError::InUse { .. })));
    drop(view);
    assert!(before == contents(&path), "the folder has changed");
}
