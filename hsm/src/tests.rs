//! Whole signers against each other, and against what breaks them.

mod fixture;
mod journal;
mod pair;
mod rules;
mod spend;
