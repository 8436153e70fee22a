//! kill -9 in the middle of commits, and a disk that refuses: what was acknowledged is there.
//!
//! The victim is this test binary itself, started again with [`VICTIM`] or [`FILLER`] set.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Entry, entry, filler, identity, put, reopen};
use lightningd_db::{Batch, Db, DbError};

const VICTIM: &str = "BULKHEAD_TEST_VICTIM";
const FILLER: &str = "BULKHEAD_TEST_FILLER";
const WRITERS: u32 = 4;

fn length(number: u64) -> usize {
    filler(number, 2)
        .iter()
        .map(|b| usize::from(*b))
        .sum::<usize>()
        * 8
}

/// How many entries of a writer are there. They must be the first ones, whole.
fn count(db: &Db, writer: u32) -> u64 {
    let mut next = 0;
    for row in db.iter_prefix::<Entry>(&writer).unwrap() {
        let (key, found) = row.unwrap();
        assert_eq!(key, (writer, next), "writer {writer} has a hole");
        assert_eq!(found, entry(writer, next, length(next)));
        next += 1;
    }
    next
}

/// Writers go on where they were. Every third batch is written without waiting; the others say on
/// stdout what was acknowledged.
fn victim(path: &Path) {
    let db = reopen(path);
    println!("ready");
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let db = &db;
            scope.spawn(move || {
                for number in count(db, writer).. {
                    let mut batch = Batch::new();
                    put(&mut batch, writer, number, length(number));
                    if number % 3 == 0 {
                        if db.write(batch).is_err() {
                            break;
                        }
                    } else if let Err(error) = db.commit_blocking(batch) {
                        assert!(matches!(error, DbError::Failed { .. }), "{error}");
                        // Nobody may succeed after that.
                        let mut batch = Batch::new();
                        put(&mut batch, 99, 0, 1);
                        assert!(matches!(
                            db.commit_blocking(batch),
                            Err(DbError::Failed { .. })
                        ));
                        break;
                    } else {
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "ack {writer} {number}").unwrap();
                        out.flush().unwrap();
                    }
                }
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    println!("failed: {}", runtime.block_on(db.failed()));
    assert!(db.close().is_err());
}

#[test]
fn victim_of_the_other_tests() {
    if let Some(path) = std::env::var_os(VICTIM) {
        victim(Path::new(&path));
    }
    if let Some(path) = std::env::var_os(FILLER) {
        fill_and_abort(Path::new(&path));
    }
}

fn arguments() -> [&'static str; 3] {
    ["victim_of_the_other_tests", "--exact", "--nocapture"]
}

fn acknowledged(line: &str, acks: &mut [u64; WRITERS as usize]) -> bool {
    // The test harness may print on the same line before us.
    let Some((_, ack)) = line.split_once("ack ") else {
        return false;
    };
    let mut parts = ack.split(' ').map(|part| part.parse::<u64>().ok());
    // The last line may be cut by the kill.
    if let (Some(Some(writer)), Some(Some(number)), None) =
        (parts.next(), parts.next(), parts.next())
    {
        let ack = &mut acks[writer as usize];
        *ack = (*ack).max(number + 1);
    }
    true
}

#[test]
fn kill_minus_nine_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Db::create(&path, &identity()).unwrap().close().unwrap();
    let mut counts = [0; WRITERS as usize];
    for round in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments())
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The kill comes somewhere after this many acknowledgements; the victim does not wait.
        let kill_after = usize::from(filler(round, 1)[0]) * 4;
        let mut acks = [0; WRITERS as usize];
        let mut seen = 0;
        let mut killed = false;
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).unwrap() > 0 {
            let whole = line.ends_with(b"\n");
            if whole {
                let text = String::from_utf8_lossy(&line);
                seen += usize::from(acknowledged(text.trim_end(), &mut acks));
            }
            line.clear();
            if seen >= kill_after && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "round {round}: {status}");
        let db = reopen(&path);
        for writer in 0..WRITERS {
            let found = count(&db, writer);
            let (before, acked) = (counts[writer as usize], acks[writer as usize]);
            assert!(
                found >= acked,
                "round {round}, writer {writer}: {acked} acked, {found} there"
            );
            assert!(found >= before, "round {round}, writer {writer}: went back");
            counts[writer as usize] = found;
        }
    }
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

#[test]
fn a_disk_that_refuses_ends_all_writing_and_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Db::create(&path, &identity()).unwrap().close().unwrap();
    // No file may grow beyond 1 MiB (the unit is 512 bytes), and trying is an error, not a signal.
    let output = Command::new("sh")
        .arg("-c")
        .arg(r#"trap "" XFSZ; ulimit -f 2048; exec "$0" "$@""#)
        .arg(std::env::current_exe().unwrap())
        .args(arguments())
        .env(VICTIM, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("failed: a write to the database failed"),
        "{text}"
    );
    let mut acks = [0; WRITERS as usize];
    let acked = text
        .lines()
        .filter(|line| acknowledged(line, &mut acks))
        .count();
    assert!(acked > 10, "{text}");
    let db = reopen(&path);
    for writer in 0..WRITERS {
        assert!(count(&db, writer) >= acks[writer as usize]);
    }
    assert_eq!(db.get::<Entry>(&(99, 0)).unwrap(), None);
}

/// Writes far more than one log holds, so that logs are used again over old data, and ends without
/// closing anything.
fn fill_and_abort(path: &Path) -> ! {
    let db = reopen(path);
    for number in 0..3_000 {
        let mut batch = Batch::new();
        put(&mut batch, 1, number, 10_000);
        db.write(batch).unwrap();
    }
    for number in 3_000..3_010 {
        let mut batch = Batch::new();
        put(&mut batch, 1, number, 100);
        db.commit_blocking(batch).unwrap();
    }
    std::process::abort();
}

#[test]
fn recycled_logs_are_read_to_their_end_and_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Db::create(&path, &identity()).unwrap().close().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(arguments())
        .env(FILLER, &path)
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(6), "{output:?}");
    let db = reopen(&path);
    for number in 0..3_010 {
        let len = if number < 3_000 { 10_000 } else { 100 };
        let found = db.get::<Entry>(&(1, number)).unwrap();
        assert_eq!(found, Some(entry(1, number, len)));
    }
    assert_eq!(db.scan::<Entry>().unwrap().len(), 3_010);
}
