//! Coins on chain: newaddr, listfunds, withdraw.

use std::sync::Arc;

use base64::Engine;
use bitcoin::hex::DisplayHex;
use bitcoin::{Address, OutPoint, Psbt, ScriptBuf, Transaction, Txid};
use lightningd_rpc::{Args, Context, RpcError, SatOrAll, code};
use lightningd_wallet::{Amount, Fund, FundStatus, Inputs, Recipient, UnsignedTx, parse_address};
use serde_json::{Value, json};
use wire::{MilliSatoshi, Satoshi};

use super::{Outcome, channel_views, error, failed, feerate};
use crate::channel::state_name;
use crate::hsm::HsmError;
use crate::node::Node;
use crate::wallet::{SendError, Spend, WalletError};

pub async fn newaddr(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let kind: String = args.required("addresstype")?;
    let new = node.wallet.new_address().await.map_err(wallet_error)?;
    let shown = |script: &ScriptBuf| address(&node, script).unwrap_or_default();
    let mut reply = serde_json::Map::new();
    if kind == "bech32" || kind == "all" {
        reply.insert("bech32".to_owned(), json!(shown(&new.p2wpkh)));
    }
    if kind == "p2tr" || kind == "all" {
        reply.insert("p2tr".to_owned(), json!(shown(&new.p2tr)));
    }
    Ok(Value::Object(reply))
}

/// An address for a script that has one.
pub fn address(node: &Node, script: &ScriptBuf) -> Option<String> {
    Address::from_script(script, node.network)
        .ok()
        .map(|address| address.to_string())
}

pub async fn listfunds(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let spent: bool = args.required("spent")?;
    let funds = node.wallet.funds(spent).await.map_err(wallet_error)?;
    let outputs: Vec<Value> = funds.iter().map(|fund| output(&node, fund)).collect();
    let mut channels = Vec::new();
    for view in channel_views(&node).await {
        let Some(open) = &view.open else { continue };
        let live = &open.record.live;
        let mut entry = json!({
            "peer_id": view.peer.to_string(),
            "connected": view.connected,
            "state": state_name(&live.phase, &open.record.facts),
            "channel_id": live.channel_id.to_string(),
            "our_amount_msat": open.ours().0,
            "amount_msat": live.funding.value.to_msat().unwrap_or_default().0,
            "funding_txid": live.funding.outpoint.txid.to_string(),
            "funding_output": live.funding.outpoint.vout,
        });
        if let (Some(scid), Some(object)) = (live.scid, entry.as_object_mut()) {
            object.insert("short_channel_id".to_owned(), json!(scid.to_string()));
        }
        channels.push(entry);
    }
    Ok(json!({ "outputs": outputs, "channels": channels }))
}

fn output(node: &Node, fund: &Fund) -> Value {
    let reserved = fund.reserved_until.is_some();
    let mut entry = json!({
        "txid": fund.outpoint.txid.to_string(),
        "output": fund.outpoint.vout,
        "amount_msat": fund.value.to_msat().unwrap_or_default().0,
        "scriptpubkey": fund.script.as_bytes().to_lower_hex_string(),
        "status": fund.status.word(),
        "reserved": reserved,
    });
    let Some(object) = entry.as_object_mut() else {
        return entry;
    };
    if let Some(address) = address(node, &fund.script) {
        object.insert("address".to_owned(), json!(address));
    }
    let in_block = matches!(fund.status, FundStatus::Confirmed | FundStatus::Immature);
    if let (Some(height), true) = (fund.height, in_block) {
        object.insert("blockheight".to_owned(), json!(height.0));
    }
    if let Some(until) = fund.reserved_until {
        object.insert("reserved_to_block".to_owned(), json!(until.0));
    }
    entry
}

pub async fn withdraw(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let destination: String = args.required("destination")?;
    let amount: SatOrAll = args.required("satoshi")?;
    let rate = feerate(&node, args.required("feerate")?)?;
    let script = parse_address(&destination, node.network)
        .map_err(|why| RpcError::invalid_params(format!("destination: {why}")))?;
    let spend = Spend {
        recipients: vec![Recipient {
            script,
            amount: wallet_amount(amount),
        }],
        feerate: rate,
        inputs: inputs(&args)?,
        emergency_reserve: emergency_reserve(&node, false),
        funding_limit: None,
    };
    let unsigned = build(&node, spend).await?;
    let tx = match node.wallet.sign(unsigned.clone()).await {
        Ok(tx) => tx,
        Err(why) => {
            node.wallet.release(unsigned.outpoints()).await;
            return Err(wallet_error(why));
        }
    };
    broadcast(&node, tx.clone()).await?;
    Ok(json!({
        "tx": bitcoin::consensus::encode::serialize_hex(&tx),
        "txid": tx.compute_txid().to_string(),
        "psbt": signed_psbt(&unsigned, &tx)?,
    }))
}

/// CLN's gives up what txprepare has made; here it is what was to be sent and is refused.
pub async fn txdiscard(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let txid: Txid = args.required("txid")?;
    let discarded = node.wallet.discard(&node.chain, txid).await;
    let mut tx = discarded.map_err(|why| failed(format!("{txid} is not given up: {why}")))?;
    for input in &mut tx.input {
        input.witness.clear();
    }
    Ok(json!({
        "unsigned_tx": bitcoin::consensus::encode::serialize_hex(&tx),
        "txid": txid.to_string(),
    }))
}

/// Chooses and reserves coins. What is missing may be on its way while the chain is still read.
pub async fn build(node: &Node, spend: Spend) -> Result<UnsignedTx, RpcError> {
    let built = node.wallet.build(spend).await.map_err(wallet_error);
    let synced = node.chain.view().synced;
    built.map_err(|why| match why.code {
        code::FUND_CANNOT_AFFORD if !synced => error(
            code::FUNDING_STILL_SYNCING_BITCOIN,
            "Cannot afford: still syncing with bitcoin network...",
        ),
        _ => why,
    })
}

/// Noted as ours first, so that it is broadcast again after a crash; forgotten if it is refused.
pub async fn broadcast(node: &Node, tx: Transaction) -> Result<(), RpcError> {
    let (why, what) = match node.wallet.send(&node.chain, tx).await {
        Ok(()) => return Ok(()),
        Err(SendError::Wallet(why)) => return Err(wallet_error(why)),
        Err(SendError::Refused(why)) => (why, "The transaction is not sent"),
        Err(SendError::Unknown(why)) => (
            why,
            "Whether the transaction is sent is not known; it is broadcast again with each block, until txdiscard gives it up",
        ),
    };
    Err(failed(format!(
        "Error broadcasting transaction: {why}. {what}"
    )))
}

/// The transaction as a PSBT with its final witnesses, as CLN returns it beside the transaction.
fn signed_psbt(unsigned: &UnsignedTx, tx: &Transaction) -> Result<String, RpcError> {
    let mut psbt = Psbt::from_unsigned_tx(unsigned.tx.clone()).map_err(failed)?;
    for ((slot, coin), input) in psbt.inputs.iter_mut().zip(&unsigned.inputs).zip(&tx.input) {
        slot.witness_utxo = Some(bitcoin::TxOut {
            value: bitcoin::Amount::from_sat(coin.value.0),
            script_pubkey: coin.script.clone(),
        });
        slot.final_script_witness = Some(input.witness.clone());
    }
    Ok(base64(&psbt.serialize()))
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub fn wallet_amount(amount: SatOrAll) -> Amount {
    match amount {
        SatOrAll::Sat(sat) => Amount::Exactly(sat),
        SatOrAll::All => Amount::All,
    }
}

/// `utxos`, or `minconf`.
pub fn inputs(args: &Args) -> Result<Inputs, RpcError> {
    let utxos: Option<Vec<OutPoint>> = args.optional("utxos")?;
    Ok(match utxos {
        Some(outpoints) => Inputs::These {
            outpoints,
            reserved_ok: false,
        },
        None => {
            let minconf: u64 = args.required("minconf")?;
            Inputs::Any {
                minconf: u32::try_from(minconf).unwrap_or(u32::MAX),
            }
        }
    })
}

/// Kept for bumping the fees of anchor channels' commitments.
pub fn emergency_reserve(node: &Node, opening_anchors: bool) -> Satoshi {
    let anchors = opening_anchors || node.channels.summaries().iter().any(|s| s.anchors);
    if anchors {
        node.options.channels.min_emergency
    } else {
        Satoshi(0)
    }
}

pub fn wallet_error(why: WalletError) -> RpcError {
    match why {
        WalletError::Build(build) => error(lightningd_rpc::Code(build.code()), build),
        WalletError::Hsm(HsmError::Refused(refused)) => super::refused(&refused),
        other @ (WalletError::Hsm(_)
        | WalletError::Attach(_)
        | WalletError::Db(_)
        | WalletError::NotAWalletKey
        | WalletError::Stopping) => failed(other),
    }
}

/// Shown where an amount is whole satoshi.
pub fn msat(sat: Satoshi) -> MilliSatoshi {
    sat.to_msat().unwrap_or(MilliSatoshi(u64::MAX))
}
