//! What has left, what may still leave, and what the operator has said about it (A1, A2, W4).
//!
//! Part of the state: changed by records alone, so that it survives a restart and a compaction.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{OutPoint, ScriptBuf};
use hsm_messages::limits::{Approvable, Limit, Limits, Payout, Standing};
use serde::{Deserialize, Serialize};
use wire::{ChannelDbid, MilliSatoshi, PaymentHash, Satoshi};

use crate::coins::Coins;
use crate::limits::{self, Allowance};
use crate::state::Misfit;
use crate::velocity::Window;
use hsm_files::UnixTime;

/// How long an approval is good for, in seconds: a day.
const APPROVED_FOR: u64 = 24 * 60 * 60;
/// Most approvals at a time; the oldest give way.
const MAX_APPROVALS: usize = 64;
/// Most scripts on the allowlist.
pub(crate) const MAX_ALLOWED: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spending {
    pub(crate) limits: Limits,
    /// Scripts that everything may be paid to (W1, S2).
    pub(crate) allowlist: BTreeSet<ScriptBuf>,
    approvals: Vec<Approval>,
    withdrawals: Window,
    payments: Window,
    /// Of what may be paid: what is charged for whom, as long as it counts.
    charges: BTreeMap<Cause, Charge>,
}

impl Default for Spending {
    fn default() -> Spending {
        Spending {
            limits: limits::DEFAULT,
            allowlist: BTreeSet::new(),
            approvals: Vec::new(),
            withdrawals: Window::default(),
            payments: Window::default(),
            charges: BTreeMap::new(),
        }
    }
}

/// What a sum that is paid over channels is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// What the opening of a channel gives the peer.
    Push(ChannelDbid),
    Payment(PaymentHash),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Charge {
    at: UnixTime,
    amount: MilliSatoshi,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Approval {
    what: Approvable,
    at: UnixTime,
    /// Of an approved transaction that was signed: a coin that it spends. What replaces it spends
    /// the same.
    coin: Option<OutPoint>,
}

impl Approval {
    fn is_good(&self, now: UnixTime) -> bool {
        now.0.saturating_sub(self.at.0) < APPROVED_FOR
    }
}

/// What a transaction takes out of the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// Outputs that are neither ours, nor a channel's, nor on the allowlist.
    pub(crate) payouts: Vec<Payout>,
    pub(crate) fee: Satoshi,
}

impl Leaving {
    pub(crate) fn sum(&self) -> MilliSatoshi {
        let values = self.payouts.iter().map(|payout| payout.value);
        let sum = values.fold(self.fee, Satoshi::saturating_add);
        sum.to_msat().unwrap_or(MilliSatoshi(u64::MAX))
    }

    /// Whether it is what was approved, or less.
    fn is_within(&self, payouts: &[Payout], fee: Satoshi) -> bool {
        let mut left: BTreeMap<&ScriptBuf, Satoshi> = BTreeMap::new();
        for payout in payouts {
            let sum = left.entry(&payout.script).or_default();
            *sum = sum.saturating_add(payout.value);
        }
        let mut paid = self.payouts.iter();
        self.fee <= fee
            && paid.all(|payout| {
                let left = left.get_mut(&payout.script);
                left.is_some_and(|left| match left.checked_sub(payout.value) {
                    Some(rest) => {
                        *left = rest;
                        true
                    }
                    None => false,
                })
            })
    }
}

/// Why something may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Grant {
    /// Within the limit: so much more of it is used, beside what was charged before.
    Charge(MilliSatoshi),
    /// By the approval at this place.
    Approval(u32),
}

/// Neither within the limit nor approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over(pub(crate) Standing);

impl Spending {
    pub(crate) fn standing(
        &self,
        which: Allowance,
        now: UnixTime,
        holds: impl FnOnce() -> Satoshi,
    ) -> Standing {
        let (limit, window) = self.allowance(which);
        limits::standing(limits::sum(limit, holds), window.used(now))
    }

    fn allowance(&self, which: Allowance) -> (Limit, &Window) {
        match which {
            Allowance::Withdrawals => (self.limits.withdraw_per_day, &self.withdrawals),
            Allowance::Payments => (self.limits.pay_per_day, &self.payments),
        }
    }

    /// Whether so much more may leave, where `charged` has been charged for the same before.
    fn within(
        &self,
        which: Allowance,
        amount: MilliSatoshi,
        charged: MilliSatoshi,
        now: UnixTime,
        holds: impl Fn() -> Satoshi,
    ) -> Result<MilliSatoshi, Over> {
        let more = amount.saturating_sub(charged);
        // What the node holds is looked up only where the floor is not enough.
        let least = self.standing(which, now, || Satoshi::ZERO);
        if more <= least.left {
            return Ok(more);
        }
        let standing = self.standing(which, now, holds);
        match more <= standing.left {
            true => Ok(more),
            false => Err(Over(standing)),
        }
    }

    /// W4. Also the coin that the charge stands with.
    pub(crate) fn allow_spend(
        &self,
        leaving: &Leaving,
        coins: &Coins,
        inputs: &[OutPoint],
        now: UnixTime,
        holds: impl Fn() -> Satoshi,
    ) -> Result<Grant, Over> {
        let charged = coins.charged(inputs);
        let charged = charged.map_or(MilliSatoshi::ZERO, |(_, sum)| sum);
        let within = self.within(Allowance::Withdrawals, leaving.sum(), charged, now, holds);
        within.map(Grant::Charge).or_else(|over| {
            self.approval(now, |approval| match &approval.what {
                Approvable::Spend { payouts, fee } => {
                    let same = approval.coin.is_none_or(|coin| inputs.contains(&coin));
                    same && leaving.is_within(payouts, *fee)
                }
                Approvable::Payment { .. } | Approvable::Push { .. } => false,
            })
            .ok_or(over)
        })
    }

    /// A1. `wanted`: in all, for this cause. The same approval serves.
    pub(crate) fn allow_payment(
        &self,
        cause: Cause,
        wanted: &Approvable,
        now: UnixTime,
        holds: impl Fn() -> Satoshi,
    ) -> Result<Grant, Over> {
        let amount = match wanted {
            Approvable::Payment { amount, .. } | Approvable::Push { amount, .. } => *amount,
            Approvable::Spend { .. } => MilliSatoshi::ZERO,
        };
        let charged = self.charged(cause);
        let within = self.within(Allowance::Payments, amount, charged, now, holds);
        within.map(Grant::Charge).or_else(|over| {
            use Approvable::{Payment, Push, Spend};
            let fits = |approval: &Approval| match (&approval.what, wanted) {
                (Payment { hash, amount: most }, Payment { hash: of, .. }) => {
                    hash == of && amount <= *most
                }
                (Push { peer, amount: most }, Push { peer: of, .. }) => {
                    peer == of && amount <= *most
                }
                (Spend { .. } | Payment { .. } | Push { .. }, _) => false,
            };
            self.approval(now, fits).ok_or(over)
        })
    }

    fn approval(&self, now: UnixTime, fits: impl Fn(&Approval) -> bool) -> Option<Grant> {
        let good = |approval: &Approval| approval.is_good(now) && fits(approval);
        let at = self.approvals.iter().position(good)?;
        u32::try_from(at).ok().map(Grant::Approval)
    }

    pub(crate) fn approve(&mut self, at: UnixTime, what: Approvable) {
        self.approvals.retain(|approval| approval.is_good(at));
        while self.approvals.len() >= MAX_APPROVALS {
            self.approvals.remove(0);
        }
        self.approvals.push(Approval {
            what,
            at,
            coin: None,
        });
    }

    /// What a transaction that was signed takes; `coin` is one of those that it spends.
    pub(crate) fn spent(
        &mut self,
        at: UnixTime,
        grant: Grant,
        coin: OutPoint,
    ) -> Result<(), Misfit> {
        match grant {
            Grant::Charge(amount) => {
                self.withdrawals.charge(at, amount);
                Ok(())
            }
            Grant::Approval(place) => {
                let place = usize::try_from(place).ok();
                let approval = place.and_then(|place| self.approvals.get_mut(place));
                let approval = approval.ok_or(Misfit("a spend by no approval"))?;
                approval.coin.get_or_insert(coin);
                Ok(())
            }
        }
    }

    /// What a payment or an opening takes.
    pub(crate) fn paid(&mut self, at: UnixTime, cause: Cause, grant: Grant) -> Result<(), Misfit> {
        match grant {
            Grant::Charge(more) => {
                if self.payments.charge(at, more) {
                    let recent = |charge: &Charge| Window::counts(charge.at, at);
                    self.charges.retain(|_, charge| recent(charge));
                }
                let charge = self.charges.entry(cause).or_default();
                charge.at = at;
                charge.amount = charge.amount.saturating_add(more);
            }
            Grant::Approval(place) => {
                let place = usize::try_from(place).ok();
                let place = place.filter(|place| *place < self.approvals.len());
                let place = place.ok_or(Misfit("a payment by no approval"))?;
                // Each opening is another one; a payment is the same until it is done.
                if let Cause::Push(_) = cause {
                    self.approvals.remove(place);
                }
            }
        }
        Ok(())
    }

    /// Nothing more will leave for it, and `unspent` of what was charged has not.
    pub(crate) fn end(&mut self, cause: Cause, unspent: MilliSatoshi) {
        if let Some(charge) = self.charges.remove(&cause) {
            self.payments.refund(charge.at, unspent.min(charge.amount));
        }
    }

    /// Payments, and what is charged for each.
    pub(crate) fn charged_payments(&self) -> impl Iterator<Item = (PaymentHash, MilliSatoshi)> {
        self.charges
            .iter()
            .filter_map(|(cause, charge)| match cause {
                Cause::Payment(hash) => Some((*hash, charge.amount)),
                Cause::Push(_) => None,
            })
    }

    pub(crate) fn charged(&self, cause: Cause) -> MilliSatoshi {
        let charge = self.charges.get(&cause);
        charge.map_or(MilliSatoshi::ZERO, |charge| charge.amount)
    }
}
