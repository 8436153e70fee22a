//! Whole signers against each other, and against what breaks them.

mod allowances;
mod audit;
mod backup;
pub(crate) mod fixture;
mod gossip;
mod invoices;
mod journal;
mod keys;
mod limits;
mod line;
mod msgs;
mod onchain;
mod pair;
mod payments;
mod recovery;
mod rules;
mod spend;
mod stale;
mod tickets;
mod tip;
mod withdrawals;
