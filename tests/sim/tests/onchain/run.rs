//! One channel's end, and what must hold when it is over.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bitcoin::{OutPoint, Transaction};
use onchain::Event;
use onchain::action::HtlcEnd;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tx::claim;
use tx::limits::WORTHLESS;
use tx::{CommitmentOutput, HtlcKind};
use wire::{BlockHeight, FeeratePerKw, Preimage, Satoshi, Side};

use crate::chain::Chain;
use crate::contract::{Contract, START};
use crate::node::Node;
use crate::peer::{Close, Peer};

/// An output worth less may not be worth its fee when fees are high.
const WORTH: u64 = 12_000;
/// So long before an HTLC's expiry its preimage and its commitment must be there for it to be due to us.
const TIME: u32 = 14;
/// What blocks want while nothing is the matter.
const CHEAP: Range<u32> = 253..900;
/// Where it is this all the time, one output can be claimed below this cap, and no two together.
const DEAR: Range<u32> = 4_000..4_400;
const DEAR_CAP: Satoshi = Satoshi(4_000);
/// After so many blocks fees are low for good.
const CALM: u32 = 250;
/// A run that is not over by then never will be.
const PATIENCE: u32 = 700;

/// What the runs are for, and must have seen.
const CASES: [&str; 13] = [
    "ours",
    "theirs",
    "revoked",
    "reorgs",
    "swaps",
    "crashes",
    "spikes",
    "fulfilled",
    "failed",
    "claimed by preimage",
    "second-stage penalties",
    "rivals with a child",
    "fees above the cap",
];

/// How often what happened, in all runs together.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<String, u64>);

impl Seen {
    fn count(&mut self, what: &str, often: u64) {
        *self.0.entry(what.to_owned()).or_default() += often;
    }

    pub fn add(&mut self, one: &Seen) {
        for (what, often) in &one.0 {
            self.count(what, *often);
        }
    }

    pub fn check(&self) {
        for case in CASES {
            let often = self.0.get(case).copied().unwrap_or_default();
            assert!(often > 0, "{case} never happened: {self:?}");
        }
    }
}

struct Run {
    rng: StdRng,
    contract: Contract,
    chain: Chain,
    node: Node,
    peer: Peer,
    /// What is, or is to be, in a block.
    close: Close,
    /// The peer's commitment is in everybody's mempool, and nobody favours it: we close, too.
    rival: bool,
    /// When the preimages of the peer's HTLCs come to us, by hash.
    learns: Vec<(u32, Preimage)>,
    learned_at: HashMap<Preimage, u32>,
    calm: Range<u32>,
    spike: u32,
    seen: Seen,
}

pub fn run(seed: u64) -> Seen {
    let mut run = Run::new(seed);
    println!(
        "seed {seed}: {:?} {:?}",
        run.close, run.contract.setup.format
    );
    while !run.node.over {
        assert!(
            run.chain.height() < START + PATIENCE,
            "seed {seed} is never over: {:#?}",
            run.node.standing
        );
        run.step();
    }
    run.judge(seed);
    run.seen
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = StdRng::seed_from_u64(seed);
        let contract = Contract::random(&mut rng);
        let close = random_close(&contract, &mut rng);
        let mut chain = Chain::of(&contract);
        let rival =
            close.owner == Side::Remote && !close.is_revoked(&contract) && rng.gen_bool(0.3);
        if rival {
            let theirs = contract.signed(Side::Remote, close.at);
            chain.submit(&theirs, None).unwrap();
        }
        // A claim of the peer's commitment needs no coin, and no child.
        let dear = close.owner == Side::Remote && !rival && rng.gen_bool(0.2);
        if dear {
            contract.max_fee.set(DEAR_CAP);
        }
        let calm = if dear { DEAR } else { CHEAP };
        let facts = contract.facts(rival || close.owner == Side::Local, &mut rng);
        let node = Node::new(facts, &contract, &mut chain, &mut rng);
        let peer = Peer::random(&contract, &mut rng);
        let offered = contract.preimages.iter();
        let offered = offered.filter(|(key, _)| key.offerer == Side::Remote);
        let learns = offered
            .filter_map(|(_, preimage)| {
                let when = START + rng.gen_range(0..70);
                rng.gen_bool(0.6).then_some((when, *preimage))
            })
            .collect();
        Run {
            rng,
            contract,
            chain,
            node,
            peer,
            close,
            rival,
            learns,
            learned_at: HashMap::new(),
            calm,
            spike: 0,
            seen: Seen::default(),
        }
    }

    fn step(&mut self) {
        self.move_market();
        self.learn();
        let tip = self.chain.height();
        if tip > START + 2 && self.rng.gen_bool(0.04) {
            return self.reorganize();
        }
        self.mine();
    }

    fn mine(&mut self) {
        let mut wants = Vec::new();
        if self.close.owner == Side::Remote && !self.rival && self.chain.height() >= START + 2 {
            wants.push(self.contract.signed(Side::Remote, self.close.at));
        }
        let (contract, chain) = (&self.contract, &self.chain);
        wants.extend(self.peer.wants(contract, self.close, chain, &mut self.rng));
        self.chain.mine(&wants);
        let height = self.chain.height();
        if std::env::var_os("SIM_TRACE").is_some() {
            self.trace();
        }
        let (contract, chain) = (&self.contract, &mut self.chain);
        self.node.block(height, contract, chain, &mut self.rng);
    }

    fn trace(&self) {
        let height = self.chain.height();
        println!("block {height}, market {}", self.chain.market);
        for (what, txs) in [
            ("block", self.chain.block(height)),
            ("mempool", &self.chain.mempool),
        ] {
            for tx in txs {
                let inputs: Vec<_> = tx.input.iter().map(|input| input.previous_output).collect();
                println!("  {what}: {} of {inputs:?}", tx.compute_txid());
            }
        }
        println!("  {:?}", self.node.rejections);
    }

    /// Now and then a hundred times as much, for a few blocks.
    fn move_market(&mut self) {
        let rng = &mut self.rng;
        if self.chain.height() > START + CALM {
            // In the end even what pays the least is mined.
            self.chain.market = FeeratePerKw(253);
        } else if self.spike > 0 {
            self.spike -= 1;
            if self.spike == 0 {
                self.chain.market = FeeratePerKw(rng.gen_range(self.calm.clone()));
            }
        } else if rng.gen_bool(0.02) {
            self.seen.count("spikes", 1);
            self.spike = rng.gen_range(1..6);
            self.chain.market = FeeratePerKw(self.chain.market.0 * 100);
        } else {
            self.chain.market = FeeratePerKw(rng.gen_range(self.calm.clone()));
        }
    }

    fn learn(&mut self) {
        let height = self.chain.height();
        let due: Vec<Preimage> = (self.learns.iter())
            .filter(|(when, _)| *when <= height)
            .map(|(_, preimage)| *preimage)
            .collect();
        self.learns.retain(|(when, _)| *when > height);
        for preimage in due {
            self.learned_at.entry(preimage).or_insert(height);
            self.node.learned.push(preimage);
            let event = Event::Preimage { preimage };
            self.node
                .event(event, &self.contract, &mut self.chain, &mut self.rng);
        }
    }

    /// One or two blocks go; the spending transaction may be another one afterwards.
    fn reorganize(&mut self) {
        self.seen.count("reorgs", 1);
        let blocks = self.rng.gen_range(1..3);
        let funding = self.contract.funding.outpoint;
        for _ in 0..blocks {
            self.chain.pop(|_| false);
        }
        if self.chain.spender(&funding).is_none() && self.rng.gen_bool(0.5) {
            let close = random_close(&self.contract, &mut self.rng);
            // Ours is only there if we closed.
            if close.owner == Side::Remote && close != self.close {
                self.seen.count("swaps", 1);
                (self.close, self.rival) = (close, false);
                let lost = |tx: &Transaction| spends(tx, funding);
                self.chain.mempool.retain(|tx| !lost(tx));
            }
        }
        let from = BlockHeight(self.chain.height() + 1);
        let event = Event::Disconnected { from };
        self.node
            .event(event, &self.contract, &mut self.chain, &mut self.rng);
        // The other branch is longer.
        for _ in 0..=blocks {
            self.mine();
        }
    }

    /// What must hold in the end.
    fn judge(&mut self, seed: u64) {
        let funding = self.contract.funding.outpoint;
        let (height, spend) = self.chain.spender(&funding).unwrap();
        let spend = spend.clone();
        let txid = spend.compute_txid();
        self.close = self.mined(txid);
        match (self.close.owner, self.close.is_revoked(&self.contract)) {
            (Side::Local, _) => self.seen.count("ours", 1),
            (Side::Remote, false) => self.seen.count("theirs", 1),
            (Side::Remote, true) => self.seen.count("revoked", 1),
        }
        let anchor = claim::anchor_of(&self.contract.setup, &spend);
        let child = anchor.and_then(|anchor| self.chain.spender(&anchor));
        if self.close.owner == Side::Remote && child.is_some() {
            self.seen.count("rivals with a child", 1);
        }
        self.seen.count("crashes", self.node.crashes);
        self.seen.count("runs", 1);
        self.seen.count("broadcasts", self.node.broadcasts);
        self.seen.count("fees above the cap", self.node.refused);
        for (reason, count) in &self.node.rejections {
            self.seen.count(reason, *count);
        }
        let commitment = self.contract.commitment(self.close.owner, self.close.at);
        for (vout, output) in (0_u32..).zip(&commitment.outputs) {
            let value = commitment.tx.output[usize::try_from(vout).unwrap()]
                .value
                .to_sat();
            let outpoint = OutPoint { txid, vout };
            self.judge_output(seed, height, *output, outpoint, value);
        }
        self.judge_fees(seed, &commitment);
        self.judge_ends(seed, &commitment);
    }

    /// After a reorg it may be another than was meant.
    fn mined(&self, txid: bitcoin::Txid) -> Close {
        let remote = (0..self.contract.ledgers.len()).map(|at| (Side::Remote, at));
        let mut all = remote.chain([(Side::Local, self.contract.local_newest)]);
        let is = |(owner, at): &(Side, usize)| {
            self.contract.commitment(*owner, *at).tx.compute_txid() == txid
        };
        let (owner, at) = all.find(is).expect("a commitment");
        Close { owner, at }
    }

    fn judge_output(
        &mut self,
        seed: u64,
        height: u32,
        output: CommitmentOutput,
        outpoint: OutPoint,
        value: u64,
    ) {
        let revoked = self.close.is_revoked(&self.contract);
        let due = match (self.close.owner, output) {
            (_, CommitmentOutput::LocalAnchor | CommitmentOutput::RemoteAnchor) => false,
            (Side::Local, CommitmentOutput::ToLocal) => true,
            (Side::Local, CommitmentOutput::ToRemote) => false,
            (Side::Remote, CommitmentOutput::ToLocal) => revoked,
            (Side::Remote, CommitmentOutput::ToRemote) => true,
            (_, CommitmentOutput::Htlc(_)) if revoked => true,
            (_, CommitmentOutput::Htlc(key)) => {
                let htlc = self.contract.htlcs[&key];
                let preimage = self.contract.preimages[&key];
                match key.offerer {
                    // Whoever comes first: but not for nothing, see judge_ends.
                    Side::Local => self.peer_took(outpoint).is_none(),
                    Side::Remote => {
                        let learned = self.learned_at.get(&preimage).copied();
                        learned.is_some_and(|at| at.max(height) + TIME <= htlc.cltv_expiry.0)
                    }
                }
            }
        };
        if !due || value < WORTH {
            return;
        }
        assert!(
            self.is_ours(outpoint),
            "seed {seed}: {output:?} of {value} sat is not ours: {:#?}",
            self.node.standing
        );
    }

    /// Spent to our wallet, at once or through an HTLC transaction.
    fn is_ours(&self, outpoint: OutPoint) -> bool {
        let script = self.node.wallet_script();
        let Some((_, tx)) = self.chain.spender(&outpoint) else {
            return false;
        };
        if tx
            .output
            .iter()
            .any(|output| output.script_pubkey == script)
            && !self.is_htlc_tx(tx, outpoint)
        {
            return true;
        }
        let txid = tx.compute_txid();
        (0_u32..).zip(&tx.output).any(|(vout, _)| {
            let stage = OutPoint { txid, vout };
            let spender = self.chain.spender(&stage);
            spender.is_some_and(|(_, tx)| {
                !self.is_htlc_tx(tx, stage)
                    && tx
                        .output
                        .iter()
                        .any(|output| output.script_pubkey == script)
            })
        })
    }

    /// By the length of its witness.
    fn is_htlc_tx(&self, tx: &Transaction, outpoint: OutPoint) -> bool {
        let spends = |input: &&bitcoin::TxIn| input.previous_output == outpoint;
        tx.input
            .iter()
            .find(spends)
            .is_some_and(|input| input.witness.len() == 5)
    }

    /// The preimage by which the peer took an HTLC that we offered.
    fn peer_took(&self, outpoint: OutPoint) -> Option<Preimage> {
        let (_, tx) = self.chain.spender(&outpoint)?;
        let spends = |input: &&bitcoin::TxIn| input.previous_output == outpoint;
        let witness = &tx.input.iter().find(spends)?.witness;
        let known = |element: &[u8]| {
            let bytes: [u8; 32] = element.try_into().ok()?;
            let mut all = self.contract.preimages.values();
            all.find(|preimage| preimage.0 == bytes).copied()
        };
        witness.iter().find_map(known)
    }

    /// No transaction of ours paid more than its share.
    fn judge_fees(&self, seed: u64, commitment: &tx::Commitment) {
        let script = self.node.wallet_script();
        let values = self.contract_values(commitment);
        for (_, tx) in self.chain.confirmed() {
            if !tx
                .output
                .iter()
                .any(|output| output.script_pubkey == script)
            {
                continue;
            }
            let taken: u64 = (tx.input.iter())
                .filter_map(|input| values.get(&input.previous_output))
                .sum();
            let coins = Node::coins();
            let spent: u64 = (coins.iter())
                .filter(|coin| spends(tx, coin.outpoint))
                .map(|coin| coin.value.0)
                .sum();
            let out: u64 = tx.output.iter().map(|output| output.value.to_sat()).sum();
            let fee = taken + spent - out;
            let cap = self.contract.max_fee.get();
            assert!(fee <= cap.0, "seed {seed}: a fee of {fee}, above {cap}");
            let anchor = taken == tx::fees::ANCHOR_VALUE.0;
            assert!(
                anchor || fee * 2 <= taken,
                "seed {seed}: a fee of {fee} to take {taken}"
            );
        }
    }

    /// Values of all outputs that came from the channel.
    fn contract_values(&self, commitment: &tx::Commitment) -> HashMap<OutPoint, u64> {
        let txid = commitment.tx.compute_txid();
        let of = |txid, tx: &Transaction| {
            let outputs = (0_u32..).zip(tx.output.clone());
            outputs
                .map(move |(vout, output)| (OutPoint { txid, vout }, output.value.to_sat()))
                .collect::<Vec<_>>()
        };
        let mut values: HashMap<OutPoint, u64> = of(txid, &commitment.tx).into_iter().collect();
        for (_, tx) in self.chain.confirmed() {
            let from_htlc = |input: &bitcoin::TxIn| {
                input.previous_output.txid == txid && input.witness.len() == 5
            };
            if tx.input.iter().any(from_htlc) {
                values.extend(of(tx.compute_txid(), tx));
            }
        }
        values
    }

    /// Each HTLC that we offered ended as the chain has it.
    fn judge_ends(&mut self, seed: u64, commitment: &tx::Commitment) {
        let txid = commitment.tx.compute_txid();
        let shown: Vec<Preimage> = (commitment.htlcs.iter())
            .filter_map(|htlc| {
                let vout = htlc.output_index;
                self.peer_took(OutPoint { txid, vout })
            })
            .collect();
        for (key, htlc) in &self.contract.htlcs {
            if key.offerer == Side::Remote {
                let took = commitment.htlcs.iter().find(|in_it| in_it.key == *key);
                if took.is_some_and(|in_it| {
                    let vout = in_it.output_index;
                    self.is_ours(OutPoint { txid, vout })
                        && HtlcKind::of(commitment.owner, key.offerer) == HtlcKind::Success
                }) {
                    self.seen.count("claimed by preimage", 1);
                }
                continue;
            }
            let end = self.node.ends.get(key);
            if !self.contract.is_live(key) {
                assert_eq!(end, None, "seed {seed}: {key:?} was over before");
                continue;
            }
            // Of two with the same hash one may have come back to us before the peer took the other.
            let own = (commitment.htlcs.iter()).find(|in_it| in_it.key == *key);
            let vout = own.map(|in_it| in_it.output_index);
            let took = vout.and_then(|vout| self.peer_took(OutPoint { txid, vout }));
            let any = shown
                .iter()
                .find(|shown| shown.payment_hash() == htlc.payment_hash);
            match (end, took, any) {
                // A reorg may have taken out what showed it: it was shown.
                (Some(HtlcEnd::Fulfilled { preimage }), _, _)
                    if preimage.payment_hash() == htlc.payment_hash =>
                {
                    self.seen.count("fulfilled", 1);
                }
                (Some(HtlcEnd::Failed), None, _) => self.seen.count("failed", 1),
                // Nobody sensible takes so little; who does it nevertheless takes no more than that.
                (Some(HtlcEnd::Failed), Some(_), _) if htlc.amount.to_sat_floor() < WORTHLESS => {}
                (end, took, any) => panic!("seed {seed}: {key:?} ended {end:?}: {took:?} {any:?}"),
            }
        }
        if self.close.is_revoked(&self.contract) {
            let second = |htlc: &&tx::CommitmentHtlc| {
                let vout = htlc.output_index;
                let outpoint = OutPoint { txid, vout };
                let spender = self.chain.spender(&outpoint);
                spender.is_some_and(|(_, tx)| self.is_htlc_tx(tx, outpoint))
                    && self.is_ours(outpoint)
            };
            let count = commitment.htlcs.iter().filter(second).count();
            self.seen
                .count("second-stage penalties", u64::try_from(count).unwrap());
        }
    }
}

fn spends(tx: &Transaction, outpoint: OutPoint) -> bool {
    tx.input
        .iter()
        .any(|input| input.previous_output == outpoint)
}

fn random_close(contract: &Contract, rng: &mut StdRng) -> Close {
    let last = contract.ledgers.len() - 1;
    match rng.gen_range(0..3) {
        0 => Close {
            owner: Side::Local,
            at: contract.local_newest,
        },
        1 => Close {
            owner: Side::Remote,
            at: rng.gen_range(contract.remote_lowest..=last),
        },
        _ => Close {
            owner: Side::Remote,
            at: rng.gen_range(0..=last),
        },
    }
}
