//! Whole channels: two cores, each with a stand-in for hsmd and a database, joined by a link.

mod dance;
mod faults;
mod fixture;
mod node;
mod opening;
mod random;
mod reestablish;
mod signer;
mod withdraw;
mod world;
