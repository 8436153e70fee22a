//! An invoice that several payers pay together, each a part of it: `partial_msat` of `pay`, and the payee's side of
//! basic_mpp.

use blackbox::node::settled;
use blackbox::{Network, Node};
use serde_json::{Value, json};

const CHANNEL: u64 = 1_000_000;
const ALL: u64 = 100_000;
const PART: u64 = 30_000;

/// Alice and Dave have all of a channel to Bob each.
fn two_payers() -> Network {
    let network = Network::start(&["alice", "bob", "dave"]).unwrap();
    network.open(0, 1, CHANNEL, 0).unwrap();
    network.open(2, 1, CHANNEL, 0).unwrap();
    network.sync().unwrap();
    network
}

fn listed(node: &Node, hash: &str) -> Value {
    let all = node.rpc("listpays", json!({"payment_hash": hash})).unwrap();
    all["pays"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn two_payers_pay_one_invoice_together() {
    let network = two_payers();
    let [alice, bob, dave] = &network.nodes[..] else {
        panic!("three nodes")
    };
    let invoice = bob.invoice(ALL * 1000, "shared").unwrap();
    let alices = alice.begin_to_pay_part(&invoice.bolt11, PART);
    let bob_id = bob.id().unwrap();
    alice
        .wait_for("her part is with bob", |alice| {
            Ok((alice.channels_with(&bob_id)?[0].htlcs == 1).then_some(()))
        })
        .unwrap();
    let daves = dave.begin_to_pay_part(&invoice.bolt11, ALL - PART);
    let paid = [alices, daves].map(|paying| paying.join().unwrap().unwrap());
    let parts = [PART, ALL - PART].map(|part| part * 1000);
    for ((node, paid), part) in [alice, dave].into_iter().zip(&paid).zip(parts) {
        assert_eq!(paid["status"], "complete");
        assert_eq!(paid["parts"], 1);
        assert_eq!(paid["amount_msat"], part);
        assert_eq!(paid["amount_sent_msat"], part);
        let listed = listed(node, &invoice.payment_hash);
        assert_eq!(listed["status"], "complete");
        assert_eq!(listed["amount_msat"], part);
        assert_eq!(listed["amount_sent_msat"], part);
        assert_eq!(listed["preimage"], paid["payment_preimage"]);
        let (ours, _) = settled(node, bob).unwrap();
        assert_eq!(ours.to_us_msat, CHANNEL * 1000 - part);
    }
    assert_eq!(paid[0]["payment_preimage"], paid[1]["payment_preimage"]);
    let got = bob.rpc("waitinvoice", json!(["shared"])).unwrap();
    assert_eq!(got["amount_received_msat"], ALL * 1000);
    // Who pays once more hears what was paid, and pays nothing.
    for again in [
        json!({"bolt11": invoice.bolt11}),
        json!({"bolt11": invoice.bolt11, "partial_msat": 1000}),
    ] {
        let again = alice.rpc("pay", again).unwrap();
        assert_eq!(again["amount_msat"], parts[0]);
        assert_eq!(again["payment_preimage"], paid[0]["payment_preimage"]);
    }
    let (ours, _) = settled(alice, bob).unwrap();
    assert_eq!(ours.to_us_msat, CHANNEL * 1000 - parts[0]);
}

#[test]
fn a_part_without_the_rest_comes_back_and_the_whole_can_be_paid_then() {
    let network = two_payers();
    let [alice, bob, dave] = &network.nodes[..] else {
        panic!("three nodes")
    };
    let any = json!({"amount_msat": "any", "label": "any", "description": "any"});
    let any = bob.rpc("invoice", any).unwrap();
    let text = |name: &str| any[name].as_str().unwrap().to_owned();
    let (bolt11, hash) = (text("bolt11"), text("payment_hash"));
    // Who pays chooses the whole, and a part of that.
    let part = json!({
        "bolt11": bolt11, "amount_msat": ALL * 1000, "partial_msat": PART * 1000, "retry_for": 1,
    });
    let client = blackbox::Client::new(&alice.rpc_socket(), blackbox::patience() * 5);
    let begun = std::time::Instant::now();
    let alices = std::thread::spawn(move || client.call("pay", part));
    let bob_id = bob.id().unwrap();
    alice
        .wait_for("her part is with bob", |alice| {
            Ok((alice.channels_with(&bob_id)?[0].htlcs == 1).then_some(()))
        })
        .unwrap();
    // A second payment of the same invoice does not add to it.
    let again = json!({"bolt11": bolt11, "amount_msat": ALL * 1000, "partial_msat": PART * 1000});
    let again = alice.rpc("pay", again).unwrap_err();
    assert_eq!(again.code(), Some(200), "{again}");
    // BOLT 4: the parts are of one whole.
    let other = json!({
        "bolt11": bolt11, "amount_msat": ALL * 1000 + 1, "partial_msat": (ALL - PART) * 1000 + 1,
    });
    let other = dave.rpc("pay", other).unwrap_err();
    assert_eq!(other.code(), Some(203), "{other}");
    let blackbox::RpcError::Refused { code, data, .. } = alices.join().unwrap().unwrap_err() else {
        panic!("no answer")
    };
    // BOLT 4: a minute at least.
    assert!(begun.elapsed().as_secs() >= 60);
    assert_eq!(code, 203, "{data}");
    assert_eq!(data["failcodename"], "WIRE_MPP_TIMEOUT");
    assert_eq!(data["status"], "failed");
    assert_eq!(listed(alice, &hash)["status"], "failed");
    let (ours, _) = settled(alice, bob).unwrap();
    assert_eq!(ours.to_us_msat, CHANNEL * 1000);
    let whole = json!({"bolt11": bolt11, "amount_msat": ALL * 1000, "partial_msat": ALL * 1000});
    let paid = alice.rpc("pay", whole).unwrap();
    assert_eq!(paid["amount_msat"], ALL * 1000);
    assert_eq!(bob.invoice_status("any").unwrap().as_deref(), Some("paid"));
}
