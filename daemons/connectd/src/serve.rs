//! Does what lightningd says.

use std::rc::Rc;

use ipc_messages::edges::{HsmNoise, LightningdConnectd};
use ipc_messages::lightningd_connectd::{Start, ToConnectd, ToLightningd};
use ipc_transport::aio::{LowerConn, Receiver, UpperConn};
use tokio::task::{LocalSet, spawn_local};
use wire::features::Features;

use crate::hsm;
use crate::init::Ours;
use crate::limits::Limits;
use crate::listen;
use crate::node::Node;
use crate::up::Up;

/// connectd cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("lightningd's edge: {0}")]
    Lightningd(ipc_transport::Error),
    #[error("hsmd's edge: {0}")]
    Hsmd(ipc_transport::Error),
    #[error("lightningd's first message is not Start, or a later one is")]
    Start,
    #[error("a channel's socket: {0}")]
    Channel(ipc_transport::Error),
}

/// Runs until lightningd says Stop or is gone. Whatever it began has ended when it returns.
///
/// # Errors
/// lightningd or hsmd sent what it may not, or hsmd is gone.
pub async fn serve(
    lightningd: LowerConn<LightningdConnectd>,
    hsmd: UpperConn<HsmNoise>,
    limits: Limits,
) -> Result<(), ServeError> {
    LocalSet::new()
        .run_until(run(lightningd, hsmd, limits))
        .await
}

async fn run(
    lightningd: LowerConn<LightningdConnectd>,
    hsmd: UpperConn<HsmNoise>,
    limits: Limits,
) -> Result<(), ServeError> {
    let (to, mut from) = lightningd.split();
    let up = Rc::new(Up::new(to, limits.unclaimed_queue));
    let (hsm, answers) = hsm::split(hsmd);
    let start = match from.recv().await {
        Ok(ToConnectd::Start(start)) => start,
        Ok(_) => return Err(ServeError::Start),
        Err(error) if error.is_closed() => return Ok(()),
        Err(error) => return Err(ServeError::Lightningd(error)),
    };
    let node = begin(start, limits, hsm, &up);
    let done = tokio::select! {
        done = obey(&node, &mut from) => done,
        () = up.pump() => Ok(Go::Gone),
        error = answers.deliver() => Err(ServeError::Hsmd(error)),
    };
    if let Ok(Go::Stop) = done {
        node.stop().await;
        up.finish().await;
    }
    done.map(drop)
}

/// How lightningd ended it.
enum Go {
    Stop,
    Gone,
}

fn begin(start: Start, limits: Limits, hsm: hsm::Hsm, up: &Rc<Up>) -> Rc<Node> {
    let Start {
        node_id,
        chain_hash,
        features,
        listen,
        online,
    } = start;
    let ours = Ours {
        features: Features::from_bytes(&features),
        chain_hash,
    };
    let node = Rc::new(Node::new(node_id, ours, online, limits, hsm, Rc::clone(up)));
    let addresses = if online { listen } else { Vec::new() };
    match listen::bind(&addresses) {
        Ok(listeners) => {
            let listening = listeners
                .iter()
                .filter_map(|one| one.local_addr().ok())
                .collect();
            up.tell(ToLightningd::Ready { listening });
            for listener in listeners {
                spawn_local(listen::accept(Rc::clone(&node), listener));
            }
        }
        Err(reason) => up.tell(ToLightningd::StartFailed { reason }),
    }
    node
}

async fn obey(node: &Rc<Node>, from: &mut Receiver<ToConnectd>) -> Result<Go, ServeError> {
    loop {
        let said = match from.recv().await {
            Ok(said) => said,
            Err(error) if error.is_closed() => return Ok(Go::Gone),
            Err(error) => return Err(ServeError::Lightningd(error)),
        };
        match said {
            ToConnectd::Start(_) => return Err(ServeError::Start),
            ToConnectd::Open => drop(node.open.set(())),
            ToConnectd::Connect {
                request,
                peer,
                addresses,
            } => {
                node.connect(request, peer, addresses);
            }
            ToConnectd::Disconnect { peer, reason } => node.disconnect(peer, &reason),
            ToConnectd::Attach { peer, channel_ids } => {
                let socket = from.take_fd().map_err(ServeError::Lightningd)?;
                node.attach(peer, &channel_ids, socket)
                    .map_err(ServeError::Channel)?;
            }
            ToConnectd::Keep {
                peer,
                addresses,
                keep,
            } => node.keep(peer, addresses, keep),
            ToConnectd::Send { peer, data } => node.send(peer, &data),
            ToConnectd::Greet { peer, data } => node.greet(peer, data),
            ToConnectd::Ping {
                request,
                peer,
                len,
                pong_len,
            } => {
                node.ping(request, peer, len, pong_len);
            }
            ToConnectd::Resolved { request, found } => node.names.resolved(request, found),
            ToConnectd::Stop => return Ok(Go::Stop),
        }
        tokio::task::coop::consume_budget().await;
    }
}
