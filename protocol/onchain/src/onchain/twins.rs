//! HTLCs that are alike, in a commitment of ours that is one more than the node knows: a crash came before its
//! record. Which of them has which output the signer alone knows, and what it makes of claims tells.

use bitcoin::OutPoint;
use tx::ledger::HtlcKey;
use tx::onchain::Reply;

use super::Onchain;
use crate::action::{ClaimId, Encoded, KnownHtlc, OutputKind, Spender};
use crate::tree::{Tree, looks};

impl Onchain {
    /// Whether a claim takes an output for an HTLC whose it is not: the signer took another, or has none of this
    /// HTLC. The next that is like it is tried with the next block, and all once more when all were.
    pub(super) fn is_misfit(&mut self, claim: ClaimId, reply: &Reply) -> bool {
        let (Some(tree), Some(draft)) = (self.tree(), self.drafts.get(&claim)) else {
            return false;
        };
        let tx = match reply {
            Reply::Signed { tx } => Encoded(tx.clone()).decode(),
            Reply::Refused { .. } | Reply::Point { .. } => None,
        };
        let mut found = false;
        // HTLC transactions are joined in the order in which they were asked for.
        for (at, outpoint) in draft.takes.iter().enumerate() {
            let Some(key) = self.guessed(&tree, outpoint) else {
                continue;
            };
            let input = tx.as_ref().and_then(|tx| tx.input.get(at));
            match input.map(|input| input.previous_output) {
                Some(its) => {
                    self.guesses.owners.insert(its, key);
                    found |= its != *outpoint;
                }
                None => {
                    let is_new = self.guesses.misfits.insert((key, *outpoint));
                    if !is_new {
                        self.guesses.misfits.clear();
                    }
                    found = true;
                }
            }
        }
        if found {
            self.tree = None;
        }
        found
    }

    /// The HTLC that this output was taken for, if that was a guess.
    fn guessed(&self, tree: &Tree, outpoint: &OutPoint) -> Option<HtlcKey> {
        let commitment = tree.commitment.as_ref()?;
        let mut outputs = tree.outputs.iter();
        let output = outputs.find(|output| output.outpoint == *outpoint)?;
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
