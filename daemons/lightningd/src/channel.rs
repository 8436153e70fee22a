//! One channel as lightningd sees it: a task that owns the channel's record, hears its channeld,
//! and carries news between it and the chain, the wallet, payments, invoices and other channels.
//!
//! What channeld says is hostile until checked: a bad frame ends that channeld, which is started
//! again from the last persisted state, and nothing else.

mod books;
mod chain;
mod close;
mod commitment;
mod contract;
mod htlcs;
mod onchain;
mod onchaind;
mod open;
mod process;
mod view;

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use channel::action::{Command, Notice, Origin, Persist};
use channel::state::{HtlcRecord, Phase};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use ipc_messages::hsm::Refused;
use ipc_messages::hsm::gossip::ChannelUpdateFacts;
use ipc_messages::lightningd_channeld::{Begin, RemoveHow, ToChanneld, ToLightningd};
use lightningd_db::{Batch, DbError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tx::ledger::{Htlc, HtlcKey};
use wire::{BlockHeight, ChannelDbid, ChannelId, HtlcId, Message, NodeId};

pub use close::{CloseAsk, Closed};
pub use commitment::LastTx;
use commitment::Newest;
pub use open::{OpenFailure, OpenJob, Opened};
pub use process::policy;
pub use view::{ChannelView, OpenView, is_spent, ours, state_name};

use crate::backup::is_backed_up;
use crate::chain::ChannelNews;
use crate::node::{Node, Stop};
use crate::peers::Awaited;
use crate::store::channels::{self as records, ChannelRecord, Facts, StateChange, StoodHtlc};
use crate::store::now;
use books::{is_fulfilled, is_taken_back};
use onchaind::OnChain;
use process::Link;

/// Everything that can be said to a channel.
pub enum Mail {
    /// Offer an HTLC; the origin hears how it ended.
    Offer {
        origin: Origin,
        htlc: Htlc,
        onion: wire::OnionPacket,
    },
    /// End an HTLC that came in here.
    Remove {
        id: HtlcId,
        how: RemoveHow,
    },
    Chain(ChannelNews),
    Feerates,
    /// connectd is a new process: it needs a new socket for this channel.
    ConnectdRestarted(Awaited),
    /// The peer sent an error for all its channels.
    PeerError(String),
    View(oneshot::Sender<ChannelView>),
    Close(CloseAsk),
}

impl Mail {
    /// A copy for mail that goes to many; `None` for what has one receiver.
    #[must_use]
    pub fn copy(&self) -> Option<Mail> {
        match self {
            Mail::Chain(news) => Some(Mail::Chain(news.clone())),
            Mail::Feerates => Some(Mail::Feerates),
            Mail::ConnectdRestarted(awaited) => Some(Mail::ConnectdRestarted(awaited.clone())),
            Mail::PeerError(text) => Some(Mail::PeerError(text.clone())),
            Mail::Offer { .. } | Mail::Remove { .. } | Mail::View(_) | Mail::Close(_) => None,
        }
    }
}

/// Before and after there is something to lose.
#[allow(clippy::large_enum_variant)] // one for each channel, moved once
pub enum Stage {
    /// No state is persisted yet. The job is ours if we open.
    Opening(Option<OpenJob>),
    Open(Box<ChannelRecord>, BTreeMap<HtlcKey, HtlcRecord>),
}

/// The task's state.
pub struct Channel {
    node: Arc<Node>,
    dbid: ChannelDbid,
    peer: NodeId,
    stage: Stage,
    /// Who opens, and the transaction for it, until it is broadcast.
    job: Option<OpenJob>,
    /// `None` while channeld is being started again.
    link: Option<Link>,
    /// The next channeld's end of its socket to connectd, if there is one before the process.
    socket: Option<OwnedFd>,
    /// How channeld begins if there is no record yet.
    begin: Option<Begin>,
    claims: Vec<ChannelId>,
    /// `None` while none of ours is verified, or which is it is not known.
    newest: Option<Newest>,
    /// onchaind's side.
    onchain: OnChain,
    /// The last block that this task was told.
    tip: BlockHeight,
    /// Commits under way, in order.
    commits: FuturesOrdered<BoxFuture<'static, (u64, Result<(), DbError>)>>,
    /// Reestablished with the peer.
    active: bool,
    /// How often channeld died without having done anything since.
    deaths: u32,
    /// When channeld was started last.
    launched: Option<Instant>,
    /// When it is started again after too many deaths.
    relaunch: Option<Instant>,
    closers: Vec<CloseAsk>,
    /// What hsmd last refused to channeld: why an opening fails.
    refusal: Option<Refused>,
    /// HTLCs that channeld was asked to offer and that no Persist holds yet: if it dies, they
    /// never left.
    offered: HashSet<Origin>,
    /// Our last channel_update, and what it says.
    update: Option<(ChannelUpdateFacts, Message)>,
    over: bool,
}

/// What goes into the database with a new state.
#[derive(Default)]
struct Taken {
    facts: Facts,
    /// What is known of HTLCs that come and go.
    stood: Vec<(HtlcKey, StoodHtlc)>,
    /// HTLCs that are over.
    gone: Vec<(HtlcKey, HtlcRecord)>,
}

/// At that time; never, if there is none.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Channel {
    /// Starts the task and enters it in the directory.
    pub fn start(
        node: Arc<Node>,
        dbid: ChannelDbid,
        peer: NodeId,
        begin: Begin,
        stage: Stage,
        claims: Vec<ChannelId>,
    ) {
        let (mailbox, mail) = mpsc::unbounded_channel();
        node.channels.add(dbid, peer, mailbox);
        let (stage, job) = match stage {
            Stage::Opening(job) => (Stage::Opening(None), job),
            open @ Stage::Open(..) => (open, None),
        };
        let tip = node.chain.height();
        let mut channel = Channel {
            node,
            dbid,
            peer,
            stage,
            job,
            link: None,
            socket: None,
            begin: Some(begin),
            claims,
            newest: None,
            onchain: OnChain::default(),
            tip,
            commits: FuturesOrdered::new(),
            active: false,
            deaths: 0,
            launched: None,
            relaunch: None,
            closers: Vec::new(),
            refusal: None,
            offered: HashSet::new(),
            update: None,
            over: false,
        };
        if !channel.is_spent() {
            channel.socket = channel.attach().ok();
        }
        let span = tracing::info_span!("channel", channel = %dbid, peer = %peer);
        let tasks = channel.node.tasks.clone();
        tasks.spawn(tracing::Instrument::instrument(channel.run(mail), span));
    }

    async fn run(mut self, mut mail: mpsc::UnboundedReceiver<Mail>) {
        let node = self.node.clone();
        self.begin_books();
        self.forget_unrecorded_block().await;
        self.resume_duties();
        self.begin_processes().await;
        while !self.over {
            tokio::select! {
                biased;
                _ = node.stopped() => break,
                Some((sequence, done)) = self.commits.next() => match done {
                    Ok(()) => self.send(ToChanneld::Persisted { sequence }).await,
                    Err(error) => node.database_failed(&error),
                },
                said = Link::hear(&mut self.link) => match said {
                    Ok(said) => self.said(said).await,
                    Err(error) => self.died(&error.to_string()).await,
                },
                word = self.onchain.hear() => self.onchain_word(word).await,
                () = due(self.relaunch) => self.relaunch().await,
                letter = mail.recv() => match letter {
                    Some(letter) => self.read(letter).await,
                    None => break,
                },
            }
        }
        if let Some(mut link) = self.link.take() {
            let _ = link.to.send(&ToChanneld::Stop).await;
            let _ = link.to.flush().await;
            link.process.ended().await;
        }
        self.onchain.stop().await;
        if self.over {
            node.channels.remove(self.dbid);
        }
        // What is still under way must be durable before the database closes.
        while self.commits.next().await.is_some() {}
    }

    /// What a channel in this state has: a channeld until its funding output is spent, an onchaind from
    /// when a transaction of ours is about to spend it.
    async fn begin_processes(&mut self) {
        let spent = self.is_spent();
        let ending = (self.record()).is_some_and(|record| record.facts.closing_tx.is_some());
        if !spent {
            self.launch().await;
        }
        if spent || ending {
            self.launch_onchaind().await;
        }
    }

    /// To channeld, if it lives; a dead one is noticed where it is heard.
    async fn send(&mut self, message: ToChanneld) {
        if let Some(link) = &self.link {
            let _ = link.to.send(&message).await;
        }
    }

    async fn command(&mut self, command: Command) {
        self.send(ToChanneld::Command(Box::new(command))).await;
    }

    async fn read(&mut self, letter: Mail) {
        match letter {
            Mail::Offer {
                origin,
                htlc,
                onion,
            } => self.offer(origin, htlc, onion).await,
            Mail::Remove { id, how } => self.remove(id, how).await,
            Mail::Chain(news) => self.chain(news).await,
            Mail::Feerates => self.feerates().await,
            Mail::ConnectdRestarted(awaited) => self.new_peer_socket(awaited).await,
            Mail::PeerError(text) => self.failed(wire::Side::Remote, &text).await,
            Mail::View(reply) => drop(reply.send(self.view())),
            Mail::Close(ask) => self.close(ask).await,
        }
    }

    async fn said(&mut self, said: ToLightningd) {
        match said {
            ToLightningd::Persist {
                sequence,
                wait,
                persist,
            } => {
                self.persist(sequence, wait, &persist);
            }
            ToLightningd::Notice(notice) => self.notice(*notice).await,
            ToLightningd::Incoming { id, htlc, hop } => self.incoming(id, htlc, *hop),
            ToLightningd::Failed { reason } => {
                tracing::warn!("the channel failed: {reason}");
                self.failed(wire::Side::Local, &reason).await;
            }
            ToLightningd::PeerFailed { reason } => {
                tracing::warn!("the peer failed the channel: {reason}");
                self.failed(wire::Side::Remote, &reason).await;
            }
            ToLightningd::Warned { reason } => tracing::warn!("the peer got a warning: {reason}"),
            ToLightningd::Refused { rule, reason } => {
                tracing::error!("hsmd refused by rule {rule}: {reason}");
                self.refusal = Some(Refused { rule, reason });
            }
        }
    }

    async fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::NeedFunding { script, value } => self.fund(script, value).await,
            Notice::WatchFunding { funding, script } => {
                self.node
                    .chain
                    .watch_channel(self.dbid, funding.outpoint, script);
            }
            Notice::FundingSigned { funding, script } => {
                self.node
                    .chain
                    .watch_channel(self.dbid, funding.outpoint, script);
                self.funding_signed().await;
            }
            Notice::OpeningFailed { reason } => self.opening_failed(reason).await,
            Notice::Ready { .. } => self.ready().await,
            Notice::Active { active } => {
                self.active = active;
                self.deaths = 0;
                if active {
                    // A connection that came so far was a good one: after it the pauses begin anew.
                    self.keep_connected();
                    self.now_active().await;
                }
                self.publish();
            }
            // channeld peels the onion and says Incoming instead.
            Notice::Locked { .. } => tracing::warn!("channeld said Locked"),
            Notice::AddRefused { origin, reason } => self.add_refused(origin, reason),
            Notice::Resolved {
                id,
                origin,
                removal,
            } => self.resolved(id, origin, removal),
            Notice::PeerUpdate { message } => self.peer_update(message),
            Notice::ShuttingDown { by_us } => self.shutting_down(by_us),
            Notice::MutualClose { tx } => self.mutual_close(&tx).await,
            Notice::WeAreStale => self.we_are_stale(),
        }
    }

    fn persist(&mut self, sequence: u64, wait: bool, persist: &Persist) {
        let backed_up = self.record().is_some_and(is_backed_up);
        let Taken { facts, stood, gone } = self.take_over(persist);
        let mut batch = Batch::new();
        records::put_persist(&mut batch, &facts, persist, &stood);
        self.book_settled(&mut batch, &gone);
        if wait {
            let commit = self.node.db.commit(batch);
            // What may be funded from now on is in the backup before channeld goes on.
            let is_new = !backed_up && self.record().is_some_and(is_backed_up);
            let backup = is_new.then(|| self.node.backup.clone());
            self.commits.push_back(Box::pin(async move {
                let done = commit.await;
                if let Some(backup) = backup {
                    backup.update().await;
                }
                (sequence, done)
            }));
        } else if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
        // What it was told of the channel is old.
        if self.onchain.is_begun() {
            self.onchain.begin_anew();
        }
        self.publish();
    }

    /// Takes the new state into memory.
    fn take_over(&mut self, persist: &Persist) -> Taken {
        if persist.live.dbid != self.dbid || persist.live.peer != self.peer {
            let why = format!(
                "channeld of channel {} speaks of another channel",
                self.dbid
            );
            self.node.stop(Stop::Fatal(why));
        }
        let live = persist.live.clone();
        if let (Some(point), Some(n)) = (persist.local_point, live.local_next.prev()) {
            self.newest = Some(Newest::new(n, point));
        }
        match &mut self.stage {
            Stage::Opening(_) => {
                self.claims = vec![live.channel_id];
                self.begin = None;
                let facts = Facts {
                    opened_at: now(),
                    opened_height: self.node.chain.height(),
                    ..Facts::default()
                };
                let record = ChannelRecord { live, facts };
                self.stage = Stage::Open(Box::new(record), BTreeMap::new());
                self.log_change("OPENINGD", "created");
                self.keep_connected();
            }
            Stage::Open(record, _) => {
                let before = state_name(&record.live.phase, &record.facts);
                record.live = live;
                self.log_change(before, "changed");
            }
        }
        let mut taken = Taken::default();
        let Stage::Open(record, htlcs) = &mut self.stage else {
            return taken;
        };
        let (live, db) = (&record.live, &self.node.db);
        for (key, change) in &persist.htlcs {
            match change {
                Some(new) => {
                    if let Some(origin) = &new.origin {
                        self.offered.remove(origin);
                    }
                    let comes = htlcs.insert(*key, new.clone()).is_none();
                    if comes && records::is_ever_an_output(live, *key, &new.htlc) {
                        (taken.stood).push((*key, StoodHtlc::begins(live, new.htlc)));
                    }
                }
                None => {
                    let Some(gone) = htlcs.remove(key) else {
                        continue;
                    };
                    if records::is_ever_an_output(live, *key, &gone.htlc) {
                        let known = records::stood(db, self.dbid, *key).unwrap_or_else(|error| {
                            self.node.database_failed(&error);
                            None
                        });
                        let stood = StoodHtlc::ends(live, gone.htlc, known);
                        taken.stood.push((*key, stood));
                    }
                    if key.offerer == wire::Side::Remote {
                        self.node.forwards.forget(self.dbid, key.id);
                    }
                    if is_taken_back(&gone) {
                        // channeld has it in hand until it says that it is refused.
                        self.offered.extend(gone.origin);
                    }
                    taken.gone.push((*key, gone));
                }
            }
        }
        // Of one that is taken back the peer has never heard for good.
        let failed = |gone: &HtlcRecord| !is_fulfilled(gone) && !is_taken_back(gone);
        for (key, gone) in taken.gone.iter().filter(|(_, gone)| failed(gone)) {
            record.facts.count_failed(key.offerer, gone.htlc.amount);
        }
        let ours = ours(&record.live, htlcs.iter());
        let facts = &mut record.facts;
        facts.least_ours = Some(facts.least_ours.map_or(ours, |least| least.min(ours)));
        facts.most_ours = Some(facts.most_ours.map_or(ours, |most| most.max(ours)));
        taken.facts = facts.clone();
        taken
    }

    /// Notes a change of the state's name, if there was one.
    fn log_change(&mut self, before: &str, message: &str) {
        let Stage::Open(record, _) = &mut self.stage else {
            return;
        };
        let after = state_name(&record.live.phase, &record.facts);
        if before == after {
            return;
        }
        tracing::info!("state changed from {before} to {after}");
        let cause = record
            .facts
            .close_cause
            .as_deref()
            .unwrap_or("user")
            .to_owned();
        record.facts.history.push(StateChange {
            at: now(),
            old: before.to_owned(),
            new: after.to_owned(),
            cause,
            message: message.to_owned(),
        });
    }

    fn record(&self) -> Option<&ChannelRecord> {
        match &self.stage {
            Stage::Open(record, _) => Some(record),
            Stage::Opening(_) => None,
        }
    }

    /// Changes what only the node knows of the channel, in memory and in order on disk.
    fn change_facts(&mut self, message: &str, change: impl FnOnce(&mut Facts)) {
        let Stage::Open(record, _) = &mut self.stage else {
            return;
        };
        let before = state_name(&record.live.phase, &record.facts);
        change(&mut record.facts);
        self.log_change(before, message);
        self.store();
        self.publish();
    }

    fn store(&self) {
        let Stage::Open(record, _) = &self.stage else {
            return;
        };
        let mut batch = Batch::new();
        records::put(&mut batch, record);
        self.book(&mut batch);
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
    }

    /// Whether the funding output is spent in a block.
    fn is_spent(&self) -> bool {
        (self.record()).is_some_and(|record| record.facts.spent_by.is_some())
    }

    fn is_normal(&self) -> bool {
        self.record()
            .is_some_and(|record| record.live.phase == Phase::Normal)
    }
}
