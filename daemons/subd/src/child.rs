//! A running subdaemon, as its parent holds it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::report::Reporter;
use crate::role::Role;

/// How a subdaemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code: see the crate's documentation.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it had nothing more to do.
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(libc::SIGSYS) => f.write_str(
                "was killed by SIGSYS: it made a system call that its sandbox forbids (the kernel's \
                 log has its number, if auditing is on)",
            ),
            Exit::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
        }
    }
}

/// A subdaemon. Dropped, it is killed and reaped: a subdaemon that nobody watches does not run.
///
/// It is reaped only here; do not wait for `-1` elsewhere in the process, nor ignore SIGCHLD.
#[derive(Debug)]
pub struct Child {
    role: Role,
    pid: Pid,
    pidfd: OwnedFd,
    report: Option<Reporter>,
    exit: Option<Exit>,
}

/// A pidfd: readable once the process has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Child {
    pub(crate) fn new(role: Role, pid: Pid, report: Reporter) -> io::Result<Self> {
        Ok(Child {
            role,
            pid,
            pidfd: pidfd_open(pid)?,
            report: Some(report),
            exit: None,
        })
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its process id. After it has been reaped it means nothing.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Where its report comes, once. What it says there it said before it read anything from anybody.
    pub fn take_report(&mut self) -> Option<Reporter> {
        self.report.take()
    }

    /// How it ended, or `None` if it runs.
    ///
    /// # Errors
    /// Somebody else has reaped it.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.reap(WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// Somebody else has reaped it.
    pub fn wait(&mut self) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.reap(WaitPidFlag::WEXITED)? {
                return Ok(exit);
            }
        }
    }

    /// Waits on a tokio runtime until it ends. Dropped while it waits, it has lost nothing.
    ///
    /// # Errors
    /// Somebody else has reaped it.
    #[cfg(feature = "tokio")]
    pub async fn exited(&mut self) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.try_wait()? {
                return Ok(exit);
            }
            ipc_transport::aio::until_readable(self.pidfd.try_clone()?).await?;
        }
    }

    /// Ends it (SIGKILL). Nothing if it has ended. Wait for it afterwards.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill(&mut self) -> io::Result<()> {
        // Not reaped, so the id is still its own.
        match self.exit {
            Some(_) => Ok(()),
            None => Ok(kill(self.pid, Signal::SIGKILL)?),
        }
    }

    fn reap(&mut self, flags: WaitPidFlag) -> io::Result<Option<Exit>> {
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        // Nix's enum, not ours: what is neither end cannot come, as only ends were asked for.
        self.exit = match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(self.exit)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_none() && self.kill().is_ok() {
            let _ = self.wait();
        }
    }
}

/// A descriptor for a child that has not been reaped.
#[allow(unsafe_code)]
fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, and returns a new descriptor, close-on-exec, or an error.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
