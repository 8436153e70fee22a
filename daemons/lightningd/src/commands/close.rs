//! close.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Transaction;
use channel::action::CloseFees;
use lightningd_rpc::{Args, Context, Feerate, Level, RpcError};
use lightningd_wallet::parse_address;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use wire::{ChannelDbid, ChannelId, FeeratePerKw, NodeId, ShortChannelId};

use super::{Outcome, failed, feerate};
use crate::channel::{CloseAsk, Closed, Mail};
use crate::node::Node;

pub async fn close(node: Arc<Node>, context: Context, args: Args) -> Outcome {
    let id: String = args.required("id")?;
    let timeout: u64 = args.required("unilateraltimeout")?;
    let channel = find(&node, &id)?;
    let destination: Option<String> = args.optional("destination")?;
    let destination = destination
        .map(|text| parse_address(&text, node.network))
        .transpose()
        .map_err(|why| RpcError::invalid_params(format!("destination: {why}")))?;
    if args.has("wrong_funding") {
        return Err(RpcError::invalid_params(
            "wrong_funding: not supported by this version",
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
        context.message(
            Level::Info,
            "peer is offline, will negotiate once they reconnect",
        );
    }
    // CLN: 0 waits for ever; the default is two days.
    let limit = if timeout == 0 {
        Duration::from_secs(u32::MAX.into())
    } else {
        Duration::from_secs(timeout)
    };
    let outcome = tokio::select! {
        outcome = closed => outcome.map_err(|_| failed("the channel ended meanwhile"))?,
        () = tokio::time::sleep(limit) => {
            context.message(Level::Info, "Timed out, forcing close.");
            unilateral(&node, channel).await?
        }
    };
    outcome.map(|closed| shown(&closed)).map_err(failed)
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
    closed
        .await
        .map_err(|_| failed("the channel ended meanwhile"))
}

fn is_connected(node: &Node, channel: ChannelDbid) -> bool {
    let whose = node
        .channels
        .mailboxes()
        .into_iter()
        .find(|(dbid, _, _)| *dbid == channel);
    whose.is_some_and(|(_, peer, _)| node.peers.is_connected(peer))
}

/// By peer (which must have one channel only), channel id or short_channel_id.
fn find(node: &Node, id: &str) -> Result<ChannelDbid, RpcError> {
    let all = node.channels.mailboxes();
    if let Ok(peer) = id.parse::<NodeId>() {
        let mut theirs = all.iter().filter(|(_, whose, _)| *whose == peer);
        return match (theirs.next(), theirs.next()) {
            (Some((dbid, _, _)), None) => Ok(*dbid),
            (Some(_), Some(_)) => Err(failed(
                "Peer has multiple channels: use channel_id or short_channel_id",
            )),
            (None, _) => Err(failed("Peer has no active channel")),
        };
    }
    let summaries = node.channels.summaries();
    let by = |f: &dyn Fn(&crate::channels::Summary) -> bool| {
        summaries.iter().find(|s| f(s)).map(|s| s.dbid)
    };
    if let Ok(wanted) = id.parse::<ChannelId>() {
        return by(&|s| s.channel_id == Some(wanted))
            .ok_or_else(|| failed(format!("Unknown channel ID {wanted}")));
    }
    if let Ok(wanted) = id.parse::<ShortChannelId>() {
        let found = by(&|s| s.scid == Some(wanted) || s.local_alias == wanted);
        return found.ok_or_else(|| failed(format!("Short channel ID not active: '{wanted}'")));
    }
    Err(RpcError::invalid_params(
        "id: should be a channel ID or short channel ID",
    ))
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
