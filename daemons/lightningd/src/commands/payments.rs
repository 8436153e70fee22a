//! listpays and listsendpays.

use std::sync::Arc;

use lightningd_rpc::{Args, Context, RpcError};
use serde_json::{Map, Value, json};
use wire::{MilliSatoshi, PaymentHash};

use super::{Outcome, failed};
use crate::node::Node;
use crate::store::payments::{self as records, Part, PartStatus, Payment};

fn wanted_hash(args: &Args) -> Result<Option<PaymentHash>, RpcError> {
    let bolt11: Option<String> = args.optional("bolt11")?;
    let hash: Option<PaymentHash> = args.optional("payment_hash")?;
    match (bolt11, hash) {
        (Some(_), Some(_)) => Err(RpcError::invalid_params(
            "Can only specify one of {bolt11} or {payment_hash}",
        )),
        (Some(text), None) => match invoice::parse(&text) {
            Ok(parsed) => Ok(Some(parsed.payment_hash)),
            Err(why) => Err(RpcError::invalid_params(format!("Invalid bolt11: {why}"))),
        },
        (None, hash) => Ok(hash),
    }
}

fn part_status(status: &PartStatus) -> &'static str {
    match status {
        PartStatus::Pending => "pending",
        PartStatus::Complete { .. } => "complete",
        PartStatus::Failed { .. } => "failed",
    }
}

pub async fn listsendpays(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let status: Option<String> = args.optional("status")?;
    let mut parts = match wanted_hash(&args)? {
        Some(hash) => records::parts_of(&node.db, hash),
        None => records::all_parts(&node.db),
    }
    .map_err(failed)?;
    parts.retain(|part| {
        status
            .as_deref()
            .is_none_or(|wanted| wanted == part_status(&part.status))
    });
    let parts = listed(parts, &args)?;
    let mut shown = Vec::with_capacity(parts.len());
    for part in &parts {
        let key = (part.payment_hash.0, part.groupid);
        let payment = node.db.get::<Payment>(&key).map_err(failed)?;
        shown.push(sendpay(part, payment.as_ref()));
    }
    Ok(json!({ "payments": shown }))
}

/// `index`, `start` and `limit`, as CLN's lists have them.
fn listed(mut parts: Vec<Part>, args: &Args) -> Result<Vec<Part>, RpcError> {
    let index: Option<String> = args.optional("index")?;
    let start: Option<u64> = args.optional("start")?;
    let limit: Option<u64> = args.optional("limit")?;
    let updated = index.as_deref() == Some("updated");
    let key = |part: &Part| {
        if updated {
            part.updated_index.unwrap_or(0)
        } else {
            part.created_index
        }
    };
    parts.retain(|part| {
        key(part) >= start.unwrap_or(0) && (!updated || part.updated_index.is_some())
    });
    parts.sort_by_key(key);
    parts.truncate(
        limit
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(usize::MAX),
    );
    Ok(parts)
}

fn sendpay(part: &Part, payment: Option<&Payment>) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    put("created_index", json!(part.created_index));
    put("id", json!(part.created_index));
    put("payment_hash", json!(part.payment_hash.to_string()));
    put("groupid", json!(part.groupid));
    put("partid", json!(part.partid));
    if let Some(updated) = part.updated_index {
        put("updated_index", json!(updated));
    }
    put("destination", json!(part.destination.to_string()));
    put("amount_msat", json!(part.amount.0));
    put("amount_sent_msat", json!(part.amount_sent.0));
    put("created_at", json!(part.created_at));
    if let Some(at) = part.completed_at {
        put("completed_at", json!(at));
    }
    put("status", json!(part_status(&part.status)));
    if let PartStatus::Complete { preimage } = &part.status {
        put("payment_preimage", json!(hex::encode(preimage.0)));
    }
    if let PartStatus::Failed { reason } = &part.status
        && !reason.is_empty()
    {
        put("erroronion", json!(hex::encode(reason)));
    }
    if let Some(payment) = payment {
        described(&mut entry, payment);
    }
    Value::Object(entry)
}

fn described(entry: &mut Map<String, Value>, payment: &Payment) {
    let texts = [
        ("bolt11", &payment.bolt11),
        ("label", &payment.label),
        ("description", &payment.description),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            entry.insert(name.to_owned(), json!(text));
        }
    }
}

pub async fn listpays(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let status: Option<String> = args.optional("status")?;
    let payments = match wanted_hash(&args)? {
        Some(hash) => records::groups_of(&node.db, hash),
        None => records::all_payments(&node.db),
    }
    .map_err(failed)?;
    let mut pays = Vec::with_capacity(payments.len());
    for payment in &payments {
        let mut parts = records::parts_of(&node.db, payment.payment_hash).map_err(failed)?;
        parts.retain(|part| part.groupid == payment.groupid);
        pays.push((first_index(&parts), pay(&node, payment, &parts)));
    }
    pays.retain(|(_, pay)| {
        let now = pay.get("status").and_then(Value::as_str);
        status.is_none() || status.as_deref() == now
    });
    pays.sort_by_key(|(index, _)| *index);
    let start: Option<u64> = args.optional("start")?;
    let limit: Option<u64> = args.optional("limit")?;
    let limit = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let pays = pays
        .into_iter()
        .filter(|(index, _)| *index >= start.unwrap_or(0));
    Ok(json!({ "pays": pays.take(limit).map(|(_, pay)| pay).collect::<Vec<_>>() }))
}

fn first_index(parts: &[Part]) -> u64 {
    parts
        .iter()
        .map(|part| part.created_index)
        .min()
        .unwrap_or(0)
}

fn pay(node: &Node, payment: &Payment, parts: &[Part]) -> Value {
    let is = |part: &&Part, status: &str| part_status(&part.status) == status;
    let complete: Vec<&Part> = parts.iter().filter(|part| is(part, "complete")).collect();
    let pending = parts.iter().any(|part| is(&part, "pending"));
    let status = match () {
        () if !complete.is_empty() => "complete",
        () if pending || node.payments.is_active(payment.payment_hash) => "pending",
        () => "failed",
    };
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    put("payment_hash", json!(payment.payment_hash.to_string()));
    put("status", json!(status));
    put("destination", json!(payment.destination.to_string()));
    put("created_at", json!(payment.created_at));
    put("created_index", json!(first_index(parts)));
    if let Some(updated) = parts.iter().filter_map(|part| part.updated_index).max() {
        put("updated_index", json!(updated));
    }
    if let (Some(first), "complete") = (complete.first(), status) {
        let sum = |amount: fn(&Part) -> MilliSatoshi| {
            complete
                .iter()
                .fold(0_u64, |sum, part| sum.saturating_add(amount(part).0))
        };
        put("amount_msat", json!(sum(|part| part.amount)));
        put("amount_sent_msat", json!(sum(|part| part.amount_sent)));
        if let PartStatus::Complete { preimage } = &first.status {
            put("preimage", json!(hex::encode(preimage.0)));
        }
        put("number_of_parts", json!(complete.len()));
        put(
            "completed_at",
            json!(complete.iter().filter_map(|part| part.completed_at).max()),
        );
    } else {
        put("amount_msat", json!(payment.amount.0));
        put("amount_sent_msat", json!(0));
    }
    described(&mut entry, payment);
    Value::Object(entry)
}
