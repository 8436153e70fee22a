//! This channel's onchaind: its process, what is under way with it, and how it is started again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bitcoin::{OutPoint, Transaction};
use channel::action::Origin;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use ipc_messages::edges::LightningdOnchaind;
use ipc_messages::hsm::Role as HsmRole;
use ipc_messages::lightningd_chaind;
use ipc_messages::lightningd_onchaind::{Start, ToLightningd, ToOnchaind};
use ipc_transport::aio::{Receiver, Sender};
use lightningd_db::DbError;
use onchain::State;
use onchain::action::{ClaimId, Coins, Encoded, Feerates, Standing};
use subd::Role;
use tokio::time::Instant;
use wire::{BlockHeight, CommitmentNumber, HtlcId};

use super::{Channel, Stage, contract};
use crate::store::onchain::OnchainRecord;
use crate::subdaemons::Process;

/// HTLCs of one message before Start; each takes less than a hundred bytes.
const HTLCS_AT_ONCE: usize = 10_000;
/// One that ends is started again after this time, and later each time that it does not live.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Who lived so long was not started in vain.
const LIVED: Duration = Duration::from_secs(10);
/// Outputs that one channel has watched, at most: all HTLCs of a commitment, their transactions' outputs
/// and the balances are less than half of it.
const MAX_WATCHED: usize = 5_000;

/// What the channel's task has of the chain's side.
#[derive(Default)]
pub struct OnChain {
    running: Option<Box<Onchaind>>,
    /// When the next one is to be started.
    again: Option<Instant>,
    pause: Duration,
    /// The lowest block that a reorganization took out while none ran.
    missed: Option<BlockHeight>,
    /// Where things stand, as it said last.
    pub standing: Option<Standing>,
    /// HTLCs of ours that failed, with the block by which hsmd has to know it.
    pub failed: Vec<(HtlcId, Origin, BlockHeight)>,
    /// What it last broadcast for each output, until a block has it.
    unconfirmed: HashMap<OutPoint, Sent>,
    /// The commitment in a block, if the peer has revoked it.
    revoked: Option<CommitmentNumber>,
}

/// A transaction that is in no block, and its parent if that is in none either.
pub type Sent = (Transaction, Option<Transaction>);

/// A running onchaind.
struct Onchaind {
    to: Sender<ToOnchaind>,
    from: Receiver<ToLightningd>,
    process: Process,
    since: Instant,
    /// Commits under way, in order.
    commits: FuturesOrdered<BoxFuture<'static, (u64, Result<(), DbError>)>>,
    answers: FuturesUnordered<BoxFuture<'static, Option<Answer>>>,
    /// Messages after Start, and how many of them it has handled: none before it says that it began.
    sent: u64,
    handled: Option<u64>,
    /// Searches of older blocks that are not done.
    searches: HashSet<u64>,
    next_search: u64,
    watched: usize,
    /// The block up to which it was told everything.
    told: BlockHeight,
    /// It knows the HTLCs of this commitment of the peer's.
    revoked: Option<CommitmentNumber>,
}

/// What somebody else says for it.
pub enum Answer {
    Coins {
        claim: ClaimId,
        coins: Option<Coins>,
    },
    Taken {
        txid: bitcoin::Txid,
    },
    Rejected {
        txid: bitcoin::Txid,
        reason: String,
        rival: Option<Encoded>,
    },
}

/// Something happened with it.
pub enum Word {
    Said(ToLightningd),
    Persisted(u64, Result<(), DbError>),
    Answer(Answer),
    Died(String),
    /// It is time to start it.
    Due,
}

impl OnChain {
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether there is one, or soon will be.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.running.is_some() || self.again.is_some()
    }

    /// The next word; never, if there is nothing to wait for.
    pub async fn hear(&mut self) -> Word {
        loop {
            let Some(onchaind) = &mut self.running else {
                super::due(self.again).await;
                return Word::Due;
            };
            tokio::select! {
                biased;
                Some((sequence, done)) = onchaind.commits.next() => {
                    return Word::Persisted(sequence, done);
                }
                Some(answer) = onchaind.answers.next() => {
                    if let Some(answer) = answer {
                        return Word::Answer(answer);
                    }
                }
                said = onchaind.from.recv() => return match said {
                    Ok(said) => Word::Said(said),
                    Err(error) => Word::Died(error.to_string()),
                },
            }
        }
    }

    /// To onchaind, if one runs.
    pub async fn tell(&mut self, message: ToOnchaind) {
        if let Some(onchaind) = &mut self.running {
            if !matches!(message, ToOnchaind::Persisted { .. }) {
                onchaind.sent += 1;
            }
            // A dead one is noticed where it is heard.
            let _ = onchaind.to.send(&message).await;
        }
    }

    /// Something is under way for it, and its outcome will be a word.
    pub fn answer_later(&mut self, answer: BoxFuture<'static, Option<Answer>>) {
        if let Some(onchaind) = &mut self.running {
            onchaind.answers.push(answer);
        }
    }

    pub fn persisted_later(&mut self, commit: BoxFuture<'static, (u64, Result<(), DbError>)>) {
        if let Some(onchaind) = &mut self.running {
            onchaind.commits.push_back(commit);
        }
    }

    /// It has handled so many messages; `false` if it was not told as many.
    #[must_use]
    pub fn handled(&mut self, messages: u64) -> bool {
        match &mut self.running {
            Some(onchaind) if messages <= onchaind.sent => {
                onchaind.handled = Some(messages);
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Notes what was broadcast. A replacement has the same first input.
    pub fn sent(&mut self, sent: Sent) {
        let first = sent.0.input.first().map(|input| input.previous_output);
        if let Some(first) = first.filter(|_| self.unconfirmed.len() < MAX_WATCHED) {
            self.unconfirmed.insert(first, sent);
        }
    }

    /// What was broadcast and is in no block.
    #[must_use]
    pub fn unconfirmed(&self) -> Vec<Sent> {
        self.unconfirmed.values().cloned().collect()
    }

    /// A block has it, or what spends the same.
    pub fn confirmed(&mut self, tx: &Transaction) {
        for input in &tx.input {
            self.unconfirmed.remove(&input.previous_output);
        }
    }

    /// A number for a search of so many outputs, and from where on; `None` if it has too many watched.
    #[must_use]
    pub fn begin_search(&mut self, outpoints: usize) -> Option<(u64, BlockHeight)> {
        let onchaind = self.running.as_mut()?;
        onchaind.watched = onchaind.watched.saturating_add(outpoints);
        if onchaind.watched > MAX_WATCHED {
            return None;
        }
        onchaind.next_search += 1;
        onchaind.searches.insert(onchaind.next_search);
        // What it was told up to there, it was told of all that it had watched by then.
        Some((onchaind.next_search, onchaind.told.after(1)))
    }

    pub fn searched(&mut self, search: u64) {
        if let Some(onchaind) = &mut self.running {
            onchaind.searches.remove(&search);
        }
    }

    /// A block can be told once nothing is under way that may show more of it.
    pub async fn tell_block(&mut self, tip: BlockHeight) {
        let Some(onchaind) = &mut self.running else {
            return;
        };
        let idle = onchaind.handled == Some(onchaind.sent) && onchaind.searches.is_empty();
        if idle && onchaind.told < tip {
            onchaind.told = tip;
            self.tell(ToOnchaind::Block { height: tip }).await;
        }
    }

    pub async fn tell_disconnected(&mut self, from: BlockHeight) {
        match &mut self.running {
            Some(onchaind) => {
                onchaind.told = onchaind.told.min(from.before(1));
                self.tell(ToOnchaind::Disconnected { from }).await;
            }
            None => self.missed = Some(self.missed.map_or(from, |missed| missed.min(from))),
        }
    }

    /// The spending transaction is in a block: this commitment, if the peer has revoked it. An onchaind that
    /// does not know its HTLCs begins anew.
    pub fn spent_by(&mut self, revoked: Option<CommitmentNumber>) {
        self.revoked = revoked;
        let knows = |onchaind: &Onchaind| revoked.is_none() || onchaind.revoked == revoked;
        if self
            .running
            .as_deref()
            .is_some_and(|onchaind| !knows(onchaind))
        {
            self.begin_anew();
        }
    }

    /// Ends it; it is started again at once, with what is known now.
    pub fn begin_anew(&mut self) {
        self.running = None;
        self.again = Some(Instant::now());
    }

    /// Ends it for good.
    pub async fn stop(&mut self) {
        self.again = None;
        if let Some(mut onchaind) = self.running.take() {
            let _ = onchaind.to.send(&ToOnchaind::Stop).await;
            let _ = onchaind.to.flush().await;
            onchaind.process.ended().await;
            while onchaind.commits.next().await.is_some() {}
        }
    }

    /// It is gone; how it ended.
    pub async fn died(&mut self) -> Option<String> {
        let mut onchaind = self.running.take()?;
        let before = match onchaind.since.elapsed() < LIVED {
            true => self.pause,
            false => Duration::ZERO,
        };
        self.pause = (before * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.again = Some(Instant::now() + self.pause);
        Some(onchaind.process.ended().await)
    }
}

impl Channel {
    /// Starts onchaind; later, if that does not work now. What it was told and has not handed over, it is
    /// told again.
    pub(super) async fn launch_onchaind(&mut self) {
        if self.onchain.is_running() || self.over {
            return;
        }
        self.onchain.again = None;
        if let Err(error) = self.try_launch_onchaind().await {
            if self.node.is_stopping() {
                return;
            }
            tracing::error!("onchaind cannot be started, to be tried again: {error:#}");
            self.onchain.pause = LONGEST_PAUSE;
            self.onchain.again = Some(Instant::now() + LONGEST_PAUSE);
        }
    }

    async fn try_launch_onchaind(&mut self) -> anyhow::Result<()> {
        let Stage::Open(record, htlcs) = &self.stage else {
            return Ok(());
        };
        let db = &self.node.db;
        let stored = db.get::<OnchainRecord>(&self.dbid.0)?.unwrap_or_default();
        let shown = stored.state.as_ref().and_then(|s| s.confirmed.first());
        let shown = shown.and_then(|confirmed| confirmed.tx.decode());
        let shown = shown.and_then(|tx| contract::revoked(&record.live, &tx));
        let revoked = self.onchain.revoked.or(shown);
        let mut facts = contract::facts(db, record, htlcs, revoked)?;
        let preimages = contract::preimages(db, self.dbid, htlcs)?;
        let heard = stored.state.as_ref().filter(|state| state.height.0 > 0);
        let heard = heard.map(State::resumes_after);
        let funding = record.live.funding.outpoint;
        let spent = record.facts.spent_by.map(|(_, height)| height);
        let turn = self.node.subdaemons.turn().await;
        let hsm = self.mint(HsmRole::Onchain).await?;
        let crate::subdaemons::Link { process, to, from } =
            (self.node.subdaemons)
                .launch::<LightningdOnchaind>(Role::Onchaind, vec![("hsmd", hsm)])?;
        drop(turn);
        let known = std::mem::take(&mut facts.htlcs);
        for htlcs in known.chunks(HTLCS_AT_ONCE) {
            let htlcs = htlcs.to_vec();
            to.send(&ToOnchaind::Htlcs { htlcs }).await?;
        }
        let start = Start {
            facts,
            state: stored.state,
            feerates: feerates(self.node.chain.view().feerates),
        };
        to.send(&ToOnchaind::Start(Box::new(start))).await?;
        let told = match heard {
            // It forgets the blocks after it by itself: a reorganization may have come while nobody heard it.
            Some(height) => height,
            None => spent.unwrap_or(self.tip).before(1),
        };
        self.onchain.running = Some(Box::new(Onchaind {
            to,
            from,
            process,
            since: Instant::now(),
            commits: FuturesOrdered::new(),
            answers: FuturesUnordered::new(),
            sent: 0,
            handled: None,
            searches: HashSet::new(),
            next_search: 0,
            watched: 0,
            told,
            revoked,
        }));
        for preimage in preimages {
            self.onchain.tell(ToOnchaind::Preimage { preimage }).await;
        }
        if let Some(from) = self.onchain.missed.take() {
            self.onchain.tell_disconnected(from).await;
        }
        self.search(vec![funding]).await;
        Ok(())
    }
}

/// chaind's in the core's words.
#[must_use]
pub fn feerates(from: lightningd_chaind::Feerates) -> Feerates {
    Feerates {
        estimates: from.estimates,
        floor: from.floor,
    }
}
