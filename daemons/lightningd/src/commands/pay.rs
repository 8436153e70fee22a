//! pay.

use std::sync::Arc;
use std::time::Duration;

use invoice::{DescriptionOrHash, Invoice};
use lightningd_rpc::{Args, Context, RpcError, code};
use routing::NoRoute;
use serde_json::json;
use wire::{BlockDelta, MilliSatoshi, NodeId, PaymentHash, ShortChannelId};

use super::{Outcome, error, failed};
use crate::hsm::HsmError;
use crate::node::Node;
use crate::payments::{self, PayError, PayRequest};
use crate::store::now;

/// Below this a payment may cost `maxfeepercent` and more, as in CLN.
const EXEMPT_FEE: MilliSatoshi = MilliSatoshi(5000);
const MAX_FEE_PERCENT: f64 = 0.5;
/// Blocks beyond what the payee asks for: it may see blocks that we do not see yet (BOLT 4,
/// incorrect_or_unknown_payment_details).
const FINAL_SLACK: u16 = 3;

/// What an error says of the payment.
struct Paying {
    hash: PaymentHash,
    destination: NodeId,
    bolt11: Option<String>,
    amount: MilliSatoshi,
    created_at: u64,
}

pub async fn pay(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let request = request(&node, &args)?;
    let paying = Paying {
        hash: request.payment_hash,
        destination: request.destination,
        bolt11: Some(request.bolt11.clone()),
        amount: request.amount,
        created_at: now(),
    };
    match payments::pay(&node, request).await {
        Ok(paid) => Ok(json!({
            "destination": paid.destination.to_string(),
            "payment_hash": paying.hash.to_string(),
            "created_at": paid.created_at,
            "parts": paid.parts,
            "amount_msat": paid.amount.0,
            "amount_sent_msat": paid.amount_sent.0,
            "payment_preimage": hex::encode(paid.preimage.0),
            "status": "complete",
        })),
        Err(why) => Err(pay_error(&why, &paying)),
    }
}

fn request(node: &Node, args: &Args) -> Result<PayRequest, RpcError> {
    let text: String = args.required("bolt11")?;
    let description: Option<String> = args.optional("description")?;
    let parsed = payable(node, &text, description.as_deref())?;
    let total = amount(parsed.amount, args.optional("amount_msat")?)?;
    let amount = part(total, args.optional("partial_msat")?)?;
    let delay: u16 = args.required("maxdelay")?;
    let retry_for: u64 = args.required("retry_for")?;
    Ok(PayRequest {
        max_fee: max_fee(args, amount)?,
        max_delay: BlockDelta(delay),
        retry_for: Duration::from_secs(retry_for),
        excluded: excluded(node, args, &parsed)?,
        bolt11: text,
        label: args.optional("label")?,
        description,
        payment_hash: parsed.payment_hash,
        payment_secret: Some(parsed.payment_secret),
        metadata: parsed.metadata,
        destination: parsed.payee,
        amount,
        total,
        final_cltv_delta: BlockDelta(parsed.min_final_cltv.0.saturating_add(FINAL_SLACK)),
        route_hints: parsed.route_hints,
    })
}

/// An invoice that may be paid here and now. Its required features are known, or it is none.
fn payable(node: &Node, text: &str, description: Option<&str>) -> Result<Invoice, RpcError> {
    let invalid =
        |why: &dyn std::fmt::Display| RpcError::invalid_params(format!("Invalid bolt11: {why}"));
    let parsed = invoice::parse(text).map_err(|why| invalid(&why))?;
    if !parsed.is_for(node.network) {
        let why = format!("it is for another network than {}", node.options.network);
        return Err(invalid(&why));
    }
    // What an invoice says in words needs no proof; CLN ignores the parameter then.
    let hashed = matches!(parsed.description, DescriptionOrHash::Hash(_));
    if hashed && description.is_some_and(|text| !parsed.is_about(text)) {
        return Err(invalid(&"h: does not match description"));
    }
    if parsed.is_expired(Duration::from_secs(now())) {
        return Err(error(code::PAY_INVOICE_EXPIRED, "Invoice expired"));
    }
    if parsed.payee == node.id {
        let text = "the invoice is this node's own, and paying oneself is not supported";
        return Err(error(code::PAY_ROUTE_NOT_FOUND, text));
    }
    Ok(parsed)
}

fn amount(
    invoice: Option<MilliSatoshi>,
    given: Option<MilliSatoshi>,
) -> Result<MilliSatoshi, RpcError> {
    match (invoice, given) {
        (Some(_), Some(_)) => Err(RpcError::invalid_params(
            "amount_msat parameter unnecessary",
        )),
        (None, None) => Err(RpcError::invalid_params("amount_msat parameter required")),
        (Some(amount), None) | (None, Some(amount)) => Ok(amount),
    }
}

/// `partial_msat`: what of it we pay.
fn part(total: MilliSatoshi, partial: Option<MilliSatoshi>) -> Result<MilliSatoshi, RpcError> {
    match partial {
        Some(part) if part > total => Err(RpcError::invalid_params(format!(
            "partial_msat must be less or equal to total amount {total}"
        ))),
        Some(MilliSatoshi::ZERO) => Err(RpcError::invalid_params("partial_msat must be non-zero")),
        Some(part) => Ok(part),
        None => Ok(total),
    }
}

/// `maxfee`, or `maxfeepercent` and `exemptfee`.
fn max_fee(args: &Args, amount: MilliSatoshi) -> Result<MilliSatoshi, RpcError> {
    let fixed: Option<MilliSatoshi> = args.optional("maxfee")?;
    let percent: Option<f64> = args.optional("maxfeepercent")?;
    let exempt: Option<MilliSatoshi> = args.optional("exemptfee")?;
    if fixed.is_some() && (percent.is_some() || exempt.is_some()) {
        return Err(RpcError::invalid_params(
            "If you specify maxfee, cannot specify maxfeepercent or exemptfee.",
        ));
    }
    if let Some(fee) = fixed {
        return Ok(fee);
    }
    let percent = percent.unwrap_or(MAX_FEE_PERCENT).max(0.0);
    // Saturates at the largest amount, which is what a huge percentage means.
    let part = MilliSatoshi((amount.0 as f64 * percent / 100.0) as u64);
    Ok(part.max(exempt.unwrap_or(EXEMPT_FEE)))
}

/// `exclude`: channels, with or without a direction, and nodes. Routes begin with our own names
/// for our channels.
fn excluded(node: &Node, args: &Args, invoice: &Invoice) -> Result<Vec<ShortChannelId>, RpcError> {
    let given: Vec<String> = args.optional("exclude")?.unwrap_or_default();
    let ours = node.channels.summaries();
    let hops = invoice.route_hints.iter().flatten();
    let mut excluded = Vec::new();
    for text in &given {
        if let Ok(id) = text.parse::<NodeId>() {
            let theirs = ours.iter().filter(|s| s.peer == id).map(|s| s.local_alias);
            let hinted = hops
                .clone()
                .filter(|hop| hop.node == id)
                .map(|hop| hop.scid);
            excluded.extend(theirs.chain(hinted));
            continue;
        }
        let scid = text.strip_suffix("/0").or(text.strip_suffix("/1"));
        let scid: ShortChannelId = scid.unwrap_or(text).parse().map_err(|_| {
            RpcError::invalid_params(
                "exclude: should be short_channel_ids with direction, or node ids",
            )
        })?;
        let alias = ours.iter().find(|s| s.scid == Some(scid));
        excluded.extend([scid].into_iter().chain(alias.map(|s| s.local_alias)));
    }
    Ok(excluded)
}

fn pay_error(why: &PayError, paying: &Paying) -> RpcError {
    let code = match why {
        PayError::InProgress => code::PAY_IN_PROGRESS,
        PayError::NoRoute(NoRoute::TooExpensive { .. }) => code::PAY_ROUTE_TOO_EXPENSIVE,
        PayError::NoRoute(_) => code::PAY_ROUTE_NOT_FOUND,
        PayError::Failed {
            destination: true, ..
        } => code::PAY_DESTINATION_PERM_FAIL,
        PayError::Failed { failure: None, .. } => code::PAY_UNPARSEABLE_ONION,
        PayError::Failed { .. } => code::PAY_TRY_OTHER_ROUTE,
        PayError::TimedOut(_) => code::PAY_STOPPED_RETRYING,
        PayError::Signer(HsmError::Refused(refused)) => return super::refused(refused),
        PayError::Db(_) | PayError::Signer(_) | PayError::Stopping => return failed(why),
    };
    let mut data = json!({
        "payment_hash": paying.hash.to_string(),
        "destination": paying.destination.to_string(),
        "bolt11": paying.bolt11,
        "amount_msat": paying.amount.0,
        "created_at": paying.created_at,
        "status": match why {
            PayError::InProgress => "pending",
            _ => "failed",
        },
    });
    if let (
        PayError::Failed {
            failure_hop,
            failure: Some(failure),
            ..
        },
        Some(object),
    ) = (why, data.as_object_mut())
    {
        object.insert("erring_index".to_owned(), json!(failure_hop));
        object.insert("failcode".to_owned(), json!(failure.code()));
        let name = format!("WIRE_{}", failure.name().to_uppercase());
        object.insert("failcodename".to_owned(), json!(name));
        let raw = hex::encode(failure.encode());
        object.insert("raw_message".to_owned(), json!(raw));
    }
    error(code, why).with_data(data)
}
