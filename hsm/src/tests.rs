//! Whole signers against each other, and against what breaks them.

pub(crate) mod fixture;
mod journal;
mod msgs;
mod pair;
mod rules;
mod spend;
