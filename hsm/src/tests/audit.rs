//! The audit log: what is noticed, and what survives.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use wire::ChannelDbid;

use hsm_files::UnixTime;
use hsm_files::audit::{
    AuditError, AuditLog, Broken, Decision, Entry, Head, KEPT, Line, digest, read,
};

const NOW: UnixTime = UnixTime(1_764_121_817);

fn open(folder: &Path) -> AuditLog {
    open_with(folder, 1 << 20).unwrap()
}

fn open_with(folder: &Path, long: u64) -> Result<AuditLog, AuditError> {
    let folder = fs::File::open(folder).unwrap().into();
    AuditLog::open_with(folder, NOW, long)
}

fn entry(n: u8, decision: Decision<'static>) -> Entry<'static> {
    Entry {
        role: "CHAN",
        channel: Some(ChannelDbid(u64::from(n))),
        message: "SignRemote",
        count: 1,
        request: digest(&[n]),
        decision,
        reply: digest(&[n, n]),
    }
}

const REFUSED: Decision<'static> = Decision::Refused {
    rule: "C4",
    reason: "commitment 7 of this side, where 9 is the newest",
};

/// A log of a start and five lines, of which the third is a refusal.
fn some_lines() -> (TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for n in 0..5 {
        log.note(&entry(n, if n == 2 { REFUSED } else { Decision::Ok }));
    }
    log.write().unwrap();
    let bytes = fs::read(dir.path().join("hsm-audit")).unwrap();
    (dir, bytes)
}

fn lines(bytes: &[u8]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let whole = read(bytes, |line| lines.push(line)).unwrap();
    assert_eq!((whole.broken, whole.good), (None, bytes.len()));
    lines
}

#[test]
fn what_was_noted_is_read_in_words() {
    let (_dir, bytes) = some_lines();
    let lines = lines(&bytes);
    assert_eq!(lines.len(), 6);
    assert_eq!((lines[0].message, lines[0].number), ("Start", 1));
    let third = lines[3];
    assert_eq!((third.number, third.time, third.role), (4, NOW, "CHAN"));
    assert_eq!(third.channel, Some(ChannelDbid(2)));
    assert_eq!((third.message, third.count), ("SignRemote", 1));
    assert_eq!(third.decision, REFUSED);
    assert_eq!(third.request, hex::encode(digest(&[2])));
    assert_eq!(third.reply, hex::encode(digest(&[2, 2])));
}

#[test]
fn a_byte_that_is_changed_anywhere_is_noticed() {
    let (_dir, bytes) = some_lines();
    let mut count = 0;
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            match read(&changed, |_| count += 1) {
                Ok(read) => assert!(read.broken.is_some(), "byte {at}"),
                Err(broken) => assert_eq!(broken, Broken::Title, "byte {at}"),
            }
        }
    }
    assert!(count > 0);
}

#[test]
fn a_line_left_out_put_in_or_moved_is_noticed() {
    let (_dir, bytes) = some_lines();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = |lines: &[&str]| {
        let text = lines.join("\n") + "\n";
        read(text.as_bytes(), |_| ()).unwrap().broken
    };
    assert_eq!(broken(&lines), None);
    for at in 1..lines.len() - 1 {
        let (mut without, mut twice, mut swapped) = (lines.clone(), lines.clone(), lines.clone());
        without.remove(at);
        twice.insert(at, lines[at]);
        swapped.swap(at, at + 1);
        for changed in [without, twice, swapped] {
            assert!(broken(&changed).is_some(), "line {at}");
        }
    }
}

#[test]
fn a_reason_stays_on_its_line_and_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let long = "x".repeat(5_000);
    for reason in ["two\nlines\u{1b}[2J and  spaces ", long.as_str()] {
        let decision = Decision::Refused { rule: "C2", reason };
        log.note(&Entry {
            decision,
            ..entry(1, Decision::Ok)
        });
    }
    log.write().unwrap();
    let bytes = fs::read(dir.path().join("hsm-audit")).unwrap();
    let read = lines(&bytes);
    let Decision::Refused { reason, .. } = read[1].decision else {
        panic!("answered");
    };
    assert_eq!(reason, "two?lines?[2J and  spaces ");
    let Decision::Refused { reason, .. } = read[2].decision else {
        panic!("answered");
    };
    assert!(reason.len() < 500);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_marked() {
    let (dir, bytes) = some_lines();
    let last = bytes.len()
        - 1
        - bytes[..bytes.len() - 1]
            .iter()
            .rev()
            .position(|b| *b == b'\n')
            .unwrap();
    for end in last + 1..bytes.len() {
        fs::write(dir.path().join("hsm-audit"), &bytes[..end]).unwrap();
        drop(open(dir.path()));
        let now = fs::read(dir.path().join("hsm-audit")).unwrap();
        let lines = lines(&now);
        let marks: Vec<(&str, u64)> = lines[5..]
            .iter()
            .map(|line| (line.message, line.count))
            .collect();
        assert_eq!(marks, [("Torn", (end - last) as u64), ("Start", 1)]);
    }
}

#[test]
fn what_does_not_belong_is_put_aside_whole_and_marked() {
    let (dir, bytes) = some_lines();
    let mut changed = bytes.clone();
    let at = bytes.len() / 2;
    changed[at] ^= 1;
    fs::write(dir.path().join("hsm-audit"), &changed).unwrap();
    drop(open(dir.path()));
    assert_eq!(fs::read(dir.path().join("hsm-audit.1")).unwrap(), changed);
    let aside = read(&changed, |_| ()).unwrap();
    let now = fs::read(dir.path().join("hsm-audit")).unwrap();
    let whole = read(&now, |_| ()).unwrap();
    assert_eq!(whole.first, aside.last);
    let lines = lines(&now);
    assert_eq!((lines[0].message, lines[1].message), ("Damaged", "Start"));
    assert_eq!(lines[0].count, (changed.len() - aside.good) as u64);
}

#[test]
fn a_long_file_is_put_aside_the_chain_goes_on_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_with(dir.path(), 2_000).unwrap();
    for n in 0..200 {
        log.note(&entry(n, Decision::Ok));
        log.write().unwrap();
    }
    let name = |number| dir.path().join(format!("hsm-audit.{number}"));
    assert!(!name(KEPT + 1).exists());
    let mut files: Vec<_> = (1..=KEPT).rev().map(name).collect();
    files.push(dir.path().join("hsm-audit"));
    let mut at: Option<Head> = None;
    for file in files {
        let bytes = fs::read(&file).unwrap();
        assert!(bytes.len() < 2_500, "{}", file.display());
        let whole = read(&bytes, |_| ()).unwrap();
        assert_eq!(whole.broken, None);
        assert!(at.is_none_or(|at| at == whole.first), "{}", file.display());
        at = Some(whole.last);
    }
    assert_eq!(at, Some(log.head()));
    assert_eq!(log.head().number, 201);
    // A crash after the file was put aside and before there was a new one.
    let head = log.head();
    drop(log);
    fs::rename(dir.path().join("hsm-audit"), name(1)).unwrap();
    assert_eq!(open(dir.path()).head().number, head.number + 1);
}

#[test]
fn the_tail_begins_where_it_is_asked_for() {
    let (dir, _) = some_lines();
    let log = open(dir.path());
    let tail = log.tail(4, 2).unwrap();
    assert_eq!(tail.len(), 2);
    assert!(tail[0].starts_with("4 ") && tail[1].starts_with("5 "));
    assert_eq!(log.tail(7, 100).unwrap().len(), 1);
}

#[test]
fn two_signers_do_not_write_to_one_log() {
    let (dir, _) = some_lines();
    let first = open(dir.path());
    assert!(matches!(
        open_with(dir.path(), 1 << 20),
        Err(AuditError::InUse)
    ));
    drop(first);
    drop(open(dir.path()));
}
