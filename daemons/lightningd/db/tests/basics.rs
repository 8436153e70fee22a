//! Get, scan, commit, and what stays after closing.

mod common;

use common::{Channel, Entry, Old, entry, identity, put, reopen};
use lightningd_db::{Batch, Cf, Db, DbError, NotReadable, Path as Names, Record};
use serde::{Deserialize, Serialize};
use wire::ChannelId;

fn database() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::create(&folder.path().join("db"), &identity()).unwrap();
    (folder, db)
}

#[test]
fn what_is_committed_is_there_after_closing() {
    let (folder, db) = database();
    let mut batch = Batch::new();
    put(&mut batch, 1, 1, 10);
    batch.put(&ChannelId([3; 32]), &Channel { state: 7 });
    db.commit_blocking(batch).unwrap();
    db.close().unwrap();
    let db = reopen(&folder.path().join("db"));
    assert_eq!(db.get::<Entry>(&(1, 1)).unwrap(), Some(entry(1, 1, 10)));
    assert_eq!(
        db.get::<Channel>(&ChannelId([3; 32])).unwrap(),
        Some(Channel { state: 7 })
    );
    assert_eq!(db.get::<Channel>(&ChannelId([4; 32])).unwrap(), None);
}

#[test]
fn a_write_is_seen_at_once_and_kept_by_closing_alone() {
    let (folder, db) = database();
    let mut batch = Batch::new();
    put(&mut batch, 1, 1, 10);
    db.write(batch).unwrap();
    assert!(db.get::<Entry>(&(1, 1)).unwrap().is_some());
    let mut batch = Batch::new();
    batch.delete::<Entry>(&(1, 1));
    put(&mut batch, 1, 2, 10);
    db.write(batch).unwrap();
    drop(db);
    let db = reopen(&folder.path().join("db"));
    assert_eq!(db.get::<Entry>(&(1, 1)).unwrap(), None);
    assert!(db.get::<Entry>(&(1, 2)).unwrap().is_some());
}

#[test]
fn scans_run_in_the_order_of_the_keys_and_stop_at_their_prefix() {
    let (_folder, db) = database();
    let mut batch = Batch::new();
    for (writer, number) in [(2, 1), (1, 300), (1, 2), (u32::MAX, 5), (1, 256), (3, 0)] {
        put(&mut batch, writer, number, 3);
    }
    db.commit_blocking(batch).unwrap();
    let keys = |scan: lightningd_db::Scan<'_, Entry>| -> Vec<(u32, u64)> {
        scan.map(|row| row.unwrap().0).collect()
    };
    let all = [(1, 2), (1, 256), (1, 300), (2, 1), (3, 0), (u32::MAX, 5)];
    let back: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(keys(db.iter().unwrap()), all);
    assert_eq!(keys(db.iter_back().unwrap()), back);
    assert_eq!(keys(db.iter_from(&(1, 257)).unwrap()), &all[2..]);
    assert_eq!(keys(db.iter_prefix(&1u32).unwrap()), &all[..3]);
    assert_eq!(
        keys(db.iter_prefix_back(&1u32).unwrap()),
        [(1, 300), (1, 256), (1, 2)]
    );
    assert_eq!(keys(db.iter_prefix(&u32::MAX).unwrap()), [(u32::MAX, 5)]);
    assert_eq!(keys(db.iter_prefix(&4u32).unwrap()), []);
    assert_eq!(db.scan::<Entry>().unwrap().len(), all.len());
    assert_eq!(
        db.scan_prefix::<Entry>(&2u32).unwrap(),
        [((2, 1), entry(2, 1, 3))]
    );

    let mut batch = Batch::new();
    put(&mut batch, 1, 400, 3);
    batch.delete_prefix::<Entry>(&1u32);
    put(&mut batch, 1, 500, 3);
    batch.delete_prefix::<Entry>(&u32::MAX);
    db.commit_blocking(batch).unwrap();
    assert_eq!(keys(db.iter().unwrap()), [(1, 500), (2, 1), (3, 0)]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Datum(String);

impl Record for Datum {
    const CF: Cf = Cf::Datastore;
    const VERSION: u8 = 1;
    type Key = Names;
}

#[test]
fn a_path_finds_itself_and_what_is_below_it() {
    let (_folder, db) = database();
    let mut batch = Batch::new();
    for path in [
        vec!["a"],
        vec!["a", "b"],
        vec!["a", "b", "c"],
        vec!["ab"],
        vec!["b"],
    ] {
        batch.put(&Names::new(path.clone()), &Datum(path.join("/")));
    }
    db.commit_blocking(batch).unwrap();
    let below: Vec<String> = db
        .iter_prefix::<Datum>(&Names::new(["a"]))
        .unwrap()
        .map(|r| r.unwrap().1.0)
        .collect();
    assert_eq!(below, ["a", "a/b", "a/b/c"]);
    assert_eq!(
        db.get::<Datum>(&Names::new(["ab"])).unwrap(),
        Some(Datum("ab".into()))
    );
}

/// `Old`, with a field that says where the number came from.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    number: u64,
    note: String,
}

impl Record for New {
    const CF: Cf = Cf::Forwards;
    const VERSION: u8 = 2;
    type Key = u64;

    fn migrate(version: u8, bytes: &[u8]) -> Result<New, NotReadable> {
        match version {
            1 => {
                let old: Old = NotReadable::or_decode(bytes)?;
                Ok(New {
                    number: old.number,
                    note: "migrated".into(),
                })
            }
            other => Err(NotReadable(format!("no version {other}"))),
        }
    }
}

#[test]
fn an_older_record_is_migrated_and_a_newer_one_refused() {
    let (_folder, db) = database();
    let mut batch = Batch::new();
    batch.put(
        &1,
        &Old {
            number: 5,
            filler: vec![1, 2],
        },
    );
    batch.put(
        &2,
        &New {
            number: 6,
            note: "new".into(),
        },
    );
    db.commit_blocking(batch).unwrap();
    let migrated = db.get::<New>(&1).unwrap();
    assert_eq!(
        migrated,
        Some(New {
            number: 5,
            note: "migrated".into()
        })
    );
    let newer = DbError::NewerRecord {
        cf: Cf::Forwards,
        found: 2,
        known: 1,
    };
    assert_eq!(db.get::<Old>(&2), Err(newer.clone()));
    let rows: Vec<_> = db.iter::<Old>().unwrap().collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1], Err(newer));
}

/// The column family and key of `Entry`, but not its fields.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Other(u8);

impl Record for Other {
    const CF: Cf = Cf::Htlcs;
    const VERSION: u8 = 1;
    type Key = (u32, u64);
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_that_names_it_and_not_its_contents() {
    let (_folder, db) = database();
    let mut batch = Batch::new();
    batch.put(&(9, 9), &Other(0xee));
    put(&mut batch, 9, 10, 3);
    db.commit_blocking(batch).unwrap();
    let error = db.get::<Entry>(&(9, 9)).unwrap_err();
    assert!(
        matches!(&error, DbError::Unreadable { cf: Cf::Htlcs, key, .. }
        if key == "000000090000000000000009")
    );
    // The scan does not skip it.
    let rows: Vec<_> = db.iter::<Entry>().unwrap().collect();
    assert_eq!(rows, [Err(error.clone())]);
    assert_eq!(db.scan::<Entry>(), Err(error));
}

#[derive(Debug, Serialize, Deserialize)]
struct Huge(Vec<u8>);

impl Record for Huge {
    const CF: Cf = Cf::Config;
    const VERSION: u8 = 1;
    type Key = String;
}

#[test]
fn a_batch_with_something_unwritable_takes_no_effect_at_all() {
    let (_folder, db) = database();
    let mut batch = Batch::new();
    put(&mut batch, 1, 1, 10);
    batch.put(&"x".into(), &Huge(vec![0; 64 << 20]));
    assert!(matches!(
        db.commit_blocking(batch),
        Err(DbError::Unwritable { cf: Cf::Config, .. })
    ));
    let mut batch = Batch::new();
    put(&mut batch, 1, 1, 10);
    batch.put(&"x".repeat(10_000), &Huge(vec![]));
    assert!(matches!(
        db.write(batch),
        Err(DbError::Unwritable { cf: Cf::Config, .. })
    ));
    assert_eq!(db.get::<Entry>(&(1, 1)).unwrap(), None);
    // And the database goes on.
    let mut batch = Batch::new();
    put(&mut batch, 1, 1, 10);
    db.commit_blocking(batch).unwrap();
}

#[test]
fn a_closed_database_takes_no_writes() {
    let (_folder, db) = database();
    let other = db.clone();
    db.close().unwrap();
    assert_eq!(other.write(Batch::new()), Err(DbError::Closed));
    assert_eq!(other.commit_blocking(Batch::new()), Err(DbError::Closed));
    assert!(other.get::<Entry>(&(1, 1)).is_ok());
}

#[test]
fn commits_that_wait_together_share_a_sync() {
    let (_folder, db) = database();
    let commits: Vec<_> = (0..500)
        .map(|number| {
            let mut batch = Batch::new();
            put(&mut batch, 1, number, 100);
            db.commit(batch)
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for commit in commits {
        runtime.block_on(commit).unwrap();
    }
    let stats = db.stats();
    assert_eq!(stats.batches, 500);
    assert!(stats.syncs >= 1 && stats.syncs < 500, "{stats:?}");
}

#[test]
fn the_log_does_not_grow_without_bound() {
    let (folder, db) = database();
    for round in 0..40 {
        let mut batch = Batch::new();
        for number in 0..100 {
            put(&mut batch, round % 3, number, 10_000);
        }
        // A family that is hardly written must not hold the log.
        batch.put(&ChannelId([round as u8; 32]), &Channel { state: 1 });
        db.commit_blocking(batch).unwrap();
    }
    let logs: u64 = std::fs::read_dir(folder.path().join("db"))
        .unwrap()
        .map(|file| file.unwrap())
        .filter(|file| file.file_name().to_string_lossy().ends_with(".log"))
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(logs < 32 << 20, "{logs} bytes of log after 40 MB");
}
