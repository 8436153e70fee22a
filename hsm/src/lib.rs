//! Every key of the node, what may be signed with it, and the journal that remembers what was.
//!
//! Linked by hsmd, and by the owner's tool for the seed file of a node that does not run ([`offline`]);
//! by nobody else. Who asks is hsmd's business (one socket per role and channel); whether
//! what is asked may be signed is decided here, from this crate's own ledger and never from what
//! the asker says about balances, numbers or earlier signatures.
//!
//! The order of things, for every request that changes something:
//! 1. a pure decision over the state gives a reply and the change, or the broken rule ([`Refused`]);
//! 2. the change is appended to the journal's buffer and applied to the state by the same code that
//!    replays the journal at start, so that a restart gives the same state;
//! 3. [`Hsm::sync`] writes all that was buffered and waits for the disk, once for any number of
//!    requests. **No reply may leave before it has returned**, not even one that changed nothing:
//!    it may tell of a change that is not durable yet. (Of the peer's secrets alone it only writes;
//!    [`Hsm::settle`] waits for those, see `record`.)
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod backup;
mod channel;
mod coins;
mod derive;
mod flows;
mod gossip;
mod hsm;
mod invoices;
mod journal;
mod label;
mod limits;
pub mod msgs;
mod node_key;
pub mod offline;
mod onchain;
mod pay;
mod record;
mod refused;
pub mod rules;
mod secret;
mod secretstream;
mod seed;
mod spend;
mod spending;
mod state;
#[cfg(test)]
mod tests;
mod tickets;
mod tip;
mod user;
pub mod uses;
mod velocity;
mod wallet;

pub use hsm::{Hsm, Locked, OpenError, Opened, Unconfirmed, seed_file};
pub use hsm_files::UnixTime;
pub use journal::JournalError;
pub use limits::{Allowance, DEFAULT, FLOOR};
pub use pay::Payment;
pub use refused::{Phase, Refused};
pub use rules::Rule;
pub use secret::{Memory, memory, scrub_stack};
pub use seed::{Origin, Passphrase, SeedError, StoredSeed, Words};
pub use wallet::{Address, Coin};
