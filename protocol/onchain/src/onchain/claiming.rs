//! Claims: drafted, signed, broadcast, raised, and given up when somebody else took an output.

use super::{
    Action, BTreeMap, BTreeSet, Broadcast, Broadcasted, ClaimId, Coins, Encoded, FeeratePerKw, Job,
    Onchain, OutPoint, REWIND, Reply, Request, Satoshi, Transaction, Tree,
};
use crate::action::Held;
use crate::claims::{Builder, CHANGE_WEIGHT, DUST, Group, LEAST_COIN, coin_weight, htlc_list};
use crate::feerates::{fee, least, rate_for, rate_of};
use crate::plan::Plan;
use crate::tree::{Output, Spent};
use tx::claim::FeeCoin;
use tx::fees::ANCHOR_VALUE;
use tx::onchain::ParentTx;
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, Side};

/// hsmd's rules of what a claim may cost.
const FEE_RULES: [&str; 2] = ["X2", "X4"];

/// A claim on its way to a signature.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub takes: Vec<OutPoint>,
    pub feerate: FeeratePerKw,
    pub fee: Satoshi,
    pub funded: bool,
    /// Without coins and change; only of what coins are needed for.
    pub weight: u64,
    /// The fee of what it replaces.
    pub before: Option<Satoshi>,
    /// Most that its fee may be.
    pub most: Satoshi,
    pub what: What,
}

/// What is asked for when its coins are there.
#[derive(Clone, Debug)]
pub(super) enum What {
    Sweep,
    Htlcs(Group),
    /// A child of this commitment.
    Anchor(Transaction),
}

/// What a claim's coins pay for besides it: an unconfirmed parent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parent {
    pub weight: u64,
    /// What it pays itself.
    pub paid: Satoshi,
}

impl Draft {
    /// With its coins and change.
    fn full_weight(&self, coins: impl Iterator<Item = u64>) -> u64 {
        let own = self.weight.saturating_add(CHANGE_WEIGHT);
        coins.fold(own, u64::saturating_add)
    }
}

impl Onchain {
    pub(super) fn claim(&mut self, tree: &Tree, actions: &mut Vec<Action>) {
        self.drop_spent(tree, actions);
        let ids: Vec<ClaimId> = self.state.claims.keys().copied().collect();
        for id in ids {
            self.raise(id, tree, actions);
        }
        self.begin_claims(tree, actions);
    }

    /// Whether each of these can still be taken.
    fn all_open(tree: &Tree, takes: &[OutPoint]) -> bool {
        let open = |outpoint: &OutPoint| {
            let is = |output: &&Output| output.outpoint == *outpoint;
            tree.outputs
                .iter()
                .find(is)
                .is_some_and(|output| output.spent.is_none())
        };
        takes.iter().all(open)
    }

    /// Forgets claims of which something was taken for good; notes when it was the peer who broke one.
    fn drop_spent(&mut self, tree: &Tree, actions: &mut Vec<Action>) {
        let (height, mut gone, mut spoilt) = (self.state.height, Vec::new(), Vec::new());
        for (id, claim) in &self.state.claims {
            let txid = claim.tx.decode().map(|tx| tx.compute_txid());
            let taken = |outpoint: &OutPoint| {
                let is = |output: &&Output| output.outpoint == *outpoint;
                tree.outputs.iter().find(is).and_then(|output| output.spent)
            };
            let spends: Vec<_> = claim.takes.iter().filter_map(taken).collect();
            // An older version of it is no doing of the peer's.
            let other = |spent: &Spent| spent.by == Side::Remote && Some(spent.txid) != txid;
            let broken = spends.iter().any(other);
            if broken && claim.takes.len() > 1 {
                spoilt.push((*id, claim.takes.clone(), claim.funded));
            }
            let buried = spends.iter().any(|spent| self.is_buried(spent.height));
            if broken || buried || is_missed(&mut self.missing, *id, claim, tree, height) {
                gone.push((*id, claim.funded));
            }
        }
        for (id, takes, funded) in spoilt {
            self.take_apart(id, &takes, funded);
        }
        for (id, funded) in gone {
            self.state.claims.remove(&id);
            self.missing.remove(&id);
            if funded {
                actions.push(Action::FreeCoins { claim: id });
            }
        }
        let stale = |draft: &Draft| match draft.what {
            What::Sweep | What::Htlcs(_) => !Self::all_open(tree, &draft.takes),
            What::Anchor(_) => true,
        };
        let stale: Vec<ClaimId> = (self.drafts.iter())
            .filter(|(_, d)| stale(d))
            .map(|(id, _)| *id)
            .collect();
        for id in stale {
            self.abandon(id, actions);
        }
    }

    pub(super) fn abandon(&mut self, id: ClaimId, actions: &mut Vec<Action>) {
        let draft = self.drafts.remove(&id);
        if draft.is_some_and(|draft| draft.funded) && !self.state.claims.contains_key(&id) {
            actions.push(Action::FreeCoins { claim: id });
        }
    }

    /// A draft that came to nothing: its coins are free, unless a claim that was broadcast has them.
    fn give_up(&self, id: ClaimId, actions: &mut Vec<Action>) {
        if !self.state.claims.contains_key(&id) {
            actions.push(Action::FreeCoins { claim: id });
        }
    }

    /// A broadcast claim that no block takes pays more.
    fn raise(&mut self, id: ClaimId, tree: &Tree, actions: &mut Vec<Action>) {
        let Some(claim) = self.state.claims.get(&id) else {
            return;
        };
        if self.drafts.contains_key(&id) || !Self::all_open(tree, &claim.takes) {
            return;
        }
        let of_claim = |output: &&Output| claim.takes.contains(&output.outpoint);
        let outputs: Vec<Output> = tree.outputs.iter().filter(of_claim).cloned().collect();
        let Some(group) = Group::of(outputs) else {
            return;
        };
        let (height, deadline) = (self.state.height, group.deadline());
        let refused = self.rejected.remove(&id);
        let raised = match self.feerates.raised(claim, deadline, height) {
            None if refused => Some(self.feerates.before(deadline, height)),
            raised => raised,
        };
        if let Some(feerate) = raised {
            let before = claim.fee;
            self.draft_below_cap(id, group, feerate, Some(before), tree, actions);
        }
    }

    fn begin_claims(&mut self, tree: &Tree, actions: &mut Vec<Action>) {
        let claims = self.state.claims.values().map(|claim| &claim.takes);
        let drafts = self.drafts.values().map(|draft| &draft.takes);
        let covered: BTreeSet<OutPoint> = claims.chain(drafts).flatten().copied().collect();
        let builder = self.builder(tree);
        let open = tree.outputs.iter().filter(|output| {
            output.spent.is_none()
                && !covered.contains(&output.outpoint)
                && builder.is_worth_its_input(output, &self.feerates)
        });
        let height = self.state.height;
        let stand = |output: &Output| self.stand_of(tree, output);
        for group in Group::form(open, self.state.split, stand, height) {
            let feerate = self.feerates.before(group.deadline(), height);
            let id = self.next_claim();
            self.draft_below_cap(id, group, feerate, None, tree, actions);
        }
    }

    pub(super) fn next_claim(&mut self) -> ClaimId {
        let id = ClaimId(self.state.next_claim);
        self.state.next_claim = self.state.next_claim.saturating_add(1);
        id
    }

    pub(super) fn builder<'a>(&'a self, tree: &'a Tree) -> Builder<'a> {
        Builder {
            facts: &self.facts,
            tree,
            txs: &self.confirmed,
            max_fee: self.max_fee(),
        }
    }

    /// Asks for the signature, or first for the coins. `before`: the fee of what it replaces.
    pub(super) fn draft(
        &mut self,
        id: ClaimId,
        group: Group,
        feerate: FeeratePerKw,
        before: Option<Satoshi>,
        tree: &Tree,
        actions: &mut Vec<Action>,
    ) {
        let most = self.builder(tree).most(group.value());
        let mut draft = Draft {
            takes: group.takes(),
            feerate,
            fee: Satoshi::ZERO,
            funded: false,
            weight: 0,
            before,
            most,
            what: What::Sweep,
        };
        match &group {
            Group::Sweep(outputs) => {
                // What is left is worth an output.
                let most = most.min(group.value().saturating_sub(DUST));
                if let Some((fee, request)) = self.sweep(outputs, feerate, most, before, tree) {
                    draft.fee = fee;
                    self.ask(id, draft, request, actions);
                }
            }
            Group::Htlcs(outputs) => match self.facts.setup.format {
                // The fee was fixed when the peer signed: there is nothing to raise.
                CommitmentFormat::StaticRemotekey if before.is_some() => {}
                CommitmentFormat::StaticRemotekey => {
                    let request = Request::HtlcTxs {
                        htlcs: htlc_list(outputs),
                        coins: Vec::new(),
                        fee: Satoshi::ZERO,
                    };
                    draft.what = What::Htlcs(group);
                    self.ask(id, draft, request, actions);
                }
                CommitmentFormat::AnchorsZeroFeeHtlc => {
                    let weight = self.builder(tree).htlcs_weight(outputs);
                    if fee(&self.feerates, feerate, weight, most, before).is_some() {
                        (draft.funded, draft.weight) = (true, weight);
                        draft.what = What::Htlcs(group);
                        self.need_coins(id, draft, Parent::default(), Satoshi::ZERO, actions);
                    }
                }
            },
        }
    }

    /// The fee and the question; `None` if the fee would be none that is relayed, or too much.
    fn sweep(
        &self,
        outputs: &[Output],
        feerate: FeeratePerKw,
        most: Satoshi,
        before: Option<Satoshi>,
        tree: &Tree,
    ) -> Option<(Satoshi, Request)> {
        let builder = self.builder(tree);
        let weight = builder.sweep_weight(outputs)?;
        let fee = fee(&self.feerates, feerate, weight, most, before)?;
        Some((fee, builder.sweep(outputs, fee)?))
    }

    /// `value`: what its inputs bring more than its outputs take. The feerate is one at which it is a replacement
    /// (BIP 125) with as many coins as the claim before it has.
    pub(super) fn need_coins(
        &mut self,
        claim: ClaimId,
        draft: Draft,
        parent: Parent,
        value: Satoshi,
        actions: &mut Vec<Action>,
    ) {
        let own = draft.full_weight(self.coins_of(claim));
        let least = least(&self.feerates, own, draft.before).saturating_add(parent.paid);
        let relayed = rate_for(least, own.saturating_add(parent.weight));
        actions.push(Action::NeedCoins {
            claim,
            weight: draft.weight.saturating_add(parent.weight),
            value: value.saturating_add(parent.paid),
            feerate: draft.feerate.max(relayed),
            most: draft.most.saturating_add(parent.paid),
        });
        self.drafts.insert(claim, draft);
    }

    /// Weights of the coins that the claim has, or of the one that it needs, at least.
    fn coins_of(&self, id: ClaimId) -> impl Iterator<Item = u64> + use<> {
        // All else that it takes is of one commitment.
        let coins = |claim: &Broadcasted| {
            let commitment = claim.takes.first()?.txid;
            let tx = claim.tx.decode()?;
            let spent = tx.input.iter().map(|input| input.previous_output.txid);
            Some(spent.filter(|txid| *txid != commitment).count())
        };
        let coins = self.state.claims.get(&id).and_then(coins);
        std::iter::repeat_n(LEAST_COIN, coins.unwrap_or(1).max(1))
    }

    fn ask(&mut self, id: ClaimId, draft: Draft, request: Request, actions: &mut Vec<Action>) {
        self.drafts.insert(id, draft);
        self.jobs.push_back(Job::Claim(id));
        actions.push(Action::AskSigner(request));
    }

    pub(super) fn coins(&mut self, id: ClaimId, coins: Option<Coins>, actions: &mut Vec<Action>) {
        let Some(mut draft) = self.drafts.remove(&id) else {
            if coins.is_some() && !self.state.claims.contains_key(&id) {
                actions.push(Action::FreeCoins { claim: id });
            }
            return;
        };
        // The wallet may have some in the next block.
        let Some(Coins { coins, fee }) = coins else {
            return self.lacking.extend(draft.takes);
        };
        for outpoint in &draft.takes {
            self.lacking.remove(outpoint);
        }
        // What they cannot pay, better ones may later.
        let Some((fee, request)) = self.funded(&draft, coins, fee) else {
            return self.give_up(id, actions);
        };
        draft.fee = fee;
        self.ask(id, draft, request, actions);
    }

    /// The fee and the question; `None` if the fee would be none that is relayed, or too much, or if it would leave
    /// no change: hsmd would refuse it. `fee` is what the coins are to pay, with an unconfirmed parent's.
    fn funded(
        &self,
        draft: &Draft,
        coins: Vec<FeeCoin>,
        fee: Satoshi,
    ) -> Option<(Satoshi, Request)> {
        let weight = draft.full_weight(coins.iter().map(|coin| coin_weight(coin.kind)));
        let least = least(&self.feerates, weight, draft.before);
        let (paid, value) = match &draft.what {
            // The child pays what the parent does not.
            What::Anchor(commitment) => (self.fee_of(commitment), ANCHOR_VALUE),
            What::Htlcs(_) | What::Sweep => (Satoshi::ZERO, Satoshi::ZERO),
        };
        let fee = fee.saturating_sub(paid).max(least);
        let values = coins.iter().map(|coin| coin.value);
        let brought = values.fold(value, Satoshi::saturating_add);
        if fee > draft.most || brought.saturating_sub(fee) < DUST {
            return None;
        }
        let request = match &draft.what {
            What::Htlcs(group) => Request::HtlcTxs {
                htlcs: htlc_list(group.outputs()),
                coins,
                fee,
            },
            What::Anchor(commitment) => Request::Anchor {
                commitment: ParentTx::of(commitment),
                coins,
                fee,
            },
            What::Sweep => return None,
        };
        Some((fee, request))
    }

    pub(super) fn signed(&mut self, id: ClaimId, reply: Reply, actions: &mut Vec<Action>) {
        let tx = match reply {
            Reply::Signed { tx } => Encoded(tx),
            Reply::Refused { rule, .. } => return self.refused(id, &rule, actions),
            Reply::Point { .. } => return self.abandon(id, actions),
        };
        let (Some(draft), Some(decoded)) = (self.drafts.remove(&id), tx.decode()) else {
            return;
        };
        let feerate = self.pays(&draft, &decoded);
        let parent = match draft.what {
            What::Anchor(commitment) => Some(commitment),
            What::Sweep | What::Htlcs(_) => None,
        };
        let claim = Broadcasted {
            tx,
            takes: draft.takes,
            fee: draft.fee,
            feerate,
            at: self.state.height,
            funded: draft.funded,
        };
        self.state.claims.insert(id, claim);
        actions.push(Action::Record(Box::new(self.state.clone())));
        actions.push(Action::Broadcast(Broadcast {
            tx: decoded,
            parent,
        }));
    }

    /// What a claim pays with its parent: the cap, or the worth of what it takes, may hold it below what was wanted.
    fn pays(&self, draft: &Draft, tx: &Transaction) -> FeeratePerKw {
        let (weight, paid) = match &draft.what {
            What::Anchor(parent) => (parent.weight().to_wu(), self.fee_of(parent)),
            What::Sweep | What::Htlcs(_) => (0, Satoshi::ZERO),
        };
        let weight = weight.saturating_add(tx.weight().to_wu());
        let pays = rate_of(draft.fee.saturating_add(paid), weight);
        draft.feerate.min(pays)
    }

    /// It is tried again with the next block; at once with less if it was for its fee.
    fn refused(&mut self, id: ClaimId, rule: &str, actions: &mut Vec<Action>) {
        let fee = self.drafts.get(&id).map(|draft| draft.fee);
        self.abandon(id, actions);
        let is_of_fees = FEE_RULES.contains(&rule);
        if fee.is_some_and(|fee| is_of_fees && self.lower_cap(fee)) {
            self.advance(actions);
        }
    }

    /// The claim of ours that was broadcast and takes this output.
    pub(super) fn claim_of(&self, outpoint: &OutPoint) -> Option<(&Broadcasted, Transaction)> {
        let mut claims = self.state.claims.values();
        let claim = claims.find(|claim| claim.takes.contains(outpoint))?;
        Some((claim, claim.tx.decode()?))
    }

    /// Whether this claim would pay more, if it might.
    pub(super) fn held(&self, tree: &Tree, claim: &Broadcasted, tx: &Transaction) -> Option<Held> {
        let taken = |output: &&Output| claim.takes.contains(&output.outpoint);
        let taken = || tree.outputs.iter().filter(taken);
        let values = taken().map(|output| output.value);
        let value = values.fold(Satoshi::ZERO, Satoshi::saturating_add);
        // Without anchors the fee of an HTLC transaction was fixed when the peer signed it.
        let fixed = self.facts.setup.format == CommitmentFormat::StaticRemotekey
            && taken().any(|output| matches!(output.plan, Plan::HtlcTx { .. }));
        let (fee, most) = match fixed {
            true => {
                let out = tx.output.iter().map(|output| output.value.to_sat());
                let fee = value.saturating_sub(Satoshi(out.sum()));
                (fee, fee)
            }
            false => (claim.fee, self.builder(tree).most(value)),
        };
        let deadline = taken().filter_map(|output| output.plan.deadline()).min();
        let wanted = self.feerates.before(deadline, self.state.height);
        let weight = tx.weight().to_wu();
        let pays = rate_of(fee, weight);
        // An anchor is worth nothing by itself: its claim is the commitment's fee.
        let is_ours = taken().any(|output| output.plan.from().is_some());
        (is_ours && pays < wanted && wanted.fee(weight) > most).then_some(Held { pays, wanted })
    }

    pub(super) fn broadcast_claims(&self, actions: &mut Vec<Action>) {
        for claim in self.state.claims.values() {
            let Some(tx) = claim.tx.decode() else {
                continue;
            };
            if !self.txids.contains(&tx.compute_txid()) {
                let parent = self.parent_of(&tx);
                actions.push(Action::Broadcast(Broadcast { tx, parent }));
            }
        }
    }
}

/// Whether what a claim takes has been away for longer than a restart or a reorg keeps it away. What it was raised to
/// is kept until then. What coins pay for is of a commitment: once there is another it does not come again.
fn is_missed(
    missing: &mut BTreeMap<ClaimId, BlockHeight>,
    id: ClaimId,
    claim: &Broadcasted,
    tree: &Tree,
    height: BlockHeight,
) -> bool {
    let known = |outpoint: &OutPoint| {
        let mut outputs = tree.outputs.iter();
        outputs.any(|output| output.outpoint == *outpoint)
    };
    if claim.takes.iter().all(known) {
        missing.remove(&id);
        return false;
    }
    let since = *missing.entry(id).or_insert(height);
    claim.funded || height.since(since) > REWIND
}
