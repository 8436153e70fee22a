//! Connection setup, control and errors (BOLT 1, Setup & Control messages).

use bitcoin::hex::DisplayHex;

use super::message;
use crate::features::Features;
use crate::units::{ChainHash, ChannelId};

message! {
    /// First message on a connection, both ways (BOLT 1, The `init` Message).
    Init = 16 {
        /// Only bits below 13; a receiver ors both.
        globalfeatures: Features,
        features: Features,
    }
    tlvs {
        /// Chains that the sender is interested in; absent means any.
        1 networks: Option<Vec<ChainHash>>,
        /// The address that the sender sees us at: one address descriptor as in
        /// `node_announcement`; read it with [`super::NetAddress::parse`].
        3 remote_addr: Option<Vec<u8>>,
    }
}

message! {
    /// Fatal for the channel, or for all channels with [`ChannelId::ALL`] (BOLT 1).
    Error = 17 {
        channel_id: ChannelId,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    }
}

message! {
    /// As [`Error`], but nothing has failed (BOLT 1).
    Warning = 1 {
        channel_id: ChannelId,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    }
}

message! {
    /// Asks for a [`Pong`] with so many bytes, unless that is 65532 or more (BOLT 1).
    Ping = 18 {
        num_pong_bytes: u16,
        #[serde(with = "serde_bytes")]
        ignored: Vec<u8>,
    }
}

message! {
    /// Answer to a [`Ping`] (BOLT 1).
    Pong = 19 {
        #[serde(with = "serde_bytes")]
        ignored: Vec<u8>,
    }
}

impl Error {
    /// For logs: `data` if it is printable ASCII, else as hex (BOLT 1 forbids to print the rest).
    #[must_use]
    pub fn text(&self) -> String {
        printable(&self.data)
    }
}

impl Warning {
    /// For logs: `data` if it is printable ASCII, else as hex (BOLT 1 forbids to print the rest).
    #[must_use]
    pub fn text(&self) -> String {
        printable(&self.data)
    }
}

pub(super) fn printable(data: &[u8]) -> String {
    // BOLT 1, error, receiver: print only what is wholly printable ASCII.
    if data.iter().all(|b| matches!(b, 32..=126)) {
        String::from_utf8_lossy(data).into_owned()
    } else {
        data.to_lower_hex_string()
    }
}
