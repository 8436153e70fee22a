//! Every command's parameters: both forms, and every way to get them wrong.

use super::interface::{Interface, refused};
use blackbox::{Bitcoind, Node};
use lightningd_rpc::commands::{self, Command};
use lightningd_rpc::{Param, Type};
use serde_json::{Map, Value, json};

const INVALID_PARAMS: i64 = -32602;
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// A value of this type.
fn sample(kind: Type) -> Value {
    let hash = "ab".repeat(32);
    match kind {
        Type::String | Type::Label => json!("text"),
        Type::Bool => json!(true),
        Type::U16 | Type::U32 | Type::U64 => json!(7),
        Type::Number => json!(1.5),
        Type::Msat => json!("5sat"),
        Type::MsatOrAny => json!("any"),
        Type::Sat => json!(5000),
        Type::SatOrAll => json!("all"),
        Type::NodeId => json!(KEY),
        Type::ShortChannelId => json!("103x1x0"),
        Type::ChannelId | Type::Txid | Type::Hash | Type::Hex => json!(hash),
        Type::Outpoint => json!(format!("{hash}:1")),
        Type::Feerate => json!("253perkw"),
        Type::OneOf(words) => json!(words[0]),
        Type::Strings => json!(["a", "b"]),
        Type::U32s => json!([12, 22]),
        Type::Outpoints => json!([format!("{hash}:1")]),
        Type::Feerates => json!(["253perkw", "1000perkb"]),
        Type::Array => json!([1]),
        Type::Json => json!(false),
    }
}

/// Something that is no value of this type; `None` where everything is.
fn wrong(kind: Type) -> Option<Value> {
    match kind {
        Type::String | Type::Json => None,
        Type::Label => Some(json!({"a": 1})),
        Type::Bool => Some(json!("true")),
        _ => Some(json!("no such thing")),
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &'static Param> {
    command.params.iter().filter(|p| !p.dev_only)
}

/// The commands that `check` does not try by itself.
fn others() -> impl Iterator<Item = &'static Command> {
    commands::ALL
        .iter()
        .copied()
        .filter(|c| !matches!(c.name, "check" | "help"))
}

fn named(command: &Command) -> Map<String, Value> {
    shown(command)
        .map(|p| (p.name.to_owned(), sample(p.kind)))
        .collect()
}

fn with(mut members: Map<String, Value>, name: &str, value: Value) -> Value {
    members.insert(name.to_owned(), value);
    Value::Object(members)
}

#[test]
fn check_accepts_every_command_in_both_forms_and_runs_nothing() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    for command in others() {
        let expected = json!({"command_to_check": command.name});
        let mut positions = vec![json!(command.name)];
        positions.extend(shown(command).map(|p| sample(p.kind)));
        let least: Vec<Value> = [json!(command.name)]
            .into_iter()
            .chain(
                shown(command)
                    .filter(|p| p.required)
                    .map(|p| sample(p.kind)),
            )
            .collect();
        let names = with(named(command), "command_to_check", json!(command.name));
        for params in [json!(positions), json!(least), names] {
            assert_eq!(tables.ask(&node, "check", params), expected);
        }
    }
    // `stop` was among them.
    assert!(node.is_running());
    let invoices = tables.ask(&node, "listinvoices", json!({}));
    assert_eq!(invoices, json!({"invoices": []}));
}

#[test]
fn wrong_parameters_of_every_command_are_refused_by_it_and_by_check() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    for command in others() {
        for (params, stem) in mistakes(command) {
            let message = refused(&node, command.name, params.clone(), INVALID_PARAMS);
            assert!(message.starts_with(&stem), "{}: {message}", command.name);
            let checked = match params {
                Value::Array(mut all) => {
                    all.insert(0, json!(command.name));
                    json!(all)
                }
                Value::Object(members) => with(members, "command_to_check", json!(command.name)),
                _ => unreachable!(),
            };
            let message = refused(&node, "check", checked, INVALID_PARAMS);
            assert!(
                message.starts_with(&stem),
                "check {}: {message}",
                command.name
            );
        }
    }
    assert!(node.is_running());
    refused(&node, "check", json!([]), INVALID_PARAMS);
    refused(&node, "check", json!(["nonesuch"]), -32601);
    refused(&node, "help", json!(["nonesuch"]), -32601);
    refused(&node, "help", json!(["help", 1]), INVALID_PARAMS);
}

/// Parameters that are wrong in one way, and how the complaint begins.
fn mistakes(command: &Command) -> Vec<(Value, String)> {
    let count = shown(command).count();
    let all: Vec<Value> = shown(command).map(|p| sample(p.kind)).collect();
    let mut mistakes = Vec::new();
    for param in shown(command).filter(|p| p.required) {
        let mut members = named(command);
        members.remove(param.name);
        let stem = format!("missing required parameter: {}", param.name);
        mistakes.push((Value::Object(members), stem));
    }
    let needed = shown(command).filter(|p| p.required).count();
    if needed > 0 {
        let few = json!(all[..needed - 1]);
        mistakes.push((few, "missing required parameter: ".to_owned()));
    }
    let mut many = all;
    many.extend([json!(1), json!(2)]);
    let stem = format!("too many parameters: got {}, expected {count}", count + 2);
    mistakes.push((json!(many), stem));
    let unknown = with(named(command), "nosuchparam", json!(1));
    mistakes.push((unknown, "unknown parameter: nosuchparam".to_owned()));
    for param in shown(command) {
        if let Some(value) = wrong(param.kind) {
            let members = with(named(command), param.name, value);
            mistakes.push((members, format!("{}: should be ", param.name)));
        }
    }
    mistakes
}

#[test]
fn positions_and_names_say_the_same() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let ask = |method: &str, params| tables.ask(&node, method, params);
    ask("invoice", json!([1000, "by position", "d", 60]));
    ask(
        "invoice",
        json!({"amount_msat": "1sat", "label": "by name", "description": "d", "expiry": 60}),
    );
    let both = ask("listinvoices", json!([]));
    let [one, two] = both["invoices"].as_array().unwrap().as_slice() else {
        panic!("{both}")
    };
    assert_eq!(one["amount_msat"], two["amount_msat"]);
    for (method, positions, names) in [
        (
            "listinvoices",
            json!(["by name"]),
            json!({"label": "by name"}),
        ),
        (
            "listinvoices",
            json!([null, null, null, null, "created", 2]),
            json!({"index": "created", "start": 2}),
        ),
        (
            "listpays",
            json!([null, null, "failed"]),
            json!({"status": "failed"}),
        ),
        ("listpeers", json!([KEY]), json!({"id": KEY})),
        ("listfunds", json!([true]), json!({"spent": true})),
        ("feerates", json!(["perkw"]), json!({"style": "perkw"})),
        (
            "listconfigs",
            json!(["fee-base"]),
            json!({"config": "fee-base"}),
        ),
        ("help", json!(["pay"]), json!({"command": "pay"})),
    ] {
        assert_eq!(ask(method, positions), ask(method, names), "{method}");
    }
    let info = ask("getinfo", json!([]));
    assert_eq!(info["id"], ask("getinfo", json!({}))["id"]);
    // A null stands for an omission by position only.
    ask("newaddr", json!([null]));
    refused(
        &node,
        "newaddr",
        json!({"addresstype": null}),
        INVALID_PARAMS,
    );
}
