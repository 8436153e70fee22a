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

/// Measures both and prints them side by side.
pub fn run(asked: &Payments) -> Result<()> {
    eprintln!("hsm-journal on the disk");
    let disk = ours::measure(asked, Place::Disk)?;
    eprintln!("hsm-journal on a RAM disk");
    let ram = ours::measure(asked, Place::Ram)?;
    let share = |disk: &Row, ram: &Row| disk.per_second() / ram.per_second();
    let rows = || disk.rows.iter().zip(&ram.rows);
    if asked.json {
        let rows = rows().map(|(disk, ram)| {
            json!({
                "at_once": disk.at_once,
                "disk_per_second": disk.per_second(),
                "ram_per_second": ram.per_second(),
                "share": share(disk, ram),
            })
        });
        let all = json!({"machine": machine::line(), "rows": rows.collect::<Vec<_>>()});
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!(
        "{}\npayments of {} msat, one channel, everything durable; hsm-journal on the disk or in {RAM}, \
         the database on the disk\n",
        machine::line(),
        asked.msat
    );
    let mut table = Table::new();
    table.set_header(["at once", "disk payments/s", "RAM payments/s", "disk/RAM"]);
    for (disk, ram) in rows() {
        table.add_row([
            disk.at_once.to_string(),
            format!("{:.0}", disk.per_second()),
            format!("{:.0}", ram.per_second()),
            format!("{:.0}%", 100.0 * share(disk, ram)),
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
