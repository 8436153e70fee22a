//! A channel whose funding output is spent, or about to be: which outputs are whose, what we take and
//! when, what it may cost, and how each HTLC ends (BOLT 5). Event in, actions out.
//!
//! Pure: no key, socket, clock or disk. hsmd signs what is asked for here ([`tx::onchain`]); onchaind
//! carries. What it knows is [`Facts`], which do not change, and [`State`], which the chain writes:
//! all else is worked out from these two at every step, so that a reorg only takes entries out.
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
mod claims;
mod feerates;
mod onchain;
mod plan;
pub mod state;
mod tree;

pub use action::{Action, Event, Facts, Notice};
pub use onchain::{Onchain, REWIND};
pub use state::State;
