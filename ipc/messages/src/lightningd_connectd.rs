//! Peers: who to connect to, who has come, and which channel's socket is whose.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use wire::{ChainHash, ChannelId, NodeId};

/// lightningd to connectd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToConnectd {
    /// First message. Effect: listens and answers `Ready`.
    Start(Start),
    /// Effect: from now on, and not before, whoever dials is let in and who is asked for is dialled. Every channel
    /// that there is has its socket: what peers say has a place to wait in.
    Open,
    /// Effect: connects unless connected; one `Connected` or `ConnectFailed` names `request`.
    /// `addresses` are host:port, tried in order, before those known from before.
    Connect {
        request: u64,
        peer: NodeId,
        addresses: Vec<String>,
    },
    /// Effect: closes the connection once everything sent before is written; `Disconnected` follows.
    Disconnect { peer: NodeId, reason: String },
    /// Effect: the descriptor that comes along is the channeld_connectd edge of one of this peer's channels,
    /// with these ids claimed for it; one that had any of them before is closed. Says Connected at once if
    /// the peer is. Closing that socket detaches it (channeld_connectd.rs says how).
    Attach {
        peer: NodeId,
        channel_ids: Vec<ChannelId>,
    },
    /// Effect: while set, connectd reconnects to this peer by itself, with backoff. Said of a connected
    /// peer, the backoff begins anew: this connection was of use.
    Keep {
        peer: NodeId,
        addresses: Vec<String>,
        keep: bool,
    },
    /// Effect: sends a message as it is (errors, warnings, custom messages).
    Send {
        peer: NodeId,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Effect: from now on this message, which may be empty, is the first one after init of each connection to this
    /// peer, before any of its channels'.
    Greet {
        peer: NodeId,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Effect: BOLT 1 ping with `len` bytes asking for `pong_len`; one `Pong` names `request`.
    Ping {
        request: u64,
        peer: NodeId,
        len: u16,
        pong_len: u16,
    },
    /// Answers the `Resolve` of this number.
    Resolved { request: u64, found: Resolved },
    /// Effect: closes listeners and connections in order and exits.
    Stop,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolved {
    Addresses(Vec<SocketAddr>),
    /// Why not, in the system's words.
    Failed {
        why: String,
    },
}

/// What connectd has to know before it listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub node_id: NodeId,
    pub chain_hash: ChainHash,
    /// Our init features, big endian as on the wire.
    pub features: Vec<u8>,
    pub listen: Vec<SocketAddr>,
    /// Without it nothing is dialled or listened to (`--offline`).
    pub online: bool,
}

/// connectd to lightningd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToLightningd {
    /// Listening on these (port 0 resolved).
    Ready {
        listening: Vec<SocketAddr>,
    },
    /// Cannot listen: who is in the way and what to do.
    StartFailed {
        reason: String,
    },
    /// Asks what this host:port, which is no address, stands for: connectd asks no name service. One
    /// `Resolved` names `request`.
    Resolve {
        request: u64,
        name: String,
    },
    /// init went both ways. `request`: the Connect that it answers.
    Connected {
        peer: NodeId,
        address: SocketAddr,
        inbound: bool,
        features: Vec<u8>,
        requests: Vec<u64>,
    },
    /// `reasons`: one line an address.
    ConnectFailed {
        request: u64,
        peer: NodeId,
        reasons: Vec<String>,
    },
    Disconnected {
        peer: NodeId,
        reason: String,
    },
    /// A message for no attached channel: open_channel, errors and warnings, peer storage, or a channel that we do
    /// not know.
    Unclaimed {
        peer: NodeId,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// The pong had `len` bytes after its length (0 if none was asked for: BOLT 1, 65532 and more).
    /// `None`: the peer is not connected, went away, or no ping can have this length.
    Pong {
        request: u64,
        len: Option<u16>,
    },
}
