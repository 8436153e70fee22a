//! That a transaction is in a block: the hashes beside its path to the merkle root.
//!
//! The root commits to transaction ids, and so to nothing that a witness shows.

use bitcoin::Transaction;
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use serde::{Deserialize, Serialize};
use wire::BlockHeight;

use crate::HeaderError;
use crate::chain::Chain;

/// No block has more transactions than 2 to this power.
pub const MAX_BRANCH: usize = 24;
/// What two hashes beside each other are long: a transaction of this length could be one of them.
const TWO_HASHES: usize = 64;

/// A hash beside the path, in the order of its bytes in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchHash(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl Chain {
    /// Whether `tx` is transaction `index` of the block at `height`; `branch` from below.
    ///
    /// # Errors
    /// `UnknownBlock`, `NotInBlock`.
    pub fn check_inclusion(
        &self,
        tx: &Transaction,
        height: BlockHeight,
        index: u32,
        branch: &[BranchHash],
    ) -> Result<(), HeaderError> {
        let header = self.at(height).ok_or(HeaderError::UnknownBlock(height))?;
        let txid = tx.compute_txid();
        let wrong = HeaderError::NotInBlock(txid, height);
        if branch.len() > MAX_BRANCH || tx.base_size() == TWO_HASHES {
            return Err(wrong);
        }
        let (mut hash, mut left) = (txid.to_raw_hash(), index);
        for beside in branch {
            let mut engine = sha256d::Hash::engine();
            let (first, second) = match left & 1 {
                0 => (hash.to_byte_array(), beside.0),
                _ => (beside.0, hash.to_byte_array()),
            };
            engine.input(&first);
            engine.input(&second);
            (hash, left) = (sha256d::Hash::from_engine(engine), left >> 1);
        }
        match hash == header.merkle_root.to_raw_hash() && left == 0 {
            true => Ok(()),
            false => Err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, Block, ScriptBuf, TxMerkleNode, TxOut};

    use super::*;
    use crate::Tree;
    use crate::chain::tests::{genesis, give, mine};

    fn tx(n: u32) -> Transaction {
        let output = TxOut {
            value: Amount::from_sat(1_000),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51; 30]),
        };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(n),
            input: vec![],
            output: vec![output],
        }
    }

    /// The root, and the branch of one transaction.
    fn tree(txs: &[Transaction], of: usize) -> (TxMerkleNode, Vec<BranchHash>) {
        let header = genesis();
        let txdata = txs.to_vec();
        let block = Block { header, txdata };
        let root = block.compute_merkle_root().unwrap();
        (root, Tree::of(&block).branch(of as u32))
    }

    fn chain(root: TxMerkleNode) -> Chain {
        let mut chain = Chain::default();
        let block = mine(&genesis(), root);
        give(&mut chain, 0, &[genesis(), block]).unwrap();
        chain
    }

    #[test]
    fn each_transaction_of_a_block_is_proved_and_nothing_else() {
        for count in [1, 2, 3, 7, 8] {
            let txs: Vec<Transaction> = (0..count).map(tx).collect();
            for of in 0..txs.len() {
                let (root, branch) = tree(&txs, of);
                let chain = chain(root);
                let index = of as u32;
                let check = |tx: &Transaction, height, index, branch: &[BranchHash]| {
                    chain.check_inclusion(tx, BlockHeight(height), index, branch)
                };
                check(&txs[of], 1, index, &branch).unwrap();
                let wrong = |tx: &Transaction| {
                    Err(HeaderError::NotInBlock(tx.compute_txid(), BlockHeight(1)))
                };
                assert_eq!(check(&tx(99), 1, index, &branch), wrong(&tx(99)));
                assert_eq!(check(&txs[of], 1, index + count, &branch), wrong(&txs[of]));
                if !branch.is_empty() {
                    assert_eq!(check(&txs[of], 1, index, &branch[1..]), wrong(&txs[of]));
                    let mut other = branch.clone();
                    other[0].0[0] ^= 1;
                    assert_eq!(check(&txs[of], 1, index, &other), wrong(&txs[of]));
                }
                let long = vec![BranchHash([0; 32]); MAX_BRANCH + 1];
                assert_eq!(check(&txs[of], 1, index, &long), wrong(&txs[of]));
                let unknown = Err(HeaderError::UnknownBlock(BlockHeight(2)));
                assert_eq!(check(&txs[of], 2, index, &branch), unknown);
            }
        }
    }

    #[test]
    fn a_transaction_as_long_as_two_hashes_may_be_two_hashes() {
        let mut short = tx(1);
        short.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51; 0]);
        let missing = TWO_HASHES - short.base_size();
        short.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51; missing]);
        assert_eq!(short.base_size(), TWO_HASHES);
        let (root, _) = tree(&[short.clone()], 0);
        let refused = chain(root).check_inclusion(&short, BlockHeight(1), 0, &[]);
        assert!(refused.is_err());
    }
}
