//! What the other modules ask nodes with.

use blackbox::{Client, Node, RpcError};
use lightningd_rpc::conform::Table;
use serde_json::{Value, json};
use std::path::Path;
use std::thread::JoinHandle;

/// The tables that replies are held against: the project's own, and all of CLN's where it is at hand.
pub struct Interface(Vec<Table>);

impl Interface {
    pub fn load() -> Interface {
        let mut tables = vec![Table::project().unwrap()];
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/api/rpc.json");
        if all.is_file() {
            tables.push(Table::facts(&all).unwrap());
        }
        Interface(tables)
    }

    /// A call that must succeed with a reply as the tables have it.
    pub fn ask(&self, node: &Node, method: &str, params: Value) -> Value {
        let reply = node.rpc(method, params.clone());
        let reply = reply.unwrap_or_else(|e| panic!("{method} {params}: {e}"));
        self.check(method, &reply);
        reply
    }

    pub fn check(&self, method: &str, reply: &Value) {
        for table in &self.0 {
            let mut wrong = table.check(method, reply);
            wrong.retain(|what| !is_forgotten(method, what));
            assert!(wrong.is_empty(), "{method}: {wrong:#?} in {reply:#}");
        }
    }
}

/// The table of all of CLN's commands lacks that a payment under way shows its amounts: CLN's schema
/// allows every member there; and that its bookkeeper describes what moved in channels. The project's own
/// table has both.
fn is_forgotten(method: &str, what: &str) -> bool {
    if method == "bkpr-listaccountevents" && what.ends_with(".description is not in the table") {
        return true;
    }
    let amounts = ["amount_msat", "amount_sent_msat", "number_of_parts"];
    let mut missing = amounts
        .map(|name| format!(".{name} is not in the table"))
        .into_iter();
    method == "listpays" && missing.any(|end| what.ends_with(&end))
}

/// What a refusal said.
#[derive(Debug)]
pub struct Refusal {
    pub code: i64,
    pub message: String,
    pub data: Value,
}

/// A call that must be refused.
pub fn refusal(node: &Node, method: &str, params: Value) -> Refusal {
    match node.rpc(method, params.clone()) {
        Err(RpcError::Refused {
            code,
            message,
            data,
            ..
        }) => Refusal {
            code,
            message,
            data: *data,
        },
        other => panic!("{method} {params} should be refused: {other:?}"),
    }
}

/// A call that must be refused with this code; returns the message.
pub fn refused(node: &Node, method: &str, params: Value, code: i64) -> String {
    let refusal = refusal(node, method, params.clone());
    assert_eq!(refusal.code, code, "{method} {params}: {refusal:?}");
    refusal.message
}

/// A call that waits, on a thread of its own.
pub fn waiting(
    client: Client,
    method: &'static str,
    params: Value,
) -> JoinHandle<Result<Value, RpcError>> {
    std::thread::spawn(move || client.call(method, params))
}

/// Makes an invoice and gives its text.
pub fn bolt11(node: &Node, amount: Value, label: &str) -> String {
    let params = json!([amount, label, "what it is for"]);
    let made = node.rpc("invoice", params).unwrap();
    made["bolt11"].as_str().unwrap().to_owned()
}

/// The states of all channels, in the order of `listpeerchannels`.
pub fn states(node: &Node) -> Vec<String> {
    let all = node.rpc("listpeerchannels", json!({})).unwrap();
    let channels = all["channels"].as_array().unwrap().iter();
    channels
        .map(|channel| channel["state"].as_str().unwrap().to_owned())
        .collect()
}
