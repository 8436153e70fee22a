//! The log of a subdaemon: `tracing` to the log edge, and the last words of a panic.

use std::fmt::Write;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use ipc_transport::log::{Level, LogRecord, LogSink};

use crate::role::Role;
use crate::run::{StartError, say};
use crate::subscriber::LogSubscriber;

/// How long a panic waits for lightningd to take its last words.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Sends what goes on to the log edge, if there is one, and what makes the daemon panic to stderr
/// too.
pub(crate) fn install(
    role: Role,
    level: Level,
    sink: Option<&Arc<LogSink>>,
) -> Result<(), StartError> {
    if let Some(sink) = sink {
        let subscriber = LogSubscriber::new(Arc::clone(sink), level, "");
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|error| StartError::Log(error.to_string()))?;
    }
    let sink = sink.cloned();
    std::panic::set_hook(Box::new(move |info| {
        let line = last_words(role, info);
        say(&line);
        if let Some(sink) = &sink {
            sink.try_write(LogRecord::new(Level::Error, "panic", &line));
            sink.drain(LAST_WORDS);
        }
        // Whatever the profile says: a daemon that went wrong does not unwind through its state.
        std::process::abort();
    }));
    Ok(())
}

fn last_words(role: Role, info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let what = (payload.downcast_ref::<&str>().copied())
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let mut line = format!("{role} panicked");
    if let Some(at) = info.location() {
        let _ = write!(line, " at {at}");
    }
    let _ = write!(line, ": {}", what.escape_debug());
    line
}
