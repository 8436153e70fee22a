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
//! sync the kernel may report the next one of that descriptor as good without the data. When the program has ended, the
//! files are as the disk has them. With a step ([`step`]) every process dies at that moment.

#[cfg(target_arch = "x86_64")]
mod fault;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_fault.rs"]
mod fault;
mod held;
mod step;

use fault::Fault;
use step::Step;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// What a file keeps when it is renamed: its inode, and when that was made, as inodes are used again.
type Identity = (u64, Option<SystemTime>);

/// What a file held when a sync began, and the number of that: a later one may end first.
#[derive(Default)]
struct Contents {
    since: u64,
    bytes: Vec<u8>,
}

/// What goes wrong.
enum Trouble {
    Fault(Fault),
    Step(Step),
}

struct Supply {
    folder: PathBuf,
    /// What is on the disk.
    durable: HashMap<Identity, Contents>,
    /// What threads are syncing now.
    syncing: HashMap<Pid, (Identity, Contents)>,
    /// Syncs that have begun.
    syncs: u64,
    threads: HashSet<Pid>,
    trouble: Option<Trouble>,
    /// Files whose syncs are worth nothing any more.
    spoilt: HashSet<Identity>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == held::MARK).is_some() {
        return held::become_program(arguments);
    }
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
    let mut command = vec![program];
    command.extend(arguments);
    match run(PathBuf::from(folder), trouble, &command) {
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

fn run(folder: PathBuf, trouble: Option<Trouble>, command: &[OsString]) -> Result<ExitCode> {
    let cut = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, cut.clone())?;
    let mut supply = Supply {
        durable: files(&folder)?,
        folder,
        syncing: HashMap::new(),
        syncs: 0,
        threads: HashSet::new(),
        trouble,
        spoilt: HashSet::new(),
    };
    let main = held::start(command).context("cannot start the program")?;
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
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    Err(error).context("cannot start the program again")
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
                    let synced = match self.syncs(pid) {
                        // It was killed meanwhile, and makes no call any more.
                        Err(_) if ptrace::syscall_info(pid).is_err() => None,
                        other => other.with_context(|| format!("what does {pid} sync?"))?,
                    };
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
                    self.is_synced(pid);
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
    fn syncs(&mut self, pid: Pid) -> io::Result<Option<(Identity, Contents)>> {
        let Some(file) = synced_by(pid)? else {
            return Ok(None);
        };
        let name = fs::read_link(&file)?;
        if !name.starts_with(&self.folder) {
            return Ok(None);
        }
        if let Some(Trouble::Step(step)) = &mut self.trouble {
            step.begins(pid, &name);
        }
        let metadata = fs::metadata(&file)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        self.syncs += 1;
        let contents = Contents {
            since: self.syncs,
            bytes: fs::read(&file)?,
        };
        Ok(Some((identity(&metadata), contents)))
    }

    /// If this thread was in a sync, that is over.
    fn is_synced(&mut self, pid: Pid) {
        if let Some((file, contents)) = self.syncing.remove(&pid) {
            let known = self.durable.entry(file).or_default();
            if known.since <= contents.since {
                *known = contents;
            }
        }
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
            let holds = Contents {
                since: self.syncs,
                bytes: fs::read(file)?,
            };
            self.durable.insert(identity(&metadata), holds);
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
            let metadata = fs::metadata(&path)?;
            let kept = self.durable.get(&identity(&metadata));
            let bytes = kept.map_or(&[][..], |kept| &kept.bytes);
            if metadata.len() != bytes.len() as u64 {
                let (is, was) = (metadata.len(), bytes.len());
                eprintln!("power: {} of {is} bytes has {was}", path.display());
            }
            fs::write(&path, bytes)?;
        }
        Ok(())
    }
}

/// The open file that this thread, which is about to make a system call, begins to sync, if that is what it does.
fn synced_by(pid: Pid) -> io::Result<Option<PathBuf>> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
    let mut words = call.split_whitespace();
    let number: Option<i64> = words.next().and_then(|word| word.parse().ok());
    match number {
        Some(libc::SYS_fdatasync | libc::SYS_fsync) => {}
        Some(_) => return Ok(None),
        // "running": it was killed.
        None => return Err(io::ErrorKind::NotFound.into()),
    }
    let descriptor = words.next().and_then(|word| word.strip_prefix("0x"));
    let descriptor = descriptor.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let descriptor = descriptor.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(PathBuf::from(format!("/proc/{pid}/fd/{descriptor}"))))
}

fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.ino(), metadata.created().ok())
}

fn files(folder: &Path) -> Result<HashMap<Identity, Contents>> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path)?;
        Ok((
            identity(&fs::metadata(&path)?),
            Contents { since: 0, bytes },
        ))
    };
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
