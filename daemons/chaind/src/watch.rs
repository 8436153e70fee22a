//! What lightningd wants to hear of.

use std::collections::HashSet;

use bitcoin::{Block, OutPoint, Script, ScriptBuf};
use wire::BlockHeight;

/// A message of lightningd about what it wants to hear of.
#[derive(Clone, Debug)]
pub enum Change {
    /// Headers are wanted from this height on.
    Headers {
        request: u64,
        from: BlockHeight,
    },
    Watch {
        outpoints: Vec<OutPoint>,
        scripts: Vec<ScriptBuf>,
        /// The rest follows.
        more: bool,
    },
    Search(Search),
    Unwatch {
        outpoints: Vec<OutPoint>,
    },
}

/// What is to be found in blocks that were reported before.
#[derive(Clone, Debug)]
pub struct Search {
    pub request: u64,
    pub outpoints: Vec<OutPoint>,
    pub scripts: Vec<ScriptBuf>,
    pub since: BlockHeight,
    /// Without what the backend has pruned.
    pub partly: bool,
}

/// Scripts that are paid and outpoints that are spent.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    scripts: HashSet<ScriptBuf>,
    outpoints: HashSet<OutPoint>,
}

impl Watched {
    /// Effect: these are watched too. Returns those that were not before.
    pub fn add(&mut self, outpoints: Vec<OutPoint>, scripts: Vec<ScriptBuf>) -> Watched {
        let mut new = Watched::default();
        for outpoint in outpoints {
            if self.outpoints.insert(outpoint) {
                new.outpoints.insert(outpoint);
            }
        }
        for script in scripts {
            if !self.scripts.contains(&script) {
                new.scripts.insert(script.clone());
                self.scripts.insert(script);
            }
        }
        new
    }

    /// Effect: what pays a watched script in this block is watched from now on, so that it is seen whoever
    /// spends it, within the block too.
    pub fn follow(&mut self, block: &Block) {
        for tx in &block.txdata {
            let paid = (0_u32..)
                .zip(&tx.output)
                .filter(|(_, output)| self.pays(&output.script_pubkey));
            let paid: Vec<u32> = paid.map(|(vout, _)| vout).collect();
            if !paid.is_empty() {
                let txid = tx.compute_txid();
                let outpoints = paid.into_iter().map(|vout| OutPoint { txid, vout });
                self.outpoints.extend(outpoints);
            }
        }
    }

    pub fn remove(&mut self, outpoints: &[OutPoint]) {
        for outpoint in outpoints {
            self.outpoints.remove(outpoint);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty() && self.outpoints.is_empty()
    }

    pub fn pays(&self, script: &Script) -> bool {
        self.scripts.contains(script)
    }

    pub fn spends(&self, outpoint: &OutPoint) -> bool {
        self.outpoints.contains(outpoint)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Txid;
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn only_what_was_not_watched_before_is_new() {
        let outpoint = |vout| OutPoint {
            txid: Txid::all_zeros(),
            vout,
        };
        let script = |byte| ScriptBuf::from_bytes(vec![byte]);
        let mut watched = Watched::default();
        assert!(!watched.add(vec![outpoint(0)], vec![script(1)]).is_empty());
        assert!(watched.add(vec![outpoint(0)], vec![script(1)]).is_empty());
        let new = watched.add(vec![outpoint(0), outpoint(1)], vec![script(1), script(2)]);
        assert!(new.spends(&outpoint(1)) && !new.spends(&outpoint(0)));
        assert!(new.pays(&script(2)) && !new.pays(&script(1)));
        watched.remove(&[outpoint(0)]);
        assert!(!watched.spends(&outpoint(0)) && watched.spends(&outpoint(1)));
    }
}
