//! Onion messages (BOLT 4, Onion Messages).

use secp256k1::PublicKey;

use super::message;

message! {
    /// One hop of an onion message.
    OnionMessage = 513 {
        path_key: PublicKey,
        #[serde(with = "serde_bytes")]
        onion_message_packet: Vec<u8>,
    }
}
