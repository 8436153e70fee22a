//! What hsmd needs and what has no key in it: its folder, the audit log that it keeps there, time, rates.
//!
//! No key and no rule is in this room: who reads the log (`lightning-hsmtool`) needs neither. The
//! seed and the journal, which stand in the same folder, are the crate `hsm`'s.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod audit;
pub mod bucket;
pub mod folder;
mod time;

pub use time::UnixTime;
