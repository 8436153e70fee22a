//! The disk says no, and files that are not of one moment, to the real process.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsm_messages::edges::{HsmCtl, HsmWallet};
use hsm_messages::{Role, ctl, hello, wallet};
use ipc_transport::blocking::UpperConn;
use ipc_transport::{Conn, pair};
use subd::{Child, Exit, Grant, Level, Mode, Spawn, spawn};

use crate::node::{Node, init_with, somebody};

/// A tiny file system of its own, in a mount namespace that lives as long as a process of ours.
struct Disk {
    keeper: std::process::Child,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    /// `None` where this test may not mount anything.
    fn of(kibibytes: u32) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let script =
            format!("mount -t tmpfs -o size={kibibytes}k tmpfs {path} && echo ready && exec cat");
        let mut keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let said = keeper.stdout.take()?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line).unwrap();
        if line != "ready\n" {
            keeper.kill().unwrap();
            keeper.wait().unwrap();
            return None;
        }
        let root = PathBuf::from(format!("/proc/{}/root{path}", keeper.id()));
        Some(Disk {
            keeper,
            root,
            _dir: dir,
        })
    }

    /// Takes all space but so much, with a file of this name.
    fn fill(&self, name: &str, leaving: u64) -> PathBuf {
        let filler = self.root.join(name);
        let free = {
            let stats = nix::sys::statvfs::statvfs(&self.root).unwrap();
            stats.blocks_available() * stats.fragment_size()
        };
        fs::write(&filler, vec![1; (free - leaving) as usize]).unwrap();
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// hsmd by way of a shell, which limits the length of the files that it writes.
fn start_limited(folder: &Path, kibibytes: u64) -> (Child, UpperConn<HsmCtl>) {
    let script = folder.join("limited");
    // A write beyond the limit is an error then, not a signal that kills.
    let text = format!(
        "#!/bin/bash\ntrap '' XFSZ\nulimit -f {kibibytes}\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_hsmd")
    );
    fs::write(&script, text).unwrap();
    let mut mode = fs::metadata(&script).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o700);
    fs::set_permissions(&script, mode).unwrap();
    start_program(&script, folder)
}

fn start_program(program: &Path, folder: &Path) -> (Child, UpperConn<HsmCtl>) {
    let (ours, theirs) = pair().unwrap();
    let folder: OwnedFd = File::open(folder).unwrap().into();
    let child = spawn(Spawn {
        program,
        role: subd::Role::Hsmd,
        fds: vec![("lightningd", theirs), ("folder", folder)],
        log_level: Level::Error,
        // The small disk's user namespace knows root alone, so there hsmd cannot be its own user.
        grant: Grant::no_network(Mode::BestEffort),
    });
    (child.unwrap(), Conn::new(ours, hello::<HsmCtl>()).unwrap())
}

fn init(ctl: &mut UpperConn<HsmCtl>, database: ctl::Database) -> (ctl::Init, OwnedFd) {
    match ctl.call(&init_with(database)).unwrap() {
        ctl::Reply::Init(init) => (init, ctl.take_fd().unwrap()),
        other => panic!("no Init: {other:?}"),
    }
}

fn mark(marks: &OwnedFd) -> ctl::Database {
    let file = File::from(marks.try_clone().unwrap());
    let mark = hsm_messages::mark::Mark::read(&file).unwrap();
    assert!(mark.is_some());
    ctl::Database::Present { mark }
}

/// Asks for addresses until hsmd ends; how many it gave.
fn use_up(ctl: &mut UpperConn<HsmCtl>, child: &mut Child) -> u32 {
    let (ours, theirs) = pair().unwrap();
    let role = Role::Wallet;
    let request = ctl::Request::Mint {
        role,
        channel: None,
    };
    ctl.send_with_fd(&request, theirs).unwrap();
    assert_eq!(ctl.recv().unwrap(), ctl::Reply::Minted { newest: None });
    let mut conn: UpperConn<HsmWallet> = Conn::new(ours, hello::<HsmWallet>()).unwrap();
    let mut given = 0;
    while let Ok(reply) = conn.call(&wallet::Request::GetAddress) {
        match reply {
            wallet::Reply::Address { index, .. } => assert_eq!(index, given),
            other => panic!("{other:?}"),
        }
        given += 1;
        assert!(given < 100_000, "there is no limit");
    }
    assert_eq!(
        child.wait().unwrap(),
        Exit::Code(1),
        "it does not end with an error"
    );
    assert!(given > 0);
    given
}

/// The last request may be in the journal and not in the audit log: then its reply did not leave.
fn all_or_one_more(next_address: u32, given: u32) -> bool {
    next_address == given || next_address == given + 1
}

#[test]
fn b1_a_full_disk_ends_it_and_with_space_it_has_all_that_it_acknowledged() {
    let Some(disk) = Disk::of(512) else {
        return b1_a_file_that_may_not_grow_ends_it_and_nothing_acknowledged_is_lost();
    };
    let hsmd = Path::new(env!("CARGO_BIN_EXE_hsmd"));
    let (mut child, mut ctl) = start_program(hsmd, &disk.root);
    let (_, marks) = init(&mut ctl, ctl::Database::Absent);
    let filler = disk.fill("filler", 8192);
    let given = use_up(&mut ctl, &mut child);
    let database = mark(&marks);
    // No byte is left: it does not start, and says so.
    disk.fill("rest", 0);
    let journal = fs::read(disk.root.join("hsm-journal")).unwrap();
    let (mut child, mut ctl) = start_program(hsmd, &disk.root);
    match ctl.call(&init_with(database)).unwrap() {
        ctl::Reply::Refused(refused) => {
            assert!(
                refused.reason.contains("No space left"),
                "{}",
                refused.reason
            );
            assert!(
                refused.reason.contains("free or check the disk"),
                "{}",
                refused.reason
            );
        }
        // What was torn off at the end of the journal made room for the record of this start.
        ctl::Reply::Init(init) => {
            assert!(all_or_one_more(init.next_address, given));
            assert!(fs::read(disk.root.join("hsm-journal")).unwrap().len() <= journal.len() + 512);
        }
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(&filler).unwrap();
    let (mut child, mut ctl) = start_program(hsmd, &disk.root);
    let (init, _) = init(&mut ctl, database);
    assert!(all_or_one_more(init.next_address, given));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn b1_a_file_that_may_not_grow_ends_it_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    // More than the memory for keys, which is a file too.
    let (mut child, mut ctl) = start_limited(dir.path(), 96);
    let (_, marks) = init(&mut ctl, ctl::Database::Absent);
    let given = use_up(&mut ctl, &mut child);
    // A line of the audit log is longer than the journal's record of the same request.
    let len = fs::metadata(dir.path().join("hsm-audit")).unwrap().len();
    assert!(len > 95 * 1024, "it did not end at the limit but at {len}");
    let hsmd = Path::new(env!("CARGO_BIN_EXE_hsmd"));
    let (mut child, mut ctl) = start_program(hsmd, dir.path());
    let (init, _) = init(&mut ctl, mark(&marks));
    assert!(all_or_one_more(init.next_address, given));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn b2_an_older_copy_of_the_journal_is_refused_and_left_as_it_is() {
    let mut node = Node::new();
    let journal = node.dir.path().join("hsm-journal");
    let old = fs::read(&journal).unwrap();
    node.new_channel(somebody());
    let mark = node.mark();
    node.kill_and_start();
    let newest = fs::read(&journal).unwrap();
    fs::write(&journal, &old).unwrap();
    let database = ctl::Database::Present { mark };
    let refused = node.refused(&init_with(database));
    assert_eq!(refused.rule, "B2");
    assert!(
        refused.reason.contains("hsm-journal is an older copy"),
        "{}",
        refused.reason
    );
    assert!(refused.reason.contains("Put back"), "{}", refused.reason);
    assert_eq!(fs::read(&journal).unwrap(), old);
    // It signs nothing, and starts when the files are put right.
    assert_eq!(
        node.refused(&ctl::Request::NewChannel { peer: somebody() })
            .rule,
        "D4"
    );
    fs::write(&journal, newest).unwrap();
    assert_eq!(node.init(database).next_address, 1);
}

#[test]
fn b2_an_older_database_is_refused_and_nothing_changes() {
    let mut node = Node::new();
    let old = node.mark();
    // It was stopped and started again, and something happened.
    node.kill_and_restart();
    node.new_channel(somebody());
    let mark = node.mark();
    node.kill_and_start();
    let journal = fs::read(node.dir.path().join("hsm-journal")).unwrap();
    let refused = node.refused(&init_with(ctl::Database::Present { mark: old }));
    assert_eq!(refused.rule, "B2");
    assert!(
        refused.reason.contains("database is an older copy"),
        "{}",
        refused.reason
    );
    let none = node.refused(&init_with(ctl::Database::Absent));
    assert!(none.reason.contains("no database"), "{}", none.reason);
    assert_eq!(
        fs::read(node.dir.path().join("hsm-journal")).unwrap(),
        journal
    );
    node.init(ctl::Database::Present { mark });
}

#[test]
fn b2_the_mark_is_there_before_the_reply_and_what_may_wait_is_not_in_it() {
    let mut node = Node::new();
    let mut last = node.mark().unwrap();
    for _ in 0..50 {
        node.new_channel(somebody());
        let mark = node.mark().unwrap();
        assert_eq!((mark.epoch, mark.sequence), (1, last.sequence + 1));
        last = mark;
    }
    assert_eq!(node.kill_and_restart().next_address, 50);
    assert_eq!(node.mark().unwrap().epoch, 2);
}
