//! Commands to a running hsmd, over its OPERATOR socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use hsm_messages::edges::HsmOperator;
use hsm_messages::hello;
use hsm_messages::operator::{LineNumber, Lock, Reply, Request, SOCKET, SeedFormat, Status};
use ipc_transport::Conn;
use ipc_transport::blocking::UpperConn;
use wire::ChannelDbid;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::{Facts, prompt};

/// How long a node that has just been started may take to ask for its seed.
const STARTING: Duration = Duration::from_secs(10);

/// How many lines are shown of the audit log's end.
const LAST: u64 = 20;

pub fn connect(folder: &Path) -> Result<UpperConn<HsmOperator>, Failure> {
    let unreachable = |source| Failure::Unreachable {
        path: folder.to_owned(),
        source,
    };
    let opened = File::open(folder).map_err(unreachable)?;
    // By the descriptor: the folder's path may be longer than a socket's address.
    let path = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
    let stream = UnixStream::connect(path).map_err(unreachable)?;
    let mut conn = Conn::new(OwnedFd::from(stream), hello::<HsmOperator>())?;
    // First, so that an hsmd of another build is told from one that hangs up.
    conn.hello()?;
    Ok(conn)
}

fn ask_status(conn: &mut UpperConn<HsmOperator>) -> Result<Status, Failure> {
    match conn.call(&Request::Status)? {
        Reply::Status(status) => Ok(*status),
        Reply::Refused(refused) => Err(refused.into()),
        Reply::Unlocked { .. }
        | Reply::WrongPassphrase { .. }
        | Reply::TooSoon { .. }
        | Reply::Limits(_)
        | Reply::Allowlist { .. }
        | Reply::Refusals { .. }
        | Reply::Done
        | Reply::AuditHead { .. }
        | Reply::AuditTail { .. } => Err(Failure::Confused),
    }
}

pub fn status(folder: &Path) -> Result<Facts, Failure> {
    let status = ask_status(&mut connect(folder)?)?;
    let mut facts = match status.lock {
        Lock::NotStarted => vec![("state", "not started".to_owned())],
        Lock::Locked => vec![("state", "locked".to_owned())],
        Lock::Unconfirmed => vec![("state", "waits for confirm-recovery".to_owned())],
        Lock::Unlocked { node_id, channels } => vec![
            ("state", "unlocked".to_owned()),
            ("node_id", node_id.to_string()),
            ("channels", channels.to_string()),
        ],
    };
    if let Some(seed) = status.seed {
        facts.push(("seed", format_name(seed.format).to_owned()));
        facts.push(("seed_mode", format!("{:04o}", seed.mode)));
    }
    let hardening = &status.hardening;
    facts.push(("program_sha256", hex::encode(status.program)));
    facts.push(("policy_sha256", hex::encode(status.policy)));
    facts.push(("no_new_privs", hardening.no_new_privs.to_string()));
    facts.push(("dumpable", hardening.dumpable.to_string()));
    facts.push(("seccomp", hardening.seccomp.to_string()));
    facts.push(("landlock", hardening.landlock.to_string()));
    facts.push(("not_from_the_host", hardening.missing.join("; ")));
    Ok(facts)
}

fn format_name(format: SeedFormat) -> &'static str {
    match format {
        SeedFormat::Plain => "32 bytes, no passphrase",
        SeedFormat::Mnemonic => "words, no passphrase",
        SeedFormat::MnemonicWithPassphrase => "words with a BIP 39 passphrase",
        SeedFormat::Encrypted => "encrypted by Core Lightning",
        SeedFormat::Sealed => "sealed",
        SeedFormat::Unknown => "unknown",
    }
}

pub fn unlock(folder: &Path) -> Result<Facts, Failure> {
    let mut conn = connect(folder)?;
    let until = Instant::now() + STARTING;
    while ask_status(&mut conn)?.lock == Lock::NotStarted && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let typed = prompt::line("Passphrase")?;
    conn.send_with_fd(&Request::Unlock, pipe(&typed)?)?;
    match conn.recv()? {
        Reply::Unlocked { node_id } => Ok(vec![("node_id", node_id.to_string())]),
        Reply::WrongPassphrase { wait } => Err(Failure::Wrong(wait.0)),
        Reply::TooSoon { wait } => Err(Failure::TooSoon(wait.0)),
        Reply::Refused(refused) => Err(refused.into()),
        Reply::Status(_)
        | Reply::Limits(_)
        | Reply::Allowlist { .. }
        | Reply::Refusals { .. }
        | Reply::Done
        | Reply::AuditHead { .. }
        | Reply::AuditTail { .. } => Err(Failure::Confused),
    }
}

const SHOWN_ONCE: &str = "\
The words of the seed are shown this once. Whoever sees them has the coins; without them nothing brings
a lost seed back. Have pen and paper ready.
";

/// The words come in a pipe, past every buffer of the socket.
pub fn show_mnemonic(folder: &Path, yes: bool) -> Result<Facts, Failure> {
    let mut conn = connect(folder)?;
    if !yes {
        prompt::confirm(SHOWN_ONCE)?;
    }
    let (mut read, write) = io::pipe()?;
    conn.send_with_fd(&Request::ShowMnemonic, write.into())?;
    match conn.recv()? {
        Reply::Done => {}
        Reply::Refused(refused) => return Err(refused.into()),
        _others => return Err(Failure::Confused),
    }
    let mut words = Zeroizing::new(String::with_capacity(1024));
    read.read_to_string(&mut words)?;
    Ok(vec![("words", words.to_string())])
}

/// What is at stake is said first; a person types it out, a script says `--yes`.
const RECOVERY: &str = "\
The database was put back from an older copy. hsmd goes on with its own journal, which has to be the
newest: if hsm-journal was put back too, our old commitments could be published, and the peers would
take all of their channels. Channels that have changed since are closed by their peers.
Only a backup that the node's command `backup` has made has an older journal of its own: hsmd knows of it,
and signs nothing of a channel before its peer has shown its state. No other node may run with this seed.
";
const ENDS: &str = "\
hsmd's own newest commitment of the channel will be published when it is closed. If hsm-journal is an
older copy, the peer takes all of the channel. If the peer comes back by itself, wait for it instead.
";

/// Confirms that the database was put back; or, of one channel, that its peer does not come back.
pub fn confirm_recovery(folder: &Path, channel: Option<u64>, yes: bool) -> Result<Facts, Failure> {
    let mut conn = connect(folder)?;
    if !yes {
        prompt::confirm(if channel.is_some() { ENDS } else { RECOVERY })?;
    }
    let request = match channel {
        None => Request::ConfirmRecovery,
        Some(number) => Request::EndRecovery {
            channel: ChannelDbid(number),
        },
    };
    match conn.call(&request)? {
        Reply::Done => Ok(vec![("recovery", "confirmed".to_owned())]),
        Reply::Refused(refused) => Err(refused.into()),
        _others => Err(Failure::Confused),
    }
}

/// Lines of the audit log from this number on, or the last.
pub fn audit_tail(folder: &Path, from: Option<u64>) -> Result<String, Failure> {
    let mut conn = connect(folder)?;
    let from = match from {
        Some(from) => from,
        None => {
            let Reply::AuditHead { number, .. } = conn.call(&Request::AuditHead)? else {
                return Err(Failure::Confused);
            };
            number.0.saturating_add(1).saturating_sub(LAST)
        }
    };
    let from = LineNumber(from);
    match conn.call(&Request::AuditTail { from })? {
        Reply::AuditTail { lines } => Ok(lines.iter().map(|line| format!("{line}\n")).collect()),
        Reply::Refused(refused) => Err(refused.into()),
        Reply::Status(_)
        | Reply::Unlocked { .. }
        | Reply::WrongPassphrase { .. }
        | Reply::TooSoon { .. }
        | Reply::Limits(_)
        | Reply::Allowlist { .. }
        | Reply::Refusals { .. }
        | Reply::Done
        | Reply::AuditHead { .. } => Err(Failure::Confused),
    }
}

/// A pipe with this in it. A line is shorter than what any pipe takes at once.
fn pipe(typed: &Zeroizing<Vec<u8>>) -> io::Result<OwnedFd> {
    let (read, mut write) = io::pipe()?;
    write.write_all(typed)?;
    Ok(read.into())
}
