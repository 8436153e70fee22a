//! What hsmd's journal costs the payments: the same nodes with it on the disk and on a RAM disk, in one
//! run, the database on the disk both times.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use blackbox::Node;
use comfy_table::Table;
use serde_json::json;
use tempfile::TempDir;

use crate::table::Row;
use crate::{Payments, machine, ours};

/// Where a RAM disk is on every Linux.
const RAM: &str = "/dev/shm";

/// How often both are measured, in turn: single runs differ by more than the journal costs.
const ROUNDS: usize = 3;

/// Payments per second with so many at once, in the middle of the rounds.
struct Rates {
    at_once: usize,
    disk: f64,
    ram: f64,
}

impl Rates {
    fn share(&self) -> f64 {
        self.disk / self.ram
    }
}

/// Measures both and prints them side by side.
pub fn run(asked: &Payments) -> Result<()> {
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}: hsm-journal on the disk");
        let disk = ours::measure(asked, Place::Disk)?.rows;
        eprintln!("round {round} of {ROUNDS}: hsm-journal on a RAM disk");
        let ram = ours::measure(asked, Place::Ram)?.rows;
        rounds.push([disk, ram]);
    }
    let rate = |place: usize, row: usize| {
        let of_round = |round: &[Vec<Row>; 2]| Some(round.get(place)?.get(row)?.per_second());
        let mut all: Vec<f64> = rounds.iter().filter_map(of_round).collect();
        all.sort_unstable_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let rates = asked
        .at_once
        .iter()
        .enumerate()
        .map(|(row, at_once)| Rates {
            at_once: *at_once,
            disk: rate(0, row),
            ram: rate(1, row),
        });
    print(asked, &rates.collect::<Vec<_>>())
}

fn print(asked: &Payments, rates: &[Rates]) -> Result<()> {
    if asked.json {
        let row = |rates: &Rates| {
            json!({
                "at_once": rates.at_once,
                "disk_per_second": rates.disk,
                "ram_per_second": rates.ram,
                "share": rates.share(),
            })
        };
        let rows: Vec<_> = rates.iter().map(row).collect();
        let all = json!({"machine": machine::line(), "rounds": ROUNDS, "rows": rows});
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!(
        "{}\npayments of {} msat, one channel, everything durable; hsm-journal on the disk or in {RAM}, \
         the database on the disk; the middle of {ROUNDS} rounds\n",
        machine::line(),
        asked.msat
    );
    let mut table = Table::new();
    table.set_header(["at once", "disk payments/s", "RAM payments/s", "disk/RAM"]);
    for rates in rates {
        table.add_row([
            rates.at_once.to_string(),
            format!("{:.0}", rates.disk),
            format!("{:.0}", rates.ram),
            format!("{:.0}%", 100.0 * rates.share()),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// Where the nodes' journals are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Disk,
    Ram,
}

/// A node restarted with its folder there; what is returned keeps the RAM disk's folder.
pub fn restart(node: &mut Node, place: Place) -> Result<Option<TempDir>> {
    node.stop()?;
    let ram = match place {
        Place::Disk => None,
        Place::Ram => Some(to_ram(&node.network_dir())?),
    };
    node.launch()?;
    Ok(ram)
}

/// Moves a node's folder to the RAM disk, all but its database, with links in their old places.
fn to_ram(folder: &Path) -> Result<TempDir> {
    let ram = tempfile::Builder::new().prefix("bench-").tempdir_in(RAM)?;
    let disk = folder.with_extension("disk");
    fs::rename(folder, &disk)?;
    for entry in fs::read_dir(&disk)? {
        let entry = entry?;
        if entry.file_name() != "db" {
            let copied = Command::new("cp")
                .arg("-a")
                .args([&entry.path(), ram.path()])
                .status()?;
            ensure!(copied.success(), "cannot copy {}", entry.path().display());
        }
    }
    symlink(disk.join("db"), ram.path().join("db"))?;
    symlink(ram.path(), folder).context("cannot put a link in the place of the node's folder")?;
    Ok(ram)
}
