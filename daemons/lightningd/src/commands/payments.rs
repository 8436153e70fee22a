//! listpays and listsendpays.

use std::sync::Arc;

use lightningd_rpc::{Args, Context, RpcError};
use serde_json::{Map, Value, json};
use wire::{MilliSatoshi, PaymentHash};

use super::paging::Paging;
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
    let paging = Paging::read(&args)?;
    let hash = wanted_hash(&args)?;
    if hash.is_some() && paging.has_start() {
        return Err(RpcError::invalid_params(
            "Cannot use start with bolt11 or payment_hash",
        ));
    }
    let mut parts = match hash {
        Some(hash) => records::parts_of(&node.db, hash),
        None => records::all_parts(&node.db),
    }
    .map_err(failed)?;
    parts.retain(|part| {
        status
            .as_deref()
            .is_none_or(|wanted| wanted == part_status(&part.status))
    });
    let parts = paging.page(parts, |part| {
        paging.key(part.created_index, part.updated_index)
    });
    let mut shown = Vec::with_capacity(parts.len());
    for part in &parts {
        let key = (part.payment_hash.0, part.groupid);
        let payment = node.db.get::<Payment>(&key).map_err(failed)?;
        shown.push(sendpay(part, payment.as_ref()));
    }
    Ok(json!({ "payments": shown }))
}

fn sendpay(part: &Part, payment: Option<&Payment>) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    put("created_index", json!(part.created_index));
    put("id", json!(part.created_index));
    put("payment_hash", json!(part.payment_hash.to_string()));
    put("groupid", json!(part.groupid));
    // CLN leaves out the zero of what is no multi-part payment; ours begin to count there, too.
    if part.partid > 0 {
        put("partid", json!(part.partid));
    }
    if let Some(updated) = part.updated_index {
        put("updated_index", json!(updated));
    }
    put("destination", json!(part.destination.to_string()));
    put("amount_msat", json!(part.amount.0));
    put("amount_sent_msat", json!(part.amount_sent.0));
    put("created_at", json!(part.created_at));
    put("status", json!(part_status(&part.status)));
    if let PartStatus::Complete { preimage } = &part.status {
        put("payment_preimage", json!(hex::encode(preimage.0)));
        if let Some(at) = part.completed_at {
            put("completed_at", json!(at));
        }
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
    let paging = Paging::read(&args)?;
    let payments = match wanted_hash(&args)? {
        Some(hash) => records::groups_of(&node.db, hash),
        None => records::all_payments(&node.db),
    }
    .map_err(failed)?;
    let mut pays = Vec::with_capacity(payments.len());
    for (number, payment) in payments.iter().enumerate() {
        let mut parts = records::parts_of(&node.db, payment.payment_hash).map_err(failed)?;
        parts.retain(|part| part.groupid == payment.groupid);
        // As in CLN, what never left is no payment.
        let Some(first) = parts.iter().map(|part| part.created_index).min() else {
            continue;
        };
        // Groups of one hash stand one after the other: only the last can still be tried.
        let next = payments.get(number + 1);
        let last = next.is_none_or(|next| next.payment_hash != payment.payment_hash);
        let state = state(
            &parts,
            last && node.payments.is_active(payment.payment_hash),
        );
        if status.as_deref().is_none_or(|wanted| wanted == state) {
            let updated = parts.iter().filter_map(|part| part.updated_index).max();
            let key = paging.key(first, updated);
            pays.push((key, pay(payment, &parts, state, first, updated)));
        }
    }
    let pays = paging.page(pays, |(key, _)| *key);
    Ok(json!({ "pays": pays.into_iter().map(|(_, pay)| pay).collect::<Vec<_>>() }))
}

fn state(parts: &[Part], active: bool) -> &'static str {
    let any = |status: &str| parts.iter().any(|part| part_status(&part.status) == status);
    match () {
        () if any("complete") => "complete",
        () if any("pending") || active => "pending",
        () => "failed",
    }
}

fn pay(payment: &Payment, parts: &[Part], state: &str, first: u64, updated: Option<u64>) -> Value {
    let alive = |part: &&Part| !matches!(part.status, PartStatus::Failed { .. });
    let count = parts.iter().filter(alive).count();
    let sum = |amount: fn(&Part) -> MilliSatoshi| {
        let amounts = parts.iter().filter(alive).map(|part| amount(part).0);
        amounts.fold(0_u64, u64::saturating_add)
    };
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    put("payment_hash", json!(payment.payment_hash.to_string()));
    put("status", json!(state));
    put("destination", json!(payment.destination.to_string()));
    put("created_at", json!(payment.created_at));
    put("created_index", json!(first));
    if let Some(updated) = updated {
        put("updated_index", json!(updated));
    }
    if count > 0 {
        put("amount_msat", json!(sum(|part| part.amount)));
    }
    put("amount_sent_msat", json!(sum(|part| part.amount_sent)));
    if count > 1 {
        put("number_of_parts", json!(count));
    }
    let complete = parts.iter().filter_map(|part| match part.status {
        PartStatus::Complete { preimage } => Some((preimage, part.completed_at)),
        PartStatus::Pending | PartStatus::Failed { .. } => None,
    });
    if let Some((preimage, at)) = complete.min_by_key(|(_, at)| *at) {
        put("preimage", json!(hex::encode(preimage.0)));
        if let Some(at) = at {
            put("completed_at", json!(at));
        }
    }
    described(&mut entry, payment);
    Value::Object(entry)
}
