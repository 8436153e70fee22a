//! decode: BOLT 11 invoices.

use std::sync::Arc;

use invoice::{DescriptionOrHash, HintHop, Invoice};
use lightningd_rpc::{Args, Context, RpcError};
use serde_json::{Map, Value, json};

use super::Outcome;
use crate::node::Node;

pub async fn decode(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let text: String = args.required("string")?;
    match invoice::parse(&text) {
        Ok(parsed) => Ok(shown(&node, &parsed)),
        Err(why) => Err(RpcError::invalid_params(format!(
            "Unparsable string: {why}"
        ))),
    }
}

fn shown(node: &Node, invoice: &Invoice) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    put("type", json!("bolt11 invoice"));
    put("valid", json!(true));
    put("currency", json!(currency(invoice.network)));
    put("created_at", json!(invoice.timestamp.as_secs()));
    put("expiry", json!(invoice.expiry.as_secs()));
    put("payee", json!(invoice.payee.to_string()));
    if let Some(amount) = invoice.amount {
        put("amount_msat", json!(amount.0));
    }
    match &invoice.description {
        DescriptionOrHash::Description(text) => put("description", json!(text)),
        DescriptionOrHash::Hash(hash) => put("description_hash", json!(hex::encode(hash))),
    }
    put("min_final_cltv_expiry", json!(invoice.min_final_cltv.0));
    put("payment_secret", json!(invoice.payment_secret.to_string()));
    put("features", json!(invoice.features.to_string()));
    if !invoice.fallbacks.is_empty() {
        let all = invoice
            .fallbacks
            .iter()
            .map(|script| fallback(node, script));
        put("fallbacks", json!(all.collect::<Vec<_>>()));
    }
    if !invoice.route_hints.is_empty() {
        let all = invoice
            .route_hints
            .iter()
            .map(|hops| hops.iter().map(hop).collect::<Vec<_>>());
        put("routes", json!(all.collect::<Vec<_>>()));
    }
    if let Some(metadata) = &invoice.metadata {
        put("payment_metadata", json!(hex::encode(metadata)));
    }
    put("payment_hash", json!(invoice.payment_hash.to_string()));
    put("signature", json!(der(&invoice.signature)));
    Value::Object(entry)
}

/// The prefix of the network's invoices (BOLT 11, Human-Readable Part).
fn currency(network: bitcoin::Network) -> &'static str {
    match network {
        bitcoin::Network::Bitcoin => "bc",
        bitcoin::Network::Signet => "tbs",
        bitcoin::Network::Regtest => "bcrt",
        _testnets => "tb",
    }
}

/// CLN shows the signature in DER.
fn der(compact: &[u8; 64]) -> String {
    let signature = secp256k1::ecdsa::Signature::from_compact(compact);
    signature
        .map(|s| hex::encode(s.serialize_der()))
        .unwrap_or_default()
}

fn fallback(node: &Node, script: &bitcoin::ScriptBuf) -> Value {
    let kind = match () {
        () if script.is_p2pkh() => "P2PKH",
        () if script.is_p2sh() => "P2SH",
        () if script.is_p2wpkh() => "P2WPKH",
        () if script.is_p2wsh() => "P2WSH",
        () => "P2TR",
    };
    let mut entry = json!({"type": kind, "hex": hex::encode(script.as_bytes())});
    if let (Some(address), Some(object)) =
        (super::wallet::address(node, script), entry.as_object_mut())
    {
        object.insert("addr".to_owned(), json!(address));
    }
    entry
}

fn hop(hop: &HintHop) -> Value {
    json!({
        "pubkey": hop.node.to_string(),
        "short_channel_id": hop.scid.to_string(),
        "fee_base_msat": hop.fee_base.0,
        "fee_proportional_millionths": hop.fee_ppm,
        "cltv_expiry_delta": hop.cltv_delta.0,
    })
}
