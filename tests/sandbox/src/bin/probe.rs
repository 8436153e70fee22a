//! A process that has been taken over: does what its edge asks. Started as a subdaemon it takes their
//! first steps, in the role that its name says.

#![allow(unsafe_code)] // descriptors by number

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use ipc_transport::Error;
use ipc_transport::blocking::LowerConn;
use sandbox_attacks::{CONTROL, HELLO, ProbeEdge, WITHOUT_SECCOMP};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use subd::{Connect, Fds, Grant, Level, Mode, Role, Spawn};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, first, edge, folder] if *first == CONTROL => {
            let done = obey(own(edge), Some(own(folder).as_fd()));
            done.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        [_, first, role, edge, folder, connect, bind] if *first == WITHOUT_SECCOMP => {
            let grant = Grant {
                mode: Mode::BestEffort,
                connect: Connect::AllBut(connect.parse().unwrap()),
                bind: vec![bind.parse().unwrap()],
            };
            without_seccomp(role_named(role), own(edge), own(folder), grant);
            ExitCode::SUCCESS
        }
        [name, ..] => subd::run(role_named(name), serve),
        [] => ExitCode::FAILURE,
    }
}

fn role_named(name: &str) -> Role {
    let found = Role::ALL.into_iter().find(|role| role.name() == name);
    found.expect("the name of a role")
}

/// A descriptor that was inherited for this.
fn own(number: &str) -> OwnedFd {
    // SAFETY: its number was given once, and nothing else here owns it.
    unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) }
}

fn serve(mut fds: Fds) -> Result<(), Error> {
    let closed = |_| Error::Closed;
    let edge = fds.take("probe").map_err(closed)?;
    let folder = fds.take("folder").map_err(closed)?;
    obey(edge, Some(folder.as_fd()))
}

fn obey(edge: OwnedFd, folder: Option<BorrowedFd<'_>>) -> Result<(), Error> {
    let mut edge = LowerConn::<ProbeEdge>::new(edge, HELLO)?;
    loop {
        let attack = match edge.recv() {
            Err(Error::Closed) => return Ok(()),
            other => other?,
        };
        edge.send(&attack.perform(folder))?;
        edge.flush()?;
    }
}

/// Starts one whose filters the kernel refuses, and waits for its end.
fn without_seccomp(role: Role, edge: OwnedFd, folder: OwnedFd, grant: Grant) {
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let rules = [(libc::SYS_seccomp, vec![])].into_iter().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    let mut child = subd::spawn(Spawn {
        program: &std::env::current_exe().unwrap(),
        role,
        fds: vec![("probe", edge), ("folder", folder)],
        log_level: Level::Info,
        grant,
    })
    .unwrap();
    child.wait().unwrap();
}
