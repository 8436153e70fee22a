//! Where peers were last reached.

use lightningd_db::{Cf, Record};
use serde::{Deserialize, Serialize};

/// Addresses of a peer, newest first; the key is its node id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub addresses: Vec<String>,
}

impl Record for Peer {
    const CF: Cf = Cf::Peers;
    const VERSION: u8 = 1;
    type Key = [u8; 33];
}
