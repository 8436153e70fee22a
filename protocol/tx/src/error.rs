//! What can be wrong with the facts that a transaction is built from.

use bitcoin::OutPoint;
use wire::{CommitmentNumber, MilliSatoshi, Satoshi, Side};

use crate::ledger::HtlcKey;

/// A key or secret that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A hash or sum off the curve's range: happens to nobody by chance.
    #[error("key derivation leaves the curve")]
    OffCurve,
    /// BOLT 3 ends at 2^48-1.
    #[error("commitment number {0} is beyond 2^48-1")]
    NumberOutOfRange(CommitmentNumber),
}

/// Why a transaction could not be built, completed or accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Balances and HTLCs must be the funding value exactly.
    #[error("balances and HTLCs are {ledger}, the funding output {funding}")]
    Unbalanced {
        ledger: MilliSatoshi,
        funding: Satoshi,
    },
    /// The outputs would be more than the funding: the opener cannot pay for the anchors.
    #[error("the opener cannot pay for this commitment")]
    Unaffordable,
    #[error("amounts overflow")]
    Overflow,
    #[error("signature on the transaction does not verify")]
    BadSignature,
    #[error("{got} HTLC signatures for {expected} HTLC outputs")]
    HtlcSignatureCount { expected: usize, got: usize },
    #[error("signature on the transaction of HTLC {0:?} does not verify")]
    BadHtlcSignature(HtlcKey),
    #[error("preimage does not belong to HTLC {0:?}")]
    WrongPreimage(HtlcKey),
    /// A preimage for an HTLC-timeout transaction or none for an HTLC-success transaction.
    #[error("HTLC {0:?} is not claimed this way")]
    WrongHtlcKind(HtlcKey),
    #[error("{0:?} opened the channel and cannot pay a closing fee of {1}")]
    ClosingFee(Side, Satoshi),
    #[error("every output of the closing transaction would be dust")]
    ClosingNoOutputs,
    /// A claim names an output that is not what it says.
    #[error("output {0} is not what the claim says")]
    NotOurs(OutPoint),
    #[error("a transaction of no inputs")]
    Empty,
    /// After the fee nothing would be left that is worth an output.
    #[error("what is left after the fee is dust")]
    Dust,
    #[error("these HTLC transactions cannot be one")]
    Joined,
    #[error("the commitment has no anchor of ours")]
    NoAnchor,
    #[error("the parent is no commitment of this channel")]
    NotACommitment,
    #[error("parent {0} is not there or no transaction: send the whole transaction that is spent")]
    NoParent(u16),
    #[error("{0} claims in one transaction, where {1} are the most: split it")]
    TooManyClaims(usize, usize),
    #[error("the commitment has no output for HTLC {0:?}")]
    NoHtlcOutput(HtlcKey),
    /// An input that the transaction does not have: a defect of ours.
    #[error("no such input to sign")]
    Sighash,
}
