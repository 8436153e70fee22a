//! The owner's socket, and a seed that waits for its passphrase.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hsm_messages::edges::HsmOperator;
use hsm_messages::operator::{Lock, Reply, Request, SOCKET, Seconds, SeedFormat, Status};
use hsm_messages::{ctl, hello};
use ipc_transport::blocking::UpperConn;
use ipc_transport::{Conn, EdgeHello, Error};
use sha2::{Digest, Sha256};
use subd::{Exit, START_FAILED};

use crate::node::{Node, connect, init, somebody, start_silent};

const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";
const PASSPHRASE: &str = "correct horse";
/// SHA-256 of the BIP 39 seed of these words and this passphrase, and the node id that it gives,
/// computed by a program that shares no code with this one.
const HASH: &str = "94e67f23af8d58ca762af10b9c945fbefab95ca353020f444d7cba71f9abd12e";
const NODE_ID: &str = "02d5f31e0d54e4f057c836d8d8297642284d13e5268bb61e29dc4a877e50723a86";

/// Whether a connection is taken and served; it may be closed before the hello is out.
fn answers(path: &Path) -> bool {
    let stream = OwnedFd::from(UnixStream::connect(path).unwrap());
    Conn::<Request, Reply>::new(stream, hello::<HsmOperator>())
        .and_then(|mut conn| conn.call(&Request::Status))
        .is_ok()
}

fn status(conn: &mut UpperConn<HsmOperator>) -> Status {
    match conn.call(&Request::Status).unwrap() {
        Reply::Status(status) => *status,
        other => panic!("no status: {other:?}"),
    }
}

fn unlock(conn: &mut UpperConn<HsmOperator>, passphrase: &str) -> Reply {
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(passphrase.as_bytes()).unwrap();
    drop(write);
    conn.send_with_fd(&Request::Unlock, read.into()).unwrap();
    conn.recv().unwrap()
}

/// hsmd on a folder with a seed that needs a passphrase, after Init.
fn locked() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let file = [&hex::decode(HASH).unwrap()[..], WORDS.as_bytes()].concat();
    fs::write(dir.path().join("hsm_secret"), file).unwrap();
    let mut node = Node::before_init(dir);
    assert_eq!(node.ctl.call(&init(true)).unwrap(), ctl::Reply::Locked);
    node
}

#[test]
fn the_status_says_what_hsmd_is() {
    let mut node = Node::before_init(tempfile::tempdir().unwrap());
    // It answers once it is there: the socket is bound before.
    assert_eq!(
        node.refused(&ctl::Request::NewChannel { peer: somebody() })
            .rule,
        "D4"
    );
    let mut conn = connect(node.dir.path());
    let before = status(&mut conn);
    assert_eq!((before.lock, before.seed), (Lock::NotStarted, None));
    let program = fs::read(env!("CARGO_BIN_EXE_hsmd")).unwrap();
    assert_eq!(before.program, <[u8; 32]>::from(Sha256::digest(program)));
    assert!(before.hardening.no_new_privs && !before.hardening.dumpable);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = [
        "hsm/src/msgs.rs",
        "hsm/src/rules.rs",
        "daemons/subd/src/policy/every.rs",
        "daemons/subd/src/policy/hsmd.rs",
    ];
    let policy = sources
        .map(|file| fs::read(root.join(file)).unwrap())
        .concat();
    assert_eq!(before.policy, <[u8; 32]>::from(Sha256::digest(policy)));

    let node_id = node.init(ctl::Database::Absent).node_id;
    let after = status(&mut conn);
    assert_eq!(
        after.lock,
        Lock::Unlocked {
            node_id,
            channels: 0
        }
    );
    let seed = after.seed.unwrap();
    assert_eq!((seed.format, seed.mode), (SeedFormat::Mnemonic, 0o400));
    match unlock(&mut conn, PASSPHRASE) {
        Reply::Refused(refused) => assert_eq!(refused.rule, "D4"),
        other => panic!("unlocked twice: {other:?}"),
    }
}

#[test]
fn the_words_of_a_new_seed_go_into_a_pipe_once() {
    let node = Node::new();
    let file = fs::read(node.dir.path().join("hsm_secret")).unwrap();
    let mut conn = connect(node.dir.path());
    let mut show = |fd: OwnedFd| {
        conn.send_with_fd(&Request::ShowMnemonic, fd).unwrap();
        conn.recv().unwrap()
    };
    let refused = |reply: Reply| match reply {
        Reply::Refused(refused) => refused.rule,
        other => panic!("shown: {other:?}"),
    };
    // A file would keep them.
    let kept = fs::File::create(node.dir.path().join("words")).unwrap();
    assert_eq!(refused(show(kept.into())), "R2");
    let (mut read, write) = std::io::pipe().unwrap();
    assert_eq!(show(write.into()), Reply::Done);
    let mut words = Vec::new();
    read.read_to_end(&mut words).unwrap();
    assert_eq!(words, &file[32..]);
    let (mut read, write) = std::io::pipe().unwrap();
    assert_eq!(refused(show(write.into())), "R2");
    words.clear();
    read.read_to_end(&mut words).unwrap();
    assert!(words.is_empty());
    let kept = fs::read(node.dir.path().join("words")).unwrap();
    assert!(kept.is_empty());
    let audit = fs::read_to_string(node.dir.path().join("hsm-audit")).unwrap();
    let words = String::from_utf8_lossy(&file[32..]).into_owned();
    let (first, _) = words.split_once(' ').unwrap();
    assert!(audit.contains("OPERATOR - ShowMnemonic"));
    assert!(!audit.contains(&format!(" {first} ")));
}

#[test]
fn a_locked_seed_opens_with_its_passphrase_alone() {
    let mut node = locked();
    let mut conn = connect(node.dir.path());
    let locked = status(&mut conn);
    assert_eq!(locked.lock, Lock::Locked);
    assert_eq!(
        locked.seed.unwrap().format,
        SeedFormat::MnemonicWithPassphrase
    );
    assert!(!node.dir.path().join("hsm-journal").exists());
    node.ctl.send(&ctl::Request::Unlocked).unwrap();
    node.ctl.flush().unwrap();

    let wrong = Reply::WrongPassphrase { wait: Seconds(1) };
    assert_eq!(unlock(&mut conn, "correct house"), wrong);
    let soon = Reply::TooSoon { wait: Seconds(1) };
    assert_eq!(
        unlock(&mut conn, PASSPHRASE),
        soon,
        "the right one, but too soon"
    );
    assert_eq!(
        node.ctl.recv_timeout(Duration::ZERO).unwrap(),
        None,
        "told too early"
    );
    let node_id = loop {
        match unlock(&mut conn, PASSPHRASE) {
            Reply::Unlocked { node_id } => break node_id,
            Reply::TooSoon { .. } => std::thread::sleep(Duration::from_millis(20)),
            other => panic!("not unlocked: {other:?}"),
        }
    };
    assert_eq!(node_id.to_string(), NODE_ID);
    match node.ctl.recv().unwrap() {
        ctl::Reply::Init(init) => assert_eq!(init.node_id, node_id),
        other => panic!("no Init: {other:?}"),
    }
    node.new_channel(somebody());
}

#[test]
fn d4_nothing_is_done_while_the_seed_is_locked() {
    let mut node = locked();
    let peer = somebody();
    assert_eq!(node.refused(&ctl::Request::NewChannel { peer }).rule, "D4");
    assert_eq!(node.refused(&init(true)).rule, "D4");
    node.ctl.send(&ctl::Request::Unlocked).unwrap();
    node.ctl.send(&ctl::Request::Stop).unwrap();
    node.ctl.flush().unwrap();
    assert_eq!(
        node.child.wait().unwrap(),
        Exit::Code(0),
        "it does not stop"
    );
}

#[test]
fn a_passphrase_that_does_not_come_is_not_waited_for() {
    let mut node = locked();
    let mut conn = connect(node.dir.path());
    let refused = |reply: Reply| match reply {
        Reply::Refused(refused) => refused.reason,
        other => panic!("taken: {other:?}"),
    };
    let (read, write) = std::io::pipe().unwrap();
    conn.send_with_fd(&Request::Unlock, read.into()).unwrap();
    refused(conn.recv().unwrap());
    drop(write);
    // None at all, and a file of a kind that could be waited for.
    refused(conn.call(&Request::Unlock).unwrap());
    let (socket, _other) = UnixStream::pair().unwrap();
    conn.send_with_fd(&Request::Unlock, socket.into()).unwrap();
    assert!(refused(conn.recv().unwrap()).contains("pipe"));
    let long = "x".repeat(2000);
    assert!(matches!(
        unlock(&mut conn, &long),
        Reply::WrongPassphrase { .. }
    ));
    assert_eq!(status(&mut conn).lock, Lock::Locked);
    node.child.kill().unwrap();
}

#[test]
fn a_tool_of_another_build_is_told_so() {
    let node = Node::new();
    let stream = UnixStream::connect(node.dir.path().join(SOCKET)).unwrap();
    let other = EdgeHello {
        schema: [7; 32],
        ..hello::<HsmOperator>()
    };
    let mut conn = Conn::<Request, Reply>::new(OwnedFd::from(stream), other).unwrap();
    assert!(matches!(conn.hello(), Err(Error::Hello(_))));
    status(&mut connect(node.dir.path()));
}

#[test]
fn a_fifth_connection_is_not_taken() {
    let node = Node::new();
    let mut conns: Vec<_> = (0..4).map(|_| connect(node.dir.path())).collect();
    conns.iter_mut().for_each(|conn| drop(status(conn)));
    let path = node.dir.path().join(SOCKET);
    assert!(!answers(&path));
    conns.iter_mut().for_each(|conn| drop(status(conn)));
    drop(conns.pop());
    // The kernel may tell of the new one before it tells that the old one went.
    while !answers(&path) {}
}

#[test]
fn the_socket_is_the_owners_and_a_dead_one_is_replaced() {
    let mut node = Node::new();
    let path = node.dir.path().join(SOCKET);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    node.kill_and_restart();
    status(&mut connect(node.dir.path()));
    // Something else of that name is not removed.
    node.child.kill().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    let (mut child, _socket) = start_silent(node.dir.path());
    assert_eq!(child.wait().unwrap(), Exit::Code(i32::from(START_FAILED)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

/// Where the other user finds the socket; set only in the process that plays him.
const PLAYED: &str = "HSMD_TEST_SOCKET";

/// Only root can become somebody else: without it there is nothing to test.
#[test]
fn another_user_is_hung_up_on() {
    if let Some(path) = std::env::var_os(PLAYED) {
        assert!(!answers(Path::new(&path)), "answered");
        return;
    }
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let node = Node::new();
    let path = node.dir.path().join(SOCKET);
    // Let him through to the socket: what stops him then is hsmd.
    fs::set_permissions(node.dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let program = node.dir.path().join("other-user");
    // By another process: a child of this one's other threads could hold the file open for writing,
    // and then it cannot be run.
    let copied = Command::new("cp")
        .args([&std::env::current_exe().unwrap(), &program])
        .status();
    assert!(copied.unwrap().success());
    let play = |user| {
        let mut command = Command::new(&program);
        command.args(["--exact", "operator::another_user_is_hung_up_on"]);
        command.env(PLAYED, &path).uid(user).output().unwrap()
    };
    let stranger = play(65_534);
    assert!(stranger.status.success(), "{stranger:?}");
    let control = play(0);
    assert!(
        !control.status.success(),
        "the control run shows nothing: {control:?}"
    );
    status(&mut connect(node.dir.path()));
}
