//! What the peer takes of a claim of several, in a block or in the mempool, so that ours is refused: the others are
//! claimed without it. Sweeps are taken one by one from then on. HTLC transactions that coins pay for stay joined as far
//! as they can, since the wallet may have no coin for each: their claim is halved until what the peer takes stands alone.

use std::collections::HashMap;

use super::{Action, ClaimId, Onchain, OutPoint, Transaction, Tree};
use crate::claims::Stand;
use crate::tree::Output;
use tx::setup::CommitmentFormat;
use wire::BlockHeight;

/// What bitcoind says where something else in its mempool spends the same: "txn-mempool-conflict", "insufficient
/// fee, rejecting replacement" and the like.
const CONFLICTS: [&str; 2] = ["replac", "conflict"];

/// Of what coins pay for. A restart forgets it, and learns it again.
#[derive(Debug, Default)]
pub(super) struct Spoils {
    /// Outputs that are claimed apart from those that were claimed with them, and by which claim they were.
    parts: HashMap<OutPoint, ClaimId>,
    /// Those that the peer takes in the mempool, and when one last made way for others.
    taken: HashMap<OutPoint, BlockHeight>,
}

impl Spoils {
    fn halve(&mut self, id: ClaimId, takes: &[OutPoint]) {
        let rest = takes.iter().skip(takes.len().div_ceil(2));
        self.parts.extend(rest.map(|outpoint| (*outpoint, id)));
    }

    /// It stands alone, and what was put apart to find it is joined again. Whether it can make way in this block: that it
    /// did is not forgotten before the next.
    fn take(&mut self, outpoint: OutPoint, height: BlockHeight) -> bool {
        let before = self.taken.insert(outpoint, height);
        if before.is_none() {
            self.parts.clear();
        }
        before != Some(height)
    }
}

impl Onchain {
    /// How an HTLC transaction is joined with others. A guess stands alone: hsmd refuses the whole if it is wrong.
    pub(super) fn stand_of(&self, tree: &Tree, output: &Output) -> Stand {
        let outpoint = output.outpoint;
        let last = self.spoils.taken.contains_key(&outpoint);
        let fixed = self.facts.setup.format == CommitmentFormat::StaticRemotekey;
        let single = last || fixed || self.guessed(tree, output).is_some();
        Stand {
            last,
            part: self.spoils.parts.get(&outpoint).copied(),
            alone: single.then_some(outpoint),
        }
    }

    /// The backend refused a claim because the peer takes some of it. Who it is that takes the first one the backend
    /// says, and of the rest nothing: an older claim of ours takes the first one, too.
    pub(super) fn break_up(
        &mut self,
        id: ClaimId,
        reason: &str,
        rival: Option<&Transaction>,
        actions: &mut Vec<Action>,
    ) {
        let (Some(tree), Some(claim)) = (self.tree(), self.state.claims.get(&id)) else {
            return;
        };
        let by_peer = match rival {
            Some(rival) => tree.is_taken_by_peer(&claim.takes, rival),
            None => CONFLICTS.iter().any(|word| reason.contains(word)),
        };
        let (funded, takes) = (claim.funded, claim.takes.clone());
        if !by_peer {
            return;
        }
        match takes[..] {
            [one] if funded && self.makes_way(one) => {}
            [_] => return,
            _ => self.take_apart(id, &takes, funded),
        }
        if funded {
            actions.push(Action::FreeCoins { claim: id });
        }
        self.drafts.remove(&id);
        self.state.claims.remove(&id);
        self.rejected.remove(&id);
        self.advance(actions);
        actions.push(Action::Record(Box::new(self.state.clone())));
    }

    /// What a claim took that the peer has spoilt is not claimed together again.
    pub(super) fn take_apart(&mut self, id: ClaimId, takes: &[OutPoint], funded: bool) {
        match funded {
            true => self.spoils.halve(id, takes),
            false => self.state.split = true,
        }
    }

    /// Whether what the peer takes has coins that others lack: they come first.
    fn makes_way(&mut self, outpoint: OutPoint) -> bool {
        let can = self.spoils.take(outpoint, self.state.height);
        let taken = &self.spoils.taken;
        can && self.lacking.iter().any(|other| !taken.contains_key(other))
    }
}
