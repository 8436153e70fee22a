//! Connections: reads requests, runs their commands side by side, writes the replies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::context::{Context, Line};
use crate::error::{RpcError, code};
use crate::framing::Framing;
use crate::registry::{Outcome, Registry};
use crate::request::{Malformed, Request, reply_line};

/// Connections at a time, more than a channel can have HTLCs of both sides together: a client may
/// hold one for each payment. One more is told so and closed.
pub const MAX_CONNECTIONS: usize = 1024;
/// Commands that run at a time for one connection. Its next request is not read until one is done.
pub const MAX_IN_FLIGHT: usize = 1024;
/// Commands that run at a time for all connections. One more is refused.
pub const MAX_IN_FLIGHT_TOGETHER: usize = 16 * 1024;
/// Replies and notifications that wait for a client to read. Commands then wait to hand over their
/// replies; notifications are dropped.
pub const MAX_QUEUED_LINES: usize = 64;
/// Bytes that any connection may keep here of a request that is not whole. Of the longer ones only
/// [`MAX_LONG_REQUESTS`] are read at a time; the others wait, unread, for their turn.
pub const SHORT_REQUEST: usize = 64 * 1024;
/// Requests above [`SHORT_REQUEST`] that are read at a time.
pub const MAX_LONG_REQUESTS: usize = 8;

const READ_CHUNK: usize = 16 * 1024;
/// How long a connection that is turned away may take to read why.
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);
/// Pause after a failed accept (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No new requests; running commands may finish.
    Draining,
    /// Commands that still run are answered for.
    Closing,
}

/// A running RPC server. Dropping it stops it at once; [`Server::shutdown`] lets it finish.
#[derive(Debug)]
pub struct Server {
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
    /// Yields None once every connection has gone.
    gone: mpsc::Receiver<()>,
}

/// What every connection shares.
#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    phase: watch::Receiver<Phase>,
    in_flight: Arc<Semaphore>,
    long_requests: Arc<Semaphore>,
    /// Held while a connection lives.
    _alive: mpsc::Sender<()>,
}

impl Server {
    /// Serves `registry` on `listener` (see [`crate::bind`]). Must be called within a tokio runtime.
    #[must_use]
    pub fn start(listener: UnixListener, registry: Arc<Registry>) -> Server {
        let (phase, phases) = watch::channel(Phase::Serving);
        let (alive, gone) = mpsc::channel(1);
        let shared = Shared {
            registry,
            phase: phases,
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT_TOGETHER)),
            long_requests: Arc::new(Semaphore::new(MAX_LONG_REQUESTS)),
            _alive: alive,
        };
        Server {
            phase,
            accepting: tokio::spawn(accept(listener, shared)),
            gone,
        }
    }

    /// Takes no more requests, gives running commands `grace` to finish, answers the others with
    /// LIGHTNINGD_SHUTDOWN (-5), and returns when every reply is written or its client is gone,
    /// at the latest after twice `grace`. The socket's file stays.
    pub async fn shutdown(mut self, grace: Duration) {
        self.phase.send_replace(Phase::Draining);
        if tokio::time::timeout(grace, self.gone.recv()).await.is_err() {
            self.phase.send_replace(Phase::Closing);
            if tokio::time::timeout(grace, self.gone.recv()).await.is_err() {
                tracing::info!("some rpc clients did not read their replies before shutdown");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.phase.send_replace(Phase::Closing);
    }
}

async fn accept(listener: UnixListener, shared: Shared) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut phase = shared.phase.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|p| *p > Phase::Serving) => return,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => drop(tokio::spawn(connection(stream, shared.clone(), slot))),
                Err(_) => drop(tokio::spawn(turn_away(stream))),
            },
            Err(e) => {
                tracing::warn!("accepting an rpc connection: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn turn_away(mut stream: UnixStream) {
    tracing::warn!("turned an rpc connection away: there are {MAX_CONNECTIONS}");
    let error = RpcError::general(format!(
        "too many connections (at most {MAX_CONNECTIONS}): close some"
    ));
    let line = reply_line("null", &Err(error));
    let _ = tokio::time::timeout(TURN_AWAY_TIME, stream.write_all(line.as_bytes())).await; // they may be gone
}

async fn connection(stream: UnixStream, shared: Shared, _slot: OwnedSemaphorePermit) {
    let (read, write) = stream.into_split();
    let (out, outbox) = mpsc::channel(MAX_QUEUED_LINES);
    let mut writer = tokio::spawn(write_lines(write, outbox));
    let requests = Requests {
        out,
        notifications: Arc::new(AtomicBool::new(false)),
        in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        shared: shared.clone(),
    };
    let mut phase = shared.phase.clone();
    let hung_up = tokio::select! {
        ended = requests.read(read) => ended == Ended::HungUp,
        _ = &mut writer => return,
        _ = phase.wait_for(|p| *p > Phase::Serving) => false,
    };
    drop(requests); // the writer ends with the last running command
    if hung_up {
        writer.abort();
    }
    let _ = writer.await; // aborted, or all written
}

/// Ends when every sender is gone or the client no longer takes anything.
async fn write_lines(mut write: OwnedWriteHalf, mut outbox: mpsc::Receiver<Line>) {
    while let Some(line) = outbox.recv().await {
        if write.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The client sends no more, or nothing that we can follow, but may still read.
    NoMore,
    HungUp,
}

/// The requests of one connection.
struct Requests {
    out: mpsc::Sender<Line>,
    notifications: Arc<AtomicBool>,
    in_flight: Arc<Semaphore>,
    shared: Shared,
}

impl Requests {
    async fn read(&self, read: OwnedReadHalf) -> Ended {
        let mut framing = Framing::default();
        let mut long = None;
        loop {
            loop {
                let answered = match framing.next_document() {
                    Ok(None) => break,
                    Ok(Some(document)) => self.answer(&document).await,
                    Err(e) => Err(e.into()),
                };
                if let Err(malformed) = answered {
                    let fatal = malformed.fatal;
                    self.refuse(malformed).await;
                    if fatal {
                        return Ended::NoMore;
                    }
                }
            }
            if framing.buffered() <= SHORT_REQUEST {
                long = None;
            } else if long.is_none() {
                let turns = Arc::clone(&self.shared.long_requests);
                long = turns.acquire_owned().await.ok();
            }
            if read.readable().await.is_err() {
                return Ended::HungUp;
            }
            match take(&read, &mut framing) {
                Ok(0) if is_hung_up(&read).await => return Ended::HungUp,
                Ok(0) => return Ended::NoMore,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ended::HungUp,
            }
        }
    }

    async fn refuse(&self, malformed: Malformed) {
        tracing::debug!("malformed rpc request: {}", malformed.error);
        let _ = self
            .out
            .send(reply_line(&malformed.id, &Err(malformed.error)))
            .await; // they may be gone
    }

    /// Starts the command; its reply follows whenever it is done.
    async fn answer(&self, document: &[u8]) -> Result<(), Malformed> {
        let request = Request::parse(document)?;
        let Ok(permit) = Arc::clone(&self.in_flight).acquire_owned().await else {
            return Ok(());
        };
        let Ok(together) = Arc::clone(&self.shared.in_flight).try_acquire_owned() else {
            let text = format!("too many commands are running (at most {MAX_IN_FLIGHT_TOGETHER})");
            let line = reply_line(request.id.raw(), &Err(RpcError::general(text)));
            let _ = self.out.send(line).await; // they may be gone
            return Ok(());
        };
        let registry = &self.shared.registry;
        let method = request.method.text().unwrap_or_default();
        let notify = self.notifications.load(Ordering::Relaxed);
        let context = Context::new(
            request.id.raw(),
            &method,
            registry.developer(),
            Some(&self.out),
            notify,
        );
        tracing::debug!(id = request.id.raw(), method, "rpc request");
        let running = registry.start(
            context,
            &method,
            request.params,
            request.filter,
            &self.notifications,
        );

        let (id, out, mut phase) = (
            request.id.raw().to_owned(),
            self.out.clone(),
            self.shared.phase.clone(),
        );
        tokio::spawn(async move {
            let outcome: Outcome = tokio::select! {
                biased;
                outcome = running => outcome,
                _ = phase.wait_for(|p| *p == Phase::Closing) => Err(RpcError::new(code::LIGHTNINGD_SHUTDOWN, "lightningd is shutting down")),
            };
            let _ = out.send(reply_line(&id, &outcome)).await; // they may be gone
            drop((permit, together));
        });
        Ok(())
    }
}

/// Reads what is there. The buffer is on the stack: an idle connection keeps none.
fn take(read: &OwnedReadHalf, framing: &mut Framing) -> io::Result<usize> {
    let mut chunk = [0; READ_CHUNK];
    let n = read.try_read(&mut chunk)?;
    framing.push(chunk.get(..n).unwrap_or_default());
    Ok(n)
}

/// Whether the client closed its socket altogether, not only its sending half.
async fn is_hung_up(read: &OwnedReadHalf) -> bool {
    let stream: &UnixStream = read.as_ref();
    match stream.ready(Interest::READABLE | Interest::WRITABLE).await {
        Ok(ready) => ready.is_write_closed(),
        Err(_) => true,
    }
}
