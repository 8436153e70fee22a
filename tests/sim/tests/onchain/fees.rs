//! What claims pay, step by step, and what a reorg or a restart leaves of it.

use std::collections::BTreeMap;

use bitcoin::{Transaction, Txid};
use onchain::Facts;
use onchain::action::{OutputKind, Spender};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tx::ledger::{Delta, Htlc, HtlcKey};
use wire::{BlockHeight, CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, Preimage, Satoshi, Side};

use crate::additions::peers_claim;
use crate::chain::Chain;
use crate::contract::{Contract, START};
use crate::node::Node;

/// So much no transaction of these tests pays.
const NEVER: FeeratePerKw = FeeratePerKw(50_000_000);

/// So many HTLCs of ours, each worth so much, in commitment 1, which the peer has revoked or not.
fn contract(count: u8, satoshi: u64, expiry: u32, revoked: bool) -> Contract {
    let key = |id: u8| HtlcKey {
        offerer: Side::Local,
        id: HtlcId(id.into()),
    };
    let preimage = |id: u8| Preimage([id + 1; 32]);
    let add = |id: u8| Delta::Add {
        key: key(id),
        htlc: Htlc {
            amount: MilliSatoshi(satoshi * 1_000),
            payment_hash: preimage(id).payment_hash(),
            cltv_expiry: CltvExpiry(expiry),
        },
    };
    let mut steps: Vec<Vec<Delta>> = vec![(0..count).map(add).collect()];
    if revoked {
        steps.push((0..count).map(|id| Delta::Fail { key: key(id) }).collect());
    }
    let preimages: BTreeMap<_, _> = (0..count).map(|id| (key(id), preimage(id))).collect();
    let mut rng = StdRng::seed_from_u64(1);
    Contract::of_steps(&mut rng, Satoshi(100_000_000), steps, preimages)
}

/// A node and the chain that it sees.
struct World<'a> {
    contract: &'a Contract,
    chain: Chain,
    node: Node,
    rng: StdRng,
}

impl<'a> World<'a> {
    fn new(contract: &'a Contract, market: FeeratePerKw, facts: Facts) -> World<'a> {
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
    fn closed_by_peer(contract: &'a Contract, market: FeeratePerKw) -> World<'a> {
        let facts = contract.facts(false, &mut StdRng::seed_from_u64(2));
        let mut world = World::new(contract, market, facts);
        world.mine(&[contract.signed(Side::Remote, 1)]);
        world
    }

    /// Only these, whatever the mempool pays; the node does not hear of it.
    fn bury(&mut self, txs: &[Transaction]) {
        let market = std::mem::replace(&mut self.chain.market, NEVER);
        self.chain.mine(txs);
        self.chain.market = market;
    }

    fn mine(&mut self, txs: &[Transaction]) {
        self.bury(txs);
        let height = self.chain.height();
        let block = self.chain.block(height).len();
        assert_eq!(block, txs.len(), "the block has what it should");
        let (contract, chain) = (self.contract, &mut self.chain);
        self.node.block(height, contract, chain, &mut self.rng);
    }

    fn restart(&mut self) {
        let (contract, chain) = (self.contract, &mut self.chain);
        self.node.restart(contract, chain, &mut self.rng);
    }

    /// What is in the mempool and takes an output of this transaction.
    fn claims_of(&self, txid: Txid) -> Vec<&Transaction> {
        let takes = |tx: &&Transaction| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| input.previous_output.txid == txid)
        };
        self.chain.mempool.iter().filter(takes).collect()
    }
}

#[test]
fn another_spend_of_the_funding_output_after_a_reorg_that_was_missed_is_what_counts() {
    let contract = contract(3, 100_000, START + 500, false);
    let mut world = World::closed_by_peer(&contract, FeeratePerKw(1_000));
    world.mine(&[peers_claim(&contract, 0)]);
    for _ in 0..10 {
        world.mine(&[]);
    }
    let commitment = contract.signed(Side::Remote, 1).compute_txid();
    let lost = |tx: &Transaction| {
        tx.input
            .iter()
            .any(|i| i.previous_output.txid == commitment)
    };
    for _ in 0..12 {
        world
            .chain
            .pop(|tx| lost(tx) || tx.compute_txid() == commitment);
    }
    for _ in 0..9 {
        world.bury(&[]);
    }
    let ours = contract.signed(Side::Local, 1);
    world.bury(std::slice::from_ref(&ours));
    for _ in 0..5 {
        world.bury(&[]);
    }
    world.restart();
    let standing = world.node.standing.as_ref().unwrap();
    let height = BlockHeight(START + 10);
    let spender = Some((Spender::Ours, ours.compute_txid(), height));
    assert_eq!(standing.spender, spender);
    let second = |kind| matches!(kind, OutputKind::HtlcTx(_));
    assert!(!standing.outputs.iter().any(|output| second(output.kind)));
}

#[test]
fn what_a_claim_was_raised_to_is_not_forgotten_when_its_parent_comes_again() {
    for reorg in [false, true] {
        let contract = contract(2, 1_000_000, START + 500, true);
        let mut world = World::closed_by_peer(&contract, FeeratePerKw(1_000));
        let second = [peers_claim(&contract, 0), peers_claim(&contract, 1)];
        world.mine(&second);
        world.chain.market = FeeratePerKw(50_000);
        world.mine(&[]);
        world.mine(&[]);
        world.chain.market = FeeratePerKw(1_000);
        let fee = |world: &World<'_>| {
            let claims = second
                .iter()
                .flat_map(|tx| world.claims_of(tx.compute_txid()));
            claims.map(|tx| world.chain.fee(tx)).max().unwrap()
        };
        let before = fee(&world);
        // The backend was away, too.
        world.chain.mempool.clear();
        if reorg {
            for _ in 0..3 {
                world.chain.pop(|_| true);
            }
            let from = BlockHeight(world.chain.height() + 1);
            let (contract, chain) = (world.contract, &mut world.chain);
            let event = onchain::Event::Disconnected { from };
            world.node.event(event, contract, chain, &mut world.rng);
            world.mine(&[]);
            world.mine(&second);
        } else {
            world.restart();
        }
        for _ in 0..6 {
            world.mine(&[]);
        }
        assert!(fee(&world) >= before, "{} and not {before}", fee(&world));
    }
}
