//! Who owns how much in one commitment, and the deltas that lead to the next.
//!
//! Balances are never supplied: they follow from the opening amounts and the deltas
//! (rule C2), and their sum is the funding value at every step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, PaymentHash, Preimage, Side};

use crate::setup::Setup;

/// Names an HTLC of one channel: each side counts its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HtlcKey {
    /// Who offered it.
    pub offerer: Side,
    pub id: HtlcId,
}

/// An HTLC as it stands in a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Htlc {
    pub amount: MilliSatoshi,
    pub payment_hash: PaymentHash,
    pub cltv_expiry: CltvExpiry,
}

/// One change from a commitment to the next one of the same owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delta {
    /// `update_add_htlc`: the amount leaves the offerer's balance.
    Add { key: HtlcKey, htlc: Htlc },
    /// `update_fulfill_htlc`: the amount goes to the side that did not offer it.
    Fulfil { key: HtlcKey, preimage: Preimage },
    /// `update_fail_htlc` or `update_fail_malformed_htlc`: the amount goes back.
    Fail { key: HtlcKey },
    /// `update_fee`.
    Fee { feerate: FeeratePerKw },
}

impl HtlcKey {
    /// One that our node offers.
    #[must_use]
    pub fn local(id: HtlcId) -> HtlcKey {
        let offerer = Side::Local;
        HtlcKey { offerer, id }
    }

    /// One that the peer offers.
    #[must_use]
    pub fn remote(id: HtlcId) -> HtlcKey {
        let offerer = Side::Remote;
        HtlcKey { offerer, id }
    }
}

impl Delta {
    /// The HTLC that `offerer` adds.
    #[must_use]
    pub fn added(&self, offerer: Side) -> Option<(HtlcId, &Htlc)> {
        match self {
            Delta::Add { key, htlc } => (key.offerer == offerer).then_some((key.id, htlc)),
            Delta::Fulfil { .. } | Delta::Fail { .. } | Delta::Fee { .. } => None,
        }
    }

    /// The HTLC of `offerer` that is fulfilled, with its preimage.
    #[must_use]
    pub fn fulfilled(&self, offerer: Side) -> Option<(HtlcId, &Preimage)> {
        match self {
            Delta::Fulfil { key, preimage } => {
                (key.offerer == offerer).then_some((key.id, preimage))
            }
            Delta::Add { .. } | Delta::Fail { .. } | Delta::Fee { .. } => None,
        }
    }
}

/// Why a delta does not fit the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("{0:?}'s balance does not cover the amount")]
    Overdrawn(Side),
    #[error("HTLC {0:?} exists already")]
    Duplicate(HtlcKey),
    #[error("no HTLC {0:?}")]
    Unknown(HtlcKey),
    #[error("preimage does not match HTLC {0:?}")]
    WrongPreimage(HtlcKey),
    #[error("amounts overflow")]
    Overflow,
}

/// Balances, HTLCs and feerate of one commitment transaction, before fees are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub to_local: MilliSatoshi,
    pub to_remote: MilliSatoshi,
    pub feerate: FeeratePerKw,
    pub htlcs: BTreeMap<HtlcKey, Htlc>,
}

impl Ledger {
    /// Commitment 0.
    ///
    /// # Errors
    /// `Overdrawn` by the opener if `push` exceeds the funding value.
    pub fn opening(setup: &Setup) -> Result<Ledger, LedgerError> {
        let total = setup.funding_value.to_msat().ok_or(LedgerError::Overflow)?;
        let rest = total
            .checked_sub(setup.push)
            .ok_or(LedgerError::Overdrawn(setup.opener))?;
        let (to_local, to_remote) = match setup.opener {
            Side::Local => (rest, setup.push),
            Side::Remote => (setup.push, rest),
        };
        Ok(Ledger {
            to_local,
            to_remote,
            feerate: setup.feerate,
            htlcs: BTreeMap::new(),
        })
    }

    #[must_use]
    pub fn balance(&self, side: Side) -> MilliSatoshi {
        match side {
            Side::Local => self.to_local,
            Side::Remote => self.to_remote,
        }
    }

    /// Balances and HTLCs together, which no delta changes.
    #[must_use]
    pub fn total(&self) -> MilliSatoshi {
        self.htlcs
            .values()
            .fold(self.to_local.saturating_add(self.to_remote), |sum, htlc| {
                sum.saturating_add(htlc.amount)
            })
    }

    /// # Errors
    /// The ledger is unchanged when a delta does not fit.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), LedgerError> {
        match delta {
            Delta::Add { key, htlc } => self.add(*key, *htlc),
            Delta::Fulfil { key, preimage } => self.fulfil(*key, preimage),
            Delta::Fail { key } => self.remove(*key, key.offerer),
            Delta::Fee { feerate } => {
                self.feerate = *feerate;
                Ok(())
            }
        }
    }

    fn add(&mut self, key: HtlcKey, htlc: Htlc) -> Result<(), LedgerError> {
        self.put_back(key, htlc, key.offerer)
    }

    /// The HTLC as it stood before it was removed in favour of `from`.
    ///
    /// # Errors
    /// As [`Ledger::apply`].
    pub fn put_back(&mut self, key: HtlcKey, htlc: Htlc, from: Side) -> Result<(), LedgerError> {
        if self.htlcs.contains_key(&key) {
            return Err(LedgerError::Duplicate(key));
        }
        let rest = self.balance(from).checked_sub(htlc.amount);
        *self.balance_mut(from) = rest.ok_or(LedgerError::Overdrawn(from))?;
        self.htlcs.insert(key, htlc);
        Ok(())
    }

    fn fulfil(&mut self, key: HtlcKey, preimage: &Preimage) -> Result<(), LedgerError> {
        let htlc = self.htlcs.get(&key).ok_or(LedgerError::Unknown(key))?;
        if preimage.payment_hash() != htlc.payment_hash {
            return Err(LedgerError::WrongPreimage(key));
        }
        self.remove(key, key.offerer.other())
    }

    fn remove(&mut self, key: HtlcKey, to: Side) -> Result<(), LedgerError> {
        let htlc = self.htlcs.get(&key).ok_or(LedgerError::Unknown(key))?;
        let sum = self
            .balance(to)
            .checked_add(htlc.amount)
            .ok_or(LedgerError::Overflow)?;
        *self.balance_mut(to) = sum;
        self.htlcs.remove(&key);
        Ok(())
    }

    fn balance_mut(&mut self, side: Side) -> &mut MilliSatoshi {
        match side {
            Side::Local => &mut self.to_local,
            Side::Remote => &mut self.to_remote,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger {
            to_local: MilliSatoshi(700),
            to_remote: MilliSatoshi(300),
            feerate: FeeratePerKw(253),
            htlcs: BTreeMap::new(),
        }
    }

    fn add(offerer: Side, amount: u64, preimage: &Preimage) -> Delta {
        Delta::Add {
            key: HtlcKey {
                offerer,
                id: HtlcId(0),
            },
            htlc: Htlc {
                amount: MilliSatoshi(amount),
                payment_hash: preimage.payment_hash(),
                cltv_expiry: CltvExpiry(500),
            },
        }
    }

    #[test]
    fn an_htlc_moves_money_only_when_fulfilled() {
        let preimage = Preimage([7; 32]);
        let key = HtlcKey {
            offerer: Side::Local,
            id: HtlcId(0),
        };
        let mut l = ledger();
        l.apply(&add(Side::Local, 100, &preimage)).unwrap();
        assert_eq!(
            (l.to_local, l.total()),
            (MilliSatoshi(600), MilliSatoshi(1000))
        );

        let mut failed = l.clone();
        failed.apply(&Delta::Fail { key }).unwrap();
        assert_eq!(failed, ledger());

        l.apply(&Delta::Fulfil { key, preimage }).unwrap();
        assert_eq!(
            (l.to_local, l.to_remote),
            (MilliSatoshi(600), MilliSatoshi(400))
        );
    }

    #[test]
    fn what_does_not_fit_leaves_the_ledger_as_it_was() {
        let preimage = Preimage([7; 32]);
        let key = HtlcKey {
            offerer: Side::Remote,
            id: HtlcId(0),
        };
        let mut l = ledger();
        assert_eq!(
            l.apply(&add(Side::Remote, 301, &preimage)),
            Err(LedgerError::Overdrawn(Side::Remote))
        );
        assert_eq!(
            l.apply(&Delta::Fail { key }),
            Err(LedgerError::Unknown(key))
        );
        assert_eq!(l, ledger());
        l.apply(&add(Side::Remote, 300, &preimage)).unwrap();
        assert_eq!(
            l.apply(&Delta::Fulfil {
                key,
                preimage: Preimage([8; 32])
            }),
            Err(LedgerError::WrongPreimage(key))
        );
        assert_eq!(
            l.apply(&add(Side::Remote, 0, &preimage)),
            Err(LedgerError::Duplicate(key))
        );
    }
}
