//! What may leave the node, in the words of OPERATOR. `Limits` and `Approvable` stand in hsmd's journal
//! too: their variants are only ever added at the end, and their fields never change.

use std::fmt;

use bitcoin::ScriptBuf;
use serde::{Deserialize, Serialize};
use wire::{ChainHash, FeeratePerKw, MilliSatoshi, NodeId, PaymentHash, Satoshi};

/// The most that leaves in 24 hours without an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Half of what the node holds, and at least 1,000,000 sat.
    InProportion,
    Exactly(Satoshi),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::InProportion => f.write_str("half of what it holds and at least 1000000 sat"),
            Limit::Exactly(sum) => write!(f, "{sum}"),
        }
    }
}

/// The operator's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// On chain: outputs to others, and fees.
    pub withdraw_per_day: Limit,
    /// Over channels: approved payments with their fees, and what openings push.
    pub pay_per_day: Limit,
    /// Of one transaction, approved or not: 1,000 to 250,000.
    pub max_feerate: FeeratePerKw,
    /// 1,000 to 10,000,000 sat.
    pub max_fee: Satoshi,
}

/// Limits, and where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// In whose addresses scripts are shown.
    pub chain_hash: ChainHash,
    pub limits: Limits,
    /// Our side of open channels, and the wallet's coins, as lightningd has told of them.
    pub holds: Satoshi,
    pub withdrawals: Standing,
    pub payments: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub limit: Satoshi,
    /// In the last 24 hours.
    pub used: MilliSatoshi,
    pub left: MilliSatoshi,
}

/// An output to somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payout {
    pub script: ScriptBuf,
    pub value: Satoshi,
}

/// What can be allowed once, whatever the limits are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Approvable {
    /// One transaction that pays others nothing but these scripts, each at most its sum, with a fee
    /// of at most `fee`, and what replaces it.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// As the error said it.
    pub number: u32,
    /// Seconds since the epoch.
    pub at: u64,
    /// What would have to be approved.
    pub what: Approvable,
}
