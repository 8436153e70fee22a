//! The receiving half of an edge, whichever way its end waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;

use crate::codec;
use crate::edge::EdgeHello;
use crate::error::{BadFrame, Error};
use crate::fd::{self, Wait};
use crate::frame::{FrameDecoder, MAX_FDS};

/// What one read takes at most, in bytes.
const CHUNK: usize = 64 << 10;
/// Descriptors of frames that have not been taken yet. A correct sender has at most one frame's
/// here when the bytes of one read come to those of an unfinished frame.
const MAX_WAITING_FDS: usize = 4 * MAX_FDS;

thread_local! {
    /// Read into this and then append: an end that waits for its next frame holds no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

#[derive(Debug)]
pub(crate) struct Inbox {
    decoder: FrameDecoder,
    /// Came, and belong to frames not yet taken.
    waiting: VecDeque<OwnedFd>,
    /// Belong to the frame taken last.
    current: VecDeque<OwnedFd>,
    /// The hello still to come.
    expect: Option<EdgeHello>,
    closed: bool,
    failed: bool,
}

impl Inbox {
    pub(crate) fn new(hello: EdgeHello, max: usize) -> Self {
        Inbox {
            decoder: FrameDecoder::new(max),
            waiting: VecDeque::new(),
            current: VecDeque::new(),
            expect: Some(hello),
            closed: false,
            failed: false,
        }
    }

    /// Whether the other end's hello has come and was right.
    pub(crate) fn greeted(&self) -> bool {
        self.expect.is_none()
    }

    /// Reads once, unless there is a frame to take first.
    pub(crate) fn fill(&mut self, socket: BorrowedFd<'_>, wait: Wait) -> io::Result<()> {
        if self.closed || self.failed || self.decoder.is_ready() {
            return Ok(());
        }
        SCRATCH.with_borrow_mut(|buf| {
            let read = match fd::read(socket, buf, &mut self.waiting, wait) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    // It closed without reading all of ours. What it sent before has been read.
                    self.closed = true;
                    return Ok(());
                }
                other => other?,
            };
            self.closed = read.bytes == 0;
            self.failed = read.excess_fds || self.waiting.len() > MAX_WAITING_FDS;
            self.decoder.push(buf.get(..read.bytes).unwrap_or_default());
            Ok(())
        })
    }

    /// The next message, or `None` until more is read. The other end's hello is checked on the way.
    /// Whatever error it is, the next one is [`Error::Closed`].
    pub(crate) fn pop<Rx: DeserializeOwned>(&mut self) -> Result<Option<Rx>, Error> {
        self.pop_seen(|_| ())
    }

    /// The same; `see` gets the message's bytes before they are decoded.
    pub(crate) fn pop_seen<Rx: DeserializeOwned>(
        &mut self,
        see: impl FnOnce(&[u8]),
    ) -> Result<Option<Rx>, Error> {
        if !self.pop_hello()? {
            return Ok(None);
        }
        let popped = match self.payload() {
            Ok(Some(payload)) => {
                see(payload);
                codec::decode(payload)
                    .map(Some)
                    .map_err(|error| BadFrame::from(error).into())
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.settle(popped)
    }

    /// Checks the other end's hello if it is there and has not been checked. Says whether it has.
    pub(crate) fn pop_hello(&mut self) -> Result<bool, Error> {
        let Some(hello) = self.expect else {
            return Ok(true);
        };
        let checked = match self.payload() {
            Ok(Some(payload)) => hello.check(payload).map(|()| true).map_err(Error::from),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        if let Ok(true) = checked {
            self.expect = None;
        }
        self.settle(checked)
    }

    /// The next frame's payload; its descriptors become the current ones.
    fn payload(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.failed {
            return Err(BadFrame::TooManyFds.into());
        }
        if !self.decoder.is_ready() {
            return if self.closed {
                Err(self.end())
            } else {
                Ok(None)
            };
        }
        let Some(frame) = self.decoder.next_frame()? else {
            return Ok(None);
        };
        let have = self.waiting.len();
        if have < frame.fds {
            return Err(BadFrame::MissingFds {
                want: frame.fds,
                have,
            }
            .into());
        }
        self.current.clear();
        self.current.extend(self.waiting.drain(..frame.fds));
        Ok(Some(frame.payload))
    }

    /// After an error nothing more is taken from the other end.
    fn settle<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.closed = true;
            self.failed = false;
            self.waiting.clear();
            self.decoder = FrameDecoder::new(0);
        }
        result
    }

    /// The next descriptor of the message taken last.
    pub(crate) fn take_fd(&mut self) -> Result<OwnedFd, Error> {
        self.current
            .pop_front()
            .ok_or(Error::BadFrame(BadFrame::NoFd))
    }

    /// All that are left of them.
    pub(crate) fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.current.drain(..).collect()
    }

    /// What it means that the other end has closed now.
    fn end(&self) -> Error {
        match (self.decoder.buffered(), self.waiting.len()) {
            (0, 0) => Error::Closed,
            (0, stray) => BadFrame::StrayFds(stray).into(),
            (part, _) => BadFrame::Cut(part).into(),
        }
    }
}
