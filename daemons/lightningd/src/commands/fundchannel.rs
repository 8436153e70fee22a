//! fundchannel.

use std::sync::Arc;

use channel::action::OpenRequest;
use lightningd_rpc::{Args, Context, Progress, RpcError, SatOrAll, code};
use lightningd_wallet::{Recipient, UnsignedTx, placeholder_funding_script};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tx::setup::CommitmentFormat;
use wire::features::{Feature, Features};
use wire::{ChannelId, MilliSatoshi, NodeId, Satoshi};

use super::channels::channel_type;
use super::peers::reach;
use super::wallet::{build, emergency_reserve, inputs, wallet_amount};
use super::{Outcome, error, failed, feerate, refused};
use crate::channel::{OpenFailure, OpenJob, Opened};
use crate::node::Node;
use crate::wallet::Spend;

/// BOLT 2, funding_satoshis without option_support_large_channel.
const LARGEST: Satoshi = Satoshi((1 << 24) - 1);
/// Steps that `notifications` clients are told of.
const STEPS: u32 = 3;

pub async fn fundchannel(node: Arc<Node>, context: Context, args: Args) -> Outcome {
    let peer: NodeId = args.required("id")?;
    let amount: SatOrAll = args.required("amount")?;
    let rate = feerate(&node, args.required("feerate")?)?;
    refuse_what_is_not_built(&args)?;
    check_push(amount, args.optional("push_msat")?)?;
    if !node.chain.view().synced {
        let text = "Still syncing with bitcoin network";
        return Err(error(code::FUNDING_STILL_SYNCING_BITCOIN, text));
    }
    // As in CLN: a peer whose address is known is connected to first.
    let connected = reach(&node, peer, None).await.map_err(|why| {
        let data = json!({"id": peer.to_string(), "method": "connect"});
        why.with_data(data)
    })?;
    let features = Features::from_bytes(&connected.features);
    let format = format(&args, &features)?;
    let recipient = Recipient {
        script: placeholder_funding_script(),
        amount: wallet_amount(amount),
    };
    let spend = Spend {
        recipients: vec![recipient],
        feerate: rate,
        inputs: inputs(&args)?,
        emergency_reserve: emergency_reserve(&node, format == CommitmentFormat::AnchorsZeroFeeHtlc),
        funding_limit: Some(Some(LARGEST)),
    };
    context.progress(Progress {
        num: 0,
        total: STEPS,
        stage: None,
    });
    let unsigned = build(&node, spend).await?;
    let coins = unsigned.outpoints();
    context.progress(Progress {
        num: 1,
        total: STEPS,
        stage: None,
    });
    match negotiate(&node, peer, unsigned, format, &args).await {
        Ok(opened) => {
            context.progress(Progress {
                num: STEPS - 1,
                total: STEPS,
                stage: None,
            });
            Ok(reply(&opened, format))
        }
        Err(why) => {
            node.wallet.release(coins).await;
            Err(why)
        }
    }
}

async fn negotiate(
    node: &Arc<Node>,
    peer: NodeId,
    unsigned: UnsignedTx,
    format: CommitmentFormat,
    args: &Args,
) -> Result<Opened, RpcError> {
    let value = unsigned
        .recipient(0)
        .map_or(0, |output| output.value.to_sat());
    if Satoshi(value) > LARGEST {
        let text = format!("Amount exceeded {}", LARGEST.0);
        return Err(error(code::FUND_MAX_EXCEEDED, text));
    }
    let push: MilliSatoshi = args.optional("push_msat")?.unwrap_or_default();
    let mindepth: Option<u64> = args.optional("mindepth")?;
    let request = OpenRequest {
        temporary_channel_id: ChannelId::ALL,
        funding_value: Satoshi(value),
        push,
        feerate: crate::feerates::commitment(node, format),
        announce: args.required("announce")?,
        format,
        minimum_depth: mindepth.and_then(|depth| u32::try_from(depth).ok()),
        reserve: args.optional::<Satoshi>("reserve")?,
    };
    let (done, opened) = oneshot::channel();
    let job = OpenJob {
        unsigned,
        done: Some(done),
    };
    crate::channels::open(node.clone(), peer, request, job)
        .await
        .map_err(failed)?;
    match opened.await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(OpenFailure::Negotiation(why))) => Err(failed(why)),
        Ok(Err(OpenFailure::Refused(why))) => Err(refused(&why)),
        Ok(Err(OpenFailure::Broadcast(why))) => Err(error(
            code::FUNDING_BROADCAST_FAIL,
            format!("Error broadcasting funding transaction: {why}"),
        )),
        Ok(Err(OpenFailure::Unknown(why))) => Err(error(
            code::FUNDING_BROADCAST_FAIL,
            format!(
                "Whether the funding transaction is broadcast is not known: {why}. It is broadcast again with \
                 each block"
            ),
        )),
        Err(_) => Err(failed("the node is stopping")),
    }
}

fn check_push(amount: SatOrAll, push: Option<MilliSatoshi>) -> Result<(), RpcError> {
    let (SatOrAll::Sat(amount), Some(push)) = (amount, push) else {
        return Ok(());
    };
    if amount.to_msat().is_none_or(|all| push <= all) {
        return Ok(());
    }
    let text = format!(
        "Requested to push_msat of {push} is greater than available funding amount {amount}"
    );
    Err(error(code::FUND_CANNOT_AFFORD, text))
}

/// Parameters of CLN whose features are not here yet must not be ignored silently.
fn refuse_what_is_not_built(args: &Args) -> Result<(), RpcError> {
    for name in ["close_to", "request_amt", "compact_lease"] {
        if args.has(name) {
            let text = format!("{name}: not supported by this version");
            return Err(RpcError::invalid_params(text));
        }
    }
    Ok(())
}

/// The channel type that was asked for, else the best that the peer knows.
fn format(args: &Args, peer: &Features) -> Result<CommitmentFormat, RpcError> {
    let asked: Option<Vec<u32>> = args.optional("channel_type")?;
    let Some(mut bits) = asked else {
        return Ok(if peer.has(Feature::Anchors) {
            CommitmentFormat::AnchorsZeroFeeHtlc
        } else {
            CommitmentFormat::StaticRemotekey
        });
    };
    bits.sort_unstable();
    match bits.as_slice() {
        [12] => Ok(CommitmentFormat::StaticRemotekey),
        [12, 22] => Ok(CommitmentFormat::AnchorsZeroFeeHtlc),
        _ => Err(RpcError::invalid_params("channel_type not supported")),
    }
}

fn reply(opened: &Opened, format: CommitmentFormat) -> Value {
    json!({
        "tx": bitcoin::consensus::encode::serialize_hex(&opened.tx),
        "txid": opened.tx.compute_txid().to_string(),
        "outnum": opened.outnum,
        "channel_id": opened.channel_id.to_string(),
        "channel_type": channel_type(format),
        "mindepth": opened.minimum_depth,
    })
}
