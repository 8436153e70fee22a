//! A channel's own wire to its peer. Bound by its socket to one peer; may name only channel ids.

use serde::{Deserialize, Serialize};
use wire::ChannelId;

/// Which of the peer's connections, counted by connectd. What was said for one that has ended
/// while it was under way is never said on the next: there, channel_reestablish comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Connection(pub u64);

/// connectd to channeld.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToChanneld {
    /// The peer is connected and init is exchanged. `features` is the peer's init vector, big endian as on the wire.
    /// The channel's answers name this `connection`.
    Connected {
        connection: Connection,
        features: Vec<u8>,
    },
    /// The connection named last has ended.
    Disconnected,
    /// A message of the peer for one of the ids that were claimed; type and body, decrypted, not decoded.
    Message {
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
}

/// channeld to connectd. A socket that closes while it has ids claimed takes the connection with it: the
/// channel's process died and its peer must reestablish. Release them first to leave quietly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToConnectd {
    /// Effect: from now on messages of this peer with this (temporary) channel id come here.
    /// Refused if: another channel has it, or this one has too many (the socket is closed).
    Claim { channel_id: ChannelId },
    /// Effect: the opposite of Claim.
    Release { channel_id: ChannelId },
    /// Effect: encrypts and sends, in order. Dropped if `connection` has ended: the peer will reestablish.
    /// Refused if: it names a channel id that this socket has not claimed (it is dropped).
    Send {
        connection: Connection,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Effect: closes the connection to this peer, if it is still this one, once everything sent before is written.
    Disconnect {
        connection: Connection,
        reason: String,
    },
}
