//! The rules, and what breaks them. A refusal signs nothing and changes nothing.

use std::fmt;

use bitcoin::OutPoint;
use tx::error::{KeyError, TxError};
use tx::ledger::{HtlcKey, LedgerError};
use wire::{
    ChannelDbid, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, PaymentHash,
    Satoshi, Side,
};

/// Ids as in docs/policy-rules.md. None can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An approval binds hash, amount, payee and expiry.
    A1,
    /// What is answered is on the disk first, and nothing on it can be changed.
    B1,
    /// The files belong together and to this node, and nothing is created beside something old.
    B2,
    /// What is known to be old is never signed again.
    B3,
    /// What is signed is built here.
    C1,
    /// Balances follow from deltas.
    C2,
    /// Reserves hold, and the opener pays the fee.
    C3,
    /// The peer has at most two commitments that are not revoked, and one at each number.
    C4,
    /// A secret leaves only when the next commitment is verified and durable.
    C5,
    /// Our own commitment is signed only if newest, validated and not revoked; closing stays.
    C6,
    /// Feerates, and number, value and expiry of HTLCs are bounded.
    C7,
    /// No digest, transaction or path in any message; kept by their types, so nothing refuses by it.
    D1,
    /// Who asks is the socket.
    D3,
    /// What may be asked in which phase.
    D4,
    /// Announcements are typed and of our chain.
    G1,
    /// An HTLC goes out only for one that came in, or for a payment that was approved.
    H1,
    /// What has paid for another HTLC goes back only when nobody can claim that one.
    H2,
    /// An HTLC leaves as paid only with its preimage.
    H3,
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
    /// The peer has shown that it has a newer state than this signer.
    Stale,
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
    #[error("more than {0} in HTLCs of one side")]
    TooMuchInFlight(MilliSatoshi),
    #[error("HTLC {0:?} is added and removed at once")]
    RemovedAtOnce(HtlcKey),
    #[error("cltv_expiry {0} is no block height")]
    NoHeight(CltvExpiry),
    #[error("a feerate of {feerate} where {most} is the most")]
    Feerate {
        feerate: FeeratePerKw,
        most: FeeratePerKw,
    },
    #[error("HTLCs of more than {0} would have no output")]
    TooMuchDust(MilliSatoshi),
    #[error("{0:?} goes below its reserve")]
    BelowReserve(Side),
    #[error("{htlcs} HTLCs with {tickets} tickets")]
    TicketCount { htlcs: usize, tickets: usize },
    #[error("HTLC {1} of channel {0} is not committed on both sides for good")]
    NotCommitted(ChannelDbid, HtlcId),
    #[error("HTLC {1} of channel {0} has another hash")]
    OtherHash(ChannelDbid, HtlcId),
    #[error("HTLC {1} of channel {0} pays for another HTLC")]
    TicketUsed(ChannelDbid, HtlcId),
    #[error("{outgoing} would go out for {incoming}")]
    TicketAmount {
        incoming: MilliSatoshi,
        outgoing: MilliSatoshi,
    },
    #[error(
        "the outgoing HTLC times out at {outgoing}, too late for the incoming one's {incoming}"
    )]
    TicketExpiry {
        incoming: CltvExpiry,
        outgoing: CltvExpiry,
    },
    #[error("no payment to {0} was approved")]
    NoBudget(PaymentHash),
    #[error("{spent} would have been sent where {limit} was approved")]
    BudgetSpent {
        spent: MilliSatoshi,
        limit: MilliSatoshi,
    },
    #[error("our HTLC {0} is not in the peer's commitment, or not the same")]
    NotOffered(HtlcId),
    #[error("incoming HTLC {0} has paid for one that was fulfilled: it can only be fulfilled")]
    HasPaid(HtlcId),
    #[error("incoming HTLC {0} has paid for one that can still be claimed")]
    StillClaimable(HtlcId),
    #[error("the peer has shown a newer state: this signer was put back to an old copy")]
    Stale,
    #[error("the invoice has expired")]
    InvoiceExpired,
    #[error("another payee was approved for {0}")]
    OtherPayee(PaymentHash),
    #[error("more than {0} payments are approved and not made")]
    TooManyPayments(usize),
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
            Refused::Ledger(LedgerError::WrongPreimage(_)) => Rule::H3,
            Refused::DeltasAtZero
            | Refused::Ledger(_)
            | Refused::DeltasChanged(_)
            | Refused::RemovedAtOnce(_) => Rule::C2,
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
            Refused::TooManyHtlcs(_)
            | Refused::TooMuchInFlight(_)
            | Refused::NoHeight(_)
            | Refused::Feerate { .. }
            | Refused::TooMuchDust(_) => Rule::C7,
            Refused::BelowReserve(_) => Rule::C3,
            Refused::TicketCount { .. }
            | Refused::NotCommitted(..)
            | Refused::OtherHash(..)
            | Refused::TicketUsed(..)
            | Refused::TicketAmount { .. }
            | Refused::TicketExpiry { .. }
            | Refused::NoBudget(_)
            | Refused::BudgetSpent { .. }
            | Refused::NotOffered(_) => Rule::H1,
            Refused::HasPaid(_) | Refused::StillClaimable(_) => Rule::H2,
            Refused::Stale => Rule::B3,
            Refused::InvoiceExpired | Refused::OtherPayee(_) | Refused::TooManyPayments(_) => {
                Rule::A1
            }
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
