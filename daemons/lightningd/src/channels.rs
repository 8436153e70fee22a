//! Which channels there are, how to reach them, and how new ones begin.
//!
//! The directory is a name service: it maps names to mailboxes and holds the last summary that
//! each channel published. A channel's state is its own task's alone.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use channel::action::{Identity, OpenRequest};
use channel::opening::Accepter;
use ipc_messages::hsm::ctl::NewChannel;
use ipc_messages::lightningd_channeld::Begin;
use rand::Rng;
use tokio::sync::{mpsc, watch};
use wire::{ChannelDbid, ChannelId, Message, MilliSatoshi, NodeId, ShortChannelId};

use crate::channel::{Channel, Mail, OpenJob, Stage, policy};
use crate::node::Node;
use crate::store::channels::Stored;
use crate::wallet::{NewAddress, WalletError};

/// Channels that have no confirmed funding, at most so many a peer.
const MAX_PENDING_PER_PEER: usize = 10;
/// And so many of all peers: another name costs nothing.
const MAX_PENDING: usize = 200;

/// What a channel publishes about itself for those who choose among channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub dbid: ChannelDbid,
    pub peer: NodeId,
    pub channel_id: Option<ChannelId>,
    pub scid: Option<ShortChannelId>,
    /// The alias that the peer gave us: what routes over this channel call it before it has a scid.
    pub remote_alias: Option<ShortChannelId>,
    /// Our alias for it: what others' route hints call it.
    pub local_alias: ShortChannelId,
    /// CLN's name of its state.
    pub state: &'static str,
    /// Takes HTLCs now.
    pub usable: bool,
    /// Its funding transaction is not deep enough yet.
    pub pending: bool,
    pub anchors: bool,
    pub capacity: MilliSatoshi,
    pub spendable: MilliSatoshi,
    pub receivable: MilliSatoshi,
    /// What could be spent if all that is in flight ended now: what comes in as paid, what goes
    /// out as gone, unless they have failed. Nothing, unless the channel is in normal operation.
    pub prospect: MilliSatoshi,
    /// Smallest HTLC that the peer accepts.
    pub htlc_minimum: MilliSatoshi,
    /// What the peer's channel_update says of its direction, for route hints.
    pub peer_update: Option<wire::messages::ChannelUpdate>,
}

/// A channel's mailbox. Bounded by construction: HTLCs are limited by the channels, everything
/// else is asked by callers who wait.
pub type Mailbox = mpsc::UnboundedSender<Mail>;

#[derive(Default)]
struct Names {
    channels: HashMap<ChannelDbid, (Mailbox, NodeId, Option<Summary>)>,
    by_scid: HashMap<ShortChannelId, ChannelDbid>,
}

/// The name service.
#[derive(Default)]
pub struct Directory {
    names: RwLock<Names>,
    /// Something was published.
    changed: watch::Sender<()>,
}

impl Directory {
    fn read<T>(&self, f: impl FnOnce(&Names) -> T) -> T {
        f(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Names) -> T) -> T {
        f(&mut self.names.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn add(&self, dbid: ChannelDbid, peer: NodeId, mailbox: Mailbox) {
        self.write(|names| drop(names.channels.insert(dbid, (mailbox, peer, None))));
    }

    pub fn remove(&self, dbid: ChannelDbid) {
        self.write(|names| {
            names.channels.remove(&dbid);
            names.by_scid.retain(|_, named| *named != dbid);
        });
    }

    /// Publishes what others choose by.
    pub fn publish(&self, summary: Summary) {
        self.write(|names| {
            let dbid = summary.dbid;
            for scid in [summary.scid, Some(summary.local_alias)]
                .into_iter()
                .flatten()
            {
                names.by_scid.insert(scid, dbid);
            }
            if let Some((_, _, slot)) = names.channels.get_mut(&dbid) {
                *slot = Some(summary);
            }
        });
        self.changed.send_replace(());
    }

    /// Tells of all that is published from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub fn tell(&self, dbid: ChannelDbid, mail: Mail) {
        self.read(|names| {
            if let Some((mailbox, _, _)) = names.channels.get(&dbid) {
                let _ = mailbox.send(mail);
            }
        });
    }

    pub fn tell_all(&self, mail: Mail) {
        self.read(|names| {
            for (mailbox, _, _) in names.channels.values() {
                if let Some(copy) = mail.copy() {
                    let _ = mailbox.send(copy);
                }
            }
        });
    }

    pub fn tell_peer(&self, peer: NodeId, mail: &Mail) {
        self.read(|names| {
            for (mailbox, whose, _) in names.channels.values() {
                if let (true, Some(copy)) = (*whose == peer, mail.copy()) {
                    let _ = mailbox.send(copy);
                }
            }
        });
    }

    /// Channels that are being opened and have nothing to publish yet.
    #[must_use]
    pub fn openings(&self) -> Vec<(ChannelDbid, NodeId)> {
        self.read(|names| {
            let opening = names.channels.iter().filter(|(_, (_, _, s))| s.is_none());
            let mut all: Vec<_> = opening.map(|(id, (_, peer, _))| (*id, *peer)).collect();
            all.sort_unstable_by_key(|(id, _)| *id);
            all
        })
    }

    #[must_use]
    pub fn mailboxes(&self) -> Vec<(ChannelDbid, NodeId, Mailbox)> {
        self.read(|names| {
            let mut all: Vec<_> = names
                .channels
                .iter()
                .map(|(id, (m, peer, _))| (*id, *peer, m.clone()))
                .collect();
            all.sort_by_key(|(id, _, _)| *id);
            all
        })
    }

    #[must_use]
    pub fn summaries(&self) -> Vec<Summary> {
        self.read(|names| {
            names
                .channels
                .values()
                .filter_map(|(_, _, summary)| summary.clone())
                .collect()
        })
    }

    /// By its real short_channel_id or our alias.
    #[must_use]
    pub fn by_scid(&self, scid: ShortChannelId) -> Option<Summary> {
        self.read(|names| {
            let dbid = names.by_scid.get(&scid)?;
            names
                .channels
                .get(dbid)
                .and_then(|(_, _, summary)| summary.clone())
        })
    }

    /// Why no further channel may be pending.
    fn too_many_pending(&self, peer: NodeId) -> Option<&'static str> {
        self.read(|names| {
            let all = names.channels.values();
            let pending = all.filter(|(_, _, s)| s.as_ref().is_none_or(|s| s.pending));
            let peers: Vec<NodeId> = pending.map(|(_, peer, _)| *peer).collect();
            let of_it = peers.iter().filter(|other| **other == peer).count();
            match (of_it < MAX_PENDING_PER_PEER, peers.len() < MAX_PENDING) {
                (false, _) => Some("too many channels of yours are pending"),
                (true, false) => Some("too many channels are pending here"),
                (true, true) => None,
            }
        })
    }
}

/// A peer's open_channel: allocates keys and starts a channel, or answers with an error.
pub fn accept(node: Arc<Node>, peer: NodeId, open_channel: Message) {
    tokio::spawn(async move {
        let Some(temporary) = open_channel.channel_id() else {
            return;
        };
        let refuse = |text: &str| node.peers.send(peer, crate::peers::error(temporary, text));
        if !node.chain.view().synced {
            return refuse("we are not synced with the chain yet");
        }
        if let Some(why) = node.channels.too_many_pending(peer) {
            return refuse(why);
        }
        if let Message::OpenChannel(open) = &open_channel
            && let Err(fault) = Accepter::judge(peer, node.chain_hash, policy(&node), open)
        {
            tracing::info!(%peer, "its open_channel is refused: {fault}");
            return refuse(&fault.to_string());
        }
        let (identity, dbid) = match identity(&node, peer).await {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%peer, "cannot accept a channel: {error}");
                return refuse("internal error");
            }
        };
        // Others may have come while hsmd was asked.
        if let Some(why) = node.channels.too_many_pending(peer) {
            node.hsm.forget(dbid).await;
            return refuse(why);
        }
        let begin = Begin::Accept {
            identity,
            open_channel: Box::new(open_channel),
        };
        Channel::start(
            node,
            dbid,
            peer,
            begin,
            Stage::Opening(None),
            vec![temporary],
        );
    });
}

/// Why a channel could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Hsm(#[from] crate::hsm::HsmError),
    #[error(transparent)]
    Wallet(#[from] WalletError),
}

/// Begins a channel of ours; `job` learns how it went.
///
/// # Errors
/// hsmd refuses a channel.
pub async fn open(
    node: Arc<Node>,
    peer: NodeId,
    mut request: OpenRequest,
    job: OpenJob,
) -> Result<ChannelDbid, BeginError> {
    request.temporary_channel_id = ChannelId(rand::thread_rng().r#gen());
    let temporary = request.temporary_channel_id;
    let (identity, dbid) = identity(&node, peer).await?;
    let begin = Begin::Open { identity, request };
    Channel::start(
        node,
        dbid,
        peer,
        begin,
        Stage::Opening(Some(job)),
        vec![temporary],
    );
    Ok(dbid)
}

async fn identity(node: &Node, peer: NodeId) -> Result<(Identity, ChannelDbid), BeginError> {
    let new = node.hsm.new_channel(peer).await?;
    let dbid = new.channel;
    Ok((adopt(node, peer, new).await?, dbid))
}

/// Takes over what hsmd has allocated for a channel.
///
/// # Errors
/// The database cannot be written.
pub async fn adopt(node: &Node, peer: NodeId, new: NewChannel) -> Result<Identity, WalletError> {
    node.wallet
        .adopt(NewAddress {
            index: new.shutdown_index,
            p2wpkh: new.shutdown_p2wpkh,
            p2tr: new.shutdown_p2tr.clone(),
        })
        .await?;
    Ok(Identity {
        dbid: new.channel,
        peer,
        chain_hash: node.chain_hash,
        funding_pubkey: new.funding_pubkey,
        basepoints: new.basepoints,
        first_points: new.first_points,
        shutdown_script: new.shutdown_p2tr,
        alias: random_alias(),
    })
}

/// BOLT 2, channel_ready: an alias is no existing short_channel_id. A block height far in the
/// future makes it so.
fn random_alias() -> ShortChannelId {
    let random: u64 = rand::thread_rng().r#gen();
    ShortChannelId(0xff_0000_u64 << 40 | random & 0x00ff_ffff_ffff_ffff)
}

/// At the start of the node: every stored channel goes on.
pub fn resume(node: &Arc<Node>, stored: Vec<Stored>) {
    for (record, htlcs) in stored {
        let (dbid, peer) = (record.live.dbid, record.live.peer);
        let ids = vec![record.live.channel_id];
        let live = Box::new(record.live.clone());
        let begin = Begin::Resume {
            live,
            htlcs: htlcs.clone(),
        };
        let stage = Stage::Open(Box::new(record), htlcs.into_iter().collect());
        Channel::start(node.clone(), dbid, peer, begin, stage, ids);
    }
}
