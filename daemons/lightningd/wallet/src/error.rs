//! Why a transaction cannot be built, with the codes that CLN's commands answer with.

use bitcoin::OutPoint;
use wire::{BlockHeight, Satoshi};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error(
        "the {available} coins that may be spent are {short} short of the {needed} that the \
         outputs and the fee need"
    )]
    CannotAfford {
        needed: Satoshi,
        available: usize,
        short: Satoshi,
    },
    #[error("the fee leaves nothing worth sending of the {available} coins that may be spent")]
    NothingLeft { available: usize },
    #[error(
        "this would leave less than {reserve} (min-emergency-msat), which anchor channels need to close safely"
    )]
    EmergencyReserve { reserve: Satoshi },
    #[error("output {index}, {amount}, is dust: nodes relay {limit} or more")]
    Dust {
        index: usize,
        amount: Satoshi,
        limit: Satoshi,
    },
    #[error("'all' can be the amount of one output only")]
    TwoAlls,
    #[error("the amounts add up to more than can exist")]
    Overflow,
    #[error("give at least one output")]
    NoOutputs,
    #[error("{0} is not a coin of this wallet")]
    UnknownUtxo(OutPoint),
    #[error("{0} is given twice")]
    RepeatedUtxo(OutPoint),
    #[error("{0} is spent")]
    SpentUtxo(OutPoint),
    #[error("{outpoint} is reserved until block {until}")]
    ReservedUtxo {
        outpoint: OutPoint,
        until: BlockHeight,
    },
    #[error("{0} cannot be spent yet: it needs more confirmations")]
    LockedUtxo(OutPoint),
    #[error("{0} is an unconfirmed payment from somebody else, who could still take it back")]
    ForeignUnconfirmed(OutPoint),
    #[error(
        "the transaction would have {weight} weight units, more than the {limit} that nodes \
         relay: spend fewer coins at once"
    )]
    TooHeavy { weight: u64, limit: u64 },
}

impl BuildError {
    /// CLN's JSON-RPC error code.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            BuildError::CannotAfford { .. } | BuildError::NothingLeft { .. } => 301,
            BuildError::Dust { .. } => 302,
            BuildError::EmergencyReserve { .. } => 313,
            BuildError::TooHeavy { .. } => -1,
            BuildError::TwoAlls
            | BuildError::Overflow
            | BuildError::NoOutputs
            | BuildError::UnknownUtxo(_)
            | BuildError::RepeatedUtxo(_)
            | BuildError::SpentUtxo(_)
            | BuildError::ReservedUtxo { .. }
            | BuildError::LockedUtxo(_)
            | BuildError::ForeignUnconfirmed(_) => -32602,
        }
    }
}
