//! The whole life of a channel between two of our nodes: open, pay both ways, close; the chain is right
//! to the satoshi.

use blackbox::node::settled;
use blackbox::{Bitcoind, Network, Node, until};
use serde_json::{Value, json};

const FUNDED: u64 = 2_000_000;
const CHANNEL: u64 = 1_000_000;

/// Inputs less outputs, in satoshi.
fn fee(bitcoind: &Bitcoind, txid: &str) -> u64 {
    let transaction = bitcoind.transaction(txid).unwrap();
    let list = |name: &str| transaction[name].as_array().unwrap().clone();
    let of_input = |input: &Value| {
        let spent = bitcoind
            .transaction(input["txid"].as_str().unwrap())
            .unwrap();
        satoshi(&spent["vout"][input["vout"].as_u64().unwrap() as usize])
    };
    let inputs: u64 = list("vin").iter().map(of_input).sum();
    inputs - list("vout").iter().map(satoshi).sum::<u64>()
}

fn satoshi(output: &Value) -> u64 {
    (output["value"].as_f64().unwrap() * 1e8).round() as u64
}

fn onchain_satoshi(node: &Node) -> u64 {
    node.onchain_msat(true).unwrap() / 1000
}

/// Opens by alice, pays 300,000 sat to bob and 50,000 back, closes by the given side, checks every satoshi.
fn open_pay_close(closer: usize) {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    alice.fund(&network.bitcoind, FUNDED).unwrap();
    alice.connect(bob).unwrap();
    let channel = alice
        .open_channel(&network.bitcoind, bob, CHANNEL, 0)
        .unwrap();
    assert_eq!(
        (channel.total_msat, channel.to_us_msat),
        (CHANNEL * 1000, CHANNEL * 1000)
    );
    let opening_fee = fee(&network.bitcoind, &channel.funding_txid);
    network.sync().unwrap();
    alice
        .wait_for("its change confirms", |alice| {
            Ok((onchain_satoshi(alice) == FUNDED - CHANNEL - opening_fee).then_some(()))
        })
        .unwrap();

    let there = bob.invoice(300_000_000, "there").unwrap();
    let paid = alice.pay(&there.bolt11).unwrap();
    assert_eq!(
        (&paid["status"], paid["amount_sent_msat"].as_u64()),
        (&json!("complete"), Some(300_000_000))
    );
    assert_eq!(paid["payment_hash"], there.payment_hash.as_str());
    // What has arrived can be spent once both commitments hold it.
    settled(alice, bob).unwrap();
    let back = alice.invoice(50_000_000, "back").unwrap();
    bob.pay(&back.bolt11).unwrap();
    let (ours, theirs) = settled(alice, bob).unwrap();
    assert_eq!(
        (ours.to_us_msat, theirs.to_us_msat),
        (750_000_000, 250_000_000)
    );
    assert_eq!(
        bob.invoice_status("there").unwrap().as_deref(),
        Some("paid")
    );

    let (closing, other) = (&network.nodes[closer], &network.nodes[1 - closer]);
    let closed = closing.close(other).unwrap();
    assert_eq!(closed["type"], "mutual", "{closed}");
    let txid = closed["txids"][0].as_str().unwrap().to_string();
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.mine(6).unwrap();
    let closing_fee = fee(&network.bitcoind, &txid);
    let spent = network.bitcoind.transaction(&txid).unwrap();
    assert_eq!(spent["vin"][0]["txid"], channel.funding_txid.as_str());
    for (node, expected) in [
        (alice, FUNDED - opening_fee - 250_000 - closing_fee),
        (bob, 250_000),
    ] {
        let what = format!("{} has {expected} sat", node.name());
        until(&what, || {
            Ok((onchain_satoshi(node) == expected).then_some(()))
        })
        .unwrap_or_else(|error| {
            panic!("{error}; it has {}", onchain_satoshi(node));
        });
    }
}

#[test]
fn a_channel_closed_by_its_opener_pays_out_to_the_satoshi() {
    open_pay_close(0);
}

#[test]
fn a_channel_closed_by_the_other_side_pays_out_to_the_satoshi() {
    open_pay_close(1);
}

#[test]
fn a_paid_invoice_cannot_be_paid_again_and_an_unknown_one_fails() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let invoice = bob.invoice(10_000_000, "once").unwrap();
    let first = alice.pay(&invoice.bolt11).unwrap();
    // Paying it again answers with the first payment and moves nothing.
    if let Ok(second) = alice.pay(&invoice.bolt11) {
        assert_eq!(second["payment_preimage"], first["payment_preimage"]);
    }
    let (ours, _) = settled(alice, bob).unwrap();
    assert_eq!(ours.to_us_msat, CHANNEL * 500 - 10_000_000);
    let deleted = bob.invoice(10_000_000, "deleted").unwrap();
    bob.rpc(
        "delinvoice",
        json!({"label": "deleted", "status": "unpaid"}),
    )
    .unwrap();
    assert!(alice.pay(&deleted.bolt11).is_err());
    let too_much = bob.invoice(CHANNEL * 1000, "too much").unwrap();
    assert!(alice.pay(&too_much.bolt11).is_err());
    let (after, _) = settled(alice, bob).unwrap();
    assert_eq!(after.to_us_msat, ours.to_us_msat);
}

#[test]
fn a_payment_through_a_third_node_pays_it_a_fee() {
    let network = Network::start(&["alice", "bob", "carol"]).unwrap();
    network.open(0, 1, CHANNEL, CHANNEL * 500).unwrap();
    network.open(1, 2, CHANNEL, CHANNEL * 500).unwrap();
    network.sync().unwrap();
    let [alice, bob, carol] = &network.nodes[..] else {
        panic!("three nodes")
    };
    let hint = carol.channels_with(&bob.id().unwrap()).unwrap()[0]
        .short_channel_id
        .clone()
        .unwrap();
    let invoice = carol
        .rpc("invoice", json!({
            "amount_msat": 10_000_000, "label": "far", "description": "far", "exposeprivatechannels": [hint],
        }))
        .unwrap();
    let paid = alice.pay(invoice["bolt11"].as_str().unwrap()).unwrap();
    let fee = paid["amount_sent_msat"].as_u64().unwrap() - 10_000_000;
    // CLN's defaults on regtest: 1 msat and 10 parts per million.
    assert_eq!(fee, 101);
    let (alices, _) = settled(alice, bob).unwrap();
    let (bobs, _) = settled(bob, carol).unwrap();
    assert_eq!(alices.to_us_msat, CHANNEL * 500 - 10_000_000 - fee);
    assert_eq!(bobs.to_us_msat, CHANNEL * 500 - 10_000_000);
}

#[test]
fn a_second_close_may_change_the_fees_and_not_the_destination() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    network.nodes[1].stop().unwrap();
    let (alice, bitcoind) = (&network.nodes[0], &network.bitcoind);
    let id =
        network.nodes[0].rpc("listpeerchannels", json!({})).unwrap()["channels"][0]["channel_id"]
            .clone();
    let address = || {
        alice
            .rpc("newaddr", json!({"addresstype": "bech32"}))
            .unwrap()["bech32"]
            .clone()
    };
    let [one, other] = [address(), address()];
    let close = |params: Value| {
        let client = alice.client();
        std::thread::spawn(move || client.call("close", params))
    };
    let first =
        close(json!({"id": id, "destination": one, "feerange": ["2500perkw", "3000perkw"]}));
    alice
        .wait_for("it is shutting down", |alice| {
            let channels = alice.rpc("listpeerchannels", json!({}))?;
            Ok((channels["channels"][0]["state"] == "CHANNELD_SHUTTING_DOWN").then_some(()))
        })
        .unwrap();
    let refused = alice.rpc("close", json!({"id": id, "destination": other}));
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("does not match previous shutdown script"),
        "{refused}"
    );
    // The same again is no other one. A close that says nothing of fees leaves them.
    let second =
        close(json!({"id": id, "destination": one, "feerange": ["4000perkw", "5000perkw"]}));
    let third = close(json!({"id": id}));
    until("all were heard", || {
        let heard = alice.log().matches("method=close").count();
        Ok((heard == 4).then_some(()))
    })
    .unwrap();
    network.nodes[1].launch().unwrap();
    let closes = [first, second, third].map(|close| close.join().unwrap().unwrap());
    for close in &closes {
        assert_eq!(close, &closes[0]);
        assert_eq!(close["type"], "mutual");
    }
    let txid = closes[0]["txids"][0].as_str().unwrap();
    let tx = bitcoind.transaction(txid).unwrap();
    let outputs = tx["vout"].as_array().unwrap();
    assert!(
        outputs
            .iter()
            .any(|output| output["scriptPubKey"]["address"] == one)
    );
    let (fee, weight) = (fee(bitcoind, txid), tx["weight"].as_u64().unwrap());
    assert!(
        (4_000 * weight / 1_000..=5_200 * weight / 1_000).contains(&fee),
        "{fee}"
    );
}
