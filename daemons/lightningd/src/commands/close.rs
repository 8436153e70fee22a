//! close.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{ScriptBuf, Transaction};
use channel::action::CloseFees;
use lightningd_rpc::{Args, Context, Feerate, Level, RpcError};
use lightningd_wallet::parse_address;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use wire::{ChannelDbid, ChannelId, FeeratePerKw, NodeId, ShortChannelId};

use super::{Outcome, failed, feerate, refused};
use crate::channel::{CloseAsk, Closed, Mail};
use crate::channels::Summary;
use crate::hsm::HsmError;
use crate::node::Node;

/// States in which there is something left to negotiate.
const CLOSABLE: [&str; 4] = [
    "CHANNELD_AWAITING_LOCKIN",
    "CHANNELD_NORMAL",
    "CHANNELD_SHUTTING_DOWN",
    "CLOSINGD_SIGEXCHANGE",
];

pub async fn close(node: Arc<Node>, context: Context, args: Args) -> Outcome {
    let id: String = args.required("id")?;
    let timeout: u64 = args.required("unilateraltimeout")?;
    let channel = find(&node, &id)?;
    let destination: Option<String> = args.optional("destination")?;
    let destination = destination
        .map(|text| parse_address(&text, node.network))
        .transpose()
        .map_err(|why| RpcError::invalid_params(format!("destination: {why}")))?;
    if let Some(script) = &destination {
        // Once the peer has heard of it, it cannot be changed any more.
        check_destination(&node, script).await?;
    }
    check_fee_step(&args.required::<String>("fee_negotiation_step")?)?;
    if args.has("wrong_funding") {
        return Err(RpcError::invalid_params(
            "wrong_funding feature not negotiated (this node does not have it)",
        ));
    }
    let fees = fees(&node, &args)?;
    let (done, closed) = oneshot::channel();
    let ask = CloseAsk {
        destination,
        fees,
        unilateral: false,
        done,
    };
    node.channels.tell(channel, Mail::Close(ask));
    if !is_connected(&node, channel) {
        context.message(Level::Info, offline(timeout));
    }
    // CLN: 0 waits for ever.
    let patience = async {
        match timeout {
            0 => std::future::pending().await,
            seconds => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    };
    let outcome = tokio::select! {
        outcome = closed => outcome.map_err(|_| forgotten())?,
        () = patience => {
            context.message(Level::Info, "Timed out, forcing close.");
            unilateral(&node, channel).await?
        }
    };
    outcome.map(|closed| shown(&closed)).map_err(failed)
}

/// hsmd signs no close to a script that is neither ours nor on the operator's allowlist.
async fn check_destination(node: &Node, script: &ScriptBuf) -> Result<(), RpcError> {
    match node.hsm.check_shutdown(script.clone()).await {
        Ok(()) => Ok(()),
        Err(HsmError::Refused(why)) => Err(refused(&why)),
        Err(why @ (HsmError::Gone | HsmError::Confused)) => Err(failed(why)),
    }
}

fn offline(timeout: u64) -> String {
    let text = "peer is offline, will negotiate once they reconnect";
    match timeout {
        0 => format!("{text}."),
        seconds => format!("{text} ({seconds} seconds before unilateral close)."),
    }
}

fn forgotten() -> RpcError {
    failed("Channel forgotten before proper close.")
}

/// How CLN steps towards the peer's fee. We negotiate by ranges, as CLN does with all peers that
/// know them, so the step is only checked.
fn check_fee_step(text: &str) -> Result<(), RpcError> {
    let wrong = |why: &str| {
        let text = format!("Wrong value given for fee_negotiation_step: \"{text}\", {why}");
        Err(RpcError::invalid_params(text))
    };
    let (digits, percent) = match text.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    match digits.parse::<u64>() {
        Ok(0) => wrong("must be positive"),
        Ok(101..) if percent => wrong("the percentage should be between 1 and 100"),
        Ok(_) => Ok(()),
        Err(_) => wrong("should be an integer or an integer followed by %"),
    }
}

async fn unilateral(node: &Node, channel: ChannelDbid) -> Result<Result<Closed, String>, RpcError> {
    let (done, closed) = oneshot::channel();
    let ask = CloseAsk {
        destination: None,
        fees: None,
        unilateral: true,
        done,
    };
    node.channels.tell(channel, Mail::Close(ask));
    closed.await.map_err(|_| forgotten())
}

fn is_connected(node: &Node, channel: ChannelDbid) -> bool {
    let whose = node
        .channels
        .mailboxes()
        .into_iter()
        .find(|(dbid, _, _)| *dbid == channel);
    whose.is_some_and(|(_, peer, _)| node.peers.is_connected(peer))
}

/// By peer (which must have one such channel only), channel id or short_channel_id.
fn find(node: &Node, id: &str) -> Result<ChannelDbid, RpcError> {
    let mut summaries = node.channels.summaries();
    summaries.sort_by_key(|s| s.dbid);
    if let Ok(peer) = id.parse::<NodeId>() {
        return of_peer(node, &summaries, peer);
    }
    let (found, missing) = if let Ok(wanted) = id.parse::<ChannelId>() {
        let found = summaries.iter().find(|s| s.channel_id == Some(wanted));
        (found, "Channel id not found")
    } else if let Ok(wanted) = id.parse::<ShortChannelId>() {
        let named = |s: &&Summary| s.scid == Some(wanted) || s.local_alias == wanted;
        (summaries.iter().find(named), "Short channel id not found")
    } else {
        (None, "should be a channel ID or short channel ID")
    };
    let wrong = |why: &str| Err(RpcError::invalid_params(format!("id: {why}")));
    match found {
        Some(channel) if CLOSABLE.contains(&channel.state) => Ok(channel.dbid),
        Some(channel) => wrong(&format!("Channel in state {}", channel.state)),
        None => wrong(missing),
    }
}

fn of_peer(node: &Node, all: &[Summary], peer: NodeId) -> Result<ChannelDbid, RpcError> {
    let closable = |s: &&Summary| s.peer == peer && CLOSABLE.contains(&s.state);
    let open = all.iter().filter(closable).map(|s| s.dbid);
    let openings = node.channels.openings().into_iter();
    let opening = openings.filter(|(_, whose)| *whose == peer);
    let mut theirs: Vec<ChannelDbid> = open.collect();
    if theirs.is_empty() {
        theirs = opening.map(|(dbid, _)| dbid).collect();
    }
    match theirs.as_slice() {
        [one] => Ok(*one),
        [] => Err(failed("Peer has no active channel")),
        _ => Err(failed(
            "Peer has multiple channels: use channel_id or short_channel_id",
        )),
    }
}

/// `feerange`: lowest and highest feerate.
fn fees(node: &Node, args: &Args) -> Result<Option<CloseFees>, RpcError> {
    let Some(range): Option<Vec<Feerate>> = args.optional("feerange")? else {
        return Ok(None);
    };
    let [min, max] = range.as_slice() else {
        return Err(RpcError::invalid_params(
            "feerange: should be an array of 2 entries",
        ));
    };
    let (min, max) = (feerate(node, *min)?, feerate(node, *max)?);
    if min > max {
        return Err(RpcError::invalid_params("feerange: minimum above maximum"));
    }
    let ideal = crate::feerates::estimates(node)
        .for_purpose(lightningd_wallet::Purpose::MutualClose)
        .unwrap_or(FeeratePerKw::FLOOR);
    Ok(Some(CloseFees {
        ideal: ideal.clamp(min, max),
        min,
        max,
    }))
}

fn shown(closed: &Closed) -> Value {
    let with = |kind: &str, tx: &Transaction| {
        json!({
            "type": kind,
            "txs": [bitcoin::consensus::encode::serialize_hex(tx)],
            "txids": [tx.compute_txid().to_string()],
        })
    };
    match closed {
        Closed::Mutual(tx) => with("mutual", tx),
        Closed::Unilateral(tx) => with("unilateral", tx),
        Closed::Unopened => json!({"type": "unopened"}),
    }
}
