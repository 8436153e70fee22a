//! The rules, and what breaks them. A refusal signs nothing and changes nothing.

use std::fmt;

use bitcoin::OutPoint;
use tx::error::{KeyError, TxError};
use tx::ledger::LedgerError;
use wire::{ChannelDbid, CommitmentNumber, Satoshi};

/// Ids as in docs/policy-rules.md. None can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// What is answered is on the disk first, and nothing on it can be changed.
    B1,
    /// The files belong together and to this node, and nothing is created beside something old.
    B2,
    /// What is signed is built here.
    C1,
    /// Balances follow from deltas.
    C2,
    /// The peer has at most two commitments that are not revoked, and one at each number.
    C4,
    /// A secret leaves only when the next commitment is verified and durable.
    C5,
    /// Our own commitment is signed only if newest, validated and not revoked; closing stays.
    C6,
    /// Numbers of HTLCs are bounded.
    C7,
    /// Who asks is the socket.
    D3,
    /// What may be asked in which phase.
    D4,
    /// Announcements are typed and of our chain.
    G1,
    /// Invoices are of our chain.
    I1,
    /// The handshake's key step is done here.
    K1,
    /// Batches are bounded.
    K2,
    /// Mutual close: no HTLCs, our script, a capped fee.
    M1,
    /// Setup is immutable and in range.
    S1,
    /// Our shutdown script is ours.
    S2,
    /// Fees of wallet transactions.
    W2,
    /// A coin's amount is what was first said.
    W3,
    /// A channel is funded only after our commitment 0 is verified.
    W6,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a channel stands, as hsmd knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Its keys exist.
    Stub,
    /// Its terms are fixed; not both first commitments are signed.
    Opening,
    /// Both sides' first commitments are signed.
    Active,
    /// A mutual close was signed.
    Closing,
    /// Our own commitment was signed.
    Onchain,
}

/// Which rule a request breaks, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no channel {0}")]
    NoChannel(ChannelDbid),
    #[error("channel {0} may have a funding output on chain")]
    HasFunding(ChannelDbid),
    #[error("{request} is not for a channel in phase {phase:?}")]
    Phase { request: &'static str, phase: Phase },
    #[error("{request} is not for the role {role}")]
    OtherRole {
        request: &'static str,
        role: &'static str,
    },
    #[error("{0} comes before the keys are open")]
    NotOpen(&'static str),
    #[error("{0} comes when the keys are open already")]
    AlreadyOpen(&'static str),
    #[error("{0} names no channel")]
    NoChannelNamed(&'static str),
    #[error("{0} of the setup is not what this signer gave out")]
    NotOurKey(&'static str),
    #[error("the channel's terms were fixed before and differ")]
    SetupChanged,
    #[error("the funding output was fixed before and differs")]
    FundingChanged,
    #[error("no funding output was fixed")]
    NoFunding,
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    #[error("the shutdown script is not one of this wallet's, or not the one fixed at opening")]
    ForeignScript,
    #[error("commitment 0 takes no deltas")]
    DeltasAtZero,
    #[error("commitment {got} of this side, where {newest:?} is the newest")]
    WrongNumber {
        got: CommitmentNumber,
        newest: Option<CommitmentNumber>,
    },
    #[error("commitment {0} was signed with another point")]
    PointChanged(CommitmentNumber),
    #[error("commitment {0} was made from other deltas before")]
    DeltasChanged(CommitmentNumber),
    #[error("the peer has not revoked commitment {0}")]
    NotRevokedByPeer(CommitmentNumber),
    #[error("the other side's commitment 0 is still missing")]
    OpeningIncomplete,
    #[error("a mutual close was signed: no new commitment")]
    ClosingStays,
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Signature(TxError),
    #[error("{0}")]
    Build(TxError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("more than {0} HTLCs of one side")]
    TooManyHtlcs(u16),
    #[error("commitment {0} of the peer is its newest, or was never signed")]
    NotReplaced(CommitmentNumber),
    #[error("the secret of commitment {0} does not belong to its point or to the secrets before")]
    WrongSecret(CommitmentNumber),
    #[error("point {got} is beyond {last}")]
    PointTooFar {
        got: CommitmentNumber,
        last: CommitmentNumber,
    },
    #[error("our commitment {0} is not revoked")]
    NotRevoked(CommitmentNumber),
    #[error("no commitment of ours was validated")]
    NothingValidated,
    #[error("HTLCs are pending or the two newest commitments differ")]
    NotSettled,
    #[error("a fee of {fee} for the mutual close is more than {most}")]
    CloseFee { fee: Satoshi, most: Satoshi },
    #[error("the peer's signature on the mutual close does not verify")]
    CloseSignature,
    #[error("{0} points in one batch")]
    Batch(usize),
    #[error("no address of this wallet has index {0}")]
    NoAddress(u32),
    #[error("all addresses are used up")]
    NoMoreAddresses,
    #[error("inputs are {inputs}, outputs {outputs}")]
    OutputsExceedInputs { inputs: Satoshi, outputs: Satoshi },
    #[error("no input, no output, or amounts out of range")]
    EmptySpend,
    #[error("coin {0} comes twice")]
    CoinTwice(OutPoint),
    #[error("coin {0} had another amount before")]
    CoinChanged(OutPoint),
    #[error(
        "an output to channel {0} is not its funding output, or its commitment 0 is not verified"
    )]
    FundingTooEarly(ChannelDbid),
    #[error("it is for another chain")]
    OtherChain,
    #[error("it is for another chain")]
    OtherChainInvoice,
}

impl Refused {
    /// The rule that it is about.
    #[must_use]
    pub fn rule(&self) -> Rule {
        match self {
            Refused::NoChannel(_) | Refused::NoChannelNamed(_) => Rule::D3,
            Refused::Phase { .. }
            | Refused::HasFunding(_)
            | Refused::OtherRole { .. }
            | Refused::NotOpen(_)
            | Refused::AlreadyOpen(_) => Rule::D4,
            Refused::NotOurKey(_)
            | Refused::SetupChanged
            | Refused::FundingChanged
            | Refused::NoFunding
            | Refused::OutOfRange(_) => Rule::S1,
            Refused::ForeignScript => Rule::S2,
            Refused::Build(_) | Refused::Key(_) => Rule::C1,
            Refused::DeltasAtZero | Refused::Ledger(_) | Refused::DeltasChanged(_) => Rule::C2,
            Refused::WrongNumber { .. }
            | Refused::PointChanged(_)
            | Refused::NotRevokedByPeer(_)
            | Refused::OpeningIncomplete
            | Refused::NotReplaced(_)
            | Refused::WrongSecret(_) => Rule::C4,
            Refused::Signature(_) | Refused::PointTooFar { .. } | Refused::NotRevoked(_) => {
                Rule::C5
            }
            Refused::ClosingStays | Refused::NothingValidated => Rule::C6,
            Refused::TooManyHtlcs(_) => Rule::C7,
            Refused::NotSettled | Refused::CloseFee { .. } | Refused::CloseSignature => Rule::M1,
            Refused::Batch(_) => Rule::K2,
            Refused::OutputsExceedInputs { .. } | Refused::EmptySpend => Rule::W2,
            Refused::NoAddress(_)
            | Refused::NoMoreAddresses
            | Refused::CoinTwice(_)
            | Refused::CoinChanged(_) => Rule::W3,
            Refused::FundingTooEarly(_) => Rule::W6,
            Refused::OtherChain => Rule::G1,
            Refused::OtherChainInvoice => Rule::I1,
        }
    }
}
