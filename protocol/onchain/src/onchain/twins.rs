//! HTLCs that are alike, in a commitment of ours that is one more than the node knows: a crash came before its
//! record. Which of them has which output the signer alone knows, and what it makes of claims tells.

use bitcoin::OutPoint;
use tx::ledger::HtlcKey;
use tx::onchain::Reply;

use super::Onchain;
use super::claiming::What;
use crate::action::{ClaimId, Encoded, KnownHtlc, OutputKind, Spender};
use crate::tree::{Output, Tree, looks};

/// hsmd's rule of what a claim may take: it has no such HTLC.
const CLAIM_RULE: &str = "X1";

impl Onchain {
    /// Whether a claim takes an output for an HTLC whose it is not: the signer took another, or has none of this
    /// HTLC. The next that is like it is tried with the next block, and all once more when all were.
    pub(super) fn is_misfit(&mut self, claim: ClaimId, reply: &Reply) -> bool {
        let (Some(tree), Some(draft)) = (self.tree(), self.drafts.get(&claim)) else {
            return false;
        };
        let What::Htlcs(group) = &draft.what else {
            return false;
        };
        // A guess stands alone in its claim, so that what is said of that is said of it.
        let [output] = group.outputs() else {
            return false;
        };
        let outpoint = output.outpoint;
        let Some(key) = self.guessed(&tree, output) else {
            return false;
        };
        let is_misfit = match reply {
            Reply::Signed { tx } => self.owns(key, tx) != Some(outpoint),
            Reply::Refused { rule, .. } if rule == CLAIM_RULE => {
                if !self.guesses.misfits.insert(key) {
                    self.guesses.misfits.clear();
                }
                true
            }
            // What it costs says nothing of what it takes.
            Reply::Refused { .. } | Reply::Point { .. } => return false,
        };
        self.tree = None;
        is_misfit
    }

    /// Notes which output the signer has for this HTLC: the first that its transaction spends.
    fn owns(&mut self, key: HtlcKey, tx: &[u8]) -> Option<OutPoint> {
        let tx = Encoded(tx.to_vec()).decode()?;
        let its = tx.input.first()?.previous_output;
        self.guesses.owners.insert(its, key);
        Some(its)
    }

    /// The HTLC that this output is taken for, if that is a guess, or was one: a restart forgets what was learned.
    pub(super) fn guessed(&self, tree: &Tree, output: &Output) -> Option<HtlcKey> {
        let commitment = tree.commitment.as_ref()?;
        let OutputKind::Htlc(key) = output.kind else {
            return None;
        };
        let known = self.facts.htlcs.iter().find(|known| known.key == key)?;
        let is_known = commitment.has(&self.facts, known).is_some();
        let is_like = |known: &&KnownHtlc| output.looks == Some(looks(known));
        let alike = self.facts.htlcs.iter().filter(is_like).count();
        (commitment.spender == Spender::Ours && !is_known && alike > 1).then_some(key)
    }
}
