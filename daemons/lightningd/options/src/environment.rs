//! What the options depend on besides the command line; handed in so that tests choose it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Widest page that is comfortable to read.
const MAX_WIDTH: usize = 100;

#[derive(Debug, Clone)]
pub struct Environment {
    /// `$HOME`; without it the default lightning-dir is the current folder, as with CLN.
    pub home: Option<PathBuf>,
    /// Where relative paths of the command line start.
    pub current_dir: PathBuf,
    /// Columns for `--help`.
    pub width: usize,
    /// Whether `--help` may use colors.
    pub color: bool,
}

impl Environment {
    /// This process's own. Colors only on a terminal and without `NO_COLOR`.
    pub fn from_process() -> std::io::Result<Environment> {
        let columns = std::env::var("COLUMNS")
            .ok()
            .and_then(|c| c.parse::<usize>().ok());
        Ok(Environment {
            home: std::env::var_os("HOME").map(PathBuf::from),
            current_dir: std::env::current_dir()?,
            width: columns.unwrap_or(MAX_WIDTH).clamp(60, MAX_WIDTH),
            color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        })
    }

    /// For tests and tools: everything below one folder, no colors.
    #[must_use]
    pub fn at(dir: &Path) -> Environment {
        Environment {
            home: Some(dir.to_owned()),
            current_dir: dir.to_owned(),
            width: MAX_WIDTH,
            color: false,
        }
    }

    #[must_use]
    pub(crate) fn default_lightning_dir(&self) -> PathBuf {
        self.home
            .as_ref()
            .map_or_else(|| self.current_dir.clone(), |home| home.join(".lightning"))
    }

    #[must_use]
    pub(crate) fn default_bitcoin_datadir(&self) -> PathBuf {
        self.home
            .as_ref()
            .unwrap_or(&self.current_dir)
            .join(".bitcoin")
    }
}
