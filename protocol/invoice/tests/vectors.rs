//! The examples of BOLT 11, from our own tables and, where it lies beside the repository, from
//! what was published.

use std::path::PathBuf;
use std::time::Duration;

use bitcoin::Network;
use invoice::{Bolt11Fields, DescriptionOrHash, HintHop, Invoice, ParseError, parse};
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};
use wire::{BlockDelta, MilliSatoshi, NodeId};

fn table(name: &str) -> Value {
    read(format!("../../tests/vectors/bolt11/{name}")).expect("our own table")
}

/// `None` in a clone of the repository alone.
fn published(name: &str) -> Option<Value> {
    read(format!("../../../shared/vectors/bolt11/{name}"))
}

fn read(path: String) -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).expect("JSON"))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn prefix(network: Network) -> &'static str {
    match network {
        Network::Bitcoin => "bc",
        Network::Testnet | Network::Testnet4 => "tb",
        Network::Signet => "tbs",
        Network::Regtest => "bcrt",
    }
}

/// An invoice in the layout of our table, without the string itself.
fn row(invoice: &Invoice) -> Value {
    let hop = |hop: &HintHop| {
        json!([
            hop.node.to_string(),
            hop.scid.to_string(),
            hop.fee_base.0,
            hop.fee_ppm,
            hop.cltv_delta.0
        ])
    };
    let mut row = json!({
        "payee": invoice.payee.to_string(),
        "hash": hex::encode(invoice.signing_hash),
        "sig": hex::encode(invoice.signature),
        "recid": invoice.recovery_id,
        "network": prefix(invoice.network),
        "msat": invoice.amount.map(|amount| amount.0),
        "time": invoice.timestamp.as_secs(),
        "payment_hash": invoice.payment_hash.to_string(),
        "payment_secret": hex::encode(invoice.payment_secret.0),
        "features": invoice.features.bits().collect::<Vec<_>>(),
        "expiry": invoice.expiry.as_secs(),
        "cltv": invoice.min_final_cltv.0,
        "description": match &invoice.description {
            DescriptionOrHash::Description(text) => json!(text),
            DescriptionOrHash::Hash(hash) => json!({ "sha256": hex::encode(hash) }),
        },
    });
    if let Some(metadata) = &invoice.metadata {
        row["metadata"] = json!(hex::encode(metadata));
    }
    if !invoice.fallbacks.is_empty() {
        row["fallbacks"] = invoice
            .fallbacks
            .iter()
            .map(|script| script.to_hex_string())
            .collect();
    }
    if !invoice.route_hints.is_empty() {
        let hint = |hint: &Vec<HintHop>| hint.iter().map(hop).collect::<Value>();
        row["hints"] = invoice.route_hints.iter().map(hint).collect();
    }
    row
}

fn fields(invoice: &Invoice) -> Bolt11Fields {
    let invoice = invoice.clone();
    Bolt11Fields {
        network: invoice.network,
        amount: invoice.amount,
        payment_hash: invoice.payment_hash,
        payment_secret: invoice.payment_secret,
        description: invoice.description,
        timestamp: invoice.timestamp,
        expiry: invoice.expiry,
        min_final_cltv: invoice.min_final_cltv,
        route_hints: invoice.route_hints,
        fallbacks: invoice.fallbacks,
        features: invoice.features,
        metadata: invoice.metadata,
    }
}

/// Plain RFC 6979, as the examples are signed.
fn sign(fields: Bolt11Fields, key: &SecretKey) -> String {
    let hash = Message::from_digest(fields.signing_hash().unwrap());
    let (recovery_id, signature) = SECP256K1
        .sign_ecdsa_recoverable(&hash, key)
        .serialize_compact();
    fields
        .into_string(&signature, recovery_id.to_i32() as u8)
        .unwrap()
}

fn node_secret() -> SecretKey {
    text(&table("valid.json")["node_secret"]).parse().unwrap()
}

fn examples() -> Vec<(String, Value)> {
    let mut table = table("valid.json");
    let rows = table["valid"].as_array_mut().unwrap();
    let split = |row: &mut Value| {
        let invoice = row
            .as_object_mut()
            .unwrap()
            .shift_remove("invoice")
            .unwrap();
        (text(&invoice).to_string(), row.take())
    };
    rows.iter_mut().map(split).collect()
}

#[test]
fn every_example_says_what_bolt_11_says_it_does() {
    let examples = examples();
    assert_eq!(examples.len(), 16);
    for (string, expected) in &examples {
        let mut found = row(&parse(string).unwrap_or_else(|error| panic!("{string}: {error}")));
        found.sort_all_objects();
        let mut expected = expected.clone();
        expected.sort_all_objects();
        assert_eq!(found, expected, "{string}");
    }
}

#[test]
fn every_example_can_be_encoded_again_with_the_same_meaning() {
    for (string, _) in examples() {
        let invoice = parse(&string).unwrap();
        let again = parse(&sign(fields(&invoice), &node_secret())).unwrap();
        assert_eq!(fields(&again), fields(&invoice));
        assert_eq!(again.payee.0, node_secret().public_key(SECP256K1));
    }
}

#[test]
fn the_example_with_our_order_of_fields_comes_out_byte_for_byte() {
    let examples = examples();
    let with_hint_and_expiry = &examples[10].0;
    let invoice = parse(with_hint_and_expiry).unwrap();
    assert_eq!(
        &sign(fields(&invoice), &node_secret()),
        with_hint_and_expiry
    );
}

#[test]
fn every_invalid_example_is_refused_for_its_own_reason() {
    let table = table("invalid.json");
    let rows = table["invalid"].as_array().unwrap();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let error = parse(text(&row[1])).expect_err(text(&row[0]));
        let as_expected = match text(&row[0]) {
            "unknown feature 100" => error == ParseError::UnknownFeature(100),
            "bad checksum" | "no separator / too short" | "mixed case" => {
                matches!(error, ParseError::Bech32(_))
            }
            "recovery" | "high-S with n" => error == ParseError::Signature,
            "too short" => error == ParseError::TooShort,
            "multiplier" => matches!(error, ParseError::Prefix(_)),
            "sub-msat" => error == ParseError::Amount,
            "no s" => error == ParseError::Missing('s'),
            other => panic!("unknown reason {other}"),
        };
        assert!(as_expected, "{}: {error}", row[0]);
    }
}

#[test]
fn the_published_examples_are_read_or_refused() {
    let Some(valid) = published("valid-invoices.json") else {
        return;
    };
    for vector in valid["vectors"].as_array().unwrap() {
        let invoice = parse(text(&vector["invoice"])).unwrap();
        let decoded = &vector["decoded"];
        assert_eq!(invoice.payee.to_string(), text(&decoded["payee_node_id"]));
        assert_eq!(
            hex::encode(invoice.signing_hash),
            text(&decoded["signing_hash"])
        );
        if let Some(described) = vector.get("description_hash_preimage") {
            assert!(invoice.is_about(text(described)));
            assert!(!invoice.is_about("something else"));
        }
    }
    let invalid = published("invalid-invoices.json").unwrap();
    for vector in invalid["vectors"].as_array().unwrap() {
        assert!(
            parse(text(&vector["invoice"])).is_err(),
            "{}",
            vector["description"]
        );
    }
}

#[test]
fn a_string_may_be_a_uri() {
    let (string, _) = &examples()[1];
    assert_eq!(parse(&format!("lightning:{string}")), parse(string));
    assert_eq!(
        parse(&format!(" LIGHTNING:{}\n", string.to_uppercase())),
        parse(string)
    );
}

#[test]
fn an_invoice_for_testnet_is_for_both_testnets() {
    let invoice = parse(&examples()[4].0).unwrap();
    assert!(invoice.is_for(Network::Testnet) && invoice.is_for(Network::Testnet4));
    assert!(!invoice.is_for(Network::Bitcoin) && !invoice.is_for(Network::Signet));
}

#[test]
fn an_invoice_expires_after_its_last_second() {
    let invoice = parse(&examples()[1].0).unwrap();
    let end = Duration::from_secs(1496314658 + 60);
    assert!(!invoice.is_expired(end));
    assert!(invoice.is_expired(end + Duration::from_secs(1)));
}

#[test]
fn a_route_hint_keeps_its_hops_in_order() {
    let invoice = parse(&examples()[5].0).unwrap();
    let hop = invoice.route_hints[0][1];
    let node = "039e03a901b85534ff1e92c43c74431f7ce72046060fcf7a95c37e148f78c77255";
    assert_eq!(hop.node, node.parse::<NodeId>().unwrap());
    assert_eq!((hop.fee_base, hop.fee_ppm), (MilliSatoshi(2), 30));
    assert_eq!(hop.cltv_delta, BlockDelta(4));
}
