//! Announcements (BOLT 7). Their signatures cover every byte after them, known or not, so these
//! messages keep what follows their known fields.

use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;

use super::{NetAddress, message};
use crate::codec::{DecodeError, Reader};
use crate::features::Features;
use crate::units::*;

message! {
    /// The sender's half of the signatures of a `channel_announcement`.
    AnnouncementSignatures = 259 {
        channel_id: ChannelId,
        short_channel_id: ShortChannelId,
        node_signature: Signature,
        bitcoin_signature: Signature,
    }
}

message! {
    /// A channel and the proof that its two nodes own it.
    ChannelAnnouncement = 256 {
        node_signature_1: Signature,
        node_signature_2: Signature,
        bitcoin_signature_1: Signature,
        bitcoin_signature_2: Signature,
        features: Features,
        chain_hash: ChainHash,
        short_channel_id: ShortChannelId,
        /// The lesser of the two in byte order.
        node_id_1: NodeId,
        node_id_2: NodeId,
        bitcoin_key_1: PublicKey,
        bitcoin_key_2: PublicKey,
    }
    signed_rest
}

message! {
    /// A node's name and addresses.
    NodeAnnouncement = 257 {
        signature: Signature,
        features: Features,
        /// Seconds since 1970; only the newest counts.
        timestamp: u32,
        node_id: NodeId,
        rgb_color: [u8; 3],
        /// UTF-8, filled with zero bytes.
        alias: [u8; 32],
        /// Address descriptors as sent; see [`NodeAnnouncement::net_addresses`].
        #[serde(with = "serde_bytes")]
        addresses: Vec<u8>,
    }
    signed_rest
}

message! {
    /// One direction of a channel: fees, limits, enabled or not.
    ChannelUpdate = 258 {
        signature: Signature,
        chain_hash: ChainHash,
        short_channel_id: ShortChannelId,
        /// Seconds since 1970; only the newest counts.
        timestamp: u32,
        /// Bit 0 must be set; bit 1: do not forward.
        message_flags: u8,
        /// Bit 0: direction (0 from node 1); bit 1: disabled.
        channel_flags: u8,
        cltv_expiry_delta: BlockDelta,
        htlc_minimum_msat: MilliSatoshi,
        /// Millisatoshi.
        fee_base_msat: u32,
        /// Millionths of the amount.
        fee_proportional_millionths: u32,
        htlc_maximum_msat: MilliSatoshi,
    }
    signed_rest
}

impl ChannelAnnouncement {
    /// Where in the encoded message, type included, the signed bytes start.
    pub const SIGNED_FROM: usize = 2 + 4 * 64;
}

impl NodeAnnouncement {
    /// Where in the encoded message, type included, the signed bytes start.
    pub const SIGNED_FROM: usize = 2 + 64;

    /// The addresses up to the first of an unknown type (BOLT 7, receiver).
    ///
    /// # Errors
    /// `UnexpectedEnd` where an address of a known type is cut off.
    pub fn net_addresses(&self) -> Result<Vec<NetAddress>, DecodeError> {
        let mut from = Reader::new(&self.addresses);
        let mut found = vec![];
        while let Some(address) = NetAddress::take_known(&mut from)? {
            found.push(address);
        }
        Ok(found)
    }
}

impl ChannelUpdate {
    /// Where in the encoded message, type included, the signed bytes start.
    pub const SIGNED_FROM: usize = 2 + 64;

    /// 0 from node 1 to node 2, 1 for the other direction.
    #[must_use]
    pub fn direction(&self) -> u8 {
        self.channel_flags & 1
    }

    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.channel_flags & 2 != 0
    }
}
