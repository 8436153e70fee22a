//! A program that is watched from its first step. It begins as this one in a process of its own, which stops until
//! it is watched: a thread made before that would sync unseen, and what it had made durable would be lost.

use anyhow::{Context, Result, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// First argument of a process that is to become the program that follows.
pub const MARK: &str = "--held";

/// Waits to be watched, and is the program from then on.
pub fn become_program(mut command: impl Iterator<Item = OsString>) -> ExitCode {
    let stopped = raise(Signal::SIGSTOP);
    if let (Ok(()), Some(program)) = (stopped, command.next()) {
        let error = Command::new(&program).args(command).exec();
        eprintln!("power: cannot start {}: {error}", program.display());
    }
    ExitCode::FAILURE
}

/// Starts the program, watched from its first step.
///
/// # Errors
/// It cannot be started, or not be watched.
pub fn start(command: &[OsString]) -> Result<Pid> {
    let mut held = Command::new(std::env::current_exe()?);
    let child = held.arg(MARK).args(command).spawn()?;
    let main = Pid::from_raw(i32::try_from(child.id())?);
    let state = waitpid(main, Some(WaitPidFlag::WUNTRACED))?;
    ensure!(
        matches!(state, WaitStatus::Stopped(..)),
        "it does not wait to be watched: {state:?}"
    );
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(main, options).context("ptrace is not allowed here")?;
    kill(main, Signal::SIGCONT)?;
    Ok(main)
}
