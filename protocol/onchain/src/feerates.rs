//! What a claim is to pay, and when it is to pay more.

use wire::{BlockHeight, FeeratePerKw, Satoshi};

use crate::action::Feerates;
use crate::state::Broadcasted;

/// Without a deadline a day is soon enough.
const PATIENCE: u32 = 144;
/// With so many blocks or fewer left, a claim is raised in each block that does not hold it.
const URGENT: u32 = 12;
/// Without a deadline it is raised no sooner than after so many blocks.
const REST: u32 = 6;
/// What bitcoind takes if it says nothing else: 1 satoshi a virtual byte, rounded up.
const FLOOR: FeeratePerKw = FeeratePerKw(253);

impl Feerates {
    #[must_use]
    pub(crate) fn least(&self) -> FeeratePerKw {
        self.floor.max(FLOOR)
    }

    /// For a confirmation before `deadline`: the estimate for the longest target that still meets it.
    pub(crate) fn before(
        &self,
        deadline: Option<BlockHeight>,
        height: BlockHeight,
    ) -> FeeratePerKw {
        let left = deadline.map_or(PATIENCE, |deadline| deadline.since(height));
        let meets = |(blocks, _): &&(u32, FeeratePerKw)| *blocks <= left;
        let fit = self.estimates.iter().rfind(meets);
        let fit = fit.or(self.estimates.first());
        fit.map_or(self.least(), |(_, rate)| *rate)
            .max(self.least())
    }

    /// The feerate at which a claim is to be broadcast again, if it is.
    pub(crate) fn raised(
        &self,
        claim: &Broadcasted,
        deadline: Option<BlockHeight>,
        height: BlockHeight,
    ) -> Option<FeeratePerKw> {
        let (wanted, step) = (self.before(deadline, height), quarter_more(claim.feerate));
        let waited = height.since(claim.at);
        let urgent = is_urgent(deadline, height);
        match (urgent, deadline) {
            _ if waited == 0 => None,
            (true, _) => Some(wanted.max(step)),
            (false, Some(_)) => (wanted >= step).then_some(wanted),
            (false, None) => (wanted >= step && waited >= REST).then_some(wanted),
        }
    }
}

/// Whether a claim is raised in each block that does not hold it.
pub(crate) fn is_urgent(deadline: Option<BlockHeight>, height: BlockHeight) -> bool {
    deadline.is_some_and(|deadline| deadline.since(height) <= URGENT)
}

/// What a transaction pays, rounded down.
pub(crate) fn rate_of(fee: Satoshi, weight: u64) -> FeeratePerKw {
    let rate = fee.0.saturating_mul(1000) / weight.max(1);
    FeeratePerKw(u32::try_from(rate).unwrap_or(u32::MAX))
}

pub(crate) fn quarter_more(rate: FeeratePerKw) -> FeeratePerKw {
    FeeratePerKw(rate.0.saturating_add(rate.0 / 4).saturating_add(1))
}

/// One in so many of `value`.
pub(crate) fn share(value: Satoshi, part: u64) -> Satoshi {
    Satoshi(value.0 / part.max(1))
}

/// The fee at `feerate`, no more than `most`; `None` if that is too little to be relayed: below the
/// floor, or no replacement for `before`.
pub(crate) fn fee(
    feerates: &Feerates,
    feerate: FeeratePerKw,
    weight: u64,
    most: Satoshi,
    before: Option<Satoshi>,
) -> Option<Satoshi> {
    let least = least(feerates, weight, before);
    let fee = feerate.fee(weight).max(least).min(most);
    (fee >= least).then_some(fee)
}

/// The least that is relayed: at the floor, and beyond `before`, which it replaces, what its own relay costs (BIP 125):
/// 1 satoshi a virtual byte, the last of which need not be full.
pub(crate) fn least(feerates: &Feerates, weight: u64, before: Option<Satoshi>) -> Satoshi {
    let floor = feerates.least().fee(weight);
    let relay = Satoshi(weight.div_ceil(4));
    let replacement = before.map(|fee| fee.saturating_add(relay));
    floor.max(replacement.unwrap_or(Satoshi::ZERO))
}

/// The least feerate at which so much weight pays `fee`.
pub(crate) fn rate_for(fee: Satoshi, weight: u64) -> FeeratePerKw {
    let rate = fee.0.saturating_mul(1000).div_ceil(weight.max(1));
    FeeratePerKw(u32::try_from(rate).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Encoded;

    fn estimates() -> Feerates {
        Feerates {
            estimates: vec![
                (2, FeeratePerKw(9000)),
                (6, FeeratePerKw(6000)),
                (12, FeeratePerKw(3000)),
                (100, FeeratePerKw(1000)),
            ],
            floor: FeeratePerKw(300),
        }
    }

    fn claim(at: u32, feerate: u32) -> Broadcasted {
        Broadcasted {
            tx: Encoded(vec![]),
            takes: vec![],
            fee: Satoshi(1000),
            feerate: FeeratePerKw(feerate),
            at: BlockHeight(at),
            funded: false,
        }
    }

    #[test]
    fn the_nearer_the_deadline_the_higher_the_rate() {
        let rate = |left: u32| {
            let deadline = BlockHeight(100 + left);
            estimates().before(Some(deadline), BlockHeight(100)).0
        };
        let rates = [200, 100, 99, 12, 11, 6, 3, 2, 1, 0].map(rate);
        let expected = [1000, 1000, 3000, 3000, 6000, 6000, 9000, 9000, 9000, 9000];
        assert_eq!(rates, expected);
        assert_eq!(estimates().before(None, BlockHeight(100)).0, 1000);
        assert_eq!(Feerates::default().before(None, BlockHeight(0)), FLOOR);
    }

    #[test]
    fn a_claim_is_raised_in_each_block_near_its_deadline_and_else_when_estimates_rise() {
        let (now, rates) = (BlockHeight(100), estimates());
        let near = Some(BlockHeight(105));
        assert_eq!(rates.raised(&claim(100, 9000), near, now), None);
        assert_eq!(
            rates.raised(&claim(99, 9000), near, now),
            Some(FeeratePerKw(11251))
        );
        let far = Some(BlockHeight(190));
        assert_eq!(rates.raised(&claim(90, 2900), far, now), None);
        assert_eq!(
            rates.raised(&claim(90, 2000), far, now),
            Some(FeeratePerKw(3000))
        );
        assert_eq!(rates.raised(&claim(96, 500), None, now), None);
        assert_eq!(
            rates.raised(&claim(94, 500), None, now),
            Some(FeeratePerKw(1000))
        );
    }

    #[test]
    fn a_fee_is_capped_and_a_replacement_that_cannot_pay_is_none() {
        let (rates, rate) = (estimates(), FeeratePerKw(3000));
        let fee =
            |most, before: Option<u64>| fee(&rates, rate, 1000, Satoshi(most), before.map(Satoshi));
        assert_eq!(fee(10_000, None), Some(Satoshi(3000)));
        assert_eq!(fee(2000, None), Some(Satoshi(2000)));
        assert_eq!(fee(299, None), None);
        assert_eq!(fee(10_000, Some(2900)), Some(Satoshi(3150)));
        assert_eq!(fee(3000, Some(2900)), None);
    }

    #[test]
    fn a_replacement_pays_for_the_last_virtual_byte_too() {
        let least = |weight| least(&Feerates::default(), weight, Some(Satoshi(2900)));
        let all = [1000, 1001, 1003, 1004].map(least);
        assert_eq!(all, [3150, 3151, 3151, 3151].map(Satoshi));
    }
}
