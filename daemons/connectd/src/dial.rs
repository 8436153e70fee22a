//! Connecting to a peer: its addresses one after the other, again and again if it is kept.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ipc_messages::lightningd_connectd::Resolved;
use nix::errno::Errno;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::greet::{Met, greet};
use crate::handshake;
use crate::node::Node;
use crate::peer::Peer;

/// How many of the addresses that one name gives are tried.
const RESOLVED: usize = 4;

/// Runs while somebody wants the peer connected and it is not. One such task for a peer.
pub async fn run(node: Rc<Node>, peer: Rc<Peer>, mut pause: Duration) {
    node.open.wait().await;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = peer.hurry.notified() => {}
        }
        if !peer.is_to_be_dialled() {
            break;
        }
        let requests = peer.requests();
        // lightningd has a limit of its own for what its users ask, and they wait for it.
        let _permit = match requests.is_empty() {
            true => node.dials.acquire().await.ok(),
            false => None,
        };
        match pass(&node, &peer).await {
            Ok(()) if peer.is_live() => break,
            Ok(()) => {}
            Err(reasons) => {
                tracing::debug!(peer = %peer.id, "cannot connect: {}", reasons.join("; "));
                node.connect_failed(&peer, &requests, &reasons);
            }
        }
        pause = match peer.requests().is_empty() {
            true => peer.pause(),
            // Asked for meanwhile.
            false => Duration::ZERO,
        };
    }
    peer.set_dialling(false);
    node.prune(&peer);
}

/// Each address once; ends as soon as the peer is connected, whoever did it. Else gives a line for
/// each.
async fn pass(node: &Rc<Node>, peer: &Rc<Peer>) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    for address in peer.addresses() {
        for (address, found) in resolve(node, &address).await {
            if peer.is_live() {
                return Ok(());
            }
            let tried = match found {
                Ok(found) => attempt(node, peer, found).await,
                Err(why) => Err(why),
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(why) => reasons.push(format!("{address}: {why}")),
            }
        }
    }
    if reasons.is_empty() {
        reasons.push("Unable to connect, no address known for peer".to_owned());
    }
    Err(reasons)
}

type Found = (String, Result<SocketAddr, String>);

/// What host:port stands for. Each with its name for people.
async fn resolve(node: &Node, address: &str) -> Vec<Found> {
    if let Ok(found) = address.parse() {
        return vec![(address.to_owned(), Ok(found))];
    }
    let failed = |why: String| vec![(address.to_owned(), Err(why))];
    if address
        .rsplit_once(':')
        .is_some_and(|(host, _)| host.ends_with(".onion"))
    {
        return failed("Tor is not supported".to_owned());
    }
    match timeout(node.limits.dial_within, node.names.resolve(address)).await {
        Ok(Resolved::Addresses(found)) => {
            let found: Vec<Found> = found
                .into_iter()
                .take(RESOLVED)
                .map(|found| (found.to_string(), Ok(found)))
                .collect();
            match found.is_empty() {
                true => failed("Name resolution: no address".to_owned()),
                false => found,
            }
        }
        Ok(Resolved::Failed { why }) => failed(format!("Name resolution: {why}")),
        Err(_) => failed("Name resolution: timed out".to_owned()),
    }
}

/// One address. Names the stage at which it failed, in the words of Core Lightning.
async fn attempt(node: &Rc<Node>, peer: &Rc<Peer>, address: SocketAddr) -> Result<(), String> {
    let limits = &node.limits;
    let stage = |stage: &str, why: String| format!("{stage}: {why}");
    let establish = "Connection establishment";
    let mut stream = match timeout(limits.dial_within, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(stage(establish, words(&error))),
        Err(_) => return Err(stage(establish, "Connection timed out".to_owned())),
    };
    let _ = stream.set_nodelay(true);
    let shake = handshake::initiate(&mut stream, &node.hsm, node.id, peer.id);
    let transport = match timeout(limits.handshake_within, shake).await {
        Ok(Ok(transport)) => transport,
        Ok(Err(error)) => return Err(stage("Cryptographic handshake", error.to_string())),
        Err(_) => return Err(stage("Cryptographic handshake", "timed out".to_owned())),
    };
    let met = Met {
        stream,
        transport,
        peer: peer.id,
        address,
        seat: None,
    };
    match greet(node, met).await {
        Ok(()) => Ok(()),
        Err(error) => Err(stage("Exchanging init messages", error.to_string())),
    }
}

/// The system's words without its number: `Connection refused`.
#[must_use]
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
