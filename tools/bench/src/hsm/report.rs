//! The table: the disk beside the RAM disk.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use nix::sys::statfs::statfs;
use serde_json::{Value, json};

use super::{Asked, Row};
use crate::machine;

impl Row {
    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let at = (self.latencies.len() * percent / 100).min(last);
        self.latencies.get(at).copied().unwrap_or_default()
    }

    fn json(&self) -> Value {
        json!({
            "per_second": self.per_second(),
            "median_ms": self.percentile(50).as_secs_f64() * 1000.0,
            "p99_ms": self.percentile(99).as_secs_f64() * 1000.0,
        })
    }
}

/// The rows of the disk and of the RAM disk, in the same order.
pub fn print(asked: &Asked, places: &[Vec<Row>]) -> Result<()> {
    let [disk, ram] = places else {
        anyhow::bail!("two places were measured");
    };
    let settings = format!(
        "journal in {} ({}) and in {} ({}), {} waves",
        asked.disk.display(),
        filesystem(&asked.disk)?,
        asked.ram.display(),
        filesystem(&asked.ram)?,
        asked.waves
    );
    if asked.json {
        let rows = disk.iter().zip(ram).map(|(disk, ram)| {
            json!({
                "request": disk.kind,
                "at_once": disk.at_once,
                "disk": disk.json(),
                "ram": ram.json(),
            })
        });
        let all = json!({
            "machine": machine::line(),
            "settings": settings,
            "rows": rows.collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!("{}\n{settings}\n", machine::line());
    let mut table = Table::new();
    table.set_header([
        "request",
        "at once",
        "disk /s",
        "median ms",
        "p99 ms",
        "RAM /s",
        "median ms",
        "p99 ms",
        "disk/RAM",
    ]);
    let millis = |duration: Duration| format!("{:.2}", duration.as_secs_f64() * 1000.0);
    for (disk, ram) in disk.iter().zip(ram) {
        let mut cells = vec![disk.kind.clone(), disk.at_once.to_string()];
        for row in [disk, ram] {
            cells.push(format!("{:.0}", row.per_second()));
            cells.push(millis(row.percentile(50)));
            cells.push(millis(row.percentile(99)));
        }
        let share = 100.0 * disk.per_second() / ram.per_second();
        cells.push(format!("{share:.0}%"));
        table.add_row(cells);
    }
    println!("{table}");
    Ok(())
}

/// By its magic number where it has no well-known name.
pub fn filesystem(path: &Path) -> Result<String> {
    let kind = statfs(path)?.filesystem_type();
    let names = [
        (nix::sys::statfs::TMPFS_MAGIC, "tmpfs"),
        (nix::sys::statfs::EXT4_SUPER_MAGIC, "ext4"),
        (nix::sys::statfs::XFS_SUPER_MAGIC, "xfs"),
        (nix::sys::statfs::BTRFS_SUPER_MAGIC, "btrfs"),
        (nix::sys::statfs::OVERLAYFS_SUPER_MAGIC, "overlay"),
    ];
    let name = names.iter().find(|(magic, _)| *magic == kind);
    Ok(name.map_or_else(|| format!("{:#x}", kind.0), |(_, name)| (*name).to_owned()))
}
