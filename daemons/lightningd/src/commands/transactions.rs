//! listtransactions.

use std::collections::BTreeSet;
use std::sync::Arc;

use bitcoin::{Transaction, Txid};
use lightningd_rpc::{Args, Context};
use serde_json::{Value, json};
use wire::Satoshi;

use super::wallet::msat;
use super::{Outcome, channel_views, failed};
use crate::node::Node;
use crate::store::transactions::Mined;
use crate::store::wallet;

/// Those in blocks by their places, then those that are not; of these only what is ours.
pub async fn listtransactions(node: Arc<Node>, _: Context, _: Args) -> Outcome {
    let mut known: BTreeSet<Txid> = BTreeSet::new();
    let mut shown = Vec::new();
    for item in node.db.iter::<Mined>().map_err(failed)? {
        let ((height, index), Mined(tx)) = item.map_err(failed)?;
        known.insert(tx.compute_txid());
        shown.push(transaction(&tx, height, index));
    }
    let mut waiting = wallet::unconfirmed(&node.db).map_err(failed)?;
    for view in channel_views(&node).await {
        let closing = view.open.and_then(|open| open.record.facts.closing_tx);
        waiting.extend(closing);
    }
    for tx in waiting {
        if known.insert(tx.compute_txid()) {
            // As CLN: in no block.
            shown.push(transaction(&tx, 0, 0));
        }
    }
    Ok(json!({ "transactions": shown }))
}

fn transaction(tx: &Transaction, height: u32, index: u32) -> Value {
    let input = |input: &bitcoin::TxIn| {
        json!({
            "txid": input.previous_output.txid.to_string(),
            "index": input.previous_output.vout,
            "sequence": input.sequence.to_consensus_u32(),
        })
    };
    let output = |(index, output): (usize, &bitcoin::TxOut)| {
        json!({
            "index": index,
            "amount_msat": msat(Satoshi(output.value.to_sat())).0,
            "scriptPubKey": hex::encode(output.script_pubkey.as_bytes()),
        })
    };
    json!({
        "hash": tx.compute_txid().to_string(),
        "rawtx": bitcoin::consensus::encode::serialize_hex(tx),
        "blockheight": height,
        "txindex": index,
        "locktime": tx.lock_time.to_consensus_u32(),
        "version": tx.version.0.cast_unsigned(),
        "inputs": tx.input.iter().map(input).collect::<Vec<_>>(),
        "outputs": tx.output.iter().enumerate().map(output).collect::<Vec<_>>(),
    })
}
