//! Where log records of all processes come together: the newest in memory for `getlog`, all of
//! them in the files (or on stdout) that the options name, in CLN's layout.
//!
//! Records of subdaemons are untrusted text: control characters are escaped before they are
//! written anywhere.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_transport::aio::AsyncConn;
use ipc_transport::log::{HELLO, LIMITS, Level, LogRecord};
use lightningd_options::{LogLevel, LogOptions, LogTarget};
use time::OffsetDateTime;
use time::macros::format_description;

/// How much text `getlog` remembers.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Duration,
    pub level: LogLevel,
    /// `lightningd`, `hsmd`, `channeld-chan#3`, ...
    pub source: String,
    /// The peer that it is about.
    pub peer: Option<String>,
    pub text: String,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    skipped: u64,
}

enum Out {
    Stdout,
    File(File),
}

struct Inner {
    options: LogOptions,
    started: SystemTime,
    ring: Mutex<Ring>,
    outs: Mutex<Vec<(LogTarget, Out)>>,
}

/// The log of the whole node.
#[derive(Clone)]
pub struct LogBook(Arc<Inner>);

/// What `getlog` shows: lines of at least a level, oldest first.
pub struct Excerpt {
    pub started: Duration,
    pub bytes_used: usize,
    pub skipped: u64,
    pub lines: Vec<Line>,
}

impl LogBook {
    /// Opens the files.
    ///
    /// # Errors
    /// A file cannot be opened: which, and why.
    pub fn open(options: LogOptions) -> anyhow::Result<LogBook> {
        let mut outs = Vec::new();
        for target in &options.targets {
            let out = match target {
                LogTarget::Stdout => Out::Stdout,
                LogTarget::File(path) => Out::File(
                    OpenOptions::new()
                        .create(true)
                        .append(true)
                        .mode(0o600)
                        .open(path)
                        .map_err(|e| {
                            anyhow::anyhow!("cannot open log file {}: {e}", path.display())
                        })?,
                ),
            };
            outs.push((target.clone(), out));
        }
        Ok(LogBook(Arc::new(Inner {
            options,
            started: SystemTime::now(),
            ring: Mutex::default(),
            outs: Mutex::new(outs),
        })))
    }

    /// The most detailed level that anybody wants of a subdaemon.
    #[must_use]
    pub fn wanted(&self) -> Level {
        let options = &self.0.options;
        let least = options
            .filters
            .iter()
            .map(|filter| filter.level)
            .chain([options.level])
            .min();
        match least.unwrap_or(LogLevel::Info) {
            LogLevel::Io | LogLevel::Trace => Level::Trace,
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Unusual => Level::Warn,
            LogLevel::Broken => Level::Error,
        }
    }

    /// Reads a log edge until it ends. `source` names the process.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn listen(&self, source: String, socket: OwnedFd) -> Result<(), ipc_transport::Error> {
        let conn = AsyncConn::<(), LogRecord>::with_limits(socket, HELLO, LIMITS)?;
        let (keep, mut records) = conn.split();
        let book = self.clone();
        tokio::spawn(async move {
            while let Ok(record) = records.recv().await {
                book.write(&source, &record);
            }
            drop(keep);
        });
        Ok(())
    }

    /// Adds one record.
    pub fn write(&self, source: &str, record: &LogRecord) {
        if record.lost > 0 {
            let text = format!("{} log lines were lost", record.lost);
            self.add(source, LogLevel::Unusual, None, text);
        }
        let field = |name: &str| {
            record
                .fields
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.clone())
        };
        let channel = field("channel");
        let source = match &channel {
            Some(channel) => format!("{source}-chan#{}", escape(channel)),
            None => source.to_owned(),
        };
        let known = ["peer", "channel", "message"];
        let mut text = escape(&record.message);
        for (name, value) in record
            .fields
            .iter()
            .filter(|(n, _)| !known.contains(&n.as_str()))
        {
            text.push_str(&format!(" {}={}", escape(name), escape(value)));
        }
        let level = match record.level {
            Level::Error => LogLevel::Broken,
            Level::Warn => LogLevel::Unusual,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Debug,
            Level::Trace => LogLevel::Trace,
        };
        self.add(
            &source,
            level,
            field("peer").map(|peer| escape(&peer)),
            text,
        );
    }

    fn add(&self, source: &str, level: LogLevel, peer: Option<String>, text: String) {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = Line {
            at,
            level,
            source: source.to_owned(),
            peer,
            text,
        };
        self.print(&line);
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += line.text.len() + line.source.len();
        ring.lines.push_back(line);
        while ring.bytes > MAX_BYTES {
            let Some(old) = ring.lines.pop_front() else {
                break;
            };
            ring.bytes -= old.text.len() + old.source.len();
            ring.skipped += 1;
        }
    }

    fn print(&self, line: &Line) {
        let options = &self.0.options;
        let mut outs = self.0.outs.lock().unwrap_or_else(PoisonError::into_inner);
        for (target, out) in outs.iter_mut() {
            let filter = options.filters.iter().find(|filter| {
                line.source.contains(&filter.subsystem)
                    && filter.target.as_ref().is_none_or(|only| only == target)
            });
            if line.level < filter.map_or(options.level, |filter| filter.level) {
                continue;
            }
            let text = layout(options, line);
            // A log that cannot be written must not stop a node that guards money.
            let _ = match out {
                Out::Stdout => std::io::stdout().write_all(text.as_bytes()),
                Out::File(file) => file.write_all(text.as_bytes()),
            };
        }
    }

    /// The newest lines of at least `level`.
    #[must_use]
    pub fn excerpt(&self, level: LogLevel) -> Excerpt {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = ring
            .lines
            .iter()
            .filter(|l| l.level >= level)
            .cloned()
            .collect();
        Excerpt {
            started: self
                .0
                .started
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            bytes_used: ring.bytes,
            skipped: ring.skipped + (ring.lines.len() - lines.len()) as u64,
            lines,
        }
    }

    /// Opens the files again, for log rotation (SIGHUP).
    pub fn reopen(&self) {
        let mut outs = self.0.outs.lock().unwrap_or_else(PoisonError::into_inner);
        for (target, out) in outs.iter_mut() {
            if let LogTarget::File(path) = target
                && let Ok(file) = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(path)
            {
                *out = Out::File(file);
            }
        }
    }
}

fn layout(options: &LogOptions, line: &Line) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z ");
    let stamp = options
        .timestamps
        .then(|| OffsetDateTime::from_unix_timestamp_nanos(line.at.as_nanos() as i128).ok())
        .flatten()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default();
    let level = line.level.name().to_uppercase();
    let peer = line
        .peer
        .as_ref()
        .map(|peer| format!("{peer}-"))
        .unwrap_or_default();
    format!(
        "{}{stamp}{level:<8}{peer}{}: {}\n",
        options.prefix, line.source, line.text
    )
}

/// No control characters: a log line is one line, and no terminal obeys it.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = !c.is_control();
            let escaped = (!plain).then(|| c.escape_default());
            plain
                .then_some(c)
                .into_iter()
                .chain(escaped.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_never_holds_a_control_character() {
        assert_eq!(escape("a\nb\x1b[31mc"), "a\\nb\\u{1b}[31mc");
    }
}
