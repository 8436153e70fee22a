//! A node and a chain, step by step.

use std::collections::BTreeSet;

use bitcoin::{OutPoint, Transaction, Txid};
use onchain::Facts;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wire::{FeeratePerKw, Side};

use crate::chain::Chain;
use crate::contract::Contract;
use crate::node::Node;

/// So much no transaction of these tests pays.
const NEVER: FeeratePerKw = FeeratePerKw(50_000_000);

/// A node and the chain that it sees.
pub struct World<'a> {
    pub contract: &'a Contract,
    pub chain: Chain,
    pub node: Node,
    pub rng: StdRng,
}

impl<'a> World<'a> {
    pub fn new(contract: &'a Contract, market: FeeratePerKw, facts: Facts) -> World<'a> {
        let mut rng = StdRng::seed_from_u64(2);
        let mut chain = Chain::of(contract);
        chain.market = market;
        let mut node = Node::new(facts, contract, &mut chain, &mut rng);
        node.crash = 0.0;
        World {
            contract,
            chain,
            node,
            rng,
        }
    }

    /// Commitment 1 of the peer's is in a block.
    pub fn closed_by_peer(contract: &'a Contract, market: FeeratePerKw) -> World<'a> {
        let facts = contract.facts(false, &mut StdRng::seed_from_u64(2));
        let mut world = World::new(contract, market, facts);
        world.mine(&[contract.signed(Side::Remote, 1)]);
        world
    }

    /// Only these, whatever the mempool pays; the node does not hear of it.
    pub fn bury(&mut self, txs: &[Transaction]) {
        let market = std::mem::replace(&mut self.chain.market, NEVER);
        self.chain.mine(txs);
        self.chain.market = market;
    }

    pub fn mine(&mut self, txs: &[Transaction]) {
        self.bury(txs);
        let height = self.chain.height();
        let block = self.chain.block(height).len();
        assert_eq!(block, txs.len(), "the block has what it should");
        let (contract, chain) = (self.contract, &mut self.chain);
        self.node.block(height, contract, chain, &mut self.rng);
    }

    /// Blocks that take nothing, to this height.
    pub fn mine_to(&mut self, height: u32) {
        while self.chain.height() < height {
            self.mine(&[]);
        }
    }

    pub fn restart(&mut self) {
        let (contract, chain) = (self.contract, &mut self.chain);
        self.node.restart(contract, chain, &mut self.rng);
    }

    /// What is in the mempool and takes an output of this transaction.
    pub fn claims_of(&self, txid: Txid) -> Vec<&Transaction> {
        let takes = |tx: &&Transaction| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| input.previous_output.txid == txid)
        };
        self.chain.mempool.iter().filter(takes).collect()
    }

    /// The outputs of commitment `at` of this side that hold HTLCs, and those of them that a claim takes.
    pub fn htlcs(&self, owner: Side, at: usize) -> (BTreeSet<OutPoint>, BTreeSet<OutPoint>) {
        let commitment = self.contract.commitment(owner, at);
        let txid = commitment.tx.compute_txid();
        let vouts = commitment.htlcs.iter().map(|htlc| htlc.output_index);
        let all: BTreeSet<_> = vouts.map(|vout| OutPoint { txid, vout }).collect();
        let claims = self.claims_of(txid).into_iter();
        let inputs = claims.flat_map(|tx| tx.input.iter().map(|input| input.previous_output));
        let taken = inputs.filter(|outpoint| all.contains(outpoint)).collect();
        (all, taken)
    }

    /// Each HTLC of this side's commitment 1 is claimed by something that pays this and no more than the cap.
    pub fn assert_claimed(&self, owner: Side, feerate: FeeratePerKw) {
        let (all, taken) = self.htlcs(owner, 1);
        assert_eq!(all, taken, "{:?}", self.node.rejections);
        let takes = |tx: &Transaction| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| all.contains(&input.previous_output))
        };
        for tx in self.chain.mempool.iter().filter(|tx| takes(tx)) {
            let (fee, cap) = (self.chain.fee(tx), self.contract.max_fee.get());
            assert!(fee <= cap.0, "a fee of {fee}, above {cap}");
            let rate = fee * 1_000 / tx.weight().to_wu();
            assert!(
                rate >= u64::from(feerate.0),
                "{rate} of {} inputs",
                tx.input.len()
            );
        }
    }

    pub fn rejections(&self, of: &str) -> u64 {
        let of = |(reason, count): (&String, &u64)| reason.contains(of).then_some(*count);
        self.node.rejections.iter().filter_map(of).sum()
    }
}
