//! Which coins pay: first a set that needs no change, found by branch and bound, else one that
//! leaves change. All sums are exact integers; the search library's own fee arithmetic is in
//! 32-bit floats and is not used.

use bdk_coin_select::float::Ordf32;
use bdk_coin_select::{BnbMetric, Candidate, CoinSelector};
use wire::{FeeratePerKw, Satoshi};

use crate::utxo::Utxo;
use crate::weight;

/// Branches that are looked at before the search without change is given up.
const BNB_ROUNDS: usize = 2_000;
/// Coins that branch and bound looks at, the most valuable ones: each branch copies its set.
const BNB_COINS: usize = 100;

/// The transaction without its inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub feerate: FeeratePerKw,
    /// Sum of the outputs but change.
    pub value: u64,
    pub outputs: u64,
    pub output_weight: u64,
    pub change_weight: u64,
    /// Change below this is left to the fee: the dust limit of its script.
    pub change_min: u64,
    /// The least that `all` may come to.
    pub all_min: u64,
    pub keep: Keep,
}

/// The emergency reserve, and what of the wallet counts towards it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    pub reserve: u64,
    /// Sum of all confirmed spendable coins.
    pub wallet: u64,
}

/// Number, sum and weight of some inputs, and how much of the sum counts towards the reserve.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub count: u64,
    pub value: u64,
    pub weight: u64,
    pub reserve_value: u64,
}

impl Sum {
    pub fn add(self, coin: &Coin<'_>) -> Sum {
        Sum {
            count: self.count + 1,
            value: self.value.saturating_add(coin.utxo.value.0),
            weight: self.weight + coin.weight,
            reserve_value: self.reserve_value.saturating_add(coin.reserve_value),
        }
    }

    pub fn of<'a>(coins: impl IntoIterator<Item = &'a Coin<'a>>) -> Sum {
        coins
            .into_iter()
            .fold(Sum::default(), |sum, coin| sum.add(coin))
    }
}

/// A coin that may be picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coin<'a> {
    pub utxo: &'a Utxo,
    pub weight: u64,
    /// Its value if it counts towards the emergency reserve while it is not spent, else 0.
    pub reserve_value: u64,
}

impl Coin<'_> {
    /// Value less the fee for its input.
    pub fn effective(&self, feerate: FeeratePerKw) -> i64 {
        self.utxo.value.0 as i64 - weight::fee(feerate, self.weight).0 as i64
    }
}

/// How a set of inputs would pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Satoshi that are missing.
    Short(u64),
    /// The outputs can be paid, but too little would be left in reserve.
    NoReserve,
    Paid {
        change: Option<Satoshi>,
        fee: Satoshi,
    },
}

impl Shape {
    pub fn fee_without_change(&self, inputs: Sum) -> u64 {
        let weight = weight::transaction(
            inputs.count,
            inputs.weight,
            self.outputs,
            self.output_weight,
        );
        weight::fee(self.feerate, weight).0
    }

    pub fn fee_with_change(&self, inputs: Sum) -> u64 {
        let outputs = self.output_weight + self.change_weight;
        let weight = weight::transaction(inputs.count, inputs.weight, self.outputs + 1, outputs);
        weight::fee(self.feerate, weight).0
    }

    /// What the reserve lacks when `inputs` are spent and no change comes back.
    pub fn reserve_missing(&self, inputs: Sum) -> u64 {
        self.keep
            .reserve
            .saturating_sub(self.keep.wallet.saturating_sub(inputs.reserve_value))
    }

    pub fn outcome(&self, inputs: Sum) -> Outcome {
        let needed = self.value.saturating_add(self.fee_without_change(inputs));
        if inputs.value < needed {
            return Outcome::Short(needed - inputs.value);
        }
        let missing = self.reserve_missing(inputs);
        let with_change = self.value.saturating_add(self.fee_with_change(inputs));
        let change = inputs.value.saturating_sub(with_change);
        if change >= self.change_min && change >= missing && change > 0 {
            let fee = Satoshi(inputs.value - self.value - change);
            Outcome::Paid {
                change: Some(Satoshi(change)),
                fee,
            }
        } else if missing > 0 {
            Outcome::NoReserve
        } else {
            Outcome::Paid {
                change: None,
                fee: Satoshi(inputs.value - self.value),
            }
        }
    }
}

/// The cheapest set without change.
struct NoChange<'a> {
    shape: Shape,
    coins: &'a [Coin<'a>],
}

impl NoChange<'_> {
    fn inputs(&self, selector: &CoinSelector<'_>) -> Sum {
        Sum::of(selector.apply_selection(self.coins))
    }
}

impl BnbMetric for NoChange<'_> {
    fn score(&mut self, selector: &CoinSelector<'_>) -> Option<Ordf32> {
        let inputs = self.inputs(selector);
        match self.shape.outcome(inputs) {
            Outcome::Paid { change: None, fee } => Some(Ordf32(
                (fee.0 - self.shape.fee_without_change(inputs)) as f32,
            )),
            Outcome::Paid {
                change: Some(_), ..
            }
            | Outcome::Short(_)
            | Outcome::NoReserve => None,
        }
    }

    fn bound(&mut self, selector: &CoinSelector<'_>) -> Option<Ordf32> {
        let inputs = self.inputs(selector);
        match self.shape.outcome(inputs) {
            // Each coin adds more than its fee: what is too much stays too much.
            Outcome::Paid {
                change: Some(_), ..
            }
            | Outcome::NoReserve => None,
            Outcome::Paid { change: None, .. } => Some(Ordf32(0.0)),
            Outcome::Short(_) => {
                let rest = selector
                    .unselected_indices()
                    .filter_map(|i| self.coins.get(i));
                let all = rest.fold(inputs, |sum, coin| sum.add(coin));
                match self.shape.outcome(all) {
                    Outcome::Short(_) => None,
                    Outcome::Paid { .. } | Outcome::NoReserve => Some(Ordf32(0.0)),
                }
            }
        }
    }

    fn requires_ordering_by_descending_value_pwu(&self) -> bool {
        true
    }
}

/// Indices of `coins` that pay for `shape`; `None` if all of them do not. `coins` must each be
/// worth more than the fee for spending it.
pub(crate) fn select(shape: Shape, coins: &[Coin<'_>]) -> Option<Vec<usize>> {
    without_change(shape, coins)
        .or_else(|| one(shape, coins))
        .or_else(|| largest(shape, coins))
}

fn candidate(coin: &Coin<'_>) -> Candidate {
    Candidate {
        value: coin.utxo.value.0,
        weight: coin.weight,
        input_count: 1,
        is_segwit: true,
    }
}

fn without_change(shape: Shape, coins: &[Coin<'_>]) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..coins.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(coins[*i].effective(shape.feerate)));
    order.truncate(BNB_COINS);
    let coins: Vec<Coin<'_>> = order.iter().map(|i| coins[*i]).collect();
    let candidates: Vec<Candidate> = coins.iter().map(candidate).collect();
    let mut selector = CoinSelector::new(&candidates);
    selector
        .run_bnb(
            NoChange {
                shape,
                coins: &coins,
            },
            BNB_ROUNDS,
        )
        .ok()?;
    Some(
        selector
            .selected_indices()
            .iter()
            .map(|i| order[*i])
            .collect(),
    )
}

fn pays(shape: Shape, inputs: Sum) -> bool {
    matches!(shape.outcome(inputs), Outcome::Paid { .. })
}

/// The smallest coin that is enough by itself: one input, and large coins stay whole.
fn one(shape: Shape, coins: &[Coin<'_>]) -> Option<Vec<usize>> {
    let enough = |i: &usize| pays(shape, Sum::default().add(&coins[*i]));
    (0..coins.len())
        .filter(enough)
        .min_by_key(|i| coins[*i].utxo.value)
        .map(|i| vec![i])
}

/// The most valuable coins, as many as it takes.
fn largest(shape: Shape, coins: &[Coin<'_>]) -> Option<Vec<usize>> {
    let candidates: Vec<Candidate> = coins.iter().map(candidate).collect();
    let mut selector = CoinSelector::new(&candidates);
    selector.sort_candidates_by_key(|(i, _)| std::cmp::Reverse(coins[i].effective(shape.feerate)));
    selector.select_until(|s| pays(shape, Sum::of(s.apply_selection(coins))))?;
    Some(selector.selected_indices().iter().copied().collect())
}
