//! The owner's way in, past lightningd: the socket that hsmd itself listens on, and what may be asked
//! there. Who may connect is the kernel's word (SO_PEERCRED), not the file's mode alone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::hex::DisplayHex;
use hsm::{Passphrase, Rule};
use hsm_messages::operator::{LineNumber, Lock, Reply, Request, SOCKET, Seconds, Status};
use ipc_transport::{Error, Limits};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::answer::{Answer, refused_by};
use crate::custody::{Custody, NotUnlocked, Signer};
use crate::notes::Notes;
use crate::policy;
use crate::port::Asking;

/// Most connections at a time.
pub const CONNECTIONS: usize = 4;
/// Most lines of the audit log in one reply: 400 kB at most.
const MAX_LINES: usize = 500;
/// What the kernel holds besides.
const BACKLOG: i32 = 4;
/// No request of the owner's is long.
pub const LIMITS: Limits = Limits {
    frame: 64 << 10,
    out: 1 << 20,
};

/// There is no socket for the owner.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("another hsmd answers on {SOCKET} in this folder: stop that node first")]
    InUse,
    #[error("{SOCKET} is in the way of the socket of that name: move it")]
    NotASocket,
    #[error("cannot {doing} the socket {SOCKET}: {error}")]
    System { doing: &'static str, error: Errno },
}

fn doing(doing: &'static str) -> impl FnOnce(Errno) -> ListenError {
    move |error| ListenError::System { doing, error }
}

/// Listens for the owner.
pub struct Listener {
    socket: UnixListener,
    /// Whose the folder is.
    owner: u32,
}

impl Listener {
    /// Binds the socket in the folder, for its owner alone (0600). One that nobody answers on any more
    /// is replaced.
    ///
    /// # Errors
    /// Another process answers on it; the system refuses, as where something else has the name.
    pub fn bind(folder: BorrowedFd<'_>) -> Result<Listener, ListenError> {
        let owner = fstat(folder).map_err(doing("find the owner of"))?.st_uid;
        // By the descriptor: the folder's path may be longer than an address.
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
        let address = UnixAddr::new(&path).map_err(doing("name"))?;
        remove_dead(folder, &address)?;
        let socket = new_socket()?;
        // Linux gives the file the mode of the socket before it is bound: it is never wider.
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        fchmod(&socket, mode).map_err(doing("set the mode of"))?;
        bind(socket.as_raw_fd(), &address).map_err(doing("bind"))?;
        let backlog = Backlog::new(BACKLOG).map_err(doing("listen on"))?;
        listen(&socket, backlog).map_err(doing("listen on"))?;
        let socket = UnixListener::from(socket);
        Ok(Listener { socket, owner })
    }

    /// The next connection of the owner or root; `None` if nobody waits. Others are hung up on.
    pub fn accept(&self) -> Option<OwnedFd> {
        loop {
            let connection: OwnedFd = match self.socket.accept() {
                Ok((connection, _)) => connection.into(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => {
                    tracing::warn!("{SOCKET}: {error}");
                    return None;
                }
            };
            match getsockopt(&connection, sockopt::PeerCredentials) {
                Ok(peer) if peer.uid() == self.owner || peer.uid() == 0 => return Some(connection),
                Ok(peer) => tracing::warn!("{SOCKET}: user {} is not the owner", peer.uid()),
                Err(error) => tracing::warn!("{SOCKET}: nobody knows who connected: {error}"),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Makes room for the socket: removes one that nobody answers on.
fn remove_dead(folder: BorrowedFd<'_>, address: &UnixAddr) -> Result<(), ListenError> {
    let there = match fstatat(folder, SOCKET, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(there) => there,
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(doing("look at")(error)),
    };
    if kind(there.st_mode) != SFlag::S_IFSOCK {
        return Err(ListenError::NotASocket);
    }
    match connect(new_socket()?.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => {
            unlinkat(folder, SOCKET, UnlinkatFlags::NoRemoveDir).map_err(doing("replace"))
        }
        // Answered, or its backlog is full.
        Ok(()) | Err(Errno::EAGAIN) => Err(ListenError::InUse),
        Err(error) => Err(doing("look at")(error)),
    }
}

fn kind(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

fn new_socket() -> Result<OwnedFd, ListenError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(doing("make"))
}

/// Answers a request that the table lets through. What came along with it may be a pipe.
pub fn answer(asking: Asking<'_>, request: Request) -> Answer<Reply> {
    let Asking { custody, notes, fd } = asking;
    match request {
        Request::Status => return Ok(status(custody)),
        Request::Unlock => return Ok(unlock(custody, fd())),
        Request::Limits => return Ok(Reply::Limits(custody.open_hsm()?.overview())),
        Request::SetLimits { limits } => custody.open_hsm()?.set_limits(limits)?,
        Request::Allowlist => {
            let scripts = custody.open_hsm()?.allowlist().iter().cloned().collect();
            return Ok(Reply::Allowlist { scripts });
        }
        Request::AllowlistAdd { script } => custody.open_hsm()?.allow(script)?,
        Request::AllowlistRemove { script } => custody.open_hsm()?.disallow(script),
        Request::Refusals => {
            let refusals = custody.open_hsm()?.refusals().cloned().collect();
            return Ok(Reply::Refusals { refusals });
        }
        Request::Approve { what } => custody.open_hsm()?.allow_once(what),
        Request::AuditHead => return Ok(audit_head(notes)),
        Request::AuditTail { from } => return Ok(audit_tail(notes, from)),
        Request::ConfirmRecovery => {
            tracing::warn!("the owner confirms that the database was put back");
            if let Err(why) = custody.confirm_recovery()? {
                return Ok(refused(Rule::B2, why));
            }
        }
        Request::ShowMnemonic => return show_mnemonic(custody, fd()),
        Request::EndRecovery { channel } => custody.open_hsm()?.end_recovery(channel)?,
    }
    Ok(Reply::Done)
}

fn audit_head(notes: &Notes) -> Reply {
    let head = notes.head();
    Reply::AuditHead {
        number: LineNumber(head.number),
        hash: head.hash,
    }
}

fn audit_tail(notes: &Notes, from: LineNumber) -> Reply {
    match notes.tail(from.0, MAX_LINES) {
        Ok(lines) => Reply::AuditTail { lines },
        Err(error) => refused(Rule::B1, error.to_string()),
    }
}

fn status(custody: &mut Custody) -> Reply {
    let lock = match &custody.signer {
        Signer::NotStarted | Signer::Inspected(_) | Signer::Failed(_) => Lock::NotStarted,
        Signer::Locked(_) => Lock::Locked,
        Signer::Unconfirmed(_) => Lock::Unconfirmed,
        Signer::Open(open) => Lock::Unlocked {
            node_id: open.hsm.node_id(),
            channels: open.hsm.channels().len() as u64,
        },
    };
    let (seed, program) = match (custody.seed_file(), custody.program.hash()) {
        (Ok(seed), Ok(program)) => (seed, program),
        (Err(error), _) => return refused(Rule::B2, error.to_string()),
        (_, Err(error)) => {
            return refused(Rule::D4, format!("cannot read its own program: {error}"));
        }
    };
    Reply::Status(Box::new(Status {
        lock,
        seed,
        program,
        policy: policy::hash(),
        hardening: custody.hardening.clone(),
    }))
}

/// What an auditor wants to know of this process, in its log.
pub fn say_status(custody: &mut Custody) {
    if let Reply::Status(status) = status(custody) {
        let hardening = &status.hardening;
        tracing::info!(
            "hsmd: program {}, policy {}, seccomp {}, landlock {}, not from the host {:?}, seed {:?}",
            status.program.as_hex(),
            status.policy.as_hex(),
            hardening.seccomp,
            hardening.landlock,
            hardening.missing,
            status.seed,
        );
    }
}

fn unlock(custody: &mut Custody, pipe: Result<OwnedFd, Error>) -> Reply {
    let wait = |wait: Duration| Seconds(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    let unlocked = custody.unlock(|| Passphrase::read(as_pipe(pipe)?));
    match unlocked {
        Ok(node_id) => {
            tracing::info!("the seed is unlocked");
            Reply::Unlocked { node_id }
        }
        Err(NotUnlocked::Wrong(next)) => {
            tracing::warn!("a wrong passphrase for the seed");
            Reply::WrongPassphrase { wait: wait(next) }
        }
        Err(NotUnlocked::TooSoon(next)) => Reply::TooSoon { wait: wait(next) },
        Err(NotUnlocked::NotLocked) => refused(Rule::D4, "the seed is not locked".to_owned()),
        Err(NotUnlocked::Failed(why)) => refused(Rule::B2, why),
    }
}

/// The words go into the pipe once it is durable that they were shown.
fn show_mnemonic(custody: &mut Custody, pipe: Result<OwnedFd, Error>) -> Answer<Reply> {
    let mut pipe = match as_pipe(pipe) {
        Ok(pipe) => pipe,
        Err(error) => return Ok(refused(Rule::R2, format!("no pipe for the words: {error}"))),
    };
    let hsm = custody.open_hsm()?;
    let words = hsm.show_mnemonic()?;
    if let Err(error) = hsm.sync() {
        return Ok(refused(Rule::B1, error.to_string()));
    }
    Ok(match pipe.write_all(words.as_bytes()) {
        Ok(()) => Reply::Done,
        Err(error) => refused(Rule::R2, format!("the words were not taken: {error}")),
    })
}

/// What came along, if it is a pipe: it is read or written without waiting for the other end.
fn as_pipe(fd: Result<OwnedFd, Error>) -> io::Result<File> {
    let fd = fd.map_err(io::Error::other)?;
    if kind(fstat(&fd)?.st_mode) != SFlag::S_IFIFO {
        return Err(io::Error::other("it is no pipe"));
    }
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}

fn refused(rule: Rule, why: String) -> Reply {
    Reply::Refused(refused_by("OPERATOR", rule, why))
}
