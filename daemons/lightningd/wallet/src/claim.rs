//! Coins for transactions that others build: a child of an anchor, HTLC transactions. They are chosen
//! here; the transaction always has change, because its change output is the only one that is the
//! wallet's.

use std::collections::BTreeSet;

use bitcoin::OutPoint;
use wire::{FeeratePerKw, Satoshi};

use crate::select::Coin;
use crate::set::UtxoSet;
use crate::utxo::{KeyRef, Utxo};
use crate::weight;

/// A P2TR output, which is the largest that change of ours has.
const CHANGE_WEIGHT: u64 = 4 * (8 + 1 + 34);
/// The least that such an output may hold.
const CHANGE_MIN: u64 = 330;
/// A claim with more coins would not pay.
const MAX_COINS: usize = 32;

/// What a claim needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimNeed {
    /// Of the transaction without coins and change, in weight units.
    pub weight: u64,
    /// What its other inputs bring more than its outputs take.
    pub value: Satoshi,
    pub feerate: FeeratePerKw,
    /// Most that the fee may be, even if that is less than the feerate asks.
    pub most: Satoshi,
}

/// Coins for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimCoins {
    pub coins: Vec<Utxo>,
    /// Of the whole transaction.
    pub fee: Satoshi,
}

impl ClaimNeed {
    fn fee(&self, coins: &[Coin<'_>]) -> Satoshi {
        let coins: u64 = coins.iter().map(|coin| coin.weight).sum();
        let weight = self.weight.saturating_add(coins) + CHANGE_WEIGHT;
        weight::fee(self.feerate, weight).min(self.most)
    }

    /// The fee, if these coins pay it and leave change.
    fn paid_by(&self, coins: &[Coin<'_>]) -> Option<Satoshi> {
        let brought = coins.iter().map(|coin| coin.utxo.value);
        let total = brought.fold(self.value, Satoshi::saturating_add);
        let fee = self.fee(coins);
        let needed = fee.0.saturating_add(CHANGE_MIN);
        (!coins.is_empty() && total.0 >= needed).then_some(fee)
    }
}

/// Confirmed coins that pay for the claim. Those that were `given` to it before are taken first, so that
/// one transaction replaces the other, even if a reorganization took the one before out of a block; the
/// emergency reserve is there for this and does not count.
#[must_use]
pub fn coins_for_claim(set: &UtxoSet, need: &ClaimNeed, given: &[OutPoint]) -> Option<ClaimCoins> {
    let coin = |utxo| Coin {
        utxo,
        weight: Utxo::input_weight(utxo),
        reserve_value: 0,
    };
    let is_usable = |utxo: &&Utxo| {
        utxo.confirmed().is_some()
            && !utxo.is_spent_in_block()
            && !utxo.is_immature(set.tip())
            && matches!(utxo.key, KeyRef::Wallet { .. })
    };
    let before = given.iter().filter_map(|outpoint| set.get(outpoint));
    let mut taken: Vec<Coin<'_>> = before.filter(is_usable).map(coin).collect();
    if let Some(fee) = need.paid_by(&taken) {
        return Some(picked(&taken, fee));
    }
    let known: BTreeSet<OutPoint> = taken.iter().map(|coin| coin.utxo.outpoint).collect();
    let mut free: Vec<Coin<'_>> = set
        .spendable(1)
        .filter(is_usable)
        .filter(|utxo| !known.contains(&utxo.outpoint))
        .map(coin)
        .filter(|coin| coin.effective(need.feerate) > 0)
        .collect();
    free.sort_by_key(|coin| coin.utxo.value);
    // The smallest that is enough, so that large coins stay whole.
    for coin in &free {
        let with = [taken.as_slice(), &[*coin]].concat();
        if let Some(fee) = need.paid_by(&with) {
            return Some(picked(&with, fee));
        }
    }
    while let Some(largest) = free.pop().filter(|_| taken.len() < MAX_COINS) {
        taken.push(largest);
        if let Some(fee) = need.paid_by(&taken) {
            return Some(picked(&taken, fee));
        }
    }
    None
}

fn picked(coins: &[Coin<'_>], fee: Satoshi) -> ClaimCoins {
    ClaimCoins {
        coins: coins.iter().map(|coin| coin.utxo.clone()).collect(),
        fee,
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::{ScriptBuf, Txid};
    use wire::BlockHeight;

    use super::*;
    use crate::utxo::{KeyKind, Status};

    const TIP: BlockHeight = BlockHeight(200);

    fn outpoint(n: u8) -> OutPoint {
        OutPoint {
            txid: Txid::from_byte_array([n; 32]),
            vout: 0,
        }
    }

    fn coin(n: u8, value: u64) -> Utxo {
        Utxo {
            outpoint: outpoint(n),
            value: Satoshi(value),
            script: ScriptBuf::new(),
            key: KeyRef::Wallet {
                index: u32::from(n),
                kind: KeyKind::P2tr,
            },
            status: Status::Confirmed {
                height: BlockHeight(100),
            },
            ours: false,
            coinbase: false,
            reserved_until: None,
        }
    }

    fn need(feerate: u32, most: u64) -> ClaimNeed {
        ClaimNeed {
            weight: 1000,
            value: Satoshi(330),
            feerate: FeeratePerKw(feerate),
            most: Satoshi(most),
        }
    }

    fn ids(coins: &ClaimCoins) -> Vec<OutPoint> {
        coins.coins.iter().map(|coin| coin.outpoint).collect()
    }

    #[test]
    fn the_smallest_coin_that_is_enough_pays_and_leaves_change() {
        let set = UtxoSet::restore(TIP, [coin(1, 900), coin(2, 5_000), coin(3, 1_000_000)]);
        let coins = coins_for_claim(&set, &need(1000, 100_000), &[]).unwrap();
        assert_eq!(ids(&coins), [outpoint(2)]);
        // 1000 of its own, 230 of the input, 172 of the change.
        assert_eq!(coins.fee, Satoshi(1402));
    }

    #[test]
    fn several_coins_pay_where_none_is_enough() {
        let set = UtxoSet::restore(TIP, [coin(1, 900), coin(2, 1_000), coin(3, 1_100)]);
        let coins = coins_for_claim(&set, &need(1000, 100_000), &[]).unwrap();
        assert_eq!(ids(&coins), [outpoint(3), outpoint(2)]);
        assert_eq!(coins_for_claim(&set, &need(9000, 100_000), &[]), None);
    }

    #[test]
    fn coins_that_were_given_are_given_again_though_they_are_reserved() {
        let mut set = UtxoSet::restore(TIP, [coin(1, 5_000), coin(2, 4_000), coin(3, 90_000)]);
        let _ = set.reserve(&[outpoint(1)], 100, true).unwrap();
        let again = |feerate| coins_for_claim(&set, &need(feerate, 100_000), &[outpoint(1)]);
        assert_eq!(ids(&again(1000).unwrap()), [outpoint(1)]);
        // More than they pay: another is added.
        assert_eq!(ids(&again(4000).unwrap()), [outpoint(1), outpoint(2)]);
        // Nobody else gets it.
        let other = coins_for_claim(&set, &need(1000, 100_000), &[]).unwrap();
        assert_eq!(ids(&other), [outpoint(2)]);
    }

    #[test]
    fn the_fee_stays_below_its_bound() {
        let set = UtxoSet::restore(TIP, [coin(1, 5_000)]);
        let coins = coins_for_claim(&set, &need(5_000, 2_000), &[]).unwrap();
        assert_eq!(coins.fee, Satoshi(2_000));
    }

    fn spent(n: u8, at: Option<BlockHeight>) -> Utxo {
        let status = Status::Spent {
            by: Txid::from_byte_array([9; 32]),
            confirmed: Some(BlockHeight(100)),
            at,
        };
        Utxo {
            status,
            ..coin(n, 50_000)
        }
    }

    #[test]
    fn unconfirmed_and_spent_coins_do_not_pay() {
        let unconfirmed = Utxo {
            status: Status::Unconfirmed,
            ours: true,
            ..coin(1, 50_000)
        };
        let set = UtxoSet::restore(TIP, [unconfirmed, spent(2, Some(TIP)), spent(3, None)]);
        let given = [outpoint(1), outpoint(2)];
        assert_eq!(coins_for_claim(&set, &need(1000, 100_000), &given), None);
    }

    #[test]
    fn a_claim_that_a_reorganization_took_out_keeps_its_coins() {
        let set = UtxoSet::restore(TIP, [spent(1, None), coin(2, 50_000)]);
        let again = coins_for_claim(&set, &need(1000, 100_000), &[outpoint(1)]).unwrap();
        assert_eq!(ids(&again), [outpoint(1)]);
    }
}
