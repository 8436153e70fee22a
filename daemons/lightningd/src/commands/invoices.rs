//! Invoices: invoice, listinvoices, delinvoice, waitinvoice, waitanyinvoice.

use std::sync::Arc;
use std::time::Duration;

use invoice::{Bolt11Fields, DescriptionOrHash, HintHop};
use lightningd_rpc::{AnyOrMsat, Args, Context, RpcError, code};
use lightningd_wallet::parse_address;
use rand::Rng;
use serde_json::{Map, Value, json};
use wire::{BlockDelta, MilliSatoshi, PaymentHash, PaymentSecret, Preimage, ShortChannelId};

use super::{Outcome, error, failed};
use crate::channels::Summary;
use crate::invoices::{InvoiceError, Wait, status};
use crate::node::Node;
use crate::store::invoices::{self as records, Invoice};
use crate::store::now;

/// Hints in one invoice, at most: each makes it longer.
const MAX_HINTS: usize = 4;
/// BOLT 11 says that a description is at most this long.
const MAX_DESCRIPTION: usize = 639;

pub async fn invoice(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let amount = match args.required::<AnyOrMsat>("amount_msat")? {
        AnyOrMsat::Any => None,
        AnyOrMsat::Msat(amount) => Some(amount),
    };
    let label: String = args.required("label")?;
    let description: String = args.required("description")?;
    let preimage = preimage(&args)?;
    let payment_secret = PaymentSecret(rand::thread_rng().r#gen());
    let expiry: u64 = args.required("expiry")?;
    let cltv: Option<u64> = args.optional("cltv")?;
    let default = node.options.channels.cltv_final;
    let cltv = cltv
        .and_then(|c| u16::try_from(c).ok())
        .map_or(default, BlockDelta);
    let hash_only: bool = args.required("deschashonly")?;
    let hints = choose_hints(&node, args.optional("exposeprivatechannels")?, amount)?;
    let fields = Bolt11Fields {
        network: node.network,
        amount,
        payment_hash: preimage.payment_hash(),
        payment_secret,
        description: described(&description, hash_only)?,
        timestamp: Duration::from_secs(now()),
        expiry: Duration::from_secs(expiry),
        min_final_cltv: cltv,
        route_hints: hints.hops.clone(),
        fallbacks: fallbacks(&node, &args)?,
        features: crate::features::invoice_features(),
        metadata: None,
    };
    let (signature, recovery_id) = node.hsm.sign_bolt11(fields.clone()).await.map_err(failed)?;
    let bolt11 = fields
        .into_string(&signature, recovery_id)
        .map_err(failed)?;
    let new = Invoice {
        label,
        bolt11,
        payment_hash: preimage.payment_hash(),
        preimage,
        payment_secret,
        amount,
        description,
        expires_at: now().saturating_add(expiry),
        paid: None,
        created_index: 0,
        updated_index: None,
    };
    let made = node
        .invoices
        .add(new)
        .await
        .map_err(|why| invoice_error(&why))?;
    let mut reply = json!({
        "payment_hash": made.payment_hash.to_string(),
        "expires_at": made.expires_at,
        "bolt11": made.bolt11,
        "payment_secret": made.payment_secret.to_string(),
        "created_index": made.created_index,
    });
    if let (Some(object), Some((name, text))) = (reply.as_object_mut(), hints.warning) {
        object.insert(name.to_owned(), json!(text));
    }
    Ok(reply)
}

fn preimage(args: &Args) -> Result<Preimage, RpcError> {
    let given: Option<Vec<u8>> = args.optional("preimage")?;
    match given {
        None => Ok(Preimage(rand::thread_rng().r#gen())),
        Some(bytes) => bytes
            .try_into()
            .map(Preimage)
            .map_err(|_| RpcError::invalid_params("preimage: should be 64 hex digits")),
    }
}

fn described(text: &str, hash_only: bool) -> Result<DescriptionOrHash, RpcError> {
    use bitcoin::hashes::{Hash, sha256};
    if hash_only {
        return Ok(DescriptionOrHash::Hash(
            sha256::Hash::hash(text.as_bytes()).to_byte_array(),
        ));
    }
    if text.len() > MAX_DESCRIPTION {
        let text = format!(
            "Descriptions greater than {MAX_DESCRIPTION} bytes not yet supported (description length {})",
            text.len()
        );
        return Err(RpcError::invalid_params(text));
    }
    Ok(DescriptionOrHash::Description(text.to_owned()))
}

fn fallbacks(node: &Node, args: &Args) -> Result<Vec<bitcoin::ScriptBuf>, RpcError> {
    let given: Vec<String> = args.optional("fallbacks")?.unwrap_or_default();
    let parse = |text: &String| {
        parse_address(text, node.network)
            .map_err(|why| RpcError::invalid_params(format!("fallbacks: {why}")))
    };
    given.iter().map(parse).collect()
}

/// Route hints, and a warning where they are not enough for the amount.
struct Hints {
    hops: Vec<Vec<HintHop>>,
    warning: Option<(&'static str, &'static str)>,
}

/// `exposeprivatechannels`: absent, a bool, or the channels to show. No channel of ours is
/// announced as long as there is no gossip, so every usable one may be hinted at.
fn choose_hints(
    node: &Node,
    expose: Option<Value>,
    amount: Option<MilliSatoshi>,
) -> Result<Hints, RpcError> {
    let only = match expose {
        Some(Value::Bool(false)) => {
            return Ok(Hints {
                hops: Vec::new(),
                warning: None,
            });
        }
        None | Some(Value::Bool(true)) => None,
        Some(value) => Some(scids(value)?),
    };
    let mut usable: Vec<Summary> = node.channels.summaries();
    usable.retain(|s| {
        let named = |scid: &ShortChannelId| s.scid == Some(*scid) || s.local_alias == *scid;
        !s.pending && only.as_ref().is_none_or(|only| only.iter().any(named))
    });
    let any = !usable.is_empty();
    let offline = usable.iter().all(|s| !s.usable);
    usable.retain(|s| s.peer_update.is_some() && (s.usable || only.is_some()));
    usable.sort_by_key(|s| std::cmp::Reverse(s.receivable));
    let most = usable
        .iter()
        .fold(MilliSatoshi(0), |sum, s| sum.saturating_add(s.receivable));
    let hops: Vec<_> = usable
        .iter()
        .take(MAX_HINTS)
        .filter_map(hint)
        .map(|hop| vec![hop])
        .collect();
    let wanted = amount.unwrap_or(MilliSatoshi(1));
    let warning = match () {
        () if any && offline => Some((
            "warning_offline",
            "No channel with a peer that is currently connected",
        )),
        () if most < wanted => Some((
            "warning_capacity",
            "Insufficient incoming capacity to pay invoice with current channels",
        )),
        () if usable.iter().all(|s| s.receivable < wanted) => Some((
            "warning_mpp",
            "The invoice is only payable by MPP-capable payers.",
        )),
        () => None,
    };
    Ok(Hints { hops, warning })
}

fn scids(value: Value) -> Result<Vec<ShortChannelId>, RpcError> {
    let wrong = || {
        RpcError::invalid_params(
            "exposeprivatechannels: should be a short_channel_id or an array of them",
        )
    };
    let one = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(wrong)
    };
    match &value {
        Value::Array(all) => all.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}

/// The peer's terms for reaching us (BOLT 11, `r`).
fn hint(summary: &Summary) -> Option<HintHop> {
    let update = summary.peer_update.as_ref()?;
    Some(HintHop {
        node: summary.peer,
        scid: summary.remote_alias.or(summary.scid)?,
        fee_base: MilliSatoshi(update.fee_base_msat.into()),
        fee_ppm: update.fee_proportional_millionths,
        cltv_delta: update.cltv_expiry_delta,
    })
}

pub async fn listinvoices(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let label: Option<String> = args.optional("label")?;
    let invstring: Option<String> = args.optional("invstring")?;
    let hash: Option<PaymentHash> = args.optional("payment_hash")?;
    if [label.is_some(), invstring.is_some(), hash.is_some()]
        .iter()
        .filter(|given| **given)
        .count()
        > 1
    {
        return Err(RpcError::invalid_params(
            "Can only specify one of {label}, {invstring}, {payment_hash} or {offer_id}",
        ));
    }
    if args.has("offer_id") {
        return Ok(json!({ "invoices": [] }));
    }
    let db = &node.db;
    let found: Vec<Invoice> = if let Some(label) = label {
        records::by_label(db, &label)
            .map_err(failed)?
            .into_iter()
            .collect()
    } else if let Some(string) = invstring {
        let parsed = invoice::parse(&string)
            .map_err(|why| RpcError::invalid_params(format!("Invalid invstring: {why}")))?;
        records::by_hash(db, parsed.payment_hash)
            .map_err(failed)?
            .into_iter()
            .collect()
    } else if let Some(hash) = hash {
        records::by_hash(db, hash)
            .map_err(failed)?
            .into_iter()
            .collect()
    } else {
        listed(records::all(db).map_err(failed)?, &args)?
    };
    Ok(json!({ "invoices": found.iter().map(shown).collect::<Vec<_>>() }))
}

/// `index`, `start` and `limit`, as CLN's lists have them.
fn listed(mut all: Vec<Invoice>, args: &Args) -> Result<Vec<Invoice>, RpcError> {
    let index: Option<String> = args.optional("index")?;
    let start: Option<u64> = args.optional("start")?;
    let limit: Option<u64> = args.optional("limit")?;
    let key = |invoice: &Invoice| match index.as_deref() {
        Some("updated") => invoice.updated_index.unwrap_or(0),
        Some(_) | None => invoice.created_index,
    };
    all.retain(|invoice| key(invoice) >= start.unwrap_or(0));
    if index.as_deref() == Some("updated") {
        all.retain(|invoice| invoice.updated_index.is_some());
    }
    all.sort_by_key(key);
    all.truncate(
        limit
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(usize::MAX),
    );
    Ok(all)
}

pub fn shown(invoice: &Invoice) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    put("label", json!(invoice.label));
    put("bolt11", json!(invoice.bolt11));
    put("payment_hash", json!(invoice.payment_hash.to_string()));
    if let Some(amount) = invoice.amount {
        put("amount_msat", json!(amount.0));
    }
    put("status", json!(status(invoice)));
    if let Some(paid) = &invoice.paid {
        put("pay_index", json!(paid.pay_index));
        put("amount_received_msat", json!(paid.amount_received.0));
        put("paid_at", json!(paid.paid_at));
        put("payment_preimage", json!(hex::encode(invoice.preimage.0)));
    }
    put("description", json!(invoice.description));
    put("expires_at", json!(invoice.expires_at));
    put("created_index", json!(invoice.created_index));
    if let Some(updated) = invoice.updated_index {
        put("updated_index", json!(updated));
    }
    Value::Object(entry)
}

pub async fn delinvoice(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let label: String = args.required("label")?;
    let status: String = args.required("status")?;
    let desc_only: bool = args.required("desconly")?;
    let deleted = node.invoices.delete(label, status, desc_only).await;
    deleted
        .map(|invoice| shown(&invoice))
        .map_err(|why| invoice_error(&why))
}

pub async fn waitinvoice(node: Arc<Node>, context: Context, args: Args) -> Outcome {
    let label: String = args.required("label")?;
    wait(&node, &context, Wait::Label(label), None).await
}

pub async fn waitanyinvoice(node: Arc<Node>, context: Context, args: Args) -> Outcome {
    let last: Option<u64> = args.optional("lastpay_index")?;
    let timeout: Option<u64> = args.optional("timeout")?;
    wait(&node, &context, Wait::PaidAfter(last.unwrap_or(0)), timeout).await
}

async fn wait(node: &Node, context: &Context, what: Wait, timeout: Option<u64>) -> Outcome {
    let late = async {
        match timeout {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        found = node.invoices.wait(what) => {
            found.map(|invoice| shown(&invoice)).map_err(|why| invoice_error(&why))
        }
        () = late => Err(error(code::INVOICE_WAIT_TIMED_OUT, "Timed out while waiting for invoice to be paid")),
        () = context.client_gone() => Err(failed("the client is gone")),
        _ = node.stopped() => Err(error(code::LIGHTNINGD_SHUTDOWN, "Shutting down")),
    }
}

fn invoice_error(why: &InvoiceError) -> RpcError {
    match why {
        InvoiceError::DuplicateLabel => error(code::INVOICE_LABEL_ALREADY_EXISTS, why),
        InvoiceError::DuplicatePreimage => error(code::INVOICE_PREIMAGE_ALREADY_EXISTS, why),
        InvoiceError::Unknown => error(code::INVOICE_NOT_FOUND, why),
        InvoiceError::WrongStatus(now, _) => error(code::INVOICE_STATUS_UNEXPECTED, why).with_data(
            json!({"current_status": now, "expected_status": match why {
                InvoiceError::WrongStatus(_, expected) => expected.as_str(),
                _ => "",
            }}),
        ),
        InvoiceError::Expired(invoice) => error(
            code::INVOICE_EXPIRED_DURING_WAIT,
            "invoice expired during wait",
        )
        .with_data(shown(invoice)),
        InvoiceError::NoDescription => error(code::INVOICE_NO_DESCRIPTION, why),
        InvoiceError::Db(_) | InvoiceError::Stopping => failed(why),
    }
}
