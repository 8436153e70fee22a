//! What may leave a node, and how its owner moves the limits: by the real tool, over the socket that
//! lightningd has no part in.

use blackbox::node::program;
use blackbox::{Bitcoind, Network, Node};
use serde_json::{Value, json};
use std::process::{Command, Output};

fn tool(node: &Node, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("lightning-hsmtool").unwrap());
    command
        .arg(format!("--network-dir={}", node.network_dir().display()))
        .args(arguments);
    command.output().unwrap()
}

/// What the tool said where it must succeed.
fn told(node: &Node, arguments: &[&str]) -> String {
    let output = tool(node, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    let text = told(node, &[&["--json"], arguments].concat());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e} in {text}"))
}

/// The error of a call that hsmd must refuse by this rule.
fn refused(node: &Node, method: &str, params: Value, rule: &str) -> String {
    let error = node.rpc(method, params).unwrap_err().to_string();
    assert!(error.contains(&format!("by rule {rule}")), "{error}");
    error
}

fn somebodys_address(bitcoind: &Bitcoind) -> String {
    let bech32 = json!(["", "bech32"]);
    let address = bitcoind.rpc("getnewaddress", bech32).unwrap();
    address.as_str().unwrap().to_owned()
}

fn withdrawn(bitcoind: &Bitcoind, node: &Node, to: &str, satoshi: u64) {
    let sent = node.rpc("withdraw", json!([to, satoshi])).unwrap();
    let txid = sent["txid"].as_str().unwrap().to_owned();
    assert!(bitcoind.mempool().unwrap().contains(&txid));
    // Its change is for the next.
    bitcoind.mine(1).unwrap();
    node.wait_for_height(bitcoind.height().unwrap()).unwrap();
}

#[test]
fn a_withdrawal_above_the_limit_goes_through_once_the_owner_approves_it() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let log = node.log();
    assert!(
        log.contains("lightning-hsmtool set-limits"),
        "the first start says the limits"
    );
    node.fund(&bitcoind, 6_000_000).unwrap();
    let to = somebodys_address(&bitcoind);
    // Half of what it holds.
    withdrawn(&bitcoind, &node, &to, 1_000_000);
    let params = json!([to, 4_000_000]);
    let error = refused(&node, "withdraw", params.clone(), "W4");
    assert!(error.contains("24 hours"), "{error}");
    assert!(error.contains("lightning-hsmtool approve 1"), "{error}");
    // Nobody but the owner has it now: lightningd has no way to say it.
    refused(&node, "withdraw", params.clone(), "W4");
    let list = told(&node, &["refused"]);
    assert!(list.contains(&to) && list.contains("4000000sat"), "{list}");
    let number = json(&node, &["refused"])["refused"][0]["number"].to_string();
    let approved = told(&node, &["approve", &number, "--yes"]);
    assert!(approved.contains(&to), "{approved}");
    // It is the owner's word, so that it outlives the node's processes.
    node.kill9().unwrap();
    node.launch().unwrap();
    node.wait_for_height(bitcoind.height().unwrap()).unwrap();
    withdrawn(&bitcoind, &node, &to, 4_000_000);
    assert_eq!(json(&node, &["refused"])["refused"], json!([]));
}

#[test]
fn limits_and_allowlist_are_the_owners() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    node.fund(&bitcoind, 2_000_000).unwrap();
    let (to, safe) = (somebodys_address(&bitcoind), somebodys_address(&bitcoind));
    told(
        &node,
        &[
            "set-limits",
            "--withdraw-per-day",
            "0",
            "--max-fee",
            "50000",
        ],
    );
    refused(&node, "withdraw", json!([to, 10_000]), "W1");
    told(&node, &["set-limits", "--withdraw-per-day", "20000sat"]);
    let shown = json(&node, &["limits"]);
    assert_eq!(shown["withdraw_per_day"]["limit_sat"], 20_000);
    assert_eq!(shown["max_fee_sat"], 50_000, "what was not named stays");
    assert_eq!(shown["holds_sat"], 2_000_000);
    told(&node, &["allowlist", "add", &safe]);
    assert!(told(&node, &["allowlist", "list"]).contains(&safe));
    withdrawn(&bitcoind, &node, &safe, 1_000_000);
    told(&node, &["allowlist", "remove", &safe]);
    refused(&node, "withdraw", json!([safe, 500_000]), "W4");
    // What nobody may set, and what is no address.
    assert!(
        !tool(&node, &["set-limits", "--max-fee", "10000001"])
            .status
            .success()
    );
    assert!(
        !tool(&node, &["allowlist", "add", "nowhere"])
            .status
            .success()
    );
    let fee = refused(
        &node,
        "withdraw",
        json!({"destination": to, "satoshi": 10_000, "feerate": "130000perkw"}),
        "W2",
    );
    assert!(
        fee.contains("lightning-hsmtool set-limits --max-fee"),
        "{fee}"
    );
}

#[test]
fn an_opening_that_gives_away_more_than_may_be_paid_needs_the_owner() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    alice.fund(&network.bitcoind, 3_000_000).unwrap();
    alice.connect(bob).unwrap();
    let open = json!({"id": bob.id().unwrap(), "amount": 2_500_000, "push_msat": 2_000_000_000});
    let error = refused(alice, "fundchannel", open.clone(), "A1");
    assert!(error.contains("lightning-hsmtool approve 1"), "{error}");
    assert!(!bob.log().contains("is left of"), "the peer was told of it");
    told(alice, &["approve", "1", "--yes"]);
    alice.rpc("fundchannel", open).unwrap();
}

#[test]
fn a_close_to_somebody_elses_address_needs_the_owner() {
    let (network, opened) = Network::pair(1_000_000).unwrap();
    let alice = &network.nodes[0];
    let to = somebodys_address(&network.bitcoind);
    let close = json!({"id": opened.channel_id, "destination": to});
    let error = refused(alice, "close", close.clone(), "S2");
    assert!(error.contains("lightning-hsmtool allowlist add"), "{error}");
    told(alice, &["allowlist", "add", &to]);
    let closed = alice.rpc("close", close).unwrap();
    assert_eq!(closed["type"], "mutual");
    let txid = closed["txids"][0].as_str().unwrap();
    let tx = network
        .bitcoind
        .rpc("getrawtransaction", json!([txid, true]))
        .unwrap();
    assert!(tx["vout"].to_string().contains(&to), "{tx}");
}
