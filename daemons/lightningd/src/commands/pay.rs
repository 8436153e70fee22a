//! pay.

use std::sync::Arc;
use std::time::Duration;

use lightningd_rpc::{Args, Context, RpcError, code};
use serde_json::json;
use wire::{BlockDelta, MilliSatoshi, ShortChannelId};

use super::{Outcome, error, failed};
use crate::node::Node;
use crate::payments::{self, PayError, PayRequest};
use crate::store::now;

/// Below this a payment may cost `maxfeepercent` and more, as in CLN.
const EXEMPT_FEE: MilliSatoshi = MilliSatoshi(5000);
const MAX_FEE_PERCENT: f64 = 0.5;
const MAX_DELAY: u64 = 2016;

pub async fn pay(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let request = request(&node, &args)?;
    let hash = request.payment_hash;
    let asked = request.amount;
    match payments::pay(&node, request).await {
        Ok(paid) => Ok(json!({
            "destination": paid.destination.to_string(),
            "payment_hash": hash.to_string(),
            "created_at": paid.created_at,
            "parts": paid.parts,
            "amount_msat": paid.amount.0,
            "amount_sent_msat": paid.amount_sent.0,
            "payment_preimage": hex::encode(paid.preimage.0),
            "status": "complete",
        })),
        Err(why) => Err(pay_error(&why, hash, asked)),
    }
}

fn request(node: &Node, args: &Args) -> Result<PayRequest, RpcError> {
    let text: String = args.required("bolt11")?;
    let parsed = invoice::parse(&text)
        .map_err(|why| RpcError::invalid_params(format!("Invalid bolt11: {why}")))?;
    for name in ["riskfactor", "localinvreqid", "maxfee_base", "partial_msat"] {
        if name == "partial_msat" && args.has(name) {
            return Err(RpcError::invalid_params(
                "partial_msat: not supported by this version",
            ));
        }
    }
    if !parsed.is_for(node.network) {
        return Err(RpcError::invalid_params(format!(
            "Invalid bolt11: it is for another network than {}",
            node.options.network
        )));
    }
    if parsed.is_expired(Duration::from_secs(now())) {
        return Err(error(code::PAY_INVOICE_EXPIRED, "Invoice expired"));
    }
    if let Some(bit) = parsed
        .features
        .unknown_required(&crate::features::invoice_features())
    {
        let text = format!("the invoice requires feature {bit}, which this node does not have");
        return Err(error(code::PAY_UNSPECIFIED_ERROR, text));
    }
    let amount = amount(parsed.amount, args.optional("amount_msat")?)?;
    let description: Option<String> = args.optional("description")?;
    if let Some(text) = &description
        && !parsed.is_about(text)
    {
        return Err(RpcError::invalid_params(
            "description does not match the invoice's",
        ));
    }
    let delay: u64 = args.optional("maxdelay")?.unwrap_or(MAX_DELAY);
    Ok(PayRequest {
        max_fee: max_fee(args, amount)?,
        max_delay: BlockDelta(u16::try_from(delay).unwrap_or(u16::MAX)),
        retry_for: Duration::from_secs(args.optional("retry_for")?.unwrap_or(60)),
        excluded: excluded(args)?,
        bolt11: Some(text),
        label: args.optional("label")?,
        description,
        payment_hash: parsed.payment_hash,
        payment_secret: Some(parsed.payment_secret),
        metadata: parsed.metadata,
        destination: parsed.payee,
        amount,
        final_cltv_delta: parsed.min_final_cltv,
        route_hints: parsed.route_hints,
    })
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

/// `maxfee`, or `maxfeepercent` and `exemptfee`.
fn max_fee(args: &Args, amount: MilliSatoshi) -> Result<MilliSatoshi, RpcError> {
    let fixed: Option<MilliSatoshi> = args.optional("maxfee")?;
    let percent: Option<f64> = args.optional("maxfeepercent")?;
    let exempt: Option<MilliSatoshi> = args.optional("exemptfee")?;
    if fixed.is_some() && (percent.is_some() || exempt.is_some()) {
        return Err(RpcError::invalid_params(
            "you cannot specify both maxfee and maxfeepercent/exemptfee",
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

fn excluded(args: &Args) -> Result<Vec<ShortChannelId>, RpcError> {
    let given: Vec<String> = args.optional("exclude")?.unwrap_or_default();
    let parse = |text: &String| {
        let scid = text.split('/').next().unwrap_or_default();
        scid.parse().map_err(|_| {
            RpcError::invalid_params(format!(
                "exclude: should be short_channel_ids, not '{text}'"
            ))
        })
    };
    given.iter().map(parse).collect()
}

fn pay_error(why: &PayError, hash: wire::PaymentHash, amount: MilliSatoshi) -> RpcError {
    let code = match why {
        PayError::InProgress => code::PAY_IN_PROGRESS,
        PayError::NoRoute(_) => code::PAY_ROUTE_NOT_FOUND,
        PayError::Failed {
            destination: true, ..
        } => code::PAY_DESTINATION_PERM_FAIL,
        PayError::Failed { failure: None, .. } => code::PAY_UNPARSEABLE_ONION,
        PayError::Failed { .. } => code::PAY_TRY_OTHER_ROUTE,
        PayError::TimedOut(_) => code::PAY_STOPPED_RETRYING,
        PayError::Db(_) | PayError::Stopping => return failed(why),
    };
    let mut data = json!({"payment_hash": hash.to_string(), "amount_msat": amount.0});
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
        object.insert(
            "failcodename".to_owned(),
            json!(failure.name().to_uppercase()),
        );
        object.insert(
            "raw_message".to_owned(),
            json!(hex::encode(failure.encode())),
        );
    }
    error(code, why).with_data(data)
}
