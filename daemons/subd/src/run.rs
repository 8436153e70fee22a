//! The order of the first steps.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ipc_transport::log::LogSink;

use crate::fds::Fds;
use crate::grant::Mode;
use crate::manifest::{LOG, Manifest, ManifestError, REPORT};
use crate::policy::Policy;
use crate::readback::Before;
use crate::role::Role;
use crate::sandbox::Missing;
use crate::{Hardening, log, readback, report, sandbox, steps};

/// The exit code of a subdaemon of which a first step failed. Why is on its stderr.
pub const START_FAILED: u8 = 70;

/// How long the end waits for lightningd to take the last log records.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A first step failed. The daemon does not run without it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The arguments are not those that [`crate::spawn()`] gives.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A descriptor of the manifest is not open.
    #[error("descriptor `{name}` of the manifest is not open")]
    NotOpen {
        /// Its name.
        name: String,
    },
    /// Threads were started before the first steps.
    #[error("{0} threads run before the first steps")]
    Threads(usize),
    /// The parent has died already.
    #[error("the parent is gone")]
    Orphan,
    /// The system refused a step.
    #[error("cannot {step}: {error}")]
    System {
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A step was done, but the kernel says otherwise.
    #[error("the kernel does not confirm the first steps: {what}; it says {hardening:?}")]
    NotConfirmed {
        /// Which.
        what: &'static str,
        /// What it says.
        hardening: Box<Hardening>,
    },
    /// The daemon cannot open what it needs.
    #[error("{0}")]
    Prepare(String),
    /// The host does not give all of the sandbox, and all of it is required.
    #[error(
        "the sandbox is required, and this host does not give: {0}. To run without that, start \
         lightningd with --sandbox=best-effort"
    )]
    Missing(String),
    /// The log edge is broken.
    #[error("the log edge: {0}")]
    Log(String),
}

/// Takes the first steps of a subdaemon and then runs it. The first and only thing that its main
/// does: no thread may exist yet and no descriptor be open that the parent did not give.
///
/// `serve` gets the descriptors and runs until the daemon has nothing more to do; an error of it is
/// logged. What it logs by `tracing` goes to the log edge.
pub fn run<E: Display>(role: Role, serve: impl FnOnce(Fds) -> Result<(), E>) -> ExitCode {
    run_prepared(role, |_| Ok(()), |fds, ()| serve(fds))
}

/// As [`run`], for a daemon that has to open what it can no longer open when it is locked in.
/// `prepare` does that, with the rights of who started the node: it reads nothing that anybody else
/// could have written, and starts no thread.
pub fn run_prepared<P, E: Display>(
    role: Role,
    prepare: impl FnOnce(&Fds) -> Result<P, E>,
    serve: impl FnOnce(Fds, P) -> Result<(), E>,
) -> ExitCode {
    let mut pipe = None;
    let (fds, prepared, sink) = match start(role, prepare, &mut pipe) {
        Ok(started) => started,
        Err(error) => {
            say(&format!("{role}: {error}"));
            if let Some(pipe) = pipe {
                report::failed(pipe, &error.to_string());
            }
            return ExitCode::from(START_FAILED);
        }
    };
    let code = match serve(fds, prepared) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if sink.is_none() {
                say(&format!("{role}: {error}"));
            }
            ExitCode::FAILURE
        }
    };
    if let Some(sink) = sink {
        sink.drain(LAST_WORDS);
    }
    code
}

type Started<P> = (Fds, P, Option<Arc<LogSink>>);

/// The first steps. `pipe` gets the report's pipe as soon as there is one, and keeps it if a
/// step fails.
fn start<P, E: Display>(
    role: Role,
    prepare: impl FnOnce(&Fds) -> Result<P, E>,
    pipe: &mut Option<OwnedFd>,
) -> Result<Started<P>, StartError> {
    let manifest = Manifest::parse(std::env::args_os())?;
    match readback::threads().map_err(asking)? {
        1 => {}
        many => return Err(StartError::Threads(many)),
    }
    let policy = Policy::of(role);
    let mut by_name = steps::adopt(&manifest)?;
    *pipe = by_name.remove(REPORT);
    steps::clear_environment()?;
    steps::die_with_parent(manifest.parent)?;
    steps::give_up(role, policy)?;
    steps::ignore_signals()?;
    let passing = pipe.as_ref().map(AsRawFd::as_raw_fd);
    let before = Before::look().map_err(asking)?;
    no_others(&before, &manifest, passing)?;
    let sink = match by_name.remove(LOG) {
        Some(fd) => {
            let sink = LogSink::new(fd).map_err(|error| StartError::Log(error.to_string()))?;
            Some(Arc::new(sink))
        }
        None => None,
    };
    log::install(role, manifest.log_level, sink.as_ref())?;
    let mut fds = Fds {
        by_name,
        hardening: Hardening::default(),
    };
    let prepared = prepare(&fds).map_err(|error| StartError::Prepare(error.to_string()))?;
    fds.hardening = lock_in(role, &manifest, &fds, before, passing)?;
    if let Some(pipe) = pipe.take() {
        report::ready(pipe, &fds.hardening);
    }
    Ok((fds, prepared, sink))
}

/// Only what the manifest names is open.
fn no_others(
    before: &Before,
    manifest: &Manifest,
    passing: Option<RawFd>,
) -> Result<(), StartError> {
    let open_fds = before.open_fds(passing).map_err(asking)?;
    let given = manifest.fds.iter().map(|(_, fd)| *fd).chain(0..3);
    let mut given: Vec<RawFd> = given.filter(|fd| Some(*fd) != passing).collect();
    given.sort_unstable();
    match open_fds == given {
        true => Ok(()),
        false => {
            let hardening = Hardening {
                open_fds,
                ..Hardening::default()
            };
            Err(not_confirmed("only the manifest's descriptors", hardening))
        }
    }
}

/// From the host's rights to those of the role's policy, and what the kernel says of it then.
fn lock_in(
    role: Role,
    manifest: &Manifest,
    fds: &Fds,
    before: Before,
    passing: Option<RawFd>,
) -> Result<Hardening, StartError> {
    let policy = Policy::of(role);
    let folder = policy.folder.and_then(|name| fds.get(name).ok());
    let mut missing = sandbox::leave_host(role, policy, folder);
    // Both were undone by the change of the user.
    steps::die_with_parent(manifest.parent)?;
    sandbox::hide().map_err(steps::failed("become undumpable"))?;
    let mut hardening = before.hardening(passing).map_err(asking)?;
    let (landlock, lacking) = sandbox::lock(policy, &manifest.grant, folder);
    hardening.landlock = landlock;
    missing.extend(lacking);
    if landlock > 0 && File::open("/").is_ok() {
        hardening.landlock = 0;
        return Err(not_confirmed("Landlock", hardening));
    }
    match sandbox::compile(policy) {
        Ok(filters) => missing.extend(filters.install().err()),
        Err(lacking) => missing.push(lacking),
    }
    (hardening.seccomp, hardening.seccomp_filters) = before.seccomp().map_err(asking)?;
    hardening.missing = missing.iter().map(Missing::to_string).collect();
    confirm(role, policy, &hardening)?;
    match (manifest.grant.mode, missing.is_empty()) {
        (Mode::Required, false) => Err(StartError::Missing(hardening.missing.join("; "))),
        (Mode::Required, true) | (Mode::BestEffort, _) => Ok(hardening),
    }
}

fn asking(error: io::Error) -> StartError {
    StartError::System {
        step: "ask the kernel about this process",
        error,
    }
}

fn not_confirmed(what: &'static str, hardening: Hardening) -> StartError {
    StartError::NotConfirmed {
        what,
        hardening: Box::new(hardening),
    }
}

/// Compares what the kernel says with what the steps meant to do. What is named as missing was not
/// done and is not compared.
fn confirm(role: Role, policy: &Policy, hardening: &Hardening) -> Result<(), StartError> {
    let all = hardening.missing.is_empty();
    let wrong = [
        (hardening.process_name != role.name(), "the process's name"),
        (!hardening.no_new_privs, "no_new_privs"),
        (hardening.dumpable, "undumpable"),
        (hardening.core_limit != 0, "no core dumps"),
        (
            hardening.nofile > policy.open_files,
            "the limit of open files",
        ),
        (hardening.nproc != 0, "no new processes"),
        (
            hardening.fsize > policy.file_size,
            "the limit of what is written",
        ),
        (hardening.env_vars != 0, "an empty environment"),
        (
            hardening.parent_death_signal != steps::PARENT_DEATH as i32,
            "to die with the parent",
        ),
        (hardening.threads != 1, "one thread"),
        (all && hardening.uid == 0, "not to be root"),
        (all && hardening.capabilities != 0, "no capability"),
        (all && hardening.namespaces.is_empty(), "namespaces"),
        (all && !hardening.empty_root, "an empty root"),
        (all && hardening.seccomp != 2, "a filter of system calls"),
    ];
    match wrong.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, what)) => Err(not_confirmed(what, hardening.clone())),
        None => Ok(()),
    }
}

/// One line on stderr, which may be closed.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
