//! All books together: accounts with their balances, and what follows from the moves of all of them, the
//! fees of transactions. Nothing of that is stored, so it always fits the moves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitcoin::{OutPoint, Txid};
use wire::{ChannelId, MilliSatoshi, NodeId};

use crate::store::moves::{Account, ChainKey, ChainMove, ChannelMove, Tag, WALLET};

/// A channel that has books.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub channel_id: ChannelId,
    pub peer: NodeId,
    pub we_opened: bool,
    pub funding: OutPoint,
    /// Every output of what spent it has ended.
    pub resolved: bool,
}

/// What a transaction cost an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fee {
    pub books: u64,
    pub txid: Txid,
    pub amount: MilliSatoshi,
    /// When the last move of that transaction was recorded.
    pub at: u64,
}

/// What a channel that is closed brought beyond our balance: the peer's punishment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gain {
    pub books: u64,
    pub txid: Txid,
    pub amount: MilliSatoshi,
    pub at: u64,
}

pub struct Ledger {
    pub owners: BTreeMap<u64, Owner>,
    /// In the order in which they were recorded.
    pub chain: Vec<(ChainKey, ChainMove)>,
    pub channel: Vec<(u64, ChannelMove)>,
    pub fees: Vec<Fee>,
    pub gains: Vec<Gain>,
    /// What is in each account by all its moves.
    pub balances: BTreeMap<u64, MilliSatoshi>,
    /// What spent each channel's funding output.
    pub closes: BTreeMap<u64, Close>,
    /// The block of the last move on chain.
    pub last_blocks: BTreeMap<u64, u32>,
}

/// The spend of a funding output.
#[derive(Clone, Copy, Debug)]
pub struct Close {
    pub txid: Txid,
    /// Our balance until then.
    pub balance: MilliSatoshi,
    pub at: u64,
}

impl Ledger {
    #[must_use]
    pub fn new(
        owners: BTreeMap<u64, Owner>,
        mut chain: Vec<(ChainKey, ChainMove)>,
        mut channel: Vec<(u64, ChannelMove)>,
    ) -> Ledger {
        // What one account pays to another is not lost to others.
        let own: BTreeSet<OutPoint> = (chain.iter())
            .filter(|(key, _)| key.account == Account::Own && !key.debit)
            .map(|(key, _)| key.outpoint)
            .collect();
        let external = |key: &ChainKey| key.account == Account::External;
        chain.retain(|(key, _)| !external(key) || !own.contains(&key.outpoint));
        chain.sort_by_key(|(key, moved)| (moved.recorded_at, moved.height, key.debit, *key));
        channel.sort_by_key(|(_, moved)| moved.recorded_at);
        let mut ledger = Ledger {
            owners,
            chain,
            channel,
            fees: Vec::new(),
            gains: Vec::new(),
            balances: BTreeMap::new(),
            closes: BTreeMap::new(),
            last_blocks: BTreeMap::new(),
        };
        ledger.add_up();
        ledger.cost_of_closes();
        ledger.cost_of_transactions();
        ledger.fees.retain(|fee| fee.amount > MilliSatoshi::ZERO);
        ledger.fees.sort_by_key(|fee| (fee.at, fee.books, fee.txid));
        ledger
    }

    fn add_up(&mut self) {
        let mut sums: BTreeMap<u64, (MilliSatoshi, MilliSatoshi)> = BTreeMap::new();
        let mut add = |books, debit, amount| {
            let (credits, debits) = sums.entry(books).or_default();
            let sum = if debit { debits } else { credits };
            *sum = sum.saturating_add(amount);
        };
        for (key, moved) in &self.chain {
            let last = self.last_blocks.entry(key.books).or_default();
            *last = moved.height.0.max(*last);
            if key.account == Account::Own {
                add(key.books, key.debit, moved.amount);
            }
            if let (Tag::ChannelClose, Some(txid)) = (moved.tag, moved.spending_txid) {
                let (balance, at) = (moved.amount, moved.recorded_at);
                self.closes.insert(key.books, Close { txid, balance, at });
            }
        }
        for (books, moved) in &self.channel {
            add(*books, moved.debit, moved.amount);
        }
        let left = |(books, (credit, debit)): (u64, (MilliSatoshi, MilliSatoshi))| {
            (books, credit.saturating_sub(debit))
        };
        self.balances = sums.into_iter().map(left).collect();
    }

    /// Of a channel that is resolved: what is gone of our balance and nobody got.
    fn cost_of_closes(&mut self) {
        let mut outputs: HashMap<Txid, Vec<&(ChainKey, ChainMove)>> = HashMap::new();
        for entry in self.chain.iter().filter(|(key, _)| !key.debit) {
            outputs
                .entry(entry.0.outpoint.txid)
                .or_default()
                .push(entry);
        }
        for (books, owner) in self.owners.iter().filter(|(_, owner)| owner.resolved) {
            let Some(close) = self.closes.get(books) else {
                continue;
            };
            let outputs = outputs.get(&close.txid).into_iter().flatten().copied();
            let of_balance = |(key, moved): &&(ChainKey, ChainMove)| match (key.account, moved.tag)
            {
                // What the peer had offered was not in our balance.
                (Account::Own, Tag::HtlcFulfill) => false,
                (Account::Own, _) => true,
                (Account::External, Tag::HtlcFulfill | Tag::Deposit) => true,
                (Account::External, Tag::Anchor) => owner.we_opened,
                (Account::External, _) => false,
            };
            let used = sum(outputs.filter(of_balance));
            let (books, txid, at) = (*books, close.txid, close.at);
            let fee = close.balance.saturating_sub(used);
            let gain = used.saturating_sub(close.balance);
            if gain > MilliSatoshi::ZERO {
                self.gains.push(Gain {
                    books,
                    txid,
                    amount: gain,
                    at,
                });
            }
            self.fees.push(Fee {
                books,
                txid,
                amount: fee,
                at,
            });
        }
    }

    /// Of the other transactions: what went in and did not come out. Channels that took part pay it; if
    /// there are none, the wallet.
    fn cost_of_transactions(&mut self) {
        let closes: BTreeSet<Txid> = self.closes.values().map(|close| close.txid).collect();
        let mut all: HashMap<Txid, Sums> = HashMap::new();
        for (key, moved) in &self.chain {
            if let Some(txid) = moved.spending_txid {
                let sums = all.entry(txid).or_default();
                sums.spent = sums.spent.saturating_add(moved.amount);
                sums.took_part(key, moved);
            }
        }
        for (key, moved) in self.chain.iter().filter(|(key, _)| !key.debit) {
            if let Some(sums) = all.get_mut(&key.outpoint.txid) {
                sums.came = sums.came.saturating_add(moved.amount);
                sums.took_part(key, moved);
            }
        }
        for (txid, sums) in all {
            // A close has its own rule; and somebody else has put in what comes out beyond.
            if closes.contains(&txid) || sums.came >= sums.spent {
                continue;
            }
            self.fees.extend(sums.shares(txid));
        }
    }
}

/// What a transaction took from accounts and brought to accounts and others.
#[derive(Default)]
struct Sums {
    spent: MilliSatoshi,
    came: MilliSatoshi,
    at: u64,
    accounts: BTreeSet<u64>,
}

impl Sums {
    fn took_part(&mut self, key: &ChainKey, moved: &ChainMove) {
        self.at = self.at.max(moved.recorded_at);
        if key.account == Account::Own {
            self.accounts.insert(key.books);
        }
    }

    fn shares(mut self, txid: Txid) -> Vec<Fee> {
        if self.accounts.len() > 1 {
            self.accounts.remove(&WALLET);
        }
        let fee = self.spent.saturating_sub(self.came).0;
        let among = self.accounts.len().max(1) as u64;
        let (share, rest) = (fee / among, fee % among);
        (0_u64..)
            .zip(&self.accounts)
            .map(|(nth, books)| Fee {
                books: *books,
                txid,
                amount: MilliSatoshi(share + u64::from(nth < rest)),
                at: self.at,
            })
            .collect()
    }
}

fn sum<'a>(moves: impl Iterator<Item = &'a (ChainKey, ChainMove)>) -> MilliSatoshi {
    moves.fold(MilliSatoshi::ZERO, |sum, (_, moved)| {
        sum.saturating_add(moved.amount)
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use wire::{BlockHeight, Satoshi};

    use super::*;
    use crate::books::income::income;

    const CHANNEL: u64 = 7;

    fn outpoint(tx: u8, vout: u32) -> OutPoint {
        let txid = Txid::from_byte_array([tx; 32]);
        OutPoint { txid, vout }
    }

    fn owner(we_opened: bool) -> BTreeMap<u64, Owner> {
        let secp = secp256k1::Secp256k1::signing_only();
        let key = secp256k1::SecretKey::from_slice(&[1; 32]).unwrap();
        let owner = Owner {
            channel_id: ChannelId([3; 32]),
            peer: NodeId(key.public_key(&secp)),
            we_opened,
            funding: outpoint(2, 0),
            resolved: true,
        };
        BTreeMap::from([(CHANNEL, owner)])
    }

    /// (books, somebody else's, output, what it is, satoshi, and what spent it)
    type Row = (u64, bool, OutPoint, Tag, u64, Option<u8>);

    fn ledger(we_opened: bool, rows: &[Row]) -> Ledger {
        let moves = rows
            .iter()
            .map(|(books, external, outpoint, tag, sat, by)| {
                let key = ChainKey {
                    books: *books,
                    account: match external {
                        true => Account::External,
                        false => Account::Own,
                    },
                    outpoint: *outpoint,
                    debit: by.is_some(),
                };
                let moved = ChainMove {
                    tag: *tag,
                    amount: MilliSatoshi(sat * 1000),
                    output: Satoshi(*sat),
                    height: BlockHeight(100),
                    spending_txid: by.map(|by| Txid::from_byte_array([by; 32])),
                    payment_hash: None,
                    recorded_at: 1,
                };
                (key, moved)
            });
        Ledger::new(owner(we_opened), moves.collect(), Vec::new())
    }

    fn adds_up(ledger: &Ledger) {
        let all: u64 = ledger.balances.values().map(|sum| sum.0).sum();
        let (mut credit, mut debit) = (0, 0);
        for event in income(ledger) {
            credit += event.credit.0;
            debit += event.debit.0;
        }
        assert_eq!(credit - debit, all, "{:#?}", income(ledger));
    }

    /// A coin of 1,000 sat from outside becomes a channel of 700 and change of 280.
    fn opened() -> Vec<Row> {
        let (coin, funding, change) = (outpoint(1, 0), outpoint(2, 0), outpoint(2, 1));
        vec![
            (WALLET, false, coin, Tag::Deposit, 1000, None),
            (WALLET, false, coin, Tag::Withdrawal, 1000, Some(2)),
            (WALLET, false, change, Tag::Deposit, 280, None),
            (WALLET, true, funding, Tag::Deposit, 700, None),
            (CHANNEL, false, funding, Tag::ChannelOpen, 700, None),
        ]
    }

    fn fees(ledger: &Ledger) -> Vec<(u64, u64)> {
        let fees = ledger.fees.iter();
        fees.map(|fee| (fee.books, fee.amount.0 / 1000)).collect()
    }

    #[test]
    fn a_channel_pays_for_its_funding_and_what_it_got_is_not_lost_to_others() {
        let ledger = ledger(true, &opened());
        assert_eq!(fees(&ledger), [(CHANNEL, 20)]);
        assert_eq!(ledger.chain.len(), 4);
        let msat = |sat: u64| MilliSatoshi(sat * 1000);
        assert_eq!(ledger.balances[&WALLET], msat(280));
        assert_eq!(ledger.balances[&CHANNEL], msat(700));
        adds_up(&ledger);
    }

    #[test]
    fn the_wallet_pays_for_a_withdrawal_of_its_own() {
        let (coin, paid) = (outpoint(1, 0), outpoint(2, 0));
        let rows = [
            (WALLET, false, coin, Tag::Deposit, 1000, None),
            (WALLET, false, coin, Tag::Withdrawal, 1000, Some(2)),
            (WALLET, true, paid, Tag::Deposit, 900, None),
        ];
        let ledger = ledger(true, &rows);
        assert_eq!(fees(&ledger), [(WALLET, 100)]);
        adds_up(&ledger);
    }

    #[test]
    fn the_opener_pays_for_the_anchors_of_its_close_and_the_accepter_does_not() {
        for (we_opened, expected) in [(true, 20), (false, 50)] {
            let mut rows = opened();
            let (balance, anchor) = (outpoint(3, 0), outpoint(3, 1));
            rows.extend([
                (
                    CHANNEL,
                    false,
                    outpoint(2, 0),
                    Tag::ChannelClose,
                    700,
                    Some(3),
                ),
                (CHANNEL, false, balance, Tag::DelayedToUs, 650, None),
                (CHANNEL, true, anchor, Tag::Anchor, 30, None),
                (CHANNEL, false, balance, Tag::ToWallet, 650, Some(4)),
                (WALLET, false, outpoint(4, 0), Tag::Deposit, 640, None),
            ]);
            let ledger = ledger(we_opened, &rows);
            let costs = [20, 10, expected].map(|sat| (CHANNEL, sat));
            let (mut found, mut wanted) = (fees(&ledger), costs.to_vec());
            found.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(found, wanted);
            assert_eq!(ledger.balances[&CHANNEL], MilliSatoshi::ZERO);
            adds_up(&ledger);
        }
    }

    #[test]
    fn what_a_punished_peer_leaves_beyond_our_balance_is_a_gain() {
        let mut rows = opened();
        let penalty = outpoint(3, 0);
        rows.extend([
            (
                CHANNEL,
                false,
                outpoint(2, 0),
                Tag::ChannelClose,
                100,
                Some(3),
            ),
            (CHANNEL, false, penalty, Tag::Penalty, 690, None),
            (CHANNEL, false, penalty, Tag::ToWallet, 690, Some(4)),
            (WALLET, false, outpoint(4, 0), Tag::Deposit, 680, None),
        ]);
        let ledger = ledger(true, &rows);
        let gains: Vec<u64> = ledger.gains.iter().map(|gain| gain.amount.0).collect();
        assert_eq!(gains, [590_000]);
        // 600 had been paid away in the channel; here nothing says so.
        assert_eq!(ledger.balances[&CHANNEL].0, 600_000);
        adds_up(&ledger);
    }
}
