//! Invoices: making, listing, waiting for, deleting and reading them.

use super::interface::{Interface, bolt11, refusal, refused, waiting};
use blackbox::{Bitcoind, Network, Node, RpcError, until};
use serde_json::{Value, json};

const INVALID_PARAMS: i64 = -32602;

#[test]
fn an_invoice_says_what_it_was_asked_to_say() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let preimage = "01".repeat(32);
    let fallback = tables.ask(&node, "newaddr", json!(["bech32"]))["bech32"].clone();
    let made = tables.ask(
        &node,
        "invoice",
        json!({
            "amount_msat": "2sat", "label": 7, "description": "Grüße", "expiry": 3600,
            "fallbacks": [fallback], "preimage": preimage, "cltv": 40,
        }),
    );
    // A node without channels cannot be paid.
    assert!(made["warning_capacity"].is_string(), "{made}");
    let read = tables.ask(&node, "decode", json!([made["bolt11"]]));
    for (member, value) in [
        ("type", json!("bolt11 invoice")),
        ("valid", json!(true)),
        ("currency", json!("bcrt")),
        ("amount_msat", json!(2000)),
        ("description", json!("Grüße")),
        ("expiry", json!(3600)),
        ("min_final_cltv_expiry", json!(40)),
        ("payee", json!(node.id().unwrap())),
        ("payment_hash", made["payment_hash"].clone()),
        ("payment_secret", made["payment_secret"].clone()),
    ] {
        assert_eq!(read[member], value, "{member}");
    }
    assert_eq!(read["fallbacks"][0]["addr"], fallback);
    assert_eq!(read["fallbacks"][0]["type"], "P2WPKH");
    let expires = read["created_at"].as_u64().unwrap() + 3600;
    assert_eq!(made["expires_at"], expires);
    let listed = tables.ask(&node, "listinvoices", json!({"label": "7"}));
    assert_eq!(listed["invoices"][0]["label"], "7");
    let uri = format!("lightning:{}", made["bolt11"].as_str().unwrap());
    assert_eq!(tables.ask(&node, "decode", json!([uri])), read);
    let hashed =
        json!({"amount_msat": "any", "label": "h", "description": "long", "deschashonly": true});
    let hashed = tables.ask(&node, "invoice", hashed)["bolt11"].clone();
    let read = tables.ask(&node, "decode", json!([hashed]));
    assert!(read["description_hash"].is_string() && read["description"].is_null());
    assert!(read["amount_msat"].is_null());
}

#[test]
fn invoices_that_cannot_be_made_say_why_by_their_code() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let invoice = |params, code| refused(&node, "invoice", params, code);
    let preimage = "01".repeat(32);
    let first = json!({"amount_msat": 1, "label": "one", "description": "d", "preimage": preimage});
    node.rpc("invoice", first).unwrap();
    invoice(json!([1, "one", "d"]), 900);
    let same = json!({"amount_msat": 1, "label": "two", "description": "d", "preimage": preimage});
    invoice(same, 901);
    let unknown = json!({"amount_msat": 1, "label": "x", "description": "d", "exposeprivatechannels": ["1x2x3"]});
    invoice(unknown, 902);
    let fallback =
        json!({"amount_msat": 1, "label": "x", "description": "d", "fallbacks": ["nowhere"]});
    invoice(fallback, -1);
    for wrong in [
        json!([0, "x", "d"]),
        json!(["1.5sat", "x", "d"]),
        json!([1, "l".repeat(129), "d"]),
        json!([1, "x", "d".repeat(640)]),
        json!({"amount_msat": 1, "label": "x", "description": "d", "preimage": "01"}),
        json!({"amount_msat": 1, "label": "x", "description": "d", "cltv": 65536}),
        json!({"amount_msat": 1, "label": "x", "description": "d", "exposeprivatechannels": "x"}),
    ] {
        invoice(wrong, INVALID_PARAMS);
    }
    let all = node.rpc("listinvoices", json!({})).unwrap();
    assert_eq!(all["invoices"].as_array().unwrap().len(), 1);
    for text in ["", "lnbcrt1", "hello"] {
        refused(&node, "decode", json!([text]), INVALID_PARAMS);
    }
}

#[test]
fn lists_are_paged_by_index_and_selected_by_one_thing_only() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let texts: Vec<String> = (1..=5)
        .map(|n| bolt11(&node, json!(n), &format!("l{n}")))
        .collect();
    let labels = |params: Value| -> Vec<String> {
        let listed = tables.ask(&node, "listinvoices", params);
        let invoices = listed["invoices"].as_array().unwrap().iter();
        invoices
            .map(|i| i["label"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        labels(json!({"index": "created", "start": 2, "limit": 2})),
        ["l2", "l3"]
    );
    assert_eq!(labels(json!({"index": "created", "limit": 1})), ["l1"]);
    assert_eq!(labels(json!({"invstring": texts[3]})), ["l4"]);
    node.rpc(
        "delinvoice",
        json!({"label": "l2", "status": "unpaid", "desconly": true}),
    )
    .unwrap();
    assert_eq!(labels(json!({"index": "updated", "start": 1})), ["l2"]);
    assert!(labels(json!({"offer_id": "ab".repeat(32)})).is_empty());
    for wrong in [
        json!({"label": "l1", "invstring": texts[0]}),
        json!({"label": "l1", "payment_hash": "ab".repeat(32)}),
        json!({"invstring": "nonsense"}),
        json!({"start": 1}),
        json!({"limit": 1}),
    ] {
        refused(&node, "listinvoices", wrong, INVALID_PARAMS);
    }
    for method in ["listpays", "listsendpays"] {
        for wrong in [
            json!({"bolt11": texts[0], "payment_hash": "ab".repeat(32)}),
            json!({"start": 1}),
            json!({"limit": 1}),
            json!(["nonsense"]),
        ] {
            refused(&node, method, wrong, INVALID_PARAMS);
        }
    }
}

#[test]
fn a_preimage_is_in_the_reply_once_paid_and_a_chosen_one_is_not_taken_twice() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    let chosen = "01".repeat(32);
    let with = |label| {
        let params =
            json!({"amount_msat": 2000, "label": label, "description": "d", "preimage": chosen});
        tables.ask(bob, "invoice", params)["bolt11"]
            .as_str()
            .map(str::to_owned)
    };
    for (label, text) in [
        ("own", with("own").unwrap()),
        ("derived", bolt11(bob, json!(3000), "derived")),
        ("any", bolt11(bob, json!("any"), "any")),
    ] {
        let one = |member: &str| {
            let listed = tables.ask(bob, "listinvoices", json!([label]));
            listed["invoices"][0][member].clone()
        };
        assert!(one("payment_preimage").is_null(), "{label}");
        let mut params = json!({ "bolt11": text });
        if label == "any" {
            params["amount_msat"] = json!(1);
        }
        // The one before settles first.
        let paid = until("the payment", || Ok(alice.rpc("pay", params.clone()).ok()));
        let paid = paid.unwrap();
        assert_eq!(one("payment_preimage"), paid["payment_preimage"], "{label}");
        assert_eq!(one("payment_hash"), paid["payment_hash"], "{label}");
        if label == "own" {
            assert_eq!(paid["payment_preimage"], chosen);
        }
    }
    // hsmd knows the hash even when the record is gone.
    tables.ask(bob, "delinvoice", json!(["own", "paid"]));
    let again = json!({"amount_msat": 2, "label": "again", "description": "d", "preimage": chosen});
    refused(bob, "invoice", again, 901);
}

#[test]
fn deleting_needs_the_right_status_and_can_spare_the_invoice() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    bolt11(&node, json!(1), "a");
    bolt11(&node, json!(1), "b");
    refused(&node, "delinvoice", json!(["c", "unpaid"]), 905);
    let refusal = refusal(&node, "delinvoice", json!(["a", "paid"]));
    assert_eq!(refusal.code, 906);
    assert_eq!(
        refusal.data,
        json!({"current_status": "unpaid", "expected_status": "paid"})
    );
    let stripped = tables.ask(&node, "delinvoice", json!(["a", "unpaid", true]));
    assert!(stripped["description"].is_null(), "{stripped}");
    assert_eq!(stripped["updated_index"], 1);
    refused(&node, "delinvoice", json!(["a", "unpaid", true]), 908);
    let waits = waiting(node.client(), "waitinvoice", json!(["b"]));
    let deleted = tables.ask(&node, "delinvoice", json!(["b", "unpaid"]));
    assert_eq!(deleted["created_index"], 2);
    // Deleted before or after the wait began.
    let code = waits.join().unwrap().unwrap_err().code();
    assert_eq!(code, Some(-1));
    node.restart().unwrap();
    // An index is given once, even if it was the newest and is gone.
    let next = tables.ask(&node, "invoice", json!([1, "b", "again"]));
    assert_eq!(next["created_index"], 3);
}

#[test]
fn waiting_ends_with_payment_expiry_or_timeout() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    refused(bob, "waitanyinvoice", json!({"timeout": 0}), 904);
    refused(bob, "waitanyinvoice", json!([u64::MAX, 0]), 904);
    refused(bob, "waitinvoice", json!(["nonesuch"]), -1);
    let one = bolt11(bob, json!(1000), "one");
    let (any, this) = (
        waiting(bob.client(), "waitanyinvoice", json!([])),
        waiting(bob.client(), "waitinvoice", json!(["one"])),
    );
    alice.pay(&one).unwrap();
    for waited in [any, this] {
        let paid = waited.join().unwrap().unwrap();
        tables.check("waitinvoice", &paid);
        assert_eq!(
            (&paid["label"], &paid["pay_index"]),
            (&json!("one"), &json!(1))
        );
    }
    alice.pay(&bolt11(bob, json!(2000), "two")).unwrap();
    let next = tables.ask(bob, "waitanyinvoice", json!([1]));
    assert_eq!(
        (&next["label"], &next["pay_index"]),
        (&json!("two"), &json!(2))
    );
    let paid = tables.ask(bob, "delinvoice", json!(["two", "paid"]));
    assert_eq!(paid["amount_received_msat"], 2000);
    expiry_during_wait(bob);
    never_expires(bob);
}

fn expiry_during_wait(node: &Node) {
    let params = json!({"amount_msat": 1, "label": "short", "description": "d", "expiry": 1});
    node.rpc("invoice", params).unwrap();
    let refusal = refusal(node, "waitinvoice", json!(["short"]));
    assert_eq!(refusal.code, 903, "{refusal:?}");
    assert_eq!(refusal.data["label"], "short");
    assert_eq!(refusal.data["status"], "expired");
    refused(node, "delinvoice", json!(["short", "unpaid"]), 906);
    node.rpc("delinvoice", json!(["short", "expired"])).unwrap();
}

/// An expiry beyond the end of time is waited for like any other.
fn never_expires(node: &Node) {
    let params = json!({"amount_msat": 1, "label": "ever", "description": "d", "expiry": u64::MAX});
    match node.rpc("invoice", params) {
        Ok(_) => {}
        Err(RpcError::Refused { .. }) => return,
        Err(other) => panic!("{other}"),
    }
    let waits = waiting(node.client(), "waitinvoice", json!(["ever"]));
    node.rpc("delinvoice", json!(["ever", "unpaid"])).unwrap();
    assert_eq!(waits.join().unwrap().unwrap_err().code(), Some(-1));
    node.rpc("getinfo", json!({})).unwrap();
}

#[test]
fn an_invoice_hints_at_private_channels_as_asked_and_warns_of_their_limits() {
    let (network, channel) = Network::pair(1_000_000).unwrap();
    let bob = &network.nodes[1];
    let alice_id = network.nodes[0].id().unwrap();
    bob.wait_for("alice's channel_update", |node| {
        let all = node.rpc("listpeerchannels", json!({}))?;
        let update = &all["channels"][0]["updates"]["remote"];
        Ok(update.is_object().then_some(()))
    })
    .unwrap();
    let tables = Interface::load();
    let routes = |amount: Value, label: &str, expose: Value| {
        let mut params = json!({"amount_msat": amount, "label": label, "description": "d"});
        if !expose.is_null() {
            params["exposeprivatechannels"] = expose;
        }
        let made = tables.ask(bob, "invoice", params);
        let read = tables.ask(bob, "decode", json!([made["bolt11"]]));
        (made, read["routes"].clone())
    };
    let (made, hints) = routes(json!(1000), "absent", Value::Null);
    assert_eq!(hints[0][0]["pubkey"], alice_id);
    let warned = |made: &Value, name: &str| made.get(format!("warning_{name}")).is_some();
    assert!(
        !made
            .as_object()
            .unwrap()
            .keys()
            .any(|k| k.starts_with("warning_")),
        "{made}"
    );
    let (_, same) = routes(json!(1000), "true", json!(true));
    assert_eq!(same, hints);
    let scid = channel.short_channel_id.unwrap();
    assert_eq!(routes(json!(1000), "one", json!(scid)).1, hints);
    assert_eq!(routes(json!(1000), "list", json!([scid])).1, hints);
    let (made, none) = routes(json!(1000), "false", json!(false));
    assert!(none.is_null() && warned(&made, "private_unused"), "{made}");
    let (made, _) = routes(json!("1btc"), "much", Value::Null);
    assert!(warned(&made, "capacity"), "{made}");
}
