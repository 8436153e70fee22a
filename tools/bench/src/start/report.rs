//! What was measured, and how it is shown.

use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use serde_json::{Value, json};

use super::blocks::Block;
use super::size::{Side, Size, Sizes};
use super::{Asked, CHANNEL, Row};
use crate::machine;

pub fn print(asked: &Asked, rows: &[Row], size: Option<&Size>) -> Result<()> {
    if asked.json {
        let shown = as_json(rows, size);
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("{}", machine::line());
    if !rows.is_empty() {
        println!(
            "two nodes, all channels ({CHANNEL} sat each) with each other; medians of {} starts and {} blocks of \
             each kind\n",
            asked.starts, asked.blocks
        );
        println!("{}\n", table(rows));
    }
    if let Some(size) = size {
        println!(
            "after {} payments over one channel, bytes:\n{}",
            size.payments,
            sizes(size)
        );
    }
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.set_header([
        "channels",
        "first getinfo ms",
        "slowest",
        "then all reestablished ms",
        "empty block ms",
        "its CPU ms",
        "full block ms",
        "its CPU ms",
        "PSS MiB",
        "database KiB",
        "opened in s",
    ]);
    for row in rows {
        table.add_row([
            row.channels.to_string(),
            millis(middle(&row.answered)),
            millis(row.answered.last().copied().unwrap_or_default()),
            millis(middle(&row.reestablished)),
            millis(median(&row.empty, |block| block.took)),
            millis(median(&row.empty, |block| block.cpu)),
            millis(median(&row.full, |block| block.took)),
            millis(median(&row.full, |block| block.cpu)),
            (row.pss / 1024).to_string(),
            (row.database / 1024).to_string(),
            row.setup.as_secs().to_string(),
        ]);
    }
    table
}

fn sizes(size: &Size) -> Table {
    let mut table = Table::new();
    table.set_header([
        "side",
        "what",
        "before",
        "paid",
        "a payment",
        "channel closed",
        "coins forgotten",
    ]);
    for side in &size.sides {
        for (what, of) in KINDS {
            table.add_row([
                side.name.to_owned(),
                what.to_owned(),
                of(&side.before).to_string(),
                of(&side.paid).to_string(),
                format!("{:.0}", each(size, side, of)),
                of(&side.closed).to_string(),
                of(&side.pruned).to_string(),
            ]);
        }
    }
    table
}

type Of = fn(&Sizes) -> u64;

const KINDS: [(&str, Of); 3] = [
    ("database", |sizes| sizes.database),
    ("hsm-journal", |sizes| sizes.journal),
    ("hsm-audit", |sizes| sizes.audit),
];

fn each(size: &Size, side: &Side, of: Of) -> f64 {
    (of(&side.paid) as f64 - of(&side.before) as f64) / size.payments as f64
}

fn middle(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn median(blocks: &[Block], of: impl Fn(&Block) -> Duration) -> Duration {
    let mut all: Vec<Duration> = blocks.iter().map(of).collect();
    all.sort_unstable();
    middle(&all)
}

fn millis(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1000.0)
}

fn as_json(rows: &[Row], size: Option<&Size>) -> Value {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let all = |durations: &[Duration]| durations.iter().map(|d| ms(*d)).collect::<Vec<_>>();
    let blocks = |blocks: &[Block]| {
        let each = blocks.iter().map(|block| {
            json!({
                "transactions": block.transactions, "weight": block.weight,
                "ms": ms(block.took), "cpu_ms": ms(block.cpu),
            })
        });
        each.collect::<Vec<_>>()
    };
    let rows = rows.iter().map(|row| {
        json!({
            "channels": row.channels,
            "setup_s": row.setup.as_secs_f64(),
            "first_getinfo_ms": all(&row.answered),
            "then_reestablished_ms": all(&row.reestablished),
            "empty_blocks": blocks(&row.empty),
            "full_blocks": blocks(&row.full),
            "pss_kib": row.pss,
            "database_bytes": row.database,
        })
    });
    let sides = size.map(|size| {
        let of = |side: &Side| {
            let kinds = KINDS.iter().map(|(what, of)| {
                let shown = json!({
                    "before": of(&side.before), "paid": of(&side.paid),
                    "each": each(size, side, *of),
                    "closed": of(&side.closed), "pruned": of(&side.pruned),
                });
                ((*what).to_owned(), shown)
            });
            json!({"side": side.name, "bytes": kinds.collect::<serde_json::Map<_, _>>()})
        };
        json!({
            "payments": size.payments,
            "sides": size.sides.iter().map(of).collect::<Vec<_>>(),
        })
    });
    json!({
        "machine": machine::line(),
        "rows": rows.collect::<Vec<_>>(),
        "size": sides,
    })
}
