//! The life of one channel as a pure state machine: event in, actions out (BOLT 2).
//!
//! The shell (channeld) runs the actions of each list in order:
//! - [`Action::Persist`]: hand it to the database and wait until it is durable before the next action;
//! - [`Action::Record`]: hand it over in order, do not wait (a later Persist of anybody covers it);
//! - [`Action::AskSigner`]: always the last of its list; the reply is the next event;
//! - [`Action::Send`] and [`Action::Tell`]: hand over.
//!
//! When no event waits, the shell says [`Event::Flush`]: now what has queued becomes one
//! commitment. So batches grow with what is outstanding, and no timer holds a payment back.
//!
//! Money rule 1 in this form: each Send that binds us stands behind the Persist (and the
//! signer's journal) that makes its state durable.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod action;
pub mod closing;
pub mod opening;
pub mod state;
