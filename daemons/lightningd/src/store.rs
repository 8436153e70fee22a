//! What lightningd writes down: one file for each kind of record (docs/database.md lists them).
//!
//! Rule 1, persist before you promise: everything goes through one ordered writer, so a record
//! written here is durable no later than any commit that is asked for after it.

pub mod chain;
pub mod channels;
pub mod descriptions;
pub mod forwards;
pub mod invoices;
pub mod moves;
pub mod onchain;
pub mod payments;
pub mod peer_storage;
pub mod peers;
pub mod transactions;
pub mod upgrade;
pub mod wallet;

/// Seconds since the epoch.
#[must_use]
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_secs())
        .unwrap_or(0)
}
