//! The end of an edge for a daemon without a runtime: hsmd, channeld, onchaind.
//!
//! Two ways to use it. A daemon that serves one other end may wait for it: [`Conn::recv`],
//! [`Conn::call`]. A daemon that serves many (hsmd) must wait for none: it polls, and for an end
//! that is readable calls [`Conn::fill`] once and [`Conn::recv_buffered`] until there is nothing;
//! it answers with [`Conn::queue`] and [`Conn::flush_nonblocking`], polls for writing while
//! [`Conn::wants_write`], and drops an end that does not read ([`Error::Full`]).
//!
//! The hello needs no step of its own. [`Conn::new`] sends ours, and the other end's is checked
//! before the first message is handed out.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Limits;
use crate::edge::{Edge, EdgeHello};
use crate::error::Error;
use crate::fd::Wait;
use crate::inbox::Inbox;
use crate::outbox::Outbox;

/// The end of edge `E` that the parent holds, or who asks.
pub type UpperConn<E> = Conn<<E as Edge>::Down, <E as Edge>::Up>;
/// The end of edge `E` that the child holds, or who answers.
pub type LowerConn<E> = Conn<<E as Edge>::Up, <E as Edge>::Down>;

/// From this many bytes on, [`Conn::send`] writes without being asked to.
const COALESCE: usize = 64 << 10;

/// One end of an edge that sends `Tx` and receives `Rx`.
#[derive(Debug)]
pub struct Conn<Tx, Rx> {
    socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
    limits: Limits,
    types: PhantomData<fn(Tx) -> Rx>,
}

impl<Tx, Rx> AsFd for Conn<Tx, Rx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<Tx: Serialize, Rx: DeserializeOwned> Conn<Tx, Rx> {
    /// Takes over a socket and sends our hello on it. Does not wait for the other end's.
    ///
    /// # Errors
    /// The other end is closed.
    pub fn new(socket: impl Into<OwnedFd>, hello: EdgeHello) -> Result<Self, Error> {
        Self::with_limits(socket, hello, Limits::default())
    }

    /// As [`Conn::new`], with other limits.
    ///
    /// # Errors
    /// As [`Conn::new`].
    pub fn with_limits(
        socket: impl Into<OwnedFd>,
        hello: EdgeHello,
        limits: Limits,
    ) -> Result<Self, Error> {
        let inbox = Inbox::new(hello, limits.frame);
        let outbox = Outbox::with_hello(&hello)?;
        let mut conn = Conn {
            socket: socket.into(),
            inbox,
            outbox,
            limits,
            types: PhantomData,
        };
        conn.flush_nonblocking()?;
        Ok(conn)
    }

    /// Waits until the other end's hello has come and is right. Optional: see the module.
    ///
    /// # Errors
    /// [`Error::Hello`]; closed; a bad frame.
    pub fn hello(&mut self) -> Result<(), Error> {
        self.flush()?;
        while !self.inbox.pop_hello()? {
            self.fill_waiting()?;
        }
        Ok(())
    }

    /// Whether the other end's hello has come and was right.
    pub fn greeted(&self) -> bool {
        self.inbox.greeted()
    }

    /// Adds a message to those that [`Conn::flush`] writes, and writes when they are many, waiting
    /// for the other end to read.
    ///
    /// # Errors
    /// The message cannot be encoded; closed.
    pub fn send(&mut self, tx: &Tx) -> Result<(), Error> {
        self.send_with_fds(tx, Vec::new())
    }

    /// As [`Conn::send`], with a file descriptor that the other end gets with this message.
    ///
    /// # Errors
    /// As [`Conn::send`].
    pub fn send_with_fd(&mut self, tx: &Tx, fd: OwnedFd) -> Result<(), Error> {
        self.send_with_fds(tx, vec![fd])
    }

    /// As [`Conn::send`], with at most [`crate::MAX_FDS`] descriptors.
    ///
    /// # Errors
    /// As [`Conn::send`]; too many descriptors.
    pub fn send_with_fds(&mut self, tx: &Tx, fds: Vec<OwnedFd>) -> Result<(), Error> {
        self.outbox.put(tx, fds)?;
        if self.outbox.waiting() >= COALESCE {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes all that waits, waiting for the other end to read.
    ///
    /// # Errors
    /// Closed.
    pub fn flush(&mut self) -> Result<(), Error> {
        loop {
            match self.outbox.write(self.socket.as_fd(), Wait::Block) {
                Ok(true) => return Ok(()),
                // The socket is set not to wait: wait beside it.
                Ok(false) => wait_for(self.socket.as_fd(), PollFlags::POLLOUT, None).map(|_| ())?,
                Err(error) => return Err(Error::io("write to an edge", error)),
            }
        }
    }

    /// Adds a message to those that [`Conn::flush_nonblocking`] writes. Never waits.
    ///
    /// # Errors
    /// [`Error::Full`] if [`Limits::out`] bytes wait already: the other end does not read, drop
    /// it. The message cannot be encoded.
    pub fn queue(&mut self, tx: &Tx) -> Result<(), Error> {
        self.queue_with_fds(tx, Vec::new())
    }

    /// As [`Conn::queue`], with at most [`crate::MAX_FDS`] descriptors.
    ///
    /// # Errors
    /// As [`Conn::queue`]; too many descriptors.
    pub fn queue_with_fds(&mut self, tx: &Tx, fds: Vec<OwnedFd>) -> Result<(), Error> {
        self.queue_seen(tx, fds, |_| ())
    }

    /// As [`Conn::queue_with_fds`]; `see` gets the message's bytes as they go out.
    ///
    /// # Errors
    /// As [`Conn::queue_with_fds`].
    pub fn queue_seen(
        &mut self,
        tx: &Tx,
        fds: Vec<OwnedFd>,
        see: impl FnOnce(&[u8]),
    ) -> Result<(), Error> {
        let waiting = self.outbox.waiting();
        if waiting >= self.limits.out {
            return Err(Error::Full { waiting });
        }
        self.outbox.put_seen(tx, fds, see)
    }

    /// Writes what the socket takes without waiting. Says whether nothing is left.
    ///
    /// # Errors
    /// Closed.
    pub fn flush_nonblocking(&mut self) -> Result<bool, Error> {
        self.outbox
            .write(self.socket.as_fd(), Wait::Never)
            .map_err(|error| Error::io("write to an edge", error))
    }

    /// Whether anything waits to be written.
    pub fn wants_write(&self) -> bool {
        self.outbox.waiting() > 0
    }

    /// The next message, waiting for it. Writes first what waits to be written.
    ///
    /// # Errors
    /// [`Error::Closed`] if the other end closed between two frames; [`Error::BadFrame`] and
    /// [`Error::Hello`] are its fault.
    pub fn recv(&mut self) -> Result<Rx, Error> {
        self.flush()?;
        loop {
            if let Some(rx) = self.inbox.pop()? {
                return Ok(rx);
            }
            self.fill_waiting()?;
        }
    }

    /// As [`Conn::recv`], with the descriptors that belong to the message.
    ///
    /// # Errors
    /// As [`Conn::recv`].
    pub fn recv_with_fds(&mut self) -> Result<(Rx, Vec<OwnedFd>), Error> {
        let rx = self.recv()?;
        Ok((rx, self.inbox.take_fds()))
    }

    /// As [`Conn::recv`], but `None` if there is no whole message after `timeout`.
    ///
    /// # Errors
    /// As [`Conn::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Rx>, Error> {
        self.flush()?;
        let until = Instant::now() + timeout;
        loop {
            if let Some(rx) = self.inbox.pop()? {
                return Ok(Some(rx));
            }
            let left = until.saturating_duration_since(Instant::now());
            if !wait_for(self.socket.as_fd(), PollFlags::POLLIN, Some(left))? {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// Sends a message and waits for the next that comes.
    ///
    /// # Errors
    /// As [`Conn::send`] and [`Conn::recv`].
    pub fn call(&mut self, tx: &Tx) -> Result<Rx, Error> {
        self.send(tx)?;
        self.recv()
    }

    /// Reads once what is there, without waiting; nothing while there is a frame to take.
    ///
    /// # Errors
    /// The system refused. That the other end closed is said by [`Conn::recv_buffered`], after the
    /// last message.
    pub fn fill(&mut self) -> Result<(), Error> {
        match self.inbox.fill(self.socket.as_fd(), Wait::Never) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other.map_err(|error| Error::io("read from an edge", error)),
        }
    }

    /// The next message of what has been read, or `None`. Does not read.
    ///
    /// # Errors
    /// As [`Conn::recv`].
    pub fn recv_buffered(&mut self) -> Result<Option<Rx>, Error> {
        self.inbox.pop()
    }

    /// As [`Conn::recv_buffered`]; `see` gets the message's bytes as they came.
    ///
    /// # Errors
    /// As [`Conn::recv`].
    pub fn recv_buffered_seen(&mut self, see: impl FnOnce(&[u8])) -> Result<Option<Rx>, Error> {
        self.inbox.pop_seen(see)
    }

    /// The next message if it is there, reading but not waiting. Who calls this until it is `None`
    /// lets a busy end keep it for as long as it likes: see the module.
    ///
    /// # Errors
    /// As [`Conn::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Rx>, Error> {
        if let Some(rx) = self.inbox.pop()? {
            return Ok(Some(rx));
        }
        self.fill()?;
        self.inbox.pop()
    }

    /// The next descriptor of the message received last. What is not taken is closed when the next
    /// message is received.
    ///
    /// # Errors
    /// [`crate::BadFrame::NoFd`]: it came without, or all have been taken.
    pub fn take_fd(&mut self) -> Result<OwnedFd, Error> {
        self.inbox.take_fd()
    }

    fn fill_waiting(&mut self) -> Result<(), Error> {
        match self.inbox.fill(self.socket.as_fd(), Wait::Block) {
            // The socket is set not to wait: wait beside it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for(self.socket.as_fd(), PollFlags::POLLIN, None).map(|_| ())
            }
            other => other.map_err(|error| Error::io("read from an edge", error)),
        }
    }
}

/// Waits until the socket is ready for `what`, or broken. Says whether it is, or the time is up.
fn wait_for(
    socket: BorrowedFd<'_>,
    what: PollFlags,
    timeout: Option<Duration>,
) -> Result<bool, Error> {
    // Rounded up: a wait of less than a millisecond is not a busy loop.
    let timeout = timeout.map(|left| left.saturating_add(Duration::from_micros(999)));
    let timeout = match timeout {
        None => PollTimeout::NONE,
        Some(left) => PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
    };
    match poll(&mut [PollFd::new(socket, what)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(Error::io("wait for an edge", error.into())),
    }
}
