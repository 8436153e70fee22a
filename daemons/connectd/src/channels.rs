//! The channels' sockets. What a channel is told never waits and stays in order: events that its
//! full socket does not take wait in a backlog of at most three, and messages wait behind them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use ipc_messages::channeld_connectd::{Connection as Number, ToChanneld, ToConnectd};
use ipc_transport::Error;
use ipc_transport::aio::{Receiver, Sender};
use tokio::sync::Notify;
use wire::{Body, ChannelUpdate};

use crate::connection::Connection;
use crate::node::{Ending, Node};
use crate::peer::Peer;

/// One channel's socket.
pub struct Attached {
    /// Among all of this process.
    pub number: u64,
    pub peer: Rc<Peer>,
    /// It has been detached.
    pub detached: Notify,
    to: Sender<ToChanneld>,
    /// The connection that it was told of last, if that has not ended.
    told: Cell<Option<Number>>,
    backlog: RefCell<VecDeque<ToChanneld>>,
    /// The first of the backlog is being sent.
    sending: Cell<bool>,
    work: Notify,
    done: Notify,
}

impl Attached {
    #[must_use]
    pub fn new(number: u64, peer: Rc<Peer>, to: Sender<ToChanneld>) -> Attached {
        Attached {
            number,
            peer,
            detached: Notify::new(),
            to,
            told: Cell::new(None),
            backlog: RefCell::default(),
            sending: Cell::new(false),
            work: Notify::new(),
            done: Notify::new(),
        }
    }

    /// It takes part in this connection.
    #[must_use]
    pub fn is_on(&self, number: Number) -> bool {
        self.told.get() == Some(number)
    }

    pub fn connected(&self, live: &Connection) {
        self.told.set(Some(live.number));
        let features = live.features.clone();
        self.tell(ToChanneld::Connected {
            connection: live.number,
            features,
        });
    }

    pub fn disconnected(&self) {
        if self.told.take().is_none() {
            return;
        }
        let mut backlog = self.backlog.borrow_mut();
        // A connection of which nothing was heard need not be heard of.
        let first = usize::from(self.sending.get());
        if backlog.len() > first && matches!(backlog.back(), Some(ToChanneld::Connected { .. })) {
            backlog.pop_back();
            return;
        }
        drop(backlog);
        self.tell(ToChanneld::Disconnected);
    }

    fn tell(&self, event: ToChanneld) {
        if !self.backlog.borrow().is_empty()
            || matches!(self.to.try_send(&event), Err(Error::Full { .. }))
        {
            self.backlog.borrow_mut().push_back(event);
            self.work.notify_one();
        }
    }

    /// Passes on a message of the peer; says whether it could be at once.
    #[must_use]
    pub fn try_deliver(&self, message: &ToChanneld) -> bool {
        // That the process is gone shows where it is heard.
        self.backlog.borrow().is_empty()
            && !matches!(self.to.try_send(message), Err(Error::Full { .. }))
    }

    /// Passes on a message of the peer, waiting for room. Dropped while it waits, it has sent
    /// nothing.
    pub async fn deliver(&self, message: &ToChanneld) {
        loop {
            // From here on no notification is missed.
            let done = self.done.notified();
            if self.backlog.borrow().is_empty() {
                break;
            }
            done.await;
        }
        if let Err(error) = self.to.send(message).await {
            tracing::debug!("a channel's process is gone: {error}");
        }
    }

    /// Sends the backlog. Never ends.
    async fn pump(&self) {
        loop {
            let next = self.backlog.borrow().front().cloned();
            match next {
                None => {
                    self.done.notify_waiters();
                    self.work.notified().await;
                }
                Some(event) => {
                    self.sending.set(true);
                    let _ = self.to.send(&event).await;
                    self.sending.set(false);
                    self.backlog.borrow_mut().pop_front();
                }
            }
        }
    }
}

/// Serves one channel's socket until it closes or is replaced.
pub async fn serve(node: Rc<Node>, channel: Rc<Attached>, from: Receiver<ToConnectd>) {
    let why = tokio::select! {
        why = hear(&node, &channel, from) => why,
        () = channel.pump() => return,
        () = channel.detached.notified() => return,
    };
    node.detach(&channel, &why);
}

/// Says why it ended.
async fn hear(node: &Rc<Node>, channel: &Rc<Attached>, mut from: Receiver<ToConnectd>) -> String {
    loop {
        let said = match from.recv().await {
            Ok(said) => said,
            Err(error) => return error.to_string(),
        };
        match said {
            ToConnectd::Claim { channel_id } => {
                if !channel.peer.claim(channel, channel_id, &node.limits) {
                    tracing::error!(peer = %channel.peer.id, "a channel may not claim {channel_id}");
                    return format!("it claims {channel_id}, which it may not");
                }
            }
            ToConnectd::Release { channel_id } => channel.peer.release(channel, channel_id),
            ToConnectd::Send { connection, data } => send(node, channel, connection, &data).await,
            ToConnectd::Disconnect { connection, reason } => {
                if let Some(live) = current(channel, connection) {
                    node.close(&live, &reason, Ending::Flush);
                }
            }
        }
        tokio::task::coop::consume_budget().await;
    }
}

fn current(channel: &Attached, connection: Number) -> Option<Rc<Connection>> {
    channel.peer.live().filter(|live| live.number == connection)
}

async fn send(node: &Rc<Node>, channel: &Attached, connection: Number, data: &[u8]) {
    let Some(live) = current(channel, connection) else {
        tracing::trace!("{} bytes for a connection that has ended", data.len());
        return;
    };
    if !may_say(channel, data) {
        tracing::error!(peer = %channel.peer.id, "a channel says what is not its own; dropped");
        return;
    }
    node.say(&live, data);
    live.until_room(node.limits.out_queue).await;
}

/// A channel speaks for the ids that it has claimed. What names none is its channel_update.
fn may_say(channel: &Attached, data: &[u8]) -> bool {
    match wire::peek(data) {
        Some((_, Some(id))) => channel.peer.has_claimed(channel, id),
        Some((type_num, None)) => type_num == ChannelUpdate::TYPE,
        None => false,
    }
}
