//! Peers: connect, disconnect, listpeers, ping.

use std::collections::BTreeSet;
use std::sync::Arc;

use lightningd_options::LogLevel;
use lightningd_rpc::{Args, Context, RpcError, code};
use serde_json::{Value, json};
use wire::NodeId;

use super::{Outcome, addresses, error, failed};
use crate::node::Node;
use crate::peers::Peer;

/// States in which a channel needs its peer.
const TALKING: [&str; 4] = [
    "CHANNELD_AWAITING_LOCKIN",
    "CHANNELD_NORMAL",
    "CHANNELD_SHUTTING_DOWN",
    "CLOSINGD_SIGEXCHANGE",
];

pub async fn connect(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let (peer, address) = whom(&node, &args)?;
    if peer == node.id {
        return Err(failed("cannot connect to ourselves"));
    }
    let found = reach(&node, peer, address).await?;
    Ok(json!({
        "id": peer.to_string(),
        "features": hex::encode(&found.features),
        "direction": if found.inbound { "in" } else { "out" },
        "address": addresses::shown(&found.address),
    }))
}

/// Connects to a peer, at this address or at those known of it; nothing to do if it is connected.
pub async fn reach(node: &Node, peer: NodeId, address: Option<String>) -> Result<Peer, RpcError> {
    if let Some(connected) = node.peers.view().connected.get(&peer) {
        return Ok(connected.clone());
    }
    match node
        .peers
        .connect(peer, address.into_iter().collect())
        .await
    {
        Ok(found) => Ok(found),
        Err(reasons) if reasons.is_empty() => Err(error(
            code::CONNECT_NO_KNOWN_ADDRESS,
            "Unable to connect, no address known for peer",
        )),
        Err(reasons) => Err(error(
            code::CONNECT_ALL_ADDRESSES_FAILED,
            format!("All addresses failed: {}", reasons.join(" ")),
        )),
    }
}

/// `id`, `host` and `port`: also `id@host` and `id@host:port`.
fn whom(node: &Node, args: &Args) -> Result<(NodeId, Option<String>), RpcError> {
    let given: String = args.required("id")?;
    let host: Option<String> = args.optional("host")?;
    let port: Option<u64> = args.optional("port")?;
    let (id, at) = match given.split_once('@') {
        Some((id, at)) => (id, Some(at.to_owned())),
        None => (given.as_str(), None),
    };
    let refused = |why: &str| Err(RpcError::invalid_params(why));
    let Ok(peer) = id.parse::<NodeId>() else {
        return refused("id: should be a node id");
    };
    if port == Some(0) {
        return refused("port: should be non-zero");
    }
    if at.is_some() && host.is_some() {
        return refused("Can't specify host as both xxx@yyy and separate argument");
    }
    if at.as_deref() == Some("") {
        return refused("malformed host @part");
    }
    if port.is_some() && at.as_deref().is_some_and(has_port) {
        return refused("Can't specify port as both xxx@yyy:port and separate argument");
    }
    let address = match (host.or(at), port) {
        (Some(host), Some(port)) => Some(join(&host, port)),
        (Some(host), None) if has_port(&host) => Some(host),
        (Some(host), None) => Some(join(&host, node.options.network.port().into())),
        (None, Some(_)) => return refused("Can't specify port without host"),
        (None, None) => None,
    };
    Ok((peer, address))
}

fn join(host: &str, port: u64) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn has_port(host: &str) -> bool {
    let bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let port = host.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    !bare_v6 && matches!(port, Some(Ok(_)))
}

pub async fn disconnect(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let peer: NodeId = args.required("id")?;
    let force: bool = args.required("force")?;
    let summaries = node.channels.summaries();
    if !node.peers.is_connected(peer) {
        let known = summaries.iter().any(|s| s.peer == peer);
        return Err(if known {
            failed("Peer not connected")
        } else {
            RpcError::invalid_params(format!("Unknown peer '{peer}'"))
        });
    }
    let mut theirs = summaries.iter().filter(|s| s.peer == peer);
    let talking = theirs.find(|s| TALKING.contains(&s.state));
    if let (Some(channel), false) = (talking, force) {
        let text = format!("Peer has (at least one) channel in state {}", channel.state);
        return Err(failed(text));
    }
    node.peers
        .disconnect(peer, "disconnect command".to_owned())
        .await;
    Ok(json!({}))
}

pub async fn listpeers(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let only: Option<NodeId> = args.optional("id")?;
    let level: Option<String> = args.optional("level")?;
    let view = node.peers.view();
    let channels = node.channels.mailboxes();
    let mut ids: BTreeSet<NodeId> = view.connected.keys().copied().collect();
    ids.extend(channels.iter().map(|(_, peer, _)| *peer));
    let peers = ids
        .into_iter()
        .filter(|id| only.is_none_or(|only| only == *id))
        .map(|id| {
            let count = channels.iter().filter(|(_, peer, _)| *peer == id).count();
            let log = level
                .as_deref()
                .and_then(LogLevel::from_name)
                .map(|l| log_of(&node, id, l));
            shown(id, view.connected.get(&id), count, log)
        });
    Ok(json!({ "peers": peers.collect::<Vec<_>>() }))
}

fn shown(id: NodeId, connected: Option<&Peer>, channels: usize, log: Option<Vec<Value>>) -> Value {
    let mut entry = json!({
        "id": id.to_string(),
        "connected": connected.is_some(),
        "num_channels": channels,
    });
    if let Some(object) = entry.as_object_mut() {
        if let Some(peer) = connected {
            object.insert("netaddr".to_owned(), json!([peer.address.to_string()]));
            object.insert("features".to_owned(), json!(hex::encode(&peer.features)));
        }
        if let Some(log) = log {
            object.insert("log".to_owned(), json!(log));
        }
    }
    entry
}

fn log_of(node: &Node, peer: NodeId, level: LogLevel) -> Vec<Value> {
    let excerpt = node.log.excerpt(level);
    let id = peer.to_string();
    let lines = excerpt
        .lines
        .iter()
        .filter(|line| line.peer.as_ref() == Some(&id));
    lines
        .map(|line| super::node::log_line(line, excerpt.started))
        .collect()
}

pub async fn ping(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let peer: NodeId = args.required("id")?;
    let len: u16 = args.required("len")?;
    let pong: u16 = args.required("pongbytes")?;
    // BOLT 1: type, two lengths and the bytes fit in 65535.
    if len > 65529 {
        let text = format!("{len} would result in oversize ping");
        return Err(RpcError::invalid_params(text));
    }
    if !node.peers.is_connected(peer) {
        return Err(failed("Peer not connected"));
    }
    match node.peers.ping(peer, len, pong).await {
        // BOLT 1: so many ask for no pong.
        Some(_) if pong >= 65532 => Ok(json!({ "totlen": 0 })),
        // What CLN counts: type and length besides the bytes.
        Some(bytes) => Ok(json!({ "totlen": u32::from(bytes) + 4 })),
        None => Err(failed("Ping failed: the peer did not answer")),
    }
}
