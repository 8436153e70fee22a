//! Payments under way, and payments through another node.

use super::interface::{Interface, bolt11, refused, waiting};
use blackbox::{Network, Node, Process, RpcError};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long attempts may begin, in seconds.
const RETRY_FOR: u64 = 1;

fn channels(tables: &Interface, node: &Node) -> Vec<Value> {
    let all = tables.ask(node, "listpeerchannels", json!({}));
    all["channels"].as_array().unwrap().clone()
}

#[test]
fn a_payment_under_way_is_shown_as_pending_until_it_arrives() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    let text = bolt11(bob, json!(5_000_000), "slow");
    let frozen = Process::get(bob.pid().unwrap()).unwrap();
    frozen.signal(Signal::SIGSTOP);
    let first = waiting(alice.client(), "pay", json!({"bolt11": text}));
    alice
        .wait_for("the HTLC is offered", |node| {
            let channels = node.rpc("listpeerchannels", json!({}))?;
            Ok((channels["channels"][0]["htlcs"] != json!([])).then_some(()))
        })
        .unwrap();
    let htlc = &channels(&tables, alice)[0]["htlcs"][0];
    assert_eq!(
        (&htlc["direction"], &htlc["id"]),
        (&json!("out"), &json!(0))
    );
    assert_eq!(htlc["amount_msat"], 5_000_000);
    let counted = &channels(&tables, alice)[0];
    assert_eq!(counted["out_offered_msat"], 5_000_000);
    assert_eq!(counted["out_fulfilled_msat"], 0);
    let message = refused(alice, "pay", json!({"bolt11": text}), 200);
    assert!(message.contains("under way"), "{message}");
    let pending = tables.ask(alice, "listpays", json!({"status": "pending"}));
    assert_eq!(pending["pays"][0]["bolt11"], text);
    assert_eq!(pending["pays"][0]["amount_sent_msat"], 5_000_000);
    let parts = tables.ask(alice, "listsendpays", json!({"status": "pending"}));
    assert_eq!(parts["payments"].as_array().unwrap().len(), 1);
    frozen.signal(Signal::SIGCONT);
    let paid = first.join().unwrap().unwrap();
    tables.check("pay", &paid);
    assert_eq!(paid["status"], "complete");
    let complete = tables.ask(alice, "listpays", json!([text]));
    assert_eq!(complete["pays"][0]["preimage"], paid["payment_preimage"]);
    alice.wait_for_quiet(bob).unwrap();
    let channel = &channels(&tables, alice)[0];
    for (member, value) in [
        ("out_payments_offered", 1),
        ("out_offered_msat", 5_000_000),
        ("out_payments_fulfilled", 1),
        ("out_fulfilled_msat", 5_000_000),
        ("in_payments_offered", 0),
        ("to_us_msat", 495_000_000),
    ] {
        assert_eq!(channel[member], value, "{member}");
    }
}

/// Waits until no attempt may begin any more, and one is under way.
fn under_way_for_long(node: &Node, text: &str, begun: Instant) {
    node.wait_for("it takes longer than attempts may begin", |node| {
        let pays = node.rpc("listpays", json!([text]))?;
        let pending = pays["pays"][0]["status"] == "pending";
        Ok((pending && begun.elapsed() > Duration::from_secs(RETRY_FOR)).then_some(()))
    })
    .unwrap();
}

#[test]
fn an_attempt_that_fails_when_no_other_may_begin_is_the_last() {
    let mut network = Network::start(&["alice", "bob", "carol"]).unwrap();
    network.open(0, 1, 1_000_000, 0).unwrap();
    network.open(1, 2, 1_000_000, 0).unwrap();
    network.nodes[2].wait_for_update_of_its_channel().unwrap();
    let text = bolt11(&network.nodes[2], json!(1_000_000), "late");
    let carol_id = network.nodes[2].id().unwrap();
    network.nodes[2].kill_all().unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    bob.wait_for("carol is gone", |bob| {
        Ok((!bob.channels_with(&carol_id)?[0].usable).then_some(()))
    })
    .unwrap();
    bob.freeze();
    let params = json!({"bolt11": text, "retry_for": RETRY_FOR});
    let (begun, paying) = (Instant::now(), waiting(alice.client(), "pay", params));
    under_way_for_long(alice, &text, begun);
    bob.thaw();
    let Err(RpcError::Refused { code, data, .. }) = paying.join().unwrap() else {
        panic!("bob cannot reach carol")
    };
    assert_eq!(code, 210, "{data}");
    assert_eq!(data["status"], "failed");
    let parts = alice.rpc("listsendpays", json!([text])).unwrap();
    let parts = parts["payments"].as_array().unwrap();
    assert_eq!(parts.len(), 1, "{parts:?}");
    assert_eq!(parts[0]["status"], "failed");
}

#[test]
fn a_payment_whose_htlc_is_out_is_waited_for_however_long_it_takes() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    let text = bolt11(bob, json!(1000), "late");
    let frozen = Process::get(bob.pid().unwrap()).unwrap();
    frozen.signal(Signal::SIGSTOP);
    let params = json!({"invstring": text, "retry_for": RETRY_FOR});
    let (begun, paying) = (Instant::now(), waiting(alice.client(), "pay", params));
    under_way_for_long(alice, &text, begun);
    frozen.signal(Signal::SIGCONT);
    let paid = paying.join().unwrap().unwrap();
    tables.check("pay", &paid);
    assert_eq!(paid["status"], "complete");
    let again = tables.ask(alice, "pay", json!([text]));
    assert_eq!(again["status"], "complete");
    assert_eq!(bob.invoice_status("late").unwrap().as_deref(), Some("paid"));
}

#[test]
fn a_payment_through_another_node_keeps_to_the_fees_allowed() {
    let network = Network::start(&["alice", "bob", "carol"]).unwrap();
    let [alice, bob, carol] = network.nodes.as_slice() else {
        unreachable!()
    };
    network.open(0, 1, 1_000_000, 0).unwrap();
    network.open(1, 2, 1_000_000, 0).unwrap();
    carol.wait_for_update_of_its_channel().unwrap();
    let tables = Interface::load();
    let text = bolt11(carol, json!(100_000_000), "through bob");
    let hops = tables.ask(alice, "decode", json!([text]))["routes"][0].clone();
    assert_eq!(hops[0]["pubkey"], bob.id().unwrap());
    let fee = 1 + 100_000_000 * 10 / 1_000_000; // CLN's default of 1 msat and 10 ppm
    for tight in [
        json!({"bolt11": text, "maxfee": fee - 1}),
        json!({"bolt11": text, "maxfeepercent": 0.0001, "exemptfee": fee - 1}),
    ] {
        refused(alice, "pay", tight, 206);
    }
    let around = json!({"bolt11": text, "exclude": [bob.id().unwrap()], "retry_for": 1});
    let refusal = super::interface::refusal(alice, "pay", around);
    assert!([205, 210].contains(&refusal.code), "{refusal:?}");
    let paid = tables.ask(alice, "pay", json!({"bolt11": text, "maxfee": fee}));
    assert_eq!(paid["amount_sent_msat"], 100_000_000 + fee);
    assert_eq!(paid["destination"], carol.id().unwrap());
    bob.wait_for("the fee is earned", |node| {
        let earned = node.rpc("getinfo", json!({}))?["fees_collected_msat"].clone();
        Ok((earned == fee).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_channel_counts_what_failed_among_what_was_offered_across_a_kill_9() {
    let (mut network, channel) = Network::pair(1_000_000).unwrap();
    let tables = Interface::load();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    alice.pay(&bolt11(bob, json!(5_000_000), "paid")).unwrap();
    let gone = bolt11(bob, json!(7_000_000), "gone");
    tables.ask(bob, "delinvoice", json!(["gone", "unpaid"]));
    refused(alice, "pay", json!([gone]), 203);
    alice.wait_for_quiet(bob).unwrap();
    let counted = |node: &Node, way: &str| {
        let channel = channels(&tables, node).remove(0);
        let names = [
            "payments_offered",
            "offered_msat",
            "payments_fulfilled",
            "fulfilled_msat",
        ];
        names.map(|name| channel[format!("{way}_{name}")].as_u64().unwrap())
    };
    let wanted = [2, 12_000_000, 1, 5_000_000];
    assert_eq!(counted(alice, "out"), wanted);
    assert_eq!(counted(bob, "in"), wanted);
    assert_eq!(counted(alice, "in"), [0; 4]);
    for node in &mut network.nodes {
        node.kill_all().unwrap();
        node.launch().unwrap();
    }
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    assert_eq!(counted(alice, "out"), wanted);
    assert_eq!(counted(bob, "in"), wanted);
    alice.wait_for_normal(bob).unwrap();
    // Our commitment, until there is a mutual close.
    let commitment = channels(&tables, alice)[0]["scratch_txid"].clone();
    assert!(commitment.is_string());
    let closed = tables.ask(alice, "close", json!([channel.channel_id]));
    let shown = &channels(&tables, alice)[0];
    assert_eq!(shown["scratch_txid"], closed["txids"][0]);
    assert_ne!(shown["scratch_txid"], commitment);
    assert!(shown["last_tx_fee_msat"].as_u64() > Some(0), "{shown:#}");
}
