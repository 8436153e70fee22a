//! What `fundchannel` and `close` make of their parameters.

use super::interface::{Interface, refused, states};
use blackbox::{Network, Node};
use serde_json::{Value, json};

fn channel(tables: &Interface, node: &Node) -> Value {
    tables.ask(node, "listpeerchannels", json!({}))["channels"][0].clone()
}

#[test]
fn a_channel_is_opened_as_its_parameters_say() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    alice.fund(&network.bitcoind, 1_000_000).unwrap();
    alice.fund(&network.bitcoind, 2_000_000).unwrap();
    alice.connect(bob).unwrap();
    let funds = alice.rpc("listfunds", json!({})).unwrap();
    let coins = funds["outputs"].as_array().unwrap();
    let coin = coins.iter().find(|c| c["amount_msat"] == 1_000_000_000);
    let coin = coin.unwrap()["txid"].as_str().unwrap();
    let vout = &coins.iter().find(|c| c["txid"] == coin).unwrap()["output"];
    let opened = tables.ask(
        alice,
        "fundchannel",
        json!({
            "id": bob.id().unwrap(), "amount": "0.005btc", "feerate": "2000perkw",
            "announce": false, "utxos": [format!("{coin}:{vout}")], "push_msat": "7sat",
            "mindepth": 3, "reserve": "6000sat", "channel_type": [12],
        }),
    );
    assert_eq!(opened["channel_type"]["bits"], json!([12]));
    assert_eq!(
        opened["channel_type"]["names"],
        json!(["static_remotekey/even"])
    );
    let spent = network
        .bitcoind
        .transaction(opened["txid"].as_str().unwrap())
        .unwrap();
    assert_eq!(spent["vin"].as_array().unwrap().len(), 1);
    assert_eq!(spent["vin"][0]["txid"], coin);
    let shown = channel(&tables, alice);
    for (member, value) in [
        ("total_msat", json!(500_000_000)),
        ("to_us_msat", json!(499_993_000)),
        ("private", json!(true)),
        ("opener", json!("local")),
        ("their_reserve_msat", json!(6_000_000)),
        ("features", json!(["option_static_remotekey"])),
    ] {
        assert_eq!(shown[member], value, "{member}");
    }
    assert_eq!(shown["funding"]["pushed_msat"], 7000);
    assert_eq!(shown["funding"]["local_funds_msat"], 500_000_000);
    let theirs = channel(&tables, bob);
    assert_eq!(
        (&theirs["opener"], &theirs["to_us_msat"]),
        (&json!("remote"), &json!(7000))
    );
    assert_eq!(theirs["our_reserve_msat"], 6_000_000);
}

#[test]
fn all_the_wallets_money_goes_into_a_channel_but_for_the_emergency_reserve() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    alice.fund(&network.bitcoind, 600_000).unwrap();
    alice.connect(bob).unwrap();
    tables.ask(alice, "fundchannel", json!([bob.id().unwrap(), "all"]));
    let total = channel(&tables, alice)["total_msat"].as_u64().unwrap();
    assert!((570_000_000..575_000_000).contains(&total), "{total}");
    let left = alice.onchain_msat(false).unwrap();
    assert_eq!(left, 25_000_000);
    // The reserve is not for spending.
    let to = alice.rpc("newaddr", json!([])).unwrap()["p2tr"].clone();
    network.mine(1).unwrap();
    refused(alice, "withdraw", json!([to, 10_000]), 313);
}

#[test]
fn a_close_keeps_to_its_range_of_feerates() {
    let (network, opened) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    let params = json!({"id": opened.channel_id, "feerange": ["1000perkw", "1100perkw"]});
    let closed = tables.ask(alice, "close", params);
    assert_eq!(closed["type"], "mutual");
    let txid = closed["txids"][0].as_str().unwrap();
    let entry = network
        .bitcoind
        .rpc("getmempoolentry", json!([txid]))
        .unwrap();
    let fee = (entry["fees"]["base"].as_f64().unwrap() * 1e8).round() as u64;
    let rate = fee * 1000 / entry["weight"].as_u64().unwrap();
    assert!((990..=1110).contains(&rate), "{fee} sat, {rate} per kw");
    for node in [alice, bob] {
        node.wait_for("it is complete", |node| {
            Ok((states(node) == ["CLOSINGD_COMPLETE"]).then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn a_close_by_peer_id_needs_a_peer_with_one_channel() {
    let (network, first) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    network.open(0, 1, 300_000, 0).unwrap();
    let message = refused(alice, "close", json!([bob.id().unwrap()]), -1);
    assert!(message.contains("multiple channels"), "{message}");
    let tables = Interface::load();
    let scid = first.short_channel_id.unwrap();
    assert_eq!(tables.ask(alice, "close", json!([scid]))["type"], "mutual");
    // Now there is one that could be meant.
    let closed = tables.ask(alice, "close", json!([bob.id().unwrap()]));
    assert_eq!(closed["type"], "mutual");
}
