//! Processes as /proc shows them: who started whom, in which role, with how much memory.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;

/// A process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Kibibytes(pub u64);

impl fmt::Display for Kibibytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1} MB", self.0 as f64 / 1024.0)
    }
}

/// A process that was there when we looked. The start time tells it from a later one with its pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Who started it.
    pub parent: Pid,
    /// The name of its program: the last part of argv[0], or the kernel's name for it.
    pub role: String,
    /// Clock ticks from boot to its start.
    started: u64,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// Where there is none.
    pub fn get(pid: Pid) -> Result<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} is gone"))?;
        parse(pid, &stat).with_context(|| format!("cannot read the state of process {pid}"))
    }

    /// All processes that descend from this one, parents before children.
    pub fn descendants(of: Pid) -> Vec<Process> {
        let mut children: BTreeMap<Pid, Vec<Process>> = BTreeMap::new();
        for process in all() {
            children.entry(process.parent).or_default().push(process);
        }
        let mut found: Vec<Process> = Vec::new();
        let mut look_at = vec![of];
        while let Some(pid) = look_at.pop() {
            for child in children.remove(&pid).unwrap_or_default() {
                look_at.push(child.pid);
                found.push(child);
            }
        }
        found
    }

    /// True while this very process runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        let same = parse(self.pid, &stat).is_some_and(|now| now.started == self.started);
        same && !matches!(state(&stat), Some('Z' | 'X'))
    }

    /// kill -9, if it is still this process.
    pub fn kill9(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Sends a signal, if it is still this process.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may end between the look and the signal; then there is nothing to do.
            let _ = kill(nix::unistd::Pid::from_raw(self.pid.0), signal);
        }
    }

    /// Memory that is its own, with its share of what it shares; None where we may not look.
    pub fn pss(&self) -> Option<Kibibytes> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        kibibytes(&text, "Pss:")
    }

    /// Memory that no other process shares: what one more process of the kind costs; None where we may
    /// not look.
    pub fn private(&self) -> Option<Kibibytes> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        let of = |field| kibibytes(&text, field).map(|kib| kib.0);
        Some(Kibibytes(of("Private_Clean:")? + of("Private_Dirty:")?))
    }

    /// Memory in RAM, shared pages counted in full; readable for every process.
    pub fn rss(&self) -> Option<Kibibytes> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        kibibytes(&text, "VmRSS:")
    }

    /// What the kernel calls it.
    pub fn kernel_name(&self) -> Option<String> {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid)).ok()?;
        Some(name.trim_end().to_string())
    }
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Process::get(Pid(pid)).ok()).collect()
}

/// Reads /proc/PID/stat: "pid (name) state ppid ... starttime ...", where the name may hold anything.
fn parse(pid: Pid, stat: &str) -> Option<Process> {
    let name = stat.split_once('(')?.1.rsplit_once(')')?.0;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = Pid(fields.get(1)?.parse().ok()?);
    let started = fields.get(19)?.parse().ok()?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = command_line
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let program = String::from_utf8_lossy(program).into_owned();
    let last = program.rsplit('/').next().unwrap_or_default();
    let last = last.split([' ', ':']).next().unwrap_or_default();
    let role = if last.is_empty() {
        name.to_string()
    } else {
        last.to_string()
    };
    Some(Process {
        pid,
        parent,
        role,
        started,
    })
}

fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn kibibytes(text: &str, field: &str) -> Option<Kibibytes> {
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok().map(Kibibytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_by_its_parent_and_named_by_its_program() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let pid = Pid(i32::try_from(child.id()).unwrap());
        let own = Pid(i32::try_from(std::process::id()).unwrap());
        // Between fork and exec the child still has our own name.
        let found = crate::until("sleep runs", || {
            let found = Process::descendants(own)
                .into_iter()
                .find(|process| process.pid == pid);
            Ok(found.filter(|process| process.role == "sleep"))
        });
        let found = found.unwrap();
        assert!(found.is_alive() && found.pss().is_some());
        found.kill9();
        child.wait().unwrap();
        assert!(!found.is_alive());
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_reader() {
        let stat = "7 (a) b) S 3 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let process = parse(Pid(7), stat).unwrap();
        assert_eq!((process.parent, process.started), (Pid(3), 4711));
        assert_eq!(state(stat), Some('S'));
    }
}
