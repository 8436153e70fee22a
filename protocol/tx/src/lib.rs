//! BOLT 3: what is in a channel and which transactions say so.
//!
//! Pure: no keys of ours, no socket, no clock. `hsm` signs what is built here and the
//! channel core reasons about the same ledger, so both mean the same transaction.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod ledger;
pub mod setup;
pub mod signer;
