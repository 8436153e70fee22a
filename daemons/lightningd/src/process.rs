//! From the command line to a process that owns its folder: options, folders, lock, daemon.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lightningd_options::{CheckOutput, Environment, Options, Start};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use subd::{Mode, Waiter};

use crate::logbook::LogBook;

/// As in `--version` and getinfo.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"), "-bulkhead");

/// What a lightningd that was killed had just forked may hold its lock for a moment longer.
const LINGERS: Duration = Duration::from_secs(1);

/// A process that may start the node.
pub struct Ready {
    pub options: Options,
    pub log: LogBook,
    /// Held while we live: no second lightningd on the same folder.
    pub lock: Flock<File>,
    /// How much of the subdaemons' sandbox must be there.
    pub sandbox: Mode,
    /// With `--daemon`: the process that was started, until we can be asked.
    pub waiter: Waiter,
}

/// What the command line asks for.
pub enum Asked {
    Node(Box<Ready>),
    Check(Box<Options>, CheckOutput),
}

/// `None`: something was printed and that is all.
///
/// # Errors
/// What is wrong and what to do.
pub fn prepare() -> anyhow::Result<Option<Asked>> {
    let environment = Environment::from_process().context("cannot read the environment")?;
    let arguments = std::env::args_os().skip(1);
    let mut options = match lightningd_options::parse(arguments, &environment, VERSION)? {
        Start::Print(text) => {
            print!("{text}");
            return Ok(None);
        }
        Start::Run(options) => *options,
    };
    limits();
    if let Some(output) = options.check {
        return Ok(Some(Asked::Check(Box::new(options), output)));
    }
    folder(&options.lightning_dir)?;
    folder(&options.network_dir)?;
    let lock = lock(&options.pid_file)?;
    let log = LogBook::open(options.log.clone())?;
    let mut waiter = match options.daemon {
        true => subd::go_into_background().context("cannot go into the background")?,
        false => Waiter::nobody(),
    };
    let lock = write_pid(lock)
        .context("cannot write the pid file")
        .inspect_err(|error| waiter.say(&format!("lightningd: {error:#}")))?;
    // Tried by a child, so while there is one thread.
    let (sandbox, warnings) = crate::sandbox::choose(options.sandbox);
    options.warnings.extend(warnings);
    Ok(Some(Asked::Node(Box::new(Ready {
        options,
        log,
        lock,
        sandbox,
        waiter,
    }))))
}

/// Preimages never reach a core file or another process of the same user; nobody we start gains
/// rights; a descriptor for each channel's sockets is needed.
fn limits() {
    let _ = nix::sys::prctl::set_no_new_privs();
    let _ = nix::sys::prctl::set_dumpable(false);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create the folder {}", path.display()))
}

fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(path)
        .with_context(|| format!("cannot open the pid file {}", path.display()))?;
    lock_file(file, path)
}

/// As a start does, but makes no file: `None` if there is none to lock.
///
/// # Errors
/// A node runs on the folder, or the file cannot be read.
pub fn lock_existing(path: &Path) -> anyhow::Result<Option<Flock<File>>> {
    match File::open(path) {
        Ok(file) => lock_file(file, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("cannot open the pid file {}", path.display()))
        }
    }
}

fn lock_file(mut file: File, path: &Path) -> anyhow::Result<Flock<File>> {
    let mut pid = String::new();
    let _ = file.read_to_string(&mut pid);
    let patience = Instant::now() + LINGERS;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < patience => file,
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "another lightningd (pid {}) runs on this folder: {} is locked",
                pid.trim(),
                path.display()
            ),
            Err((_, error)) => return Err(error).context("cannot lock the pid file"),
        };
        std::thread::sleep(LINGERS / 50);
    }
}

fn write_pid(mut lock: Flock<File>) -> std::io::Result<Flock<File>> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    lock.flush()?;
    Ok(lock)
}
