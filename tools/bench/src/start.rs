//! A node with many channels: how long it takes to start, and what a block costs it; and how much a
//! payment leaves on the disk.
//!
//! Two nodes have all the channels with each other, over one connection. One of them is stopped and
//! started; the other one stays.

mod blocks;
mod report;
mod size;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blackbox::{Bitcoind, Network, Node, Options, until};
use serde_json::json;

use blocks::Block;

/// Satoshi of each channel.
const CHANNEL: u64 = 100_000;
/// Openings of one peer that an accepter lets wait for a block.
const PENDING: usize = 10;
/// Between two looks at a node that starts.
const LOOK: Duration = Duration::from_millis(1);

/// How much to measure.
#[derive(clap::Args, Clone)]
pub struct Asked {
    /// How many channels, one row for each, ascending.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1000])]
    channels: Vec<usize>,
    /// Starts for each row.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Empty blocks and full ones for each row.
    #[arg(long, default_value_t = 5)]
    blocks: usize,
    /// Payments over which the database's growth is measured; 0: not at all.
    #[arg(long, default_value_t = 1000)]
    payments: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured with so many channels.
struct Row {
    channels: usize,
    /// For how long the channels of this row were being opened.
    setup: Duration,
    /// From the start of lightningd to its first answer to getinfo; sorted.
    answered: Vec<Duration>,
    /// From there to all channels being reestablished; sorted.
    reestablished: Vec<Duration>,
    empty: Vec<Block>,
    full: Vec<Block>,
    /// Memory of all its processes, with shares of what they share, in KiB.
    pss: u64,
    /// Of the database, in bytes.
    database: u64,
}

pub fn run(asked: &Asked) -> Result<()> {
    let mut rows = Vec::new();
    if asked.channels.iter().any(|channels| *channels > 0) {
        rows = with_channels(asked)?;
    }
    let size = match asked.payments {
        0 => None,
        payments => Some(size::measure(payments)?),
    };
    report::print(asked, &rows, size.as_ref())
}

fn with_channels(asked: &Asked) -> Result<Vec<Row>> {
    let options = Options {
        arguments: vec!["--funding-confirms=1".into(), "--log-level=info".into()],
        ..Options::default()
    };
    let mut network = Network::start_with(&["alice", "bob"], &options)?;
    let mut filler = blocks::Filler::new(&network.bitcoind)?;
    let mut wanted = asked.channels.clone();
    wanted.sort_unstable();
    prepare(&network, *wanted.last().unwrap_or(&0))?;
    let mut rows = Vec::new();
    let mut open = 0;
    for channels in wanted {
        let begun = Instant::now();
        open_until(&network, &mut open, channels)?;
        let setup = begun.elapsed();
        let mut row = Row {
            channels,
            setup,
            answered: Vec::new(),
            reestablished: Vec::new(),
            empty: Vec::new(),
            full: Vec::new(),
            pss: 0,
            database: 0,
        };
        for round in 0..asked.starts {
            let (answered, all) = start(network.nodes.first_mut().context("alice")?, channels)?;
            eprintln!(
                "{channels} channels, start {} of {}: {answered:.0?} to getinfo, then {all:.1?}",
                round + 1,
                asked.starts
            );
            row.answered.push(answered);
            row.reestablished.push(all);
        }
        row.answered.sort_unstable();
        row.reestablished.sort_unstable();
        let alice = network.nodes.first().context("alice")?;
        for round in 0..asked.blocks {
            eprintln!(
                "{channels} channels, blocks {} of {}",
                round + 1,
                asked.blocks
            );
            row.empty.push(blocks::empty(&network.bitcoind, alice)?);
            row.full.push(filler.full(&network.bitcoind, alice)?);
        }
        network.sync()?;
        let processes = alice.processes();
        row.pss = processes.iter().filter_map(|p| p.pss()).map(|k| k.0).sum();
        row.database = size::of_folder(&alice.network_dir().join("db"))?;
        rows.push(row);
    }
    Ok(rows)
}

fn prepare(network: &Network, channels: usize) -> Result<()> {
    let [alice, bob] = nodes(network)?;
    alice.lift_limits()?;
    let each = CHANNEL + 2_000;
    alice.fund(&network.bitcoind, each * channels as u64 + 1_000_000)?;
    alice.connect(bob)
}

fn nodes(network: &Network) -> Result<[&Node; 2]> {
    match network.nodes.as_slice() {
        [alice, bob] => Ok([alice, bob]),
        _others => anyhow::bail!("two nodes were started"),
    }
}

/// Opens channels, as many at a time as may wait, until there are so many.
fn open_until(network: &Network, open: &mut usize, channels: usize) -> Result<()> {
    let [alice, bob] = nodes(network)?;
    let id = bob.id()?;
    while *open < channels {
        let now = (channels - *open).min(PENDING);
        for _ in 0..now {
            let params = json!({
                "id": id, "amount": CHANNEL, "push_msat": CHANNEL * 500, "feerate": "1000perkw",
                "minconf": 0, "announce": false,
            });
            alice.rpc("fundchannel", params)?;
        }
        *open += now;
        if open.is_multiple_of(100) || *open == channels {
            eprintln!("{open} channels are opened");
        }
        network.bitcoind.mine(1)?;
        for node in [alice, bob] {
            wait_for_all(node, *open)?;
        }
    }
    Ok(())
}

/// Waits until so many channels are normal and reestablished.
fn wait_for_all(node: &Node, channels: usize) -> Result<()> {
    let name = node.name();
    until(&format!("{name} has {channels} channels"), || {
        Ok((usable(node)? == channels).then_some(()))
    })
}

fn usable(node: &Node) -> Result<usize> {
    let listed = node.rpc("listpeerchannels", json!({}))?;
    let channels = listed["channels"].as_array().map(Vec::as_slice);
    let usable = channels.unwrap_or_default().iter().filter(|channel| {
        channel["state"] == "CHANNELD_NORMAL" && channel["reestablished"] == true
    });
    Ok(usable.count())
}

/// Stops it and starts it: the time to its first answer, and from there to all channels.
fn start(node: &mut Node, channels: usize) -> Result<(Duration, Duration)> {
    node.stop()?;
    let begun = Instant::now();
    node.begin()?;
    let mut connection = loop {
        match node.client().connect("bench start") {
            Ok(connection) => break connection,
            Err(_) => std::thread::sleep(LOOK),
        }
        anyhow::ensure!(begun.elapsed() < blackbox::patience(), "it does not start");
    };
    connection.call("getinfo", json!({}))?;
    let answered = begun.elapsed();
    wait_for_all(node, channels)?;
    Ok((answered, begun.elapsed() - answered))
}

/// Waits until the node has seen the tip.
fn wait_for_height(node: &Node, bitcoind: &Bitcoind) -> Result<()> {
    node.wait_for_height(bitcoind.height()?)
}
