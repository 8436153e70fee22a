//! The Merkle tree of a block, for whoever has the block and proves what is in it.

use bitcoin::Block;
use bitcoin::hashes::{Hash, sha256d};

use crate::proof::BranchHash;

/// All levels of a block's tree, the transactions' ids first, the root last.
pub struct Tree {
    levels: Vec<Vec<[u8; 32]>>,
}

impl Tree {
    #[must_use]
    pub fn of(block: &Block) -> Tree {
        let ids = block.txdata.iter();
        let mut level: Vec<[u8; 32]> = ids.map(|tx| tx.compute_txid().to_byte_array()).collect();
        let mut levels = Vec::new();
        while level.len() > 1 {
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => parent(left, right),
                [alone] => parent(alone, alone),
                _ => [0; 32],
            });
            let above = above.collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Tree { levels }
    }

    /// The sibling at each level, from the transaction up to below the root. One that has none is its
    /// own.
    #[must_use]
    pub fn branch(&self, index: u32) -> Vec<BranchHash> {
        let mut at = usize::try_from(index).unwrap_or(usize::MAX);
        let mut branch = Vec::with_capacity(self.levels.len());
        for level in self.levels.iter().filter(|level| level.len() > 1) {
            let sibling = level.get(at ^ 1).or(level.get(at));
            branch.extend(sibling.copied().map(BranchHash));
            at /= 2;
        }
        branch
    }
}

fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256d::Hash::hash(&[left.as_slice(), right].concat()).to_byte_array()
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, Transaction, TxOut};

    use super::*;

    fn block(txs: u64) -> Block {
        let mut block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        block.txdata = (0..txs)
            .map(|n| Transaction {
                version: Version::TWO,
                lock_time: LockTime::ZERO,
                input: Vec::new(),
                output: vec![TxOut {
                    value: Amount::from_sat(n),
                    script_pubkey: ScriptBuf::new(),
                }],
            })
            .collect();
        block
    }

    /// As whoever has the header checks it.
    fn root(txid: [u8; 32], mut index: u32, branch: &[BranchHash]) -> [u8; 32] {
        branch.iter().fold(txid, |hash, BranchHash(sibling)| {
            let left = index.is_multiple_of(2);
            index /= 2;
            if left {
                parent(&hash, sibling)
            } else {
                parent(sibling, &hash)
            }
        })
    }

    #[test]
    fn every_branch_leads_to_the_root() {
        for txs in [1, 2, 3, 4, 5, 7, 8, 13] {
            let block = block(txs);
            let tree = Tree::of(&block);
            let expected = block.compute_merkle_root().unwrap().to_byte_array();
            for (index, tx) in (0..).zip(&block.txdata) {
                let txid = tx.compute_txid().to_byte_array();
                let branch = tree.branch(index);
                assert_eq!(root(txid, index, &branch), expected, "{index} of {txs}");
            }
        }
    }

    #[test]
    fn a_block_without_transactions_has_no_branches() {
        assert_eq!(Tree::of(&block(0)).branch(5), []);
    }
}
