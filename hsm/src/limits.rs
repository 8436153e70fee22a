//! What may leave the node without being asked about, as the operator has set it, and what the
//! operator allows beyond it.

use std::fmt;

use bitcoin::ScriptBuf;
use serde::{Deserialize, Serialize};
use wire::units::MAX_SATOSHI;
use wire::{FeeratePerKw, MilliSatoshi, NodeId, PaymentHash, Satoshi};

use crate::refused::Refused;
use hsm_files::UnixTime;

/// What a limit in proportion never falls below.
pub const FLOOR: Satoshi = Satoshi(1_000_000);
/// A limit in proportion is this part of what the node holds.
const PART: u64 = 2;
/// Caps on fees cannot be set outside of these: below, nothing would get into a block.
const FEERATES: (FeeratePerKw, FeeratePerKw) = (FeeratePerKw(1_000), FeeratePerKw(250_000));
const FEES: (Satoshi, Satoshi) = (Satoshi(1_000), Satoshi(10_000_000));

/// The most that leaves in 24 hours without an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Half of what the node holds, and at least [`FLOOR`].
    InProportion,
    Exactly(Satoshi),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::InProportion => write!(f, "half of what it holds and at least {FLOOR}"),
            Limit::Exactly(sum) => write!(f, "{sum}"),
        }
    }
}

impl Limit {
    /// `holds` is what the node holds now; asked for only where it matters.
    pub(crate) fn sum(self, holds: impl FnOnce() -> Satoshi) -> Satoshi {
        match self {
            Limit::InProportion => FLOOR.max(Satoshi(holds().0 / PART)),
            Limit::Exactly(sum) => sum,
        }
    }
}

/// The operator's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// On chain: outputs to others, and fees (W4).
    pub withdraw_per_day: Limit,
    /// Over channels: approved payments with their fees, and what openings push (A1).
    pub pay_per_day: Limit,
    /// Of one transaction (W2), approved or not.
    pub max_feerate: FeeratePerKw,
    pub max_fee: Satoshi,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            withdraw_per_day: Limit::InProportion,
            pay_per_day: Limit::InProportion,
            max_feerate: FeeratePerKw(125_000),
            max_fee: Satoshi(500_000),
        }
    }
}

impl Limits {
    /// # Errors
    /// W2: a cap is out of bounds that nobody can move.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        let (low, high) = FEERATES;
        if self.max_feerate < low || self.max_feerate > high {
            return Err(Refused::Setting("max_feerate is 1000 to 250000 perkw"));
        }
        let (low, high) = FEES;
        if self.max_fee < low || self.max_fee > high {
            return Err(Refused::Setting("max_fee is 1000 to 10000000 sat"));
        }
        let possible = |limit| match limit {
            Limit::InProportion => true,
            Limit::Exactly(sum) => sum.0 <= MAX_SATOSHI,
        };
        if !possible(self.withdraw_per_day) || !possible(self.pay_per_day) {
            return Err(Refused::Setting("there are not so many satoshi"));
        }
        Ok(())
    }
}

/// Of which of the two a sum is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    Withdrawals,
    Payments,
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Allowance::Withdrawals => "the wallet",
            Allowance::Payments => "over channels",
        })
    }
}

/// Where one of the two stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: Satoshi,
    /// In the last 24 hours.
    pub used: MilliSatoshi,
}

impl Standing {
    #[must_use]
    pub fn left(&self) -> MilliSatoshi {
        let limit = self.limit.to_msat().unwrap_or(MilliSatoshi(u64::MAX));
        limit.saturating_sub(self.used)
    }
}

/// An output to somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payout {
    pub script: ScriptBuf,
    pub value: Satoshi,
}

/// What the operator can allow once, whatever the limits are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Approvable {
    /// One transaction that pays others nothing but these scripts, each at most its sum, with a fee
    /// of at most `fee`. Which coins it spends and where its change goes is not said: change is ours.
    Spend { payouts: Vec<Payout>, fee: Satoshi },
    /// A payment over channels, its fees counted.
    Payment {
        hash: PaymentHash,
        amount: MilliSatoshi,
    },
    /// An opening that gives the peer this at once.
    Push { peer: NodeId, amount: MilliSatoshi },
}

/// A request that was above a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// By which the operator finds it.
    pub number: u32,
    pub at: UnixTime,
    /// What would have to be approved.
    pub what: Approvable,
}
