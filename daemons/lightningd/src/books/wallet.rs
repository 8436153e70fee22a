//! The wallet's moves: coins that came and went, and what others got of it.

use bitcoin::{OutPoint, Script, Transaction};
use lightningd_wallet::{Status, Utxo};
use wire::{BlockHeight, MilliSatoshi, Satoshi};

use crate::store::moves::{Account, ChainKey, ChainMove, Tag, WALLET};

/// Both moves that a coin may have, and whether it has them.
#[must_use]
pub fn of_coin(coin: &Utxo) -> [(ChainKey, Option<ChainMove>); 2] {
    let moved = |tag, height, spending_txid| ChainMove {
        tag,
        amount: msat(coin.value),
        output: coin.value,
        height,
        spending_txid,
        payment_hash: None,
        recorded_at: 0,
    };
    let spent = match coin.status {
        Status::Spent {
            by, at: Some(at), ..
        } => Some(moved(Tag::Withdrawal, at, Some(by))),
        Status::Spent { at: None, .. } | Status::Unconfirmed | Status::Confirmed { .. } => None,
    };
    let came = coin.confirmed().map(|at| moved(Tag::Deposit, at, None));
    [
        (key(coin.outpoint, Account::Own, false), came),
        (key(coin.outpoint, Account::Own, true), spent),
    ]
}

/// What a transaction, all of whose inputs are the wallet's, pays to others; the funding output of a
/// channel of ours too.
pub fn paid_out<'a>(
    tx: &'a Transaction,
    height: BlockHeight,
    is_ours: impl Fn(&Script) -> bool + 'a,
) -> impl Iterator<Item = (ChainKey, ChainMove)> + 'a {
    let foreign = outputs(tx).filter(move |(_, output)| !is_ours(&output.script_pubkey));
    foreign.map(move |(outpoint, output)| {
        let value = Satoshi(output.value.to_sat());
        let moved = ChainMove {
            tag: Tag::Deposit,
            amount: msat(value),
            output: value,
            height,
            spending_txid: None,
            payment_hash: None,
            recorded_at: 0,
        };
        (key(outpoint, Account::External, false), moved)
    })
}

/// Where [`paid_out`] may have written.
pub fn paid_out_keys(tx: &Transaction) -> impl Iterator<Item = ChainKey> {
    outputs(tx).map(|(outpoint, _)| key(outpoint, Account::External, false))
}

/// Where [`of_coin`] may have written.
#[must_use]
pub fn coin_keys(outpoint: OutPoint) -> [ChainKey; 2] {
    [false, true].map(|debit| key(outpoint, Account::Own, debit))
}

fn outputs(tx: &Transaction) -> impl Iterator<Item = (OutPoint, &bitcoin::TxOut)> {
    let txid = tx.compute_txid();
    (0_u32..)
        .zip(&tx.output)
        .map(move |(vout, output)| (OutPoint { txid, vout }, output))
}

fn key(outpoint: OutPoint, account: Account, debit: bool) -> ChainKey {
    ChainKey {
        books: WALLET,
        account,
        outpoint,
        debit,
    }
}

fn msat(value: Satoshi) -> MilliSatoshi {
    value.to_msat().unwrap_or(MilliSatoshi(u64::MAX))
}
