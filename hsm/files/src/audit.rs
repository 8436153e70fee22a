//! The audit log: what was asked of the signer, by whom, and what it decided. Its lines are chained by
//! hash, so that none can be changed, left out or put in without breaking those behind it.
//!
//! ```text
//! hsm-audit 1 after NUMBER HASH
//! NUMBER TIME ROLE CHANNEL MESSAGE COUNT REQUEST DECISION REPLY [REASON] HASH
//! ```
//! NUMBER counts from 1, over all files; TIME is seconds since the epoch; CHANNEL is `-` where there
//! is none; COUNT is how many things the request asks for (the points of an EcdhBatch); REQUEST and
//! REPLY are SHA-256 of the message's bytes as they crossed the socket; DECISION is `ok` or the
//! broken rule's id, and then REASON says how, to the end but for the last word. HASH is SHA-256 of
//! the HASH before and of the line up to it. A file's first line says where it goes on.
//!
//! Lines of role `-` are the log's own: Start; Torn and Damaged with the number of bytes that could
//! not be read (COUNT) and their hash (REQUEST).
//!
//! No line has a secret in it: of messages there are hashes alone, of whole messages with keys or
//! signatures in them, and reasons are what goes to the node's log too.

mod file;

use std::fmt::Write;

use sha2::{Digest, Sha256};
use wire::ChannelDbid;

use crate::UnixTime;

pub use file::{AuditError, AuditLog, FILE, KEPT};

/// The longest reason, in bytes.
const MAX_REASON: usize = 400;
const TITLE: &str = "hsm-audit 1 after";

/// SHA-256, as the log has it of requests and replies.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What is to be noted.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// As [`hsm::msgs::Role::name`]; `-` for the log itself.
    pub role: &'a str,
    pub channel: Option<ChannelDbid>,
    pub message: &'a str,
    pub count: usize,
    pub request: [u8; 32],
    pub decision: Decision<'a>,
    pub reply: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    Ok,
    Refused { rule: &'a str, reason: &'a str },
}

/// Where the chain has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line; 0 before the first.
    pub number: u64,
    pub hash: [u8; 32],
}

/// A line that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub number: u64,
    pub time: UnixTime,
    pub role: &'a str,
    pub channel: Option<ChannelDbid>,
    pub message: &'a str,
    pub count: u64,
    /// In hex.
    pub request: &'a str,
    pub decision: Decision<'a>,
    /// In hex.
    pub reply: &'a str,
}

/// Why a line does not belong where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("its first line is not that of an audit log")]
    Title,
    #[error("a line is not one of an audit log")]
    Form,
    #[error("line {found} stands where {expected} should")]
    Number { expected: u64, found: u64 },
    #[error("line {0} or one before it was changed: its hash is not that of what it says")]
    Hash(u64),
}

/// What a file holds.
#[derive(Debug)]
pub struct Read {
    /// Where it goes on.
    pub first: Head,
    pub last: Head,
    /// How many bytes are good.
    pub good: usize,
    /// What is wrong with the rest, if there is a rest.
    pub broken: Option<Broken>,
}

impl Head {
    /// Before the first line.
    pub const START: Head = Head {
        number: 0,
        hash: [0; 32],
    };

    fn title(&self) -> String {
        format!("{TITLE} {} {}\n", self.number, hex(&self.hash))
    }

    fn from_title(line: &str) -> Option<Head> {
        let (number, hash) = line.strip_prefix(TITLE)?.trim_start().split_once(' ')?;
        Some(Head {
            number: number.parse().ok()?,
            hash: unhex(hash)?,
        })
    }

    /// Appends a line to `out` and goes on to it.
    fn append(&mut self, time: UnixTime, entry: &Entry<'_>, out: &mut String) {
        let start = out.len();
        self.number = self.number.saturating_add(1);
        // Writing to a string cannot fail.
        let _ = write!(out, "{} {} {} ", self.number, time.0, entry.role);
        match entry.channel {
            Some(channel) => drop(write!(out, "{}", channel.0)),
            None => out.push('-'),
        }
        let _ = write!(out, " {} {} ", entry.message, entry.count);
        push_hex(out, &entry.request);
        match entry.decision {
            Decision::Ok => out.push_str(" ok "),
            Decision::Refused { rule, .. } => drop(write!(out, " {rule} ")),
        }
        push_hex(out, &entry.reply);
        if let Decision::Refused { reason, .. } = entry.decision {
            out.push(' ');
            push_reason(out, reason);
        }
        self.hash = self.after(out.get(start..).unwrap_or_default());
        out.push(' ');
        push_hex(out, &self.hash);
        out.push('\n');
    }

    fn after(&self, body: &str) -> [u8; 32] {
        let hash = Sha256::new_with_prefix(self.hash);
        hash.chain_update(body).finalize().into()
    }

    /// Reads a line and goes on to it, if it is the next.
    fn take<'a>(&mut self, line: &'a str) -> Result<Line<'a>, Broken> {
        let (body, hash) = line.rsplit_once(' ').ok_or(Broken::Form)?;
        let read = parse(body).ok_or(Broken::Form)?;
        let expected = self.number.saturating_add(1);
        if read.number != expected {
            let found = read.number;
            return Err(Broken::Number { expected, found });
        }
        let after = self.after(body);
        if unhex(hash) != Some(after) {
            return Err(Broken::Hash(read.number));
        }
        *self = Head {
            number: read.number,
            hash: after,
        };
        Ok(read)
    }
}

/// Reads a file up to the first line that does not belong, and gives each line to `each`.
///
/// # Errors
/// It is no audit log.
pub fn read<'a>(bytes: &'a [u8], mut each: impl FnMut(Line<'a>)) -> Result<Read, Broken> {
    // What is not text ends where it begins: the rest is broken.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default())
            .unwrap_or_default(),
    };
    let (title, _) = text.split_once('\n').ok_or(Broken::Title)?;
    let first = Head::from_title(title).ok_or(Broken::Title)?;
    let mut read = Read {
        first,
        last: first,
        good: title.len().saturating_add(1),
        broken: None,
    };
    while let Some(rest) = text.get(read.good..)
        && let Some((line, _)) = rest.split_once('\n')
    {
        match read.last.take(line) {
            Ok(taken) => each(taken),
            Err(broken) => {
                read.broken = Some(broken);
                return Ok(read);
            }
        }
        read.good = read.good.saturating_add(line.len()).saturating_add(1);
    }
    if read.good < bytes.len() {
        read.broken = Some(Broken::Form);
    }
    Ok(read)
}

fn parse(body: &str) -> Option<Line<'_>> {
    let mut words = body.splitn(10, ' ');
    let mut word = || words.next();
    let number = word()?.parse().ok()?;
    let time = UnixTime(word()?.parse().ok()?);
    let role = word()?;
    let channel = match word()? {
        "-" => None,
        channel => Some(ChannelDbid(channel.parse().ok()?)),
    };
    let message = word()?;
    let count = word()?.parse().ok()?;
    let request = word()?;
    let decision = word()?;
    let reply = word()?;
    let decision = match (decision, word()) {
        ("ok", None) => Decision::Ok,
        ("ok", Some(_)) | (_, None) => return None,
        (rule, Some(reason)) => Decision::Refused { rule, reason },
    };
    Some(Line {
        number,
        time,
        role,
        channel,
        message,
        count,
        request,
        decision,
        reply,
    })
}

/// One line of printable text, whatever it was.
fn push_reason(out: &mut String, reason: &str) {
    let most = out.len().saturating_add(MAX_REASON);
    for c in reason.chars() {
        if out.len() >= most {
            break;
        }
        out.push(if c.is_control() { '?' } else { c });
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    let digit = |nibble: u8| match nibble {
        0..=9 => char::from(b'0'.saturating_add(nibble)),
        _ => char::from((b'a' - 10).saturating_add(nibble)),
    };
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(64);
    push_hex(&mut out, bytes);
    out
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    bitcoin::hex::FromHex::from_hex(text).ok()
}
