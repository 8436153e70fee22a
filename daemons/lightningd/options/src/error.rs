//! Why lightningd does not start with these options.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where something was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    CommandLine,
    /// Lines count from 1.
    File {
        path: PathBuf,
        line: usize,
    },
}

/// As `listconfigs` names it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::CommandLine => f.write_str("cmdline"),
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// A setting with its place, for messages: `--fee-base=x` or `config line 3: fee-base=x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub source: Source,
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::CommandLine => write!(f, "--{}", self.text),
            Source::File { path, line } => write!(
                f,
                "Config file {} line {line}: {}",
                path.display(),
                self.text
            ),
        }
    }
}

/// Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    #[error("{at}: unknown option{}", suggestion.map_or(String::new(), |s| format!(" (did you mean {s}?)")))]
    Unknown {
        at: Place,
        suggestion: Option<&'static str>,
    },
    #[error("{at}: {why}")]
    NotHere { at: Place, why: &'static str },
    #[error("{at}: {why}")]
    Value { at: Place, why: String },
    #[error("{0}")]
    Combination(&'static str),
    #[error("'{0}': lightningd takes options only, each beginning with --")]
    Stray(String),
    #[error("an argument is not valid UTF-8: {0}")]
    NotUnicode(String),
    #[error("reading the configuration file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("configuration files include each other without end: {0}")]
    IncludeLoop(PathBuf),
}
