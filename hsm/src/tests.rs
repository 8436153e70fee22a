//! Whole signers against each other, and against what breaks them.

mod audit;
pub(crate) mod fixture;
mod journal;
mod limits;
mod line;
mod msgs;
mod pair;
mod payments;
mod rules;
mod spend;
mod stale;
mod tickets;
