//! The node key. It leaves nothing but signatures in the domains listed here (D2), and products with
//! points of others.

use bitcoin::hashes::{Hash, sha256d};
use invoice::{Bolt11Fields, BuildError};
use secp256k1::ecdh::SharedSecret;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SECP256K1};
use wire::{Body, ChannelUpdate};

use crate::secret::Key;
use crate::uses;

/// What keeps a signed text apart from everything else that the key signs, as CLN and LND have it.
pub(crate) const TEXT_PREFIX: &[u8] = b"Lightning Signed Message:";

/// All that the node key signs. The three cannot be mistaken for each other: an invoice is hashed
/// once, from "ln" on and with more than 32 bytes; the others twice, and an update begins with the
/// hash of a chain's first block, which no text can put before its prefix.
#[derive(Clone, Copy)]
pub(crate) enum NodeMessage<'a> {
    /// BOLT 11, Data Part.
    Bolt11(&'a Bolt11Fields),
    /// BOLT 7, channel_update: all behind the signature.
    ChannelUpdate(&'a ChannelUpdate),
    /// `signmessage`.
    Text(&'a str),
}

impl NodeMessage<'_> {
    pub(crate) fn digest(self) -> Result<[u8; 32], BuildError> {
        let twice = |bytes: &[u8]| sha256d::Hash::hash(bytes).to_byte_array();
        match self {
            NodeMessage::Bolt11(fields) => fields.signing_hash(),
            NodeMessage::ChannelUpdate(update) => {
                let bytes = update.to_bytes();
                let signed = bytes.get(ChannelUpdate::SIGNED_FROM..);
                Ok(twice(signed.unwrap_or_default()))
            }
            NodeMessage::Text(text) => Ok(twice(&[TEXT_PREFIX, text.as_bytes()].concat())),
        }
    }
}

pub(crate) struct NodeKey(Key<uses::Node>);

impl NodeKey {
    pub(crate) fn new(key: Key<uses::Node>) -> NodeKey {
        NodeKey(key)
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.0.public()
    }

    pub(crate) fn sign(
        &self,
        message: NodeMessage<'_>,
    ) -> Result<RecoverableSignature, BuildError> {
        let message = Message::from_digest(message.digest()?);
        Ok(SECP256K1.sign_ecdsa_recoverable(&message, self.0.to(uses::NodeMessage)))
    }

    /// BOLT 4, Shared Secret; BOLT 8, ECDH: SHA-256 of the compressed product.
    pub(crate) fn ecdh(&self, point: &PublicKey) -> [u8; 32] {
        SharedSecret::new(point, self.0.to(uses::Ecdh)).secret_bytes()
    }
}

/// The signature's 64 bytes and its recovery id, 0 to 3.
pub(crate) fn compact(signature: &RecoverableSignature) -> ([u8; 64], u8) {
    let (id, bytes) = signature.serialize_compact();
    (bytes, id.to_i32().unsigned_abs() as u8)
}
