//! What the tests see of it from outside, and what it says itself.

use std::fs::{self, File};
use std::io::{BufRead, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ipc_transport::blocking::UpperConn;
use ipc_transport::hardening::Report;
use ipc_transport::log::{self, LogEdge};
use ipc_transport::{Conn, Error, pair};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use subd::{Child, Exit, Grant, Level, Mode, Role, START_FAILED, Spawn, SpawnError, spawn};

use crate::probe::{Answer, Ask, CONTROL, HELLO, ProbeEdge, STARTER};

type Edge = UpperConn<ProbeEdge>;
type Log = UpperConn<LogEdge>;

/// Long enough that only what would never come does not come.
const LONG: Duration = Duration::from_secs(120);

macro_rules! all {
    ($($name:ident),* $(,)?) => {
        pub const ALL: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

all! {
    it_has_only_the_descriptors_of_its_manifest,
    a_descriptor_that_leaked_is_closed_in_it_and_stays_open_without_the_first_steps,
    descriptors_keep_their_names_whatever_their_numbers_were,
    its_environment_is_empty,
    it_is_named_after_its_role,
    the_kernel_confirms_every_step,
    it_cannot_open_more_files_than_its_role_may,
    it_dies_with_its_parent,
    it_outlives_the_thread_that_started_it,
    it_is_locked_in_and_its_report_says_what_the_kernel_says,
    a_call_that_its_policy_does_not_have_ends_it_by_sigsys,
    a_call_that_libraries_try_is_refused_and_it_lives,
    what_the_host_does_not_give_is_named_and_refused_where_it_is_required,
    it_does_not_run_if_its_parent_is_gone,
    it_does_not_run_by_hand,
    it_does_not_run_if_a_descriptor_is_missing,
    it_does_not_run_if_threads_were_started_before,
    what_a_terminal_or_a_service_manager_sends_to_all_does_not_end_it,
    it_ends_by_itself_when_its_edge_is_closed,
    its_log_has_the_fields_of_its_spans_and_keeps_to_its_level,
    a_panic_aborts_it_and_its_last_words_are_in_the_log,
    an_error_is_logged_and_is_its_exit_code,
    a_child_that_is_dropped_is_killed,
    a_program_that_does_not_exist_is_an_error,
    improper_names_are_an_error,
    many_are_started_at_once_from_many_threads,
    a_runtime_can_wait_for_it,
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn start_with(role: Role, more: Vec<(&'static str, OwnedFd)>) -> (Child, Edge) {
    let (ours, theirs) = pair().unwrap();
    let mut fds = vec![("probe", theirs)];
    fds.extend(more);
    let what = Spawn {
        program: &program(),
        role,
        fds,
        log_level: Level::Info,
        grant: grant(),
    };
    let child = spawn(what).unwrap();
    let mut edge = Edge::new(ours, HELLO).unwrap();
    // From here on its first steps are behind it.
    edge.hello().unwrap();
    (child, edge)
}

fn start(role: Role) -> (Child, Edge) {
    start_with(role, Vec::new())
}

fn start_with_log(role: Role) -> (Child, Edge, Log) {
    let (ours, theirs) = pair().unwrap();
    let (child, edge) = start_with(role, vec![(subd::LOG, theirs)]);
    (
        child,
        edge,
        Conn::with_limits(ours, log::HELLO, log::LIMITS).unwrap(),
    )
}

fn hardening(edge: &mut Edge) -> subd::Hardening {
    match edge.call(&Ask::Hardening).unwrap() {
        Answer::Hardening(hardening) => hardening,
        other => panic!("{other:?}"),
    }
}

/// What it said of itself before anything else.
pub fn report(child: &mut Child) -> Option<Report> {
    child.take_report().unwrap().wait()
}

fn grant() -> Grant {
    Grant::no_network(Mode::of_this_host())
}

fn proc(child: &Child, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", child.pid())).unwrap()
}

fn fds_of(child: &Child) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{}/fd", child.pid())).unwrap();
    let mut fds: Vec<i32> = entries
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    fds.sort_unstable();
    fds
}

fn it_has_only_the_descriptors_of_its_manifest() {
    let more = (0..3).map(|_| File::open("/dev/zero").unwrap().into());
    let more: Vec<(&str, OwnedFd)> = ["a", "b", "c"].into_iter().zip(more).collect();
    let (child, mut edge) = start_with(Role::Channeld, more);
    assert_eq!(hardening(&mut edge).open_fds, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(fds_of(&child), [0, 1, 2, 3, 4, 5, 6]);
    for fd in [0, 1] {
        let link = fs::read_link(format!("/proc/{}/fd/{fd}", child.pid())).unwrap();
        assert_eq!(link.to_str(), Some("/dev/null"));
    }
}

fn a_descriptor_that_leaked_is_closed_in_it_and_stays_open_without_the_first_steps() {
    let (watched, leaked) = UnixStream::pair().unwrap();
    fcntl(leaked.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();

    let control = Command::new(program())
        .args([CONTROL, &leaked.as_raw_fd().to_string()])
        .env("SOME", "thing")
        .output()
        .unwrap();
    let control = String::from_utf8(control.stdout).unwrap();
    assert!(
        control.contains("leaked=true") && control.contains("dumpable=true"),
        "{control}"
    );
    assert!(!control.contains("env=0"), "{control}");

    let (child, mut edge) = start(Role::Channeld);
    assert_eq!(hardening(&mut edge).open_fds, [0, 1, 2, 3]);
    assert_eq!(fds_of(&child), [0, 1, 2, 3]);
    // With ours closed none is left, though it runs.
    drop(leaked);
    assert_eq!((&watched).read(&mut [0]).unwrap(), 0);
    drop(child);
}

fn descriptors_keep_their_names_whatever_their_numbers_were() {
    // Opened in the order that is the reverse of the names', so that most numbers are another's.
    let names = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
    let mut pairs: Vec<(OwnedFd, OwnedFd)> = names.iter().map(|_| pair().unwrap()).collect();
    pairs.reverse();
    let (mut ours, mut more) = (Vec::new(), Vec::new());
    for (name, (our, their)) in names.into_iter().zip(pairs) {
        ours.push(our);
        more.push((name, their));
    }
    let inode = |fd: &OwnedFd| nix::sys::stat::fstat(fd).unwrap().st_ino;
    let expected: Vec<u64> = more.iter().map(|(_, fd)| inode(fd)).collect();
    let (child, mut edge) = start_with(Role::Payd, more);
    assert_eq!(
        edge.call(&Ask::Names).unwrap(),
        Answer::Names(names.map(str::to_owned).to_vec())
    );
    for (number, inode) in (4..).zip(expected) {
        let link = fs::read_link(format!("/proc/{}/fd/{number}", child.pid())).unwrap();
        assert_eq!(link.to_str(), Some(format!("socket:[{inode}]").as_str()));
    }
}

fn its_environment_is_empty() {
    assert_ne!(std::env::vars_os().count(), 0, "nothing to take away");
    let (child, mut edge) = start(Role::Hsmd);
    assert_eq!(hardening(&mut edge).env_vars, 0);
    assert_eq!(proc(&child, "environ"), "");
}

fn it_is_named_after_its_role() {
    for role in Role::ALL {
        let (child, mut edge) = start(role);
        assert_eq!(hardening(&mut edge).process_name, role.name());
        assert_eq!(proc(&child, "comm").trim_end(), role.name());
        assert_eq!(
            proc(&child, "cmdline").split('\0').next(),
            Some(role.name())
        );
    }
}

fn the_kernel_confirms_every_step() {
    let (child, mut edge) = start(Role::Channeld);
    let hardening = hardening(&mut edge);
    assert!(hardening.no_new_privs && !hardening.dumpable);
    assert_eq!((hardening.core_limit, hardening.nofile), (0, 32));
    assert_eq!((hardening.parent_death_signal, hardening.threads), (9, 1));
    // And not only by its own word.
    let status = proc(&child, "status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("Threads:\t1"), "{status}");
    assert_eq!((hardening.nproc, hardening.fsize), (0, 0));
    let limits = proc(&child, "limits");
    let limit = |name: &str| {
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace()
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max open files"), ["32", "32"]);
    assert_eq!(limit("Max processes"), ["0", "0"]);
    assert_eq!(limit("Max file size"), ["0", "0"]);
}

fn it_cannot_open_more_files_than_its_role_may() {
    let (_child, mut edge) = start(Role::Channeld);
    assert_eq!(edge.call(&Ask::OpenMany).unwrap(), Answer::Opened(32 - 4));
}

/// A process that is no subdaemon starts one, whose edge is ours; with what its report was.
fn started_by_another(mode: Mode, lacking: &str) -> (std::process::Child, Edge, String) {
    let (ours, theirs) = pair().unwrap();
    fcntl(theirs.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let mut parent = Command::new(program())
        .args([
            STARTER,
            &theirs.as_raw_fd().to_string(),
            mode.name(),
            lacking,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(parent.stdout.take().unwrap());
    let lines = said.lines().map(Result::unwrap);
    let report: Vec<String> = lines.take_while(|line| line != "end of report").collect();
    let edge = Edge::new(ours, HELLO).unwrap();
    (parent, edge, report.join("\n"))
}

fn it_dies_with_its_parent() {
    // It is the child of a child, and its edge is ours: only its parent's death can close it.
    let (mut parent, mut grandchild, _) = started_by_another(Mode::BestEffort, "none");
    assert_eq!(hardening(&mut grandchild).process_name, "channeld");
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(matches!(grandchild.recv_timeout(LONG), Err(Error::Closed)));
}

fn what_the_host_does_not_give_is_named_and_refused_where_it_is_required() {
    for (call, name) in [
        (libc::SYS_unshare, "namespaces of its own (EPERM"),
        (libc::SYS_pivot_root, "an empty root (EPERM"),
        (
            libc::SYS_landlock_create_ruleset,
            "Landlock with ABI 6 (the kernel has 0): use Linux 6.12",
        ),
        (libc::SYS_seccomp, "seccomp filters ("),
    ] {
        let lacking = call.to_string();
        let (mut parent, mut edge, report) = started_by_another(Mode::Required, &lacking);
        assert!(report.starts_with("Some(Failed("), "{report}");
        assert!(report.contains(name), "{name}: {report}");
        assert!(report.contains("--sandbox=best-effort"), "{report}");
        assert!(matches!(edge.recv_timeout(LONG), Err(Error::Closed)));
        parent.kill().unwrap();
        parent.wait().unwrap();

        let (mut parent, mut edge, report) = started_by_another(Mode::BestEffort, &lacking);
        assert!(report.starts_with("Some(Ready("), "{report}");
        let hardening = hardening(&mut edge);
        assert!(hardening.missing[0].starts_with(name), "{hardening:?}");
        parent.kill().unwrap();
        parent.wait().unwrap();
    }
}

fn it_is_locked_in_and_its_report_says_what_the_kernel_says() {
    for role in Role::ALL {
        let folder = tempfile::tempdir().unwrap();
        let folder = OwnedFd::from(File::open(folder.path()).unwrap());
        let (mut child, mut edge) = start_with(role, vec![("folder", folder)]);
        let said = match report(&mut child) {
            Some(Report::Ready(said)) => *said,
            other => panic!("{role}: {other:?}"),
        };
        assert_eq!(hardening(&mut edge), said);
        let status = proc(&child, "status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(field("Uid:"), [said.uid.to_string().as_str(); 4].join(" "));
        assert_eq!(field("Seccomp:"), said.seccomp.to_string());
        assert_eq!(field("Seccomp_filters:"), said.seccomp_filters.to_string());
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{role}: {set}");
        }
        assert_eq!(said.capabilities, 0);
        if !subd::missing_on_this_host().is_empty() {
            println!(
                "    {role}: this host does not give all: {:?}",
                said.missing
            );
            continue;
        }
        assert_eq!(said.missing, Vec::<String>::new());
        assert_ne!(said.uid, 0);
        assert_eq!((said.landlock, said.seccomp), (6, 2));
        assert!(said.empty_root);
        for name in ["mnt", "ipc", "uts", "cgroup"] {
            assert!(said.namespaces.iter().any(|own| own == name), "{said:?}");
        }
        let network = matches!(role, Role::Connectd | Role::Chaind);
        assert_eq!(said.namespaces.iter().any(|own| own == "net"), !network);
    }
}

fn a_call_that_its_policy_does_not_have_ends_it_by_sigsys() {
    for role in Role::ALL {
        let (mut child, mut edge) = start(role);
        assert!(matches!(edge.call(&Ask::Forbidden), Err(Error::Closed)));
        let exit = child.wait().unwrap();
        assert_eq!(exit, Exit::Signal(31), "{role}");
        assert!(exit.to_string().contains("SIGSYS"), "{exit}");
        assert!(exit.to_string().contains("its sandbox forbids"), "{exit}");
    }
}

fn a_call_that_libraries_try_is_refused_and_it_lives() {
    let (_child, mut edge) = start(Role::Channeld);
    assert_eq!(
        edge.call(&Ask::Refused).unwrap(),
        Answer::Errno(libc::EINVAL)
    );
    assert_eq!(edge.call(&Ask::Names).unwrap(), Answer::Names(vec![]));
}

fn it_outlives_the_thread_that_started_it() {
    let (mut child, mut edge) = std::thread::spawn(|| start(Role::Channeld)).join().unwrap();
    assert_eq!(edge.call(&Ask::Names).unwrap(), Answer::Names(vec![]));
    assert_eq!(child.try_wait().unwrap(), None);
}

/// Started without [`spawn`], with these arguments and a grant.
fn by_hand(name: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    let grant = ["--sandbox=best-effort", "--connect=none", "--bind="];
    command
        .arg0(name)
        .args(args)
        .args(grant)
        .stdin(Stdio::null());
    command.output().unwrap()
}

fn assert_refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(i32::from(START_FAILED)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("channeld: ") && said.contains(why),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn it_does_not_run_if_its_parent_is_gone() {
    // Process 1 is not its parent: that is how it looks once the real one has died.
    let output = by_hand("channeld", &["--fds=", "--log-level=info", "--parent=1"]);
    assert_refused(&output, "the parent is gone");
}

fn it_does_not_run_by_hand() {
    assert_refused(&by_hand("channeld", &["--fds="]), "not by hand");
    let output = by_hand(
        "channeld",
        &["--fds=", "--log-level=info", "--parent=1", "--help"],
    );
    assert_refused(&output, "unexpected argument");
}

fn it_does_not_run_if_a_descriptor_is_missing() {
    let parent = format!("--parent={}", std::process::id());
    let output = by_hand("channeld", &["--fds=probe:77", "--log-level=info", &parent]);
    assert_refused(&output, "`probe` of the manifest is not open");
}

fn it_does_not_run_if_threads_were_started_before() {
    let parent = format!("--parent={}", std::process::id());
    let output = by_hand("threaded", &["--fds=", "--log-level=info", &parent]);
    assert_refused(&output, "2 threads");
}

fn what_a_terminal_or_a_service_manager_sends_to_all_does_not_end_it() {
    let (mut child, mut edge) = start(Role::Hsmd);
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGPIPE,
    ] {
        kill(Pid::from_raw(child.pid()), signal).unwrap();
        assert_eq!(edge.call(&Ask::Names).unwrap(), Answer::Names(vec![]));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Signal(9));
    assert_eq!(child.wait().unwrap(), Exit::Signal(9), "and is remembered");
    child.kill().unwrap();
}

fn it_ends_by_itself_when_its_edge_is_closed() {
    let (mut child, edge) = start(Role::Payd);
    drop(edge);
    let exit = child.wait().unwrap();
    assert!(exit.is_success(), "{exit}");
}

fn its_log_has_the_fields_of_its_spans_and_keeps_to_its_level() {
    let (_child, mut edge, mut log) = start_with_log(Role::Channeld);
    for message in ["first", "second"] {
        edge.call(&Ask::Log {
            message: message.to_owned(),
        })
        .unwrap();
        let record = log.recv().unwrap();
        assert_eq!(
            (record.level, record.message.as_str(), record.lost),
            (Level::Info, message, 0)
        );
        assert!(record.target.contains("probe"), "{}", record.target);
        let fields: Vec<(&str, &str)> = record
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("peer", "02ab"),
            ("later", "5"),
            ("channel", "103x1x0"),
            ("amount_msat", "7"),
        ];
        assert_eq!(fields, expected);
    }
}

fn a_panic_aborts_it_and_its_last_words_are_in_the_log() {
    let (mut child, mut edge, mut log) = start_with_log(Role::Channeld);
    assert!(matches!(edge.call(&Ask::Panic), Err(Error::Closed)));
    assert_eq!(child.wait().unwrap(), Exit::Signal(6));
    let record = log.recv().unwrap();
    assert_eq!(
        (record.level, record.target.as_str()),
        (Level::Error, "panic")
    );
    assert!(
        record.message.starts_with("channeld panicked at "),
        "{}",
        record.message
    );
    assert!(
        record.message.ends_with(r"asked to\nsay this"),
        "{}",
        record.message
    );
    assert!(log.recv().unwrap_err().is_closed());
}

fn an_error_is_logged_and_is_its_exit_code() {
    let (mut child, mut edge, mut log) = start_with_log(Role::Chaind);
    let error = "no backend".to_owned();
    assert!(matches!(
        edge.call(&Ask::Fail { error }),
        Err(Error::Closed)
    ));
    let exit = child.wait().unwrap();
    assert_eq!((exit, exit.is_success()), (Exit::Code(1), false));
    let record = log.recv().unwrap();
    assert_eq!(
        (record.level, record.message.as_str()),
        (Level::Error, "no backend")
    );
}

fn a_child_that_is_dropped_is_killed() {
    let (child, mut edge) = start(Role::Channeld);
    let pid = child.pid();
    drop(child);
    assert!(matches!(edge.recv(), Err(Error::Closed)));
    assert!(
        !PathBuf::from(format!("/proc/{pid}")).exists(),
        "and reaped"
    );
}

fn a_program_that_does_not_exist_is_an_error() {
    let program = PathBuf::from("/nowhere/channeld");
    let what = Spawn {
        program: &program,
        role: Role::Channeld,
        fds: vec![],
        log_level: Level::Info,
        grant: grant(),
    };
    match spawn(what) {
        Err(SpawnError::System { error, .. }) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
}

fn improper_names_are_an_error() {
    for names in [&["a", "a"][..], &["a:3"], &["a,b"], &[""]] {
        let fds = names
            .iter()
            .map(|name| (*name, File::open("/dev/null").unwrap().into()));
        let what = Spawn {
            program: &program(),
            role: Role::Channeld,
            fds: fds.collect(),
            log_level: Level::Info,
            grant: grant(),
        };
        assert!(
            matches!(spawn(what), Err(SpawnError::Manifest(_))),
            "{names:?}"
        );
    }
}

fn many_are_started_at_once_from_many_threads() {
    // Meanwhile another thread opens and closes files: none of them gets into a child.
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                drop((File::open("/dev/zero"), pair()));
            }
        });
        let starters: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let (_child, mut edge) = start(Role::Channeld);
                        assert_eq!(hardening(&mut edge).open_fds, [0, 1, 2, 3]);
                    }
                })
            })
            .collect();
        starters
            .into_iter()
            .for_each(|starter| starter.join().unwrap());
        drop(stop);
    });
}

#[cfg(feature = "tokio")]
fn a_runtime_can_wait_for_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut child, edge) = start(Role::Channeld);
        tokio::select! {
            biased;
            exit = child.exited() => panic!("{exit:?}"),
            () = tokio::task::yield_now() => {}
        }
        drop(edge);
        assert_eq!(child.exited().await.unwrap(), Exit::Code(0));
    });
}

#[cfg(not(feature = "tokio"))]
fn a_runtime_can_wait_for_it() {
    println!("    skipped: needs the feature `tokio`");
}
