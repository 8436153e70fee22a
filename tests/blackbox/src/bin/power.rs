//! The power supply of a node, for tests: `power FOLDER PROGRAM [ARGUMENT...]`.
//!
//! Runs the program and watches with ptrace what it and its descendants sync to disk. At SIGUSR1 the
//! power fails: every process is killed, and each file in the folder goes back to what it held when it
//! was last synced, one that never was is empty. What was only in the page cache is lost, as it may be
//! on a real machine. Names and removals of files count as durable at once: journalling file systems
//! keep their order, and nothing here depends on more.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// What a file keeps when it is renamed: its inode, and when that was made, as inodes are used again.
type Identity = (u64, Option<SystemTime>);

struct Supply {
    folder: PathBuf,
    /// What is on the disk.
    durable: HashMap<Identity, Vec<u8>>,
    /// What threads are syncing now.
    syncing: HashMap<Pid, (Identity, Vec<u8>)>,
    threads: HashSet<Pid>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(program)) = (arguments.next(), arguments.next()) else {
        eprintln!("power FOLDER PROGRAM [ARGUMENT...]");
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(program);
    match run(PathBuf::from(folder), command.args(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("power: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: PathBuf, command: &mut Command) -> Result<ExitCode> {
    let cut = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, cut.clone())?;
    let mut supply = Supply {
        durable: files(&folder)?,
        folder,
        syncing: HashMap::new(),
        threads: HashSet::new(),
    };
    let child = command.spawn().context("cannot start the program")?;
    let main = Pid::from_raw(i32::try_from(child.id())?);
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(main, options).context("ptrace is not allowed here")?;
    ptrace::interrupt(main)?;
    supply.watch(main, &cut)
}

impl Supply {
    fn watch(&mut self, main: Pid, cut: &AtomicBool) -> Result<ExitCode> {
        let mut code = ExitCode::FAILURE;
        loop {
            if cut.load(Ordering::Relaxed) {
                self.fail()?;
                return Ok(ExitCode::FAILURE);
            }
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(code),
                Err(error) => return Err(error.into()),
                Ok(WaitStatus::Exited(pid, 0)) if pid == main => code = ExitCode::SUCCESS,
                Ok(status) => self.stopped(status)?,
            }
        }
    }

    /// Sees what a thread does and lets it go on. One that died meanwhile is nobody's business.
    fn stopped(&mut self, status: WaitStatus) -> Result<()> {
        let (pid, signal) = match status {
            WaitStatus::PtraceSyscall(pid) => {
                let operation = ptrace::syscall_info(pid).map(|info| info.op);
                if operation == Ok(libc::PTRACE_SYSCALL_INFO_ENTRY) {
                    let synced = self.syncs(pid);
                    self.syncing.extend(synced.map(|synced| (pid, synced)));
                } else {
                    self.durable.extend(self.syncing.remove(&pid));
                }
                (pid, None)
            }
            WaitStatus::PtraceEvent(pid, _, _) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => {
                self.threads.remove(&pid);
                return Ok(());
            }
            WaitStatus::Continued(_) | WaitStatus::StillAlive => return Ok(()),
        };
        self.threads.insert(pid);
        match ptrace::syscall(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A file of the folder that this thread begins to sync, as it is now.
    fn syncs(&self, pid: Pid) -> Option<(Identity, Vec<u8>)> {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
        let mut words = call.split_whitespace();
        let number: i64 = words.next()?.parse().ok()?;
        if number != libc::SYS_fdatasync && number != libc::SYS_fsync {
            return None;
        }
        let descriptor = words.next()?.strip_prefix("0x")?;
        let descriptor = u32::from_str_radix(descriptor, 16).ok()?;
        let file = PathBuf::from(format!("/proc/{pid}/fd/{descriptor}"));
        let ours = fs::read_link(&file).ok()?.starts_with(&self.folder);
        let metadata = fs::metadata(&file).ok()?;
        if !ours || !metadata.is_file() {
            return None;
        }
        Some((identity(&metadata), fs::read(&file).ok()?))
    }

    /// The power fails.
    fn fail(&mut self) -> Result<()> {
        for pid in &self.threads {
            let _ = kill(*pid, Signal::SIGKILL); // it may be dead
        }
        // One that was born meanwhile comes to a stop first.
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => break,
                Err(Errno::EINTR) | Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {}
                Ok(status) => {
                    if let Some(pid) = status.pid() {
                        let _ = kill(pid, Signal::SIGKILL);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        for path in paths(&self.folder)? {
            let kept = self.durable.get(&identity(&fs::metadata(&path)?));
            fs::write(&path, kept.map_or(&[][..], Vec::as_slice))?;
        }
        Ok(())
    }
}

fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.ino(), metadata.created().ok())
}

fn files(folder: &Path) -> Result<HashMap<Identity, Vec<u8>>> {
    let read = |path: PathBuf| Ok((identity(&fs::metadata(&path)?), fs::read(&path)?));
    paths(folder)?.into_iter().map(read).collect()
}

/// All regular files in it and below.
fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(paths(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
