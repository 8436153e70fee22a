//! The subdaemon that the tests start: it does what its edge asks.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use ipc_transport::blocking::LowerConn;
use ipc_transport::{Edge, EdgeHello, Error, Hardening};
use nix::sys::{prctl, resource};
use serde::{Deserialize, Serialize};
use subd::{Child, Fds, Level, Role, Spawn};

pub struct ProbeEdge;

impl Edge for ProbeEdge {
    const NAME: &'static str = "probe";
    type Down = Ask;
    type Up = Answer;
}

pub const HELLO: EdgeHello = EdgeHello::of::<ProbeEdge>([3; 32]);

#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Its report.
    Hardening,
    /// The names of the descriptors that it has left, and then takes and drops.
    Names,
    /// How many files it can open.
    OpenMany,
    /// To log this.
    Log { message: String },
    /// To start a subdaemon whose edge is the descriptor that comes with this.
    Start { program: PathBuf },
    /// To panic.
    Panic,
    /// To return this error.
    Fail { error: String },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Hardening(Hardening),
    Names(Vec<String>),
    Opened(u64),
    Done,
}

/// With this argument nothing is taken away.
pub const CONTROL: &str = "--control";

/// The same process without the first steps: says what they would have taken away.
pub fn control() -> ExitCode {
    let leaked = std::env::args()
        .nth(2)
        .and_then(|fd| fd.parse().ok())
        .unwrap();
    // SAFETY: only asked whether it is open.
    #[allow(unsafe_code)]
    let leaked = unsafe { BorrowedFd::borrow_raw(leaked) };
    println!(
        "leaked={} env={} dumpable={} core={}",
        nix::fcntl::fcntl(leaked, nix::fcntl::FcntlArg::F_GETFD).is_ok(),
        std::env::vars().count(),
        prctl::get_dumpable().unwrap(),
        resource::getrlimit(resource::Resource::RLIMIT_CORE)
            .unwrap()
            .0,
    );
    ExitCode::SUCCESS
}

pub fn main(name: &str) -> ExitCode {
    if name == "threaded" {
        // What no subdaemon may do.
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            ready.send(()).unwrap();
            std::thread::park();
        });
        wait.recv().unwrap();
    }
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    subd::run(role.unwrap_or(Role::Channeld), serve)
}

fn serve(mut fds: Fds) -> Result<(), String> {
    let edge = fds.take("probe").map_err(|error| error.to_string())?;
    let mut edge = LowerConn::<ProbeEdge>::new(edge, HELLO).map_err(|error| error.to_string())?;
    let mut children: Vec<Child> = Vec::new();
    loop {
        let ask = match edge.recv() {
            Err(Error::Closed) => return Ok(()),
            other => other.map_err(|error| error.to_string())?,
        };
        let answer = match ask {
            Ask::Hardening => Answer::Hardening(fds.hardening().clone()),
            Ask::Names => Answer::Names(fds.names().map(str::to_owned).collect()),
            Ask::OpenMany => {
                let files: Vec<File> = (0..1000)
                    .map_while(|_| File::open("/dev/null").ok())
                    .collect();
                Answer::Opened(files.len() as u64)
            }
            Ask::Log { message } => {
                let span =
                    tracing::info_span!("peer", peer = "02ab", later = tracing::field::Empty);
                span.record("later", 5);
                let _entered = span.enter();
                let _inner = tracing::info_span!("channel", channel = %"103x1x0").entered();
                tracing::info!(amount_msat = 7, "{message}");
                tracing::debug!("not at this level");
                Answer::Done
            }
            Ask::Start { program } => {
                let fd = edge.take_fd().map_err(|error| error.to_string())?;
                let child = subd::spawn(Spawn {
                    program: &program,
                    role: Role::Onchaind,
                    fds: vec![("probe", fd)],
                    log_level: Level::Info,
                });
                children.push(child.map_err(|error| error.to_string())?);
                Answer::Done
            }
            Ask::Panic => panic!("asked to\nsay {}", "this"),
            Ask::Fail { error } => return Err(error),
        };
        edge.send(&answer).map_err(|error| error.to_string())?;
    }
}
