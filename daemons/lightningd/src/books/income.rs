//! What made the node richer or poorer: the sum of it is what all accounts hold.

use std::collections::BTreeSet;

use bitcoin::{OutPoint, Txid};
use wire::{MilliSatoshi, PaymentHash};

use super::ledger::Ledger;
use crate::store::moves::{Account, ChainKey, ChainMove, ChannelMove, Tag};

/// One gain or loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Income {
    pub books: u64,
    /// Core Lightning's word.
    pub tag: &'static str,
    pub credit: MilliSatoshi,
    pub debit: MilliSatoshi,
    /// Of a payment: what its route took beyond `debit`. Of a forward: what it earned, which is `credit`.
    pub fees: MilliSatoshi,
    pub at: u64,
    pub outpoint: Option<OutPoint>,
    pub txid: Option<Txid>,
    pub payment_hash: Option<PaymentHash>,
}

/// A gain or loss with the words that people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub income: Income,
    pub account: String,
    pub description: Option<String>,
}

/// Every gain and loss, in the order in which they were recorded: on chain, in channels, fees.
#[must_use]
pub fn income(ledger: &Ledger) -> Vec<Income> {
    let internal: BTreeSet<Txid> = (ledger.chain.iter())
        .filter_map(|(_, moved)| moved.spending_txid)
        .collect();
    let mut all: Vec<Income> = (ledger.chain.iter())
        .filter_map(|(key, moved)| on_chain(ledger, &internal, key, moved))
        .collect();
    let halves = Halves::of(ledger);
    for (books, moved) in &ledger.channel {
        all.extend(within(*books, moved, &halves));
    }
    all.extend(ledger.gains.iter().map(|gain| Income {
        credit: gain.amount,
        txid: Some(gain.txid),
        ..plain(gain.books, "penalty_adj", gain.at)
    }));
    all.extend(ledger.fees.iter().map(|fee| Income {
        debit: fee.amount,
        txid: Some(fee.txid),
        ..plain(fee.books, "onchain_fee", fee.at)
    }));
    all.sort_by_key(|income| income.at);
    all
}

fn plain(books: u64, tag: &'static str, at: u64) -> Income {
    Income {
        books,
        tag,
        credit: MilliSatoshi::ZERO,
        debit: MilliSatoshi::ZERO,
        fees: MilliSatoshi::ZERO,
        at,
        outpoint: None,
        txid: None,
        payment_hash: None,
    }
}

fn on_chain(
    ledger: &Ledger,
    internal: &BTreeSet<Txid>,
    key: &ChainKey,
    moved: &ChainMove,
) -> Option<Income> {
    if key.debit {
        return None;
    }
    let we_opened = (ledger.owners.get(&key.books)).is_some_and(|owner| owner.we_opened);
    let (tag, gain) = match (key.account, moved.tag) {
        // From outside.
        (Account::Own, Tag::Deposit) if !internal.contains(&key.outpoint.txid) => {
            (Tag::Deposit, true)
        }
        (Account::Own, Tag::HtlcFulfill) => (Tag::HtlcFulfill, true),
        (Account::External, Tag::Deposit) => (Tag::Withdrawal, false),
        (Account::External, Tag::HtlcFulfill) => (Tag::HtlcFulfill, false),
        (Account::External, Tag::Anchor) if we_opened => (Tag::Anchor, false),
        (Account::Own | Account::External, _) => return None,
    };
    let mut income = Income {
        outpoint: Some(key.outpoint),
        payment_hash: moved.payment_hash,
        ..plain(key.books, tag.word(), moved.recorded_at)
    };
    let side = if gain {
        &mut income.credit
    } else {
        &mut income.debit
    };
    *side = moved.amount;
    Some(income)
}

/// Forwards by their incoming HTLC, one half each: the other one may have ended on chain.
struct Halves {
    incoming: BTreeSet<(u64, u64)>,
    outgoing: BTreeSet<(u64, u64)>,
}

impl Halves {
    fn of(ledger: &Ledger) -> Halves {
        let half = |debit: bool| {
            let halves = ledger.channel.iter().filter(|(_, m)| m.debit == debit);
            halves.filter_map(|(_, moved)| moved.forward).collect()
        };
        Halves {
            incoming: half(false),
            outgoing: half(true),
        }
    }
}

fn within(books: u64, moved: &ChannelMove, halves: &Halves) -> Vec<Income> {
    let mut income = Income {
        payment_hash: moved.payment_hash,
        fees: moved.fees,
        ..plain(books, moved.tag.word(), moved.recorded_at)
    };
    match (moved.forward, moved.debit) {
        // What is earned is counted where it went out.
        (Some(forward), true) if halves.incoming.contains(&forward) => income.credit = moved.fees,
        (Some(forward), false) if halves.outgoing.contains(&forward) => return Vec::new(),
        (_, false) => income.credit = moved.amount,
        (Some(_), true) => income.debit = moved.amount,
        (None, true) => {
            income.debit = moved.amount.saturating_sub(moved.fees);
            let fees = Income {
                tag: "invoice_fee",
                debit: moved.fees,
                ..income.clone()
            };
            let fees = (moved.fees > MilliSatoshi::ZERO).then_some(fees);
            return std::iter::once(income).chain(fees).collect();
        }
    }
    vec![income]
}
