//! The power supply of a node and its disk, for tests:
//! `power [--fault=FAULT | --step=STEP] FOLDER PROGRAM [ARGUMENT...]`.
//!
//! Runs the program and watches with ptrace what it and its descendants sync to disk. At SIGUSR1 the
//! power fails: every process is killed, and each file in the folder goes back to what it held when it
//! was last synced, one that never was is empty. What was only in the page cache is lost, as it may be
//! on a real machine. Names and removals of files count as durable at once: journalling file systems
//! keep their order, and nothing here depends on more.
//!
//! With a fault ([`fault`]) the disk goes wrong once, and what was not durable then never is: after a failed
//! sync the kernel may report the next one as good without the data. When the program has ended, the
//! files are as the disk has them. With a step ([`step`]) every process dies at that moment.

#[cfg(target_arch = "x86_64")]
mod fault;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_fault.rs"]
mod fault;
mod step;

use fault::Fault;
use step::Step;

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
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// What a file keeps when it is renamed: its inode, and when that was made, as inodes are used again.
type Identity = (u64, Option<SystemTime>);

/// What goes wrong.
enum Trouble {
    Fault(Fault),
    Step(Step),
}

struct Supply {
    folder: PathBuf,
    /// What is on the disk.
    durable: HashMap<Identity, Vec<u8>>,
    /// What threads are syncing now.
    syncing: HashMap<Pid, (Identity, Vec<u8>)>,
    threads: HashSet<Pid>,
    trouble: Option<Trouble>,
    /// Files whose syncs are worth nothing any more.
    spoilt: HashSet<Identity>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let given = arguments.peek().and_then(|first| first.to_str());
    let trouble = match given.and_then(trouble).transpose() {
        Ok(trouble) => trouble,
        Err(error) => {
            eprintln!("power: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    if trouble.is_some() {
        arguments.next();
    }
    let (Some(folder), Some(program)) = (arguments.next(), arguments.next()) else {
        eprintln!("power [--fault=CALL:FILE:N:HOW | --step=N:WHEN] FOLDER PROGRAM [ARGUMENT...]");
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(program);
    match run(PathBuf::from(folder), trouble, command.args(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("power: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What this argument says goes wrong; `None` if it is no such argument.
fn trouble(argument: &str) -> Option<Result<Trouble>> {
    if let Some(fault) = argument.strip_prefix("--fault=") {
        return Some(Fault::parse(fault).map(Trouble::Fault));
    }
    let step = argument.strip_prefix("--step=")?;
    Some(Step::parse(step).map(Trouble::Step))
}

fn run(folder: PathBuf, trouble: Option<Trouble>, command: &mut Command) -> Result<ExitCode> {
    let cut = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, cut.clone())?;
    let mut supply = Supply {
        durable: files(&folder)?,
        folder,
        syncing: HashMap::new(),
        threads: HashSet::new(),
        trouble,
        spoilt: HashSet::new(),
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
    let code = supply.watch(main, &cut)?;
    let Some(Trouble::Step(step)) = &supply.trouble else {
        return Ok(code);
    };
    if !step.reached() {
        return Ok(code);
    }
    if step.loses_power() {
        supply.lose_what_is_not_durable()?;
    }
    Err(command.exec()).context("cannot start the program again")
}

impl Supply {
    fn watch(&mut self, main: Pid, cut: &AtomicBool) -> Result<ExitCode> {
        let mut code = ExitCode::FAILURE;
        loop {
            if cut.load(Ordering::Relaxed) {
                self.kill_all()?;
                self.lose_what_is_not_durable()?;
                return Ok(ExitCode::FAILURE);
            }
            if self.step_reached() {
                self.kill_all()?;
                return Ok(ExitCode::FAILURE);
            }
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => {
                    self.damage()?;
                    return Ok(code);
                }
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
                    if !self.goes_wrong(pid)? {
                        let whole = synced.filter(|(file, _)| !self.spoilt.contains(file));
                        self.syncing.extend(whole.map(|synced| (pid, synced)));
                    } else {
                        self.spoilt.extend(synced.map(|(file, _)| file));
                    }
                } else {
                    match &mut self.trouble {
                        Some(Trouble::Fault(fault)) => fault.ends(pid)?,
                        Some(Trouble::Step(step)) => step.ends(pid),
                        None => {}
                    }
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
        if self.step_reached() {
            return Ok(()); // it stays where it is
        }
        match ptrace::syscall(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A file of the folder that this thread begins to sync, as it is now.
    fn syncs(&mut self, pid: Pid) -> Option<(Identity, Vec<u8>)> {
        let file = synced_by(pid)?;
        let name = fs::read_link(&file).ok()?;
        if !name.starts_with(&self.folder) {
            return None;
        }
        if let Some(Trouble::Step(step)) = &mut self.trouble {
            step.begins(pid, &name);
        }
        let metadata = fs::metadata(&file).ok()?;
        if !metadata.is_file() {
            return None;
        }
        Some((identity(&metadata), fs::read(&file).ok()?))
    }

    fn goes_wrong(&mut self, pid: Pid) -> Result<bool> {
        match &mut self.trouble {
            Some(Trouble::Fault(fault)) => fault.begins(pid, &self.folder),
            Some(Trouble::Step(_)) | None => Ok(false),
        }
    }

    fn step_reached(&self) -> bool {
        matches!(&self.trouble, Some(Trouble::Step(step)) if step.reached())
    }

    /// The program has ended. If its disk went wrong, the files are what that holds.
    fn damage(&mut self) -> Result<()> {
        let Some(Trouble::Fault(fault)) = &self.trouble else {
            return Ok(());
        };
        let Some((file, torn)) = fault.happened() else {
            return Ok(());
        };
        if torn && let Ok(metadata) = fs::metadata(file) {
            let holds = (identity(&metadata), fs::read(file)?);
            self.durable.extend([holds]);
        }
        self.lose_what_is_not_durable()
    }

    /// All are dead when this is over.
    fn kill_all(&mut self) -> Result<()> {
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
        Ok(())
    }

    fn lose_what_is_not_durable(&self) -> Result<()> {
        for path in paths(&self.folder)? {
            let kept = self.durable.get(&identity(&fs::metadata(&path)?));
            fs::write(&path, kept.map_or(&[][..], Vec::as_slice))?;
        }
        Ok(())
    }
}

/// The open file that this thread begins to sync, if that is what it does.
fn synced_by(pid: Pid) -> Option<PathBuf> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    if number != libc::SYS_fdatasync && number != libc::SYS_fsync {
        return None;
    }
    let descriptor = words.next()?.strip_prefix("0x")?;
    let descriptor = u32::from_str_radix(descriptor, 16).ok()?;
    Some(PathBuf::from(format!("/proc/{pid}/fd/{descriptor}")))
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
