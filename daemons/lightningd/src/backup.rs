//! What is to be recovered from: `emergency.recover` in the network's folder, and what peers keep for each
//! other (BOLT 1, Peer storage). One task has both, because they are the same bytes: hsmd seals a static
//! backup of all channels, Core Lightning's format under Core Lightning's key, and only hsmd opens one.
//!
//! - A channel is in the file before its funding transaction can be signed (`Channel::persist`).
//! - What the file or a peer has of channels that the database does not know stays in what is written,
//!   until they are recovered: no backup is replaced by one that has less.
//! - Nothing that comes back from a peer is believed before hsmd has opened it, nor if another was newer.
//! - A recovered channel is in phase Stale at hsmd, and its state here says `lost_state`: its peer is asked to
//!   close, and onchaind takes what that pays us ([`recover`]).

mod file;
mod recover;
mod storage;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use channel::backup::{BackupError, ChannelBackup, StaticBackup};
use channel::state::Phase;
use ipc_messages::hsm::Refused;
use lightningd_db::DbError;
use tokio::sync::mpsc;
use wire::{ChannelId, Message, NodeId};

use crate::hsm::HsmError;
use crate::mailbox::{self, Asks};
use crate::node::{Node, Stop};
use crate::store::channels::{ChannelRecord, ClosedChannel};
use crate::store::now;

use storage::Kept;

/// How many requests may wait.
const QUEUE: usize = 64;
/// The longest backup: what one request to hsmd holds, some 3,000 channels. With more the file stays as it was.
const MAX_PLAIN: usize = 1_000_000;
/// Of the channels that the database does not know; further ones are left out.
const MAX_LOST: usize = 2_000;

/// Why there is nothing to recover from.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailure {
    #[error("Cannot read emergency.recover: {0}")]
    File(std::io::Error),
    #[error("the backup was not made under this node's seed, or was changed since: {0}")]
    NotOurs(Refused),
    #[error("Invalid recovery format: {0}")]
    Format(#[from] BackupError),
    #[error(transparent)]
    Hsm(HsmError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the node is stopping")]
    Stopping,
}

impl From<HsmError> for BackupFailure {
    fn from(error: HsmError) -> BackupFailure {
        match error {
            HsmError::Refused(refused) => BackupFailure::NotOurs(refused),
            HsmError::Gone | HsmError::Confused => BackupFailure::Hsm(error),
        }
    }
}

/// What channels are recovered from.
pub enum Source {
    File,
    /// The newest that a peer has given back.
    Peers,
    Given(Vec<ChannelBackup>),
}

/// What came of it; `None` if no peer has given anything back.
pub type Recovered = Option<Brought>;

#[derive(Default)]
pub struct Brought {
    /// The channels that are recovered by it.
    pub stubs: Vec<ChannelId>,
    /// Those that are not, and why.
    pub failed: Vec<String>,
}

type Reply<T> = mailbox::Reply<Result<T, BackupFailure>>;

#[allow(clippy::large_enum_variant)] // short-lived: sent, matched, taken apart
enum Ask {
    /// Channels have come or gone.
    Update(Option<mailbox::Reply<()>>),
    Connected {
        peer: NodeId,
        stores: bool,
    },
    /// The peer has a channel that can be used: it keeps what it is sent now.
    Ready(NodeId),
    Said(NodeId, Message),
    /// All channels of the database.
    Channels(Reply<Vec<ChannelBackup>>),
    /// The file as it is and what is in it.
    File(Reply<(Vec<u8>, StaticBackup)>),
    Recover(Source, Reply<Recovered>),
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
    /// Waits until the file has all channels that the database has now, durably.
    pub async fn update(&self) {
        let _ = self.0.ask(|done| Ask::Update(Some(done))).await;
    }

    /// As [`Handle::update`], without waiting for the disk.
    pub async fn update_later(&self) {
        self.0.tell(Ask::Update(None)).await;
    }

    /// `stores`: it offers option_provide_storage.
    pub async fn connected(&self, peer: NodeId, stores: bool) {
        self.0.tell(Ask::Connected { peer, stores }).await;
    }

    pub async fn ready(&self, peer: NodeId) {
        self.0.tell(Ask::Ready(peer)).await;
    }

    /// peer_storage or peer_storage_retrieval.
    pub async fn said(&self, peer: NodeId, message: Message) {
        self.0.tell(Ask::Said(peer, message)).await;
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, BackupFailure> {
        let answer = self.0.ask(ask).await;
        answer.unwrap_or(Err(BackupFailure::Stopping))
    }

    /// # Errors
    /// The database cannot be read.
    pub async fn channels(&self) -> Result<Vec<ChannelBackup>, BackupFailure> {
        self.ask(Ask::Channels).await
    }

    /// # Errors
    /// There is no file, or it is none of ours.
    pub async fn file(&self) -> Result<(Vec<u8>, StaticBackup), BackupFailure> {
        self.ask(Ask::File).await
    }

    /// Recovers those channels of it that the database does not know.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn recover(&self, source: Source) -> Result<Recovered, BackupFailure> {
        self.ask(|reply| Ask::Recover(source, reply)).await
    }
}

struct Backup {
    node: Arc<Node>,
    path: PathBuf,
    /// Of channels that the database does not know.
    lost: Vec<ChannelBackup>,
    /// The file as it was written last, and what is in it. `None` until then.
    written: Option<(Vec<u8>, Vec<ChannelBackup>)>,
    /// The newest that peers have given back.
    newest: Option<StaticBackup>,
    /// Connected peers that keep what they are sent.
    storing: HashSet<NodeId>,
    /// Those that have given something back on this connection.
    heard: HashSet<NodeId>,
    /// What is to be kept for peers.
    kept: HashMap<NodeId, Kept>,
}

/// What there is at the start.
pub struct Loaded {
    kept: HashMap<NodeId, Kept>,
    file: Option<Vec<u8>>,
}

/// `emergency.recover` in the network's folder; `None` if there is none.
///
/// # Errors
/// It cannot be read, or is longer than any of ours.
pub fn read(network_dir: &Path) -> std::io::Result<Option<Vec<u8>>> {
    file::read(&network_dir.join(file::NAME), MAX_PLAIN)
}

/// Before any channel is attached, so that connectd gives each peer its blob back first.
///
/// # Errors
/// The database or the file cannot be read.
pub fn load(node: &Node) -> anyhow::Result<Loaded> {
    let file = read(&node.options.network_dir)
        .with_context(|| format!("cannot read {}: nothing is written over it", file::NAME))?;
    let kept = storage::load(node)?;
    Ok(Loaded { kept, file })
}

/// Runs until the node stops.
pub async fn run(node: Arc<Node>, Mailbox(mut asks): Mailbox, Loaded { kept, file }: Loaded) {
    let mut backup = Backup {
        node: node.clone(),
        path: node.options.network_dir.join(file::NAME),
        lost: Vec::new(),
        written: None,
        newest: None,
        storing: HashSet::new(),
        heard: HashSet::new(),
        kept,
    };
    backup.begin(file).await;
    loop {
        let due = storage::next_due(&backup.kept);
        tokio::select! {
            _ = node.stopped() => break,
            ask = asks.recv() => match ask {
                Some(ask) => backup.ask(ask, &mut asks).await,
                None => break,
            },
            () = storage::until(due) => backup.store_due(tokio::time::Instant::now()),
        }
    }
    // What waits is no later than the database's end.
    backup.store_all();
}

impl Backup {
    async fn begin(&mut self, file: Option<Vec<u8>>) {
        if let Some(sealed) = file {
            match self.open(sealed).await {
                Ok(backup) => self.note_lost(&backup),
                Err(BackupFailure::Hsm(_)) => return,
                Err(why) => self.put_aside(&why.to_string()),
            }
        }
        if !self.lost.is_empty() {
            tracing::warn!(
                "{} has {} channels that this node does not know: to get back what they pay us, run \
                 emergencyrecover",
                file::NAME,
                self.lost.len()
            );
        }
        self.update().await;
    }

    /// The file that is there is none that this node can use, and is not overwritten.
    fn put_aside(&self, why: &str) {
        let aside = self
            .path
            .with_file_name(format!("{}.{}", file::NAME, now()));
        match std::fs::rename(&self.path, &aside) {
            Ok(()) => tracing::warn!("{} is put aside: {why}", aside.display()),
            Err(error) => {
                let why = format!("{} cannot be put aside: {error}", self.path.display());
                self.node.stop(Stop::Fatal(why));
            }
        }
    }

    async fn ask(&mut self, ask: Ask, asks: &mut mpsc::Receiver<Ask>) {
        match ask {
            Ask::Update(done) => self.update_all(done, asks).await,
            Ask::Connected { peer, stores } => self.connected(peer, stores),
            Ask::Ready(peer) => self.send_ours(peer),
            Ask::Said(peer, Message::PeerStorage(message)) => self.keep(peer, message.blob),
            Ask::Said(peer, Message::PeerStorageRetrieval(message)) => {
                self.given_back(peer, message.blob).await;
            }
            Ask::Said(_, _) => {}
            Ask::Channels(reply) => {
                let _ = reply.send(self.known().map_err(BackupFailure::Db));
            }
            Ask::File(reply) => {
                let _ = reply.send(self.file().await);
            }
            Ask::Recover(source, reply) => {
                let _ = reply.send(self.recover(source).await);
            }
        }
    }

    /// One write serves all who wait by now.
    async fn update_all(
        &mut self,
        done: Option<mailbox::Reply<()>>,
        asks: &mut mpsc::Receiver<Ask>,
    ) {
        let (mut waiting, mut other) = (vec![done], None);
        while other.is_none() {
            match asks.try_recv() {
                Ok(Ask::Update(done)) => waiting.push(done),
                Ok(ask) => other = Some(ask),
                Err(_) => break,
            }
        }
        self.update().await;
        for done in waiting.into_iter().flatten() {
            let _ = done.send(());
        }
        if let Some(ask) = other {
            Box::pin(self.ask(ask, asks)).await;
        }
    }

    /// Every channel that is not over, and the lost ones.
    fn all(&mut self) -> Result<Vec<ChannelBackup>, DbError> {
        let mut lost = std::mem::take(&mut self.lost);
        let db = &self.node.db;
        let mut unknown = Vec::with_capacity(lost.len());
        for channel in lost.drain(..) {
            if !is_known(db, &channel)? {
                unknown.push(channel);
            }
        }
        self.lost = unknown;
        let mut all = self.known()?;
        all.extend(self.lost.iter().cloned());
        Ok(all)
    }

    fn known(&self) -> Result<Vec<ChannelBackup>, DbError> {
        let records = self.node.db.scan::<ChannelRecord>()?.into_iter();
        let backed_up = records.filter(|(_, record)| is_backed_up(record));
        backed_up
            .map(|(_, record)| {
                let address = recover::address(&self.node, record.live.peer)?;
                Ok(ChannelBackup::of(&record.live, address))
            })
            .collect()
    }

    /// Writes the file anew if it has to be, and sends it to the peers that keep it.
    async fn update(&mut self) {
        self.tidy();
        let channels = match self.all() {
            Ok(channels) => channels,
            Err(error) => return self.node.database_failed(&error),
        };
        if self
            .written
            .as_ref()
            .is_some_and(|(_, in_it)| *in_it == channels)
        {
            return;
        }
        let backup = StaticBackup {
            timestamp: u32::try_from(now()).unwrap_or(u32::MAX),
            channels,
            older: false,
        };
        let sealed = match backup.encode() {
            Ok(plain) if plain.len() <= MAX_PLAIN => self.node.hsm.seal_backup(plain).await,
            Ok(_) | Err(_) => {
                return tracing::error!("there are more channels than {} can hold", file::NAME);
            }
        };
        let sealed = match sealed {
            Ok(sealed) => sealed,
            // A hsmd that is gone stops the node.
            Err(error) => return tracing::error!("the backup is not sealed: {error}"),
        };
        let (path, bytes) = (self.path.clone(), sealed.clone());
        let replaced = tokio::task::spawn_blocking(move || file::replace(&path, &bytes)).await;
        match replaced.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => tracing::debug!("{} has {} channels", file::NAME, backup.channels.len()),
            Err(error) => {
                // A channel that could not be recovered must not be funded.
                let why = format!("{} cannot be written: {error}", self.path.display());
                return self.node.stop(Stop::Fatal(why));
            }
        }
        self.written = Some((sealed, backup.channels));
        for peer in self.storing.clone() {
            self.send_ours(peer);
        }
    }

    async fn open(&self, sealed: Vec<u8>) -> Result<StaticBackup, BackupFailure> {
        let plain = self.node.hsm.open_backup(sealed).await?;
        Ok(StaticBackup::decode(&plain)?)
    }

    async fn file(&self) -> Result<(Vec<u8>, StaticBackup), BackupFailure> {
        let read = file::read(&self.path, MAX_PLAIN).map_err(BackupFailure::File)?;
        let missing = || BackupFailure::File(std::io::ErrorKind::NotFound.into());
        let sealed = read.ok_or_else(missing)?;
        let backup = self.open(sealed.clone()).await?;
        Ok((sealed, backup))
    }

    /// Keeps what the database does not know of it.
    fn note_lost(&mut self, backup: &StaticBackup) {
        for channel in &backup.channels {
            let noted = |lost: &ChannelBackup| lost.channel_id == channel.channel_id;
            match is_known(&self.node.db, channel) {
                Ok(true) => {}
                Ok(false) if self.lost.iter().any(noted) => {}
                Ok(false) if self.lost.len() < MAX_LOST => self.lost.push(channel.clone()),
                Ok(false) => tracing::error!("more lost channels than are kept"),
                Err(error) => self.node.database_failed(&error),
            }
        }
    }
}

/// Whether the loss of this record would cost something: it may be funded.
#[must_use]
pub fn is_backed_up(record: &ChannelRecord) -> bool {
    record.live.phase != Phase::Opening
}

/// Whether the database has it, open or over. Another channel of the same number does not count.
fn is_known(db: &lightningd_db::Db, channel: &ChannelBackup) -> Result<bool, DbError> {
    let (dbid, id) = (channel.dbid.0, channel.channel_id);
    let open = db.get::<ChannelRecord>(&dbid)?;
    if open.is_some_and(|record| record.live.channel_id == id) {
        return Ok(true);
    }
    let closed = db.get::<ClosedChannel>(&dbid)?;
    Ok(closed.is_some_and(|ClosedChannel(record)| record.live.channel_id == id))
}
