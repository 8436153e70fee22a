//! What was measured, and how it is shown.

use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use serde_json::{Value, json};

use crate::Payments;
use crate::machine;
use crate::ours::Ours;

/// One row: so many payments, so many at once.
pub struct Row {
    pub who: &'static str,
    pub at_once: usize,
    pub count: usize,
    pub took: Duration,
    /// Of each payment, sorted.
    pub latencies: Vec<Duration>,
}

impl Row {
    pub fn new(
        who: &'static str,
        at_once: usize,
        took: Duration,
        mut latencies: Vec<Duration>,
    ) -> Row {
        latencies.sort_unstable();
        Row {
            who,
            at_once,
            count: latencies.len(),
            took,
            latencies,
        }
    }

    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

pub fn print(asked: &Payments, ours: &Ours, ldk: &[Row]) -> Result<()> {
    let rows = || ours.rows.iter().chain(ldk);
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&as_json(ours, rows()))?);
        return Ok(());
    }
    println!("{}", machine::line());
    println!(
        "payments of {} msat, one channel, everything durable; a row begins none after {} s\n",
        asked.msat, asked.seconds
    );
    let mut table = Table::new();
    table.set_header([
        "node",
        "at once",
        "payments",
        "payments/s",
        "median ms",
        "p99 ms",
    ]);
    for row in rows() {
        table.add_row([
            row.who.to_owned(),
            row.at_once.to_string(),
            row.count.to_string(),
            format!("{:.0}", row.per_second()),
            millis(row.percentile(50)),
            millis(row.percentile(99)),
        ]);
    }
    println!("{table}\n");
    let mut costs = Table::new();
    costs.set_header([
        "side",
        "synced writes/payment",
        "hsmd requests/payment",
        "hsmd syncs/payment",
    ]);
    for (side, cost) in [("payer", &ours.payer), ("payee", &ours.payee)] {
        costs.add_row([
            side.to_owned(),
            format!("{:.2}", cost.syncs),
            format!("{:.2}", cost.hsm_requests),
            format!("{:.2}", cost.hsm_syncs),
        ]);
    }
    println!("over all rows:\n{costs}\n");
    let mut memory = Table::new();
    memory.set_header(["node", "process", "PSS KiB", "private KiB"]);
    for row in &ours.memory {
        memory.add_row([
            row.node.clone(),
            row.process.clone(),
            row.pss.to_string(),
            row.private.to_string(),
        ]);
    }
    println!("memory after the last row:\n{memory}");
    println!("CPU of both nodes: {:.2} ms/payment", ours.cpu_ms);
    Ok(())
}

fn as_json<'a>(ours: &Ours, rows: impl Iterator<Item = &'a Row>) -> Value {
    let rows = rows.map(|row| {
        json!({
            "node": row.who,
            "at_once": row.at_once,
            "payments": row.count,
            "per_second": row.per_second(),
            "median_ms": row.percentile(50).as_secs_f64() * 1000.0,
            "p99_ms": row.percentile(99).as_secs_f64() * 1000.0,
        })
    });
    json!({
        "machine": machine::line(),
        "rows": rows.collect::<Vec<_>>(),
        "cpu_ms_per_payment": ours.cpu_ms,
        "synced_writes_per_payment": {"payer": ours.payer.syncs, "payee": ours.payee.syncs},
        "hsmd_requests_per_payment": {"payer": ours.payer.hsm_requests, "payee": ours.payee.hsm_requests},
        "memory_kib": ours.memory.iter().map(|row| json!([row.node, row.process, row.pss, row.private])).collect::<Vec<_>>(),
    })
}
