//! The coins that we have, as blocks come and go.
//!
//! Every method that changes something returns what to write: apply the list to the database in
//! the same batch as the chain tip, and [`UtxoSet::restore`] gives the same set again. Applying a
//! block twice changes nothing, so a rescan may start anywhere.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{OutPoint, Script, ScriptBuf, Transaction, Txid};
use wire::{BlockHeight, Satoshi};

use crate::utxo::{KeyRef, Status, Utxo};

/// What to write to the database after a change of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Utxo),
    Remove(OutPoint),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("block {given} was disconnected, but the tip is block {tip}")]
    NotTheTip {
        given: BlockHeight,
        tip: BlockHeight,
    },
    #[error("{0} is not a coin of this wallet")]
    Unknown(OutPoint),
    #[error("{0} is spent")]
    Spent(OutPoint),
    #[error("{outpoint} is reserved until block {until}")]
    Reserved {
        outpoint: OutPoint,
        until: BlockHeight,
    },
}

/// What became of one coin's reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub outpoint: OutPoint,
    pub was_reserved: bool,
    /// `None` if it is not reserved now.
    pub until: Option<BlockHeight>,
}

/// `status` of an output in `listfunds`. [`FundStatus::word`] gives CLN's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FundStatus {
    Unconfirmed,
    Confirmed,
    Spent,
    Immature,
}

impl FundStatus {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            FundStatus::Unconfirmed => "unconfirmed",
            FundStatus::Confirmed => "confirmed",
            FundStatus::Spent => "spent",
            FundStatus::Immature => "immature",
        }
    }
}

/// One line of `listfunds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fund {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    pub script: ScriptBuf,
    pub status: FundStatus,
    /// Block of the coin, if it is in one.
    pub height: Option<BlockHeight>,
    pub reserved_until: Option<BlockHeight>,
}

/// Blocks for which a spent coin is kept, for `listfunds` and reorganizations: two weeks.
pub const SPENT_KEPT: u32 = 2016;

/// Every coin of ours that was seen, spent ones included for [`SPENT_KEPT`] blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UtxoSet {
    tip: BlockHeight,
    coins: BTreeMap<OutPoint, Utxo>,
}

impl UtxoSet {
    /// The set as the database has it.
    #[must_use]
    pub fn restore(tip: BlockHeight, coins: impl IntoIterator<Item = Utxo>) -> UtxoSet {
        UtxoSet {
            tip,
            coins: coins.into_iter().map(|c| (c.outpoint, c)).collect(),
        }
    }

    #[must_use]
    pub fn tip(&self) -> BlockHeight {
        self.tip
    }

    #[must_use]
    pub fn get(&self, outpoint: &OutPoint) -> Option<&Utxo> {
        self.coins.get(outpoint)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Utxo> + '_ {
        self.coins.values()
    }

    /// Whether a transaction spends a coin of ours or pays to one of our scripts.
    #[must_use]
    pub fn concerns(&self, tx: &Transaction, owner: impl Fn(&Script) -> Option<KeyRef>) -> bool {
        tx.input
            .iter()
            .any(|input| self.coins.contains_key(&input.previous_output))
            || tx
                .output
                .iter()
                .any(|output| owner(&output.script_pubkey).is_some())
    }

    /// A block was connected. `txs` are its transactions in their order (irrelevant ones do no
    /// harm); `owner` names the key of a script that is ours.
    #[must_use]
    pub fn apply_block<'a>(
        &mut self,
        height: BlockHeight,
        txs: impl IntoIterator<Item = &'a Transaction>,
        owner: impl Fn(&Script) -> Option<KeyRef>,
    ) -> Vec<Change> {
        self.tip = self.tip.max(height);
        let mut touched = BTreeSet::new();
        for tx in txs {
            self.take(tx, Some(height), &owner, &mut touched);
        }
        self.prune(&mut touched);
        self.changes(touched)
    }

    /// Drops coins whose spend no reorganization will undo.
    fn prune(&mut self, touched: &mut BTreeSet<OutPoint>) {
        let tip = self.tip.0;
        self.coins.retain(|outpoint, coin| {
            let Status::Spent { at: Some(at), .. } = coin.status else {
                return true;
            };
            let keep = tip < at.0.saturating_add(SPENT_KEPT);
            if !keep {
                touched.insert(*outpoint);
            }
            keep
        });
    }

    /// We broadcast this transaction: its inputs are spent and its change is usable.
    #[must_use]
    pub fn add_broadcast(
        &mut self,
        tx: &Transaction,
        owner: impl Fn(&Script) -> Option<KeyRef>,
    ) -> Vec<Change> {
        let mut touched = BTreeSet::new();
        self.take(tx, None, &owner, &mut touched);
        self.changes(touched)
    }

    /// A coin that blocks alone do not tell about: our output of a channel's closing transaction.
    #[must_use]
    pub fn insert(&mut self, coin: Utxo) -> Vec<Change> {
        let outpoint = coin.outpoint;
        let known = self.coins.entry(outpoint).or_insert_with(|| coin.clone());
        known.key = coin.key;
        self.changes(BTreeSet::from([outpoint]))
    }

    /// The tip was disconnected. Coins that it created are unconfirmed again and what it spent
    /// stays spent by a transaction without a block, until that one or a conflict of it confirms.
    ///
    /// # Errors
    /// `height` is not the tip.
    pub fn disconnect_block(&mut self, height: BlockHeight) -> Result<Vec<Change>, SetError> {
        if height != self.tip {
            return Err(SetError::NotTheTip {
                given: height,
                tip: self.tip,
            });
        }
        self.tip = BlockHeight(height.0.saturating_sub(1));
        let mut touched = BTreeSet::new();
        for coin in self.coins.values_mut() {
            match &mut coin.status {
                Status::Unconfirmed => continue,
                Status::Confirmed { height: at } if *at == height => {
                    coin.status = Status::Unconfirmed;
                }
                Status::Confirmed { .. } => continue,
                Status::Spent { confirmed, at, .. } => {
                    let (was_confirmed, was_spent) =
                        (*confirmed == Some(height), *at == Some(height));
                    if !was_confirmed && !was_spent {
                        continue;
                    }
                    *confirmed = confirmed.filter(|_| !was_confirmed);
                    *at = at.filter(|_| !was_spent);
                }
            }
            touched.insert(coin.outpoint);
        }
        // A coinbase outside a block can never be valid again.
        self.coins
            .retain(|_, coin| !coin.coinbase || coin.confirmed().is_some());
        Ok(self.changes(touched))
    }

    /// A transaction that is in no block will never be in one: its coins do not exist and what it
    /// spent is free again.
    #[must_use]
    pub fn abandon(&mut self, txid: Txid) -> Vec<Change> {
        let mut touched = BTreeSet::new();
        self.undo(txid, &mut touched);
        self.changes(touched)
    }

    /// The block in which another transaction has spent a coin that this one spends.
    #[must_use]
    pub fn conflict(&self, tx: &Transaction) -> Option<BlockHeight> {
        let txid = tx.compute_txid();
        let spends = tx.input.iter().filter_map(|input| {
            let coin = self.coins.get(&input.previous_output)?;
            match coin.status {
                Status::Spent { by, at, .. } if by != txid => at,
                Status::Spent { .. } | Status::Unconfirmed | Status::Confirmed { .. } => None,
            }
        });
        spends.min()
    }

    /// Reserves coins for `blocks` more blocks; one that is reserved already is kept for longer.
    ///
    /// # Errors
    /// A coin is unknown or spent, or reserved and `exclusive`. Then nothing is changed.
    pub fn reserve(
        &mut self,
        outpoints: &[OutPoint],
        blocks: u32,
        exclusive: bool,
    ) -> Result<(Vec<Reservation>, Vec<Change>), SetError> {
        let tip = self.tip;
        for outpoint in outpoints {
            let coin = self.unspent(outpoint)?;
            if let (Some(until), true) = (coin.reservation(tip), exclusive) {
                return Err(SetError::Reserved {
                    outpoint: *outpoint,
                    until,
                });
            }
        }
        Ok(self.reservations(outpoints, |from| {
            Some(BlockHeight(from.0.saturating_add(blocks)))
        }))
    }

    /// Shortens reservations by `blocks`.
    ///
    /// # Errors
    /// A coin is unknown or spent. Then nothing is changed.
    pub fn unreserve(
        &mut self,
        outpoints: &[OutPoint],
        blocks: u32,
    ) -> Result<(Vec<Reservation>, Vec<Change>), SetError> {
        outpoints
            .iter()
            .try_for_each(|outpoint| self.unspent(outpoint).map(drop))?;
        Ok(self.reservations(outpoints, |from| {
            Some(BlockHeight(from.0.saturating_sub(blocks)))
        }))
    }

    /// The claim that these coins were reserved for needs them no more: they are free, but for those that a
    /// block shows as spent. A claim that a reorganization took out may never come back.
    #[must_use]
    pub fn free(&mut self, outpoints: &[OutPoint]) -> Vec<Change> {
        let mut touched = BTreeSet::new();
        for outpoint in outpoints {
            let status = self.coins.get(outpoint).map(|coin| coin.status);
            if let Some(Status::Spent { by, at: None, .. }) = status {
                self.undo(by, &mut touched);
            }
            if let Some(coin) = self.coins.get_mut(outpoint) {
                coin.reserved_until = None;
                touched.insert(*outpoint);
            }
        }
        self.changes(touched)
    }

    /// The outputs of `listfunds`; spent ones only if asked for.
    pub fn funds(&self, spent: bool) -> impl Iterator<Item = Fund> + '_ {
        self.coins
            .values()
            .filter(move |coin| spent || !coin.is_spent())
            .map(|coin| Fund {
                outpoint: coin.outpoint,
                value: coin.value,
                script: coin.script.clone(),
                status: match coin.status {
                    Status::Spent { .. } => FundStatus::Spent,
                    Status::Unconfirmed => FundStatus::Unconfirmed,
                    Status::Confirmed { .. } if coin.is_immature(self.tip) => FundStatus::Immature,
                    Status::Confirmed { .. } => FundStatus::Confirmed,
                },
                height: coin.confirmed(),
                reserved_until: coin.reservation(self.tip),
            })
    }

    /// Coins that may be spent now with at least `minconf` confirmations. With 0 that includes
    /// unconfirmed coins of our own making, never those of others.
    pub fn spendable(&self, minconf: u32) -> impl Iterator<Item = &Utxo> + '_ {
        self.coins.values().filter(move |coin| {
            !coin.is_spent()
                && coin.reservation(self.tip).is_none()
                && !coin.is_immature(self.tip)
                && !coin.is_locked(self.tip)
                && (coin.confirmed().is_some() || coin.ours)
                && coin.depth(self.tip) >= minconf
        })
    }

    fn unspent(&self, outpoint: &OutPoint) -> Result<&Utxo, SetError> {
        let coin = self
            .coins
            .get(outpoint)
            .ok_or(SetError::Unknown(*outpoint))?;
        if coin.is_spent() {
            Err(SetError::Spent(*outpoint))
        } else {
            Ok(coin)
        }
    }

    /// `moved` maps the height from which a reservation counts to where it ends.
    fn reservations(
        &mut self,
        outpoints: &[OutPoint],
        moved: impl Fn(BlockHeight) -> Option<BlockHeight>,
    ) -> (Vec<Reservation>, Vec<Change>) {
        let tip = self.tip;
        let mut reports = Vec::with_capacity(outpoints.len());
        for outpoint in outpoints {
            let Some(coin) = self.coins.get_mut(outpoint) else {
                continue;
            };
            let before = coin.reservation(tip);
            coin.reserved_until = moved(before.unwrap_or(tip)).filter(|until| *until > tip);
            reports.push(Reservation {
                outpoint: *outpoint,
                was_reserved: before.is_some(),
                until: coin.reserved_until,
            });
        }
        (reports, self.changes(outpoints.iter().copied().collect()))
    }

    fn take(
        &mut self,
        tx: &Transaction,
        height: Option<BlockHeight>,
        owner: &impl Fn(&Script) -> Option<KeyRef>,
        touched: &mut BTreeSet<OutPoint>,
    ) {
        let txid = tx.compute_txid();
        let mut ours = false;
        for input in &tx.input {
            ours |= self.spend(input.previous_output, txid, height, touched);
        }
        for (vout, output) in tx.output.iter().enumerate() {
            let outpoint = OutPoint {
                txid,
                vout: vout as u32,
            };
            if let Some(coin) = self.coins.get_mut(&outpoint) {
                place(coin, height);
            } else if let Some(key) = owner(&output.script_pubkey) {
                let coin = Utxo {
                    outpoint,
                    value: Satoshi(output.value.to_sat()),
                    script: output.script_pubkey.clone(),
                    key,
                    status: match height {
                        Some(height) => Status::Confirmed { height },
                        None => Status::Unconfirmed,
                    },
                    ours: ours || height.is_none(),
                    coinbase: tx.is_coinbase(),
                    reserved_until: None,
                };
                self.coins.insert(outpoint, coin);
            } else {
                continue;
            }
            touched.insert(outpoint);
        }
    }

    /// Whether the outpoint is ours.
    fn spend(
        &mut self,
        outpoint: OutPoint,
        by: Txid,
        at: Option<BlockHeight>,
        touched: &mut BTreeSet<OutPoint>,
    ) -> bool {
        match self.coins.get(&outpoint).map(|coin| coin.status) {
            None => return false,
            Some(Status::Spent {
                by: other, at: was, ..
            }) if other != by => {
                if was.is_some() && at.is_none() {
                    return true; // a broadcast does not undo a block
                }
                self.undo(other, touched);
            }
            // A broadcast again of what is in a block.
            Some(Status::Spent { at: Some(_), .. }) if at.is_none() => return true,
            Some(Status::Spent { .. } | Status::Unconfirmed | Status::Confirmed { .. }) => {}
        }
        if let Some(coin) = self.coins.get_mut(&outpoint) {
            coin.status = Status::Spent {
                by,
                confirmed: coin.confirmed(),
                at,
            };
            coin.reserved_until = None;
            touched.insert(outpoint);
        }
        true
    }

    /// `txid` is not in the chain: drops its coins, with all that was made of them, and frees
    /// what it spent.
    fn undo(&mut self, txid: Txid, touched: &mut BTreeSet<OutPoint>) {
        let mut gone = vec![txid];
        while let Some(txid) = gone.pop() {
            for coin in self.coins.values_mut() {
                if let Status::Spent {
                    by,
                    confirmed,
                    at: None,
                } = coin.status
                    && by == txid
                {
                    coin.status = match confirmed {
                        Some(height) => Status::Confirmed { height },
                        None => Status::Unconfirmed,
                    };
                    touched.insert(coin.outpoint);
                }
            }
            self.coins.retain(|outpoint, coin| {
                let keep = outpoint.txid != txid || coin.confirmed().is_some();
                if !keep {
                    touched.insert(*outpoint);
                    if let Status::Spent { by, at: None, .. } = coin.status {
                        gone.push(by);
                    }
                }
                keep
            });
        }
    }

    fn changes(&self, touched: BTreeSet<OutPoint>) -> Vec<Change> {
        let change = |outpoint| match self.coins.get(&outpoint) {
            Some(coin) => Change::Put(coin.clone()),
            None => Change::Remove(outpoint),
        };
        touched.into_iter().map(change).collect()
    }
}

/// The transaction of `coin` was seen in a block, or broadcast again.
fn place(coin: &mut Utxo, seen: Option<BlockHeight>) {
    let Some(height) = seen else { return };
    match &mut coin.status {
        Status::Unconfirmed => coin.status = Status::Confirmed { height },
        Status::Confirmed { height: known } => *known = height,
        Status::Spent { confirmed, .. } => *confirmed = Some(height),
    }
}

#[cfg(test)]
mod tests;
