//! What a running command knows of its caller.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

/// CLN's log levels, as messages to clients carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Io,
    Trace,
    Debug,
    Info,
    Unusual,
    Broken,
}

/// How far a long command has come; counts from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub num: u32,
    pub total: u32,
    /// Which stage out of how many, for commands with several.
    pub stage: Option<(u32, u32)>,
}

/// A line for the client's socket, with its two newlines.
pub(crate) type Line = String;

/// Handed to every command: who asked, and a way to talk to them before the reply.
#[derive(Debug, Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The request's id as JSON text.
    id: String,
    method: String,
    developer: bool,
    /// None: not asked over a connection, or notifications are off on it.
    notifications: Option<mpsc::Sender<Line>>,
    connection: Option<mpsc::Sender<Line>>,
}

impl Context {
    pub(crate) fn new(
        id: &str,
        method: &str,
        developer: bool,
        connection: Option<&mpsc::Sender<Line>>,
        notifications: bool,
    ) -> Context {
        Context {
            inner: Arc::new(Inner {
                id: id.to_owned(),
                method: method.to_owned(),
                developer,
                notifications: connection.filter(|_| notifications).cloned(),
                connection: connection.cloned(),
            }),
        }
    }

    /// For a command that the node gives itself.
    #[must_use]
    pub fn internal(method: &str) -> Context {
        Context::new(
            &json!(format!("cln:{method}")).to_string(),
            method,
            false,
            None,
            false,
        )
    }

    /// The id of the request as JSON text, quotes included where it is a string.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    #[must_use]
    pub fn method(&self) -> &str {
        &self.inner.method
    }

    /// Whether lightningd runs with `--developer`.
    #[must_use]
    pub fn developer(&self) -> bool {
        self.inner.developer
    }

    /// Tells the client something before the reply. Dropped where the client has not enabled
    /// notifications, or reads so slowly that its queue is full.
    pub fn message(&self, level: Level, text: impl Into<String>) {
        let text = text.into();
        tracing::debug!(id = self.id(), ?level, "notify: {text}");
        self.notify(
            "message",
            &format!("\"level\":{},\"message\":{}", json!(level), json!(text)),
        );
    }

    /// Shows progress. Dropped as [`Context::message`] is.
    pub fn progress(&self, progress: Progress) {
        let Progress { num, total, stage } = progress;
        let stage = stage.map_or(String::new(), |(n, of)| {
            format!(",\"stage\":{{\"num\":{n},\"total\":{of}}}")
        });
        self.notify(
            "progress",
            &format!("\"num\":{num},\"total\":{total}{stage}"),
        );
    }

    /// `members`: JSON text to stand after the id.
    fn notify(&self, method: &str, members: &str) {
        let Some(out) = &self.inner.notifications else {
            return;
        };
        let id = self.id();
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{\"id\":{id},{members}}}}}\n\n"
        );
        if out.try_send(line).is_err() {
            tracing::debug!(
                id,
                "dropped a notification: its client is gone or does not read"
            );
        }
    }

    /// Resolves when the client has hung up, so that a command that only waits can stop waiting.
    /// Never resolves for a command without a connection.
    pub async fn client_gone(&self) {
        match &self.inner.connection {
            Some(out) => out.closed().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_carry_the_requests_id_as_it_was_given() {
        let (out, mut inbox) = mpsc::channel(4);
        let context = Context::new("\"cli:pay#1\"", "pay", false, Some(&out), true);
        context.message(Level::Unusual, "say \"hi\"");
        context.progress(Progress {
            num: 0,
            total: 2,
            stage: Some((1, 3)),
        });
        context.progress(Progress {
            num: 1,
            total: 2,
            stage: None,
        });
        assert_eq!(
            inbox.try_recv().unwrap(),
            "{\"jsonrpc\":\"2.0\",\"method\":\"message\",\"params\":{\"id\":\"cli:pay#1\",\"level\":\"unusual\",\"message\":\"say \\\"hi\\\"\"}}\n\n"
        );
        assert_eq!(
            inbox.try_recv().unwrap(),
            "{\"jsonrpc\":\"2.0\",\"method\":\"progress\",\"params\":{\"id\":\"cli:pay#1\",\"num\":0,\"total\":2,\"stage\":{\"num\":1,\"total\":3}}}\n\n"
        );
        assert!(
            inbox
                .try_recv()
                .unwrap()
                .ends_with("\"num\":1,\"total\":2}}\n\n")
        );
    }

    #[test]
    fn a_client_that_did_not_ask_for_notifications_gets_none() {
        let (out, mut inbox) = mpsc::channel(4);
        Context::new("1", "pay", false, Some(&out), false).message(Level::Info, "x");
        assert!(inbox.try_recv().is_err());
    }
}
