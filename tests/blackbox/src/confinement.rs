//! What a process may still do, as far as the kernel tells an onlooker.

use crate::process::Process;
use std::fmt;
use std::fs;

/// The seccomp mode that /proc shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seccomp {
    /// No filter.
    Off,
    /// Only read, write and exit.
    Strict,
    /// A filter.
    Filter,
}

/// What the kernel tells of one process. None: it may not be looked at.
#[derive(Debug, Clone)]
pub struct Confinement {
    /// It can gain no rights by exec.
    pub no_new_privs: Option<bool>,
    /// As which user it acts.
    pub uid: Option<u32>,
    /// Whether its system calls are filtered.
    pub seccomp: Option<Seccomp>,
    /// Its namespaces that are not ours, by their names in /proc/PID/ns.
    pub namespaces: Option<Vec<&'static str>>,
    /// It can leave a core file.
    pub may_dump_core: Option<bool>,
    /// It holds any capability.
    pub has_capabilities: Option<bool>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors by kind: sockets, pipes and others, files.
    pub descriptors: Option<Descriptors>,
}

/// Open file descriptors, counted by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Sockets of any family.
    pub sockets: usize,
    /// Paths in a file system, devices included.
    pub files: usize,
    /// Pipes, epoll, eventfd and the like.
    pub others: usize,
}

impl Confinement {
    /// Looks at a process.
    pub fn of(process: &Process) -> Confinement {
        let status = read(process, "status");
        let limits = read(process, "limits");
        let field = |name: &str| {
            let line = status
                .as_deref()?
                .lines()
                .find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1).map(str::to_string)
        };
        let seccomp = match field("Seccomp:").as_deref() {
            Some("0") => Some(Seccomp::Off),
            Some("1") => Some(Seccomp::Strict),
            Some("2") => Some(Seccomp::Filter),
            Some(_) | None => None,
        };
        Confinement {
            no_new_privs: field("NoNewPrivs:").map(|value| value == "1"),
            uid: field("Uid:").and_then(|value| value.parse().ok()),
            seccomp,
            namespaces: namespaces(process),
            may_dump_core: limits
                .as_deref()
                .and_then(core_limit)
                .map(|limit| limit != "0"),
            has_capabilities: field("CapEff:").map(|value| value.chars().any(|digit| digit != '0')),
            threads: field("Threads:").and_then(|value| value.parse().ok()),
            descriptors: descriptors(process),
        }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let privileges = match self.no_new_privs {
            Some(true) => "no new privileges",
            Some(false) => "MAY GAIN PRIVILEGES",
            None => "privileges unknown",
        };
        let calls = match self.seccomp {
            Some(Seccomp::Filter | Seccomp::Strict) => "system calls filtered",
            Some(Seccomp::Off) => "all system calls",
            None => "system calls unknown",
        };
        let core = match self.may_dump_core {
            Some(false) => "no core",
            Some(true) => "core allowed",
            None => "core unknown",
        };
        match self.uid {
            Some(uid) => write!(formatter, "user {uid}, ")?,
            None => write!(formatter, "user unknown, ")?,
        }
        let capabilities = match self.has_capabilities {
            Some(false) => "no capability",
            Some(true) => "capabilities",
            None => "capabilities unknown",
        };
        write!(formatter, "{privileges}, {calls}, {capabilities}, {core}")?;
        if let Some(own) = self.namespaces.as_ref().filter(|own| !own.is_empty()) {
            write!(formatter, ", its own {}", own.join(" "))?;
        }
        if let Some(fds) = self.descriptors {
            write!(
                formatter,
                "; {} sockets, {} files, {} other fds",
                fds.sockets, fds.files, fds.others
            )?;
        }
        Ok(())
    }
}

fn read(process: &Process, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/{file}", process.pid)).ok()
}

/// None: it may not be looked at.
fn namespaces(process: &Process) -> Option<Vec<&'static str>> {
    let mut own = Vec::new();
    for name in ["user", "mnt", "net", "ipc", "uts", "cgroup"] {
        let its = fs::read_link(format!("/proc/{}/ns/{name}", process.pid)).ok()?;
        if fs::read_link(format!("/proc/self/ns/{name}")).ok()? != its {
            own.push(name);
        }
    }
    Some(own)
}

fn core_limit(limits: &str) -> Option<&str> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))?;
    line.split_whitespace().next()
}

fn descriptors(process: &Process) -> Option<Descriptors> {
    let mut counted = Descriptors::default();
    for entry in fs::read_dir(format!("/proc/{}/fd", process.pid))
        .ok()?
        .flatten()
    {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy();
        if target.starts_with("socket:") {
            counted.sockets += 1;
        } else if target.starts_with('/') {
            counted.files += 1;
        } else {
            counted.others += 1;
        }
    }
    Some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pid;

    #[test]
    fn our_own_process_is_seen_as_it_is() {
        let own = Process::get(Pid(i32::try_from(std::process::id()).unwrap())).unwrap();
        let before = Confinement::of(&own);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let after = Confinement::of(&own);
        assert!(
            after.threads.unwrap() >= 1 && after.no_new_privs.is_some() && after.seccomp.is_some()
        );
        // Other tests of this binary open files at the same time, so only what we opened counts.
        assert!(after.descriptors.unwrap().sockets >= 1);
        assert!(before.may_dump_core.is_some());
        assert_eq!(before.uid, Some(nix::unistd::getuid().as_raw()));
        assert_eq!(before.namespaces, Some(vec![]), "ours are not its own");
        drop(socket);
    }
}
