//! The core: hears the chain, claims what is ours, says how HTLCs end.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use bitcoin::{OutPoint, Transaction, Txid, Witness};
use secp256k1::PublicKey;
use tx::claim::anchor_of;
use tx::commitment::number_of;
use tx::ledger::HtlcKey;
use tx::onchain::{Reply, Request};
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, CommitmentNumber, FeeratePerKw, Preimage, Satoshi};

use crate::action::{
    Action, Broadcast, ClaimId, Coins, Encoded, Event, Facts, Feerates, HtlcEnd, Notice, Standing,
};
use crate::state::{Broadcasted, Confirmed, State};
use crate::tree::{Guesses, Points, Tree};

mod cap;
mod claiming;
mod spoils;
mod telling;
mod twins;
mod unconfirmed;

use claiming::Draft;
use spoils::Spoils;

/// What the last blocks showed is forgotten at a start and told again: a reorg may have been missed.
pub const REWIND: u32 = 6;
/// Unconfirmed transactions of ours are broadcast again after so many blocks.
const AGAIN: u32 = 6;

/// What the signer was asked, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    LocalPoint(CommitmentNumber),
    RevokedPoint(CommitmentNumber),
    Claim(ClaimId),
}

/// One spent channel.
pub struct Onchain {
    facts: Facts,
    state: State,
    /// As in the state, decoded.
    confirmed: Vec<(Transaction, BlockHeight)>,
    /// Of those: they may be many, and each input of what is told is looked up.
    txids: HashSet<Txid>,
    feerates: Feerates,
    /// Worked out from the three above; `None` after one of them has changed.
    tree: Option<Arc<Tree>>,
    /// What the signer said of points; `None`: it has none to give.
    local: BTreeMap<CommitmentNumber, Option<PublicKey>>,
    revoked: BTreeMap<CommitmentNumber, Option<PublicKey>>,
    jobs: VecDeque<Job>,
    /// Claims on their way to a signature.
    drafts: BTreeMap<ClaimId, Draft>,
    /// Outputs for whose claims the wallet had no coins.
    lacking: HashSet<OutPoint>,
    spoils: Spoils,
    guesses: Guesses,
    /// Broadcast, and refused by the backend.
    rejected: BTreeSet<ClaimId>,
    /// Claims of what a reorg or a restart has taken out, and since when.
    missing: BTreeMap<ClaimId, BlockHeight>,
    /// The operator's cap on a fee, if a refusal has shown that it was moved.
    cap: Option<Satoshi>,
    /// The peer's transaction in the mempool, for which the backend does not take ours.
    rival: Option<Transaction>,
    /// The commitment that no block has taken yet, and since when.
    stuck: Option<(Txid, BlockHeight)>,
    watched: HashSet<OutPoint>,
    told: BTreeMap<HtlcKey, HtlcEnd>,
    standing: Option<Standing>,
    over: bool,
}

impl Onchain {
    /// Begins, or goes on from what was persisted last. Blocks are to be told from [`Onchain::height`] on, which is
    /// [`State::resumes_after`]; preimages that are known come as events, too.
    #[must_use]
    pub fn new(facts: Facts, state: Option<State>, feerates: Feerates) -> (Onchain, Vec<Action>) {
        let mut state = state.unwrap_or_default();
        state.rewind(state.resumes_after());
        let decoded = |confirmed: &Confirmed| Some((confirmed.tx.decode()?, confirmed.height));
        let confirmed: Vec<_> = state.confirmed.iter().filter_map(decoded).collect();
        let txids = confirmed.iter().map(|(tx, _)| tx.compute_txid()).collect();
        let mut onchain = Onchain {
            facts,
            state,
            confirmed,
            txids,
            feerates,
            tree: None,
            local: BTreeMap::new(),
            revoked: BTreeMap::new(),
            jobs: VecDeque::new(),
            drafts: BTreeMap::new(),
            lacking: HashSet::new(),
            spoils: Spoils::default(),
            guesses: Guesses::default(),
            rejected: BTreeSet::new(),
            missing: BTreeMap::new(),
            cap: None,
            rival: None,
            stuck: None,
            watched: HashSet::new(),
            told: BTreeMap::new(),
            standing: None,
            over: false,
        };
        let mut actions = Vec::new();
        onchain.ask_points(&mut actions);
        onchain.broadcast_all(&mut actions);
        onchain.advance(&mut actions);
        (onchain, actions)
    }

    /// The last block that counts as told.
    #[must_use]
    pub fn height(&self) -> BlockHeight {
        self.state.height
    }

    /// Reacts to an event. What comes twice changes nothing the second time.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Confirmed { tx, height } => self.confirm(tx, height, &mut actions),
            Event::Block { height } => self.block(height, &mut actions),
            Event::Disconnected { from } => self.disconnect(from, &mut actions),
            Event::Preimage { preimage } => self.learn(preimage, &mut actions),
            Event::Feerates(feerates) => self.feerates = feerates,
            Event::Signer(reply) => self.signer(reply, &mut actions),
            Event::Coins { claim, coins } => self.coins(claim, coins, &mut actions),
            Event::Taken { txid } => self.took(txid, &mut actions),
            Event::Rejected {
                txid,
                reason,
                rival,
            } => self.reject(txid, &reason, rival, &mut actions),
        }
        actions
    }

    fn confirm(&mut self, mut tx: Transaction, height: BlockHeight, actions: &mut Vec<Action>) {
        let txid = tx.compute_txid();
        let is = |(known, _): &(Transaction, _)| known.compute_txid() == txid;
        let known = self.txids.contains(&txid);
        let place = known.then(|| self.confirmed.iter().position(is)).flatten();
        let first = spends(&tx, self.facts.funding.outpoint);
        if let Some(at) = place {
            let stored = self.state.confirmed.get_mut(at);
            if let (Some(known), Some(stored)) = (self.confirmed.get_mut(at), stored) {
                (known.1, stored.height) = (height, height);
            }
            // What came after it on another branch was before it on this one.
            self.forget(|child, at| at < height && spends_any(child, &[txid]));
        } else if first || self.spends_ours(&tx) {
            // A reorg that nobody told of may have been deeper than what is looked at again at a start.
            self.forget(|known, _| tx.input.iter().any(|i| spends(known, i.previous_output)));
            self.strip(&mut tx);
            self.state.confirm(&tx, height);
            self.confirmed.push((tx, height));
            self.txids.insert(txid);
        } else {
            return;
        }
        self.tree = None;
        self.ask_points(actions);
        // What it has may be spent in the same block. A preimage does not wait for the record of where it was seen.
        if let Some(tree) = self.tree() {
            self.watch(&tree, actions);
            self.tell_htlcs(&tree, actions);
        }
        actions.push(Action::Record(Box::new(self.state.clone())));
    }

    /// Takes out what is in no block any more, with all that follows from it.
    fn forget(&mut self, is_gone: impl Fn(&Transaction, BlockHeight) -> bool) {
        let mut gone = Vec::new();
        for (tx, height) in &self.confirmed {
            if is_gone(tx, *height) || spends_any(tx, &gone) {
                gone.push(tx.compute_txid());
            }
        }
        if gone.is_empty() {
            return;
        }
        for txid in &gone {
            self.txids.remove(txid);
        }
        let mut left = (self.confirmed.iter()).map(|(tx, _)| !gone.contains(&tx.compute_txid()));
        let mut stored = std::mem::take(&mut self.state.confirmed);
        stored.retain(|_| left.next().unwrap_or_default());
        self.state.confirmed = stored;
        (self.confirmed).retain(|(tx, _)| !gone.contains(&tx.compute_txid()));
    }

    fn spends_ours(&self, tx: &Transaction) -> bool {
        let mut inputs = tx.input.iter();
        inputs.any(|input| self.is_ours(&input.previous_output))
    }

    /// Whether it is an output of a transaction that is known here.
    fn is_ours(&self, outpoint: &OutPoint) -> bool {
        self.txids.contains(&outpoint.txid)
    }

    /// The peer may add inputs to its HTLC transactions (BOLT 3: SIGHASH_SINGLE and ANYONECANPAY) and show there
    /// what it likes, up to 400 kB. None of that matters here, and the id is the same without it.
    fn strip(&self, tx: &mut Transaction) {
        let funding = self.facts.funding.outpoint;
        for input in &mut tx.input {
            if input.previous_output != funding && !self.is_ours(&input.previous_output) {
                input.witness = Witness::new();
            }
        }
    }

    fn block(&mut self, height: BlockHeight, actions: &mut Vec<Action>) {
        self.state.height = height;
        let again = height.0.is_multiple_of(AGAIN);
        if again {
            self.cap = None;
        }
        // What stands in our commitment's way may be gone.
        if again || self.rival.is_some() {
            self.broadcast_all(actions);
        }
        self.advance(actions);
        actions.push(Action::Record(Box::new(self.state.clone())));
    }

    fn disconnect(&mut self, from: BlockHeight, actions: &mut Vec<Action>) {
        self.tree = None;
        self.confirmed.retain(|(_, height)| *height < from);
        let txids = self.confirmed.iter().map(|(tx, _)| tx.compute_txid());
        self.txids = txids.collect();
        self.state.rewind(from.before(1));
        actions.push(Action::Record(Box::new(self.state.clone())));
        self.broadcast_all(actions);
    }

    fn learn(&mut self, preimage: Preimage, actions: &mut Vec<Action>) {
        let hash = preimage.payment_hash();
        let ours = |known: &crate::action::KnownHtlc| known.htlc.payment_hash == hash;
        if !self.facts.htlcs.iter().any(ours)
            || self.state.preimages.insert(hash, preimage).is_some()
        {
            return;
        }
        self.tree = None;
        actions.push(Action::Persist(Box::new(self.state.clone())));
        self.advance(actions);
    }

    /// Everything that follows from where things stand.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        if self.confirmed.is_empty() {
            self.unconfirmed(actions);
        }
        let Some(tree) = self.tree() else {
            if self.confirmed.is_empty() {
                self.stand(None, actions);
            }
            return;
        };
        self.watch(&tree, actions);
        self.tell_htlcs(&tree, actions);
        self.claim(&tree, actions);
        self.stand(Some(&tree), actions);
    }

    /// What the chain shows; `None` while nothing spends the funding output, or a point is asked for.
    fn tree(&mut self) -> Option<Arc<Tree>> {
        if self.tree.is_none() {
            let (first, _) = self.confirmed.first()?;
            let tree = self.tree_of(&self.confirmed, self.points(first)?)?;
            self.tree = Some(Arc::new(tree));
        }
        self.tree.clone()
    }

    fn tree_of(&self, confirmed: &[(Transaction, BlockHeight)], points: Points) -> Option<Tree> {
        let preimages = &self.state.preimages;
        Tree::grow(&self.facts, points, &self.guesses, confirmed, &|hash| {
            preimages.get(hash).copied()
        })
    }

    /// The points for a transaction that spends the funding output, once all are there.
    fn points(&self, tx: &Transaction) -> Option<Points> {
        let Some(n) = number_of(&self.facts.setup, tx) else {
            return Some(Points::default());
        };
        let revoked = match self.is_revoked(n) {
            true => *self.revoked.get(&n)?,
            false => None,
        };
        Some(Points {
            local: *self.local.get(&n)?,
            revoked,
        })
    }

    /// Whether the peer's commitment of this number is one that it has revoked.
    fn is_revoked(&self, n: CommitmentNumber) -> bool {
        let lowest = self.facts.remote.iter().map(|(n, _)| *n).min();
        lowest.is_some_and(|lowest| n < lowest)
    }

    /// Asks for the points that the spending transaction, and our own commitment, need.
    fn ask_points(&mut self, actions: &mut Vec<Action>) {
        let first = self.confirmed.first().map(|(tx, _)| tx.clone());
        let ours = self.facts.ours.as_ref().and_then(Encoded::decode);
        for tx in first.into_iter().chain(ours).chain(self.rival.clone()) {
            let Some(n) = number_of(&self.facts.setup, &tx) else {
                continue;
            };
            let asked = |job: Job| self.jobs.contains(&job);
            let need_local = !self.local.contains_key(&n) && !asked(Job::LocalPoint(n));
            let need_revoked = self.is_revoked(n)
                && !self.revoked.contains_key(&n)
                && !asked(Job::RevokedPoint(n));
            if need_local {
                self.jobs.push_back(Job::LocalPoint(n));
                actions.push(Action::AskSigner(Request::LocalPoint { n }));
            }
            if need_revoked {
                self.jobs.push_back(Job::RevokedPoint(n));
                actions.push(Action::AskSigner(Request::RevokedPoint { n }));
            }
        }
    }

    fn signer(&mut self, reply: Reply, actions: &mut Vec<Action>) {
        let Some(job) = self.jobs.pop_front() else {
            return;
        };
        let point = match &reply {
            Reply::Point { point } => Some(*point),
            Reply::Signed { .. } | Reply::Refused { .. } => None,
        };
        match job {
            Job::LocalPoint(n) => drop(self.local.insert(n, point)),
            Job::RevokedPoint(n) => drop(self.revoked.insert(n, point)),
            Job::Claim(claim) => {
                return match self.is_misfit(claim, &reply) {
                    true => self.abandon(claim, actions),
                    false => self.signed(claim, reply, actions),
                };
            }
        }
        self.tree = None;
        self.advance(actions);
    }

    fn reject(
        &mut self,
        txid: Txid,
        reason: &str,
        rival: Option<Transaction>,
        actions: &mut Vec<Action>,
    ) {
        let is = |claim: &Broadcasted| {
            claim
                .tx
                .decode()
                .is_some_and(|tx| tx.compute_txid() == txid)
        };
        let found = self.state.claims.iter().find(|(_, claim)| is(claim));
        if let Some(claim) = found.map(|(id, _)| *id) {
            self.rejected.insert(claim);
            self.break_up(claim, reason, rival.as_ref(), actions);
        }
        if self.confirmed.is_empty() {
            self.meet(txid, rival, actions);
        }
    }

    /// Spends of what is ours, or could be taken from us, and of what may show a preimage.
    fn watch(&mut self, tree: &Tree, actions: &mut Vec<Action>) {
        let new: Vec<OutPoint> = (tree.outputs.iter())
            .filter(|output| tree.is_watched(output))
            .map(|output| output.outpoint)
            .filter(|outpoint| !self.watched.contains(outpoint))
            .collect();
        if !new.is_empty() {
            self.watched.extend(new.iter().copied());
            actions.push(Action::Watch(new));
        }
    }

    /// Confirmations of what is in the block at `height`.
    fn depth(&self, height: BlockHeight) -> u32 {
        self.state.height.depth(height)
    }

    fn is_reasonable(&self, height: BlockHeight) -> bool {
        self.depth(height) >= self.facts.terms.reasonable_depth.max(1)
    }

    fn is_buried(&self, height: BlockHeight) -> bool {
        self.depth(height) >= self.facts.terms.burial_depth.max(1)
    }
}

/// Whether `tx` spends an output of one of these.
fn spends_any(tx: &Transaction, txids: &[Txid]) -> bool {
    let mut inputs = tx.input.iter();
    inputs.any(|input| txids.contains(&input.previous_output.txid))
}

/// Whether `tx` spends this output.
fn spends(tx: &Transaction, outpoint: OutPoint) -> bool {
    tx.input
        .iter()
        .any(|input| input.previous_output == outpoint)
}
