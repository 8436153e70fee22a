//! Blocks as full of what concerns the node as anybody can make them: it goes on, and misses nothing.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::opcodes::OP_TRUE;
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
};
use blackbox::{Bitcoind, Node, Options};
use serde_json::json;

const COIN: Amount = Amount::from_sat(330);
const FEE: Amount = Amount::from_sat(1_000);

fn anyone() -> ScriptBuf {
    Builder::new().push_opcode(OP_TRUE).into_script()
}

fn tx(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input,
        output,
    }
}

fn outputs(many: usize, value: Amount, script: &ScriptBuf) -> Vec<TxOut> {
    let script_pubkey = script.clone();
    vec![
        TxOut {
            value,
            script_pubkey
        };
        many
    ]
}

/// In a block of its own, from a coin that needs no signature.
fn mined(bitcoind: &Bitcoind, output: Vec<TxOut>) -> Transaction {
    let value = output.iter().map(|output| output.value).sum::<Amount>() + FEE;
    let script = anyone().to_p2wsh();
    let address = Address::from_script(&script, Network::Regtest).unwrap();
    let txid = bitcoind.fund(&address.to_string(), value.to_sat()).unwrap();
    let funding = bitcoind.transaction(&txid).unwrap();
    bitcoind.mine(1).unwrap();
    let funding: Transaction = deserialize_hex(funding["hex"].as_str().unwrap()).unwrap();
    let paid = |output: &TxOut| output.script_pubkey == script;
    let vout = funding
        .output
        .iter()
        .position(paid)
        .unwrap()
        .try_into()
        .unwrap();
    let txid = funding.compute_txid();
    let tx = tx(vec![spends(OutPoint { txid, vout })], output);
    block(bitcoind, json!([serialize_hex(&tx)]));
    tx
}

fn block(bitcoind: &Bitcoind, txs: serde_json::Value) {
    let to = bitcoind.rpc("getnewaddress", json!([])).unwrap();
    bitcoind.rpc("generateblock", json!([to, txs])).unwrap();
}

fn spends(previous_output: OutPoint) -> TxIn {
    TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[anyone().as_bytes()]),
    }
}

fn wait_for_coins(node: &Node, bitcoind: &Bitcoind, many: usize) {
    node.wait_for_height(bitcoind.height().unwrap()).unwrap();
    node.wait_for("all coins", |node| {
        let funds = node.rpc("listfunds", json!({}))?;
        let coins = funds["outputs"].as_array().map_or(0, Vec::len);
        Ok((coins == many).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_block_that_is_full_of_payments_to_us_is_taken_whole() {
    const TXS: usize = 7_500;
    const OUTPUTS: usize = 20_000;
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::prepare(&bitcoind, "alice", Options::default()).unwrap();
    node.launch().unwrap();
    let ours = node
        .rpc("newaddr", json!({"addresstype": "bech32"}))
        .unwrap();
    let ours: Address<_> = ours["bech32"].as_str().unwrap().parse().unwrap();
    let ours = ours
        .require_network(Network::Regtest)
        .unwrap()
        .script_pubkey();
    // Many transactions, with a branch each.
    let source = mined(&bitcoind, outputs(TXS, COIN + FEE, &anyone().to_p2wsh()));
    let txid = source.compute_txid();
    let each = (0..).take(TXS).map(|vout| {
        let input = vec![spends(OutPoint { txid, vout })];
        serialize_hex(&tx(input, outputs(1, COIN, &ours)))
    });
    block(&bitcoind, json!(each.collect::<Vec<_>>()));
    wait_for_coins(&node, &bitcoind, TXS);
    // One with as many outputs.
    mined(&bitcoind, outputs(OUTPUTS, COIN, &ours));
    wait_for_coins(&node, &bitcoind, TXS + OUTPUTS);
    // And all is there again after it has read them anew.
    node.restart().unwrap();
    wait_for_coins(&node, &bitcoind, TXS + OUTPUTS);
    assert!(!node.log().contains("starting it again"), "chaind died");
}
