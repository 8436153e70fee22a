//! onchaind resolves one channel whose funding output is spent, or about to be, until the last of its
//! outputs is buried.
//!
//! Holds: what the chain has shown of this channel, in memory, and a socket to hsmd that is bound to
//! it. Talks to: lightningd, hsmd. Never: a key, the disk, the network, another channel. If it dies:
//! lightningd starts another from the last Persist and tells it again what came after that.
//!
//! Two descriptors need no async runtime: it is a poll loop around the pure core.

use std::process::ExitCode;

mod shell;
mod start;

fn main() -> ExitCode {
    subd::run(subd::Role::Onchaind, start::serve)
}
