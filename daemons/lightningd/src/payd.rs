//! The mailbox of payd: routes and what errors say.

use std::collections::HashMap;
use std::sync::Arc;

use ipc_messages::lightningd_payd::{PaymentOnion, Routed, ToLightningd, ToPayd};
use routing::{NoRoute, RouteRequest};
use tokio::sync::mpsc;

use crate::mailbox::{self, Asks, Reply};
use crate::node::{Node, Stop};
use crate::subdaemons::{Restarts, payd};

/// How many requests may wait.
const QUEUE: usize = 1024;

enum Ask {
    Route(
        Box<RouteRequest>,
        PaymentOnion,
        Reply<Result<Box<Routed>, NoRoute>>,
    ),
    ReadError(
        Vec<onion::SharedSecret>,
        Vec<u8>,
        Reply<Option<(usize, onion::Failure)>>,
    ),
}

enum Waiting {
    Route(Reply<Result<Box<Routed>, NoRoute>>),
    Error(Reply<Option<(usize, onion::Failure)>>),
}

#[derive(Clone)]
pub struct Handle(Asks<Ask>);

pub struct Mailbox(mpsc::Receiver<Ask>);

#[must_use]
pub fn mailbox() -> (Handle, Mailbox) {
    let (asks, mail) = mailbox::mailbox(QUEUE);
    (Handle(asks), Mailbox(mail))
}

impl Handle {
    /// `None` if payd died meanwhile: ask again.
    pub async fn route(
        &self,
        find: RouteRequest,
        payment: PaymentOnion,
    ) -> Option<Result<Box<Routed>, NoRoute>> {
        self.0
            .ask(|reply| Ask::Route(Box::new(find), payment, reply))
            .await
    }

    /// Which hop failed and why, if the error can be read. The outer `None` if payd died meanwhile:
    /// ask again.
    pub async fn read_error(
        &self,
        secrets: Vec<onion::SharedSecret>,
        reason: Vec<u8>,
    ) -> Option<Option<(usize, onion::Failure)>> {
        self.0
            .ask(|reply| Ask::ReadError(secrets, reason, reply))
            .await
    }
}

/// Runs until the node stops. payd is restarted when it dies; who waits is told to ask again.
pub async fn run(node: Arc<Node>, Mailbox(mut asks): Mailbox, mut link: payd::Link) {
    let mut waiting: HashMap<u64, Waiting> = HashMap::new();
    let mut next = 0_u64;
    let mut restarts = Restarts::default();
    loop {
        tokio::select! {
            _ = node.stopped() => break,
            ask = asks.recv() => {
                let Some(ask) = ask else { break };
                next += 1;
                let (message, who) = request(next, ask);
                waiting.insert(next, who);
                let _ = link.to.send(&message).await;
            }
            said = link.from.recv() => match said {
                Ok(said) => answer(&mut waiting, said),
                Err(error) => {
                    if node.is_stopping() {
                        break;
                    }
                    let how = link.process.ended().await;
                    tracing::warn!("payd {how} ({error}); starting it again");
                    waiting.clear();
                    restarts.pause().await;
                    match node.subdaemons.payd().await {
                        Ok(new) => link = new,
                        Err(error) => {
                            node.stop(Stop::Fatal(format!("payd cannot be started: {error}")));
                        }
                    }
                }
            },
        }
    }
    let _ = link.to.send(&ToPayd::Stop).await;
}

fn request(request: u64, ask: Ask) -> (ToPayd, Waiting) {
    match ask {
        Ask::Route(find, payment, reply) => (
            ToPayd::Route {
                request,
                find,
                payment,
            },
            Waiting::Route(reply),
        ),
        Ask::ReadError(secrets, reason, reply) => (
            ToPayd::ReadError {
                request,
                secrets,
                reason,
            },
            Waiting::Error(reply),
        ),
    }
}

fn answer(waiting: &mut HashMap<u64, Waiting>, said: ToLightningd) {
    match said {
        ToLightningd::Route { request, found } => {
            if let Some(Waiting::Route(reply)) = waiting.remove(&request) {
                let _ = reply.send(found);
            }
        }
        ToLightningd::Error { request, error } => {
            if let Some(Waiting::Error(reply)) = waiting.remove(&request) {
                let _ = reply.send(error);
            }
        }
    }
}
