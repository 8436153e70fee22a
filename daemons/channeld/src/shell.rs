//! The loop: hears three sockets, runs the core's actions in order, feeds results back.
//!
//! Persist and AskSigner wait for their answer on the spot; what arrives meanwhile stays in the
//! sockets and becomes the next, larger batch.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use channel::action::{Action, Command, Event, Notice, PeerFault, Persist, Removal};
use channel::channel::Channel;
use ipc_messages::channeld_connectd::{Connection, ToChanneld as FromPeer, ToConnectd};
use ipc_messages::edges::{ConnectdChanneld, HsmChan, LightningdChanneld};
use ipc_messages::hsm::chan::{Reply, Request};
use ipc_messages::lightningd_channeld::{RemoveHow, ToChanneld, ToLightningd};
use ipc_transport::blocking::{LowerConn, UpperConn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wire::{BlockHeight, ChannelId, HtlcId, Message};

use crate::onions::{Locked, Onions, Peel};
use crate::peer;
use crate::start::Core;

/// So many messages of one socket are handled before the others get their turn.
const TURN: usize = 1024;

/// A message of lightningd, with the descriptor that came with it.
struct FromNode {
    message: ToChanneld,
    fd: Option<OwnedFd>,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

pub struct Shell {
    node: LowerConn<LightningdChanneld>,
    hsm: UpperConn<HsmChan>,
    /// `None` while connectd is being restarted.
    peer: Option<LowerConn<ConnectdChanneld>>,
    core: Option<Box<Channel>>,
    refused: Option<PeerFault>,
    channel_id: ChannelId,
    /// Ids whose messages come to us.
    claimed: Vec<ChannelId>,
    onions: Onions,
    /// What lightningd said while something else was waited for.
    waiting: VecDeque<FromNode>,
    sequence: u64,
    /// The peer's connection, while there is one.
    connection: Option<Connection>,
    /// A turn ended with messages left that may be in no socket.
    more: bool,
}

/// lightningd said Stop while something waited for the database.
#[derive(Debug, thiserror::Error)]
#[error("stopped by lightningd")]
struct Stopped;

impl Shell {
    pub fn new(
        node: LowerConn<LightningdChanneld>,
        hsm: UpperConn<HsmChan>,
        peer: LowerConn<ConnectdChanneld>,
        core: Core,
        channel_id: ChannelId,
        connection: Option<Connection>,
    ) -> Shell {
        let (core, refused) = match core {
            Core::Channel(core) => (Some(core), None),
            Core::Refused(fault) => (None, Some(fault)),
        };
        Shell {
            node,
            hsm,
            peer: Some(peer),
            core,
            refused,
            channel_id,
            claimed: vec![channel_id],
            onions: Onions::default(),
            waiting: VecDeque::new(),
            sequence: 0,
            connection,
            // What the start read with the messages that it waited for.
            more: true,
        }
    }

    /// What the core wants at once.
    fn begin(&mut self, actions: Vec<Action>, height: BlockHeight) -> anyhow::Result<()> {
        if let Some(fault) = self.refused.take() {
            self.fault(fault)?;
            let reason = "the peer's open_channel was refused".to_owned();
            self.tell(Notice::OpeningFailed { reason })?;
        }
        self.act(actions)?;
        self.event(Event::Command(Command::Block { height }))?;
        self.flush()
    }

    /// Runs until lightningd says Stop or is gone.
    ///
    /// # Errors
    /// lightningd or hsmd sent a bad frame, or hsmd is gone.
    pub fn run(&mut self, begin: Vec<Action>, height: BlockHeight) -> anyhow::Result<()> {
        let done = self.begin(begin, height).and_then(|()| self.turns());
        match done {
            Err(error) if error.is::<Stopped>() => Ok(()),
            done => done,
        }
    }

    fn turns(&mut self) -> anyhow::Result<()> {
        loop {
            self.wait()?;
            self.hear_peer()?;
            // Nothing is owed any more: what was not persisted has not happened.
            if self.hear_node()? == Go::Stop {
                self.leave()?;
                return self.flush();
            }
            self.event(Event::Flush)?;
            self.flush()?;
        }
    }

    /// An orderly end is not a death: connectd keeps the peer's connection for its other channels.
    fn leave(&mut self) -> anyhow::Result<()> {
        for channel_id in std::mem::take(&mut self.claimed) {
            self.tell_peer(&ToConnectd::Release { channel_id })?;
        }
        Ok(())
    }

    /// Sleeps until a socket has something, unless something is here already: what came in one read
    /// with what was waited for is in no socket any more.
    fn wait(&mut self) -> anyhow::Result<()> {
        if let Some(message) = self.node.recv_buffered()? {
            let from = self.with_fd(message)?;
            self.waiting.push_back(from);
        }
        if !self.waiting.is_empty() || std::mem::take(&mut self.more) {
            return Ok(());
        }
        let mut fds = vec![PollFd::new(self.node.as_fd(), PollFlags::POLLIN)];
        if let Some(peer) = &self.peer {
            fds.push(PollFd::new(peer.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear_peer(&mut self) -> anyhow::Result<()> {
        for _ in 0..TURN {
            let Some(peer) = &mut self.peer else {
                return Ok(());
            };
            match peer.try_recv() {
                Ok(Some(said)) => self.peer_said(said)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    // lightningd notices connectd's death itself and sends a new socket.
                    tracing::debug!("connectd's socket ended: {error}");
                    self.peer = None;
                    return self.disconnected();
                }
            }
        }
        self.more = true;
        Ok(())
    }

    fn peer_said(&mut self, said: FromPeer) -> anyhow::Result<()> {
        match said {
            FromPeer::Connected {
                connection,
                features: _,
            } => {
                self.connection = Some(connection);
                self.event(Event::Connected)
            }
            FromPeer::Disconnected => self.disconnected(),
            FromPeer::Message { data } => match peer::read(&data) {
                Ok(Some(Message::Error(error))) => {
                    let reason = format!("the peer says: {}", error.text());
                    tracing::warn!("{reason}");
                    self.event(Event::Peer(Message::Error(error)))?;
                    Ok(self.node.send(&ToLightningd::PeerFailed { reason })?)
                }
                Ok(Some(Message::Warning(warning))) => {
                    tracing::warn!("the peer warns: {}", warning.text());
                    Ok(())
                }
                Ok(Some(update @ Message::ChannelUpdate(_))) => {
                    self.tell(Notice::PeerUpdate { message: update })
                }
                Ok(Some(message)) => self.event(Event::Peer(message)),
                Ok(None) => Ok(()),
                Err(fault) => self.fault(fault),
            },
        }
    }

    fn disconnected(&mut self) -> anyhow::Result<()> {
        if self.connection.take().is_none() {
            return Ok(());
        }
        self.event(Event::Disconnected)
    }

    fn hear_node(&mut self) -> anyhow::Result<Go> {
        for _ in 0..TURN {
            let from = match self.waiting.pop_front() {
                Some(from) => from,
                None => match self.node.try_recv() {
                    Ok(Some(message)) => self.with_fd(message)?,
                    Ok(None) => return Ok(Go::On),
                    Err(error) if error.is_closed() => return Ok(Go::Stop),
                    Err(error) => return Err(error.into()),
                },
            };
            if self.node_said(from)? == Go::Stop {
                return Ok(Go::Stop);
            }
        }
        self.more = true;
        Ok(Go::On)
    }

    fn with_fd(&mut self, message: ToChanneld) -> anyhow::Result<FromNode> {
        let fd = match message {
            ToChanneld::NewPeerSocket => Some(self.node.take_fd()?),
            ToChanneld::Start(_)
            | ToChanneld::Command(_)
            | ToChanneld::Remove { .. }
            | ToChanneld::Persisted { .. }
            | ToChanneld::Fail { .. }
            | ToChanneld::Stop => None,
        };
        Ok(FromNode { message, fd })
    }

    fn node_said(&mut self, FromNode { message, fd }: FromNode) -> anyhow::Result<Go> {
        match message {
            ToChanneld::Start(_) => anyhow::bail!("lightningd says Start twice"),
            ToChanneld::Command(command) => self.event(Event::Command(*command))?,
            ToChanneld::Remove { id, how } => self.remove(id, how)?,
            ToChanneld::Persisted { .. } => {}
            ToChanneld::NewPeerSocket => {
                self.disconnected()?;
                if let Some(fd) = fd {
                    self.peer = Some(LowerConn::<ConnectdChanneld>::new(
                        fd,
                        ipc_messages::hello::<ConnectdChanneld>(),
                    )?);
                }
            }
            ToChanneld::Fail { reason } => self.give_up(reason)?,
            ToChanneld::Stop => return Ok(Go::Stop),
        }
        Ok(Go::On)
    }

    /// The node closed the channel on chain: the peer is told, now or when it connects.
    fn give_up(&mut self, reason: String) -> anyhow::Result<()> {
        if self.connection.is_some() {
            self.send(&peer::error(self.channel_id, &reason))?;
        }
        if let Some(core) = &mut self.core {
            core.fail(reason);
        }
        Ok(())
    }

    fn remove(&mut self, id: HtlcId, how: RemoveHow) -> anyhow::Result<()> {
        let removal = match how {
            RemoveHow::Fulfil { preimage } => Some(Removal::Fulfil { preimage }),
            RemoveHow::FailHere { failure } => self.onions.fail_here(id, &failure),
            RemoveHow::FailFrom { reason } => self.onions.fail_from(id, reason),
        };
        match removal {
            Some(removal) => {
                self.onions.forget(id);
                self.event(Event::Command(Command::Remove { id, removal }))
            }
            None => {
                tracing::debug!("HTLC {id} is not open; nothing to remove");
                Ok(())
            }
        }
    }

    /// One event and everything that follows from it.
    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        let Some(core) = &mut self.core else {
            return Ok(());
        };
        match core.handle(event) {
            Ok(actions) => self.act(actions),
            Err(fault) => self.fault(fault),
        }
    }

    fn act(&mut self, actions: Vec<Action>) -> anyhow::Result<()> {
        let mut locked = Vec::new();
        for action in actions {
            match action {
                Action::Persist(persist) => self.persist(persist)?,
                Action::Record(persist) => self.hand_over(persist, false)?,
                Action::Send(message) => self.send(&message)?,
                Action::Tell(Notice::Locked {
                    id,
                    htlc,
                    onion,
                    over_dust_limit,
                }) => {
                    locked.push(Locked {
                        id,
                        htlc,
                        onion,
                        over_dust_limit,
                    });
                }
                Action::Tell(notice) => self.tell(notice)?,
                Action::AskSigner(request) => {
                    // The last of its list. What is locked is told first: its end may be in the reply.
                    self.peel(std::mem::take(&mut locked))?;
                    return self.ask(request);
                }
            }
        }
        self.peel(locked)
    }

    fn ask(&mut self, request: Request) -> anyhow::Result<()> {
        // The answer may take a synced write: what stands before it need not wait so long.
        self.flush()?;
        let reply = self.hsm.call(&request)?;
        if let Reply::Refused { rule, reason } = &reply {
            let (rule, reason) = (rule.clone(), reason.clone());
            self.node.send(&ToLightningd::Refused { rule, reason })?;
        }
        self.event(Event::Signer(reply))
    }

    fn hand_over(&mut self, persist: Box<Persist>, wait: bool) -> anyhow::Result<()> {
        self.sequence += 1;
        let new_id = persist.live.channel_id;
        let sequence = self.sequence;
        self.node.send(&ToLightningd::Persist {
            sequence,
            wait,
            persist,
        })?;
        if new_id != self.channel_id {
            // BOLT 2: from funding_created on the channel has its real id.
            self.channel_id = new_id;
            self.claimed.push(new_id);
            self.tell_peer(&ToConnectd::Claim { channel_id: new_id })?;
        }
        Ok(())
    }

    /// Waits until it is durable. What else lightningd says meanwhile is kept in order.
    fn persist(&mut self, persist: Box<Persist>) -> anyhow::Result<()> {
        self.hand_over(persist, true)?;
        loop {
            match self.node.recv()? {
                ToChanneld::Persisted { sequence } if sequence >= self.sequence => return Ok(()),
                ToChanneld::Stop => return Err(Stopped.into()),
                other => {
                    let kept = self.with_fd(other)?;
                    self.waiting.push_back(kept);
                }
            }
        }
    }

    fn tell(&mut self, notice: Notice) -> anyhow::Result<()> {
        Ok(self.node.send(&ToLightningd::Notice(Box::new(notice)))?)
    }

    fn peel(&mut self, locked: Vec<Locked>) -> anyhow::Result<()> {
        let peeled = self.onions.peel(&mut self.hsm, locked)?;
        for (id, htlc, peel) in peeled {
            match peel {
                Peel::Hop(hop) => {
                    self.node.send(&ToLightningd::Incoming {
                        id,
                        htlc,
                        hop: Box::new(hop),
                    })?;
                }
                Peel::Remove(removal) => {
                    self.event(Event::Command(Command::Remove { id, removal }))?;
                }
            }
        }
        Ok(())
    }

    /// The peer broke a rule: it is told, and lightningd decides what becomes of the channel.
    fn fault(&mut self, fault: PeerFault) -> anyhow::Result<()> {
        let (message, said, reason) = match fault {
            PeerFault::Warning(reason) => {
                let said = ToLightningd::Warned {
                    reason: reason.clone(),
                };
                (peer::warning(self.channel_id, &reason), said, reason)
            }
            PeerFault::Error(reason) => {
                let said = ToLightningd::Failed {
                    reason: reason.clone(),
                };
                (peer::error(self.channel_id, &reason), said, reason)
            }
        };
        self.send(&message)?;
        self.node.send(&said)?;
        if let (ToLightningd::Warned { .. }, Some(connection)) = (said, self.connection) {
            self.tell_peer(&ToConnectd::Disconnect { connection, reason })?;
        }
        Ok(())
    }

    fn send(&mut self, message: &Message) -> anyhow::Result<()> {
        // Without a connection it would be lost anyway: the peer will reestablish.
        let Some(connection) = self.connection else {
            return Ok(());
        };
        tracing::trace!("sends {}", message.name());
        self.tell_peer(&ToConnectd::Send {
            connection,
            data: message.encode(),
        })
    }

    /// A closed socket is noticed where it is read.
    fn tell_peer(&mut self, message: &ToConnectd) -> anyhow::Result<()> {
        if let Some(peer) = &mut self.peer
            && let Err(error) = peer.send(message)
            && !error.is_closed()
        {
            return Err(error.into());
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if let Some(peer) = &mut self.peer
            && let Err(error) = peer.flush()
            && !error.is_closed()
        {
            return Err(error.into());
        }
        self.node.flush()?;
        Ok(())
    }
}
