//! What the node hears: how HTLCs ended, where things stand, and when all is over.

use tx::limits::WORTHLESS;
use wire::{BlockHeight, Side};

use super::{Action, HtlcEnd, Notice, Onchain, Standing, Transaction, Tree};
use crate::action::{Fate, KnownHtlc, OutputKind, OutputStanding, Spender};
use crate::plan::Plan;
use crate::tree::Output;

impl Onchain {
    pub(super) fn tell_htlcs(&mut self, tree: &Tree, actions: &mut Vec<Action>) {
        let offered = |known: &&KnownHtlc| known.live && known.key.offerer == Side::Local;
        let ends: Vec<_> = (self.facts.htlcs.iter().filter(offered))
            .filter_map(|known| Some((known.key, self.end_of(tree, known)?)))
            .collect();
        for (key, end) in ends {
            // A reorganization may put the peer's claim in the place of ours: its preimage is told after all.
            match self.told.get(&key) {
                Some(HtlcEnd::Fulfilled { .. }) => continue,
                Some(told) if *told == end => continue,
                Some(_) | None => {}
            }
            self.told.insert(key, end);
            actions.push(Action::Tell(Notice::HtlcEnded { key, end }));
        }
    }

    /// How an HTLC that we offered ended, once it has.
    fn end_of(&self, tree: &Tree, known: &KnownHtlc) -> Option<HtlcEnd> {
        let hash = known.htlc.payment_hash;
        let shown = |output: &Output| output.spent.and_then(|spent| spent.preimage);
        let mut shown = tree.outputs.iter().filter_map(shown);
        // BOLT 5: a preimage seen on chain settles the HTLC that paid for it, at once.
        if let Some(preimage) = shown.find(|preimage| preimage.payment_hash() == hash) {
            return Some(HtlcEnd::Fulfilled { preimage });
        }
        let failed = match tree.spender {
            // Nobody knows which output it is, if it has one: the peer has until well after its expiry. What paid
            // for it is not given up before it has run out, too: hsmd would not let it go.
            Spender::Unknown => {
                let expiry = BlockHeight(known.htlc.cltv_expiry.0);
                let last = known
                    .incoming_expiry
                    .map_or(expiry, |incoming| incoming.max(expiry));
                self.is_buried(tree.height) && self.is_buried(last)
            }
            // BOLT 5: one without an output is over with the commitment's reasonable depth, otherwise when what
            // took its output has that depth.
            Spender::MutualClose | Spender::Ours | Spender::Theirs | Spender::Revoked => {
                let mut outputs = tree.outputs_of(&self.facts, known);
                self.is_reasonable(tree.height)
                    && outputs.all(|output| self.is_output_over(tree, known, output))
            }
        };
        failed.then_some(HtlcEnd::Failed)
    }

    /// Whether the peer cannot take this output of an HTLC any more, or will not.
    fn is_output_over(&self, tree: &Tree, known: &KnownHtlc, output: &Output) -> bool {
        match output.spent {
            Some(spent) => self.is_reasonable(spent.height),
            // Nobody may ever take it: it counts as none, once the peer has had its time.
            None => {
                output.value < WORTHLESS
                    && self.is_reasonable(tree.height)
                    && self.is_reasonable(BlockHeight(known.htlc.cltv_expiry.0))
            }
        }
    }

    pub(super) fn stand(&mut self, tree: Option<&Tree>, actions: &mut Vec<Action>) {
        let standing = match tree {
            Some(tree) => self.standing(tree),
            None => Standing {
                spender: None,
                rival: self.rival.as_ref().map(Transaction::compute_txid),
                outputs: Vec::new(),
                until: None,
            },
        };
        if self.standing.as_ref() != Some(&standing) {
            actions.push(Action::Tell(Notice::Standing(standing.clone())));
            self.standing = Some(standing);
        }
        if let (Some(tree), false) = (tree, self.over) {
            self.over = self.is_over(tree);
            if self.over {
                actions.push(Action::Tell(Notice::Over));
            }
        }
    }

    fn standing(&self, tree: &Tree) -> Standing {
        let outputs = tree.outputs.iter().map(|output| OutputStanding {
            outpoint: output.outpoint,
            value: output.value,
            kind: output.kind,
            fate: self.fate(tree, output),
        });
        Standing {
            spender: Some((tree.spender, tree.txid, tree.height)),
            rival: None,
            outputs: outputs.collect(),
            until: self.until(tree),
        }
    }

    fn fate(&self, tree: &Tree, output: &Output) -> Fate {
        if let Some(spent) = output.spent {
            return Fate::Spent {
                by_us: spent.by == Side::Local,
                txid: spent.txid,
                height: spent.height,
            };
        }
        if let Some((claim, tx)) = self.claim_of(&output.outpoint) {
            return Fate::Claimed {
                txid: tx.compute_txid(),
                held: self.held(tree, claim, &tx),
            };
        }
        match &output.plan {
            Plan::Leave => Fate::Left,
            Plan::NeedsPreimage { until } => Fate::NeedsPreimage { until: *until },
            Plan::Sweep { from, .. } | Plan::HtlcTx { from, .. } => {
                self.open_fate(tree, output, *from)
            }
        }
    }

    /// Of what is ours, or will be, and has no claim yet.
    fn open_fate(&self, tree: &Tree, output: &Output, from: BlockHeight) -> Fate {
        let builder = self.builder(tree);
        if !builder.is_ever_economic(output) {
            Fate::Uneconomic
        } else if !builder.is_economic(output, &self.feerates) {
            Fate::NeedsLowerFees
        } else if self.lacking.contains(&output.outpoint) {
            Fate::NeedsCoins {
                deadline: output.plan.deadline(),
            }
        } else {
            Fate::Waits { until: from }
        }
    }

    /// The block with which what is in the one at `height` is buried.
    fn buried_at(&self, height: BlockHeight) -> BlockHeight {
        height.after(self.facts.terms.burial_depth.saturating_sub(1))
    }

    /// The block from which on this output can be forgotten; `None` if that is not known yet.
    fn done_at(&self, tree: &Tree, output: &Output) -> Option<BlockHeight> {
        if let Some(spent) = output.spent {
            return Some(self.buried_at(spent.height));
        }
        if output.plan == Plan::Leave {
            return Some(self.buried_at(output.height));
        }
        match self.fate(tree, output) {
            // A preimage may be learned, and the peer may be late.
            Fate::NeedsPreimage { until } => Some(self.buried_at(until.max(output.height))),
            Fate::Left | Fate::Uneconomic => Some(self.buried_at(output.height)),
            Fate::Waits { .. }
            | Fate::NeedsCoins { .. }
            | Fate::NeedsLowerFees
            | Fate::Claimed { .. }
            | Fate::Spent { .. } => None,
        }
    }

    fn until(&self, tree: &Tree) -> Option<BlockHeight> {
        let all = tree.outputs.iter().map(|output| self.done_at(tree, output));
        let mut last = self.buried_at(tree.height);
        for done in all {
            last = last.max(done?);
        }
        Some(last)
    }

    /// BOLT 5: everything is irrevocably resolved.
    fn is_over(&self, tree: &Tree) -> bool {
        let offered = |known: &&KnownHtlc| known.live && known.key.offerer == Side::Local;
        let ended = |known: &KnownHtlc| self.told.contains_key(&known.key);
        self.until(tree)
            .is_some_and(|until| self.state.height >= until)
            && self.facts.htlcs.iter().filter(offered).all(ended)
    }
}

impl Tree {
    /// Whether a spend of this output is to be told.
    pub(super) fn is_watched(&self, output: &Output) -> bool {
        match (self.spender, output.kind) {
            (Spender::MutualClose, _) => false,
            (_, OutputKind::Htlc(_) | OutputKind::HtlcTx(_)) => true,
            // It may be an HTLC: a preimage would be shown.
            (Spender::Unknown, OutputKind::Theirs) => true,
            (_, OutputKind::ToLocal | OutputKind::ToRemote) => output.plan != Plan::Leave,
            (_, OutputKind::Anchor | OutputKind::Close | OutputKind::Theirs) => false,
        }
    }
}
