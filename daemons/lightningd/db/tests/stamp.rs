//! What is stamped on the batches is of the same moment as what they hold.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Entry, copy, identity, put};
use lightningd_db::{Batch, Db};

/// A database whose stamp is a number that the test sets.
fn stamped(path: &std::path::Path) -> (Db, Arc<AtomicU64>) {
    let db = Db::create(path, &identity()).unwrap();
    // Long enough for its writer to have nothing to do.
    std::thread::sleep(Duration::from_millis(100));
    let number = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&number);
    db.stamp_with(Box::new(move || match read.load(Ordering::SeqCst) {
        0 => None,
        number => Some(number.to_be_bytes().to_vec()),
    }));
    (db, number)
}

fn found(path: &std::path::Path) -> Option<u64> {
    let found = Db::find(path, "regtest").unwrap();
    let bytes = found.stamp()?;
    Some(u64::from_be_bytes(bytes.try_into().unwrap()))
}

#[test]
fn a_stamp_is_in_the_batch_that_came_after_it_and_in_none_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let (db, number) = stamped(&path);
    for n in 0..20u64 {
        number.store(n, Ordering::SeqCst);
        let mut batch = Batch::new();
        put(&mut batch, 1, n, 100);
        db.commit_blocking(batch).unwrap();
        // As after kill -9 now.
        let copied = dir.path().join(format!("copy-{n}"));
        copy(&path, &copied);
        assert_eq!(found(&copied), (n > 0).then_some(n));
        let again = Db::open(&copied, &identity()).unwrap();
        assert_eq!(again.scan::<Entry>().unwrap().len() as u64, n + 1);
    }
}

#[test]
fn a_new_stamp_without_a_batch_is_there_when_the_database_closes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let (db, number) = stamped(&path);
    assert_eq!(found_after(db, &path), None);
    let db = Db::open(&path, &identity()).unwrap();
    let read = Arc::clone(&number);
    db.stamp_with(Box::new(move || {
        Some(read.load(Ordering::SeqCst).to_be_bytes().to_vec())
    }));
    number.store(9, Ordering::SeqCst);
    assert_eq!(found_after(db, &path), Some(9));
}

fn found_after(db: Db, path: &std::path::Path) -> Option<u64> {
    db.close().unwrap();
    found(path)
}

#[test]
fn a_new_stamp_does_not_wait_long_for_a_batch_and_the_same_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (db, number) = stamped(&dir.path().join("db"));
    number.store(7, Ordering::SeqCst);
    let begun = Instant::now();
    while db.stats().batches == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "it is never written"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut batch = Batch::new();
    put(&mut batch, 1, 1, 10);
    db.commit_blocking(batch).unwrap();
    assert_eq!(db.stats().batches, 2);
    db.clone().close().unwrap();
    assert_eq!(db.stats().batches, 2, "the same stamp was written again");
}
