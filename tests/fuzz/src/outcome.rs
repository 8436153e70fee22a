//! What libFuzzer says at the end of a run, and what it leaves behind.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// How much was tried.
#[derive(Debug, PartialEq, Eq)]
pub struct Figures {
    runs: u64,
    /// Edges of the program that were reached.
    edges: u64,
    /// Inputs that each reach something that no other does.
    kept: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10} runs, {:>5} edges, {:>5} inputs kept",
            self.runs, self.edges, self.kept
        )
    }
}

impl Figures {
    /// From a log; `None` if nothing was tried.
    pub fn read(log: &str) -> Option<Figures> {
        let runs = log
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let last = log
            .lines()
            .rfind(|line| line.starts_with('#') && line.contains(" cov: "));
        let last = last?;
        let figures = Figures {
            runs: runs?.trim().parse().ok()?,
            edges: after(last, "cov:")?,
            kept: after(last, "corp:")?,
        };
        (figures.runs > 0 && figures.edges > 0).then_some(figures)
    }
}

/// The number that follows a word: `corp: 12/3456b` gives 12.
fn after(line: &str, word: &str) -> Option<u64> {
    let rest = line.split_once(word)?.1.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Inputs that a target failed on.
pub fn artifacts(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    files
        .filter(|file| file.file_name().is_some_and(|name| name != "log"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_log_gives_the_figures() {
        let log = "INFO: Seed: 1\n#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0\n\
            #99\tDONE   cov: 120 ft: 300 corp: 45/6789b lim: 4 exec/s: 9 rss: 30Mb\n\
            stat::number_of_executed_units: 99\n";
        let expected = Figures {
            runs: 99,
            edges: 120,
            kept: 45,
        };
        assert_eq!(Figures::read(log), Some(expected));
    }

    #[test]
    fn a_run_that_reached_nothing_gives_none() {
        assert_eq!(Figures::read("stat::number_of_executed_units: 0\n"), None);
        assert_eq!(
            Figures::read("#9\tDONE cov: 0 corp: 1/1b\nstat::number_of_executed_units: 9"),
            None
        );
    }
}
