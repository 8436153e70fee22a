//! Before a block has the transaction that spends the funding output: our own is broadcast, and our
//! commitment is made worth mining by a child of its anchor.

use super::claiming::{Draft, What};
use super::{
    Action, Broadcast, ClaimId, Encoded, Onchain, OutPoint, Request, Satoshi, Transaction,
    anchor_of, number_of, spends,
};
use crate::claims::{COIN_WEIGHT, FIXED_WEIGHT, INPUT_WEIGHT, at_stake, commitment_deadline};
use crate::feerates::share;
use tx::claim::FeeCoin;
use tx::fees::ANCHOR_VALUE;

/// Weight of the anchor's child without coins and change; the input's witness is a signature and the script.
const CHILD_WEIGHT: u64 = FIXED_WEIGHT + INPUT_WEIGHT + 116;

impl Onchain {
    fn ours(&self) -> Option<Transaction> {
        self.facts.ours.as_ref().and_then(Encoded::decode)
    }

    /// Our transaction that an unconfirmed claim spends from.
    pub(super) fn parent_of(&self, child: &Transaction) -> Option<Transaction> {
        let ours = self.ours().filter(|_| self.confirmed.is_empty())?;
        let txid = ours.compute_txid();
        let is_parent = |input: &bitcoin::TxIn| input.previous_output.txid == txid;
        child.input.iter().any(is_parent).then_some(ours)
    }

    /// All of ours that is in no block.
    pub(super) fn broadcast_all(&self, actions: &mut Vec<Action>) {
        if let (true, Some(tx)) = (self.confirmed.is_empty(), self.ours()) {
            actions.push(Action::Broadcast(Broadcast { tx, parent: None }));
        }
        self.broadcast_claims(actions);
    }

    /// BOLT 5, General Requirements: a commitment of ours that pays too little gets a child that pays.
    pub(super) fn unconfirmed(&mut self, actions: &mut Vec<Action>) {
        let Some(ours) = self.ours() else { return };
        if number_of(&self.facts.setup, &ours).is_none()
            || !spends(&ours, self.facts.funding.outpoint)
        {
            return;
        }
        let (Some(anchor), Some(points)) =
            (anchor_of(&self.facts.setup, &ours), self.points(&ours))
        else {
            return;
        };
        let at = [(ours, self.state.height)];
        let Some(tree) = self.tree_of(&at, points) else {
            return;
        };
        let [(ours, _)] = at;
        let deadline = commitment_deadline(&tree);
        let (id, before) = self.child_of(anchor);
        let wanted = match before.and_then(|id| self.state.claims.get(&id)) {
            Some(claim) => self.feerates.raised(claim, deadline, self.state.height),
            None => Some(self.feerates.before(deadline, self.state.height)),
        };
        let Some(feerate) = wanted.filter(|_| !self.drafts.contains_key(&id)) else {
            return;
        };
        let (weight, paid) = (ours.weight().to_wu(), self.fee_of(&ours));
        if before.is_none() && feerate.fee(weight) <= paid {
            return;
        }
        if before.is_none() {
            self.state.next_claim = self.state.next_claim.saturating_add(1);
        }
        let most = share(at_stake(&tree), self.facts.terms.anchor_part);
        let draft = Draft {
            takes: vec![anchor],
            feerate,
            fee: Satoshi::ZERO,
            funded: true,
            what: What::Anchor(ours),
        };
        let value = paid.saturating_add(ANCHOR_VALUE);
        let weight = weight.saturating_add(CHILD_WEIGHT);
        self.need_coins(id, draft, weight, value, most.saturating_add(paid), actions);
    }

    /// The claim of this anchor, if there is one; else the next one's name.
    fn child_of(&self, anchor: OutPoint) -> (ClaimId, Option<ClaimId>) {
        let of = |takes: &Vec<OutPoint>| takes.contains(&anchor);
        let mut claims = self.state.claims.iter();
        let claim = claims
            .find(|(_, claim)| of(&claim.takes))
            .map(|(id, _)| *id);
        let mut drafts = self.drafts.iter();
        let draft = drafts
            .find(|(_, draft)| of(&draft.takes))
            .map(|(id, _)| *id);
        let next = ClaimId(self.state.next_claim);
        (claim.or(draft).unwrap_or(next), claim)
    }

    /// What a transaction that spends the funding output alone pays.
    fn fee_of(&self, tx: &Transaction) -> Satoshi {
        let out = tx
            .output
            .iter()
            .map(|output| Satoshi(output.value.to_sat()));
        let out = out.fold(Satoshi::ZERO, Satoshi::saturating_add);
        self.facts.funding.value.saturating_sub(out)
    }

    /// `fee` is that of parent and child; the child pays what the parent does not.
    pub(super) fn anchor_request(
        &self,
        commitment: &Transaction,
        coins: Vec<FeeCoin>,
        fee: Satoshi,
    ) -> Option<Request> {
        let count = u64::try_from(coins.len()).ok()?;
        let weight = CHILD_WEIGHT.saturating_add(COIN_WEIGHT.saturating_mul(count));
        let own = self.feerates.least().fee(weight);
        let commitment_fee = self.fee_of(commitment);
        Some(Request::Anchor {
            commitment: tx::onchain::ParentTx(bitcoin::consensus::serialize(commitment)),
            coins,
            fee: fee.saturating_sub(commitment_fee).max(own),
        })
    }
}
