//! The first steps of every subdaemon, and how lightningd starts one.
//!
//! A subdaemon begins with more than it needs: the descriptors, the environment and the rights of
//! who started it. [`run`] takes all of that away, asks the kernel whether it is gone, and only then
//! hands over to the daemon. Before that no thread exists and nothing is read from any edge. What a
//! role keeps is in `policy`, one file for each.
//!
//! What a subdaemon is given, by [`spawn()`]:
//! - arguments: its name, `--fds=NAME:NUMBER,...` (the manifest), `--log-level=LEVEL`,
//!   `--parent=PID`, and its [`Grant`];
//! - an empty environment;
//! - descriptors: 0 and 1 are `/dev/null`, 2 is lightningd's, then those of the manifest and no
//!   other. One named `log` is the log edge ([`ipc_transport::log`]), one named `report` is a
//!   pipe for the report of the first steps ([`ipc_transport::hardening`]); both stay here.
//!
//! Exit codes of a subdaemon: 0, it had nothing more to do; 1, its `serve` returned an error;
//! [`START_FAILED`], a first step failed; SIGABRT, it panicked; SIGSYS, it made a system call that
//! its policy does not have; SIGKILL, its parent died.
//!
//! Not here: the hello (each end of an edge does it itself, ipc-transport), and any message.

mod background;
mod child;
mod fds;
mod grant;
mod host;
mod log;
mod manifest;
mod policy;
mod readback;
mod report;
mod role;
mod run;
mod sandbox;
mod spawn;
mod steps;
mod subscriber;

pub use background::{Waiter, go_into_background};
pub use child::{Child, Exit};
pub use fds::{Fds, MissingFd};
pub use grant::{Connect, Grant, Mode};
pub use host::missing_on_this_host;
pub use ipc_transport::hardening::{Hardening, Report};
pub use ipc_transport::log::Level;
pub use manifest::{LOG, ManifestError};
pub use report::Reporter;
pub use role::Role;
pub use run::{START_FAILED, StartError, run, run_prepared};
pub use sandbox::Missing;
pub use spawn::{Spawn, SpawnError, spawn};
pub use subscriber::LogSubscriber;
