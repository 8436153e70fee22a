//! The subdaemon that the tests start: it does what its edge asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use ipc_transport::blocking::LowerConn;
use ipc_transport::{Edge, EdgeHello, Error, Hardening};
use nix::sys::{prctl, resource};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde::{Deserialize, Serialize};
use subd::{Fds, Grant, Level, Mode, Role, Spawn};

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
    /// To make a system call that its policy does not have.
    Forbidden,
    /// To make one that its policy refuses with an error. Answers with its number.
    Refused,
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
    Errno(i32),
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

/// With this argument it starts a channeld with the edge whose number is the second, in the mode that
/// is the third, says on stdout what its report was, and waits. The fourth is a system call that the
/// kernel is made not to have.
pub const STARTER: &str = "--starter";

pub fn starter(args: &[String]) -> ExitCode {
    let [edge, mode, lacking] = args else {
        panic!("{args:?}");
    };
    // SAFETY: inherited for this, and named once.
    #[allow(unsafe_code)]
    let edge = unsafe { OwnedFd::from_raw_fd(edge.parse().unwrap()) };
    if let Ok(number) = lacking.parse() {
        let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let rules = [(number, vec![])].into_iter().collect();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    }
    let mut child = subd::spawn(Spawn {
        program: &std::env::current_exe().unwrap(),
        role: Role::Channeld,
        fds: vec![("probe", edge)],
        log_level: Level::Info,
        grant: Grant::no_network(Mode::from_name(mode).unwrap()),
    })
    .unwrap();
    println!("{:?}", crate::tests::report(&mut child));
    println!("end of report");
    loop {
        std::thread::park();
    }
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
    loop {
        let ask = match edge.recv() {
            Err(Error::Closed) => return Ok(()),
            other => other.map_err(|error| error.to_string())?,
        };
        let answer = match ask {
            Ask::Hardening => Answer::Hardening(fds.hardening().clone()),
            Ask::Names => Answer::Names(fds.names().map(str::to_owned).collect()),
            Ask::OpenMany => {
                let stderr = io::stderr();
                let copies: Vec<OwnedFd> = (0..1000)
                    .map_while(|_| stderr.as_fd().try_clone_to_owned().ok())
                    .collect();
                Answer::Opened(copies.len() as u64)
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
            Ask::Forbidden => {
                let _ = nix::sys::utsname::uname();
                Answer::Done
            }
            Ask::Refused => {
                let refused = nix::sys::prctl::get_dumpable();
                Answer::Errno(refused.map_or_else(|error| error as i32, |_| 0))
            }
            Ask::Panic => panic!("asked to\nsay {}", "this"),
            Ask::Fail { error } => return Err(error),
        };
        edge.send(&answer).map_err(|error| error.to_string())?;
    }
}
