//! payd finds routes, builds the onions for them and reads the errors that come back.
//!
//! Holds: nothing that outlives a request (the routing graph will live here). Talks to:
//! lightningd alone. Never: a key of the node, the network, the disk. If it dies, lightningd
//! starts it again and asks again; no payment depends on its memory.

use std::process::ExitCode;

mod answer;
mod serve;

fn main() -> ExitCode {
    subd::run(subd::Role::Payd, serve::serve)
}
