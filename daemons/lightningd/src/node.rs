//! What every actor and every RPC command can reach: handles, not state.

use std::sync::Arc;

use lightningd_db::Db;
use lightningd_options::Options;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use wire::{ChainHash, NodeId};

use crate::{
    backup, chain, channels, forwards, hsm, invoices, logbook, payd, payments, peers, subdaemons,
    wallet,
};

/// Fixed facts and the actors' mailboxes.
pub struct Node {
    pub options: Options,
    pub id: NodeId,
    pub network: bitcoin::Network,
    pub chain_hash: ChainHash,
    pub db: Db,
    pub log: logbook::LogBook,
    pub subdaemons: subdaemons::Launcher,
    pub hsm: hsm::Hsm,
    pub chain: chain::Handle,
    pub wallet: wallet::Handle,
    pub peers: peers::Handle,
    pub channels: channels::Directory,
    pub invoices: invoices::Handle,
    pub payments: payments::Payments,
    pub forwards: forwards::Forwards,
    pub payd: payd::Handle,
    pub backup: backup::Handle,
    /// Every task that must end before the database closes.
    pub tasks: TaskTracker,
    stop: watch::Sender<Option<Stop>>,
}

/// Why the node ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `stop`, SIGTERM or SIGINT.
    Asked,
    /// Going on could lose money or tell lies: what happened, for the owner.
    Fatal(String),
}

/// All that a node is made of besides its stop switch.
pub struct Parts {
    pub options: Options,
    pub id: NodeId,
    pub network: bitcoin::Network,
    pub chain_hash: ChainHash,
    pub db: Db,
    pub log: logbook::LogBook,
    pub subdaemons: subdaemons::Launcher,
    pub hsm: hsm::Hsm,
    pub chain: chain::Handle,
    pub wallet: wallet::Handle,
    pub peers: peers::Handle,
    pub invoices: invoices::Handle,
    pub payd: payd::Handle,
    pub backup: backup::Handle,
    pub stop: watch::Sender<Option<Stop>>,
}

impl Node {
    #[must_use]
    pub fn new(
        parts: Parts,
        payments: payments::Payments,
        forwards: forwards::Forwards,
    ) -> Arc<Node> {
        Arc::new(Node {
            options: parts.options,
            id: parts.id,
            network: parts.network,
            chain_hash: parts.chain_hash,
            db: parts.db,
            log: parts.log,
            subdaemons: parts.subdaemons,
            hsm: parts.hsm,
            chain: parts.chain,
            wallet: parts.wallet,
            peers: parts.peers,
            channels: channels::Directory::default(),
            invoices: parts.invoices,
            payments,
            forwards,
            payd: parts.payd,
            backup: parts.backup,
            tasks: TaskTracker::new(),
            stop: parts.stop,
        })
    }

    /// Ends the node in order. The first reason counts.
    pub fn stop(&self, why: Stop) {
        self.stop.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                if let Stop::Fatal(reason) = &why {
                    tracing::error!("stopping: {reason}");
                }
                *now = Some(why);
            }
            first
        });
    }

    /// A database that fails is never written again: no state may be promised on top of it.
    pub fn database_failed(&self, error: &lightningd_db::DbError) {
        self.stop(Stop::Fatal(format!(
            "the database cannot be written: {error}"
        )));
    }

    /// Completes when the node is to end.
    pub async fn stopped(&self) -> Stop {
        let mut seen = self.stop.subscribe();
        match seen.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or(Stop::Asked),
            Err(_) => Stop::Asked,
        }
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }
}
