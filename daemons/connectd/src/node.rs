//! What all tasks of connectd share: the peers, and the changes that a connection or a channel's
//! socket makes as it comes and goes. Each change happens at once, without waiting in between.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ipc_messages::channeld_connectd::Connection as Number;
use ipc_messages::edges::ConnectdChanneld;
use ipc_messages::hello;
use ipc_messages::lightningd_connectd::ToLightningd;
use ipc_transport::aio::UpperConn;
use tokio::sync::{Notify, Semaphore, SetOnce};
use tokio::task::spawn_local;
use wire::{ChannelId, NodeId};

use crate::channels::{self, Attached};
use crate::connection::{Connection, Parts};
use crate::crowd::Crowd;
use crate::dial;
use crate::frames::Outgoing;
use crate::hsm::Hsm;
use crate::init::Ours;
use crate::limits::Limits;
use crate::names::Names;
use crate::peer::Peer;
use crate::pings::{self, MAX_PING, NO_PONG};
use crate::up::Up;

/// The longest frame of a channel's socket: a message of the greatest length, and some.
const CHANNEL_FRAME: usize = 128 << 10;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// What was said before is written first.
    Flush,
    /// At once.
    Cut,
}

/// Why a connection on which init has been exchanged does not become the peer's.
pub enum NoPlace {
    /// The peer has another that stays.
    Tie,
    /// There is no room for strangers. It may be told so.
    Full(Box<Outgoing>),
}

/// A connection before it is the peer's.
pub struct Arrival {
    pub peer: NodeId,
    pub address: SocketAddr,
    pub inbound: bool,
    pub features: Vec<u8>,
    pub out: Outgoing,
}

/// The state that all tasks share.
pub struct Node {
    pub id: NodeId,
    pub ours: Ours,
    pub online: bool,
    /// Set once connections may begin.
    pub open: SetOnce<()>,
    pub limits: Limits,
    pub hsm: Hsm,
    pub up: Rc<Up>,
    pub names: Names,
    pub crowd: Rc<RefCell<Crowd>>,
    pub dials: Semaphore,
    /// Connections that have not wholly ended.
    pub running: Running,
    peers: RefCell<HashMap<NodeId, Rc<Peer>>>,
    last_connection: Cell<u64>,
    last_channel: Cell<u64>,
}

impl Node {
    #[must_use]
    pub fn new(id: NodeId, ours: Ours, online: bool, limits: Limits, hsm: Hsm, up: Rc<Up>) -> Node {
        Node {
            id,
            ours,
            online,
            open: SetOnce::new(),
            limits,
            hsm,
            names: Names::new(Rc::clone(&up)),
            up,
            crowd: Rc::default(),
            dials: Semaphore::new(limits.dials),
            running: Running::default(),
            peers: RefCell::default(),
            // Not what a connectd before this one has used: its channels' messages may still come.
            last_connection: Cell::new(u64::from(rand::random::<u32>()) << 16),
            last_channel: Cell::new(0),
        }
    }

    /// The peer of this id, made if it is not known.
    pub fn peer(&self, id: NodeId) -> Rc<Peer> {
        let mut peers = self.peers.borrow_mut();
        Rc::clone(
            peers
                .entry(id)
                .or_insert_with(|| Rc::new(Peer::new(id, &self.limits))),
        )
    }

    fn known(&self, id: NodeId) -> Option<Rc<Peer>> {
        self.peers.borrow().get(&id).cloned()
    }

    fn live(&self, id: NodeId) -> Option<Rc<Connection>> {
        self.known(id)?.live()
    }

    /// Forgets a peer of which there is nothing to remember.
    pub fn prune(&self, peer: &Peer) {
        if peer.is_forgotten() {
            self.peers.borrow_mut().remove(&peer.id);
        }
    }

    /// A connection takes its place. BOLT 1, Connection Handling: there is one for each peer.
    ///
    /// # Errors
    /// It is to be closed.
    pub fn enter(self: &Rc<Self>, arrival: Arrival) -> Result<Rc<Connection>, NoPlace> {
        let Arrival {
            peer: id,
            address,
            inbound,
            features,
            out,
        } = arrival;
        if let Some(old) = self.live(id) {
            // Both ends keep the one that the lesser id began.
            if self.is_tie(&old, inbound) && old.inbound == (self.id > id) {
                return Err(NoPlace::Tie);
            }
            self.close(&old, "replaced by a newer connection", Ending::Cut);
        } else if inbound && self.is_full(id) {
            return Err(NoPlace::Full(Box::new(out)));
        }
        let peer = self.peer(id);
        self.last_connection.set(self.last_connection.get() + 1);
        let number = Number(self.last_connection.get());
        let parts = Parts {
            number,
            peer: Rc::clone(&peer),
            address,
            inbound,
            features,
            out,
        };
        let conn = Rc::new(Connection::new(parts));
        peer.set_live(Some(Rc::clone(&conn)));
        let requests = peer.take_requests(None);
        self.tell_connected(&conn, requests);
        // BOLT 1, Peer storage: before any channel_reestablish.
        if let Some(greeting) = peer.greeting() {
            self.say(&conn, &greeting);
        }
        for channel in peer.channels() {
            channel.connected(&conn);
        }
        Ok(conn)
    }

    /// Both sides connected at the same time.
    fn is_tie(&self, old: &Connection, inbound: bool) -> bool {
        old.inbound != inbound && old.since.elapsed() < self.limits.tie_within
    }

    fn is_full(&self, id: NodeId) -> bool {
        let peers = self.peers.borrow();
        let stranger = peers.get(&id).is_none_or(|peer| peer.is_stranger());
        let strangers = || {
            peers
                .values()
                .filter(|peer| peer.is_live() && peer.is_stranger())
                .count()
        };
        stranger && strangers() >= self.limits.strangers
    }

    fn tell_connected(&self, conn: &Connection, requests: Vec<u64>) {
        self.up.tell(ToLightningd::Connected {
            peer: conn.peer.id,
            address: conn.address,
            inbound: conn.inbound,
            features: conn.features.clone(),
            requests,
        });
    }

    /// A connection gives up its place. Nothing happens if it has none any more.
    pub fn close(self: &Rc<Self>, conn: &Connection, reason: &str, ending: Ending) {
        if !conn.end(ending) {
            return;
        }
        let peer = &conn.peer;
        tracing::debug!(peer = %peer.id, "disconnected: {reason}");
        peer.set_live(None);
        for request in conn.pings.borrow_mut().drain() {
            self.up.tell(ToLightningd::Pong { request, len: None });
        }
        for channel in peer.channels() {
            channel.disconnected();
        }
        let reason = reason.to_owned();
        self.up.tell(ToLightningd::Disconnected {
            peer: peer.id,
            reason,
        });
        if conn.since.elapsed() >= self.limits.stable_after {
            peer.reset_pause();
        }
        if peer.is_to_be_dialled() {
            let pause = peer.pause();
            self.dial(peer, pause);
        }
        self.prune(peer);
    }

    /// Dials a peer after a pause, unless that is being done.
    fn dial(self: &Rc<Self>, peer: &Rc<Peer>, pause: Duration) {
        if peer.is_dialling() {
            if pause.is_zero() {
                peer.hurry.notify_one();
            }
            return;
        }
        peer.set_dialling(true);
        spawn_local(dial::run(Rc::clone(self), Rc::clone(peer), pause));
    }

    /// Queues a message on the peer's connection. A peer that does not read is cut off.
    pub fn say(self: &Rc<Self>, conn: &Connection, message: &[u8]) {
        if let Err(error) = conn.say(message, &self.limits) {
            self.close(conn, &error.to_string(), Ending::Cut);
        }
    }

    /// `Connect` of lightningd.
    pub fn connect(self: &Rc<Self>, request: u64, id: NodeId, addresses: Vec<String>) {
        if let Some(live) = self.live(id) {
            return self.tell_connected(&live, vec![request]);
        }
        let refusal = match (id == self.id, self.online) {
            (true, _) => Some("cannot connect to this node itself"),
            (_, false) => Some("the node is offline"),
            (false, true) => None,
        };
        if let Some(refusal) = refusal {
            let reasons = vec![refusal.to_owned()];
            return self.up.tell(ToLightningd::ConnectFailed {
                request,
                peer: id,
                reasons,
            });
        }
        let peer = self.peer(id);
        peer.know(addresses, &self.limits);
        peer.ask(request);
        self.dial(&peer, Duration::ZERO);
    }

    /// Answers requests that have come to nothing.
    pub fn connect_failed(&self, peer: &Peer, requests: &[u64], reasons: &[String]) {
        for request in peer.take_requests(Some(requests)) {
            let reasons = reasons.to_vec();
            self.up.tell(ToLightningd::ConnectFailed {
                request,
                peer: peer.id,
                reasons,
            });
        }
    }

    /// `Keep` of lightningd.
    pub fn keep(self: &Rc<Self>, id: NodeId, addresses: Vec<String>, keep: bool) {
        let peer = self.peer(id);
        peer.know(addresses, &self.limits);
        peer.set_keep(keep);
        if keep && peer.is_live() {
            // lightningd says so of a connection that is of use.
            peer.reset_pause();
        }
        if self.online && id != self.id && peer.is_to_be_dialled() {
            self.dial(&peer, Duration::ZERO);
        }
        self.prune(&peer);
    }

    /// `Disconnect` of lightningd.
    pub fn disconnect(self: &Rc<Self>, id: NodeId, reason: &str) {
        if let Some(live) = self.live(id) {
            self.close(&live, reason, Ending::Flush);
        }
    }

    /// `Send` of lightningd.
    pub fn send(self: &Rc<Self>, id: NodeId, data: &[u8]) {
        if let Some(live) = self.live(id) {
            self.say(&live, data);
        }
    }

    /// `Greet` of lightningd.
    pub fn greet(&self, id: NodeId, data: Vec<u8>) {
        let peer = self.peer(id);
        peer.greet_with(data);
        self.prune(&peer);
    }

    /// `Ping` of lightningd.
    pub fn ping(self: &Rc<Self>, request: u64, id: NodeId, len: u16, pong_len: u16) {
        let live = self
            .live(id)
            .filter(|live| len <= MAX_PING && live.pings.borrow().len() < self.limits.own_pings);
        let Some(live) = live else {
            return self.up.tell(ToLightningd::Pong { request, len: None });
        };
        if pong_len < NO_PONG {
            live.pings.borrow_mut().asked(pong_len, Some(request));
        } else {
            self.up.tell(ToLightningd::Pong {
                request,
                len: Some(0),
            });
        }
        self.say(&live, &pings::ping(len, pong_len));
    }

    /// `Attach` of lightningd.
    ///
    /// # Errors
    /// The system refused to watch the socket.
    pub fn attach(
        self: &Rc<Self>,
        id: NodeId,
        ids: &[ChannelId],
        socket: std::os::fd::OwnedFd,
    ) -> Result<(), ipc_transport::Error> {
        let limits = ipc_transport::Limits {
            frame: CHANNEL_FRAME,
            out: self.limits.channel_queue,
        };
        let edge = UpperConn::<ConnectdChanneld>::with_limits(
            socket,
            hello::<ConnectdChanneld>(),
            limits,
        )?;
        for old in ids
            .iter()
            .filter_map(|id_of| self.known(id)?.claimant(*id_of))
        {
            self.detach(&old, "the channel has a new socket");
        }
        let peer = self.peer(id);
        let (to, from) = edge.split();
        self.last_channel.set(self.last_channel.get() + 1);
        let channel = Rc::new(Attached::new(self.last_channel.get(), Rc::clone(&peer), to));
        peer.add(&channel);
        for id in ids {
            if !peer.claim(&channel, *id, &self.limits) {
                tracing::error!(peer = %peer.id, "a channel may not claim {id}");
            }
        }
        if let Some(live) = peer.live() {
            channel.connected(&live);
        }
        spawn_local(channels::serve(Rc::clone(self), channel, from));
        Ok(())
    }

    /// A channel's socket is gone, or has to go. With ids claimed that means that its process has
    /// died: the peer must reestablish.
    pub fn detach(self: &Rc<Self>, channel: &Rc<Attached>, why: &str) {
        let Some(claimed) = channel.peer.remove(channel) else {
            return;
        };
        channel.detached.notify_one();
        tracing::debug!(peer = %channel.peer.id, "a channel's socket ends: {why}");
        match channel.peer.live() {
            Some(live) if claimed > 0 && channel.is_on(live.number) => {
                self.close(&live, "a channel's process ended", Ending::Flush);
            }
            Some(_) | None => self.prune(&channel.peer),
        }
    }

    /// `Stop` of lightningd: closes every connection in order.
    pub async fn stop(self: &Rc<Self>) {
        let peers: Vec<_> = self.peers.borrow().values().cloned().collect();
        for peer in peers {
            peer.set_keep(false);
            if let Some(live) = peer.live() {
                self.close(&live, "the node stops", Ending::Flush);
            }
        }
        let _ = tokio::time::timeout(self.limits.stop_within, self.running.none()).await;
    }
}

/// Counts connections whose task has not ended.
#[derive(Debug, Default)]
pub struct Running {
    count: Cell<usize>,
    none: Notify,
}

/// One of them.
pub struct Runs<'a>(&'a Running);

impl Running {
    pub fn enter(&self) -> Runs<'_> {
        self.count.set(self.count.get() + 1);
        Runs(self)
    }

    async fn none(&self) {
        while self.count.get() > 0 {
            self.none.notified().await;
        }
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.none.notify_one();
    }
}
