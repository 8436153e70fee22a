//! What became of a channel's funding output, to the satoshi: every transaction in a block that comes from
//! it, what it paid as fee and for whom, and what nobody has taken.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::node::{number, text};
use crate::{Bitcoind, Node};

/// Elements of the witness that spends an HTLC output by the commitment owner's HTLC transaction (BOLT 3).
const HTLC_TX_WITNESS: usize = 5;
/// BOLT 3, to_local_anchor and to_remote_anchor.
pub const ANCHOR: u64 = 330;

/// A transaction in a block that comes from the funding output.
#[derive(Debug, Clone)]
pub struct Descendant {
    pub txid: String,
    pub height: u64,
    /// In satoshi.
    pub fee: u64,
    /// What it spends.
    pub spends: Vec<(String, u64)>,
    /// Values of its outputs in satoshi.
    pub values: Vec<u64>,
    /// It spends an HTLC output by an HTLC transaction.
    pub is_htlc_tx: bool,
}

/// All of them, the one that spends the funding output first.
#[derive(Debug, Clone)]
pub struct Tally {
    pub all: Vec<Descendant>,
    /// Outputs of the first one, and of HTLC transactions, that nobody has spent, with their values.
    left: BTreeMap<(String, u64), u64>,
}

impl Tally {
    /// From the blocks since this height.
    ///
    /// # Errors
    /// Those of bitcoind, or nothing has spent the funding output.
    pub fn of(bitcoind: &Bitcoind, funding: (&str, u64), since: u64) -> Result<Tally> {
        let mut open = BTreeSet::from([(funding.0.to_string(), funding.1)]);
        let mut values = BTreeMap::new();
        let mut all = Vec::new();
        for height in since..=bitcoind.height()? {
            let hash = bitcoind.rpc("getblockhash", json!([height]))?;
            let block = bitcoind.rpc("getblock", json!([hash, 3]))?;
            // A block has parents before children.
            for tx in block["tx"].as_array().context("a block's transactions")? {
                let found = descendant(tx, height)?;
                if !found.spends.iter().any(|spent| open.contains(spent)) {
                    continue;
                }
                for spent in &found.spends {
                    open.remove(spent);
                    values.remove(spent);
                }
                // What else comes from it is in a wallet.
                if all.is_empty() || found.is_htlc_tx {
                    for (vout, value) in (0..).zip(&found.values) {
                        open.insert((found.txid.clone(), vout));
                        values.insert((found.txid.clone(), vout), *value);
                    }
                }
                all.push(found);
            }
        }
        all.first().context("the funding output is not spent")?;
        Ok(Tally { all, left: values })
    }

    /// The transaction that spent the funding output.
    ///
    /// # Panics
    /// Never: there is one.
    pub fn commitment(&self) -> &Descendant {
        &self.all[0]
    }

    /// The block in which the output of this value of that transaction of these was taken.
    ///
    /// # Panics
    /// The transaction is none of these, or has not one such output.
    #[must_use]
    pub fn taken(&self, txid: &str, value: u64) -> Option<u64> {
        let of = self.all.iter().find(|tx| tx.txid == txid);
        let values = &of.expect("a transaction of the channel").values;
        let mut outputs = (0..).zip(values).filter(|(_, v)| **v == value);
        let (vout, _) = outputs.next().expect("an output of this value");
        assert!(outputs.next().is_none(), "two outputs of {value}");
        let spends = |tx: &&Descendant| tx.spends.contains(&(txid.to_string(), vout));
        self.all.iter().find(spends).map(|tx| tx.height)
    }

    /// How many anchors nobody has taken.
    pub fn anchors_left(&self) -> u64 {
        self.left
            .values()
            .filter(|value| **value == ANCHOR)
            .map(|_| 1)
            .sum()
    }

    /// Fees of all of them.
    pub fn fees(&self) -> u64 {
        self.all.iter().map(|tx| tx.fee).sum()
    }

    /// Fees of those that this node made: they pay to its wallet, or are its HTLC transactions if the
    /// commitment is its own.
    ///
    /// # Errors
    /// Those of the node.
    pub fn fees_of(&self, node: &Node, owns_commitment: bool) -> Result<u64> {
        let made = self.made_by(node, owns_commitment)?;
        Ok(made.iter().map(|tx| tx.fee).sum())
    }

    /// How many anchors this node has taken, to pay for the commitment with a child.
    ///
    /// # Errors
    /// Those of the node.
    pub fn anchors_taken_by(&self, node: &Node) -> Result<u64> {
        let commitment = self.commitment();
        let is_anchor = |(txid, vout): &&(String, u64)| {
            let value = usize::try_from(*vout)
                .ok()
                .and_then(|v| commitment.values.get(v));
            *txid == commitment.txid && value == Some(&ANCHOR)
        };
        let made = self.made_by(node, false)?;
        let spends = made.iter().flat_map(|tx| &tx.spends);
        Ok(spends.filter(is_anchor).map(|_| 1).sum())
    }

    fn made_by(&self, node: &Node, owns_commitment: bool) -> Result<Vec<&Descendant>> {
        let wallet = wallet_outputs(node)?;
        let by_node = |tx: &&Descendant| {
            let outputs = (0..).zip(&tx.values);
            let mut outputs = outputs.map(|(vout, _)| (tx.txid.clone(), vout));
            (owns_commitment && tx.is_htlc_tx) || outputs.any(|output| wallet.contains(&output))
        };
        Ok(self.all.iter().skip(1).filter(by_node).collect())
    }
}

fn descendant(tx: &Value, height: u64) -> Result<Descendant> {
    let inputs = tx["vin"].as_array().context("inputs")?;
    let spends = inputs.iter().filter(|input| input["txid"].is_string());
    let spends = spends.map(|input| {
        let txid = text(&input["txid"], "an input's txid")?;
        Ok((txid, number(&input["vout"], "an input's vout")?))
    });
    let outputs = tx["vout"].as_array().context("outputs")?;
    let witness = |input: &Value| input["txinwitness"].as_array().map_or(0, Vec::len);
    Ok(Descendant {
        txid: text(&tx["txid"], "a txid")?,
        height,
        fee: satoshi(&tx["fee"]),
        spends: spends.collect::<Result<_>>()?,
        values: outputs.iter().map(|o| satoshi(&o["value"])).collect(),
        is_htlc_tx: inputs.iter().any(|input| witness(input) == HTLC_TX_WITNESS),
    })
}

/// bitcoind's amounts are in bitcoin.
fn satoshi(amount: &Value) -> u64 {
    (amount.as_f64().unwrap_or_default() * 1e8).round() as u64
}

fn wallet_outputs(node: &Node) -> Result<BTreeSet<(String, u64)>> {
    let funds = node.rpc("listfunds", json!({"spent": true}))?;
    let outputs = funds["outputs"].as_array().context("outputs")?;
    outputs
        .iter()
        .map(|output| {
            let txid = text(&output["txid"], "an output's txid")?;
            Ok((txid, number(&output["output"], "an output's index")?))
        })
        .collect()
}
