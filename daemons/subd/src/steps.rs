//! The first steps one by one. Each is a few system calls; their order is in `run`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::getppid;

use crate::manifest::{FIRST, Manifest};
use crate::policy::Policy;
use crate::role::Role;
use crate::run::StartError;
use crate::sandbox;

/// The signal that a subdaemon gets when its parent dies: not one that it could put off.
pub(crate) const PARENT_DEATH: Signal = Signal::SIGKILL;

pub(crate) fn failed(step: &'static str) -> impl FnOnce(Errno) -> StartError {
    move |error| StartError::System {
        step,
        error: error.into(),
    }
}

/// Takes over the descriptors of the manifest and closes every other above stderr.
pub(crate) fn adopt(manifest: &Manifest) -> Result<BTreeMap<String, OwnedFd>, StartError> {
    let mut numbers: Vec<RawFd> = manifest.fds.iter().map(|(_, fd)| *fd).collect();
    numbers.sort_unstable();
    let mut from = FIRST;
    for number in numbers {
        if from < number {
            close_range(from, number - 1).map_err(failed("close what was inherited"))?;
        }
        from = number + 1;
    }
    close_range(from, RawFd::MAX).map_err(failed("close what was inherited"))?;

    let mut by_name = BTreeMap::new();
    for (name, number) in &manifest.fds {
        let fd = own(*number).map_err(|_| StartError::NotOpen { name: name.clone() })?;
        by_name.insert(name.clone(), fd);
    }
    Ok(by_name)
}

/// Closes these and all between.
#[allow(unsafe_code)]
fn close_range(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: closes descriptors that nothing in this process owns: `run` is the first thing that
    // main does, so all there are were inherited, and those that will be owned are not in the
    // range.
    let done = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
    Errno::result(done).map(drop)
}

/// Takes over a descriptor by its number and keeps it from whatever this process may start.
#[allow(unsafe_code)]
fn own(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: borrowed for one call, which fails if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: open, as the call before says; inherited, so nothing else in this process owns it;
    // and the manifest names it once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Forgets the environment.
#[allow(unsafe_code)]
pub(crate) fn clear_environment() -> Result<(), StartError> {
    // SAFETY: no other thread exists that could read the environment meanwhile (checked by `run`
    // before), and Rust keeps no pointers into it.
    let done = unsafe { libc::clearenv() };
    match done {
        0 => Ok(()),
        _ => Err(StartError::System {
            step: "clear the environment",
            error: io::Error::other("clearenv failed"),
        }),
    }
}

/// Makes sure that this process does not outlive its parent.
pub(crate) fn die_with_parent(parent: i32) -> Result<(), StartError> {
    prctl::set_pdeathsig(PARENT_DEATH).map_err(failed("ask to die with the parent"))?;
    // It may have died before that was asked for; then somebody else is the parent now.
    match getppid().as_raw() == parent {
        true => Ok(()),
        false => Err(StartError::Orphan),
    }
}

/// Gives up what a subdaemon never needs: to gain rights, to be looked into, to leave a core, to
/// start anything, to open more files or to write more than its role does.
pub(crate) fn give_up(role: Role, policy: &Policy) -> Result<(), StartError> {
    prctl::set_name(role.c_name()).map_err(failed("set the process's name"))?;
    prctl::set_no_new_privs().map_err(failed("set no_new_privs"))?;
    sandbox::hide().map_err(failed("become undumpable"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("forbid core dumps"))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed("read RLIMIT_NOFILE"))?;
    let files = policy.open_files.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, files, files).map_err(failed("set RLIMIT_NOFILE"))?;
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).map_err(failed("forbid new processes"))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).map_err(failed("read RLIMIT_FSIZE"))?;
    let size = policy.file_size.min(hard);
    setrlimit(Resource::RLIMIT_FSIZE, size, size).map_err(failed("set RLIMIT_FSIZE"))
}

/// Ignores what a terminal or a service manager sends to all processes at once, which is lightningd's to act
/// on: it ends the others in order, and dies with none of them left. And the signals of a closed socket and of
/// a file that is full, which are errors where they are written to.
#[allow(unsafe_code)]
pub(crate) fn ignore_signals() -> Result<(), StartError> {
    for which in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGPIPE,
        Signal::SIGXFSZ,
    ] {
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe { signal(which, SigHandler::SigIgn) }.map_err(failed("ignore a signal"))?;
    }
    Ok(())
}
