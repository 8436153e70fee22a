//! The operator's cap on a fee (X2, X4): hsmd refuses what is above it and tells nobody when it is moved. It is as it
//! was made until a refusal shows that it is lower; and what would go above it is claimed in several.

use std::iter::successors;

use super::{Action, ClaimId, CommitmentFormat, FeeratePerKw, Onchain, Satoshi, Tree};
use crate::claims::{COIN_WEIGHT, Group};
use crate::feerates::{fee, least, share};

/// hsmd takes no lower cap.
const LEAST_CAP: Satoshi = Satoshi(1000);
/// A claim of several begins with one in so many of the cap: it can be raised, and its parts can replace it.
const ROOM: u64 = 2;

impl Onchain {
    pub(super) fn max_fee(&self) -> Satoshi {
        self.cap.unwrap_or(self.facts.terms.max_fee)
    }

    /// A commitment's child cannot be taken apart: what it needs is asked for, since the cap may be higher.
    pub(super) fn anchor_cap(&self) -> Satoshi {
        self.cap.unwrap_or(Satoshi(u64::MAX))
    }

    /// hsmd refused this fee. Whether less can be asked for.
    pub(super) fn lower_cap(&mut self, refused: Satoshi) -> bool {
        if refused <= LEAST_CAP {
            return false;
        }
        let made = self.facts.terms.max_fee;
        let lower = match refused > made {
            true => made,
            false => Satoshi(refused.0 / 2).max(LEAST_CAP),
        };
        self.cap = Some(self.max_fee().min(lower));
        true
    }

    /// Asks for a claim of these, or for several. The first of them replaces the claim of this name.
    pub(super) fn draft_below_cap(
        &mut self,
        id: ClaimId,
        group: Group,
        feerate: FeeratePerKw,
        before: Option<Satoshi>,
        tree: &Tree,
        actions: &mut Vec<Action>,
    ) {
        let mut parts = self.parts(group, feerate, before, tree).into_iter();
        let Some(first) = parts.next() else { return };
        // What it has no more is claimed by the others.
        if let Some(claim) = self.state.claims.get_mut(&id) {
            claim.takes = first.takes();
        }
        self.draft(id, first, feerate, before, tree, actions);
        for part in parts {
            let id = self.next_claim();
            self.draft(id, part, feerate, None, tree, actions);
        }
    }

    /// What is halved until each part has room below the cap. What replaces a claim stays whole if no part could pay
    /// for that.
    fn parts(
        &self,
        group: Group,
        feerate: FeeratePerKw,
        before: Option<Satoshi>,
        tree: &Tree,
    ) -> Vec<Group> {
        if self.has_room(&group, feerate, before, tree) {
            return vec![group];
        }
        let must = before.is_none() || !self.builder(tree).can_be_shown(group.outputs());
        // The first half, or the first of that when it is halved further.
        let can_pay = |first: &Group| {
            let half = |group: &Group| group.halves().map(|(first, _)| first);
            let mut firsts = successors(Some(first.clone()), half);
            firsts.any(|part| self.can_pay(&part, feerate, before, tree))
        };
        match group.halves() {
            Some((first, rest)) if must || can_pay(&first) => {
                let mut parts = self.parts(first, feerate, before, tree);
                parts.extend(self.parts(rest, feerate, None, tree));
                parts
            }
            Some(_) | None => vec![group],
        }
    }

    fn has_room(
        &self,
        group: &Group,
        feerate: FeeratePerKw,
        before: Option<Satoshi>,
        tree: &Tree,
    ) -> bool {
        if !self.builder(tree).can_be_shown(group.outputs()) {
            return false;
        }
        let cap = self.max_fee();
        // What it takes is a lower bound.
        if share(group.value(), self.facts.terms.fee_part) <= cap {
            return true;
        }
        // For another part of what is broadcast the wallet may have no coins.
        let room = match (group, before) {
            (Group::Htlcs(_), Some(_)) => 1,
            (Group::Htlcs(_), None) | (Group::Sweep(_), _) => ROOM,
        };
        self.full_weight(group, tree).is_none_or(|weight| {
            let fee = feerate
                .fee(weight)
                .max(least(&self.feerates, weight, before));
            fee.0 <= cap.0 / room
        })
    }

    fn can_pay(
        &self,
        group: &Group,
        feerate: FeeratePerKw,
        before: Option<Satoshi>,
        tree: &Tree,
    ) -> bool {
        let most = self.builder(tree).most(group.value());
        self.full_weight(group, tree)
            .is_some_and(|weight| fee(&self.feerates, feerate, weight, most, before).is_some())
    }

    /// With a coin and its change where it needs them; `None` if its fee is fixed.
    fn full_weight(&self, group: &Group, tree: &Tree) -> Option<u64> {
        let weight = self.builder(tree).weight(group)?;
        match (group, self.facts.setup.format) {
            (Group::Sweep(_), _) => Some(weight),
            (Group::Htlcs(_), CommitmentFormat::AnchorsZeroFeeHtlc) => {
                Some(weight.saturating_add(COIN_WEIGHT))
            }
            (Group::Htlcs(_), CommitmentFormat::StaticRemotekey) => None,
        }
    }
}
