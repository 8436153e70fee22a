//! Signatures of peers on gossip that concerns our own channels.

use bitcoin::hashes::{Hash, sha256d};
use secp256k1::{Message as Digest, SECP256K1};
use wire::messages::ChannelUpdate;
use wire::{Message, NodeId};

/// Length of type and signature, which the signature does not cover (BOLT 7).
const UNSIGNED: usize = 2 + 64;

/// BOLT 7, channel_update: double SHA-256 of everything after the signature, by the node's key.
#[must_use]
pub fn channel_update(update: &ChannelUpdate, node: NodeId) -> bool {
    let encoded = Message::ChannelUpdate(update.clone()).encode();
    let signed = encoded.get(UNSIGNED..).unwrap_or_default();
    let digest = Digest::from_digest(sha256d::Hash::hash(signed).to_byte_array());
    SECP256K1
        .verify_ecdsa(&digest, &update.signature, &node.0)
        .is_ok()
}
