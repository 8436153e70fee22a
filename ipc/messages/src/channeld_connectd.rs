//! A channel's own wire to its peer. Bound by its socket to one peer; may name only channel ids.

use serde::{Deserialize, Serialize};
use wire::ChannelId;

/// connectd to channeld.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToChanneld {
    /// The peer is connected and init is exchanged. `features` is the peer's init vector, big endian as on the wire.
    Connected { features: Vec<u8> },
    Disconnected,
    /// A message of the peer for one of the ids that were claimed; type and body, decrypted, not decoded.
    Message {
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
}

/// channeld to connectd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToConnectd {
    /// Effect: from now on messages of this peer with this (temporary) channel id come here.
    /// Refused if: another channel has it (the socket is closed).
    Claim { channel_id: ChannelId },
    /// Effect: the opposite of Claim.
    Release { channel_id: ChannelId },
    /// Effect: encrypts and sends, in order. Dropped if the peer is not connected: it will reestablish.
    Send {
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Effect: closes the connection to this peer once everything sent before is written.
    Disconnect { reason: String },
}
