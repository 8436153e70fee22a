//! Every attack in every role, and without a sandbox: each row says what must come of it.

#[path = "fixtures/world.rs"]
mod world;

use nix::unistd::geteuid;
use sandbox_attacks::Attack;
use subd::Role;
use world::{Fate, World};

/// The columns.
const ROLES: [Role; 6] = [
    Role::Hsmd,
    Role::Connectd,
    Role::Channeld,
    Role::Onchaind,
    Role::Chaind,
    Role::Payd,
];

/// The daemon is meant to do it.
const MAY: Fate = Fate::Succeeded;
const SIGSYS: Fate = Fate::Killed(libc::SIGSYS);
/// Landlock's word.
const EACCES: Fate = Fate::Refused(libc::EACCES);
/// The word of an empty root.
const ENOENT: Fate = Fate::Refused(libc::ENOENT);
const EINVAL: Fate = Fate::Refused(libc::EINVAL);

/// What becomes of an attack in each role, in the order of [`ROLES`].
struct Row {
    name: &'static str,
    attack: Attack,
    fates: [Fate; 6],
    /// Without the sandbox it succeeds for everybody, or for root alone and others get this error.
    control: Control,
}

enum Control {
    Anybody,
    Root { others: i32 },
}

fn row(name: &'static str, attack: Attack, fates: [Fate; 6]) -> Row {
    Row {
        name,
        attack,
        fates,
        control: Control::Anybody,
    }
}

fn only_root(name: &'static str, attack: Attack, fates: [Fate; 6]) -> Row {
    Row {
        control: Control::Root {
            others: libc::EPERM,
        },
        ..row(name, attack, fates)
    }
}

const ALL_KILLED: [Fate; 6] = [SIGSYS; 6];

/// hsmd alone opens files.
fn files(hsmd: Fate) -> [Fate; 6] {
    [hsmd, SIGSYS, SIGSYS, SIGSYS, SIGSYS, SIGSYS]
}

/// connectd and chaind alone make TCP sockets.
fn tcp(connectd: Fate, chaind: Fate) -> [Fate; 6] {
    [SIGSYS, connectd, SIGSYS, SIGSYS, chaind, SIGSYS]
}

fn matrix(world: &World) -> Vec<Row> {
    let (backend, peer) = (&world.backend, &world.peer);
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let (pid, address) = (world.sibling(), world.address);
    let open = |path: String| Attack::Open { path };
    let from = |path: &str| Attack::OpenFromFolder {
        path: path.to_owned(),
    };
    let path = |name: &str| world.path(name);
    let connect = |port| Attack::Connect { port };
    vec![
        row(
            "open /etc/passwd",
            open("/etc/passwd".to_owned()),
            files(ENOENT),
        ),
        row(
            "open the seed by its path",
            open(path("node/hsm_secret")),
            files(ENOENT),
        ),
        row(
            "open the seed from the folder",
            from("hsm_secret"),
            files(MAY),
        ),
        row(
            "open a file beside the folder",
            from("../outside"),
            files(EACCES),
        ),
        row(
            "create a file by its path",
            Attack::Create {
                path: path("by-path"),
            },
            files(ENOENT),
        ),
        row(
            "create a file beside the folder",
            Attack::CreateFromFolder {
                path: "../beside".to_owned(),
            },
            files(EACCES),
        ),
        row(
            "read /proc/PID/mem of a sibling",
            Attack::ReadMemoryFile { pid, address },
            files(ENOENT),
        ),
        row(
            "connect to bitcoind's port",
            connect(port(backend)),
            tcp(EACCES, MAY),
        ),
        row(
            "connect to another port",
            connect(port(peer)),
            tcp(MAY, EACCES),
        ),
        row(
            "connect with TCP fast open",
            Attack::FastOpen {
                port: port(backend),
            },
            ALL_KILLED,
        ),
        row(
            "bind the granted port",
            Attack::Bind {
                port: world.granted,
            },
            tcp(MAY, SIGSYS),
        ),
        row(
            "bind another port",
            Attack::Bind { port: world.other },
            tcp(EACCES, SIGSYS),
        ),
        row("UDP socket", Attack::Udp, ALL_KILLED),
        row("netlink socket", Attack::Netlink, ALL_KILLED),
        row(
            "connect to an abstract Unix socket",
            Attack::AbstractUnix {
                name: world.abstract_name.clone(),
            },
            ALL_KILLED,
        ),
        row("run a program", Attack::Exec, ALL_KILLED),
        row("fork", Attack::Fork, ALL_KILLED),
        row("ptrace a sibling", Attack::Ptrace { pid }, ALL_KILLED),
        row(
            "pidfd_getfd of a sibling",
            Attack::TakeDescriptor { pid },
            ALL_KILLED,
        ),
        row("kill a sibling", Attack::Kill { pid }, ALL_KILLED),
        row(
            "process_vm_readv of a sibling",
            Attack::ReadMemory { pid, address },
            ALL_KILLED,
        ),
        // kernel.unprivileged_bpf_disabled, which most systems set.
        only_root("bpf", Attack::Bpf, ALL_KILLED),
        row("io_uring_setup", Attack::IoUring, ALL_KILLED),
        row("userfaultfd", Attack::Userfaultfd, ALL_KILLED),
        row("mprotect to executable", Attack::MprotectExec, ALL_KILLED),
        row("mmap writable and executable", Attack::MmapExec, ALL_KILLED),
        only_root(
            "mount",
            Attack::Mount {
                path: path("mount"),
            },
            ALL_KILLED,
        ),
        row("unshare a user namespace", Attack::Unshare, ALL_KILLED),
        row("keyctl", Attack::Keyctl, ALL_KILLED),
        row("perf_event_open", Attack::PerfEvent, ALL_KILLED),
        row("seccomp", Attack::Seccomp, ALL_KILLED),
        row("ioctl of a terminal", Attack::Terminal, ALL_KILLED),
        row("become dumpable", Attack::BecomeDumpable, [EINVAL; 6]),
    ]
}

#[test]
fn every_attack_meets_its_fate_in_every_role() {
    let world = World::new();
    let mut wrong = Vec::new();
    for row in matrix(&world) {
        for (role, expected) in ROLES.into_iter().zip(row.fates) {
            let met = world.locked_in(role, &row.attack);
            if met != expected {
                wrong.push(format!(
                    "{} in {role}: {met:?} and not {expected:?}",
                    row.name
                ));
            }
        }
        println!("{:<36} {}", row.name, show(&row.fates));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_sandbox_every_attack_succeeds() {
    let world = World::new();
    let mut wrong = Vec::new();
    for row in matrix(&world) {
        let expected = match row.control {
            Control::Anybody => Fate::Succeeded,
            Control::Root { .. } if geteuid().is_root() => Fate::Succeeded,
            Control::Root { others } => {
                println!(
                    "{}: shown by root alone; the host refuses it to others",
                    row.name
                );
                Fate::Refused(others)
            }
        };
        let met = world.control(&row.attack);
        if met != expected {
            wrong.push(format!("{}: {met:?} and not {expected:?}", row.name));
        }
        if let Attack::Mount { path } = &row.attack {
            // It was mounted on the host, if it was.
            let _ = nix::mount::umount(path.as_str());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn show(fates: &[Fate; 6]) -> String {
    let word = |(role, fate): (Role, &Fate)| match fate {
        Fate::Succeeded => format!("{role}: may"),
        Fate::Refused(error) => format!("{role}: {:?}", nix::errno::Errno::from_raw(*error)),
        Fate::Killed(_) => format!("{role}: SIGSYS"),
    };
    let words: Vec<String> = ROLES.into_iter().zip(fates).map(word).collect();
    words.join(", ")
}
