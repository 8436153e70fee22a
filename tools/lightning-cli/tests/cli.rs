//! The program against the real RPC server.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use lightningd_rpc::{Context, Level, Progress, Registry, RpcError, Server, bind, code, commands};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const ID: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

struct Node {
    dir: tempfile::TempDir,
    _server: Server,
    _runtime: Runtime,
}

fn registry() -> Registry {
    let mut registry = Registry::new(false);
    registry
        .add(&commands::GETINFO, |_, _| async {
            Ok(json!({"id": ID, "alias": "a\"b", "fees": {"x": 1}, "list": [1, 2]}))
        })
        .unwrap();
    registry
        .add(&commands::LISTPEERS, |_, _| async {
            Ok(json!({"peers": [{"id": ID, "connected": true}, {"id": "03bb", "connected": false}]}))
        })
        .unwrap();
    registry
        .add(&commands::INVOICE, |_, args| async move {
            let label: String = args.required("label")?;
            Ok(json!({"label": label, "description": args.required::<String>("description")?}))
        })
        .unwrap();
    registry
        .add(&commands::PAY, |context: Context, _| async move {
            context.message(Level::Debug, "quiet");
            context.message(Level::Info, "trying");
            context.progress(Progress {
                num: 1,
                total: 2,
                stage: None,
            });
            Err(RpcError::new(code::PAY_ROUTE_NOT_FOUND, "no route"))
        })
        .unwrap();
    registry
}

impl Node {
    fn start() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(".lightning/regtest");
        std::fs::create_dir_all(&folder).unwrap();
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let server = Server::start(
            bind(&folder.join("lightning-rpc"), 0o600).unwrap(),
            Arc::new(registry()),
        );
        drop(_inside);
        Node {
            dir,
            _server: server,
            _runtime: runtime,
        }
    }

    fn cli(&self, arguments: &[&str]) -> Shown {
        let mut all = vec!["--regtest"];
        all.extend(arguments);
        cli(self.dir.path(), &all)
    }
}

#[derive(Debug)]
struct Shown {
    code: i32,
    out: String,
    err: String,
}

impl Shown {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn cli(home: &Path, arguments: &[&str]) -> Shown {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_lightning-cli"))
        .args(arguments)
        .env("HOME", home)
        .current_dir(home)
        .output()
        .unwrap();
    Shown {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

#[test]
fn a_result_is_indented_json() {
    let shown = Node::start().cli(&["getinfo"]);
    let expected = format!(
        "{{\n   \"id\": \"{ID}\",\n   \"alias\": \"a\\\"b\",\n   \"fees\": {{\n      \"x\": 1\n   }},\n   \"list\": [\n      1,\n      2\n   ]\n}}\n"
    );
    assert_eq!(
        (shown.code, shown.out, shown.err),
        (0, expected, String::new())
    );
}

#[test]
fn each_format_has_its_look() {
    let node = Node::start();
    assert_eq!(node.cli(&["-R", "getinfo"]).out.lines().count(), 1);
    assert_eq!(
        node.cli(&["-F", "getinfo"]).out,
        format!("id={ID}\nalias=a\\\"b\nfees.x=1\nlist[0]=1\nlist[1]=2\n")
    );
    assert_eq!(
        node.cli(&["-H", "getinfo"]).out,
        format!("id={ID}\nalias=a\"b\nfees=1\nlist=1, 2\n")
    );
    let table = node.cli(&["-H", "listpeers"]).out;
    assert!(
        table
            .lines()
            .any(|l| l.split_whitespace().eq(["id", "connected"])),
        "{table}"
    );
    assert!(
        table
            .lines()
            .any(|l| l.split_whitespace().eq(["03bb", "false"])),
        "{table}"
    );
}

#[test]
fn parameters_are_positional_or_named() {
    let node = Node::start();
    let expected = json!({"label": "7", "description": "a b"});
    for arguments in [
        &["invoice", "1000", "7", "a b"][..],
        &["invoice", "amount_msat=1000", "label=7", "description=a b"],
        &[
            "-k",
            "invoice",
            "label=7",
            "description=a b",
            "amount_msat=1sat",
        ],
        &["invoice", "any", "7", "a b", "null"],
    ] {
        assert_eq!(node.cli(arguments).json(), expected, "{arguments:?}");
    }
    let ordered = node.cli(&["-o", "invoice", "amount_msat=1000", "x", "y"]);
    assert_eq!((ordered.code, &ordered.json()["code"]), (1, &json!(-32602)));
    assert_eq!(
        node.cli(&["invoice", "1", "x", "a=b"]).json()["description"],
        "a=b"
    );
}

#[test]
fn an_error_is_shown_with_exit_code_1() {
    let node = Node::start();
    let shown = node.cli(&["-N", "none", "pay", "lnbc1"]);
    assert_eq!(
        (shown.code, shown.json()),
        (1, json!({"code": 205, "message": "no route"}))
    );
    assert_eq!(node.cli(&["nonesuch"]).json()["code"], -32601);
    assert_eq!(node.cli(&["-R", "nonesuch"]).out.lines().count(), 1);
}

#[test]
fn notifications_are_lines_that_begin_with_a_hash() {
    let node = Node::start();
    let shown = node.cli(&["pay", "lnbc1"]).out;
    let (progress, reply) = shown.split_at(shown.find("{\n").unwrap());
    assert_eq!(
        progress,
        format!("# trying\n\r# 2/2 |{}|\n", "=".repeat(60))
    );
    assert!(reply.contains("205"));
    assert!(
        node.cli(&["-N", "debug", "pay", "lnbc1"])
            .out
            .starts_with("# quiet\n# trying\n")
    );
    assert!(
        node.cli(&["--notifications=none", "pay", "lnbc1"])
            .out
            .starts_with("{\n")
    );
}

#[test]
fn a_filter_goes_into_the_request() {
    let node = Node::start();
    assert_eq!(
        node.cli(&["-l", r#"{"peers":[{"id":true}]}"#, "listpeers"])
            .json(),
        json!({"peers": [{"id": ID}, {"id": "03bb"}]})
    );
    assert_eq!(node.cli(&["--filter={", "listpeers"]).code, 3);
}

#[test]
fn help_lists_commands_by_category_or_explains_one() {
    let node = Node::start();
    let list = node.cli(&["help"]).out;
    let at = |text: &str| {
        list.find(text)
            .unwrap_or_else(|| panic!("no {text} in {list}"))
    };
    assert!(
        at("invoice\n  invoice amount_msat label description [expiry]")
            < at("\nnode\n  check command_to_check\n")
    );
    assert!(!list.contains("format-hint"));
    let page = node.cli(&["help", "invoice"]).out;
    assert!(
        page.starts_with("NAME\n  invoice - makes an invoice"),
        "{page}"
    );
    assert_eq!(
        node.cli(&["-J", "help", "invoice"]).json()["format-hint"],
        "simple"
    );
    assert_eq!(node.cli(&["help", "nonesuch"]).code, 1);
    assert!(node.cli(&[]).out.contains("\n  getinfo\n"));
}

#[test]
fn help_about_a_known_command_needs_no_node() {
    let home = tempfile::tempdir().unwrap();
    let shown = cli(home.path(), &["help", "withdraw"]);
    assert_eq!(shown.code, 0);
    assert!(shown.out.contains("withdraw destination satoshi [feerate]"));
    assert_eq!(cli(home.path(), &["help", "nonesuch"]).code, 2);
}

#[test]
fn a_node_that_is_not_there_is_exit_code_2_with_advice() {
    let node = Node::start();
    let shown = cli(node.dir.path(), &["getinfo"]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.err.contains(".lightning/bitcoin/lightning-rpc"),
        "{}",
        shown.err
    );
    assert!(
        shown.err.contains("There is one for --network=regtest."),
        "{}",
        shown.err
    );
    let dead = node.dir.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let shown = node.cli(&["--rpc-file", dead.to_str().unwrap(), "getinfo"]);
    assert_eq!((shown.code, shown.out.as_str()), (2, ""));
    assert!(shown.err.contains("nobody answers"), "{}", shown.err);
}

#[test]
fn wrong_usage_is_exit_code_3() {
    let node = Node::start();
    for arguments in [
        &["--nonesuch"][..],
        &["-k", "invoice", "x"],
        &["invoice", "{x}"],
        &["-N", "loud", "getinfo"],
        &["--network=mars", "getinfo"],
    ] {
        let shown = node.cli(arguments);
        assert_eq!(
            (shown.code, shown.out.is_empty(), shown.err.is_empty()),
            (3, true, false),
            "{arguments:?} {shown:?}"
        );
    }
    assert_eq!(node.cli(&["--help"]).code, 0);
    assert_eq!(node.cli(&["-V"]).code, 0);
}

#[test]
fn the_configuration_says_where_the_node_is() {
    let node = Node::start();
    let home = node.dir.path();
    std::fs::write(
        home.join(".lightning/config"),
        "network=regtest\nalias=x\nplugin=/y\n",
    )
    .unwrap();
    assert_eq!(cli(home, &["getinfo"]).code, 0);
    assert_eq!(cli(home, &["--signet", "getinfo"]).code, 2);
    assert_eq!(
        cli(home, &["--lightning-dir=.lightning", "getinfo"]).code,
        0
    );
}

#[test]
fn completions_are_printed_without_a_node() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let shown = cli(home.path(), &["--completion", shell]);
        assert!(
            shown.code == 0 && shown.out.contains("listpeerchannels"),
            "{shell}"
        );
    }
}
