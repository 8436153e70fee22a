//! How lightningd starts a subdaemon.
//!
//! All subdaemons are started by one thread that lives as long as the process. The kernel sends the
//! parent's death signal when the *thread* that started a child ends, so a child of a thread from a
//! pool would be killed in the middle of its work.
//!
//! Nothing leaks into a child while other threads open files: every descriptor of the parent is
//! close-on-exec, and those that are meant for the child lose that flag only in the child, between
//! its creation and its program (`posix_spawn`, which also does not copy the parent's page tables).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};

use nix::fcntl::{FcntlArg, fcntl};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, getpid};

use ipc_transport::log::Level;

use crate::child::Child;
use crate::grant::Grant;
use crate::manifest::{FIRST, Manifest, ManifestError, REPORT, check_names, check_ports};
use crate::report;
use crate::role::Role;

/// A subdaemon to be started.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Its program, by a path with a slash in it.
    pub program: &'a Path,
    /// What it is; also its name.
    pub role: Role,
    /// The descriptors that it gets, by name. The one named [`crate::LOG`] is its log edge.
    pub fds: Vec<(&'static str, OwnedFd)>,
    /// What it sends to its log edge.
    pub log_level: Level,
    /// What it is granted beyond its policy.
    pub grant: Grant,
}

/// A subdaemon could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its descriptors have no proper names, or they or its ports are too many.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The system refused.
    #[error("cannot start {}: {error}", program.display())]
    System {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// Starts a subdaemon. The descriptors are closed here whether it succeeds or not. Takes a
/// millisecond; may be called from any thread. Not before the process has put itself into the
/// background, if it does (the thread that starts children does not survive a fork).
///
/// That the program ran is all that success says: its [report](Child::take_report) says whether it
/// was locked in. A first step that failed also shows as [`crate::Exit`] with
/// [`crate::START_FAILED`].
///
/// # Errors
/// No such program, no room for a process, improper names, too many ports.
pub fn spawn(what: Spawn<'_>) -> Result<Child, SpawnError> {
    let named = what.fds.iter().map(|(name, _)| *name);
    check_names(named.chain([REPORT]))?;
    check_ports(&what.grant)?;
    let system = |error| SpawnError::System {
        program: what.program.to_owned(),
        error,
    };
    let (report, theirs) = report::pipe().map_err(system)?;
    let given = what.fds.into_iter().chain([(REPORT, theirs)]);
    let (names, fds): (Vec<_>, Vec<_>) = given.unzip();
    let names = names.into_iter().map(str::to_owned);
    let manifest = Manifest {
        fds: names.zip(FIRST..).collect(),
        log_level: what.log_level,
        parent: getpid().as_raw(),
        grant: what.grant,
    };
    let mut args = vec![what.role.c_name().to_owned()];
    for arg in manifest.to_args() {
        args.push(CString::new(arg).map_err(|error| system(error.into()))?);
    }
    let program = CString::new(what.program.as_os_str().as_bytes());
    let program = program.map_err(|error| system(error.into()))?;
    let pid = on_spawner(Job { program, args, fds }).map_err(system)?;
    Child::new(what.role, pid, report).map_err(system)
}

struct Job {
    program: CString,
    args: Vec<CString>,
    fds: Vec<OwnedFd>,
}

type Request = (Job, mpsc::SyncSender<io::Result<Pid>>);

/// The thread that starts all children, once it has been needed.
static SPAWNER: Mutex<Option<mpsc::Sender<Request>>> = Mutex::new(None);

fn on_spawner(job: Job) -> io::Result<Pid> {
    let gone = || io::Error::other("the thread that starts subdaemons is gone");
    let spawner = {
        let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
        match &*spawner {
            Some(spawner) => spawner.clone(),
            None => spawner.insert(start_spawner()?).clone(),
        }
    };
    let (answer, answered) = mpsc::sync_channel(1);
    spawner.send((job, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn start_spawner() -> io::Result<mpsc::Sender<Request>> {
    let (requests, requested) = mpsc::channel::<Request>();
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            // SPAWNER keeps one sender for good: this never ends before the process.
            for (job, answer) in requested {
                // Who asked is waiting.
                let _ = answer.send(start(job));
            }
        })?;
    Ok(requests)
}

fn start(job: Job) -> io::Result<Pid> {
    // Out of the way of the numbers that they will have in the child.
    let above = FIRST + RawFd::try_from(job.fds.len()).map_err(io::Error::other)?;
    let null = move_above(
        File::options().read(true).write(true).open("/dev/null")?,
        above,
    )?;
    let mut moved = Vec::new();
    for fd in job.fds {
        moved.push(move_above(fd, above)?);
    }
    let mut actions = PosixSpawnFileActions::init()?;
    actions.add_dup2(null.as_raw_fd(), 0)?;
    actions.add_dup2(null.as_raw_fd(), 1)?;
    for (fd, number) in moved.iter().zip(FIRST..) {
        actions.add_dup2(fd.as_raw_fd(), number)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigdefault(&SigSet::all())?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    let no_environment: [CString; 0] = [];
    Ok(posix_spawn(
        job.program.as_c_str(),
        &actions,
        &attributes,
        &job.args,
        &no_environment,
    )?)
}

/// The same descriptor with a number that is not less than `above`.
#[allow(unsafe_code)]
fn move_above(fd: impl AsFd, above: RawFd) -> io::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above))?;
    // SAFETY: new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
