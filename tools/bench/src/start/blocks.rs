//! What a block costs a node: an empty one, and one that is full of transactions which do not concern it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
};
use blackbox::{Bitcoind, Node};
use serde_json::json;

/// With the coinbase transaction as much as a block may weigh.
const TRANSACTIONS: usize = 7_200;
/// Satoshi that are passed on and on.
const AMOUNT: u64 = 1_500_000_000;

/// A script that anybody satisfies.
const OP_TRUE: u8 = 0x51;

/// One block.
#[derive(Clone, Copy)]
pub struct Block {
    pub transactions: usize,
    pub weight: u64,
    /// From bitcoind's word that it is there to the node's getinfo naming its height.
    pub took: Duration,
    /// What all of the node's processes computed because of it.
    pub cpu: Duration,
}

/// Fills blocks with transactions that anybody may make.
pub struct Filler {
    script: ScriptBuf,
    address: String,
    coins: Vec<(OutPoint, u64)>,
}

impl Filler {
    /// Spreads a coin over as many outputs as a block has transactions.
    pub fn new(bitcoind: &Bitcoind) -> Result<Filler> {
        let script = ScriptBuf::from_bytes(vec![OP_TRUE]);
        let address = Address::p2wsh(&script, Network::Regtest).to_string();
        let txid = bitcoind.fund(&address, AMOUNT)?;
        bitcoind.mine(1)?;
        let outputs = bitcoind.transaction(&txid)?["vout"].clone();
        let outputs = outputs.as_array().context("a transaction has outputs")?;
        let is =
            |output: &&serde_json::Value| output["scriptPubKey"]["address"] == address.as_str();
        let vout = outputs.iter().position(|output| is(&output));
        let vout = u32::try_from(vout.context("it pays there")?)?;
        let txid = txid.parse()?;
        let mut filler = Filler {
            script,
            address,
            coins: vec![(OutPoint { txid, vout }, AMOUNT)],
        };
        let share = AMOUNT / TRANSACTIONS as u64;
        let spread = filler.spend(0, &[share; TRANSACTIONS])?;
        filler.coins = outpoints(&spread);
        filler.mine(bitcoind, &[spread])?;
        Ok(filler)
    }

    /// Mines a full block, none of which concerns the node.
    pub fn full(&mut self, bitcoind: &Bitcoind, node: &Node) -> Result<Block> {
        let mut txs = Vec::with_capacity(self.coins.len());
        for at in 0..self.coins.len() {
            let (_, value) = self.coins.get(at).context("a coin")?;
            txs.push(self.spend(at, &[value - 1, 1])?);
        }
        self.coins = txs
            .iter()
            .filter_map(|tx| outpoints(tx).into_iter().next())
            .collect();
        timed(bitcoind, node, || self.mine(bitcoind, &txs))
    }

    fn mine(&self, bitcoind: &Bitcoind, txs: &[Transaction]) -> Result<()> {
        let raw: Vec<String> = txs.iter().map(serialize_hex).collect();
        bitcoind.rpc("generateblock", json!([self.address, raw]))?;
        Ok(())
    }

    fn spend(&self, at: usize, values: &[u64]) -> Result<Transaction> {
        let (outpoint, _) = self.coins.get(at).context("a coin")?;
        let mut witness = Witness::new();
        witness.push(self.script.as_bytes());
        let output = |value: &u64| TxOut {
            value: Amount::from_sat(*value),
            script_pubkey: self.script.to_p2wsh(),
        };
        Ok(Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: *outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness,
            }],
            output: values.iter().map(output).collect(),
        })
    }
}

fn outpoints(tx: &Transaction) -> Vec<(OutPoint, u64)> {
    let txid = tx.compute_txid();
    let outputs = (0_u32..).zip(&tx.output);
    outputs
        .map(|(vout, output)| (OutPoint { txid, vout }, output.value.to_sat()))
        .collect()
}

/// Mines a block with nothing in it.
pub fn empty(bitcoind: &Bitcoind, node: &Node) -> Result<Block> {
    timed(bitcoind, node, || bitcoind.mine(1).map(drop))
}

fn timed(bitcoind: &Bitcoind, node: &Node, mine: impl FnOnce() -> Result<()>) -> Result<Block> {
    super::wait_for_height(node, bitcoind)?;
    let height = bitcoind.height()? + 1;
    let mut connection = node.client().connect("bench blocks")?;
    // What the block before led to is over.
    std::thread::sleep(SETTLE);
    let before = cpu(node)?;
    mine()?;
    let mined = Instant::now();
    loop {
        let info = connection.call("getinfo", json!({}))?;
        if info["blockheight"].as_u64() >= Some(height) {
            break;
        }
        ensure!(mined.elapsed() < blackbox::patience(), "it does not see it");
        std::thread::sleep(super::LOOK);
    }
    let took = mined.elapsed();
    std::thread::sleep(SETTLE);
    let cpu = cpu(node)?.saturating_sub(before);
    let hash = bitcoind.rpc("getblockhash", json!([height]))?;
    let block = bitcoind.rpc("getblock", json!([hash, 1]))?;
    Ok(Block {
        transactions: block["nTx"].as_u64().unwrap_or(0) as usize,
        weight: block["weight"].as_u64().unwrap_or(0),
        took,
        cpu,
    })
}

/// After a block its channels still think.
const SETTLE: Duration = Duration::from_secs(1);

fn cpu(node: &Node) -> Result<Duration> {
    crate::ours::cpu([node])
}
