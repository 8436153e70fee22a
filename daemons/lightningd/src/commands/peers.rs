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

pub async fn connect(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let id: String = args.required("id")?;
    let host: Option<String> = args.optional("host")?;
    let port: Option<u64> = args.optional("port")?;
    let (id, at) = match id.split_once('@') {
        Some((id, at)) => (id.to_owned(), Some(at.to_owned())),
        None => (id, None),
    };
    let peer: NodeId = id
        .parse()
        .map_err(|_| RpcError::invalid_params("id: should be a node id, not 'invalid token'"))?;
    if at.is_some() && host.is_some() {
        return Err(RpcError::invalid_params(
            "Can't specify host as both xxx@yyy and separate argument",
        ));
    }
    let address = match (host.or(at), port) {
        (Some(host), Some(port)) => Some(join(&host, port)),
        (Some(host), None) => Some(with_default_port(&host, node.options.network.port())),
        (None, Some(_)) => return Err(RpcError::invalid_params("Can't specify port without host")),
        (None, None) => None,
    };
    if peer == node.id {
        return Err(failed("cannot connect to ourselves"));
    }
    let known = node
        .peers
        .connect(peer, address.clone().into_iter().collect())
        .await;
    match known {
        Ok(found) => Ok(json!({
            "id": peer.to_string(),
            "features": hex::encode(&found.features),
            "direction": if found.inbound { "in" } else { "out" },
            "address": addresses::shown(&found.address),
        })),
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

fn join(host: &str, port: u64) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn with_default_port(host: &str, port: u16) -> String {
    let bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let has_port = !bare_v6
        && host
            .rsplit_once(':')
            .is_some_and(|(_, p)| p.parse::<u16>().is_ok());
    if has_port {
        host.to_owned()
    } else {
        join(host, port.into())
    }
}

pub async fn disconnect(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let peer: NodeId = args.required("id")?;
    let force: bool = args.required("force")?;
    if !node.peers.is_connected(peer) {
        return Err(failed("Peer not connected"));
    }
    let active = node
        .channels
        .summaries()
        .into_iter()
        .any(|s| s.peer == peer && s.usable);
    if active && !force {
        return Err(failed(
            "Peer has (at least one) channel in state CHANNELD_NORMAL",
        ));
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
    let len: u64 = args.required("len")?;
    let pong: u64 = args.required("pongbytes")?;
    let too_big =
        |what| RpcError::invalid_params(format!("{what} would result in oversize message"));
    // BOLT 1: type, two lengths and the bytes fit in 65535; 65532 and more ask for no pong.
    let len = u16::try_from(len)
        .ok()
        .filter(|len| *len <= 65529)
        .ok_or_else(|| too_big("len"))?;
    let pong = u16::try_from(pong).map_err(|_| too_big("pongbytes"))?;
    if !node.peers.is_connected(peer) {
        return Err(failed("Peer not connected"));
    }
    match node.peers.ping(peer, len, pong).await {
        // What CLN counts: type and length besides the bytes.
        Some(bytes) => Ok(json!({ "totlen": u32::from(bytes) + 4 })),
        None if pong >= 65532 => Ok(json!({ "totlen": 0 })),
        None => Err(failed("Ping failed: the peer did not answer")),
    }
}
