//! Storage that peers keep for each other (BOLT 1, Peer storage).

use super::message;

message! {
    /// Keep this for me; replaces what was kept before.
    PeerStorage = 7 {
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
    }
}

message! {
    /// The last blob that the receiver stored with the sender.
    PeerStorageRetrieval = 9 {
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
    }
}
