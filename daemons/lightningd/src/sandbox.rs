//! How much of the subdaemons' sandbox is insisted on, and who runs in which, for `listsandbox`.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lightningd_options::Sandbox;
use subd::{Hardening, Mode, Report, Reporter, Role};

/// What `--sandbox` comes to on this host, and what a person should know about it. Without the option
/// all of the sandbox is required where the host gives all of it.
#[must_use]
pub fn choose(option: Option<Sandbox>) -> (Mode, Vec<String>) {
    match option {
        Some(Sandbox::Required) => (Mode::Required, Vec::new()),
        Some(Sandbox::BestEffort) => (Mode::BestEffort, Vec::new()),
        None => {
            let missing = subd::missing_on_this_host();
            let mode = match missing.is_empty() {
                true => Mode::Required,
                false => Mode::BestEffort,
            };
            let lacks = |lack| {
                format!(
                    "this host does not give the subdaemons all of their sandbox: {lack}. With \
                     --sandbox=required the node does not start like this"
                )
            };
            (mode, missing.iter().map(lacks).collect())
        }
    }
}

/// What a subdaemon has said of its start.
#[derive(Clone, Debug, Default)]
pub enum Said {
    #[default]
    Nothing,
    Ready(Box<Hardening>),
    /// Why it did not run.
    Failed(String),
}

/// A process that runs, and what it has said.
#[derive(Clone, Debug)]
pub struct Running {
    pub pid: i32,
    pub role: Role,
    pub said: Said,
}

/// All subdaemons that run now.
#[derive(Clone, Default)]
pub struct Roll(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// By a number of ours: the kernel uses a process id again.
    running: BTreeMap<u64, Running>,
    last: u64,
    /// What was logged as missing, once for each role.
    logged: HashSet<(Role, String)>,
}

/// A subdaemon's line in the roll. Dropped, the line goes.
pub struct Line {
    roll: Roll,
    number: u64,
}

impl Roll {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one that was started, and hears its report when it comes.
    #[must_use]
    pub fn add(&self, role: Role, pid: i32, report: Option<Reporter>) -> Line {
        let number = {
            let mut entries = self.entries();
            entries.last += 1;
            let number = entries.last;
            let said = Said::default();
            (entries.running).insert(number, Running { pid, role, said });
            number
        };
        if let Some(report) = report {
            let roll = self.clone();
            tokio::spawn(async move {
                if let Some(report) = heard(report).await {
                    roll.hear(number, role, report);
                }
            });
        }
        Line {
            roll: self.clone(),
            number,
        }
    }

    fn hear(&self, number: u64, role: Role, report: Report) {
        let mut entries = self.entries();
        let said = match report {
            Report::Ready(hardening) => {
                for lack in &hardening.missing {
                    if entries.logged.insert((role, lack.clone())) {
                        tracing::warn!("{role} runs without {lack}");
                    }
                }
                Said::Ready(hardening)
            }
            Report::Failed(why) => {
                tracing::error!("{role} does not start: {why}");
                Said::Failed(why)
            }
        };
        if let Some(running) = entries.running.get_mut(&number) {
            running.said = said;
        }
    }

    /// Those that run, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Running> {
        self.entries().running.values().cloned().collect()
    }
}

async fn heard(report: Reporter) -> Option<Report> {
    let watched = report.as_fd().try_clone_to_owned().ok()?;
    ipc_transport::aio::until_readable(watched).await.ok()?;
    report.wait()
}

impl Line {
    /// Why it did not run, if a first step failed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &self.roll.entries().running.get(&self.number)?.said {
            Said::Failed(why) => Some(why.clone()),
            Said::Nothing | Said::Ready(_) => None,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.roll.entries().running.remove(&self.number);
    }
}

/// What the kernel says now of a process of ours: a field of its `/proc/PID/status`.
pub struct Status(String);

impl Status {
    /// `None`: there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Option<Status> {
        fs::read_to_string(format!("/proc/{pid}/status"))
            .ok()
            .map(Status)
    }

    /// The first word after this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = &mut self.0.lines();
        let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()
    }

    /// A number in decimal.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}

/// The descriptors that it has open now, sorted; `None` if we may not look, as a user may not whose
/// subdaemons are undumpable.
#[must_use]
pub fn open_fds(pid: i32) -> Option<Vec<i32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut fds: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    fds.sort_unstable();
    Some(fds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_holds() {
        let chosen = |option| choose(Some(option)).0;
        assert_eq!(chosen(Sandbox::Required), Mode::Required);
        assert_eq!(chosen(Sandbox::BestEffort), Mode::BestEffort);
    }

    #[test]
    fn without_the_option_it_is_required_where_nothing_is_missing_and_else_said_what_is() {
        let (mode, warnings) = choose(None);
        assert_eq!(mode == Mode::Required, warnings.is_empty());
        assert_eq!(warnings.len(), subd::missing_on_this_host().len());
    }

    #[test]
    fn our_own_status_is_read() {
        let own = i32::try_from(std::process::id()).unwrap();
        let status = Status::of(own).unwrap();
        assert_eq!(status.number("Pid"), Some(own.unsigned_abs().into()));
        assert_eq!(status.field("Nonesuch"), None);
        assert!(open_fds(own).unwrap().contains(&0));
        assert!(Status::of(-1).is_none());
    }
}
