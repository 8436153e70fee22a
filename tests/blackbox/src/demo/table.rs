//! The demo's tables.

use super::Story;
use crate::confinement::Confinement;
use crate::process::{Kibibytes, Process};
use crate::{Network, Node};
use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(header);
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Who is there, and with how much on chain.
pub fn nodes(network: &Network) -> Result<Table> {
    let mut table = table(&["node", "id", "peers", "channels", "block", "on chain (sat)"]);
    for node in &network.nodes {
        let info = node.rpc("getinfo", json!({}))?;
        table.add_row(vec![
            Cell::new(node.name()),
            Cell::new(info["id"].as_str().unwrap_or_default()),
            right(&info["num_peers"]),
            right(&info["num_active_channels"]),
            right(&info["blockheight"]),
            right(node.onchain_msat(false)? / 1000),
        ]);
    }
    Ok(table)
}

/// Every channel, seen from each side.
pub fn channels(network: &Network) -> Result<Table> {
    let mut table = table(&[
        "channel",
        "of",
        "with",
        "state",
        "ours (msat)",
        "of (msat)",
        "in flight",
    ]);
    for node in &network.nodes {
        for peer in network
            .nodes
            .iter()
            .filter(|peer| peer.name() != node.name())
        {
            for channel in node.channels_with(&peer.id()?)? {
                table.add_row(vec![
                    Cell::new(channel.short_channel_id.unwrap_or(channel.channel_id)),
                    Cell::new(node.name()),
                    Cell::new(peer.name()),
                    Cell::new(channel.state),
                    right(channel.to_us_msat),
                    right(channel.total_msat),
                    right(channel.htlcs),
                ]);
            }
        }
    }
    Ok(table)
}

/// The payments, and what closed a channel.
pub fn payments(story: &Story) -> Table {
    let mut table = table(&["payment", "to", "amount (msat)", "fee (msat)", "took"]);
    for payment in &story.payments {
        table.add_row(vec![
            Cell::new(&payment.from),
            Cell::new(&payment.to),
            right(payment.msat),
            right(payment.fee_msat),
            right(format!("{} ms", payment.milliseconds)),
        ]);
    }
    if let Some(txid) = &story.closed {
        table.add_row(vec![Cell::new("close"), Cell::new(txid)]);
    }
    table
}

/// Every process: its node, id, role, memory, and what the kernel says it may do.
pub fn processes(network: &Network) -> Table {
    let mut table = table(&["node", "pid", "role", "memory", "what it may do"]);
    for node in &network.nodes {
        let processes = node.processes();
        let said = node.rpc("listsandbox", json!({})).unwrap_or_default();
        for process in &processes {
            table.add_row(vec![
                Cell::new(node.name()),
                right(process.pid),
                Cell::new(&process.role),
                right(memory(process)),
                Cell::new(may_do(process, &said)),
            ]);
        }
        table.add_row(vec![
            Cell::new(node.name()),
            Cell::new(""),
            Cell::new("all"),
            right(total(node)),
        ]);
    }
    table
}

/// What the kernel shows an onlooker, and Landlock's level, which it shows nobody.
fn may_do(process: &Process, said: &Value) -> String {
    let confinement = Confinement::of(process).to_string();
    let mut listed = said["processes"].as_array().into_iter().flatten();
    let own = listed.find(|one| one["pid"] == process.pid.0);
    match own.and_then(|own| own["landlock_abi"].as_u64()) {
        Some(level) if level > 0 => format!("Landlock {level}, {confinement}"),
        Some(_) | None => confinement,
    }
}

fn memory(process: &Process) -> String {
    match (process.pss(), process.rss()) {
        (Some(share), _) => share.to_string(),
        (None, Some(whole)) => format!("<= {whole}"),
        (None, None) => "?".to_string(),
    }
}

fn total(node: &Node) -> String {
    let processes = node.processes();
    let shares: Option<Vec<Kibibytes>> = processes.iter().map(Process::pss).collect();
    let sum = shares.map(|shares| Kibibytes(shares.iter().map(|share| share.0).sum()));
    sum.map_or("?".to_string(), |sum| sum.to_string())
}
