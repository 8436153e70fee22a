//! A process that goes on in the background, and the one that was started, which waits until it is up.

use std::fs::File;
use std::io::{self, Read, Write};

use nix::fcntl::OFlag;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, getppid, pipe2, setsid,
};

/// Ends what is said to who waits: it need not wait any more.
const UP: u8 = 0;

/// Who waits, before a terminal, for this process to be up; or nobody.
pub struct Waiter(Option<File>);

impl Waiter {
    #[must_use]
    pub fn nobody() -> Waiter {
        Waiter(None)
    }

    /// Has it print a line.
    pub fn say(&mut self, line: &str) {
        if let Some(pipe) = &mut self.0 {
            let _ = writeln!(pipe, "{line}");
        }
    }

    /// Lets it go, with success. From now on this process lives without it.
    pub fn let_go(&mut self) {
        if let Some(mut pipe) = self.0.take() {
            let _ = set_pdeathsig(None);
            let _ = pipe.write_all(&[UP]);
        }
    }
}

/// Goes on in a child in a session of its own, whose first three descriptors are `/dev/null`. The
/// process itself never returns: it prints what the child says, and exits with success once the child lets it go,
/// or as the child does. If it is ended while it waits, so is the child (SIGTERM).
///
/// Only while there is one thread.
///
/// # Errors
/// No room for a process, no `/dev/null`.
#[allow(unsafe_code)]
pub fn go_into_background() -> io::Result<Waiter> {
    let (heard, said) = pipe2(OFlag::O_CLOEXEC)?;
    let started = getpid();
    // SAFETY: there is one thread, so the child has all that this process has.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(heard);
            leave_terminal(started)?;
            Ok(Waiter(Some(said.into())))
        }
        ForkResult::Parent { child } => {
            drop(said);
            // Nothing of its own ends with it: a lock that is dropped is the child's too.
            std::process::exit(wait(child, heard.into()))
        }
    }
}

fn leave_terminal(started: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGTERM)?;
    if getppid() != started {
        return Err(io::Error::other("whoever waited is gone"));
    }
    setsid()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(dup2_stderr(&null)?)
}

/// What to exit with.
fn wait(child: Pid, mut heard: File) -> i32 {
    let mut words = Vec::new();
    let _ = heard.read_to_end(&mut words);
    let up = words.pop_if(|last| *last == UP).is_some();
    let _ = io::stderr().write_all(&words);
    if up {
        return 0;
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) => code,
        // Nix's enum: a signal ended it.
        ended => {
            eprintln!("ended at its start: {ended:?}");
            1
        }
    }
}
