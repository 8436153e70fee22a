//! The wallet's coins, as far as lightningd has told of them and as this signer has spent them.

use std::collections::{HashMap, HashSet};

use bitcoin::{OutPoint, Txid};
use serde::{Deserialize, Serialize};
use wire::{MilliSatoshi, Satoshi};

use crate::refused::Refused;

/// What is known of a coin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// As first said (W3).
    pub(crate) value: Satoshi,
    /// What was charged for transactions that spend it. Of those, one at most gets into a block.
    pub(crate) charged: MilliSatoshi,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    Unspent,
    /// Last by this transaction.
    Spent(Txid),
    /// It is an output of a transaction of ours in whose place another was signed.
    Replaced,
}

/// By outpoint. None is ever dropped: its amount stays as it was first said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Coins(HashMap<OutPoint, Pin>);

impl Coins {
    /// W3: what is said of a coin now is what was said of it first.
    pub(crate) fn check(&self, outpoint: OutPoint, value: Satoshi) -> Result<(), Refused> {
        match self.0.get(&outpoint) {
            Some(pin) if pin.value != value => Err(Refused::CoinChanged(outpoint)),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn get(&self, outpoint: &OutPoint) -> Option<&Pin> {
        self.0.get(outpoint)
    }

    /// Whether telling of it again changes something.
    pub(crate) fn is_news(&self, outpoint: &OutPoint) -> bool {
        match self.0.get(outpoint).map(|pin| pin.fate) {
            None | Some(Fate::Replaced) => true,
            Some(Fate::Unspent | Fate::Spent(_)) => false,
        }
    }

    /// Of all that may still be spent.
    pub(crate) fn balance(&self) -> Satoshi {
        let unspent = self.0.values().filter(|pin| pin.fate == Fate::Unspent);
        unspent.fold(Satoshi::ZERO, |sum, pin| sum.saturating_add(pin.value))
    }

    /// The coin among `spent` that most was charged to, and how much.
    ///
    /// A transaction's charge stands with one of its coins. Those that get into blocks have no coin
    /// in common: what they take is at most the sum of what their coins were charged.
    pub(crate) fn charged(&self, spent: &[OutPoint]) -> Option<(OutPoint, MilliSatoshi)> {
        let charged = |outpoint: &OutPoint| {
            let pin = self.0.get(outpoint);
            (*outpoint, pin.map_or(MilliSatoshi::ZERO, |pin| pin.charged))
        };
        // The first of equals.
        let coins = spent.iter().rev().map(charged);
        coins.max_by_key(|(_, charged)| *charged)
    }

    pub(crate) fn charge(&mut self, outpoint: &OutPoint, amount: MilliSatoshi) {
        if let Some(pin) = self.0.get_mut(outpoint) {
            pin.charged = pin.charged.saturating_add(amount);
        }
    }

    /// It is there, as far as anybody knows.
    pub(crate) fn see(&mut self, outpoint: OutPoint, value: Satoshi) {
        let pin = self.0.entry(outpoint).or_insert(Pin {
            value,
            charged: MilliSatoshi::ZERO,
            fate: Fate::Unspent,
        });
        match pin.fate {
            Fate::Unspent | Fate::Spent(_) => {}
            Fate::Replaced => pin.fate = Fate::Unspent,
        }
    }

    /// A transaction that spends `inputs` was signed. What an earlier one of the same coins made
    /// will not be there.
    pub(crate) fn spend(&mut self, txid: Txid, inputs: &[(OutPoint, Satoshi)]) {
        let mut replaced = HashSet::new();
        for (outpoint, value) in inputs {
            self.see(*outpoint, *value);
            let Some(pin) = self.0.get_mut(outpoint) else {
                continue;
            };
            if let Fate::Spent(before) = pin.fate
                && before != txid
            {
                replaced.insert(before);
            }
            pin.fate = Fate::Spent(txid);
        }
        if replaced.is_empty() {
            return;
        }
        for (outpoint, pin) in &mut self.0 {
            if replaced.contains(&outpoint.txid) && pin.fate == Fate::Unspent {
                pin.fate = Fate::Replaced;
            }
        }
    }

    pub(crate) fn pins(&self) -> impl Iterator<Item = (OutPoint, Pin)> + '_ {
        self.0.iter().map(|(outpoint, pin)| (*outpoint, *pin))
    }

    pub(crate) fn restore(&mut self, pins: Vec<(OutPoint, Pin)>) {
        self.0.extend(pins);
    }
}
