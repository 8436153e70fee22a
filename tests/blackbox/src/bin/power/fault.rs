//! One thing that goes wrong with the disk: `CALL:FILE:N:HOW`.
//!
//! The N-th CALL (`write`, `sync`, `truncate`, `rename`) on a file whose path in the folder begins with FILE
//! fails as HOW says: with an errno (`EIO`, `ENOSPC`), which a full disk then does for each further write; or
//! `torn`, which writes half of it and fails what is written after that.
//!
//! The call does not happen: its descriptor is taken out before the kernel sees it, and what it gives is
//! written over. Of that the traced process sees nothing else.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The kernel's longest path.
const LONGEST_PATH: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Write,
    Sync,
    Truncate,
    Rename,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Fails(Errno),
    Torn,
}

/// A fault, and how far it is.
pub struct Fault {
    call: Call,
    file: String,
    left: u64,
    how: How,
    /// It has happened to this file.
    happened: Option<PathBuf>,
    /// Descriptors that have heard of it.
    told: HashSet<u64>,
    /// Calls under way, and what becomes of them.
    under_way: HashMap<Pid, (user_regs_struct, Option<Errno>)>,
}

impl Fault {
    /// # Errors
    /// What does not stand there as it should.
    pub fn parse(text: &str) -> Result<Fault> {
        let parts: Vec<&str> = text.split(':').collect();
        let [call, file, number, how] = parts[..] else {
            bail!("a fault is CALL:FILE:N:HOW, not {text}");
        };
        Ok(Fault {
            call: match call {
                "write" => Call::Write,
                "sync" => Call::Sync,
                "truncate" => Call::Truncate,
                "rename" => Call::Rename,
                other => bail!("there is no call {other}"),
            },
            file: file.to_owned(),
            left: number.parse().context("which one is a number")?,
            how: match how {
                "EIO" => How::Fails(Errno::EIO),
                "ENOSPC" => How::Fails(Errno::ENOSPC),
                "torn" => How::Torn,
                other => bail!("nothing fails with {other}"),
            },
            happened: None,
            told: HashSet::new(),
            under_way: HashMap::new(),
        })
    }

    /// The file that it has happened to, and whether what that holds is what the disk holds.
    pub fn happened(&self) -> Option<(&Path, bool)> {
        let torn = self.how == How::Torn;
        self.happened.as_deref().map(|file| (file, torn))
    }

    /// A thread begins a system call. Says whether it is made to fail.
    pub fn begins(&mut self, pid: Pid, folder: &Path) -> Result<bool> {
        let Ok(registers) = ptrace::getregs(pid) else {
            return Ok(false);
        };
        let number = registers.orig_rax as c_long;
        if kind(number) != Some(self.call) {
            return Ok(false);
        }
        let Some(file) = file_of(pid, number, &registers) else {
            return Ok(false);
        };
        let name = file.strip_prefix(folder).ok().and_then(Path::to_str);
        if !name.is_some_and(|name| name.starts_with(&self.file)) {
            return Ok(false);
        }
        match &self.happened {
            None => {
                self.left = self.left.saturating_sub(1);
                if self.left > 0 {
                    return Ok(false);
                }
                eprintln!("power: {:?} of {} goes wrong", self.call, file.display());
                self.happened = Some(file.clone());
                self.told.insert(registers.rdi);
                self.strike(pid, number, registers, self.how == How::Torn)?;
            }
            // A disk stays full. What a failed sync has lost each descriptor is told once (fsync(2)), as on Linux.
            Some(first) => match self.how {
                How::Fails(_)
                    if self.call == Call::Sync
                        && *first == file
                        && self.told.insert(registers.rdi) =>
                {
                    self.strike(pid, number, registers, false)?;
                }
                How::Fails(Errno::ENOSPC) if self.call == Call::Write => {
                    self.strike(pid, number, registers, false)?;
                }
                How::Torn if *first == file => self.strike(pid, number, registers, false)?,
                How::Fails(_) | How::Torn => return Ok(false),
            },
        }
        Ok(true)
    }

    fn strike(
        &mut self,
        pid: Pid,
        number: c_long,
        registers: user_regs_struct,
        half: bool,
    ) -> Result<()> {
        let mut changed = registers;
        let mut error = None;
        if half {
            changed.rdx = (registers.rdx / 2).max(1);
        } else {
            error = Some(match self.how {
                How::Fails(error) => error,
                How::Torn => Errno::EIO,
            });
            match number {
                // A path that cannot be read, where others have a descriptor.
                libc::SYS_renameat | libc::SYS_renameat2 => changed.rsi = 0,
                libc::SYS_rename => changed.rdi = 0,
                _ => changed.rdi = u64::from(u32::MAX),
            }
        }
        ptrace::setregs(pid, changed)?;
        self.under_way.insert(pid, (registers, error));
        Ok(())
    }

    /// A thread's system call is over.
    pub fn ends(&mut self, pid: Pid) -> Result<()> {
        let Some((before, error)) = self.under_way.remove(&pid) else {
            return Ok(());
        };
        let mut registers = match ptrace::getregs(pid) {
            Err(Errno::ESRCH) => return Ok(()),
            other => other?,
        };
        (registers.rdi, registers.rsi, registers.rdx) = (before.rdi, before.rsi, before.rdx);
        if let Some(error) = error {
            registers.rax = i64::from(-(error as i32)) as u64;
        }
        Ok(ptrace::setregs(pid, registers)?)
    }
}

fn kind(number: c_long) -> Option<Call> {
    match number {
        libc::SYS_write | libc::SYS_pwrite64 => Some(Call::Write),
        libc::SYS_fsync | libc::SYS_fdatasync => Some(Call::Sync),
        libc::SYS_ftruncate => Some(Call::Truncate),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => Some(Call::Rename),
        _ => None,
    }
}

/// The file that a call is about.
fn file_of(pid: Pid, number: c_long, registers: &user_regs_struct) -> Option<PathBuf> {
    let of = |descriptor: u64| {
        let descriptor = descriptor as u32 as i32;
        let link = match descriptor {
            libc::AT_FDCWD => format!("/proc/{pid}/cwd"),
            descriptor => format!("/proc/{pid}/fd/{descriptor}"),
        };
        fs::read_link(link).ok()
    };
    match number {
        libc::SYS_rename => path_at(pid, registers.rdi),
        libc::SYS_renameat | libc::SYS_renameat2 => {
            let name = path_at(pid, registers.rsi)?;
            Some(of(registers.rdi)?.join(name))
        }
        _ => of(registers.rdi),
    }
}

/// The text at this address of a process.
fn path_at(pid: Pid, address: u64) -> Option<PathBuf> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![0; LONGEST_PATH];
    let read = memory.read_at(&mut bytes, address).ok()?;
    let end = bytes[..read].iter().position(|byte| *byte == 0)?;
    String::from_utf8(bytes[..end].to_vec())
        .ok()
        .map(PathBuf::from)
}
