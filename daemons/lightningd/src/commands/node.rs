//! The node itself: getinfo, stop, getlog, listconfigs, feerates.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lightningd_options::{Host, LogLevel};
use lightningd_rpc::{Args, Context, RpcError};
use lightningd_wallet::{FeerateEstimates, Purpose};
use serde_json::{Map, Value, json};
use tx::fees::htlc_weight;
use tx::setup::CommitmentFormat;
use wire::{FeeratePerKw, NodeId};

use super::{Outcome, addresses};
use crate::logbook::{Line, MAX_BYTES};
use crate::node::{Node, Stop};
use crate::process::VERSION;

/// Weights that CLN's estimates are made with: a funding transaction with one P2WPKH input and a
/// change output, a mutual close with two outputs, a commitment with anchors and both balances,
/// and one without anchors and with one balance.
const OPENING_WEIGHT: u64 = 702;
const CLOSE_WEIGHT: u64 = 673;
const ANCHOR_COMMITMENT_WEIGHT: u64 = 1112;
const OLD_COMMITMENT_WEIGHT: u64 = 598;

/// States of channels that CLN counts as active, with or without their peer.
const ACTIVE: [&str; 3] = [
    "CHANNELD_NORMAL",
    "CHANNELD_SHUTTING_DOWN",
    "CLOSINGD_SIGEXCHANGE",
];

pub async fn getinfo(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    let view = node.chain.view();
    let peers = node.peers.view();
    let channels = node.channels.summaries();
    let count = |states: &[&str]| {
        channels
            .iter()
            .filter(|s| states.contains(&s.state))
            .count()
    };
    let pending = count(&["CHANNELD_AWAITING_LOCKIN"]);
    let active = count(&ACTIVE);
    let mut known: BTreeSet<NodeId> = channels.iter().map(|s| s.peer).collect();
    known.extend(peers.connected.keys());
    let options = &node.options;
    let mut info = json!({
        "id": node.id.to_string(),
        "alias": alias(&node),
        "color": hex::encode(color(&node)),
        "num_peers": known.len(),
        "num_pending_channels": pending,
        "num_active_channels": active,
        "num_inactive_channels": channels.len() - active - pending,
        "address": options.connections.announced().filter_map(announced).collect::<Vec<_>>(),
        "binding": peers.listening.iter().map(addresses::shown).collect::<Vec<_>>(),
        "version": VERSION,
        "blockheight": view.height.0,
        "network": options.network.name(),
        "fees_collected_msat": node.forwards.collected().0,
        "lightning-dir": options.network_dir.display().to_string(),
        "our_features": {
            "init": hex::encode(crate::features::init()),
            "node": hex::encode(crate::features::node()),
            "channel": "",
            "invoice": hex::encode(crate::features::invoice()),
        },
    });
    if let Some(object) = info.as_object_mut() {
        warnings(object, &view);
    }
    Ok(info)
}

fn warnings(info: &mut Map<String, Value>, view: &crate::chain::View) {
    if let Some(why) = &view.waiting {
        info.insert("warning_bitcoind_sync".to_owned(), json!(why));
    } else if let Some((blocks, headers)) = view.backend {
        let text = format!("Bitcoind is not up-to-date with network: block {blocks} of {headers}");
        info.insert("warning_bitcoind_sync".to_owned(), json!(text));
    } else if !view.synced {
        let text = "Still loading latest blocks from bitcoind.";
        info.insert("warning_lightningd_sync".to_owned(), json!(text));
    }
}

/// As in CLN: colour first from the node id, and a made-up name.
fn alias(node: &Node) -> String {
    let default = || {
        format!(
            "BULKHEAD-{}",
            hex::encode(&node.id.0.serialize()[..4]).to_uppercase()
        )
    };
    node.options.alias.clone().unwrap_or_else(default)
}

fn color(node: &Node) -> [u8; 3] {
    let id = node.id.0.serialize();
    node.options.color.unwrap_or([id[0], id[1], id[2]])
}

fn announced(address: &lightningd_options::Address) -> Option<Value> {
    match &address.host {
        Host::Ip(ip) => Some(addresses::shown(&(*ip, address.port).into())),
        Host::Dns(name) => Some(json!({"type": "dns", "address": name, "port": address.port})),
        Host::Name(_) | Host::Any => None,
    }
}

pub async fn stop(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    node.stop(Stop::Asked);
    Ok(json!({"result": "Shutdown complete"}))
}

pub async fn getlog(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let level: String = args.required("level")?;
    let level = LogLevel::from_name(&level)
        .ok_or_else(|| RpcError::invalid_params(format!("level: unknown level '{level}'")))?;
    let excerpt = node.log.excerpt(level);
    let mut log = Vec::with_capacity(excerpt.lines.len() + 1);
    if excerpt.skipped > 0 {
        log.push(json!({"type": "SKIPPED", "num_skipped": excerpt.skipped}));
    }
    log.extend(
        excerpt
            .lines
            .iter()
            .map(|line| log_line(line, excerpt.started)),
    );
    Ok(json!({
        "created_at": stamp(excerpt.started),
        "bytes_used": excerpt.bytes_used,
        "bytes_max": MAX_BYTES,
        "log": log,
    }))
}

pub fn log_line(line: &Line, started: Duration) -> Value {
    let mut entry = json!({
        "type": match line.level {
            LogLevel::Io => "IO_OUT",
            LogLevel::Trace => "TRACE",
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Unusual => "UNUSUAL",
            LogLevel::Broken => "BROKEN",
        },
        "time": stamp(line.at.saturating_sub(started)),
        "source": line.source,
        "log": line.text,
    });
    if let (Some(object), Some(peer)) = (entry.as_object_mut(), &line.peer) {
        object.insert("node_id".to_owned(), json!(peer));
    }
    entry
}

/// Seconds with nine decimals, as CLN writes times in `getlog`.
fn stamp(at: Duration) -> String {
    format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
}

pub async fn listconfigs(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let config: Option<String> = args.optional("config")?;
    let configs = node.options.listconfigs(config.as_deref());
    configs.map_err(|error| RpcError::invalid_params(format!("config: {error}")))
}

pub async fn feerates(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let style: String = args.required("style")?;
    let estimates = crate::feerates::estimates(&node);
    let scale: fn(FeeratePerKw) -> u32 = match style.as_str() {
        "perkw" => |rate| rate.0,
        _ => |rate| rate.0.saturating_mul(4),
    };
    let mut rates = json!({
        "min_acceptable": scale(estimates.min_acceptable()),
        "max_acceptable": scale(estimates.max_acceptable(crate::feerates::MAX_MULTIPLIER)),
        "floor": scale(estimates.floor()),
        "estimates": estimates.estimates().map(|(blocks, rate, smoothed)| json!({
            "blockcount": blocks,
            "feerate": scale(rate),
            "smoothed_feerate": scale(smoothed),
        })).collect::<Vec<_>>(),
    });
    let purposes = [
        Purpose::Opening,
        Purpose::MutualClose,
        Purpose::UnilateralClose,
        Purpose::UnilateralAnchorClose,
        Purpose::Penalty,
    ];
    for purpose in purposes {
        if let (Some(rate), Some(object)) = (estimates.for_purpose(purpose), rates.as_object_mut())
        {
            object.insert(purpose.word().to_owned(), json!(scale(rate)));
        }
    }
    let mut reply = json!({ style: rates });
    if let Some(object) = reply.as_object_mut() {
        match onchain(&estimates) {
            Some(costs) => object.insert("onchain_fee_estimates".to_owned(), costs),
            None => object.insert(
                "warning_missing_feerates".to_owned(),
                json!("Some fee estimates unavailable: bitcoind startup?"),
            ),
        };
    }
    Ok(reply)
}

/// What typical transactions would cost; `None` without estimates.
fn onchain(estimates: &FeerateEstimates) -> Option<Value> {
    use tx::HtlcKind;
    let opening = estimates.for_purpose(Purpose::Opening)?;
    let close = estimates.for_purpose(Purpose::MutualClose)?;
    let unilateral = estimates.for_purpose(Purpose::UnilateralClose)?;
    let anchor = estimates
        .for_purpose(Purpose::UnilateralAnchorClose)
        .unwrap_or(unilateral);
    let htlc = estimates.for_purpose(Purpose::HtlcResolution)?;
    let old = CommitmentFormat::StaticRemotekey;
    Some(json!({
        "opening_channel_satoshis": opening.fee(OPENING_WEIGHT).0,
        "mutual_close_satoshis": close.fee(CLOSE_WEIGHT).0,
        "unilateral_close_satoshis": anchor.fee(ANCHOR_COMMITMENT_WEIGHT).0,
        "unilateral_close_nonanchor_satoshis": unilateral.fee(OLD_COMMITMENT_WEIGHT).0,
        "htlc_timeout_satoshis": htlc.fee(htlc_weight(old, HtlcKind::Timeout)).0,
        "htlc_success_satoshis": htlc.fee(htlc_weight(old, HtlcKind::Success)).0,
    }))
}
