//! Before a block has the transaction that spends the funding output: our own is broadcast, and the
//! commitment that can be mined, ours or the peer's, is made worth mining by a child of our anchor in it.

use super::claiming::{Draft, Parent, What};
use super::{
    Action, Broadcast, ClaimId, Encoded, Onchain, OutPoint, Satoshi, Transaction, anchor_of,
    number_of, spends,
};
use crate::action::Spender;
use crate::claims::{FIXED_WEIGHT, INPUT_WEIGHT, at_stake, commitment_deadline};
use crate::feerates::{is_urgent, quarter_more, rate_of, share};
use tx::fees::ANCHOR_VALUE;
use wire::{BlockHeight, FeeratePerKw};

/// Weight of the anchor's child without coins and change; the input's witness is a signature and the script.
const CHILD_WEIGHT: u64 = FIXED_WEIGHT + INPUT_WEIGHT + 116;

impl Onchain {
    fn ours(&self) -> Option<Transaction> {
        self.facts.ours.as_ref().and_then(Encoded::decode)
    }

    /// The unconfirmed transaction that a claim spends from.
    pub(super) fn parent_of(&self, child: &Transaction) -> Option<Transaction> {
        let unconfirmed = self.ours().into_iter().chain(self.rival.clone());
        let mut unconfirmed = unconfirmed.filter(|_| self.confirmed.is_empty());
        unconfirmed.find(|parent| {
            let txid = parent.compute_txid();
            let is_parent = |input: &bitcoin::TxIn| input.previous_output.txid == txid;
            child.input.iter().any(is_parent)
        })
    }

    /// The backend takes neither ours nor the child of one: the mempool has the peer's, or has it no more.
    pub(super) fn meet(
        &mut self,
        txid: bitcoin::Txid,
        rival: Option<Transaction>,
        actions: &mut Vec<Action>,
    ) {
        let ours = self.ours().map(|ours| ours.compute_txid());
        let is_rival = |tx: &Transaction| {
            spends(tx, self.facts.funding.outpoint) && Some(tx.compute_txid()) != ours
        };
        let rival = rival.filter(is_rival);
        let concerned = ours == Some(txid) || self.claims_anchor(txid);
        if concerned {
            self.race(rival, actions);
        }
    }

    /// The mempool has ours, and so nothing that spends the same.
    pub(super) fn took(&mut self, txid: bitcoin::Txid, actions: &mut Vec<Action>) {
        let is_ours = |ours: Transaction| ours.compute_txid() == txid;
        if self.confirmed.is_empty() && self.ours().is_some_and(is_ours) {
            self.race(None, actions);
        }
    }

    fn race(&mut self, rival: Option<Transaction>, actions: &mut Vec<Action>) {
        if self.rival == rival {
            return;
        }
        self.rival = rival;
        self.ask_points(actions);
        self.unconfirmed(actions);
        self.stand(None, actions);
    }

    /// Whether this is the child of an anchor.
    fn claims_anchor(&self, txid: bitcoin::Txid) -> bool {
        let parents: Vec<_> = self.ours().into_iter().chain(self.rival.clone()).collect();
        let anchors = parents
            .iter()
            .filter_map(|tx| anchor_of(&self.facts.setup, tx));
        let anchors: Vec<OutPoint> = anchors.collect();
        self.state.claims.values().any(|claim| {
            claim.takes.iter().any(|taken| anchors.contains(taken))
                && claim
                    .tx
                    .decode()
                    .is_some_and(|tx| tx.compute_txid() == txid)
        })
    }

    /// All of ours that is in no block.
    pub(super) fn broadcast_all(&self, actions: &mut Vec<Action>) {
        if let (true, Some(tx)) = (self.confirmed.is_empty(), self.ours()) {
            actions.push(Action::Broadcast(Broadcast { tx, parent: None }));
        }
        self.broadcast_claims(actions);
    }

    /// BOLT 5, General Requirements: a commitment of ours that pays too little gets a child that pays. So
    /// does the peer's, if that is the one that can be mined and our HTLCs hang on it.
    pub(super) fn unconfirmed(&mut self, actions: &mut Vec<Action>) {
        let Some(commitment) = self.rival.clone().or_else(|| self.ours()) else {
            return;
        };
        if number_of(&self.facts.setup, &commitment).is_none()
            || !spends(&commitment, self.facts.funding.outpoint)
        {
            return;
        }
        let (Some(anchor), Some(points)) = (
            anchor_of(&self.facts.setup, &commitment),
            self.points(&commitment),
        ) else {
            return;
        };
        let at = [(commitment, self.state.height)];
        let Some(tree) = self.tree_of(&at, points) else {
            return;
        };
        let [(commitment, _)] = at;
        let deadline = commitment_deadline(&tree);
        match tree.spender {
            Spender::Ours => {}
            // Without a deadline the peer may see to it itself.
            Spender::Theirs if deadline.is_some() => {}
            Spender::Theirs | Spender::Revoked | Spender::Unknown | Spender::MutualClose => return,
        }
        let (id, before) = self.child_of(anchor);
        let (weight, paid) = (commitment.weight().to_wu(), self.fee_of(&commitment));
        let wanted = match before.and_then(|id| self.state.claims.get(&id)) {
            Some(claim) => self.feerates.raised(claim, deadline, self.state.height),
            None => self.first_child(&commitment, deadline),
        };
        let Some(feerate) = wanted.filter(|_| !self.drafts.contains_key(&id)) else {
            return;
        };
        if id.0 == self.state.next_claim {
            self.next_claim();
        }
        let stake = share(at_stake(&tree), self.facts.terms.anchor_part);
        let draft = Draft {
            takes: vec![anchor],
            feerate,
            fee: Satoshi::ZERO,
            funded: true,
            weight: CHILD_WEIGHT,
            before: before.and_then(|id| Some(self.state.claims.get(&id)?.fee)),
            most: stake.min(self.anchor_cap()),
            what: What::Anchor(commitment),
        };
        self.need_coins(id, draft, Parent { weight, paid }, ANCHOR_VALUE, actions);
    }

    /// What a commitment without a child is to pay together with one; `None` if it pays enough.
    fn first_child(
        &mut self,
        commitment: &Transaction,
        deadline: Option<BlockHeight>,
    ) -> Option<FeeratePerKw> {
        let (txid, height) = (commitment.compute_txid(), self.state.height);
        let since = match self.stuck {
            Some((known, since)) if known == txid => since,
            Some(_) | None => height,
        };
        self.stuck = Some((txid, since));
        let (weight, paid) = (commitment.weight().to_wu(), self.fee_of(commitment));
        let estimate = self.feerates.before(deadline, height);
        // Whatever the estimate says: no block has taken it.
        let wanted = match is_urgent(deadline, height) && height > since {
            true => estimate.max(quarter_more(rate_of(paid, weight))),
            false => estimate,
        };
        (wanted.fee(weight) > paid).then_some(wanted)
    }

    /// The claim of our anchor, whichever commitment's; else the next one's name. The second says whether
    /// it takes this one, so that it is replaced.
    fn child_of(&self, anchor: OutPoint) -> (ClaimId, Option<ClaimId>) {
        let parents = self.ours().into_iter().chain(self.rival.clone());
        let anchors = parents.filter_map(|tx| anchor_of(&self.facts.setup, &tx));
        let anchors: Vec<OutPoint> = anchors.collect();
        let of = |takes: &Vec<OutPoint>| takes.iter().any(|taken| anchors.contains(taken));
        let mut claims = self.state.claims.iter();
        let claim = claims.find(|(_, claim)| of(&claim.takes));
        let mut drafts = self.drafts.iter();
        let draft = drafts
            .find(|(_, draft)| of(&draft.takes))
            .map(|(id, _)| *id);
        let same = claim.filter(|(_, claim)| claim.takes.contains(&anchor));
        let next = ClaimId(self.state.next_claim);
        let id = claim.map(|(id, _)| *id).or(draft).unwrap_or(next);
        (id, same.map(|(id, _)| *id))
    }

    /// What a transaction that spends the funding output alone pays.
    pub(super) fn fee_of(&self, tx: &Transaction) -> Satoshi {
        let out = tx
            .output
            .iter()
            .map(|output| Satoshi(output.value.to_sat()));
        let out = out.fold(Satoshi::ZERO, Satoshi::saturating_add);
        self.facts.funding.value.saturating_sub(out)
    }
}
