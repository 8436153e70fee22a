//! Builds the transactions that spend the wallet's coins: withdrawals and channel fundings.

use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, Transaction, TxIn, TxOut, WScriptHash, Witness};
use rand::Rng;
use rand::seq::SliceRandom;
use wire::units::MAX_SATOSHI;
use wire::{BlockHeight, FeeratePerKw, Satoshi};

use crate::amount::Amount;
use crate::error::BuildError;
use crate::select::{self, Coin, Keep, Outcome, Shape, Sum};
use crate::set::UtxoSet;
use crate::utxo::{KeyRef, Utxo};
use crate::weight;

/// One output that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub script: ScriptBuf,
    pub amount: Amount,
}

/// Where change goes: a fresh script of ours and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTo {
    pub script: ScriptBuf,
    pub key: KeyRef,
}

/// Which coins may pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Any that [`UtxoSet::spendable`] lists; confirmed ones are preferred.
    Any { minconf: u32 },
    /// All of these and no others.
    These {
        outpoints: Vec<OutPoint>,
        reserved_ok: bool,
    },
}

/// How to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub feerate: FeeratePerKw,
    pub inputs: Inputs,
    pub change: ChangeTo,
    /// `min-emergency-msat`, in satoshi, where a channel with anchors exists or is being opened;
    /// else zero. It counts confirmed coins that stay and the change.
    pub emergency_reserve: Satoshi,
}

/// The change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeOutput {
    pub vout: u32,
    pub value: Satoshi,
    pub key: KeyRef,
}

/// A transaction without witnesses, with all that its signer has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedTx {
    pub tx: Transaction,
    /// The coins that it spends, in the order of its inputs.
    pub inputs: Vec<Utxo>,
    /// Output index of each recipient, in the order they were asked for.
    pub recipients: Vec<u32>,
    pub change: Option<ChangeOutput>,
    pub fee: Satoshi,
}

impl UnsignedTx {
    /// Weight with the largest witnesses that its signer may give.
    #[must_use]
    pub fn signed_weight(&self) -> u64 {
        weight_of(&self.inputs, &self.tx.output)
    }

    /// Value of a recipient's output: what `all` came to.
    #[must_use]
    pub fn recipient(&self, index: usize) -> Option<&TxOut> {
        self.tx.output.get(*self.recipients.get(index)? as usize)
    }

    /// Puts the real script in place of [`placeholder_funding_script`], once the peer has told
    /// its funding key. `false`, and nothing is changed, if there is no such recipient or the
    /// lengths differ.
    #[must_use]
    pub fn set_script(&mut self, index: usize, script: ScriptBuf) -> bool {
        let vout = self.recipients.get(index).map(|vout| *vout as usize);
        match vout.and_then(|vout| self.tx.output.get_mut(vout)) {
            Some(output) if output.script_pubkey.len() == script.len() => {
                output.script_pubkey = script;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The outpoints that it spends, for a reservation.
    #[must_use]
    pub fn outpoints(&self) -> Vec<OutPoint> {
        self.inputs.iter().map(|coin| coin.outpoint).collect()
    }
}

/// A funding output's script before both funding keys are known: it has the same length.
#[must_use]
pub fn placeholder_funding_script() -> ScriptBuf {
    ScriptBuf::new_p2wsh(&WScriptHash::all_zeros())
}

/// Pays `recipients`, at most one of them `all`. The order of inputs and outputs is random, the
/// locktime is the tip (sometimes a little less, so that it says little about us), and the
/// sequence allows a fee bump.
///
/// # Errors
/// See [`BuildError`].
pub fn build_withdraw(
    set: &UtxoSet,
    recipients: &[Recipient],
    policy: &Policy,
    rng: &mut impl Rng,
) -> Result<UnsignedTx, BuildError> {
    let shape = shape(set, recipients, policy)?;
    let all = recipients.iter().position(|r| r.amount == Amount::All);
    let coins = coins(set, policy)?;
    let paid = match (all, &policy.inputs) {
        (Some(_), _) => spend_all(shape, &coins)?,
        (None, Inputs::These { .. }) => spend_these(shape, coins)?,
        (None, Inputs::Any { .. }) => spend_enough(shape, &coins)?,
    };
    assemble(set.tip(), recipients, paid, policy, rng)
}

/// Funds a channel: as [`build_withdraw`], with an upper `limit` for what `all` may come to (the
/// largest channel that the peer takes).
///
/// # Errors
/// See [`BuildError`].
pub fn build_funding(
    set: &UtxoSet,
    funding: &Recipient,
    limit: Option<Satoshi>,
    policy: &Policy,
    rng: &mut impl Rng,
) -> Result<UnsignedTx, BuildError> {
    let built = build_withdraw(set, std::slice::from_ref(funding), policy, rng)?;
    let value = built.recipient(0).map_or(0, |output| output.value.to_sat());
    match limit {
        Some(limit) if funding.amount == Amount::All && value > limit.0 => {
            let capped = Recipient {
                amount: Amount::Exactly(limit),
                ..funding.clone()
            };
            build_withdraw(set, &[capped], policy, rng)
        }
        Some(_) | None => Ok(built),
    }
}

/// The coins that pay, what `all` comes to, and what is left.
struct Paid {
    coins: Vec<Utxo>,
    all: Satoshi,
    change: Option<Satoshi>,
    fee: Satoshi,
}

fn shape(set: &UtxoSet, recipients: &[Recipient], policy: &Policy) -> Result<Shape, BuildError> {
    if recipients.is_empty() {
        return Err(BuildError::NoOutputs);
    }
    if recipients
        .iter()
        .filter(|r| r.amount == Amount::All)
        .count()
        > 1
    {
        return Err(BuildError::TwoAlls);
    }
    let mut value = 0u64;
    for (index, recipient) in recipients.iter().enumerate() {
        let Amount::Exactly(amount) = recipient.amount else {
            continue;
        };
        let limit = weight::dust_limit(&recipient.script);
        if amount < limit {
            return Err(BuildError::Dust {
                index,
                amount,
                limit,
            });
        }
        value = value.checked_add(amount.0).ok_or(BuildError::Overflow)?;
    }
    if value > MAX_SATOSHI {
        return Err(BuildError::Overflow);
    }
    let wallet = set.spendable(1).map(|coin| coin.value.0).sum();
    Ok(Shape {
        feerate: policy.feerate,
        value,
        outputs: recipients.len() as u64,
        output_weight: recipients.iter().map(|r| weight::output(&r.script)).sum(),
        change_weight: weight::output(&policy.change.script),
        change_min: weight::dust_limit(&policy.change.script).0,
        all_min: recipients
            .iter()
            .find(|r| r.amount == Amount::All)
            .map_or(0, |r| weight::dust_limit(&r.script).0.max(1)),
        keep: Keep {
            reserve: policy.emergency_reserve.0,
            wallet,
        },
    })
}

/// The coins that may pay: of any, those worth more than their fee; of these, all.
fn coins<'a>(set: &'a UtxoSet, policy: &Policy) -> Result<Vec<Coin<'a>>, BuildError> {
    let reserve: BTreeSet<OutPoint> = set.spendable(1).map(|coin| coin.outpoint).collect();
    let coin = |utxo: &'a Utxo| Coin {
        utxo,
        weight: utxo.input_weight(),
        reserve_value: if reserve.contains(&utxo.outpoint) {
            utxo.value.0
        } else {
            0
        },
    };
    match &policy.inputs {
        Inputs::Any { minconf } => {
            let spendable = set.spendable(*minconf).map(coin);
            Ok(spendable
                .filter(|coin| coin.effective(policy.feerate) > 0)
                .collect())
        }
        Inputs::These {
            outpoints,
            reserved_ok,
        } => {
            let mut seen = BTreeSet::new();
            let usable = |outpoint: &OutPoint| {
                if !seen.insert(*outpoint) {
                    return Err(BuildError::RepeatedUtxo(*outpoint));
                }
                named(set, outpoint, *reserved_ok).map(coin)
            };
            outpoints.iter().map(usable).collect()
        }
    }
}

fn named<'a>(
    set: &'a UtxoSet,
    outpoint: &OutPoint,
    reserved_ok: bool,
) -> Result<&'a Utxo, BuildError> {
    let utxo = set
        .get(outpoint)
        .ok_or(BuildError::UnknownUtxo(*outpoint))?;
    if utxo.is_spent() {
        return Err(BuildError::SpentUtxo(*outpoint));
    }
    if let (Some(until), false) = (utxo.reservation(set.tip()), reserved_ok) {
        return Err(BuildError::ReservedUtxo {
            outpoint: *outpoint,
            until,
        });
    }
    if utxo.is_immature(set.tip()) || utxo.is_locked(set.tip()) {
        return Err(BuildError::LockedUtxo(*outpoint));
    }
    if utxo.confirmed().is_none() && !utxo.ours {
        return Err(BuildError::ForeignUnconfirmed(*outpoint));
    }
    Ok(utxo)
}

/// All coins; what is left after the fee, the other outputs and the reserve goes to `all`.
fn spend_all(shape: Shape, coins: &[Coin<'_>]) -> Result<Paid, BuildError> {
    let sum = Sum::of(coins);
    let missing = shape.reserve_missing(sum);
    let (change, fee) = if missing == 0 {
        (None, shape.fee_without_change(sum))
    } else {
        (
            Some(Satoshi(missing.max(shape.change_min))),
            shape.fee_with_change(sum),
        )
    };
    let spent = shape
        .value
        .saturating_add(fee)
        .saturating_add(change.unwrap_or_default().0);
    let all = sum.value.saturating_sub(spent);
    if all < shape.all_min {
        let without = sum
            .value
            .saturating_sub(shape.value + shape.fee_without_change(sum));
        return Err(if without < shape.all_min {
            BuildError::NothingLeft {
                available: coins.len(),
            }
        } else {
            BuildError::EmergencyReserve {
                reserve: Satoshi(shape.keep.reserve),
            }
        });
    }
    let coins = coins.iter().map(|coin| coin.utxo.clone()).collect();
    Ok(Paid {
        coins,
        all: Satoshi(all),
        change,
        fee: Satoshi(fee),
    })
}

fn spend_these(shape: Shape, coins: Vec<Coin<'_>>) -> Result<Paid, BuildError> {
    let Outcome::Paid { change, fee } = shape.outcome(Sum::of(&coins)) else {
        return Err(cannot(shape, &coins));
    };
    let coins = coins.iter().map(|coin| coin.utxo.clone()).collect();
    Ok(Paid {
        coins,
        all: Satoshi::ZERO,
        change,
        fee,
    })
}

fn spend_enough(shape: Shape, coins: &[Coin<'_>]) -> Result<Paid, BuildError> {
    let confirmed: Vec<Coin<'_>> = coins
        .iter()
        .filter(|coin| coin.utxo.confirmed().is_some())
        .copied()
        .collect();
    let picked = pick(shape, &confirmed)
        .or_else(|| {
            if confirmed.len() < coins.len() {
                pick(shape, coins)
            } else {
                None
            }
        })
        .ok_or_else(|| cannot(shape, coins))?;
    spend_these(shape, picked)
}

fn pick<'a>(shape: Shape, from: &[Coin<'a>]) -> Option<Vec<Coin<'a>>> {
    let picked = select::select(shape, from)?;
    Some(
        picked
            .into_iter()
            .filter_map(|i| from.get(i).copied())
            .collect(),
    )
}

fn cannot(shape: Shape, coins: &[Coin<'_>]) -> BuildError {
    let sum = Sum::of(coins);
    match shape.outcome(sum) {
        Outcome::Short(short) => BuildError::CannotAfford {
            needed: Satoshi(sum.value.saturating_add(short)),
            available: coins.len(),
            short: Satoshi(short),
        },
        Outcome::NoReserve | Outcome::Paid { .. } => BuildError::EmergencyReserve {
            reserve: Satoshi(shape.keep.reserve),
        },
    }
}

fn assemble(
    tip: BlockHeight,
    recipients: &[Recipient],
    mut paid: Paid,
    policy: &Policy,
    rng: &mut impl Rng,
) -> Result<UnsignedTx, BuildError> {
    let output = |value: Satoshi, script: &ScriptBuf| TxOut {
        value: bitcoin::Amount::from_sat(value.0),
        script_pubkey: script.clone(),
    };
    let mut outputs: Vec<(usize, TxOut)> = recipients
        .iter()
        .map(|recipient| match recipient.amount {
            Amount::Exactly(value) => output(value, &recipient.script),
            Amount::All => output(paid.all, &recipient.script),
        })
        .enumerate()
        .collect();
    if let Some(change) = paid.change {
        outputs.push((recipients.len(), output(change, &policy.change.script)));
    }
    outputs.shuffle(rng);
    paid.coins.shuffle(rng);
    let place = |wanted: usize| {
        outputs
            .iter()
            .position(|(index, _)| *index == wanted)
            .unwrap_or_default() as u32
    };
    let vouts = (0..recipients.len()).map(place).collect();
    let change = paid.change.map(|value| ChangeOutput {
        vout: place(recipients.len()),
        value,
        key: policy.change.key.clone(),
    });
    let input = |coin: &Utxo| TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: coin.sequence(),
        witness: Witness::new(),
    };
    let tx = Transaction {
        version: Version::TWO,
        lock_time: lock_time(tip, rng),
        input: paid.coins.iter().map(input).collect(),
        output: outputs.into_iter().map(|(_, output)| output).collect(),
    };
    let weight = weight_of(&paid.coins, &tx.output);
    if weight > weight::MAX_STANDARD_WEIGHT {
        return Err(BuildError::TooHeavy {
            weight,
            limit: weight::MAX_STANDARD_WEIGHT,
        });
    }
    Ok(UnsignedTx {
        tx,
        inputs: paid.coins,
        recipients: vouts,
        change,
        fee: paid.fee,
    })
}

/// The tip, so that a miner gains nothing by mining its block again; one in ten is up to 99
/// blocks older, as a transaction that waited for a signature would be.
fn lock_time(tip: BlockHeight, rng: &mut impl Rng) -> LockTime {
    let back = if tip.0 > 100 && rng.gen_range(0..10) == 0 {
        rng.gen_range(0..100)
    } else {
        0
    };
    LockTime::from_height(tip.0.saturating_sub(back)).unwrap_or(LockTime::ZERO)
}

fn weight_of(inputs: &[Utxo], outputs: &[TxOut]) -> u64 {
    let input_weight = inputs.iter().map(Utxo::input_weight).sum();
    let output_weight = outputs
        .iter()
        .map(|o| weight::output(&o.script_pubkey))
        .sum();
    weight::transaction(
        inputs.len() as u64,
        input_weight,
        outputs.len() as u64,
        output_weight,
    )
}

#[cfg(test)]
mod tests;
