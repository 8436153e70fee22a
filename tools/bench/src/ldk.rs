//! Two ldk-node nodes with their default store (SQLite, fsync on), in this process.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use blackbox::{Bitcoind, until};
use interop::Ldk;

use crate::Payments;
use crate::table::Row;

const CHANNEL: u64 = 16_000_000;
/// LDK lets its peer have no more HTLCs in flight than this.
const LIMIT: usize = 50;

pub fn measure(asked: &Payments) -> Result<Vec<Row>> {
    eprintln!("starting two ldk-node nodes");
    let bitcoind = Bitcoind::start()?;
    bitcoind.mine(101)?;
    let (alice, bob) = (Ldk::start(&bitcoind)?, Ldk::start(&bitcoind)?);
    alice.fund(&bitcoind, CHANNEL + 1_000_000)?;
    alice.open_to(&bob, CHANNEL)?;
    bitcoind.wait_for_mempool(1)?;
    bitcoind.mine(6)?;
    alice.wait_for("the channel between the LDK nodes", |alice| {
        bob.node().sync_wallets().map_err(|e| anyhow!("{e}"))?;
        Ok(alice
            .node()
            .list_channels()
            .iter()
            .any(|c| c.is_usable)
            .then_some(()))
    })?;
    let mut rows = Vec::new();
    for at_once in &asked.at_once {
        eprintln!(
            "{} payments, {at_once} at once (LDK takes {LIMIT})",
            asked.of_row(*at_once)
        );
        rows.push(row(&alice, &bob, asked, *at_once)?);
    }
    Ok(rows)
}

fn row(alice: &Ldk, bob: &Ldk, asked: &Payments, at_once: usize) -> Result<Row> {
    let count = asked.of_row(at_once);
    let mut invoices = Vec::with_capacity(count);
    for n in 0..count {
        invoices.push(bob.invoice(asked.msat, &format!("{at_once} at once, {n}"))?);
    }
    let window = at_once.min(LIMIT);
    let started = Instant::now();
    let mut begun: Vec<([u8; 32], Instant)> = Vec::with_capacity(count);
    for bolt11 in &invoices {
        if started.elapsed() > asked.time() {
            break;
        }
        while alice.under_way() >= window {
            std::thread::sleep(Duration::from_micros(200));
        }
        let at = Instant::now();
        let hash = until("LDK takes a payment", || Ok(alice.pay(bolt11).ok()))?;
        begun.push((hash, at));
    }
    let mut latencies = Vec::with_capacity(count);
    for (hash, at) in begun {
        latencies.push(alice.paid_at(hash)?.saturating_duration_since(at));
    }
    Ok(Row::new("ldk-node", at_once, started.elapsed(), latencies))
}
