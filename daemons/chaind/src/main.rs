//! chaind follows the chain for lightningd: it reads blocks from bitcoind, reports what was asked
//! for, hands transactions to the network and asks what they should pay.
//!
//! Holds: HTTP connections to the one backend that lightningd named, what lightningd wants to hear of
//! (scripts and outpoints), the last blocks.
//! Talks to: lightningd and that backend.
//!
//! Never: a key of the node, any other port than the backend's, a file, a name service: lightningd
//! says at each connection where the backend is and with which password. That is in no log.
//!
//! The backend is trusted to know the best chain, and with nothing else: its answers are limited in
//! length and checked, and the worst that one can do is to make chaind wait and say why.
//!
//! If it dies, lightningd starts it again and says where to go on; no block and no broadcast is
//! lost, because lightningd remembers both. If the backend dies, chaind waits for it and goes on.
//!
//! Rooms: `serve` (the edge, who runs beside whom), `session` (from one trouble of the backend to
//! the next), `follow` (which block comes next, what of it matters), `watch` (what lightningd wants
//! to hear of), `tip` (noticing a new block), `broadcast`, `fees`, `rpc` (bitcoind's methods as
//! functions), `http` (a connection), `locate` (where to).

use std::process::ExitCode;

mod broadcast;
mod fees;
mod follow;
mod http;
mod locate;
mod rpc;
mod serve;
mod session;
mod tip;
mod watch;

fn main() -> ExitCode {
    subd::run(subd::Role::Chaind, serve::serve)
}
