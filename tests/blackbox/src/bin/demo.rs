//! `cargo xtask demo` runs this: see `blackbox::demo`.

use clap::Parser;

/// Three nodes on a private regtest chain: channels, payments through one of them, a close.
#[derive(Parser)]
struct Cli {
    /// Leave the nodes and bitcoind running at the end, and print how to talk to them.
    #[arg(long)]
    keep: bool,
}

fn main() -> anyhow::Result<()> {
    blackbox::demo::run(Cli::parse().keep)
}
