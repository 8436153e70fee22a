//! Payments of others that go through a node.

use super::interface::{Interface, bolt11, refused, waiting};
use blackbox::{Network, Node};
use serde_json::{Value, json};

fn forwards(tables: &Interface, node: &Node, params: Value) -> Vec<Value> {
    let all = tables.ask(node, "listforwards", params);
    all["forwards"].as_array().unwrap().clone()
}

/// Of each forward these members.
fn members(all: &[Value], names: [&str; 3]) -> Vec<[Value; 3]> {
    let of_one = |forward: &Value| names.map(|name| forward[name].clone());
    all.iter().map(of_one).collect()
}

/// The name of the one channel between them.
fn channel(node: &Node, peer: &Node) -> String {
    let channels = node.channels_with(&peer.id().unwrap()).unwrap();
    channels[0].short_channel_id.clone().unwrap()
}

#[test]
fn forwards_are_listed_with_how_they_ended_and_are_the_same_after_a_restart() {
    let mut network = Network::start(&["alice", "bob", "carol"]).unwrap();
    network.open(0, 1, 1_000_000, 0).unwrap();
    network.open(1, 2, 1_000_000, 0).unwrap();
    network.nodes[2].wait_for_update_of_its_channel().unwrap();
    let tables = Interface::load();
    let text = |amount, label| bolt11(&network.nodes[2], json!(amount), label);
    let [paid, failed, held] = [
        text(10_000_000, "paid"),
        text(20_000_000, "failed"),
        text(30_000_000, "held"),
    ];
    let [alice, bob, carol] = &network.nodes[..] else {
        panic!("three nodes")
    };
    let (from, to) = (channel(bob, alice), channel(bob, carol));
    alice.pay(&paid).unwrap();
    carol
        .rpc("delinvoice", json!(["failed", "unpaid"]))
        .unwrap();
    refused(alice, "pay", json!([failed]), 203);
    bob.wait_for("both are over", |bob| {
        let all = bob.rpc("listforwards", json!({}))?;
        let all = all["forwards"].as_array().unwrap().clone();
        let over = all.iter().filter(|forward| forward["status"] != "offered");
        Ok((over.count() == 2).then_some(()))
    })
    .unwrap();
    carol.freeze();
    let paying = waiting(alice.client(), "pay", json!([held]));
    bob.wait_for("the third is offered", |bob| {
        let all = bob.rpc("listforwards", json!({"status": "offered"}))?;
        Ok(all["forwards"][0]["out_htlc_id"].is_u64().then_some(()))
    })
    .unwrap();

    let all = forwards(&tables, bob, json!({}));
    assert_eq!(
        members(&all, ["status", "in_htlc_id", "out_htlc_id"]),
        [
            [json!("settled"), json!(0), json!(0)],
            [json!("failed"), json!(1), json!(1)],
            [json!("offered"), json!(2), json!(2)],
        ]
    );
    let fee = |msat: u64| 1 + msat / 100_000; // CLN's default of 1 msat and 10 ppm
    for (forward, msat) in all.iter().zip([10_000_000, 20_000_000, 30_000_000]) {
        assert_eq!(forward["in_channel"], from);
        assert_eq!(forward["out_channel"], to);
        assert_eq!(forward["out_msat"], msat);
        assert_eq!(forward["in_msat"], msat + fee(msat));
        assert_eq!(forward["fee_msat"], fee(msat));
    }
    let indexes = members(&all, ["created_index", "updated_index", "resolved_time"]);
    let created: Vec<u64> = indexes.iter().map(|i| i[0].as_u64().unwrap()).collect();
    let updated: Vec<Option<u64>> = indexes.iter().map(|i| i[1].as_u64()).collect();
    assert_eq!(
        (created, updated),
        (vec![1, 2, 3], vec![Some(1), Some(2), None])
    );
    assert!(indexes[2][2].is_null());

    let picked = |params: Value| -> Vec<u64> {
        let picked = forwards(&tables, bob, params).into_iter();
        picked
            .map(|f| f["created_index"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(picked(json!(["failed"])), [2]);
    assert!(picked(json!(["local_failed"])).is_empty());
    assert_eq!(picked(json!({"in_channel": from})), [1, 2, 3]);
    assert!(picked(json!({"in_channel": to})).is_empty());
    assert_eq!(picked(json!({"out_channel": to, "status": "settled"})), [1]);
    assert_eq!(picked(json!({"index": "created", "start": 2})), [2, 3]);
    assert_eq!(
        picked(json!({"index": "created", "start": 2, "limit": 1})),
        [2]
    );
    assert_eq!(picked(json!({"index": "updated", "start": 2})), [2]);
    assert_eq!(picked(json!({"index": "updated"})), [3, 1, 2]);
    for wrong in [
        json!({"start": 1}),
        json!({"limit": 1}),
        json!({"index": "created", "start": 1, "in_channel": from}),
        json!({"status": "any"}),
    ] {
        refused(bob, "listforwards", wrong, -32602);
    }

    network.nodes[1].kill_all().unwrap();
    network.nodes[1].launch().unwrap();
    let (bob, carol) = (&network.nodes[1], &network.nodes[2]);
    assert_eq!(forwards(&tables, bob, json!({})), all);
    carol.thaw();
    paying.join().unwrap().unwrap();
    bob.wait_for("the third is settled", |bob| {
        let all = bob.rpc("listforwards", json!({"status": "settled"}))?;
        Ok((all["forwards"].as_array().map(Vec::len) == Some(2)).then_some(()))
    })
    .unwrap();
    let last = &forwards(&tables, bob, json!({"index": "updated", "start": 3}))[0];
    for name in [
        "created_index",
        "in_htlc_id",
        "out_htlc_id",
        "received_time",
    ] {
        assert_eq!(last[name], all[2][name], "{name}");
    }

    // What bob cannot pass on is no forward.
    let never = bolt11(carol, json!(1_000_000), "never");
    network.nodes[2].kill_all().unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    bob.wait_for("carol is gone", |bob| {
        let all = bob.rpc("listpeerchannels", json!({"short_channel_id": to}))?;
        Ok((all["channels"][0]["peer_connected"] == false).then_some(()))
    })
    .unwrap();
    assert!(
        alice
            .rpc("pay", json!({"bolt11": never, "retry_for": 1}))
            .is_err()
    );
    assert_eq!(forwards(&tables, bob, json!({})).len(), 3);
}
