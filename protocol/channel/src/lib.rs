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
//!
//! Who may be ahead of whom after a crash:
//! - the database of hsmd with a signature for the peer: Persist stands before SignRemote, so that
//!   hsmd never signed a commitment that the database does not know. At reestablish the same
//!   SignRemote is made again from what is stored;
//! - hsmd of the database with a commitment of ours or a secret of the peer's: one Persist is
//!   saved so. At reestablish the peer sends both again and hsmd takes the repetition. But one that lacks
//!   an HTLC which we offered for another waits for a Persist if the peer has fulfilled that HTLC: should the peer
//!   never come back, its preimage is what the incoming half is claimed with.
//!
//! What the node owes the core:
//! - writes go through one ordered writer: what follows from a [`action::Notice`] is handed to it
//!   before the Persist or Record that comes after that notice in the list. A `Resolved` failure
//!   is told right before the Record in which its HTLC is gone;
//! - after a restart, a [`action::Command::Add`] without an HTLC of its [`action::Origin`] never
//!   left: it counts as refused;
//! - `Locked`, `Resolved`, `FundingSigned`, `WatchFunding` and `MutualClose` can come twice.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod action;
pub mod backup;
pub mod channel;
pub mod closing;
pub mod opening;
pub mod progress;
mod running;
pub mod state;

pub use channel::Channel;
