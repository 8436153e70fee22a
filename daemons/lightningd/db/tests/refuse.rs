//! Never start empty: what is missing, damaged, lost or foreign is refused by name, and the folder
//! stays byte for byte as it was.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Channel, Entry, Old, contents, copy, entry, filler, identity, put, reopen};
use lightningd_db::{Batch, Cf, Db, DbError, Identity, Loss, SCHEMA};
use wire::ChannelId;

const ENTRIES: u64 = 700;

/// A database with tables, and commits that are only in the log.
fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("db");
    let db = Db::create(&path, &identity()).unwrap();
    for number in 0..ENTRIES {
        let mut batch = Batch::new();
        put(&mut batch, 1, number, 10_000);
        batch.put(
            &number,
            &Old {
                number,
                filler: filler(number, 3_000),
            },
        );
        batch.put(&ChannelId([number as u8; 32]), &Channel { state: number });
        db.write(batch).unwrap();
    }
    db.close().unwrap();
    let db = reopen(&path);
    for number in ENTRIES..ENTRIES + 100 {
        let mut batch = Batch::new();
        put(&mut batch, 1, number, 500);
        db.commit_blocking(batch).unwrap();
    }
    db.close().unwrap();
    path
}

fn files(path: &Path, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = contents(path)
        .keys()
        .filter(|name| name.ends_with(end) || name.starts_with(end))
        .map(|name| path.join(name))
        .collect();
    files.sort();
    files
}

/// The tables that hold data. Closing can leave others: the output of a compaction that it ended.
fn tables(path: &Path) -> Vec<PathBuf> {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    let view = rocksdb::DB::open_cf_for_read_only(&options, path, names, false).unwrap();
    let mut tables: Vec<PathBuf> = view
        .live_files()
        .unwrap()
        .iter()
        .map(|f| path.join(f.name.trim_start_matches('/')))
        .collect();
    tables.sort();
    tables
}

/// The log that has the newest commits.
fn log(path: &Path) -> PathBuf {
    files(path, ".log").pop().unwrap()
}

/// A copy of the database that `damage` has been done to, and what opening it says. Nothing may
/// have changed by that.
fn damaged(path: &Path, damage: impl FnOnce(&Path)) -> DbError {
    let folder = tempfile::tempdir().unwrap();
    let copied = folder.path().join("db");
    copy(path, &copied);
    damage(&copied);
    refused(&copied, &identity())
}

fn refused(path: &Path, expect: &Identity) -> DbError {
    let before = contents(path);
    let error = match Db::open(path, expect) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    };
    assert!(before == contents(path), "the folder has changed: {error}");
    error
}

fn flip(file: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn missing_or_damaged_files_are_refused_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let manifest = files(&path, "MANIFEST-").pop().unwrap();
    let manifest = manifest.file_name().unwrap().to_str().unwrap();

    let error = damaged(&path, |db| fs::remove_file(db.join("CURRENT")).unwrap());
    assert!(
        matches!(&error, DbError::MissingFile { file, .. } if file == "CURRENT"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("Do not start with an empty database")
    );

    let error = damaged(&path, |db| {
        fs::write(db.join("CURRENT"), "MANIFEST-x\n").unwrap()
    });
    assert!(matches!(error, DbError::Damaged { .. }), "{error}");

    let error = damaged(&path, |db| fs::remove_file(db.join(manifest)).unwrap());
    assert!(
        matches!(&error, DbError::MissingFile { file, .. } if file == manifest),
        "{error}"
    );

    for part in [3, 2] {
        let error = damaged(&path, |db| flip(&db.join(manifest), |len| len / part));
        assert!(matches!(error, DbError::Damaged { .. }), "{error}");
    }
}

fn cut(file: &Path, to: u64) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(to).unwrap();
}

/// RocksDB takes a short manifest for one that was being written, and starts with the tables that the rest names.
#[test]
fn a_manifest_that_ends_early_or_is_an_older_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let db = Db::create(&path, &identity()).unwrap();
    let old = files(&path, "MANIFEST-").pop().unwrap();
    let old = (old.clone(), fs::read(&old).unwrap());
    db.close().unwrap();
    // Tables of one life, all in one manifest.
    let db = reopen(&path);
    for number in 0..ENTRIES {
        let mut batch = Batch::new();
        put(&mut batch, 1, number, 10_000);
        batch.put(&ChannelId([number as u8; 32]), &Channel { state: number });
        db.commit_blocking(batch).unwrap();
    }
    db.close().unwrap();
    let manifest = files(&path, "MANIFEST-").pop().unwrap();
    let name = manifest.file_name().unwrap().to_str().unwrap();
    let len = fs::metadata(&manifest).unwrap().len();
    let sealed = fs::read(path.join("ACKNOWLEDGED")).unwrap()[1024 + 8..1024 + 16].to_vec();
    let sealed = u64::from_be_bytes(sealed.try_into().unwrap());
    assert!(sealed > len / 2, "{sealed} of {len}");
    for to in (0..sealed).step_by(61).chain([sealed - 1]) {
        let error = damaged(&path, |db| cut(&db.join(name), to));
        assert!(matches!(error, DbError::Damaged { .. }), "{to}: {error}");
    }
    for at in (0..sealed as usize).step_by(61) {
        let error = damaged(&path, |db| flip(&db.join(name), |_| at));
        assert!(matches!(error, DbError::Damaged { .. }), "{at}: {error}");
    }
    let error = damaged(&path, |db| {
        let (file, bytes) = &old;
        let name = file.file_name().unwrap().to_str().unwrap();
        fs::write(db.join(name), bytes).unwrap();
        fs::write(db.join("CURRENT"), format!("{name}\n")).unwrap();
    });
    assert!(error.to_string().contains("is older than"), "{error}");
    // What the seal says is itself checked, and one of the two is enough.
    let seal = |db: &Path, slots: &[usize]| {
        let file = db.join("ACKNOWLEDGED");
        slots.iter().for_each(|slot| flip(&file, |_| slot + 20));
    };
    let error = damaged(&path, |db| seal(db, &[1024, 1536]));
    assert!(matches!(error, DbError::Watermark { .. }), "{error}");
    seal(&path, &[1024]);
    reopen(&path).close().unwrap();
    // As an older version leaves it.
    cut(&path.join("ACKNOWLEDGED"), 528);
    reopen(&path).close().unwrap();
    assert!(fs::metadata(path.join("ACKNOWLEDGED")).unwrap().len() > 1536);
}

#[test]
fn every_table_must_be_there_and_whole_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Db::create(&path, &identity()).unwrap().close().unwrap();
    raw(&path, |db| {
        for cf in Cf::ALL {
            let cf = db.cf_handle(cf.name()).unwrap();
            for key in [b"test/1", b"test/2"] {
                db.put_cf(cf, key, [0; 100]).unwrap();
                db.flush_cf(cf).unwrap();
            }
        }
    });
    drop(reopen(&path));
    let tables = tables(&path);
    // More than RocksDB opens by itself.
    assert!(tables.len() > 16, "{}", tables.len());
    for table in &tables {
        let name = table.file_name().unwrap();
        let error = damaged(&path, |db| fs::remove_file(db.join(name)).unwrap());
        assert!(matches!(error, DbError::Damaged { .. }), "{error}");
        let error = damaged(&path, |db| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(db.join(name))
                .unwrap();
            let len = file.metadata().unwrap().len();
            file.set_len(len - 1).unwrap();
        });
        assert!(matches!(error, DbError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_damaged_table_that_the_node_needs_is_found_on_start_and_others_when_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let (mut on_start, mut when_read) = (0, 0);
    for table in tables(&path) {
        let name = table.file_name().unwrap();
        let copies = tempfile::tempdir().unwrap();
        let copied = copies.path().join("db");
        copy(&path, &copied);
        flip(&copied.join(name), |len| len / 3);
        let before = contents(&copied);
        match Db::open(&copied, &identity()) {
            Err(error) => {
                assert!(matches!(error, DbError::Damaged { .. }), "{error}");
                assert!(before == contents(&copied), "the folder has changed");
                on_start += 1;
            }
            Ok(db) => {
                let read: Result<Vec<_>, DbError> = db.iter::<Old>().unwrap().collect();
                assert!(matches!(read, Err(DbError::Damaged { .. })), "{name:?}");
                when_read += 1;
            }
        }
    }
    assert!(on_start > 0 && when_read > 0, "{on_start} {when_read}");
}

#[test]
fn a_cut_or_damaged_log_is_lost_commits() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let name = log(&path).file_name().unwrap().to_os_string();
    let full = fs::metadata(log(&path)).unwrap().len();
    let last = ENTRIES + 100;

    let error = damaged(&path, |db| flip(&db.join(&name), |len| len / 2));
    assert!(
        matches!(error, DbError::LostCommits { acknowledged, found, .. }
            if acknowledged == last && found < last),
        "{error}"
    );
    for cut in [1, 600, full / 2, full] {
        let error = damaged(&path, |db| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(db.join(&name))
                .unwrap();
            file.set_len(full - cut).unwrap();
        });
        assert!(
            matches!(error, DbError::LostCommits { .. }),
            "cut by {cut}: {error}"
        );
    }
    let error = damaged(&path, |db| fs::remove_file(db.join(&name)).unwrap());
    assert!(
        matches!(error, DbError::LostCommits { .. } | DbError::Damaged { .. }),
        "{error}"
    );
}

/// A table of another column family still needs the older one, so there are two.
#[test]
fn a_log_that_is_not_the_newest_must_be_whole_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let db = Db::create(&path, &identity()).unwrap();
    let mut number = 0;
    while files(&path, ".log").len() < 2 || number % 100 != 0 {
        let mut batch = Batch::new();
        put(&mut batch, 1, number, 10_000);
        batch.put(&ChannelId([number as u8; 32]), &Channel { state: number });
        db.commit_blocking(batch).unwrap();
        number += 1;
    }
    db.close().unwrap();
    let logs = files(&path, ".log");
    let name = logs[0].file_name().unwrap();
    let full = fs::metadata(&logs[0]).unwrap().len();
    for to in (0..full).step_by(full as usize / 40) {
        let error = damaged(&path, |db| cut(&db.join(name), to));
        assert!(
            matches!(error, DbError::Damaged { .. } | DbError::LostCommits { .. }),
            "{to}: {error}"
        );
    }
    let error = damaged(&path, |db| fs::remove_file(db.join(name)).unwrap());
    assert!(matches!(error, DbError::Damaged { .. }), "{error}");
    reopen(&path);
}

#[test]
fn a_batch_that_nobody_was_told_about_may_be_torn() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let mut bytes = fs::read(log(&path)).unwrap();
    // Half of a record that looks like the ones before it.
    let tail = bytes[bytes.len() - 300..].to_vec();
    bytes.extend_from_slice(&tail);
    fs::write(log(&path), bytes).unwrap();
    let db = reopen(&path);
    for number in 0..ENTRIES + 100 {
        assert!(db.get::<Entry>(&(1, number)).unwrap().is_some(), "{number}");
    }
    let mut batch = Batch::new();
    put(&mut batch, 2, 1, 500);
    db.commit_blocking(batch).unwrap();
    drop(db);
    let db = reopen(&path);
    assert_eq!(db.get::<Entry>(&(2, 1)).unwrap(), Some(entry(2, 1, 500)));
}

#[test]
fn lost_commits_can_be_accepted_and_are_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let cut = fs::metadata(log(&path)).unwrap().len() - 5_000;
    fs::OpenOptions::new()
        .write(true)
        .open(log(&path))
        .unwrap()
        .set_len(cut)
        .unwrap();
    assert!(matches!(
        refused(&path, &identity()),
        DbError::LostCommits { .. }
    ));
    let (db, loss) = Db::open_after_loss(&path, &identity()).unwrap();
    let Some(Loss {
        acknowledged: Some(acknowledged),
        found,
    }) = loss
    else {
        panic!("{loss:?}");
    };
    assert_eq!(acknowledged, ENTRIES + 100);
    assert!(found < acknowledged);
    assert!(db.get::<Entry>(&(1, found - 1)).unwrap().is_some());
    assert!(db.get::<Entry>(&(1, found)).unwrap().is_none());
    drop(db);
    let (db, loss) = Db::open_after_loss(&path, &identity()).unwrap();
    assert_eq!(loss, None);
    drop(db);
    reopen(&path);
}

#[test]
fn the_count_of_durable_commits_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let error = damaged(&path, |db| {
        fs::remove_file(db.join("ACKNOWLEDGED")).unwrap()
    });
    assert!(matches!(&error, DbError::MissingFile { file, .. } if file == "ACKNOWLEDGED"));
    let error = damaged(&path, |db| {
        fs::write(db.join("ACKNOWLEDGED"), [1; 600]).unwrap()
    });
    assert!(matches!(error, DbError::Watermark { .. }), "{error}");
}

/// Opens the database with RocksDB itself.
fn raw(path: &Path, with: impl FnOnce(&mut rocksdb::DB)) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    with(&mut rocksdb::DB::open_cf(&options, path, names).unwrap());
}

#[test]
fn a_missing_or_unknown_column_family_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    raw(&path, |db| db.drop_cf("payments").unwrap());
    let error = refused(&path, &identity());
    assert!(
        matches!(&error, DbError::MissingColumnFamilies { names, .. } if names == &["payments"])
    );
    assert!(error.to_string().contains("payments"));
    raw(&path, |db| {
        db.create_cf("payments", &rocksdb::Options::default())
            .unwrap();
        db.create_cf("from_the_future", &rocksdb::Options::default())
            .unwrap();
    });
    let error = refused(&path, &identity());
    assert!(
        matches!(error, DbError::UnknownColumnFamilies { names, .. } if names == ["from_the_future"])
    );
    raw(&path, |db| db.drop_cf("meta").unwrap());
    let error = refused(&path, &identity());
    assert!(matches!(error, DbError::MissingColumnFamilies { names, .. } if names == ["meta"]));
}

#[test]
fn another_seed_network_or_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Db::create(&path, &identity()).unwrap().close().unwrap();
    let error = refused(
        &path,
        &Identity {
            node_id: [3; 33],
            ..identity()
        },
    );
    assert!(matches!(error, DbError::OtherNode { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&"02".repeat(33)) && text.contains(&"03".repeat(33)),
        "{text}"
    );
    let error = refused(
        &path,
        &Identity {
            network: "bitcoin".into(),
            ..identity()
        },
    );
    assert_eq!(
        error,
        DbError::OtherNetwork {
            path: path.clone(),
            found: "regtest".into(),
            expected: "bitcoin".into()
        }
    );
    // A later version brings the schema up; this one then refuses it.
    let later = Identity {
        schema: SCHEMA + 1,
        ..identity()
    };
    Db::open(&path, &later).unwrap().close().unwrap();
    Db::open(&path, &later).unwrap().close().unwrap();
    let error = refused(&path, &identity());
    assert_eq!(
        error,
        DbError::NewerSchema {
            path: path.clone(),
            found: SCHEMA + 1,
            known: SCHEMA
        }
    );
}

#[test]
fn an_identity_that_cannot_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Db::create(&path, &identity()).unwrap().close().unwrap();
    let key = b"db/identity\0\0";
    raw(&path, |db| {
        let meta = db.cf_handle("meta").unwrap();
        assert!(db.get_cf(meta, key).unwrap().is_some());
        db.put_cf(meta, key, [1, 2, 3]).unwrap();
    });
    assert!(matches!(
        refused(&path, &identity()),
        DbError::Unreadable { .. }
    ));
    raw(&path, |db| {
        db.delete_cf(db.cf_handle("meta").unwrap(), key).unwrap()
    });
    assert!(matches!(
        refused(&path, &identity()),
        DbError::NotOurs { .. }
    ));
}

#[test]
fn opening_never_creates_and_creating_never_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    assert!(!Db::exists(&path).unwrap());
    assert!(matches!(
        Db::open(&path, &identity()),
        Err(DbError::Missing { .. })
    ));
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        refused(&path, &identity()),
        DbError::Missing { .. }
    ));
    assert!(!Db::exists(&path).unwrap());

    // What an interrupted creation left is not a database and not in the way.
    fs::create_dir(folder.path().join("db.creating")).unwrap();
    fs::write(folder.path().join("db.creating/CURRENT"), "half").unwrap();
    Db::create(&path, &identity()).unwrap().close().unwrap();
    assert_eq!(contents_of_parent(folder.path()), ["db"]);
    assert!(Db::exists(&path).unwrap());

    let before = contents(&path);
    assert!(matches!(
        Db::create(&path, &identity()),
        Err(DbError::AlreadyThere { .. })
    ));
    assert!(before == contents(&path));

    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    assert!(matches!(
        Db::create(&other, &identity()),
        Err(DbError::AlreadyThere { .. })
    ));
    assert!(matches!(
        refused(&other, &identity()),
        DbError::MissingFile { .. }
    ));
}

fn contents_of_parent(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn a_database_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let db = Db::create(&path, &identity()).unwrap();
    assert!(matches!(
        Db::open(&path, &identity()),
        Err(DbError::InUse { .. })
    ));
    db.close().unwrap();
    reopen(&path);
}

#[test]
fn one_flipped_byte_anywhere_is_refused_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let names: Vec<String> = contents(&path).into_keys().collect();
    let mut refusals = 0;
    for round in 0..120u64 {
        let copies = tempfile::tempdir().unwrap();
        let copied = copies.path().join("db");
        copy(&path, &copied);
        let random = filler(round, 16);
        let (pick, at) = random.split_at(8);
        let pick = u64::from_be_bytes(pick.try_into().unwrap()) as usize % names.len();
        let at = u64::from_be_bytes(at.try_into().unwrap()) as usize;
        let file = copied.join(&names[pick]);
        if fs::metadata(&file).unwrap().len() == 0 {
            continue;
        }
        flip(&file, |len| at % len);
        let before = contents(&copied);
        let db = match Db::open(&copied, &identity()) {
            Ok(db) => db,
            Err(_) => {
                assert!(before == contents(&copied), "{} has changed", names[pick]);
                refusals += 1;
                continue;
            }
        };
        // Whatever can be read is what was written, and nothing is missing.
        for number in 0..ENTRIES + 100 {
            let len = if number < ENTRIES { 10_000 } else { 500 };
            let read = db.get::<Entry>(&(1, number)).unwrap();
            assert_eq!(
                read,
                Some(entry(1, number, len)),
                "{} {number}",
                names[pick]
            );
        }
        let mut olds = 0;
        for row in db.iter::<Old>().unwrap() {
            match row {
                Ok((number, old)) => {
                    assert_eq!(
                        old,
                        Old {
                            number,
                            filler: filler(number, 3_000)
                        }
                    );
                    olds += 1;
                }
                Err(error) => {
                    assert!(matches!(error, DbError::Damaged { .. }), "{error}");
                    olds = ENTRIES;
                }
            }
        }
        assert_eq!(olds, ENTRIES, "{}", names[pick]);
    }
    assert!(refusals > 10, "{refusals}");
}
