//! The order of the first steps.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ipc_transport::log::LogSink;

use crate::fds::Fds;
use crate::manifest::{LOG, Manifest, ManifestError};
use crate::readback;
use crate::role::Role;
use crate::{Hardening, log, steps};

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
    let (fds, sink) = match start(role) {
        Ok(started) => started,
        Err(error) => {
            say(&format!("{role}: {error}"));
            return ExitCode::from(START_FAILED);
        }
    };
    let code = match serve(fds) {
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

fn start(role: Role) -> Result<(Fds, Option<Arc<LogSink>>), StartError> {
    let manifest = Manifest::parse(std::env::args_os())?;
    let asking = |error| StartError::System {
        step: "ask the kernel about this process",
        error,
    };
    match readback::threads().map_err(asking)? {
        1 => {}
        many => return Err(StartError::Threads(many)),
    }
    let mut by_name = steps::adopt(&manifest)?;
    steps::clear_environment()?;
    steps::die_with_parent(manifest.parent)?;
    steps::give_up(role)?;
    steps::ignore_signals()?;
    // The role's sandbox (namespaces, Landlock, seccomp) belongs here: all that was inherited is
    // gone, and nothing has been read yet.
    let hardening = readback::hardening().map_err(asking)?;
    confirm(role, &manifest, &hardening)?;

    let sink = match by_name.remove(LOG) {
        Some(fd) => {
            let sink = LogSink::new(fd).map_err(|error| StartError::Log(error.to_string()))?;
            Some(Arc::new(sink))
        }
        None => None,
    };
    log::install(role, manifest.log_level, sink.as_ref())?;
    Ok((Fds { by_name, hardening }, sink))
}

/// Compares what the kernel says with what the steps meant to do.
fn confirm(role: Role, manifest: &Manifest, hardening: &Hardening) -> Result<(), StartError> {
    let mut fds: Vec<i32> = manifest.fds.iter().map(|(_, fd)| *fd).chain(0..3).collect();
    fds.sort_unstable();
    let wrong = [
        (hardening.process_name != role.name(), "the process's name"),
        (!hardening.no_new_privs, "no_new_privs"),
        (hardening.dumpable, "undumpable"),
        (hardening.core_limit != 0, "no core dumps"),
        (
            hardening.nofile > role.max_open_files(),
            "the limit of open files",
        ),
        (hardening.open_fds != fds, "only the manifest's descriptors"),
        (hardening.env_vars != 0, "an empty environment"),
        (
            hardening.parent_death_signal != steps::PARENT_DEATH as i32,
            "to die with the parent",
        ),
        (hardening.threads != 1, "one thread"),
    ];
    match wrong.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, what)) => Err(StartError::NotConfirmed {
            what,
            hardening: Box::new(hardening.clone()),
        }),
        None => Ok(()),
    }
}

/// One line on stderr, which may be closed.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
