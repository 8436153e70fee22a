//! Finding a way for a payment, and what each hop on it must be paid and given time for (BOLT 7).
//!
//! Pure: [`Router::find`] is a function of the router's knowledge and a [`RouteRequest`]. Today it
//! knows only what the request tells, our channels and the invoice's route hints, so a payment goes
//! to a direct peer or from a direct peer along one hint. A gossip graph will be state of
//! [`Router`]; a request and its answer stay what they are.
//!
//! Not here: splitting a payment, and learning from failures (a caller excludes channels).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod find;
mod request;
mod route;

pub use find::{NoRoute, Router};
pub use invoice::HintHop;
pub use request::{LocalChannel, RouteRequest};
pub use route::{HopInstructions, Route, RouteError, RouteHop};
