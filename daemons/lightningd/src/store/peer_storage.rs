//! What peers have us keep (BOLT 1, Peer storage).

use lightningd_db::{Cf, Record};
use serde::{Deserialize, Serialize};
use wire::BlockHeight;

/// The last blob of a peer's; the key is its node id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStorage {
    /// At most 65,531 bytes.
    #[serde(with = "serde_bytes")]
    pub blob: Vec<u8>,
    /// The tip when its last channel with us had gone.
    pub alone_since: Option<BlockHeight>,
}

impl Record for PeerStorage {
    const CF: Cf = Cf::PeerStorage;
    const VERSION: u8 = 1;
    type Key = [u8; 33];
}
