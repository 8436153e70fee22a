//! The log edge: a daemon's log records on their way to lightningd. One way only, after the hellos.
//!
//! A daemon must not stop because its log is not read, so [`LogSink`] never waits: what does not fit
//! is dropped and counted, and the next record that does fit says how many were lost.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::Limits;
use crate::blocking::Conn;
use crate::edge::{Edge, EdgeHello};
use crate::error::Error;

/// The longest message of a record, in bytes.
pub const MAX_MESSAGE: usize = 4096;
/// The longest target, name of a field or value of a field, in bytes.
pub const MAX_FIELD: usize = 512;
/// The most fields of a record.
pub const MAX_FIELDS: usize = 16;
/// The longest record on the wire, in bytes.
const MAX_RECORD: usize = 32 << 10;
/// What a sink holds for a reader that does not read, in bytes.
const BUFFER: usize = 256 << 10;

/// The log edge. The child's end sends; nothing goes down.
#[derive(Debug)]
pub struct LogEdge;

impl Edge for LogEdge {
    const NAME: &'static str = "log";
    type Down = ();
    type Up = LogRecord;
}

/// The hello of both ends of a log edge.
pub const HELLO: EdgeHello = EdgeHello::of::<LogEdge>(*b"LogRecord, first layout ........");

/// The limits that lightningd gives its end of a log edge: `Conn::with_limits` or
/// `AsyncConn::with_limits`.
pub const LIMITS: Limits = Limits {
    frame: MAX_RECORD,
    out: BUFFER,
};

/// How much a record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Act now or report.
    Error,
    /// Somebody misbehaved.
    Warn,
    /// For the owner.
    Info,
    /// For the developer.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// All, the most important first.
    pub const ALL: [Level; 5] = [
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];

    /// Its name, as on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// One line of a daemon's log. What is longer than its limit has been cut.
///
/// It comes from a process that is possibly compromised: the text may contain anything, line ends
/// and terminal sequences too, and is to be escaped before it is written anywhere. It has no time:
/// the receiver's clock counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// How much it matters.
    pub level: Level,
    /// The part of the program that it comes from, as `channeld::commit`.
    pub target: String,
    /// The fields of the spans that it lies in, outermost first (`peer`, `channel`), then its own.
    pub fields: Vec<(String, String)>,
    /// The text.
    pub message: String,
    /// How many records before this one were lost.
    pub lost: u64,
}

impl LogRecord {
    /// A record without fields.
    pub fn new(level: Level, target: &str, message: &str) -> Self {
        let (target, message) = (clip(target, MAX_FIELD), clip(message, MAX_MESSAGE));
        LogRecord {
            level,
            target,
            fields: Vec::new(),
            message,
            lost: 0,
        }
    }

    /// Adds a field, unless there are too many.
    pub fn field(&mut self, name: &str, value: &str) {
        if self.fields.len() < MAX_FIELDS {
            self.fields
                .push((clip(name, MAX_FIELD), clip(value, MAX_FIELD)));
        }
    }
}

/// The beginning of `text`, of at most `max` bytes and whole characters.
fn clip(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// Where a daemon's log records go. Shared by all its threads; never waits for the reader.
#[derive(Debug)]
pub struct LogSink {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    conn: Conn<LogRecord, ()>,
    lost: u64,
}

impl LogSink {
    /// Takes over the child's end of a log edge.
    ///
    /// # Errors
    /// The other end is closed.
    pub fn new(fd: OwnedFd) -> Result<Self, Error> {
        let conn = Conn::with_limits(fd, HELLO, LIMITS)?;
        Ok(LogSink {
            state: Mutex::new(State { conn, lost: 0 }),
        })
    }

    /// Sends a record, or counts it as lost.
    pub fn write(&self, record: LogRecord) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(record);
    }

    /// As [`LogSink::write`], but gives the record up if another call is under way: for a panic
    /// hook, which may have interrupted one on its own thread.
    pub fn try_write(&self, record: LogRecord) {
        if let Ok(mut state) = self.state.try_lock() {
            state.write(record);
        }
    }

    /// Waits until the reader has taken all, or for `timeout` at most. For the end of the process.
    pub fn drain(&self, timeout: Duration) {
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        while let Ok(false) = state.conn.flush_nonblocking() {
            let ready = poll(
                &mut [PollFd::new(state.conn.as_fd(), PollFlags::POLLOUT)],
                PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
            );
            if !matches!(ready, Ok(1..)) {
                return;
            }
        }
    }
}

impl State {
    fn write(&mut self, mut record: LogRecord) {
        // Whether it is full or closed, queueing tells.
        let _ = self.conn.flush_nonblocking();
        record.lost = self.lost;
        match self.conn.queue(&record) {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost = self.lost.saturating_add(1),
        }
        let _ = self.conn.flush_nonblocking();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocking::UpperConn;

    fn edge() -> (LogSink, UpperConn<LogEdge>) {
        let (child, parent) = crate::pair().unwrap();
        let reader = Conn::with_limits(parent, HELLO, LIMITS).unwrap();
        (LogSink::new(child).unwrap(), reader)
    }

    #[test]
    fn records_arrive_as_they_were_sent() {
        let (sink, mut reader) = edge();
        let mut record = LogRecord::new(Level::Warn, "channeld::commit", "too slow");
        record.field("peer", "02ab");
        record.field("channel", "7");
        sink.write(record.clone());
        assert_eq!(reader.recv().unwrap(), record);
        drop(sink);
        assert!(reader.recv().unwrap_err().is_closed());
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nobody_and_later_learns_how_many_were_lost() {
        let (sink, mut reader) = edge();
        let long = "x".repeat(MAX_MESSAGE);
        let written = 1000;
        for _ in 0..written {
            sink.write(LogRecord::new(Level::Info, "t", &long));
        }
        // The first record that fits again says what is missing before it.
        let mut read = 0;
        while reader
            .recv_timeout(Duration::ZERO)
            .unwrap()
            .is_some_and(|record| {
                assert_eq!(record.lost, 0);
                true
            })
        {
            read += 1;
            sink.drain(Duration::ZERO);
        }
        assert!(read > 0 && read < written, "{read}");
        sink.write(LogRecord::new(Level::Info, "t", "again"));
        let again = reader.recv().unwrap();
        assert_eq!(
            (again.message.as_str(), again.lost),
            ("again", written - read)
        );
        sink.write(LogRecord::new(Level::Info, "t", "and again"));
        assert_eq!(reader.recv().unwrap().lost, 0);
    }

    #[test]
    fn a_reader_that_is_gone_stops_nobody() {
        let (sink, reader) = edge();
        drop(reader);
        for _ in 0..10_000 {
            sink.write(LogRecord::new(Level::Info, "t", "m"));
        }
        sink.drain(Duration::from_secs(600));
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_whole_character() {
        let mut record = LogRecord::new(Level::Info, "t", &"\u{20ac}".repeat(MAX_MESSAGE));
        assert_eq!(record.message.len(), MAX_MESSAGE / 3 * 3);
        for n in 0..2 * MAX_FIELDS {
            record.field(&n.to_string(), &"\u{20ac}".repeat(MAX_FIELD));
        }
        assert_eq!(record.fields.len(), MAX_FIELDS);
        assert!(crate::codec::encode(&record).unwrap().len() <= MAX_RECORD);
    }

    #[test]
    fn the_longest_record_fits_its_limit() {
        let long = "x".repeat(MAX_MESSAGE);
        let mut record = LogRecord::new(Level::Info, &long, &long);
        (0..MAX_FIELDS).for_each(|_| record.field(&long, &long));
        assert!(crate::codec::encode(&record).unwrap().len() <= MAX_RECORD);
    }

    #[test]
    fn levels_have_their_names() {
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(level));
        }
        assert_eq!(Level::from_name("INFO"), None);
    }
}
