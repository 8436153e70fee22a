//! What channels have earned for the capital that is in them (`bkpr-channelsapy`). The words and the
//! reckoning are Core Lightning's: what was routed and earned, over what the channel began with, as if it
//! went on like that for a year.

use std::collections::BTreeMap;

use wire::{BlockHeight, MilliSatoshi};

use super::ledger::Ledger;
use crate::store::moves::{Account, ChannelMove, Tag};

/// As many as Core Lightning takes for a year.
const BLOCKS_PER_YEAR: u32 = 52_364;

/// One channel's sums, or those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apy {
    pub routed_out: MilliSatoshi,
    pub routed_in: MilliSatoshi,
    pub pushed_out: MilliSatoshi,
    pub pushed_in: MilliSatoshi,
    pub fees_out: MilliSatoshi,
    pub fees_in: MilliSatoshi,
    /// After what was pushed.
    pub our_start: MilliSatoshi,
    /// The whole channel.
    pub total_start: MilliSatoshi,
    /// The blocks of its opening and of its close, or the tip.
    pub from: BlockHeight,
    pub to: BlockHeight,
}

impl Apy {
    fn opened(
        amount: MilliSatoshi,
        total: MilliSatoshi,
        from: BlockHeight,
        to: BlockHeight,
    ) -> Apy {
        Apy {
            routed_out: MilliSatoshi::ZERO,
            routed_in: MilliSatoshi::ZERO,
            pushed_out: MilliSatoshi::ZERO,
            pushed_in: MilliSatoshi::ZERO,
            fees_out: MilliSatoshi::ZERO,
            fees_in: MilliSatoshi::ZERO,
            our_start: amount,
            total_start: total,
            from,
            to,
        }
    }

    fn count(&mut self, moved: &ChannelMove) {
        let (amount, fees) = (moved.amount, moved.fees);
        let (routed, pushed, earned) = match moved.debit {
            true => (
                &mut self.routed_out,
                &mut self.pushed_out,
                &mut self.fees_out,
            ),
            false => (&mut self.routed_in, &mut self.pushed_in, &mut self.fees_in),
        };
        match moved.tag {
            Tag::Invoice => add(routed, amount),
            Tag::Routed => {
                add(routed, amount);
                add(earned, fees);
            }
            Tag::Pushed => {
                add(pushed, amount);
                self.our_start = match moved.debit {
                    true => self.our_start.saturating_sub(amount),
                    false => self.our_start.saturating_add(amount),
                };
            }
            // Of what went over before there were books nobody knows what it earned.
            Tag::Journal => {}
            Tag::Deposit
            | Tag::Withdrawal
            | Tag::ChannelOpen
            | Tag::ChannelClose
            | Tag::DelayedToUs
            | Tag::HtlcTimeout
            | Tag::HtlcFulfill
            | Tag::HtlcTx
            | Tag::ToWallet
            | Tag::ToThem
            | Tag::Anchor
            | Tag::Penalty
            | Tag::Penalized
            | Tag::Stolen => {}
        }
    }

    fn sum(mut self, other: &Apy) -> Apy {
        for (sum, more) in [
            (&mut self.routed_out, other.routed_out),
            (&mut self.routed_in, other.routed_in),
            (&mut self.pushed_out, other.pushed_out),
            (&mut self.pushed_in, other.pushed_in),
            (&mut self.fees_out, other.fees_out),
            (&mut self.fees_in, other.fees_in),
            (&mut self.our_start, other.our_start),
            (&mut self.total_start, other.total_start),
        ] {
            add(sum, more);
        }
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self
    }

    /// What the peer began with.
    #[must_use]
    pub fn their_start(&self) -> MilliSatoshi {
        self.total_start.saturating_sub(self.our_start)
    }

    /// Both directions' fees.
    #[must_use]
    pub fn fees(&self) -> MilliSatoshi {
        self.fees_in.saturating_add(self.fees_out)
    }

    /// `earned` for `capital` in a year at this pace, as a percentage; `None` without capital.
    #[must_use]
    pub fn in_a_year(&self, earned: MilliSatoshi, capital: MilliSatoshi) -> Option<String> {
        let blocks = self.to.0.saturating_sub(self.from.0).saturating_add(1);
        let years = f64::from(blocks) / f64::from(BLOCKS_PER_YEAR);
        ratio(earned, capital).map(|part| percent(part / years))
    }
}

/// `amount` of `capital`, as a percentage; `None` without capital.
#[must_use]
pub fn utilization(amount: MilliSatoshi, capital: MilliSatoshi) -> Option<String> {
    ratio(amount, capital).map(percent)
}

fn ratio(amount: MilliSatoshi, capital: MilliSatoshi) -> Option<f64> {
    (capital > MilliSatoshi::ZERO).then(|| amount.0 as f64 / capital.0 as f64)
}

fn percent(part: f64) -> String {
    format!("{:.4}%", part * 100.0)
}

fn add(sum: &mut MilliSatoshi, more: MilliSatoshi) {
    *sum = sum.saturating_add(more);
}

/// Each channel in which something moved at a time that is `within` what is asked for.
#[must_use]
pub fn channels(
    ledger: &Ledger,
    tip: BlockHeight,
    within: impl Fn(u64) -> bool,
) -> BTreeMap<u64, Apy> {
    let mut opened = BTreeMap::new();
    let mut closed = BTreeMap::new();
    for (key, moved) in &ledger.chain {
        match (key.account, moved.tag) {
            (Account::Own, Tag::ChannelOpen) => {
                let total = moved.output.to_msat().unwrap_or_default();
                opened.insert(key.books, (moved.amount, total, moved.height));
            }
            (Account::Own, Tag::ChannelClose) => {
                closed.insert(key.books, moved.height);
            }
            (Account::Own | Account::External, _) => {}
        }
    }
    let mut found: BTreeMap<u64, Apy> = BTreeMap::new();
    for (books, moved) in &ledger.channel {
        // One that is in no block yet has no capital.
        let Some((amount, total, from)) = opened.get(books).copied() else {
            continue;
        };
        if within(moved.recorded_at) {
            let to = closed.get(books).copied().unwrap_or(tip);
            let new = || Apy::opened(amount, total, from, to);
            found.entry(*books).or_insert_with(new).count(moved);
        }
    }
    found
}

/// All of them together; `None` if there is none.
#[must_use]
pub fn net<'a>(mut all: impl Iterator<Item = &'a Apy>) -> Option<Apy> {
    let first = *all.next()?;
    Some(all.fold(first, Apy::sum))
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::{OutPoint, Txid};
    use wire::Satoshi;

    use super::*;
    use crate::store::moves::{ChainKey, ChainMove};

    fn chain(books: u64, tag: Tag, sat: u64, height: u32) -> (ChainKey, ChainMove) {
        let txid = Txid::from_byte_array([books as u8; 32]);
        let debit = tag == Tag::ChannelClose;
        let key = ChainKey {
            books,
            account: Account::Own,
            outpoint: OutPoint { txid, vout: 0 },
            debit,
        };
        let moved = ChainMove {
            tag,
            amount: MilliSatoshi(sat * 1000),
            output: Satoshi(1_000_000),
            height: BlockHeight(height),
            spending_txid: debit.then_some(txid),
            payment_hash: None,
            recorded_at: 1,
        };
        (key, moved)
    }

    fn moved(tag: Tag, debit: bool, amount: u64, fees: u64, at: u64) -> ChannelMove {
        ChannelMove {
            tag,
            debit,
            amount: MilliSatoshi(amount),
            fees: MilliSatoshi(fees),
            payment_hash: None,
            part: None,
            forward: None,
            recorded_at: at,
        }
    }

    #[test]
    fn a_year_of_fees_is_reckoned_over_what_the_channel_began_with() {
        let ledger = Ledger::new(
            BTreeMap::new(),
            vec![
                chain(1, Tag::ChannelOpen, 1_000_000, 101),
                chain(2, Tag::ChannelOpen, 0, 111),
                chain(2, Tag::ChannelClose, 500, 120),
            ],
            vec![
                (1, moved(Tag::Pushed, true, 200_000_000, 0, 10)),
                (1, moved(Tag::Routed, true, 100_000_000, 40_000, 11)),
                (1, moved(Tag::Invoice, false, 50_000_000, 7, 12)),
                (2, moved(Tag::Routed, false, 100_040_000, 40_000, 11)),
                (2, moved(Tag::Invoice, true, 9, 0, 99)),
                (3, moved(Tag::Invoice, false, 1, 0, 11)),
            ],
        );
        let all = channels(&ledger, BlockHeight(200), |at| at <= 50);
        assert_eq!(all.keys().copied().collect::<Vec<_>>(), [1, 2]);
        let one = all[&1];
        assert_eq!(
            (one.routed_out.0, one.routed_in.0),
            (100_000_000, 50_000_000)
        );
        // An invoice's fee is no earning.
        assert_eq!((one.fees_out.0, one.fees_in.0), (40_000, 0));
        assert_eq!(
            (one.our_start.0, one.their_start().0),
            (800_000_000, 200_000_000)
        );
        assert_eq!((one.from.0, one.to.0), (101, 200));
        assert_eq!(
            utilization(one.routed_out, one.our_start).unwrap(),
            "12.5000%"
        );
        // 40 of 1,000,000 sat in 100 of 52,364 blocks.
        assert_eq!(
            one.in_a_year(one.fees(), one.total_start).unwrap(),
            "2.0946%"
        );
        let two = all[&2];
        assert_eq!((two.our_start.0, two.to.0), (0, 120));
        assert_eq!(two.in_a_year(two.fees(), two.our_start), None);
        let net = net(all.values()).unwrap();
        assert_eq!((net.fees_in.0, net.fees_out.0), (40_000, 40_000));
        assert_eq!(
            (net.total_start.0, net.from.0, net.to.0),
            (2_000_000_000, 101, 200)
        );
        assert!(channels(&ledger, BlockHeight(200), |at| at > 99).is_empty());
    }
}
