//! The JSON-RPC socket of lightningd: framing, and a whole server that is sent anything.

use std::sync::{Arc, Mutex, OnceLock};

use lightningd_rpc::framing::Framing;
use lightningd_rpc::token::Token;
use lightningd_rpc::{Args, Registry, Server, bind, commands};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::Target;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("rpc_framing", framing, 2048, request_seeds),
        Target::new("rpc_token", token, 2048, token_seeds),
        Target::new("rpc_server", server, 2048, request_seeds),
    ]
}

/// First byte: how long the reads are. However they fall, the documents are the same.
fn framing(data: &[u8]) {
    let (len, stream) = data.split_first().unwrap_or((&0, &[]));
    let whole = documents(stream, stream.len());
    assert_eq!(documents(stream, usize::from(*len)), whole);
    let joined: usize = whole.0.iter().map(Vec::len).sum();
    assert!(joined <= stream.len());
}

fn documents(stream: &[u8], chunk: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut framing, mut found) = (Framing::default(), vec![]);
    for part in stream.chunks(chunk.max(1)) {
        framing.push(part);
        loop {
            match framing.next_document() {
                Ok(Some(document)) => found.push(document),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(token) = Token::parse(text) {
        look_at(token, 0);
    }
}

/// What a token says of itself is what serde_json says of its text.
fn look_at(token: Token<'_>, depth: u32) {
    assert_eq!(token.raw(), token.raw().trim());
    let text = token.text();
    let value = token.value();
    if let Some(value) = &value {
        assert_eq!(token.is_null(), value.is_null());
        assert_eq!(token.as_bool(), value.as_bool());
        assert_eq!(token.is_string(), value.is_string());
        assert_eq!(
            token.elements().map(|e| e.len()),
            value.as_array().map(Vec::len)
        );
        if let Some(expected) = value.as_str() {
            assert_eq!(text.as_deref(), Some(expected));
        }
    }
    if depth < 4 {
        let members = token.members().unwrap_or_default();
        let below = members.into_iter().map(|(_, token)| token);
        below
            .chain(token.elements().unwrap_or_default())
            .for_each(|t| look_at(t, depth + 1));
    }
}

/// Every command, and none that does anything: what reads the requests is what is tried.
fn registry() -> Registry {
    let mut registry = Registry::new(true);
    for command in commands::ALL {
        let run = move |_, args: Args| async move {
            let given = command.params.iter().filter(|p| args.has(p.name)).count();
            let _: Result<Option<String>, _> = args.optional("label");
            Ok(json!({"given": given, "list": [{"a": 1, "b": [2, 3]}, 7], "text": "x"}))
        };
        let _ = registry.add(command, run); // the three built-in ones are there already
    }
    registry
}

struct World {
    runtime: Runtime,
    _server: Server,
    _dir: tempfile::TempDir,
    socket: std::path::PathBuf,
}

static WORLD: OnceLock<Mutex<World>> = OnceLock::new();

fn world() -> &'static Mutex<World> {
    WORLD.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("rpc");
        let server = {
            let _inside = runtime.enter();
            let listener = bind(&socket, 0o600).expect("a socket");
            Server::start(listener, Arc::new(registry()))
        };
        Mutex::new(World {
            runtime,
            _server: server,
            _dir: dir,
            socket,
        })
    })
}

/// One connection. Every reply is a line of JSON of the right form, and the connection ends.
fn server(data: &[u8]) {
    let world = world().lock().expect("one at a time");
    let replies = world.runtime.block_on(converse(&world.socket, data));
    let replies = String::from_utf8(replies).expect("replies are text");
    for reply in replies.split_terminator("\n\n") {
        // By its grammar only: an id is echoed as it came, half a surrogate pair included.
        let members = Token::parse(reply).and_then(Token::members);
        let members = members.expect("a reply is a JSON object");
        let is = |name: &str, text: &str| members.iter().any(|(n, t)| n == name && t.raw() == text);
        assert!(is("jsonrpc", "\"2.0\""), "{reply}");
        let ends = |name: &String| ["result", "error", "params"].contains(&name.as_str());
        assert_eq!(
            members.iter().filter(|(name, _)| ends(name)).count(),
            1,
            "{reply}"
        );
        assert!(!reply.contains('\n'), "{reply}");
    }
    assert!(replies.is_empty() || replies.ends_with("\n\n"));
}

async fn converse(socket: &std::path::Path, data: &[u8]) -> Vec<u8> {
    let stream = UnixStream::connect(socket)
        .await
        .expect("the server listens");
    let (mut read, mut write) = stream.into_split();
    let mut replies = vec![];
    let send = async {
        let _ = write.write_all(data).await; // it may have heard enough
        drop(write);
    };
    let _ = tokio::join!(send, read.read_to_end(&mut replies));
    replies
}

fn request_seeds() -> Vec<Vec<u8>> {
    let id =
        "\"02".to_owned() + &"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\"";
    let requests = [
        r#"{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[]}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":"a\"b","method":"help","params":{"command":"pay"}}"#.to_owned(),
        r#" {"jsonrpc":"2.0","id":2,"method":"notifications","params":[true]} {"jsonrpc":"2.0","id":3,"method":"getinfo","params":{},"filter":{"list":[{"b":true}]}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":4,"method":"invoice","params":["1000msat","label",null,60,["bcrt1q"],"00ff"]}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":5,"method":"fundchannel","params":{{"id":{id},"amount":"all","feerate":"253perkw","announce":false,"utxos":["{}:1"]}}}}"#, "ab".repeat(32)),
        r#"{"jsonrpc":"2.0","id":6,"method":"check","params":{"command_to_check":"withdraw","destination":"x","satoshi":"0.5btc","feerate":"slow"}}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":[{id},"128",0]}}"#),
        r#"{"jsonrpc":"2.0","id":8,"method":"close","params":["103x1x0",0]}"#.to_owned(),
        r#"[{"jsonrpc":"2.0"}]"#.to_owned(),
    ];
    requests.into_iter().map(String::into_bytes).collect()
}

fn token_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"b": 1, "a": "x\u0041", "b": [2, null, true, 1.50e3]}"#,
        "\"\\ud83d\\ude00\"",
        "-0.0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
