//! channeld runs one channel, from open_channel to the mutual close.
//!
//! Holds: its peer's messages (through connectd), a socket to hsmd that is bound to this channel,
//! and the channel's state in memory. Talks to: lightningd, connectd, hsmd. Never: a key, the
//! disk, the network, another channel. If it dies: the peer is disconnected by the closed
//! socket, lightningd starts a new one from the last Persist, and the channel is reestablished.
//!
//! Three descriptors need no async runtime: it is a poll loop around the pure core.

use std::process::ExitCode;

mod onions;
mod peer;
mod shell;
mod start;

fn main() -> ExitCode {
    subd::run(subd::Role::Channeld, start::serve)
}
