//! hsmd holds the seed and every key, and signs what its own ledger says is right.
//!
//! Holds: the seed, the keys, the journal of what was signed. Talks to: one socket for each role
//! and channel; the socket is the identity. Never: the network, any file but `hsm_secret` and
//! `hsm-journal` in the folder whose descriptor it was given. If it dies, the node stops:
//! nothing can be signed without it, and its journal says on the next start what was.
//!
//! No async runtime: a loop that takes what all sockets have, syncs the journal once, and only then
//! lets the replies go.

use std::process::ExitCode;

mod clients;
mod ctl;
mod roles;
mod serve;

fn main() -> ExitCode {
    subd::run(subd::Role::Hsmd, serve::serve)
}
