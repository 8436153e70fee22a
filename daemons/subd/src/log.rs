//! The log of a subdaemon: `tracing` to the log edge, and the last words of a panic.

use std::fmt::{Debug, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use ipc_transport::log::{Level, LogRecord, LogSink};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::role::Role;
use crate::run::{StartError, say};

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
        let layer = LogLayer::new(Arc::clone(sink)).with_filter(filter(level));
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
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

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

fn level_of(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// Turns events into [`LogRecord`]s with the fields of the spans that they lie in.
#[derive(Debug)]
pub struct LogLayer {
    sink: Arc<LogSink>,
}

impl LogLayer {
    /// A layer that writes to `sink`.
    pub fn new(sink: Arc<LogSink>) -> Self {
        LogLayer { sink }
    }
}

/// The fields of a span or event, in order.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut later = Fields::default();
        values.record(&mut later);
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<Fields>() {
            // A value that is set again replaces the former.
            fields
                .0
                .retain(|(name, _)| !later.0.iter().any(|(newer, _)| newer == name));
            fields.0.append(&mut later.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let message = own.0.iter().find(|(name, _)| *name == "message");
        let message = message.map_or("", |(_, text)| text.as_str());
        let metadata = event.metadata();
        let mut record = LogRecord::new(level_of(metadata.level()), metadata.target(), message);
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(fields) = span.extensions().get::<Fields>() {
                fields
                    .0
                    .iter()
                    .for_each(|(name, value)| record.field(name, value));
            }
        }
        for (name, value) in own.0.iter().filter(|(name, _)| *name != "message") {
            record.field(name, value);
        }
        self.sink.write(record);
    }
}
