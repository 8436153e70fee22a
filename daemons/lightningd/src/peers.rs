//! Peers: one task that hears connectd, knows who is connected, and passes a peer's first
//! message about a new channel to where channels are made.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ipc_messages::hsm::Role;
use ipc_messages::lightningd_connectd::{Resolved, ToConnectd, ToLightningd};
use tokio::sync::{mpsc, oneshot, watch};
use wire::{ChannelDbid, ChannelId, Feature, Features, Message, NodeId};

use crate::channel::{Mail, is_spent};
use crate::hsm::mint_end;
use crate::locate::{self, Lookups};
use crate::node::{Node, Stop};
use crate::subdaemons::{Restarts, connectd, start_connectd};

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub inbound: bool,
    /// Its init features, big endian.
    pub features: Vec<u8>,
}

/// Who is connected and where we listen, for everybody to read.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub connected: HashMap<NodeId, Peer>,
    pub listening: Vec<SocketAddr>,
    /// Whether connectd has said where it listens.
    pub ready: bool,
}

#[allow(clippy::large_enum_variant)] // short-lived: sent, matched, taken apart
enum Ask {
    Connect {
        peer: NodeId,
        addresses: Vec<String>,
        done: oneshot::Sender<Result<Peer, Vec<String>>>,
    },
    Disconnect {
        peer: NodeId,
        reason: String,
        done: Option<oneshot::Sender<()>>,
    },
    Attach {
        peer: NodeId,
        channel_ids: Vec<ChannelId>,
        socket: OwnedFd,
    },
    /// Whoever asked for an Attach of a channel that there is has done so.
    Open,
    Keep {
        peer: NodeId,
        keep: bool,
    },
    Send {
        peer: NodeId,
        message: Message,
    },
    Greet {
        peer: NodeId,
        message: Option<Message>,
    },
    /// Where a peer may be found, if nothing better is known.
    Know {
        peer: NodeId,
        address: String,
    },
    Ping {
        peer: NodeId,
        len: u16,
        pong_len: u16,
        done: oneshot::Sender<Option<u16>>,
    },
}

/// Held by a channel whose socket a new connectd does not have yet.
#[derive(Clone)]
pub struct Awaited(#[expect(dead_code, reason = "dropped")] mpsc::Sender<Infallible>);

/// For no longer do peers wait for those. What they say to one that comes later costs them their connection.
const SOCKETS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Handle {
    asks: mpsc::UnboundedSender<Ask>,
    view: watch::Receiver<View>,
}

pub struct Mailbox {
    asks: mpsc::UnboundedReceiver<Ask>,
    view: watch::Sender<View>,
}

/// A new mailbox; bounded by its callers, who wait or are channels.
#[must_use]
pub fn mailbox() -> (Handle, Mailbox) {
    let (asks_in, asks) = mpsc::unbounded_channel();
    let (view_in, view) = watch::channel(View::default());
    (
        Handle {
            asks: asks_in,
            view,
        },
        Mailbox {
            asks,
            view: view_in,
        },
    )
}

impl Handle {
    /// Waits until peers can reach us.
    pub async fn ready(&self) {
        let _ = self.view.clone().wait_for(|view| view.ready).await;
    }

    #[must_use]
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    #[must_use]
    pub fn is_connected(&self, peer: NodeId) -> bool {
        self.view.borrow().connected.contains_key(&peer)
    }

    /// # Errors
    /// One line for each address that was tried; none where none is known.
    pub async fn connect(&self, peer: NodeId, addresses: Vec<String>) -> Result<Peer, Vec<String>> {
        let (done, answer) = oneshot::channel();
        let _ = self.asks.send(Ask::Connect {
            peer,
            addresses,
            done,
        });
        answer
            .await
            .unwrap_or_else(|_| Err(vec!["connectd was restarted; try again".to_owned()]))
    }

    /// Closes the connection; completes when it is gone (a peer with a channel may be back soon).
    pub async fn disconnect(&self, peer: NodeId, reason: String) {
        let (done, gone) = oneshot::channel();
        let _ = self.asks.send(Ask::Disconnect {
            peer,
            reason,
            done: Some(done),
        });
        let _ = gone.await;
    }

    /// As [`Handle::disconnect`], without waiting.
    pub fn drop_connection(&self, peer: NodeId, reason: String) {
        let _ = self.asks.send(Ask::Disconnect {
            peer,
            reason,
            done: None,
        });
    }

    /// Hands connectd its end of a channel's socket.
    pub fn attach(&self, peer: NodeId, channel_ids: Vec<ChannelId>, socket: OwnedFd) {
        let _ = self.asks.send(Ask::Attach {
            peer,
            channel_ids,
            socket,
        });
    }

    /// The channels that there are have asked for [`Handle::attach`]: connections may begin.
    pub fn open(&self) {
        let _ = self.asks.send(Ask::Open);
    }

    /// Whether connectd is to reconnect to this peer by itself.
    pub fn keep(&self, peer: NodeId, keep: bool) {
        let _ = self.asks.send(Ask::Keep { peer, keep });
    }

    pub fn send(&self, peer: NodeId, message: Message) {
        let _ = self.asks.send(Ask::Send { peer, message });
    }

    /// What the peer is told first on each connection from now on.
    pub fn greet(&self, peer: NodeId, message: Option<Message>) {
        let _ = self.asks.send(Ask::Greet { peer, message });
    }

    /// Notes where a peer may be found, unless it is known.
    pub fn know(&self, peer: NodeId, address: String) {
        let _ = self.asks.send(Ask::Know { peer, address });
    }

    /// Length of the pong; `None` if none came.
    pub async fn ping(&self, peer: NodeId, len: u16, pong_len: u16) -> Option<u16> {
        let (done, answer) = oneshot::channel();
        let _ = self.asks.send(Ask::Ping {
            peer,
            len,
            pong_len,
            done,
        });
        answer.await.ok().flatten()
    }
}

struct Peers {
    node: Arc<Node>,
    view: watch::Sender<View>,
    link: connectd::Link,
    /// Addresses by which a peer may be found again.
    addresses: HashMap<NodeId, Vec<String>>,
    /// What connectd tells a peer first: a new one is told anew.
    greetings: HashMap<NodeId, Vec<u8>>,
    connects: HashMap<u64, oneshot::Sender<Result<Peer, Vec<String>>>>,
    pings: HashMap<u64, oneshot::Sender<Option<u16>>>,
    /// Who waits for a connection's end: woken when the sender is dropped.
    leaving: HashMap<NodeId, Vec<oneshot::Sender<()>>>,
    next_request: u64,
    restarts: Restarts,
    lookups: Lookups,
}

/// connectd, while it locks itself in, and where it will listen.
pub struct Door {
    pub link: connectd::Link,
    pub listening: Vec<SocketAddr>,
}

/// Runs until the node stops. connectd is restarted when it dies, and every channel gets a new
/// socket to it.
pub async fn run(
    node: Arc<Node>,
    Mailbox { mut asks, view }: Mailbox,
    Door { link, listening }: Door,
    addresses: HashMap<NodeId, Vec<String>>,
) {
    // That it has ended shows where it is heard.
    let _ = start_connectd(&link, &node, listening).await;
    let mut peers = Peers {
        node: node.clone(),
        view,
        link,
        addresses,
        greetings: HashMap::new(),
        connects: HashMap::new(),
        pings: HashMap::new(),
        leaving: HashMap::new(),
        next_request: 0,
        restarts: Restarts::default(),
        lookups: Lookups::default(),
    };
    loop {
        tokio::select! {
            _ = node.stopped() => break,
            ask = asks.recv() => match ask {
                Some(ask) => peers.ask(ask).await,
                None => break,
            },
            said = peers.link.from.recv() => match said {
                Ok(said) => peers.said(said).await,
                Err(error) => peers.restart(&error.to_string()).await,
            },
        }
    }
    let _ = peers.link.to.send(&ToConnectd::Stop).await;
}

impl Peers {
    fn request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    async fn restart(&mut self, why: &str) {
        if self.node.is_stopping() {
            return;
        }
        let how = self.link.process.ended().await;
        tracing::warn!("connectd {how} ({why}); starting it again");
        self.connects.clear();
        self.pings.clear();
        self.leaving.clear();
        self.view.send_modify(|view| view.connected.clear());
        self.restarts.pause().await;
        // The same ports as before. It may have died before it had any.
        let listening = match self.view.borrow().listening.clone() {
            none if none.is_empty() => crate::boot::listen(&self.node.options),
            ports => Ok(ports),
        };
        let listening = match listening {
            Ok(listening) => listening,
            Err(error) => return self.node.stop(Stop::Fatal(format!("{error:#}"))),
        };
        if let Err(error) = self.start(listening).await {
            let why = format!("connectd cannot be started: {error}");
            return self.node.stop(Stop::Fatal(why));
        }
        let greetings: Vec<ToConnectd> = self.greetings.iter().map(greet).collect();
        for message in greetings {
            let _ = self.link.to.send(&message).await;
        }
        let (awaited, mut all) = mpsc::channel(1);
        (self.node.channels).tell_all(Mail::ConnectdRestarted(Awaited(awaited)));
        let (node, tasks) = (self.node.clone(), &self.node.tasks);
        tasks.spawn(async move {
            let _ = tokio::time::timeout(SOCKETS_WITHIN, all.recv()).await;
            node.peers.open();
        });
    }

    async fn start(&mut self, listening: Vec<SocketAddr>) -> anyhow::Result<()> {
        let node = &self.node;
        let (link, noise) = node.subdaemons.connectd(&node.options, &listening)?;
        mint_end(&node.hsm.ctl, Role::Noise, noise).await?;
        self.link = link;
        start_connectd(&self.link, node, listening).await
    }

    async fn ask(&mut self, ask: Ask) {
        let request = self.request();
        let message = match ask {
            Ask::Connect {
                peer,
                addresses,
                done,
            } => {
                if !addresses.is_empty() {
                    self.addresses.insert(peer, addresses);
                }
                let addresses = self.addresses.get(&peer).cloned().unwrap_or_default();
                if addresses.is_empty() && !self.view.borrow().connected.contains_key(&peer) {
                    let _ = done.send(Err(Vec::new()));
                    return;
                }
                self.connects.insert(request, done);
                ToConnectd::Connect {
                    request,
                    peer,
                    addresses,
                }
            }
            Ask::Disconnect { peer, reason, done } => {
                self.leaving.entry(peer).or_default().extend(done);
                ToConnectd::Disconnect { peer, reason }
            }
            Ask::Attach {
                peer,
                channel_ids,
                socket,
            } => {
                let attach = ToConnectd::Attach { peer, channel_ids };
                let _ = self.link.to.send_with_fds(&attach, vec![socket]).await;
                return;
            }
            Ask::Open => ToConnectd::Open,
            Ask::Keep { peer, keep } => {
                let addresses = self.addresses.get(&peer).cloned().unwrap_or_default();
                ToConnectd::Keep {
                    peer,
                    addresses,
                    keep,
                }
            }
            Ask::Send { peer, message } => ToConnectd::Send {
                peer,
                data: message.encode(),
            },
            Ask::Greet { peer, message } => {
                let data = message.map_or_else(Vec::new, |message| message.encode());
                let message = greet((&peer, &data));
                match data.is_empty() {
                    true => drop(self.greetings.remove(&peer)),
                    false => drop(self.greetings.insert(peer, data)),
                }
                message
            }
            Ask::Know { peer, address } => {
                if let Entry::Vacant(unknown) = self.addresses.entry(peer) {
                    crate::boot::remember_address(&self.node, peer, address.clone());
                    unknown.insert(vec![address]);
                }
                return;
            }
            Ask::Ping {
                peer,
                len,
                pong_len,
                done,
            } => {
                self.pings.insert(request, done);
                ToConnectd::Ping {
                    request,
                    peer,
                    len,
                    pong_len,
                }
            }
        };
        let _ = self.link.to.send(&message).await;
    }

    /// Never waits for a name: connectd's other messages go on.
    async fn resolve(&mut self, request: u64, name: String) {
        let to = self.link.to.clone();
        let begun = self.lookups.spawn(async move {
            let found = locate::resolve(&name).await;
            let _ = to.send(&ToConnectd::Resolved { request, found }).await;
        });
        if begun.is_none() {
            let why = "too many names are being resolved".to_owned();
            let found = Resolved::Failed { why };
            let _ = (self.link.to)
                .send(&ToConnectd::Resolved { request, found })
                .await;
        }
    }

    async fn said(&mut self, said: ToLightningd) {
        match said {
            ToLightningd::Ready { listening } => {
                for address in &listening {
                    tracing::info!("listening on {address}");
                }
                self.view.send_modify(|view| {
                    view.listening = listening;
                    view.ready = true;
                });
            }
            ToLightningd::Resolve { request, name } => self.resolve(request, name).await,
            ToLightningd::StartFailed { reason } => self.node.stop(Stop::Fatal(reason)),
            ToLightningd::Connected {
                peer,
                address,
                inbound,
                features,
                requests,
            } => {
                self.connected(
                    peer,
                    Peer {
                        address,
                        inbound,
                        features,
                    },
                    requests,
                )
                .await;
            }
            ToLightningd::ConnectFailed {
                request,
                peer,
                reasons,
            } => {
                tracing::debug!(%peer, "connect failed: {reasons:?}");
                if let Some(done) = self.connects.remove(&request) {
                    let _ = done.send(Err(reasons));
                }
            }
            ToLightningd::Disconnected { peer, reason } => {
                tracing::debug!(%peer, "disconnected: {reason}");
                self.view
                    .send_modify(|view| drop(view.connected.remove(&peer)));
                self.leaving.remove(&peer);
            }
            ToLightningd::Unclaimed { peer, data } => self.unclaimed(peer, &data).await,
            ToLightningd::Pong { request, len } => {
                if let Some(done) = self.pings.remove(&request) {
                    let _ = done.send(len);
                }
            }
        }
    }

    async fn connected(&mut self, peer: NodeId, how: Peer, requests: Vec<u64>) {
        tracing::debug!(%peer, "connected {} {}", if how.inbound { "from" } else { "to" }, how.address);
        if !how.inbound {
            self.addresses.insert(peer, vec![how.address.to_string()]);
            crate::boot::remember_address(&self.node, peer, how.address.to_string());
        }
        self.view
            .send_modify(|view| drop(view.connected.insert(peer, how.clone())));
        for request in requests {
            if let Some(done) = self.connects.remove(&request) {
                let _ = done.send(Ok(how.clone()));
            }
        }
        let stores = Features::from_bytes(&how.features).has(Feature::ProvideStorage);
        self.node.backup.connected(peer, stores).await;
    }

    /// A peer's message that belongs to no channel's socket.
    async fn unclaimed(&self, peer: NodeId, data: &[u8]) {
        match Message::decode(data) {
            Ok(message @ Message::OpenChannel(_)) => {
                crate::channels::accept(self.node.clone(), peer, message);
            }
            Ok(Message::Error(error)) => {
                tracing::warn!(%peer, "peer says error: {}", error.text());
                if error.channel_id == ChannelId::ALL {
                    self.node
                        .channels
                        .tell_peer(peer, &Mail::PeerError(error.text()));
                }
            }
            Ok(Message::Warning(warning)) => {
                tracing::warn!(%peer, "peer says warning: {}", warning.text());
            }
            Ok(message @ (Message::PeerStorage(_) | Message::PeerStorageRetrieval(_))) => {
                self.node.backup.said(peer, message).await;
            }
            Ok(message) => self.unknown_channel(peer, &message),
            Err(error) => {
                let text = format!("cannot be decoded: {error}");
                self.node.peers.send(peer, warning(ChannelId::ALL, &text));
                self.node.peers.drop_connection(peer, text);
            }
        }
    }

    /// BOLT 2, channel_reestablish: a channel that we do not know gets an error. One whose process
    /// is only not attached (yet, or just now) does not: an error would close it.
    fn unknown_channel(&self, peer: NodeId, message: &Message) {
        if let Some(channel_id) = message.channel_id() {
            tracing::debug!(%peer, "{} for unclaimed channel {channel_id}", message.name());
            if self.may_know(peer, channel_id) {
                // The message is lost for its channel: it is said again on a new connection.
                let reason = "a channel was not ready".to_owned();
                return self.node.peers.drop_connection(peer, reason);
            }
            if matches!(message, Message::ChannelReestablish(_)) {
                self.node
                    .peers
                    .send(peer, error(channel_id, "unknown channel"));
            }
        }
    }
}

impl Peers {
    /// Whether the peer has this channel with us, or one that has not said yet which it is.
    fn may_know(&self, peer: NodeId, channel_id: ChannelId) -> bool {
        let published = self.node.channels.summaries();
        let all = self.node.channels.mailboxes();
        let silent = |dbid: ChannelDbid| published.iter().all(|summary| summary.dbid != dbid);
        published
            .iter()
            // A spent one is attached to nothing any more.
            .filter(|summary| !is_spent(summary.state))
            .any(|summary| summary.peer == peer && summary.channel_id == Some(channel_id))
            || all
                .iter()
                .any(|(dbid, whose, _)| *whose == peer && silent(*dbid))
    }
}

fn greet((peer, data): (&NodeId, &Vec<u8>)) -> ToConnectd {
    let (peer, data) = (*peer, data.clone());
    ToConnectd::Greet { peer, data }
}

/// BOLT 1 error.
#[must_use]
pub fn error(channel_id: ChannelId, text: &str) -> Message {
    Message::Error(wire::messages::Error {
        channel_id,
        data: text.as_bytes().to_vec(),
    })
}

/// BOLT 1 warning.
#[must_use]
pub fn warning(channel_id: ChannelId, text: &str) -> Message {
    Message::Warning(wire::messages::Warning {
        channel_id,
        data: text.as_bytes().to_vec(),
    })
}
