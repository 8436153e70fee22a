//! lightning-cli against a real node.

use blackbox::node::program;
use blackbox::{Bitcoind, Node};
use serde_json::Value;
use std::process::{Command, Output};

fn cli(node: &Node, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("lightning-cli").unwrap());
    command
        .arg(format!(
            "--lightning-dir={}",
            node.lightning_dir().display()
        ))
        .arg("--regtest")
        .args(arguments);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Output of a call that must succeed.
fn told(node: &Node, arguments: &[&str]) -> String {
    let output = cli(node, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {error}{}",
        said(&output)
    );
    said(&output)
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    let text = told(node, arguments);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e} in {text}"))
}

#[test]
fn parameters_are_taken_by_position_and_by_name() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let id = node.id().unwrap();
    assert_eq!(json(&node, &["getinfo"])["id"], id);
    json(&node, &["invoice", "1000", "by position", "words"]);
    json(
        &node,
        &[
            "-k",
            "invoice",
            "amount_msat=1sat",
            "label=by name",
            "description=a=b",
            "expiry=60",
        ],
    );
    let listed = json(&node, &["-k", "listinvoices", "label=by name"]);
    assert_eq!(listed["invoices"][0]["amount_msat"], 1000);
    assert_eq!(listed["invoices"][0]["description"], "a=b");
    // Without -k, name=value means names, too; with -o it does not.
    let named = json(&node, &["listinvoices", "label=by name"]);
    assert_eq!(named, listed);
    json(&node, &["-o", "invoice", "1", "a=b", "words"]);
    let odd = json(&node, &["-o", "listinvoices", "a=b"]);
    assert_eq!(odd["invoices"][0]["label"], "a=b");
}

#[test]
fn output_comes_in_the_form_asked_for() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let id = node.id().unwrap();
    let filtered = json(&node, &["--filter={\"id\":true}", "getinfo"]);
    assert_eq!(filtered, serde_json::json!({"id": id}));
    let flat = told(&node, &["-F", "getinfo"]);
    assert!(
        flat.lines().any(|line| line == format!("id={id}")),
        "{flat}"
    );
    let human = told(&node, &["-H", "help"]);
    assert!(human.contains("getinfo") && serde_json::from_str::<Value>(&human).is_err());
    let forced = json(&node, &["-J", "help"]);
    assert!(forced["help"].is_array());
    let raw = told(&node, &["-R", "getinfo"]);
    assert!(raw.lines().count() <= 2 && raw.contains(&id), "{raw}");
    assert!(told(&node, &["help", "pay"]).contains("maxfeepercent"));
}

#[test]
fn the_exit_code_tells_a_refusal_from_a_node_that_is_not_there_and_wrong_usage() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let refused = cli(&node, &["nonesuch"]);
    assert_eq!(refused.status.code(), Some(1));
    let error: Value = serde_json::from_str(&said(&refused)).unwrap();
    assert_eq!(error["code"], -32601, "{error}");
    assert_eq!(
        cli(&node, &["--nonesuch", "getinfo"]).status.code(),
        Some(3)
    );
    let stopped = told(&node, &["stop"]);
    assert!(stopped.contains("Shutdown complete"), "{stopped}");
    assert!(node.wait_for_end().unwrap().success());
    assert_eq!(cli(&node, &["getinfo"]).status.code(), Some(2));
}
