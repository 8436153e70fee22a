//! Invoices: invoice, listinvoices, delinvoice, waitinvoice, waitanyinvoice.

use std::sync::Arc;
use std::time::Duration;

use invoice::{Bolt11Fields, DescriptionOrHash};
use ipc_messages::hsm::invoice::PreimageHolder;
use lightningd_rpc::{AnyOrMsat, Args, Context, RpcError, code};
use lightningd_wallet::parse_address;
use rand::Rng;
use serde_json::{Map, Value, json};
use wire::{BlockDelta, MilliSatoshi, PaymentHash, PaymentSecret, Preimage};

use super::hints::{self, Expose};
use super::paging::Paging;
use super::{Outcome, error, failed};
use crate::hsm::HsmError;
use crate::invoices::{InvoiceError, Wait, status};
use crate::node::Node;
use crate::store::invoices::{self as records, Invoice, PreimageAt};
use crate::store::now;

/// BOLT 11 says that a description is at most this long.
const MAX_DESCRIPTION: usize = 639;
/// Bytes of a label.
const MAX_LABEL: usize = 128;

pub async fn invoice(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let wanted = wanted(&node, &args)?;
    let expose = Expose::read(args.optional("exposeprivatechannels")?)?;
    let hints = hints::choose(&node, expose, wanted.amount)?;
    let fallbacks = fallbacks(&node, &args)?;
    // Before hsmd derives and registers anything for nothing.
    if records::by_label(&node.db, &wanted.label)
        .map_err(failed)?
        .is_some()
    {
        return Err(duplicate_label(&wanted.label));
    }
    let (payment_hash, holder, preimage) = hash_for(&node, wanted.preimage).await?;
    let fields = Bolt11Fields {
        network: node.network,
        amount: wanted.amount,
        payment_hash,
        payment_secret: PaymentSecret(rand::thread_rng().r#gen()),
        description: wanted.described,
        timestamp: Duration::from_secs(now()),
        expiry: wanted.expiry,
        min_final_cltv: wanted.cltv,
        route_hints: hints.hops,
        fallbacks,
        features: crate::features::invoice_features(),
        metadata: None,
    };
    let signed = node.hsm.sign_bolt11(fields.clone(), holder).await;
    let (signature, recovery_id) = signed.map_err(|why| not_signed(&why, preimage))?;
    let bolt11 = fields
        .clone()
        .into_string(&signature, recovery_id)
        .map_err(failed)?;
    let made = node.invoices.add(Invoice {
        label: wanted.label.clone(),
        bolt11,
        payment_hash,
        preimage,
        payment_secret: fields.payment_secret,
        amount: fields.amount,
        description: Some(wanted.description),
        expires_at: (fields.timestamp.as_secs()).saturating_add(fields.expiry.as_secs()),
        paid: None,
        created_index: 0,
        updated_index: None,
    });
    let made = made.await.map_err(|why| match why {
        InvoiceError::DuplicateLabel => duplicate_label(&wanted.label),
        why => invoice_error(&why),
    })?;
    let mut reply = json!({
        "payment_hash": made.payment_hash.to_string(),
        "expires_at": made.expires_at,
        "bolt11": made.bolt11,
        "payment_secret": made.payment_secret.to_string(),
        "created_index": made.created_index,
    });
    if let Some(object) = reply.as_object_mut() {
        for (name, text) in hints.warnings {
            object.insert(name.to_owned(), json!(text));
        }
    }
    Ok(reply)
}

/// The payment hash, and where its preimage is: hsmd's own, unless the client has chosen one.
async fn hash_for(
    node: &Node,
    chosen: Option<Preimage>,
) -> Result<(PaymentHash, PreimageHolder, PreimageAt), RpcError> {
    let Some(preimage) = chosen else {
        let hash = node.hsm.new_preimage().await.map_err(failed)?;
        return Ok((hash, PreimageHolder::Hsmd, PreimageAt::Hsmd));
    };
    let hash = preimage.payment_hash();
    if records::by_hash(&node.db, hash).map_err(failed)?.is_some() {
        return Err(invoice_error(&InvoiceError::DuplicatePreimage));
    }
    let here = PreimageAt::Here(preimage);
    Ok((hash, PreimageHolder::Lightningd, here))
}

/// hsmd remembers the invoices of hashes whose records were deleted here.
fn not_signed(why: &HsmError, preimage: PreimageAt) -> RpcError {
    match (why, preimage) {
        (HsmError::Refused(refused), PreimageAt::Here(_)) if refused.rule == "I1" => {
            error(code::INVOICE_PREIMAGE_ALREADY_EXISTS, why)
        }
        (HsmError::Refused(_) | HsmError::Gone | HsmError::Confused, _) => failed(why),
    }
}

fn duplicate_label(label: &str) -> RpcError {
    let text = format!("Duplicate label '{label}'");
    error(code::INVOICE_LABEL_ALREADY_EXISTS, text)
}

/// An invoice as its parameters describe it, without hints and fallbacks.
struct Wanted {
    label: String,
    description: String,
    described: DescriptionOrHash,
    amount: Option<MilliSatoshi>,
    preimage: Option<Preimage>,
    expiry: Duration,
    cltv: BlockDelta,
}

fn wanted(node: &Node, args: &Args) -> Result<Wanted, RpcError> {
    let amount = match args.required::<AnyOrMsat>("amount_msat")? {
        AnyOrMsat::Any => None,
        AnyOrMsat::Msat(MilliSatoshi(0)) => {
            return Err(RpcError::invalid_params(
                "amount_msat: should be positive msat or 'any'",
            ));
        }
        AnyOrMsat::Msat(amount) => Some(amount),
    };
    let label: String = args.required("label")?;
    if label.len() > MAX_LABEL {
        let text = format!("Label '{label}' over {MAX_LABEL} bytes");
        return Err(RpcError::invalid_params(text));
    }
    let description: String = args.required("description")?;
    let preimage: Option<[u8; 32]> = args.optional("preimage")?;
    let cltv = match args.optional::<u64>("cltv")? {
        None => node.options.channels.cltv_final,
        Some(given) => u16::try_from(given)
            .map(BlockDelta)
            .map_err(|_| RpcError::invalid_params("cltv: should be at most 65535"))?,
    };
    Ok(Wanted {
        label,
        described: described(&description, args.required("deschashonly")?)?,
        description,
        amount,
        preimage: preimage.map(Preimage),
        expiry: Duration::from_secs(args.required("expiry")?),
        cltv,
    })
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
            "Description greater than {MAX_DESCRIPTION} bytes invalid (description length {})",
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
            .map_err(|why| failed(format!("Fallback address not valid: {why}")))
    };
    given.iter().map(parse).collect()
}

pub async fn listinvoices(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let label: Option<String> = args.optional("label")?;
    let invstring: Option<String> = args.optional("invstring")?;
    let hash: Option<PaymentHash> = args.optional("payment_hash")?;
    let offer = args.has("offer_id");
    let given = [label.is_some(), invstring.is_some(), hash.is_some(), offer];
    if given.into_iter().filter(|given| *given).count() > 1 {
        return Err(RpcError::invalid_params(
            "Can only specify one of {label}, {invstring}, {payment_hash} or {offer_id}",
        ));
    }
    let paging = Paging::read(&args)?;
    let parse = |string: String| {
        let parsed = invoice::parse(&string);
        parsed
            .map(|parsed| parsed.payment_hash)
            .map_err(|why| RpcError::invalid_params(format!("Invalid invstring: {why}")))
    };
    let hash = match invstring {
        Some(string) => Some(parse(string)?),
        None => hash,
    };
    let db = &node.db;
    let one = |found: Option<Invoice>| found.into_iter().collect::<Vec<_>>();
    let found = match (label, hash) {
        (Some(label), _) => records::by_label(db, &label).map(one),
        (None, Some(hash)) => records::by_hash(db, hash).map(one),
        (None, None) if offer => Ok(Vec::new()),
        (None, None) => records::all(db).map(|all| {
            paging.page(all, |invoice| {
                paging.key(invoice.created_index, invoice.updated_index)
            })
        }),
    };
    let found = found.map_err(failed)?;
    Ok(json!({ "invoices": found.iter().map(shown).collect::<Vec<_>>() }))
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
        if let PreimageAt::Here(preimage) = invoice.preimage {
            put("payment_preimage", json!(hex::encode(preimage.0)));
        }
    }
    if let Some(description) = &invoice.description {
        put("description", json!(description));
    }
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
    let outcome = wait(&node, &context, Wait::Label(label), None).await;
    // CLN has another error here than elsewhere.
    outcome.map_err(|why| match why.code {
        code::INVOICE_NOT_FOUND => failed("Label not found"),
        _ => why,
    })
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
        () = late => {
            let text = "Timed out while waiting for invoice to be paid";
            Err(error(code::INVOICE_WAIT_TIMED_OUT, text))
        }
        () = context.client_gone() => Err(failed("the client is gone")),
        _ = node.stopped() => Err(error(code::LIGHTNINGD_SHUTDOWN, "Shutting down")),
    }
}

fn invoice_error(why: &InvoiceError) -> RpcError {
    match why {
        InvoiceError::DuplicateLabel => error(code::INVOICE_LABEL_ALREADY_EXISTS, why),
        InvoiceError::DuplicatePreimage => error(code::INVOICE_PREIMAGE_ALREADY_EXISTS, why),
        InvoiceError::Unknown => error(code::INVOICE_NOT_FOUND, why),
        InvoiceError::WrongStatus(now, expected) => error(code::INVOICE_STATUS_UNEXPECTED, why)
            .with_data(json!({"current_status": now, "expected_status": expected})),
        InvoiceError::Expired(invoice) => error(
            code::INVOICE_EXPIRED_DURING_WAIT,
            "invoice expired during wait",
        )
        .with_data(shown(invoice)),
        InvoiceError::NoDescription => error(code::INVOICE_NO_DESCRIPTION, why),
        InvoiceError::Deleted | InvoiceError::Db(_) | InvoiceError::Stopping => failed(why),
    }
}
