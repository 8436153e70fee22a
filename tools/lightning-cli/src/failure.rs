//! Why there is no reply to show, and the exit code for it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use lightningd_options::OptionError;

pub const REFUSED: u8 = 1;
pub const UNREACHABLE: u8 = 2;
pub const USAGE: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Options(OptionError),
    #[error(
        "lightningd is not running here: there is no socket {path}\n\
         Start lightningd, or say where it is: --lightning-dir, --network or --rpc-file.{hint}"
    )]
    NoSocket { path: PathBuf, hint: String },
    #[error("lightningd is not running: nobody answers on its socket {0}\nStart lightningd again.")]
    DeadSocket(PathBuf),
    #[error(
        "this user may not talk to lightningd: the socket {0} belongs to another user (see lightningd's --rpc-file-mode)"
    )]
    NotAllowed(PathBuf),
    #[error("connecting to {path}: {source}")]
    Connect { path: PathBuf, source: io::Error },
    #[error("talking to lightningd: {0}")]
    Talk(io::Error),
    #[error("lightningd closed the connection before it answered")]
    Closed,
    #[error("lightningd answered with something that is no reply: {0}")]
    Malformed(String),
    #[error("writing the reply: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) | Failure::Options(_) => USAGE.into(),
            Failure::NoSocket { .. }
            | Failure::DeadSocket(_)
            | Failure::NotAllowed(_)
            | Failure::Connect { .. }
            | Failure::Talk(_)
            | Failure::Closed
            | Failure::Malformed(_)
            | Failure::Output(_) => UNREACHABLE.into(),
        }
    }
}
