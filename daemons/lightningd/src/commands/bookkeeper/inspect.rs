//! bkpr-inspect: the transactions of one channel, from its funding on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::{OutPoint, Txid};
use lightningd_rpc::{Args, Context};
use serde_json::{Value, json};
use wire::MilliSatoshi;

use super::{
    EXTERNAL_NAME, Members, Outcome, WALLET_NAME, account_of, currency, ledger, name, plugin_error,
};
use crate::books::ledger::Ledger;
use crate::node::Node;
use crate::store::moves::{Account, ChainKey, ChainMove, WALLET};

pub async fn inspect(node: Arc<Node>, _: Context, args: Args) -> Outcome {
    let account: String = args.required("account")?;
    if account == WALLET_NAME || account == EXTERNAL_NAME {
        let why = "`inspect` not supported for non-channel accounts";
        return Err(plugin_error(why));
    }
    let ledger = ledger(&node).await?;
    let books = account_of(&ledger, &account);
    let owner = books.and_then(|books| Some((books, ledger.owners.get(&books)?)));
    let Some((books, owner)) = owner else {
        return Err(plugin_error(format!("Account {account} not found")));
    };
    let mut wanted = vec![owner.funding.txid];
    let mut txs = Vec::new();
    let mut at = 0;
    while let Some(txid) = wanted.get(at).copied() {
        at += 1;
        let pairs = pairs(&ledger, books, txid, txid == owner.funding.txid);
        // What this channel's outputs were spent by comes next.
        for pair in pairs.values() {
            let spent = pair.spend.filter(|(key, _)| key.books == books);
            let by = spent.and_then(|(_, moved)| moved.spending_txid);
            wanted.extend(by.filter(|by| !wanted.contains(by)));
        }
        if !pairs.is_empty() {
            txs.push(transaction(&node, &ledger, books, txid, &pairs));
        }
    }
    Ok(json!({ "txs": txs }))
}

/// How an output came and went.
#[derive(Default)]
struct Pair<'a> {
    came: Option<(&'a ChainKey, &'a ChainMove)>,
    spend: Option<(&'a ChainKey, &'a ChainMove)>,
}

/// The outputs of a transaction that concern the channel: its own, what others got of it, and what came
/// to the wallet from it.
fn pairs(ledger: &Ledger, books: u64, txid: Txid, funding: bool) -> BTreeMap<OutPoint, Pair<'_>> {
    let mut pairs: BTreeMap<OutPoint, Pair<'_>> = BTreeMap::new();
    let of_channel = |key: &ChainKey| {
        key.books == books || (key.books == WALLET && !funding && key.account == Account::Own)
    };
    let concerned =
        |(key, _): &&(ChainKey, ChainMove)| key.outpoint.txid == txid && of_channel(key);
    for (key, moved) in ledger.chain.iter().filter(concerned) {
        let pair = pairs.entry(key.outpoint).or_default();
        match key.debit {
            true => pair.spend = Some((key, moved)),
            false => pair.came = Some((key, moved)),
        }
    }
    pairs
}

fn transaction(
    node: &Node,
    ledger: &Ledger,
    books: u64,
    txid: Txid,
    pairs: &BTreeMap<OutPoint, Pair<'_>>,
) -> Value {
    let fees = ledger.fees.iter();
    let fees = fees.filter(|fee| (fee.books, fee.txid) == (books, txid));
    let paid = fees.fold(MilliSatoshi::ZERO, |sum, fee| {
        sum.saturating_add(fee.amount)
    });
    let outputs = pairs
        .iter()
        .map(|(outpoint, pair)| Value::Object(output(ledger, *outpoint, pair, currency(node))));
    let mut tx = json!({
        "txid": txid.to_string(),
        "fees_paid_msat": paid.0,
        "outputs": outputs.collect::<Vec<_>>(),
    });
    let heights: BTreeSet<u32> = (pairs.values())
        .filter_map(|pair| pair.came)
        .map(|(_, moved)| moved.height.0)
        .collect();
    if let (Some(height), Some(object)) = (heights.first(), tx.as_object_mut()) {
        object.insert("blockheight".to_owned(), json!(height));
    }
    tx
}

fn output(ledger: &Ledger, outpoint: OutPoint, pair: &Pair<'_>, currency: &str) -> Members {
    let mut members = Members::new();
    let mut add = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    if let Some((key, moved)) = pair.came.or(pair.spend) {
        let account = match key.account {
            Account::Own => name(ledger, key.books),
            Account::External => EXTERNAL_NAME.to_owned(),
        };
        add("account", json!(account));
        add("outnum", json!(outpoint.vout));
        let value = moved.output.to_msat().unwrap_or_default();
        add("output_value_msat", json!(value.0));
        add("currency", json!(currency));
        if key.account == Account::External {
            add("originating_account", json!(name(ledger, key.books)));
        }
        if let Some(id) = moved.payment_hash {
            add("payment_id", json!(id.to_string()));
        }
    }
    if let Some((_, moved)) = pair.came {
        add("output_tag", json!(moved.tag.word()));
        add("credit_msat", json!(moved.amount.0));
    }
    if let Some((_, moved)) = pair.spend {
        add("spend_tag", json!(moved.tag.word()));
        add("debit_msat", json!(moved.amount.0));
        if let Some(txid) = moved.spending_txid {
            add("spending_txid", json!(txid.to_string()));
        }
    }
    members
}
