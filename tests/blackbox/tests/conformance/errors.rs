//! Each failure with CLN's code for it.

use super::interface::{Interface, bolt11, refusal, refused, states};
use blackbox::{Bitcoind, Network, Node};
use serde_json::json;

const INVALID_PARAMS: i64 = -32602;
const GENERAL: i64 = -1;
const STRANGER: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

#[test]
fn a_peer_that_cannot_be_reached_is_400_without_and_401_with_an_address() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let unused = blackbox::ports::free().unwrap();
    let connect = |params, code| refused(&node, "connect", params, code);
    connect(json!([STRANGER]), 400);
    connect(json!([STRANGER, "127.0.0.1", unused]), 401);
    connect(json!([format!("{STRANGER}@127.0.0.1:{unused}")]), 401);
    for wrong in [
        json!(["02ab"]),
        json!([format!("{STRANGER}@")]),
        json!([format!("{STRANGER}@127.0.0.1"), "127.0.0.1"]),
        json!({"id": format!("{STRANGER}@127.0.0.1:1"), "port": 2}),
        json!({"id": STRANGER, "port": 2}),
        json!([STRANGER, "127.0.0.1", 0]),
    ] {
        connect(wrong, INVALID_PARAMS);
    }
    refused(&node, "disconnect", json!([STRANGER]), INVALID_PARAMS);
    refused(&node, "ping", json!([STRANGER]), GENERAL);
    refused(&node, "ping", json!([STRANGER, 65530]), INVALID_PARAMS);
}

#[test]
fn a_channel_that_cannot_be_funded_says_why_by_its_code() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let id = bob.id().unwrap();
    let fund = |params, code| refused(alice, "fundchannel", params, code);
    fund(json!([STRANGER, 100_000]), 400);
    alice.connect(bob).unwrap();
    fund(json!([id, 100_000]), 301);
    fund(json!([id, "all"]), 301);
    alice.fund(&network.bitcoind, 20_000_000).unwrap();
    fund(json!([id, 21_000_000]), 301);
    fund(json!([id, 16_777_216]), 300);
    fund(
        json!({"id": id, "amount": 100_000, "push_msat": 100_000_001}),
        301,
    );
    for refused in [
        json!({"id": id, "amount": 100_000, "close_to": "bcrt1"}),
        json!({"id": id, "amount": 100_000, "channel_type": [12, 77]}),
        json!({"id": id, "amount": 100_000, "request_amt": 1000}),
        json!({"id": id, "amount": 100_000, "utxos": [format!("{}:0", "ab".repeat(32))]}),
    ] {
        fund(refused, INVALID_PARAMS);
    }
    // What failed holds no coins back.
    let funds = alice.rpc("listfunds", json!({})).unwrap();
    assert_eq!(funds["outputs"][0]["reserved"], false);
    assert!(states(alice).is_empty());
}

#[test]
fn a_withdrawal_that_cannot_be_made_says_why_by_its_code() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let to = node.rpc("newaddr", json!([])).unwrap()["p2tr"].clone();
    let withdraw = |params, code| refused(&node, "withdraw", params, code);
    withdraw(json!([to, 1000]), 301);
    withdraw(json!([to, "all"]), 301);
    node.fund(&bitcoind, 100_000).unwrap();
    withdraw(json!([to, 100_000]), 301);
    withdraw(json!([to, 100]), 302);
    withdraw(json!(["nowhere", 1000]), INVALID_PARAMS);
    let mainnet = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    withdraw(json!([mainnet, 1000]), INVALID_PARAMS);
    let unknown = json!([format!("{}:0", "ab".repeat(32))]);
    withdraw(
        json!({"destination": to, "satoshi": 1000, "utxos": unknown}),
        INVALID_PARAMS,
    );
    withdraw(
        json!({"destination": to, "satoshi": 1000, "minconf": 7}),
        301,
    );
}

#[test]
fn a_payment_that_cannot_be_made_says_why_by_its_code() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let pay = |params, code| refused(alice, "pay", params, code);
    let plain = bolt11(bob, json!(1000), "plain");
    let any = bolt11(bob, json!("any"), "any");
    for wrong in [
        json!(["lnbcrt1nonsense"]),
        json!([plain.replace("lnbcrt", "lnbc")]),
        json!([plain, 1000]),
        json!([any]),
        json!({"bolt11": plain, "maxfee": 1, "maxfeepercent": 1}),
        json!({"bolt11": plain, "maxfee": 1, "exemptfee": 1}),
        json!({"bolt11": plain, "partial_msat": 1001}),
        json!({"bolt11": plain, "partial_msat": 0}),
        json!({"bolt11": plain, "exclude": ["nobody"]}),
    ] {
        pay(wrong, INVALID_PARAMS);
    }
    let mine = bolt11(alice, json!(1000), "mine");
    pay(json!([mine]), 205);
    pay(json!([bolt11(bob, json!(2_000_000_000), "too much")]), 205);
    let excluded = json!({"bolt11": plain, "exclude": [bob.id().unwrap()], "retry_for": 1});
    let code = refusal(alice, "pay", excluded).code;
    assert!([205, 210].contains(&code), "{code}");
    let expired = json!({"amount_msat": 1000, "label": "old", "description": "d", "expiry": 0});
    let expired = bob.rpc("invoice", expired).unwrap()["bolt11"].clone();
    bob.wait_for("a second passes", |node| {
        let old = node.rpc("listinvoices", json!({"label": "old"}))?;
        let at = old["invoices"][0]["expires_at"].as_u64().unwrap();
        Ok((now() > at).then_some(()))
    })
    .unwrap();
    pay(json!([expired]), 207);
    unknown_to_the_payee(alice, bob);
    // None of this is a payment that was made.
    let done = alice
        .rpc("listpays", json!({"status": "complete"}))
        .unwrap();
    assert_eq!(done, json!({"pays": []}));
    alice
        .rpc("pay", json!({"bolt11": any, "amount_msat": 2000}))
        .unwrap();
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// The payee refuses what it has no invoice for (any more): 203, with what BOLT 4 calls it.
fn unknown_to_the_payee(alice: &Node, bob: &Node) {
    let deleted = bolt11(bob, json!(1000), "deleted");
    bob.rpc("delinvoice", json!(["deleted", "unpaid"])).unwrap();
    let refusal = refusal(alice, "pay", json!([deleted]));
    assert_eq!(refusal.code, 203, "{refusal:?}");
    let data = &refusal.data;
    assert_eq!(data["erring_index"], 1, "{refusal:?}");
    assert_eq!(data["failcode"], 0x400f);
    assert_eq!(
        data["failcodename"],
        "WIRE_INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS"
    );
    assert_eq!(data["bolt11"], deleted);
    assert_eq!(data["destination"], bob.id().unwrap());
    let tables = Interface::load();
    let listed = tables.ask(alice, "listpays", json!([deleted]));
    assert_eq!(listed["pays"][0]["status"], "failed");
    assert_eq!(listed["pays"][0]["amount_sent_msat"], 0);
    let parts = tables.ask(alice, "listsendpays", json!({"status": "failed"}));
    assert!(parts["payments"][0]["erroronion"].is_string(), "{parts}");
}

#[test]
fn a_channel_that_cannot_be_closed_says_why_by_its_code() {
    let (network, channel) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let close = |params, code| refused(alice, "close", params, code);
    let id = &channel.channel_id;
    for wrong in [
        json!(["what"]),
        json!(["00".repeat(32)]),
        json!(["1x2x3"]),
        json!({"id": id, "destination": "nowhere"}),
        json!({"id": id, "fee_negotiation_step": "0"}),
        json!({"id": id, "fee_negotiation_step": "101%"}),
        json!({"id": id, "fee_negotiation_step": "some"}),
        json!({"id": id, "wrong_funding": format!("{}:0", "ab".repeat(32))}),
        json!({"id": id, "feerange": ["253perkw"]}),
        json!({"id": id, "feerange": ["2000perkw", "253perkw"]}),
        json!({"id": id, "feerange": "253perkw"}),
    ] {
        close(wrong, INVALID_PARAMS);
    }
    close(json!([STRANGER]), GENERAL);
    assert_eq!(states(alice), ["CHANNELD_NORMAL"]);
    for twice in [
        json!({"id": bob.id().unwrap(), "channel_id": id}),
        json!({"channel_id": id, "short_channel_id": "1x2x3"}),
    ] {
        refused(alice, "listpeerchannels", twice, INVALID_PARAMS);
    }
    alice.close(bob).unwrap();
    close(json!([bob.id().unwrap()]), GENERAL);
    close(json!([id]), INVALID_PARAMS);
}
