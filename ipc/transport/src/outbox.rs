//! The sending half of an edge, whichever way its end waits.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::Serialize;

use crate::codec;
use crate::edge::EdgeHello;
use crate::error::Error;
use crate::fd::{self, Wait};
use crate::frame::{self, HEADER, MAX_FDS};

/// An empty outbox gives back what it holds above this, in bytes.
const KEEP: usize = 128 << 10;

/// Frames that wait to be written, and the descriptors that go with them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buf: Vec<u8>,
    /// What of `buf` has been written.
    start: usize,
    /// Where in `buf` a frame with descriptors begins.
    fds: VecDeque<(usize, Vec<OwnedFd>)>,
}

impl Outbox {
    /// An outbox whose first frame is our hello.
    pub(crate) fn with_hello(hello: &EdgeHello) -> Result<Self, Error> {
        let mut outbox = Outbox::default();
        outbox.put(&hello.frame(), Vec::new())?;
        Ok(outbox)
    }

    /// How many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.buf.len() - self.start
    }

    /// Appends a frame. Nothing has changed if it fails.
    pub(crate) fn put<Tx: Serialize>(&mut self, tx: &Tx, fds: Vec<OwnedFd>) -> Result<(), Error> {
        self.put_seen(tx, fds, |_| ())
    }

    /// The same; `see` gets the message's bytes once they are encoded.
    pub(crate) fn put_seen<Tx: Serialize>(
        &mut self,
        tx: &Tx,
        fds: Vec<OwnedFd>,
        see: impl FnOnce(&[u8]),
    ) -> Result<(), Error> {
        if fds.len() > MAX_FDS {
            return Err(Error::SendFds(fds.len()));
        }
        let at = self.buf.len();
        self.buf.extend_from_slice(&[0; HEADER]);
        let encoded = codec::encode_into(tx, &mut self.buf);
        let header = encoded
            .as_ref()
            .ok()
            .and_then(|len| frame::header(*len, fds.len()));
        match (
            header,
            self.buf
                .get_mut(at..)
                .and_then(|rest| rest.first_chunk_mut::<HEADER>()),
        ) {
            (Some(header), Some(place)) => *place = header,
            _ => {
                self.buf.truncate(at);
                // encode_into keeps within a frame's limit: no header means that it has failed.
                return encoded.map(|_| ()).map_err(Error::from);
            }
        }
        see(self.buf.get(at + HEADER..).unwrap_or_default());
        if !fds.is_empty() {
            self.fds.push_back((at, fds));
        }
        Ok(())
    }

    /// Writes until nothing waits or, if it may not wait, the socket takes no more. Says whether
    /// nothing waits.
    pub(crate) fn write(&mut self, socket: BorrowedFd<'_>, wait: Wait) -> io::Result<bool> {
        while self.waiting() > 0 {
            let mut marks = self.fds.iter();
            let first = marks.next();
            let now = first.filter(|(at, _)| *at == self.start);
            // Up to the next frame that has descriptors of its own.
            let next = if now.is_some() { marks.next() } else { first };
            let end = next.map_or(self.buf.len(), |(at, _)| *at);
            let bytes = self.buf.get(self.start..end).unwrap_or_default();
            let with = now.map_or(&[][..], |(_, fds)| fds);
            match fd::write(socket, bytes, with, wait) {
                Ok(sent) => {
                    if now.is_some() {
                        self.fds.pop_front();
                    }
                    self.start += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.compact();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.clear();
        Ok(true)
    }

    /// Forgets what waits, closing its descriptors.
    pub(crate) fn clear(&mut self) {
        self.fds.clear();
        self.start = 0;
        if self.buf.capacity() > KEEP {
            self.buf = Vec::new();
        } else {
            self.buf.clear();
        }
    }

    /// Takes all that waits, leaving `empty` to be filled.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    pub(crate) fn swap(&mut self, empty: &mut Outbox) {
        mem::swap(self, empty);
    }

    /// Moves what waits to the front once more than half has gone: linear in all.
    fn compact(&mut self) {
        if self.start < self.buf.len() / 2 {
            return;
        }
        self.buf.drain(..self.start);
        for (at, _) in &mut self.fds {
            *at = at.saturating_sub(self.start);
        }
        self.start = 0;
    }
}
