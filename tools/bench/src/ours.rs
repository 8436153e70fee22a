//! Two of our nodes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blackbox::{Network, Node, Options};
use serde_json::json;

use crate::Payments;
use crate::journal::{self, Place};
use crate::table::Row;

/// A channel as large as BOLT 2 allows without option_support_large_channel.
const CHANNEL: u64 = 16_000_000;

/// What a node spent for each payment.
#[derive(Default)]
pub struct Cost {
    pub syncs: f64,
    pub hsm_requests: f64,
    pub hsm_syncs: f64,
}

/// Of one process, or of all of a node; in KiB.
pub struct Memory {
    pub node: String,
    pub process: String,
    /// With its share of what it shares, such as the pages of its program.
    pub pss: u64,
    /// What it shares with nobody.
    pub private: u64,
}

pub struct Ours {
    pub rows: Vec<Row>,
    pub payer: Cost,
    pub payee: Cost,
    pub memory: Vec<Memory>,
    /// Of all processes of both nodes, for each payment.
    pub cpu_ms: f64,
}

pub fn measure(asked: &Payments, place: Place) -> Result<Ours> {
    eprintln!("starting two Bulkhead nodes");
    let options = Options {
        arguments: vec![
            "--max-concurrent-htlcs=483".into(),
            "--log-level=info".into(),
        ],
        ..Options::default()
    };
    let mut network = Network::start_with(&["alice", "bob"], &options)?;
    {
        let [alice, bob] = nodes(&network)?;
        // More is paid than may leave in a day.
        alice.lift_limits()?;
        alice.fund(&network.bitcoind, CHANNEL + 1_000_000)?;
        alice.connect(bob)?;
        alice.open_channel(&network.bitcoind, bob, CHANNEL, 0)?;
    }
    let mut on_ram = Vec::new();
    for node in &mut network.nodes {
        on_ram.push(journal::restart(node, place)?);
    }
    {
        let [alice, bob] = nodes(&network)?;
        alice.wait_for_normal(bob)?;
    }
    let before = cpu(&network.nodes)?;
    let mut rows = Vec::new();
    for at_once in &asked.at_once {
        eprintln!("{} payments, {at_once} at once", asked.of_row(*at_once));
        let [alice, bob] = nodes(&network)?;
        rows.push(row(alice, bob, asked, *at_once)?);
    }
    let paid: usize = rows.iter().map(|row| row.count).sum();
    let cpu_ms = (cpu(&network.nodes)? - before).as_secs_f64() * 1000.0 / paid as f64;
    let memory = memory(&network)?;
    let mut costs = Vec::new();
    for node in &mut network.nodes {
        node.stop()?;
        costs.push(cost(&node.log(), paid));
    }
    drop(on_ram);
    let payee = costs.pop().unwrap_or_default();
    let payer = costs.pop().unwrap_or_default();
    Ok(Ours {
        rows,
        payer,
        payee,
        memory,
        cpu_ms,
    })
}

fn nodes(network: &Network) -> Result<[&Node; 2]> {
    match network.nodes.as_slice() {
        [alice, bob] => Ok([alice, bob]),
        _others => anyhow::bail!("two nodes were started"),
    }
}

fn row(alice: &Node, bob: &Node, asked: &Payments, at_once: usize) -> Result<Row> {
    let count = asked.of_row(at_once);
    let mut invoices = Vec::with_capacity(count);
    for n in 0..count {
        invoices.push(
            bob.invoice(asked.msat, &format!("{at_once} at once, {n}"))?
                .bolt11,
        );
    }
    let next = AtomicUsize::new(0);
    let latencies = Mutex::new(Vec::with_capacity(count));
    let client = alice.client();
    let started = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..at_once)
            .map(|n| {
                let (client, next, latencies, invoices) = (&client, &next, &latencies, &invoices);
                scope.spawn(move || -> Result<()> {
                    let mut connection = client.connect(&format!("bench {n}"))?;
                    while let Some(bolt11) = invoices.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let begun = Instant::now();
                        if begun.duration_since(started) > asked.time() {
                            break;
                        }
                        connection.call("pay", json!([bolt11]))?;
                        latencies
                            .lock()
                            .map_err(|_| anyhow::anyhow!("a worker died"))?
                            .push(begun.elapsed());
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker died"))??;
        }
        Ok(())
    })?;
    let took = started.elapsed();
    let latencies = latencies
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a worker died"))?;
    Ok(Row::new("Bulkhead", at_once, took, latencies))
}

/// User and system time of every process of the nodes.
pub fn cpu<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Result<Duration> {
    let mut ticks = 0;
    for process in nodes.into_iter().flat_map(Node::processes) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid.0))?;
        let after_name = stat.rsplit_once(')').context("odd /proc/PID/stat")?.1;
        // Fields 14 and 15 of proc(5); the first after the name is 3.
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        for index in [11, 12] {
            ticks += fields
                .get(index)
                .and_then(|f| f.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(Duration::from_millis(ticks * 10))
}

fn memory(network: &Network) -> Result<Vec<Memory>> {
    let mut rows = Vec::new();
    for node in &network.nodes {
        let of = |process: String, pss, private| Memory {
            node: node.name().to_owned(),
            process,
            pss,
            private,
        };
        let (mut pss, mut private) = (0, 0);
        for process in node.processes() {
            let (Some(all), Some(own)) = (process.pss(), process.private()) else {
                continue;
            };
            (pss, private) = (pss + all.0, private + own.0);
            rows.push(of(process.role.clone(), all.0, own.0));
        }
        rows.push(of("all".to_owned(), pss, private));
    }
    Ok(rows)
}

/// What the processes say of themselves when they stop.
fn cost(log: &str, paid: usize) -> Cost {
    let number_before = |line: &str, words: &str| -> Option<f64> {
        line.split_once(words)?
            .0
            .rsplit(' ')
            .find(|word| !word.is_empty())?
            .parse()
            .ok()
    };
    let last = |start: &str, words: &str| {
        let line = log.lines().rev().find(|line| line.contains(start));
        line.and_then(|line| number_before(line, words))
            .unwrap_or(f64::NAN)
            / paid as f64
    };
    Cost {
        syncs: last("database: ", " synced writes"),
        hsm_requests: last("hsmd: ", " requests"),
        hsm_syncs: last("hsmd: ", " synced writes"),
    }
}
