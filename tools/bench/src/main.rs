//! Benchmarks on real processes: ours and a peer's in the same run, nothing turned off.
//!
//! A table for people, `--json` for programs. Timings decide nothing here.

mod hsm;
mod journal;
mod ldk;
mod machine;
mod ours;
mod start;
mod table;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::journal::Place;

/// Measures Bulkhead beside other nodes.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Payments over one channel between two nodes: ours, then two ldk-node nodes.
    Payments(Payments),
    /// Requests to hsmd: its journal on a disk, then on a RAM disk.
    Hsm(hsm::Asked),
    /// Starts and blocks of a node with many channels, and what payments leave on the disk.
    Start(start::Asked),
}

/// How much to measure.
#[derive(clap::Args, Clone)]
struct Payments {
    /// Payments for each row, at most; a row with few at once makes fewer.
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// Seconds after which a row begins no more payments.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Millisatoshi of each; below 354,000 an HTLC has no output of its own.
    #[arg(long, default_value_t = 1_000_000)]
    msat: u64,
    /// How many at once, one row for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 30, 400])]
    at_once: Vec<usize>,
    /// Without the ldk-node pair.
    #[arg(long)]
    only_ours: bool,
    /// Our nodes alone, with hsmd's journal on the disk and on a RAM disk.
    #[arg(long)]
    journal: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Payments {
    /// Payments of a row with so many at once: enough of them for a median and a tail, and no more
    /// than a slow node makes in the time.
    fn of_row(&self, at_once: usize) -> usize {
        self.count.min(150 + 50 * at_once)
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Payments(payments) => run(&payments),
        What::Hsm(asked) => hsm::run(&asked),
        What::Start(asked) => start::run(&asked),
    }
}

fn run(asked: &Payments) -> Result<()> {
    if asked.journal {
        return journal::run(asked);
    }
    let ours = ours::measure(asked, Place::Disk)?;
    let ldk = if asked.only_ours {
        Vec::new()
    } else {
        ldk::measure(asked)?
    };
    table::print(asked, &ours, &ldk)
}
