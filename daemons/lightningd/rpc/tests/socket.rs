//! The server over a real Unix socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lightningd_rpc::{Context, Level, Progress, Registry, RpcError, Server, bind, code, commands};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;

const ID: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

struct Node {
    _dir: tempfile::TempDir,
    path: PathBuf,
    server: Server,
    /// Lets waitinvoice answer.
    paid: Arc<Notify>,
    /// Commands that have run to their end.
    finished: Arc<AtomicUsize>,
    client_gone: Arc<Notify>,
}

fn start() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lightning-rpc");
    let (paid, finished, client_gone) = (
        Arc::new(Notify::new()),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Notify::new()),
    );
    let mut registry = Registry::new(false);
    registry
        .add(&commands::GETINFO, |_, _| async {
            Ok(json!({"id": ID, "nested": [{"a": 1, "b": 2}]}))
        })
        .unwrap();
    registry
        .add(&commands::PAY, |context: Context, _| async move {
            context.message(Level::Info, "trying");
            context.progress(Progress {
                num: 0,
                total: 2,
                stage: None,
            });
            Err(RpcError::new(code::PAY_ROUTE_NOT_FOUND, "no route")
                .with_data(json!({"attempts": 1})))
        })
        .unwrap();
    let (wait, done) = (Arc::clone(&paid), Arc::clone(&finished));
    registry
        .add(&commands::WAITINVOICE, move |_, args| {
            let (wait, done) = (Arc::clone(&wait), Arc::clone(&done));
            async move {
                wait.notified().await;
                done.fetch_add(1, Ordering::SeqCst);
                Ok(json!({"label": args.required::<String>("label")?}))
            }
        })
        .unwrap();
    let gone = Arc::clone(&client_gone);
    registry
        .add(&commands::WAITANYINVOICE, move |context: Context, _| {
            let gone = Arc::clone(&gone);
            async move {
                context.client_gone().await;
                gone.notify_one();
                Ok(json!({}))
            }
        })
        .unwrap();
    let server = Server::start(bind(&path, 0o600).unwrap(), Arc::new(registry));
    Node {
        _dir: dir,
        path,
        server,
        paid,
        finished,
        client_gone,
    }
}

struct Client {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Client {
    async fn to(node: &Node) -> Client {
        Client {
            stream: UnixStream::connect(&node.path).await.unwrap(),
            read: Vec::new(),
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next line, which must be compact and end in two newlines. None at the end of the stream.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|w| w == b"\n\n") {
                let rest = self.read.split_off(end + 2);
                let line = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if self.stream.read_buf(&mut self.read).await.unwrap() == 0 {
                assert!(
                    self.read.is_empty(),
                    "half a reply: {:?}",
                    String::from_utf8_lossy(&self.read)
                );
                return None;
            }
        }
    }

    async fn reply(&mut self) -> Value {
        serde_json::from_str(&self.line().await.unwrap()).unwrap()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(
            &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string(),
        )
        .await;
        self.reply().await
    }
}

#[tokio::test]
async fn a_reply_is_one_compact_line_with_the_id_as_given() {
    let node = start();
    let mut client = Client::to(&node).await;
    client
        .send(r#"{"jsonrpc":"2.0","id": "cli:getinfo#\u0031","method":"getinfo","params":[]}"#)
        .await;
    let expected = format!(
        r#"{{"jsonrpc":"2.0","id":"cli:getinfo#\u0031","result":{{"id":"{ID}","nested":[{{"a":1,"b":2}}]}}}}"#
    );
    assert_eq!(client.line().await.unwrap(), expected);
    client
        .send(r#"{"jsonrpc":"2.0","id":null,"method":"getinfo","params":{}}"#)
        .await;
    assert!(
        client
            .line()
            .await
            .unwrap()
            .starts_with(r#"{"jsonrpc":"2.0","id":null,"result""#)
    );
}

#[tokio::test]
async fn requests_may_be_split_and_pipelined() {
    let node = start();
    let mut client = Client::to(&node).await;
    let request = |id: usize| {
        json!({"jsonrpc": "2.0", "id": id, "method": "getinfo", "params": []}).to_string()
    };
    let text = format!("{}\n{}{} ", request(0), request(1), request(2));
    let (first, rest) = text.split_at(20);
    client.send(first).await;
    client.send(rest).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.reply().await["id"].as_u64().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
}

#[tokio::test]
async fn a_slow_command_does_not_hold_up_the_next() {
    let node = start();
    let mut client = Client::to(&node).await;
    client
        .send(
            &json!({"jsonrpc": "2.0", "id": "slow", "method": "waitinvoice", "params": ["x"]})
                .to_string(),
        )
        .await;
    assert!(client.ask("getinfo", json!([])).await["result"].is_object());
    node.paid.notify_one();
    assert_eq!(
        client.reply().await,
        json!({"jsonrpc": "2.0", "id": "slow", "result": {"label": "x"}})
    );
}

#[tokio::test]
async fn an_error_has_code_message_and_data() {
    let node = start();
    let mut client = Client::to(&node).await;
    let error = &client.ask("pay", json!(["lnbc1"])).await["error"];
    assert_eq!(
        *error,
        json!({"code": 205, "message": "no route", "data": {"attempts": 1}})
    );
    assert_eq!(
        client.ask("nonesuch", json!([])).await["error"]["code"],
        -32601
    );
    assert_eq!(client.ask("pay", json!([])).await["error"]["code"], -32602);
}

#[tokio::test]
async fn notifications_come_before_the_reply_and_only_where_enabled() {
    let node = start();
    let (mut with, mut without) = (Client::to(&node).await, Client::to(&node).await);
    with.send(r#"{"jsonrpc":"2.0","id":"n","method":"notifications","params":[true]}"#)
        .await;
    assert_eq!(with.reply().await["result"], json!({}));
    with.send(r#"{"jsonrpc":"2.0","id":"p","method":"pay","params":["x"]}"#)
        .await;
    let message = json!({"jsonrpc": "2.0", "method": "message", "params": {"id": "p", "level": "info", "message": "trying"}});
    assert_eq!(with.reply().await, message);
    assert_eq!(
        with.reply().await["params"],
        json!({"id": "p", "num": 0, "total": 2})
    );
    assert_eq!(with.reply().await["error"]["code"], 205);
    assert_eq!(without.ask("pay", json!(["x"])).await["error"]["code"], 205);
    with.send(r#"{"jsonrpc":"2.0","id":"n","method":"notifications","params":{"enable":false}}"#)
        .await;
    with.reply().await;
    assert_eq!(with.ask("pay", json!(["x"])).await["error"]["code"], 205);
}

#[tokio::test]
async fn a_filter_cuts_the_result_down() {
    let node = start();
    let mut client = Client::to(&node).await;
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"nested":[{"b":true}]}}"#).await;
    assert_eq!(
        client.reply().await["result"],
        json!({"nested": [{"b": 2}]})
    );
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"nested":{"b":true}}}"#).await;
    assert_eq!(
        client.reply().await["result"]["warning_parameter_filter"],
        ".nested is an array"
    );
    client
        .send(r#"{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":7}"#)
        .await;
    assert_eq!(client.reply().await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_malformed_document_is_answered_and_ends_the_connection() {
    let node = start();
    for text in [
        "hello",
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[]}]"#,
        r#"{"jsonrpc": nonsense}"#,
        "{]",
        r#"{"id":1}"#,
    ] {
        let mut client = Client::to(&node).await;
        client.send(text).await;
        let reply = client.reply().await;
        assert_eq!(
            (&reply["error"]["code"], &reply["id"]),
            (&json!(-32600), &Value::Null),
            "{text}"
        );
        assert_eq!(client.line().await, None, "{text}");
    }
}

#[tokio::test]
async fn a_malformed_request_is_answered_and_the_next_one_served() {
    let node = start();
    let mut client = Client::to(&node).await;
    client.send(r#"{"jsonrpc":"2.0","method":"getinfo","params":[]}{"jsonrpc":"2.0","id":3,"method":"getinfo"}"#).await;
    assert_eq!(
        client.reply().await,
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "No id"}})
    );
    assert_eq!(
        client.reply().await,
        json!({"jsonrpc": "2.0", "id": 3, "error": {"code": -32600, "message": "No params"}})
    );
    assert!(client.ask("getinfo", json!([])).await["result"].is_object());
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_its_replies() {
    let node = start();
    let mut client = Client::to(&node).await;
    client
        .send(r#"{"jsonrpc":"2.0","id":1,"method":"waitinvoice","params":["x"]}"#)
        .await;
    client.stream.shutdown().await.unwrap();
    node.paid.notify_one();
    assert_eq!(client.reply().await["result"]["label"], "x");
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn a_command_runs_to_its_end_without_its_client_and_a_waiting_one_learns_of_it() {
    let node = start();
    let mut client = Client::to(&node).await;
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"waitinvoice","params":["x"]}{"jsonrpc":"2.0","id":2,"method":"waitanyinvoice","params":[]}"#).await;
    assert!(client.ask("getinfo", json!([])).await["result"].is_object()); // both have started
    drop(client);
    node.client_gone.notified().await;
    node.paid.notify_one();
    while node.finished.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let node = start();
    let mut clients = Vec::new();
    for _ in 0..lightningd_rpc::server::MAX_CONNECTIONS {
        clients.push(Client::to(&node).await);
    }
    assert!(clients.last_mut().unwrap().ask("getinfo", json!([])).await["result"].is_object());
    let mut extra = Client::to(&node).await;
    assert_eq!(extra.reply().await["error"]["code"], -1);
    assert_eq!(extra.line().await, None);
}

#[tokio::test]
async fn a_connection_with_too_many_running_commands_is_read_no_further() {
    let node = start();
    let mut client = Client::to(&node).await;
    let wait = r#"{"jsonrpc":"2.0","id":"w","method":"waitinvoice","params":["x"]}"#;
    client
        .send(&wait.repeat(lightningd_rpc::server::MAX_IN_FLIGHT))
        .await;
    client
        .send(r#"{"jsonrpc":"2.0","id":"g","method":"getinfo","params":[]}"#)
        .await;
    // Other connections are served meanwhile.
    let mut other = Client::to(&node).await;
    assert!(other.ask("getinfo", json!([])).await["result"].is_object());
    node.paid.notify_one();
    assert_eq!(client.reply().await["id"], "w");
    assert_eq!(client.reply().await["id"], "g");
}

#[tokio::test]
async fn commands_of_all_connections_together_are_limited() {
    use lightningd_rpc::server::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_TOGETHER};
    let node = start();
    let wait = r#"{"jsonrpc":"2.0","id":"w","method":"waitinvoice","params":["x"]}"#;
    let mut clients = Vec::new();
    for _ in 0..MAX_IN_FLIGHT_TOGETHER / MAX_IN_FLIGHT {
        let mut client = Client::to(&node).await;
        client.send(&wait.repeat(MAX_IN_FLIGHT)).await;
        clients.push(client);
    }
    let mut other = Client::to(&node).await;
    // The last of them may not have been read yet.
    let refused = loop {
        let reply = other.ask("getinfo", json!([])).await;
        if reply["error"].is_object() {
            break reply;
        }
    };
    assert_eq!(refused["error"]["code"], -1, "{refused}");
    drop(clients);
    for _ in 0..MAX_IN_FLIGHT_TOGETHER {
        node.paid.notify_one();
        tokio::task::yield_now().await;
    }
    while other.ask("getinfo", json!([])).await["error"].is_object() {
        node.paid.notify_one();
    }
}

#[tokio::test]
async fn a_long_request_waits_for_its_turn_and_short_ones_pass_it() {
    use lightningd_rpc::server::{MAX_LONG_REQUESTS, SHORT_REQUEST};
    let node = start();
    let begin = format!(
        r#"{{"jsonrpc":"2.0","id":"long","method":"getinfo","params":{{}},"x":"{}"#,
        "a".repeat(SHORT_REQUEST * 8)
    );
    let mut stuck = Vec::new();
    for _ in 0..MAX_LONG_REQUESTS {
        let mut client = Client::to(&node).await;
        client.send(&begin).await; // all of it is read, or the socket would not take it
        stuck.push(client);
    }
    let mut late = Client::to(&node).await;
    let whole = format!("{begin}\"}}");
    let sending = tokio::spawn(async move {
        late.send(&whole).await;
        late.reply().await
    });
    let mut short = Client::to(&node).await;
    for _ in 0..10 {
        assert!(short.ask("getinfo", json!([])).await["result"].is_object());
    }
    assert!(!sending.is_finished());
    stuck.pop();
    assert_eq!(sending.await.unwrap()["id"], "long");
}

#[tokio::test]
async fn shutdown_lets_commands_finish_and_answers_for_those_that_do_not() {
    let node = start();
    let (mut quick, mut stuck) = (Client::to(&node).await, Client::to(&node).await);
    for client in [&mut quick, &mut stuck] {
        client
            .send(r#"{"jsonrpc":"2.0","id":"w","method":"waitinvoice","params":["x"]}"#)
            .await;
        assert!(client.ask("getinfo", json!([])).await["result"].is_object());
    }
    node.paid.notify_one();
    node.server.shutdown(Duration::from_millis(200)).await;
    let mut codes = [quick.reply().await, stuck.reply().await]
        .map(|r| r["error"]["code"].as_i64().unwrap_or(0));
    codes.sort_unstable();
    assert_eq!(codes, [-5, 0]);
    assert!(UnixStream::connect(&node.path).await.is_err());
}
