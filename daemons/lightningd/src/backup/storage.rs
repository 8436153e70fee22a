//! BOLT 1, Peer storage: what we keep for peers that have a channel with us, and what they keep for us.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use lightningd_db::{Batch, DbError};
use tokio::time::Instant;
use wire::messages::{PeerStorage as PeerStorageMessage, PeerStorageRetrieval};
use wire::{BlockHeight, Message, NodeId};

use super::Backup;
use crate::node::Node;
use crate::store::channels::ChannelRecord;
use crate::store::peer_storage::PeerStorage;

/// BOLT 1, peer_storage, sender: most bytes in a blob.
const MAX_BLOB: usize = 65_531;
/// BOLT 1, peer_storage, receiver: a peer has one write a minute.
const PAUSE: Duration = Duration::from_secs(60);
/// BOLT 1, peer_storage_retrieval, sender: for so many blocks after a peer's last channel its blob is kept.
const ALONE: u32 = 2016;

/// A peer's last blob.
pub(super) struct Kept {
    record: PeerStorage,
    /// Not written yet: at this time.
    due: Option<Instant>,
    /// When the last one was written.
    written: Option<Instant>,
}

pub(super) fn next_due(kept: &HashMap<NodeId, Kept>) -> Option<Instant> {
    kept.values().filter_map(|kept| kept.due).min()
}

pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What is kept for peers, at the start.
///
/// # Errors
/// The database cannot be read.
pub(super) fn load(node: &Node) -> Result<HashMap<NodeId, Kept>, DbError> {
    let mut kept = HashMap::new();
    for (key, record) in node.db.scan::<PeerStorage>()? {
        let Ok(id) = secp256k1::PublicKey::from_slice(&key) else {
            tracing::error!("a stored blob is of no node");
            continue;
        };
        greet(node, NodeId(id), record.blob.clone());
        let one = Kept {
            record,
            due: None,
            written: None,
        };
        kept.insert(NodeId(id), one);
    }
    Ok(kept)
}

fn greet(node: &Node, peer: NodeId, blob: Vec<u8>) {
    let message = Message::PeerStorageRetrieval(PeerStorageRetrieval { blob });
    node.peers.greet(peer, Some(message));
}

impl Backup {
    /// peer_storage.
    pub(super) fn keep(&mut self, peer: NodeId, blob: Vec<u8>) {
        if !self.has_channel(peer) {
            return tracing::debug!(%peer, "nothing is kept for a peer without a channel");
        }
        greet(&self.node, peer, blob.clone());
        let now = Instant::now();
        let written = self.kept.get(&peer).and_then(|kept| kept.written);
        let due = written.map_or(now, |written| written + PAUSE).max(now);
        let record = PeerStorage {
            blob,
            alone_since: None,
        };
        let kept = Kept {
            record,
            due: Some(due),
            written,
        };
        self.kept.insert(peer, kept);
        self.store_due(now);
    }

    /// Writes what has waited long enough.
    pub(super) fn store_due(&mut self, now: Instant) {
        let mut batch = Batch::new();
        for (peer, kept) in &mut self.kept {
            if kept.due.take_if(|due| *due <= now).is_some() {
                kept.written = Some(now);
                batch.put(&peer.0.serialize(), &kept.record);
            }
        }
        self.write(batch);
    }

    pub(super) fn store_all(&mut self) {
        let mut batch = Batch::new();
        for (peer, kept) in &mut self.kept {
            if kept.due.take().is_some() {
                batch.put(&peer.0.serialize(), &kept.record);
            }
        }
        self.write(batch);
    }

    fn write(&self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
    }

    fn has_channel(&self, peer: NodeId) -> bool {
        let summaries = self.node.channels.summaries();
        summaries.iter().any(|summary| summary.peer == peer)
    }

    /// What is kept for peers whose channels are long over goes.
    pub(super) fn tidy(&mut self) {
        let with_channel: HashSet<NodeId> = match self.node.db.scan::<ChannelRecord>() {
            Ok(records) => records.into_iter().map(|(_, r)| r.live.peer).collect(),
            Err(error) => return self.node.database_failed(&error),
        };
        let tip = self.node.chain.height();
        let mut batch = Batch::new();
        let mut gone = Vec::new();
        for (peer, kept) in &mut self.kept {
            let alone = !with_channel.contains(peer);
            let before = kept.record.alone_since;
            kept.record.alone_since = alone.then(|| before.unwrap_or(tip));
            if before.is_some_and(|since| alone && is_long_ago(since, tip)) {
                gone.push(*peer);
                batch.delete::<PeerStorage>(&peer.0.serialize());
            } else if kept.record.alone_since != before {
                batch.put(&peer.0.serialize(), &kept.record);
            }
        }
        for peer in gone {
            self.kept.remove(&peer);
            self.node.peers.greet(peer, None);
        }
        self.write(batch);
    }

    pub(super) fn connected(&mut self, peer: NodeId, stores: bool) {
        let peers = &self.node.peers;
        for known in [&mut self.heard, &mut self.storing] {
            known.retain(|known| *known != peer && peers.is_connected(*known));
        }
        match stores {
            true => drop(self.storing.insert(peer)),
            false => drop(self.storing.remove(&peer)),
        }
        self.send_ours(peer);
    }

    /// To a peer that is connected, keeps it and has a channel. Nothing is never sent: it would take the place
    /// of what is to be recovered from.
    pub(super) fn send_ours(&self, peer: NodeId) {
        let Some((sealed, channels)) = &self.written else {
            return;
        };
        if channels.is_empty() || !self.storing.contains(&peer) || !self.has_channel(peer) {
            return;
        }
        if sealed.len() > MAX_BLOB {
            return tracing::warn!(
                "the backup has {} bytes, too many for peers: they keep the one before",
                sealed.len()
            );
        }
        let blob = sealed.clone();
        let message = Message::PeerStorage(PeerStorageMessage { blob });
        self.node.peers.send(peer, message);
        tracing::debug!(%peer, "sent our backup to be kept");
    }

    /// peer_storage_retrieval, once a connection: hostile until hsmd has opened it, and old unless it is newer.
    pub(super) async fn given_back(&mut self, peer: NodeId, blob: Vec<u8>) {
        if blob.is_empty() || !self.heard.insert(peer) {
            return;
        }
        let backup = match self.open(blob).await {
            Ok(backup) => backup,
            Err(error) => {
                return tracing::warn!(%peer, "what the peer gave back is no use: {error}");
            }
        };
        let newest = self.newest.as_ref().map(|newest| newest.timestamp);
        if newest.is_some_and(|newest| newest > backup.timestamp) {
            return tracing::debug!(%peer, "what the peer gave back is older than another's");
        }
        tracing::debug!(%peer, "the peer gave a backup of {} channels back", backup.channels.len());
        let before = self.lost.len();
        self.note_lost(&backup);
        self.newest = Some(backup);
        if self.lost.len() > before {
            tracing::warn!(
                %peer,
                "the peer gave a backup back that has {} channels that this node does not know: to get back \
                 what they pay us, run restorefrompeer, before any new channel is opened",
                self.lost.len() - before
            );
            self.update().await;
        }
    }
}

fn is_long_ago(since: BlockHeight, tip: BlockHeight) -> bool {
    tip.0 >= since.0.saturating_add(ALONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_outlives_the_last_channel_by_two_weeks() {
        let since = BlockHeight(100);
        assert!(!is_long_ago(since, since));
        assert!(!is_long_ago(since, BlockHeight(100 + ALONE - 1)));
        assert!(is_long_ago(since, BlockHeight(100 + ALONE)));
    }
}
