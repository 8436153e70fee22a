//! A chain: blocks, coins, a mempool with replacement, a market for fees. Scripts are verified by Bitcoin's code.

use std::collections::HashMap;

use bitcoin::consensus::serialize;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxOut, Txid};
use wire::{FeeratePerKw, Satoshi};

use crate::contract::{Contract, START};
use crate::node::Node;
use crate::signer::Wallet;

const FLOOR: u32 = 253;
/// A full mempool takes nothing that pays less than one in so many of what the next block takes.
const FLOOR_PART: u32 = 4;

pub struct Chain {
    /// Height of the newest block; the first is the one after [`START`].
    blocks: Vec<Vec<Transaction>>,
    /// What is in blocks: by its id, and by what it spends.
    known: HashMap<Txid, (u32, Transaction)>,
    spent: HashMap<OutPoint, Txid>,
    /// What exists before the first block.
    genesis: HashMap<OutPoint, TxOut>,
    pub mempool: Vec<Transaction>,
    /// What a transaction has to pay for the next block.
    pub market: FeeratePerKw,
}

impl Chain {
    /// With the channel's funding output and the coins of our wallet.
    pub fn of(contract: &Contract) -> Chain {
        let funding = TxOut {
            value: Amount::from_sat(contract.funding.value.0),
            script_pubkey: contract.setup.funding_script_pubkey(),
        };
        let mut genesis = HashMap::from([(contract.funding.outpoint, funding)]);
        let script_pubkey = Wallet::new().script();
        for coin in Node::coins() {
            let output = TxOut {
                value: Amount::from_sat(coin.value.0),
                script_pubkey: script_pubkey.clone(),
            };
            genesis.insert(coin.outpoint, output);
        }
        Chain::new(genesis)
    }

    /// Gives somebody a coin that anybody may spend.
    pub fn give(&mut self, outpoint: OutPoint, value: Satoshi) {
        let output = TxOut {
            value: Amount::from_sat(value.0),
            script_pubkey: ScriptBuf::from(vec![0x51]),
        };
        self.genesis.insert(outpoint, output);
    }

    fn new(genesis: HashMap<OutPoint, TxOut>) -> Chain {
        Chain {
            blocks: Vec::new(),
            known: HashMap::new(),
            spent: HashMap::new(),
            genesis,
            mempool: Vec::new(),
            market: FeeratePerKw(500),
        }
    }

    /// The least that the mempool takes.
    pub fn floor(&self) -> FeeratePerKw {
        FeeratePerKw((self.market.0 / FLOOR_PART).max(FLOOR))
    }

    pub fn height(&self) -> u32 {
        START + u32::try_from(self.blocks.len()).unwrap()
    }

    pub fn block(&self, height: u32) -> &[Transaction] {
        &self.blocks[usize::try_from(height - START - 1).unwrap()]
    }

    pub fn confirmed(&self) -> impl Iterator<Item = (u32, &Transaction)> {
        let blocks = (START + 1..).zip(&self.blocks);
        blocks.flat_map(|(height, txs)| txs.iter().map(move |tx| (height, tx)))
    }

    /// Output and height; of those that are in no block yet the height is that of the next one.
    fn coin(&self, outpoint: &OutPoint, pending: &[Transaction]) -> Option<(TxOut, u32)> {
        if let Some(output) = self.genesis.get(outpoint) {
            return Some((output.clone(), START));
        }
        let vout = usize::try_from(outpoint.vout).unwrap();
        if let Some((height, tx)) = self.known.get(&outpoint.txid) {
            return Some((tx.output.get(vout)?.clone(), *height));
        }
        let parent = pending
            .iter()
            .find(|tx| tx.compute_txid() == outpoint.txid)?;
        Some((parent.output.get(vout)?.clone(), self.height() + 1))
    }

    /// The transaction in a block that spends it.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<(u32, &Transaction)> {
        let txid = self.spent.get(outpoint)?;
        self.known.get(txid).map(|(height, tx)| (*height, tx))
    }

    /// Valid in the next block as it stands?
    fn check(&self, tx: &Transaction, pending: &[Transaction]) -> Result<u64, String> {
        let next = self.height() + 1;
        if tx.lock_time.to_consensus_u32() >= next
            && tx.input.iter().any(|input| input.sequence != Sequence::MAX)
            && !is_commitment(tx)
        {
            return Err(format!("not final before {}", tx.lock_time));
        }
        let bytes = serialize(tx);
        let mut paid = 0;
        for (index, input) in tx.input.iter().enumerate() {
            let outpoint = &input.previous_output;
            let coin = self.coin(outpoint, pending);
            let (output, height) = coin.ok_or("missing inputs")?;
            if self.spender(outpoint).is_some() {
                return Err("inputs are spent".to_owned());
            }
            if input.sequence.is_height_locked() {
                let blocks = input.sequence.0 & 0xffff;
                if height + blocks > next {
                    return Err(format!("non-BIP68-final: {height} + {blocks} > {next}"));
                }
            }
            let value = output.value.to_sat();
            let script = output.script_pubkey.as_bytes();
            bitcoinconsensus::verify(script, value, &bytes, None, index)
                .map_err(|error| format!("script of input {index}: {error:?}"))?;
            paid += value;
        }
        let out: u64 = tx.output.iter().map(|output| output.value.to_sat()).sum();
        paid.checked_sub(out)
            .ok_or("outputs exceed inputs".to_owned())
    }

    pub fn fee(&self, tx: &Transaction) -> u64 {
        let value = |input: &bitcoin::TxIn| {
            let coin = self.coin(&input.previous_output, &self.mempool);
            coin.map_or(0, |(output, _)| output.value.to_sat())
        };
        let paid: u64 = tx.input.iter().map(value).sum();
        paid.saturating_sub(tx.output.iter().map(|output| output.value.to_sat()).sum())
    }

    fn parents(&self, tx: &Transaction) -> Vec<Transaction> {
        let is = |parent: &Transaction, txid: Txid| parent.compute_txid() == txid;
        let spends = |parent: &&Transaction| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| is(parent, input.previous_output.txid))
        };
        self.mempool.iter().filter(spends).cloned().collect()
    }

    /// To the mempool, with its parent if that is not there.
    pub fn submit(&mut self, tx: &Transaction, parent: Option<&Transaction>) -> Result<(), String> {
        let txid = tx.compute_txid();
        let known = |known: &Transaction| known.compute_txid() == txid;
        if self.mempool.iter().any(known) || self.known.contains_key(&txid) {
            return Ok(());
        }
        let before = self.mempool.clone();
        if let Some(parent) = parent
            && !before.iter().any(|known| known == parent)
            && self.spender(&parent.input[0].previous_output).is_none()
        {
            self.check(parent, &before)?;
            self.evict(parent);
            self.mempool.push(parent.clone());
        }
        let taken = self.accept(tx);
        if taken.is_err() {
            self.mempool = before;
        }
        taken
    }

    fn accept(&mut self, tx: &Transaction) -> Result<(), String> {
        let fee = self.check(tx, &self.mempool)?;
        let weight = tx.weight().to_wu();
        let package: Vec<Transaction> = self.parents(tx);
        let (fees, weights) = package
            .iter()
            .fold((fee, weight), |(fees, weights), parent| {
                (fees + self.fee(parent), weights + parent.weight().to_wu())
            });
        let floor = u64::from(self.floor().0);
        if fees * 1000 < floor * weights && !is_commitment(tx) {
            return Err("min relay fee not met".to_owned());
        }
        let conflicts = self.conflicts(tx);
        let replaced: u64 = conflicts.iter().map(|old| self.fee(old)).sum();
        let rate = |fee: u64, weight: u64| fee * 1000 / weight;
        let better =
            |old: &Transaction| rate(fee, weight) > rate(self.fee(old), old.weight().to_wu());
        if !conflicts.is_empty()
            // 1 satoshi a virtual byte for its own relay.
            && (fee < replaced + weight.div_ceil(4) || !conflicts.iter().all(better))
        {
            return Err("insufficient fee, rejecting replacement".to_owned());
        }
        self.evict(tx);
        self.mempool.push(tx.clone());
        Ok(())
    }

    fn conflicts(&self, tx: &Transaction) -> Vec<Transaction> {
        let spends = |old: &&Transaction| {
            old.compute_txid() != tx.compute_txid()
                && old.input.iter().any(|a| {
                    let same = |b: &bitcoin::TxIn| a.previous_output == b.previous_output;
                    tx.input.iter().any(same)
                })
        };
        self.mempool.iter().filter(spends).cloned().collect()
    }

    /// Takes out what conflicts with `tx`, and what spends that.
    fn evict(&mut self, tx: &Transaction) {
        let mut gone: Vec<Txid> = self
            .conflicts(tx)
            .iter()
            .map(Transaction::compute_txid)
            .collect();
        while let Some(txid) = gone.pop() {
            let child = |tx: &Transaction| {
                tx.input
                    .iter()
                    .any(|input| input.previous_output.txid == txid)
            };
            let children = self.mempool.iter().filter(|tx| child(tx));
            gone.extend(children.map(Transaction::compute_txid));
            self.mempool.retain(|tx| tx.compute_txid() != txid);
        }
    }

    /// A block: what the peer's miner wants, if it is valid, then what pays.
    pub fn mine(&mut self, favoured: &[Transaction]) {
        let mut block: Vec<Transaction> = Vec::new();
        let mut spent: Vec<OutPoint> = Vec::new();
        let mut take = |chain: &Chain, tx: &Transaction, block: &mut Vec<Transaction>| {
            let free = |input: &bitcoin::TxIn| !spent.contains(&input.previous_output);
            if !tx.input.iter().all(free) || chain.check(tx, block).is_err() {
                return false;
            }
            spent.extend(tx.input.iter().map(|input| input.previous_output));
            block.push(tx.clone());
            true
        };
        for tx in favoured {
            take(self, tx, &mut block);
        }
        let market = u64::from(self.market.0);
        let pays = |chain: &Chain, tx: &Transaction, child: Option<&Transaction>| {
            let of = |tx: &Transaction| (chain.fee(tx), tx.weight().to_wu());
            let (fee, weight) = of(tx);
            let (more, heavier) = child.map_or((0, 0), of);
            fee * 1000 >= market * weight
                || (child.is_some() && (fee + more) * 1000 >= market * (weight + heavier))
        };
        for tx in self.mempool.clone() {
            let txid = tx.compute_txid();
            let spends = |child: &&Transaction| {
                child
                    .input
                    .iter()
                    .any(|input| input.previous_output.txid == txid)
            };
            let child = self.mempool.iter().find(spends).cloned();
            if pays(self, &tx, child.as_ref()) {
                take(self, &tx, &mut block);
            }
        }
        self.blocks.push(block.clone());
        let height = self.height();
        for tx in &block {
            let txid = tx.compute_txid();
            let inputs = tx.input.iter().map(|input| input.previous_output);
            self.spent.extend(inputs.map(|outpoint| (outpoint, txid)));
            self.known.insert(txid, (height, tx.clone()));
        }
        for tx in &block {
            self.evict(tx);
            self.mempool
                .retain(|known| known.compute_txid() != tx.compute_txid());
        }
    }

    /// Takes out the newest block; its transactions go back to the mempool, but for `lost`.
    pub fn pop(&mut self, lost: impl Fn(&Transaction) -> bool) {
        let block = self.blocks.pop().expect("a block");
        for tx in &block {
            self.known.remove(&tx.compute_txid());
            for input in &tx.input {
                self.spent.remove(&input.previous_output);
            }
        }
        let rest = std::mem::take(&mut self.mempool);
        for tx in block.iter().chain(&rest) {
            if !lost(tx) {
                let _ = self.submit(tx, None);
            }
        }
    }
}

/// Its lock time is no lock time.
fn is_commitment(tx: &Transaction) -> bool {
    tx.lock_time.to_consensus_u32() >> 24 == 0x20
}
