//! What goes wrong on an edge, split by blame.

use std::io;

use crate::codec::{DecodeError, EncodeError};

/// The other end sent what no correct end sends. The edge is of no more use, and the process behind
/// it is broken or hostile.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// The header announces more than is allowed.
    #[error("a frame of {len} bytes, more than the {max} that are allowed")]
    TooLong {
        /// What was announced, in bytes.
        len: usize,
        /// What is allowed, in bytes.
        max: usize,
    },
    /// More file descriptors than a frame may have, or than this process has room for.
    #[error("more file descriptors than a frame may have or than there is room for")]
    TooManyFds,
    /// The frame says that it has descriptors, but they did not come.
    #[error("a frame with {want} file descriptors, of which {have} came")]
    MissingFds {
        /// How many it announces.
        want: usize,
        /// How many there are.
        have: usize,
    },
    /// Descriptors came that no frame announces.
    #[error("{0} file descriptors that no frame announces")]
    StrayFds(usize),
    /// A message that needs a descriptor came without one.
    #[error("the message lacks a file descriptor")]
    NoFd,
    /// The other end closed within a frame.
    #[error("closed within a frame, {0} bytes into it")]
    Cut(usize),
    /// The payload is no such message.
    #[error("not a message of this edge: {0}")]
    Payload(#[from] DecodeError),
}

/// The other end is not the one that this edge was made for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// It is the end of another edge.
    #[error("this is the edge `{ours}`, but the other end says `{theirs}`")]
    Name {
        /// Our edge.
        ours: String,
        /// Theirs.
        theirs: String,
    },
    /// It was built from other messages: one of the two programs is of another version.
    #[error(
        "edge `{edge}`: we have message schema {ours}, the other end {theirs}; \
         the programs are not of the same version"
    )]
    Schema {
        /// Both ends' edge.
        edge: String,
        /// Our schema's hash, in hex.
        ours: String,
        /// Theirs, in hex.
        theirs: String,
    },
    /// The first frame was no hello.
    #[error("edge `{edge}`: the first frame is no hello: {why}")]
    NotHello {
        /// Our edge.
        edge: String,
        /// What it was instead.
        why: String,
    },
}

/// What an end of an edge reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other end closed, between two frames. Not a fault by itself.
    #[error("the other end closed the edge")]
    Closed,
    /// The other end's fault.
    #[error("bad frame: {0}")]
    BadFrame(#[from] BadFrame),
    /// The other end is another program, or the same of another version.
    #[error("{0}")]
    Hello(#[from] HelloError),
    /// The other end does not read, and as much waits for it as may ([`crate::Limits::out`]).
    #[error("{waiting} bytes wait for the other end, which does not read")]
    Full {
        /// What waits, in bytes.
        waiting: usize,
    },
    /// Our own bug: the message cannot be sent.
    #[error("cannot send: {0}")]
    Encode(#[from] EncodeError),
    /// Our own bug: more file descriptors with one message than [`crate::MAX_FDS`].
    #[error("cannot send {0} file descriptors with one message")]
    SendFds(usize),
    /// The system refused.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl Error {
    /// From what the system said while `doing`. That the other end went away is [`Error::Closed`].
    pub(crate) fn io(doing: &'static str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected => Error::Closed,
            _ => Error::Io { doing, error },
        }
    }

    /// Whether the other end merely went away.
    pub fn is_closed(&self) -> bool {
        matches!(self, Error::Closed)
    }
}
