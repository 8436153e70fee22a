//! The end of an edge for a daemon that runs on tokio.
//!
//! Sending is two steps. A [`Sender`] puts the encoded frame into a bounded buffer; one writer task
//! for the edge writes all that has gathered there with one call, while the next gathers. So many
//! small frames cost few calls, and who sends waits only for the limit. Receiving reads up to
//! 64 KiB at a time and hands out the frames one by one.
//!
//! The hello needs no step of its own: ours goes out first, the other end's is checked before the
//! first message is handed out.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{Shutdown, shutdown};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::Limits;
use crate::edge::{Edge, EdgeHello};
use crate::error::Error;
use crate::fd::{self, Wait};
use crate::inbox::Inbox;
use crate::outbox::Outbox;

/// The end of edge `E` that the parent holds, or who asks.
pub type UpperConn<E> = AsyncConn<<E as Edge>::Down, <E as Edge>::Up>;
/// The end of edge `E` that the child holds, or who answers.
pub type LowerConn<E> = AsyncConn<<E as Edge>::Up, <E as Edge>::Down>;

/// Waits until a descriptor is readable: for what is no edge, as a pidfd. Call it within a tokio
/// runtime that drives I/O.
///
/// # Errors
/// The system refused to watch it.
pub async fn until_readable(fd: OwnedFd) -> io::Result<()> {
    fd::watch(fd)?.readable().await.map(|_| ())
}

/// One end of an edge that sends `Tx` and receives `Rx`.
#[derive(Debug)]
pub struct AsyncConn<Tx, Rx> {
    sender: Sender<Tx>,
    receiver: Receiver<Rx>,
}

impl<Tx: Serialize, Rx: DeserializeOwned> AsyncConn<Tx, Rx> {
    /// Takes over a socket, sends our hello on it and starts the writer task. Call it within a
    /// tokio runtime that drives I/O.
    ///
    /// # Errors
    /// The system refused to watch the socket.
    pub fn new(socket: impl Into<OwnedFd>, hello: EdgeHello) -> Result<Self, Error> {
        Self::with_limits(socket, hello, Limits::default())
    }

    /// As [`AsyncConn::new`], with other limits. What waits to be written may be twice
    /// [`Limits::out`]: what gathers, and what is being written.
    ///
    /// # Errors
    /// As [`AsyncConn::new`].
    pub fn with_limits(
        socket: impl Into<OwnedFd>,
        hello: EdgeHello,
        limits: Limits,
    ) -> Result<Self, Error> {
        let socket = fd::watch(socket.into()).map_err(|error| Error::io("watch an edge", error))?;
        let socket = Arc::new(socket);
        let state = State {
            outbox: Outbox::with_hello(&hello)?,
            busy: false,
            end: End::Open,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            limit: limits.out,
            work: Notify::new(),
            room: Notify::new(),
        });
        tokio::spawn(write_all(Arc::clone(&socket), Arc::clone(&shared)));
        Ok(AsyncConn {
            sender: Sender {
                handle: Arc::new(Handle { shared }),
                types: PhantomData,
            },
            receiver: Receiver {
                socket,
                inbox: Inbox::new(hello, limits.frame),
                types: PhantomData,
            },
        })
    }

    /// Waits until the other end's hello has come and is right. Optional: see the module.
    ///
    /// # Errors
    /// [`Error::Hello`]; closed; a bad frame.
    pub async fn hello(&mut self) -> Result<(), Error> {
        self.receiver.hello().await
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send(&self, tx: &Tx) -> Result<(), Error> {
        self.sender.send(tx).await
    }

    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub async fn recv(&mut self) -> Result<Rx, Error> {
        self.receiver.recv().await
    }

    /// The two halves. They may go to different tasks.
    pub fn split(self) -> (Sender<Tx>, Receiver<Rx>) {
        (self.sender, self.receiver)
    }
}

/// The sending half; clones send on the same edge. Each clone's messages keep their order.
///
/// When the last clone is dropped, what waits is written and the other end then finds the edge
/// closed.
#[derive(Debug)]
pub struct Sender<Tx> {
    handle: Arc<Handle>,
    types: PhantomData<fn(Tx)>,
}

impl<Tx> Clone for Sender<Tx> {
    fn clone(&self) -> Self {
        Sender {
            handle: Arc::clone(&self.handle),
            types: PhantomData,
        }
    }
}

impl<Tx: Serialize> Sender<Tx> {
    /// Hands a message over to the writer, waiting while [`Limits::out`] bytes wait already. When
    /// it returns the message has not necessarily been written. Dropped while it waits, it has sent
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Closed`]: the other end is gone. The message cannot be encoded.
    pub async fn send(&self, tx: &Tx) -> Result<(), Error> {
        self.send_with_fds(tx, Vec::new()).await
    }

    /// As [`Sender::send`], with at most [`crate::MAX_FDS`] descriptors that the other end gets
    /// with this message.
    ///
    /// # Errors
    /// As [`Sender::send`]; too many descriptors.
    pub async fn send_with_fds(&self, tx: &Tx, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let shared = &self.handle.shared;
        loop {
            // From here on no call of notify_waiters is missed.
            let room = shared.room.notified();
            {
                let mut state = shared.lock();
                state.check_open()?;
                if state.outbox.waiting() < shared.limit {
                    return shared.put(&mut state, tx, fds);
                }
            }
            room.await;
        }
    }

    /// Hands a message over to the writer without waiting.
    ///
    /// # Errors
    /// As [`Sender::send`]; [`Error::Full`] where that would wait.
    pub fn try_send(&self, tx: &Tx) -> Result<(), Error> {
        self.try_send_with_fds(tx, Vec::new())
    }

    /// As [`Sender::try_send`], with at most [`crate::MAX_FDS`] descriptors.
    ///
    /// # Errors
    /// As [`Sender::try_send`]; too many descriptors.
    pub fn try_send_with_fds(&self, tx: &Tx, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let shared = &self.handle.shared;
        let mut state = shared.lock();
        state.check_open()?;
        let waiting = state.outbox.waiting();
        if waiting >= shared.limit {
            return Err(Error::Full { waiting });
        }
        shared.put(&mut state, tx, fds)
    }

    /// Waits until all that was sent has been given to the system, so that the process may end.
    ///
    /// # Errors
    /// [`Error::Closed`]: the other end is gone.
    pub async fn flush(&self) -> Result<(), Error> {
        let shared = &self.handle.shared;
        loop {
            let room = shared.room.notified();
            {
                let state = shared.lock();
                state.check_open()?;
                if state.outbox.waiting() == 0 && !state.busy {
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Whether writing has failed: the other end is gone. (That it is gone shows first at the
    /// [`Receiver`].)
    pub fn is_closed(&self) -> bool {
        self.handle.shared.lock().check_open().is_err()
    }
}

/// The receiving half.
///
/// When it is dropped the other end can no longer write.
#[derive(Debug)]
pub struct Receiver<Rx> {
    socket: Arc<AsyncFd<OwnedFd>>,
    inbox: Inbox,
    types: PhantomData<fn() -> Rx>,
}

impl<Rx: DeserializeOwned> Receiver<Rx> {
    /// The next message. Dropped while it waits, it has lost nothing.
    ///
    /// # Errors
    /// [`Error::Closed`] if the other end closed between two frames; [`Error::BadFrame`] and
    /// [`Error::Hello`] are its fault.
    pub async fn recv(&mut self) -> Result<Rx, Error> {
        loop {
            if let Some(rx) = self.inbox.pop()? {
                return Ok(rx);
            }
            self.fill().await?;
        }
    }

    /// As [`Receiver::recv`], with the descriptors that belong to the message.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub async fn recv_with_fds(&mut self) -> Result<(Rx, Vec<OwnedFd>), Error> {
        let rx = self.recv().await?;
        Ok((rx, self.inbox.take_fds()))
    }

    /// The next message of what has been read, or `None`. Does not read: for handling together what
    /// came together.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn recv_buffered(&mut self) -> Result<Option<Rx>, Error> {
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

    /// Waits until the other end's hello has come and is right. Optional: see the module.
    ///
    /// # Errors
    /// [`Error::Hello`]; closed; a bad frame.
    pub async fn hello(&mut self) -> Result<(), Error> {
        while !self.inbox.pop_hello()? {
            self.fill().await?;
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let failed = |error| Error::io("read from an edge", error);
        loop {
            let mut ready = self.socket.readable().await.map_err(failed)?;
            let filled = ready.try_io(|socket| self.inbox.fill(socket.as_fd(), Wait::Never));
            match filled {
                Ok(filled) => return filled.map_err(failed),
                Err(_would_block) => {}
            }
        }
    }
}

impl<Rx> Drop for Receiver<Rx> {
    fn drop(&mut self) {
        // Fails only if the other end is gone already.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
    }
}

/// What the clones of a sender share; its end tells the writer.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.end == End::Open {
            state.end = End::Finishing;
        }
        drop(state);
        self.shared.work.notify_one();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    limit: usize,
    /// For the writer: something waits, or the end has come.
    work: Notify,
    /// For senders: the writer has taken what waited, or the end has come.
    room: Notify,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    /// The writer is writing what it took.
    busy: bool,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Nobody will send any more: write the rest.
    Finishing,
    /// Writing has failed.
    Closed,
}

impl State {
    fn check_open(&self) -> Result<(), Error> {
        match self.end {
            End::Open => Ok(()),
            End::Finishing | End::Closed => Err(Error::Closed),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put<Tx: Serialize>(
        &self,
        state: &mut State,
        tx: &Tx,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Error> {
        let idle = state.outbox.waiting() == 0;
        state.outbox.put(tx, fds)?;
        if idle {
            self.work.notify_one();
        }
        Ok(())
    }
}

/// The writer task: lives until nobody sends any more and all is written, or writing fails.
async fn write_all(socket: Arc<AsyncFd<OwnedFd>>, shared: Arc<Shared>) {
    let mut batch = Outbox::default();
    loop {
        let (idle, end) = {
            let mut state = shared.lock();
            state.outbox.swap(&mut batch);
            state.busy = batch.waiting() > 0;
            (!state.busy, state.end)
        };
        shared.room.notify_waiters();
        match (idle, end) {
            (true, End::Open) => shared.work.notified().await,
            (true, End::Finishing) => break,
            (_, End::Closed) => return,
            (false, End::Open | End::Finishing) => {
                if write_batch(&socket, &mut batch).await.is_err() {
                    let mut state = shared.lock();
                    state.outbox.clear();
                    state.busy = false;
                    state.end = End::Closed;
                    drop(state);
                    shared.room.notify_waiters();
                    return;
                }
                // Let others add to the next batch, and run at all.
                tokio::task::yield_now().await;
            }
        }
    }
    // Fails only if the other end is gone already.
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
}

async fn write_batch(socket: &AsyncFd<OwnedFd>, batch: &mut Outbox) -> io::Result<()> {
    // A socket is writable most of the time: try before asking.
    while !batch.write(socket.get_ref().as_fd(), Wait::Never)? {
        let mut ready = socket.writable().await?;
        ready.clear_ready();
    }
    Ok(())
}
