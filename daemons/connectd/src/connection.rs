//! One connection after init: one task that reads, writes and keeps it alive.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ipc_messages::channeld_connectd::{Connection as Number, ToChanneld};
use ipc_messages::lightningd_connectd::ToLightningd;
use rand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use wire::{Body, ChannelId, Message, Warning};

use crate::channels::Attached;
use crate::crowd::Seat;
use crate::dial::words;
use crate::frames::{Incoming, Outgoing};
use crate::limits::{Bucket, Limits};
use crate::node::{Ending, Node};
use crate::peer::Peer;
use crate::pings::{self, Pings};
use crate::sort::{Kind, kind};

/// A connection that is the peer's current one, or was.
pub struct Connection {
    pub number: Number,
    pub peer: Rc<Peer>,
    pub address: SocketAddr,
    pub inbound: bool,
    /// Of the peer, big endian.
    pub features: Vec<u8>,
    pub since: Instant,
    /// Asked by lightningd or by us.
    pub pings: RefCell<Pings>,
    out: RefCell<Outgoing>,
    /// For the writer: something waits.
    work: Notify,
    /// Something was written, or it has ended.
    room: Notify,
    ending: Cell<Option<Ending>>,
    ended: Notify,
    heard: Cell<Instant>,
    /// A ping of ours was answered.
    answered: Notify,
    /// We do not read, so that nothing is heard is not the peer's fault.
    stalled: Cell<bool>,
}

/// Who is at the other end, and how.
pub struct Parts {
    pub number: Number,
    pub peer: Rc<Peer>,
    pub address: SocketAddr,
    pub inbound: bool,
    pub features: Vec<u8>,
    pub out: Outgoing,
}

/// More waits than the limit: the peer does not read.
#[derive(Debug, thiserror::Error)]
#[error("it does not read what we write")]
pub struct Overflow;

/// Why it ends.
enum End {
    /// There is nobody to tell.
    Cut(String),
    /// The peer's fault, which it is told.
    Warn(String),
}

impl Connection {
    #[must_use]
    pub fn new(parts: Parts) -> Connection {
        let Parts {
            number,
            peer,
            address,
            inbound,
            features,
            out,
        } = parts;
        let now = Instant::now();
        Connection {
            number,
            peer,
            address,
            inbound,
            features,
            since: now,
            pings: RefCell::default(),
            out: RefCell::new(out),
            work: Notify::new(),
            room: Notify::new(),
            ending: Cell::new(None),
            ended: Notify::new(),
            heard: Cell::new(now),
            answered: Notify::new(),
            stalled: Cell::new(false),
        }
    }

    /// Queues a message behind those that wait.
    ///
    /// # Errors
    /// [`Overflow`]: the connection has to end. A message that is too long is not sent, which is
    /// our own bug and not the peer's.
    pub fn say(&self, message: &[u8], limits: &Limits) -> Result<(), Overflow> {
        if self.waiting() > 2 * limits.out_queue {
            return Err(Overflow);
        }
        if let Err(error) = self.out.borrow_mut().push(message) {
            tracing::error!(peer = %self.peer.id, "cannot be sent: {error}");
        }
        self.work.notify_one();
        Ok(())
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.borrow().waiting()
    }

    /// Waits until fewer bytes wait, or it has ended.
    pub async fn until_room(&self, limit: usize) {
        loop {
            // From here on no notification is missed.
            let room = self.room.notified();
            if self.ending.get().is_some() || self.waiting() < limit {
                return;
            }
            room.await;
        }
    }

    /// From now on it is not the peer's connection; `false` if it was not before.
    pub fn end(&self, ending: Ending) -> bool {
        if self.ending.get().is_some() {
            return false;
        }
        self.ending.set(Some(ending));
        self.ended.notify_one();
        self.room.notify_waiters();
        true
    }

    /// Awaits what holds up reading.
    async fn stalled<T>(&self, what: impl Future<Output = T>) -> T {
        self.stalled.set(true);
        let output = what.await;
        self.stalled.set(false);
        self.heard.set(Instant::now());
        output
    }
}

/// A warning about the connection as a whole.
#[must_use]
pub fn warning(text: &str) -> Vec<u8> {
    Warning {
        channel_id: ChannelId::ALL,
        data: text.as_bytes().to_vec(),
    }
    .to_bytes()
}

/// Runs the connection until it ends.
pub async fn run(
    node: Rc<Node>,
    conn: Rc<Connection>,
    mut stream: TcpStream,
    mut incoming: Incoming,
    _seat: Option<Seat>,
) {
    let _running = node.running.enter();
    let end = tokio::select! {
        biased;
        () = conn.ended.notified() => None,
        end = read(&node, &conn, &stream, &mut incoming) => Some(end),
        end = write(&conn, &stream, &node.limits) => Some(end),
        end = keep_alive(&conn, &node.limits) => Some(end),
    };
    match end {
        None => {}
        Some(End::Cut(why)) => node.close(&conn, &why, Ending::Cut),
        Some(End::Warn(why)) => {
            tracing::warn!(peer = %conn.peer.id, "{why}; closing the connection");
            // Nobody would read it where too much waits.
            let _ = conn.say(&warning(&why), &node.limits);
            node.close(&conn, &why, Ending::Flush);
        }
    }
    if conn.ending.get() == Some(Ending::Flush) {
        let write = |stream: &TcpStream| conn.out.borrow_mut().write(stream);
        let _ = timeout(node.limits.flush_within, flush(write, &mut stream)).await;
    }
}

/// Writes the rest, and waits until the peer has read it: to close before would make the system
/// throw it away if anything of the peer's is still unread here.
pub async fn flush(
    mut write: impl FnMut(&TcpStream) -> io::Result<bool>,
    stream: &mut TcpStream,
) -> io::Result<()> {
    while !write(stream)? {
        stream.writable().await?;
    }
    stream.shutdown().await?;
    let mut thrown_away = [0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut thrown_away) {
            Ok(0) => return Ok(()),
            Ok(_) => tokio::task::coop::consume_budget().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write(conn: &Connection, stream: &TcpStream, limits: &Limits) -> End {
    loop {
        let written = conn.out.borrow_mut().write(stream);
        conn.room.notify_waiters();
        match written {
            Ok(true) => conn.work.notified().await,
            Ok(false) => match timeout(limits.stalled_after, stream.writable()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return End::Cut(words(&error)),
                Err(_) => return End::Cut("it does not read what we write".to_owned()),
            },
            Err(error) => return End::Cut(words(&error)),
        }
    }
}

/// BOLT 1, The `ping` and `pong` Messages: a peer that says nothing is asked, and then given up.
async fn keep_alive(conn: &Connection, limits: &Limits) -> End {
    loop {
        let quiet = limits
            .ping_after
            .mul_f64(rand::thread_rng().gen_range(0.9..1.1));
        loop {
            let so_far = conn.heard.get().elapsed();
            match quiet.checked_sub(so_far) {
                Some(rest) if !rest.is_zero() => sleep(rest).await,
                _ if conn.stalled.get() => sleep(limits.pong_within).await,
                _ => break,
            }
        }
        let asked = Instant::now();
        // Where pings of lightningd's wait for their pongs, one more tells nothing new.
        if conn.pings.borrow().len() < limits.own_pings {
            conn.pings.borrow_mut().asked(0, None);
            if let Err(error) = conn.say(&pings::ping(0, 0), limits) {
                return End::Cut(error.to_string());
            }
        }
        let answer = timeout(limits.pong_within, conn.answered.notified()).await;
        if answer.is_err() && conn.heard.get() < asked && !conn.stalled.get() {
            return End::Cut("it did not answer a ping".to_owned());
        }
    }
}

/// What a peer may say in a time.
struct Rates {
    pings: Bucket,
    unclaimed: Bucket,
    updates: Bucket,
}

async fn read(
    node: &Rc<Node>,
    conn: &Connection,
    stream: &TcpStream,
    incoming: &mut Incoming,
) -> End {
    let limits = &node.limits;
    let mut rates = Rates {
        pings: Bucket::new(limits.pings),
        unclaimed: Bucket::new(limits.unclaimed),
        updates: Bucket::new(limits.updates),
    };
    loop {
        loop {
            let message = match incoming.pop() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return End::Cut(format!("bad message: {error}")),
            };
            if let Err(end) = hear(node, conn, &mut rates, message).await {
                return end;
            }
            tokio::task::coop::consume_budget().await;
        }
        match incoming.fill(stream).await {
            Ok(0) => return End::Cut("peer closed connection".to_owned()),
            Ok(_) => conn.heard.set(Instant::now()),
            Err(error) => return End::Cut(words(&error)),
        }
    }
}

async fn hear(
    node: &Rc<Node>,
    conn: &Connection,
    rates: &mut Rates,
    message: &[u8],
) -> Result<(), End> {
    // BOLT 1, receiver: a message without even its type, or without the id that it must have, is
    // too short for its contents, which closes the connection.
    let Some((type_num, id)) = wire::peek(message) else {
        return Err(End::Warn("a message is too short".to_owned()));
    };
    match (kind(type_num, &node.ours.features), id) {
        (Kind::Channel, Some(id)) => to_channel(node, conn, rates, id, message).await,
        (Kind::Storage, _) => offer(node, conn, rates, message).await,
        (Kind::ChannelUpdate, _) => {
            if rates.updates.try_take() {
                for channel in conn.peer.channels() {
                    pass_on(conn, &channel, message).await;
                }
            }
        }
        (Kind::Ignored | Kind::Channel, _) => {
            tracing::trace!(peer = %conn.peer.id, "ignored a message of type {type_num}");
        }
        (Kind::Ping | Kind::Pong, _) => ping_or_pong(node, conn, rates, message).await?,
        (Kind::Init, _) => return Err(End::Warn("init came twice".to_owned())),
        (Kind::Unknown, _) => {
            return Err(End::Warn(format!("unknown message type {type_num}")));
        }
    }
    Ok(())
}

async fn to_channel(
    node: &Rc<Node>,
    conn: &Connection,
    rates: &mut Rates,
    id: ChannelId,
    message: &[u8],
) {
    if let Some(channel) = conn.peer.claimant(id) {
        return pass_on(conn, &channel, message).await;
    }
    offer(node, conn, rates, message).await;
}

/// To lightningd, as fast as a peer may.
async fn offer(node: &Rc<Node>, conn: &Connection, rates: &mut Rates, message: &[u8]) {
    let wait = rates.unclaimed.take();
    let said = ToLightningd::Unclaimed {
        peer: conn.peer.id,
        data: message.to_vec(),
    };
    conn.stalled(async {
        if !wait.is_zero() {
            sleep(wait).await;
        }
        node.up.offer(said).await;
    })
    .await;
}

async fn pass_on(conn: &Connection, channel: &Attached, message: &[u8]) {
    let message = ToChanneld::Message {
        data: message.to_vec(),
    };
    if !channel.try_deliver(&message) {
        conn.stalled(channel.deliver(&message)).await;
    }
}

async fn ping_or_pong(
    node: &Rc<Node>,
    conn: &Connection,
    rates: &mut Rates,
    message: &[u8],
) -> Result<(), End> {
    match Message::decode(message) {
        Ok(Message::Ping(ping)) => {
            let wait = rates.pings.take();
            if wait > Duration::ZERO || conn.waiting() >= node.limits.pong_queue {
                let room = conn.until_room(node.limits.pong_queue);
                conn.stalled(async { tokio::join!(sleep(wait), room) })
                    .await;
            }
            if let Some(pong) = pings::pong(&ping) {
                conn.say(&pong, &node.limits)
                    .map_err(|error| End::Cut(error.to_string()))?;
            }
        }
        Ok(Message::Pong(pong)) => {
            // BOLT 1, pong, receiver: one that answers no ping of ours may close the connection.
            let answered = conn.pings.borrow_mut().answered(&pong);
            match answered {
                Ok(Some(request)) => {
                    conn.answered.notify_one();
                    let len = u16::try_from(pong.ignored.len()).ok();
                    node.up.tell(ToLightningd::Pong { request, len });
                }
                Ok(None) => conn.answered.notify_one(),
                Err(pings::Unexpected) => return Err(End::Warn("unexpected pong".to_owned())),
            }
        }
        Ok(_) => {}
        Err(error) => return Err(End::Warn(format!("message cannot be decoded: {error}"))),
    }
    Ok(())
}
