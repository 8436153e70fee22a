//! Which block comes next, and what of a block matters. No questions are asked here: who follows
//! the chain asks them and tells the answers.

use std::collections::VecDeque;

use bitcoin::consensus::serialize;
use bitcoin::{Block, BlockHash, Transaction};
use headers::Tree;
use ipc_messages::lightningd_chaind::{Block as Report, BlockTx};
use wire::BlockHeight;

use crate::rpc::Tip;
use crate::watch::Watched;

/// So many of the last blocks are kept for finding the fork.
const KEPT: usize = 1008;
/// If so many blocks or more are known and none is on the backend's chain, it is not the same chain.
pub const DEEP: usize = 100;
/// A Watch looks back this many blocks: it may come when what it is about has just been mined.
const RECENT: usize = 6;

/// The blocks that lightningd has processed, lowest first.
#[derive(Debug)]
pub struct Chain {
    blocks: VecDeque<Tip>,
    /// Where to go on if there are none.
    begin: Option<BlockHeight>,
}

/// How our chain and the end of the backend's lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Both end at the same block.
    CaughtUp,
    /// No block of ours is known, nor where to begin.
    Unknown,
    /// The backend has not yet come to the end of ours, but is on the way there.
    Behind { ours: BlockHeight },
    /// The backend's chain ends below all that we know.
    Below { lowest: BlockHeight },
    /// There is something to follow; some of our last blocks may not be on the backend's chain.
    Follow,
}

impl Chain {
    /// `known` in any order.
    pub fn new(known: Vec<(BlockHeight, BlockHash)>) -> Chain {
        let mut blocks: Vec<_> = known
            .into_iter()
            .map(|(height, hash)| Tip { height, hash })
            .collect();
        blocks.sort_by_key(|block| block.height);
        blocks.dedup_by_key(|block| block.height);
        let from = blocks.len().saturating_sub(KEPT);
        Chain {
            blocks: blocks.split_off(from).into(),
            begin: None,
        }
    }

    pub fn position(&self, tip: Tip) -> Position {
        let (Some(first), Some(last)) = (self.blocks.front(), self.blocks.back()) else {
            return match self.begin {
                Some(begin) if begin > tip.height => Position::Below { lowest: begin },
                Some(_) => Position::Follow,
                None => Position::Unknown,
            };
        };
        if last.hash == tip.hash {
            Position::CaughtUp
        } else if tip.height < first.height {
            Position::Below {
                lowest: first.height,
            }
        } else if tip.height < last.height && self.blocks.contains(&tip) {
            Position::Behind { ours: last.height }
        } else {
            Position::Follow
        }
    }

    /// Effect: where no block is known, the first is the one at `height`.
    pub fn begin_at(&mut self, height: BlockHeight) {
        self.begin = Some(height);
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The block with so many others below it.
    pub fn get(&self, below: usize) -> Option<Tip> {
        self.blocks.get(below).copied()
    }

    /// The block at this height, if it is one of those that are kept.
    pub fn at(&self, height: BlockHeight) -> Option<Tip> {
        let first = self.blocks.front()?.height;
        let above = height.0.checked_sub(first.0)?;
        self.get(usize::try_from(above).ok()?)
    }

    pub fn last(&self) -> Option<Tip> {
        self.blocks.back().copied()
    }

    /// The height of the block to fetch next.
    pub fn next(&self) -> Option<BlockHeight> {
        match self.last() {
            Some(last) => last.height.checked_add(BlockHeight(1)),
            None => self.begin,
        }
    }

    /// Effect: takes out all but the lowest `keep`. Returns them, the highest first.
    pub fn cut(&mut self, keep: usize) -> Vec<Tip> {
        if keep == 0
            && let Some(first) = self.blocks.front()
        {
            self.begin = Some(first.height);
        }
        let keep = keep.min(self.blocks.len());
        let mut gone: Vec<_> = self.blocks.split_off(keep).into();
        gone.reverse();
        gone
    }

    pub fn push(&mut self, block: Tip) {
        self.blocks.push_back(block);
        if self.blocks.len() > KEPT {
            self.blocks.pop_front();
        }
    }
}

/// The last blocks, for looking into them again.
#[derive(Debug, Default)]
pub struct Recent {
    blocks: VecDeque<(Tip, Block)>,
}

impl Recent {
    pub fn push(&mut self, tip: Tip, block: Block) {
        self.blocks.push_back((tip, block));
        if self.blocks.len() > RECENT {
            self.blocks.pop_front();
        }
    }

    pub fn forget(&mut self, gone: Tip) {
        self.blocks.retain(|(tip, _)| *tip != gone);
    }

    /// The block itself, if it is one of these.
    pub fn get(&self, wanted: Tip) -> Option<&Block> {
        let mut all = self.blocks.iter();
        let found = all.find(|(tip, _)| *tip == wanted);
        found.map(|(_, block)| block)
    }

    /// What of these blocks matters, lowest first; without the blocks in which nothing does.
    pub fn search(&self, watched: &Watched) -> Vec<Report> {
        let reports = self
            .blocks
            .iter()
            .map(|(tip, block)| report(*tip, block, watched));
        reports.filter(|report| !report.txs.is_empty()).collect()
    }
}

/// What of a block matters.
pub fn report(tip: Tip, block: &Block, watched: &Watched) -> Report {
    let concerns = |tx: &Transaction| {
        let mut inputs = tx.input.iter();
        let mut outputs = tx.output.iter();
        inputs.any(|input| watched.spends(&input.previous_output))
            || outputs.any(|output| watched.pays(&output.script_pubkey))
    };
    let all = (0_u32..).zip(&block.txdata);
    let found: Vec<_> = all.filter(|(_, tx)| concerns(tx)).collect();
    // Nothing is hashed for a block in which there is nothing.
    let tree = (!found.is_empty()).then(|| Tree::of(block));
    let txs = found.into_iter().map(|(index, tx)| BlockTx {
        index,
        branch: tree
            .as_ref()
            .map_or_else(Vec::new, |tree| tree.branch(index)),
        txid: tx.compute_txid(),
        tx: serialize(tx),
    });
    Report {
        height: tip.height,
        hash: tip.hash,
        header: block.header,
        txs: txs.collect(),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Txid, Witness};

    use super::*;

    fn hash(fork: u8, height: u32) -> BlockHash {
        let mut bytes = [fork; 32];
        bytes[..4].copy_from_slice(&height.to_le_bytes());
        BlockHash::from_byte_array(bytes)
    }

    fn tip(fork: u8, height: u32) -> Tip {
        Tip {
            height: BlockHeight(height),
            hash: hash(fork, height),
        }
    }

    fn chain(heights: std::ops::RangeInclusive<u32>) -> Chain {
        Chain::new(
            heights
                .rev()
                .map(|height| (BlockHeight(height), hash(0, height)))
                .collect(),
        )
    }

    #[test]
    fn the_same_end_is_caught_up() {
        assert_eq!(chain(5..=9).position(tip(0, 9)), Position::CaughtUp);
    }

    #[test]
    fn a_longer_chain_is_followed_from_our_end() {
        let chain = chain(5..=9);
        assert_eq!(chain.position(tip(0, 12)), Position::Follow);
        assert_eq!(chain.next(), Some(BlockHeight(10)));
    }

    #[test]
    fn a_backend_on_the_way_to_our_end_takes_no_block_from_us() {
        let ours = BlockHeight(9);
        assert_eq!(chain(5..=9).position(tip(0, 7)), Position::Behind { ours });
        let lowest = BlockHeight(5);
        assert_eq!(chain(5..=9).position(tip(0, 4)), Position::Below { lowest });
    }

    #[test]
    fn a_shorter_chain_with_another_end_is_a_reorg() {
        assert_eq!(chain(5..=9).position(tip(1, 7)), Position::Follow);
        assert_eq!(chain(5..=9).position(tip(1, 9)), Position::Follow);
    }

    #[test]
    fn what_a_reorg_takes_out_comes_from_the_top_down() {
        let mut chain = chain(5..=9);
        assert_eq!(chain.cut(3), [tip(0, 9), tip(0, 8)]);
        assert_eq!(chain.last(), Some(tip(0, 7)));
        chain.push(tip(1, 8));
        assert_eq!(chain.last(), Some(tip(1, 8)));
        assert_eq!(chain.next(), Some(BlockHeight(9)));
    }

    #[test]
    fn if_all_is_taken_out_the_lowest_height_is_next() {
        let mut chain = chain(5..=9);
        assert_eq!(chain.cut(0).len(), 5);
        assert_eq!(chain.next(), Some(BlockHeight(5)));
        assert_eq!(chain.position(tip(1, 9)), Position::Follow);
        let lowest = BlockHeight(5);
        assert_eq!(chain.position(tip(1, 3)), Position::Below { lowest });
    }

    #[test]
    fn without_known_blocks_somebody_must_say_where_to_begin() {
        let mut chain = Chain::new(Vec::new());
        assert_eq!(chain.position(tip(0, 9)), Position::Unknown);
        assert_eq!(chain.next(), None);
        chain.begin_at(BlockHeight(4));
        assert_eq!(chain.position(tip(0, 9)), Position::Follow);
        assert_eq!(chain.next(), Some(BlockHeight(4)));
    }

    #[test]
    fn a_block_is_found_by_its_height() {
        let mut chain = chain(5..=9);
        assert_eq!(chain.at(BlockHeight(5)), Some(tip(0, 5)));
        assert_eq!(chain.at(BlockHeight(9)), Some(tip(0, 9)));
        assert_eq!(chain.at(BlockHeight(4)), None);
        assert_eq!(chain.at(BlockHeight(10)), None);
        chain.cut(3);
        assert_eq!(chain.at(BlockHeight(8)), None);
    }

    #[test]
    fn the_chain_does_not_grow_without_end() {
        let mut chain = chain(0..=5000);
        assert_eq!(chain.len(), KEPT);
        chain.push(tip(0, 5001));
        assert_eq!((chain.len(), chain.last()), (KEPT, Some(tip(0, 5001))));
    }

    fn tx(spends: u32, pays: u8) -> Transaction {
        let previous_output = OutPoint {
            txid: Txid::all_zeros(),
            vout: spends,
        };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::ONE_SAT,
                script_pubkey: script(pays),
            }],
        }
    }

    fn script(byte: u8) -> ScriptBuf {
        ScriptBuf::from_bytes(vec![byte; 22])
    }

    fn block() -> Block {
        let mut block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        block.txdata.extend([tx(1, 11), tx(2, 12), tx(3, 13)]);
        block
    }

    fn watched(spends: &[u32], pays: &[u8]) -> Watched {
        let outpoints = spends
            .iter()
            .map(|vout| OutPoint {
                txid: Txid::all_zeros(),
                vout: *vout,
            })
            .collect();
        let mut watched = Watched::default();
        watched.add(outpoints, pays.iter().map(|byte| script(*byte)).collect());
        watched
    }

    fn indices(report: &Report) -> Vec<u32> {
        report.txs.iter().map(|tx| tx.index).collect()
    }

    #[test]
    fn a_transaction_matters_if_it_spends_or_pays_something_watched() {
        let found = |spends: &[u32], pays: &[u8]| {
            indices(&report(tip(0, 7), &block(), &watched(spends, pays)))
        };
        assert!(found(&[], &[]).is_empty());
        assert_eq!(found(&[2], &[]), [2]);
        assert_eq!(found(&[], &[13]), [3]);
        assert_eq!(found(&[1], &[11, 12]), [1, 2]);
        assert!(found(&[9], &[9]).is_empty());
    }

    #[test]
    fn a_report_has_the_whole_transaction() {
        let report = report(tip(0, 7), &block(), &watched(&[2], &[]));
        assert_eq!(report.height, BlockHeight(7));
        assert_eq!(report.txs[0].txid, tx(2, 12).compute_txid());
        assert_eq!(report.txs[0].tx, serialize(&tx(2, 12)));
    }

    #[test]
    fn the_last_six_blocks_can_be_looked_into_again() {
        let mut recent = Recent::default();
        for height in 1..=8 {
            recent.push(tip(0, height), block());
        }
        recent.forget(tip(0, 8));
        recent.forget(tip(1, 7));
        let heights: Vec<_> = recent
            .search(&watched(&[2], &[]))
            .iter()
            .map(|report| report.height.0)
            .collect();
        assert_eq!(heights, [3, 4, 5, 6, 7]);
        assert_eq!(recent.search(&watched(&[9], &[])), []);
    }
}
