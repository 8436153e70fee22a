//! Our commands, codes and amounts against CLN's: tests/vectors/cln, and the full tables where they
//! are at hand.

use std::path::{Path, PathBuf};

use lightningd_rpc::commands::{self, Command};
use lightningd_rpc::conform::{ParamRow, Table};
use lightningd_rpc::{Param, Type, amount, code};
use serde_json::{Value, json};
use wire::MilliSatoshi;

fn project(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .join(file)
}

/// Both tables, the second only where it is there.
fn tables() -> Vec<Table> {
    let facts = project("../shared/api/rpc.json");
    let facts = facts.exists().then(|| Table::facts(&facts).unwrap());
    [Some(Table::project().unwrap()), facts]
        .into_iter()
        .flatten()
        .collect()
}

/// The table's word for one of our types; several where it is less exact than we are.
fn names_of(kind: Type) -> Vec<String> {
    let fixed: &[&str] = match kind {
        Type::String => &["string"],
        Type::Bool => &["boolean"],
        Type::U16 => &["u16"],
        Type::U32 => &["u32"],
        Type::U64 => &["u64"],
        Type::Number => &["number"],
        Type::Msat => &["msat"],
        Type::MsatOrAny => &["msat_or_any"],
        Type::Sat => &["sat"],
        Type::SatOrAll => &["sat_or_all"],
        Type::NodeId => &["pubkey"],
        Type::ShortChannelId => &["short_channel_id"],
        Type::ChannelId => &["hash"],
        Type::Outpoint => &["outpoint"],
        Type::Txid => &["txid"],
        Type::Hex => &["hex"],
        Type::Hash => &["hash", "hex"],
        Type::Label => &["string|integer", "string|u64"],
        Type::Feerate => &["feerate"],
        Type::OneOf(words) => return vec![format!("={}", words.join("|"))],
        Type::Strings => &[
            "array string",
            "array short_channel_id_dir|pubkey",
            "array hex",
        ],
        Type::U32s => &["array u32"],
        Type::Outpoints => &["array outpoint"],
        Type::Feerates => &["array feerate"],
        Type::Array => &["array"],
        Type::Json => &["any"],
    };
    fixed.iter().map(|s| (*s).to_owned()).collect()
}

fn assert_same(command: &Command, ours: &[Param], theirs: &[ParamRow]) {
    let theirs: Vec<&ParamRow> = theirs.iter().filter(|p| p.name != "*").collect();
    let names: Vec<&str> = ours.iter().map(|p| p.name).collect();
    assert_eq!(
        names,
        theirs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        "{}",
        command.name
    );
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(
            ours.required, theirs.required,
            "{} {}",
            command.name, ours.name
        );
        assert!(
            names_of(ours.kind).contains(&theirs.kind),
            "{} {}: {:?} against {}",
            command.name,
            ours.name,
            ours.kind,
            theirs.kind
        );
    }
}

#[test]
fn every_command_has_clns_parameters_in_clns_order() {
    for table in tables() {
        let ours = |command: &&&Command| commands::OURS.contains(&command.name);
        assert!((commands::OURS.iter()).all(|name| !table.commands.contains_key(*name)));
        for command in commands::ALL.iter().filter(|command| !ours(command)) {
            let row = table
                .commands
                .get(command.name)
                .unwrap_or_else(|| panic!("{} is not CLN's", command.name));
            assert_same(command, command.params, &row.params);
            assert_eq!(row.category, command.category.name(), "{}", command.name);
        }
    }
}

#[test]
fn every_error_code_is_clns() {
    for table in tables() {
        let ours: std::collections::BTreeMap<String, i64> = code::ALL
            .iter()
            .map(|(name, code)| ((*name).to_owned(), i64::from(code.0)))
            .collect();
        assert_eq!(ours, table.codes);
    }
}

#[test]
fn amounts_are_read_and_shown_as_clns_tests_say() {
    let text = std::fs::read_to_string(project("tests/vectors/cln/amounts.json")).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    for (text, expected) in table["msat"].as_object().unwrap() {
        assert_eq!(
            amount::parse_msat(text).map(|a| a.0),
            expected.as_u64(),
            "{text}"
        );
    }
    for (text, expected) in table["sat"].as_object().unwrap() {
        assert_eq!(
            amount::parse_sat(text).map(|a| a.0),
            expected.as_u64(),
            "{text}"
        );
    }
    for pair in table["as_sat"].as_array().unwrap() {
        assert_eq!(
            amount::msat_as_sat(MilliSatoshi(pair[0].as_u64().unwrap())),
            pair[1].as_str().unwrap()
        );
    }
}

#[test]
fn the_full_amount_vectors_agree_where_they_are_there() {
    let Ok(text) = std::fs::read_to_string(project("../shared/vectors/cln/amounts.json")) else {
        return;
    };
    let table: Value = serde_json::from_str(&text).unwrap();
    let list = |name: &str| table[name].as_array().unwrap().clone();
    for row in list("msat_pass") {
        assert_eq!(
            amount::parse_msat(row["string"].as_str().unwrap()).map(|a| a.0),
            row["value"].as_u64(),
            "{row}"
        );
    }
    for row in list("sat_pass") {
        assert_eq!(
            amount::parse_sat(row["string"].as_str().unwrap()).map(|a| a.0),
            row["value"].as_u64(),
            "{row}"
        );
    }
    assert!(
        list("msat_fail")
            .iter()
            .all(|s| amount::parse_msat(s.as_str().unwrap()).is_none())
    );
    assert!(
        list("sat_fail")
            .iter()
            .all(|s| amount::parse_sat(s.as_str().unwrap()).is_none())
    );
}

fn invoice() -> Value {
    json!({
        "label": "a", "payment_hash": "ab".repeat(32), "status": "unpaid", "expires_at": 1, "created_index": 1,
    })
}

fn wrong(command: &str, result: Value) -> Vec<String> {
    let all: Vec<Vec<String>> = tables().iter().map(|t| t.check(command, &result)).collect();
    assert!(
        all.iter().all(|w| *w == all[0]),
        "the tables disagree: {all:?}"
    );
    all.into_iter().next().unwrap()
}

#[test]
fn a_reply_as_clns_conforms() {
    assert_eq!(
        wrong("listinvoices", json!({"invoices": [invoice()]})),
        Vec::<String>::new()
    );
    assert_eq!(wrong("disconnect", json!({})), Vec::<String>::new());
    assert_eq!(
        wrong(
            "help",
            json!({"help": [{"command": "x", "more": 1}], "format-hint": "simple"})
        ),
        Vec::<String>::new()
    );
    let mut paid = invoice();
    paid["status"] = json!("paid");
    for (name, value) in [
        ("pay_index", json!(1)),
        ("amount_received_msat", json!(1)),
        ("paid_at", json!(1)),
        ("payment_preimage", json!("00".repeat(32))),
    ] {
        paid[name] = value;
    }
    assert_eq!(
        wrong("listinvoices", json!({"invoices": [paid]})),
        Vec::<String>::new()
    );
    assert_eq!(
        wrong("disconnect", json!({"warning_anything": "text"})),
        Vec::<String>::new()
    );
}

#[test]
fn each_kind_of_nonconformance_is_found() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut invoice = invoice();
        change(&mut invoice);
        wrong("listinvoices", json!({"invoices": [invoice]}))
    };
    let missing = with(&|i| {
        i.as_object_mut().unwrap().remove("label");
    });
    assert_eq!(missing, ["listinvoices.invoices[0].label is missing"]);
    assert_eq!(
        with(&|i| i["extra"] = json!(1)),
        ["listinvoices.invoices[0].extra is not in the table"]
    );
    assert_eq!(with(&|i| i["expires_at"] = json!("1")).len(), 1);
    assert_eq!(with(&|i| i["expires_at"] = json!(-1)).len(), 1);
    assert_eq!(with(&|i| i["payment_hash"] = json!("ab")).len(), 1);
    assert_eq!(
        with(&|i| i["payment_hash"] = json!("AB".repeat(32))).len(),
        1
    );
    assert_eq!(with(&|i| i["status"] = json!("lost")).len(), 1);
    assert_eq!(
        with(&|i| i["paid_at"] = json!(1)),
        ["listinvoices.invoices[0].paid_at is not in the table"]
    );
    assert_eq!(with(&|i| i["status"] = json!("paid")).len(), 4);
    assert_eq!(wrong("listinvoices", json!([])).len(), 1);
    assert_eq!(wrong("listinvoices", json!({"invoices": {}})).len(), 1);
    assert_eq!(
        wrong("nonesuch", json!({})),
        ["nonesuch is not in the table"]
    );
}

#[test]
fn a_case_may_forbid_members_and_else_require_others() {
    let deleted = |members: Value| {
        let mut reply = invoice();
        for (name, value) in members.as_object().unwrap() {
            reply[name] = value.clone();
        }
        wrong("delinvoice", reply)
    };
    assert_eq!(deleted(json!({"bolt11": "lnbc"})), Vec::<String>::new());
    assert_eq!(deleted(json!({"bolt12": "lni"})), Vec::<String>::new());
    assert_eq!(deleted(json!({})), ["delinvoice.bolt11 is missing"]);
    assert_eq!(
        deleted(json!({"bolt11": "x", "bolt12": "y"})),
        ["delinvoice.bolt11 should not be there"]
    );
}

#[test]
fn help_conforms() {
    let registry = lightningd_rpc::Registry::new(false);
    for params in [json!([]), json!(["help"])] {
        let reply = futures::executor::block_on(
            registry.call(lightningd_rpc::Context::internal("help"), &params),
        )
        .unwrap();
        assert_eq!(wrong("help", reply), Vec::<String>::new());
    }
}
