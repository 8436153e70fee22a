//! What hsmd can be asked, role by role. A power that a role lacks is a variant that its enum lacks.
//!
//! Replies come in the order of the requests. No message carries a digest, a transaction to sign,
//! a merkle root or a derivation path (D1); none names a channel that its socket is bound to (D3).
//!
//! A crate of its own, so that hsmd links no message of the other edges and nothing that those need.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod backup;
pub mod chan;
pub mod ctl;
pub mod edges;
pub mod gossip;
pub mod invoice;
pub mod limits;
pub mod mark;
pub mod noise;
pub mod onchain;
pub mod operator;
pub mod pay;
pub mod rpc;
mod schema;
pub mod tip;
pub mod wallet;

pub use edges::hello;
pub use schema::{SCHEMA, SCHEMA_TEXT};

use serde::{Deserialize, Serialize};

/// Who is at the other end of a socket that CTL mints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// connectd: BOLT 8 key steps.
    Noise,
    /// One channel's channeld.
    Chan,
    /// lightningd's wallet.
    Wallet,
    /// channel_update; lightningd until gossipd takes it.
    Gossip,
    /// Invoices.
    Invoice,
    /// Approvals of payments.
    Pay,
    /// What users ask by name: lightningd.
    Rpc,
    /// One spent channel's onchaind.
    Onchain,
    /// What is on chain: lightningd.
    Tip,
    /// What is kept to recover from: lightningd.
    Backup,
}

/// A rule was broken: which, and how. Nothing was signed, nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("refused by rule {rule}: {reason}")]
pub struct Refused {
    pub rule: String,
    pub reason: String,
}
