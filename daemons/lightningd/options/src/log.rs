//! What to log, and where.

use std::path::PathBuf;

/// CLN's levels, least important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    Io,
    Trace,
    Debug,
    Info,
    Unusual,
    Broken,
}

impl LogLevel {
    pub const ALL: [LogLevel; 6] = [
        LogLevel::Io,
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Unusual,
        LogLevel::Broken,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Io => "io",
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Unusual => "unusual",
            LogLevel::Broken => "broken",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<LogLevel> {
        LogLevel::ALL.into_iter().find(|l| l.name() == name)
    }
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogTarget {
    Stdout,
    /// Absolute.
    File(PathBuf),
}

/// `LEVEL:SUBSYSTEM[:FILE]`: another level for subsystems whose name holds `subsystem`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    pub level: LogLevel,
    pub subsystem: String,
    /// Only for this target; all of them without.
    pub target: Option<LogTarget>,
}

/// All that concerns the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    pub level: LogLevel,
    pub filters: Vec<LogFilter>,
    /// At least one; stdout where nothing is set.
    pub targets: Vec<LogTarget>,
    /// Stands before every line.
    pub prefix: String,
    pub timestamps: bool,
}

/// One `log-level`, its file still as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LevelArgument<'a> {
    pub level: LogLevel,
    pub subsystem: Option<&'a str>,
    pub file: Option<&'a str>,
}

impl<'a> LevelArgument<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<LevelArgument<'a>, String> {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let level = LogLevel::from_name(name).ok_or_else(|| {
            format!("unknown log level '{name}' (one of io, trace, debug, info, unusual, broken)")
        })?;
        Ok(LevelArgument {
            level,
            subsystem: parts.next(),
            file: parts.next(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_be_for_a_subsystem_and_a_file() {
        let parsed = LevelArgument::parse("debug:channeld:/tmp/a:b").unwrap();
        assert_eq!(
            parsed,
            LevelArgument {
                level: LogLevel::Debug,
                subsystem: Some("channeld"),
                file: Some("/tmp/a:b")
            }
        );
        assert_eq!(LevelArgument::parse("io").unwrap().subsystem, None);
        assert!(LevelArgument::parse("warn").unwrap_err().contains("'warn'"));
    }

    #[test]
    fn levels_are_ordered_by_importance() {
        assert!(LogLevel::ALL.is_sorted());
        assert!(LogLevel::Io < LogLevel::Broken);
    }
}
