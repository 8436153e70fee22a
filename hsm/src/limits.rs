//! What may leave the node without being asked about, as the operator has set it, and what the
//! operator allows beyond it.

use std::fmt;

use hsm_messages::limits::{Limit, Limits, Standing};
use wire::units::MAX_SATOSHI;
use wire::{FeeratePerKw, MilliSatoshi, Satoshi};

use crate::refused::Refused;

/// What a limit in proportion never falls below.
pub const FLOOR: Satoshi = Satoshi(1_000_000);
/// A limit in proportion is this part of what the node holds.
const PART: u64 = 2;
/// Caps on fees cannot be set outside of these: below, nothing would get into a block.
const FEERATES: (FeeratePerKw, FeeratePerKw) = (FeeratePerKw(1_000), FeeratePerKw(250_000));
const FEES: (Satoshi, Satoshi) = (Satoshi(1_000), Satoshi(10_000_000));

/// Before the operator has set any.
pub const DEFAULT: Limits = Limits {
    withdraw_per_day: Limit::InProportion,
    pay_per_day: Limit::InProportion,
    max_feerate: FeeratePerKw(125_000),
    max_fee: tx::limits::MAX_FEE,
};

/// `holds` is what the node holds now; asked for only where it matters.
pub(crate) fn sum(limit: Limit, holds: impl FnOnce() -> Satoshi) -> Satoshi {
    match limit {
        Limit::InProportion => FLOOR.max(Satoshi(holds().0 / PART)),
        Limit::Exactly(sum) => sum,
    }
}

/// # Errors
/// W2: a cap is out of bounds that nobody can move.
pub(crate) fn check(limits: &Limits) -> Result<(), Refused> {
    let (low, high) = FEERATES;
    if limits.max_feerate < low || limits.max_feerate > high {
        return Err(Refused::Setting("max_feerate is 1000 to 250000 perkw"));
    }
    let (low, high) = FEES;
    if limits.max_fee < low || limits.max_fee > high {
        return Err(Refused::Setting("max_fee is 1000 to 10000000 sat"));
    }
    let possible = |limit| match limit {
        Limit::InProportion => true,
        Limit::Exactly(sum) => sum.0 <= MAX_SATOSHI,
    };
    if !possible(limits.withdraw_per_day) || !possible(limits.pay_per_day) {
        return Err(Refused::Setting("there are not so many satoshi"));
    }
    Ok(())
}

/// Where one of the two stands; `used`: in the last 24 hours.
pub(crate) fn standing(limit: Satoshi, used: MilliSatoshi) -> Standing {
    let most = limit.to_msat().unwrap_or(MilliSatoshi(u64::MAX));
    Standing {
        limit,
        used,
        left: most.saturating_sub(used),
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
