//! lightningd is the node: it starts every other process and is the only one that writes the
//! database.
//!
//! Holds: RocksDB, the wallet's coins, invoices and payments, the RPC socket. Talks to: every
//! subdaemon, each over an edge of its own; RPC clients. Never: a key, a TCP socket. If it dies,
//! all die with it; the next start goes on from what was durable. A subdaemon that dies is
//! started again, but without hsmd the node stops.

#![recursion_limit = "256"] // json! of large replies

use std::process::ExitCode;

use process::Asked;

mod backup;
mod books;
mod boot;
mod chain;
mod channel;
mod channel_update;
mod channels;
mod check;
mod commands;
mod features;
mod feerates;
mod first_start;
mod forwards;
mod hsm;
mod invoices;
mod live_backup;
mod locate;
mod logbook;
mod mailbox;
mod moment;
mod node;
mod payd;
mod payments;
mod peers;
mod process;
mod sandbox;
mod store;
mod subdaemons;
mod tip;
mod verify;
mod wallet;

fn main() -> ExitCode {
    abort_on_panic();
    match process::prepare() {
        Ok(Some(Asked::Node(ready))) => boot::run(*ready),
        Ok(Some(Asked::Check(options, output))) => check::run(&options, output),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lightningd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A node that went wrong does not unwind through its state: what is durable is what the next start
/// goes on from.
fn abort_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        say(info);
        tracing::error!("lightningd panicked: {info}");
        std::process::abort();
    }));
}
