//! What `tracing` hands its events to: [`LogRecord`]s for one log edge, with the fields of the spans
//! that they lie in.
//!
//! A subscriber of our own, since hsmd links it: the usual one brings ten crates for formats, filters
//! and patterns that a log edge has no use for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipc_transport::log::{Level, LogRecord, LogSink};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

/// Writes to one sink.
pub struct LogSubscriber {
    sink: Arc<LogSink>,
    level: LevelFilter,
    /// What the targets of spans and events begin with.
    targets: &'static str,
    spans: Mutex<Spans>,
}

#[derive(Default)]
struct Spans {
    /// The last id that was given; none comes twice.
    last: u64,
    open: HashMap<u64, Span>,
}

struct Span {
    metadata: &'static Metadata<'static>,
    fields: Fields,
    parent: Option<u64>,
    /// Handles and children: at none it is gone.
    holders: usize,
}

/// The fields of a span or event, in order.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, String)>);

thread_local! {
    /// The spans that this thread is in, outermost first.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl LogSubscriber {
    /// What is at least as important as `level` goes to `sink`, if its target begins with `targets`.
    pub fn new(sink: Arc<LogSink>, level: Level, targets: &'static str) -> Self {
        LogSubscriber {
            sink,
            level: filter(level),
            targets,
            spans: Mutex::default(),
        }
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        // Whole after each statement, so that a panic in between leaves nothing half done.
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spans {
    fn open(&mut self, metadata: &'static Metadata<'static>, fields: Fields, parent: Option<u64>) {
        self.last += 1;
        if let Some(parent) = parent.and_then(|parent| self.open.get_mut(&parent)) {
            parent.holders += 1;
        }
        let span = Span {
            metadata,
            fields,
            parent,
            holders: 1,
        };
        self.open.insert(self.last, span);
    }

    /// One holder less. Says whether that was the last.
    fn let_go(&mut self, id: u64) -> bool {
        let Some(span) = self.open.get_mut(&id) else {
            return false;
        };
        span.holders -= 1;
        if span.holders > 0 {
            return false;
        }
        if let Some(parent) = self.open.remove(&id).and_then(|span| span.parent) {
            self.let_go(parent);
        }
        true
    }

    /// The span and those around it, outermost first.
    fn scope(&self, innermost: Option<u64>) -> Vec<&Span> {
        let get = |id: u64| self.open.get(&id);
        let inside_out =
            std::iter::successors(innermost.and_then(get), |span| span.parent.and_then(get));
        let mut scope: Vec<&Span> = inside_out.collect();
        scope.reverse();
        scope
    }
}

impl Subscriber for LogSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with(self.targets)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => innermost(),
            None => None,
        };
        let mut spans = self.spans();
        spans.open(attributes.metadata(), fields, parent);
        Id::from_u64(spans.last)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut later = Fields::default();
        values.record(&mut later);
        if let Some(span) = self.spans().open.get_mut(&id.into_u64()) {
            span.fields.replace(later);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let message = own.0.iter().find(|(name, _)| *name == "message");
        let message = message.map_or("", |(_, text)| text.as_str());
        let metadata = event.metadata();
        let mut record = LogRecord::new(level_of(metadata.level()), metadata.target(), message);
        let within = match event.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if event.is_contextual() => innermost(),
            None => None,
        };
        for span in self.spans().scope(within) {
            for (name, value) in &span.fields.0 {
                record.field(name, value);
            }
        }
        for (name, value) in own.0.iter().filter(|(name, _)| *name != "message") {
            record.field(name, value);
        }
        self.sink.write(record);
    }

    fn enter(&self, id: &Id) {
        // A thread that is ending has no such list any more: its last lines lie in no span.
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(id.into_u64()));
    }

    fn exit(&self, id: &Id) {
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            // Not always the innermost: guards may be dropped in any order.
            if let Some(at) = entered.iter().rposition(|open| *open == id.into_u64()) {
                entered.remove(at);
            }
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(span) = self.spans().open.get_mut(&id.into_u64()) {
            span.holders += 1;
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.spans().let_go(id.into_u64())
    }

    fn current_span(&self) -> Current {
        let Some(id) = innermost() else {
            return Current::none();
        };
        match self.spans().open.get(&id) {
            Some(span) => Current::new(Id::from_u64(id), span.metadata),
            None => Current::none(),
        }
    }
}

fn innermost() -> Option<u64> {
    let last = ENTERED.try_with(|entered| entered.borrow().last().copied());
    last.ok().flatten()
}

impl Fields {
    /// A value that is set again replaces the former.
    fn replace(&mut self, mut later: Fields) {
        self.0
            .retain(|(name, _)| !later.0.iter().any(|(newer, _)| newer == name));
        self.0.append(&mut later.0);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_transport::blocking::Conn;
    use ipc_transport::log::HELLO;
    use tracing::{info, info_span};

    /// What goes to the sink while `act` runs, as `message{name=value ...}`.
    fn logged(targets: &'static str, act: impl FnOnce()) -> Vec<String> {
        let (ours, theirs) = ipc_transport::pair().unwrap();
        let sink = Arc::new(LogSink::new(theirs).unwrap());
        let subscriber = LogSubscriber::new(sink, Level::Info, targets);
        let mut reader: Conn<(), LogRecord> = Conn::new(ours, HELLO).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let mut lines = Vec::new();
        while let Ok(record) = reader.recv() {
            let fields = record
                .fields
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let fields: Vec<String> = fields.collect();
            lines.push(format!("{}{{{}}}", record.message, fields.join(" ")));
        }
        lines
    }

    #[test]
    fn an_event_has_the_fields_of_its_spans_outermost_first_and_those_set_later() {
        let lines = logged("", || {
            let peer = info_span!("peer", peer = "02ab", later = tracing::field::Empty);
            peer.record("later", 5);
            peer.record("later", 6);
            let outer = peer.enter();
            let inner = info_span!("channel", channel = 1).entered();
            info!(amount = 7, "both");
            drop(inner);
            info!("one");
            drop(outer);
            info!("none");
            info!(parent: &peer, "named");
        });
        let expected = [
            "both{peer=02ab later=6 channel=1 amount=7}",
            "one{peer=02ab later=6}",
            "none{}",
            "named{peer=02ab later=6}",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_span_lives_as_long_as_its_last_holder_or_child() {
        let lines = logged("", || {
            let child = {
                let parent = info_span!("parent", parent = 1);
                let again = parent.clone();
                drop(parent);
                let _entered = again.enter();
                info_span!("child", child = 2)
            };
            child.in_scope(|| info!("inside"));
            drop(child);
            info!("after");
        });
        assert_eq!(lines, ["inside{parent=1 child=2}", "after{}"]);
    }

    #[test]
    fn other_targets_and_less_important_events_are_left_out() {
        let lines = logged("subd", || {
            info!(target: "hyper::client", "theirs");
            info!(target: "subd::log", "ours");
            tracing::debug!(target: "subd::log", "too much");
        });
        assert_eq!(lines, ["ours{}"]);
    }
}
