//! The rules, and what breaks them. A refusal signs nothing and changes nothing.

use std::fmt;

use bitcoin::{OutPoint, ScriptBuf};
use headers::HeaderError;
use hsm_messages::limits::Standing;
use invoice::BuildError;
use tx::error::{KeyError, TxError};
use tx::ledger::{HtlcKey, LedgerError};
use wire::{
    BlockHeight, ChannelDbid, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi,
    PaymentHash, Satoshi, Side,
};

use crate::limits::Allowance;

/// Ids as in docs/policy-rules.md. None can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An approval binds hash, amount, payee and expiry; what is paid stays below a limit, or the
    /// operator approved it.
    A1,
    /// What has left is remembered.
    A2,
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
    /// A key signs in its own domains alone.
    D2,
    /// Who asks is the socket.
    D3,
    /// What may be asked in which phase.
    D4,
    /// Announcements are typed; chain, direction and names are the channel's.
    G1,
    /// Timestamps of announcements increase, and follow the clock.
    G2,
    /// Fees and limits are in bounds, and updates are few.
    G3,
    /// An HTLC goes out only for one that came in, or for a payment that was approved.
    H1,
    /// What has paid for another HTLC goes back only when nobody can claim that one.
    H2,
    /// An HTLC leaves as paid only with its preimage.
    H3,
    /// A preimage of ours leaves only for HTLCs that pay.
    H4,
    /// Invoices are of our chain, and each hash is registered once.
    I1,
    /// The handshake's key step is done here.
    K1,
    /// Onions are opened in bounded batches, at a bounded rate.
    K2,
    /// Mutual close: no HTLCs, our script, a capped fee.
    M1,
    /// Secrets are those of a closed list, and a user's own.
    R2,
    /// Setup is immutable and in range.
    S1,
    /// Our shutdown script is ours or on the operator's allowlist.
    S2,
    /// Headers have their work, and what is in a block is proved.
    T1,
    /// Every output of the wallet is ours, a channel's, on the allowlist, approved, or within W4.
    W1,
    /// Fees of wallet transactions.
    W2,
    /// A coin's amount is what was first said.
    W3,
    /// What leaves the wallet in a day stays below a limit.
    W4,
    /// A signature commits to all inputs and outputs.
    W5,
    /// A channel is funded only after our commitment 0 is verified.
    W6,
    /// A funding takes the funding output, change and a fee.
    W7,
    /// Claims on chain are built here, of outputs that are ours, to the channel's own address.
    X1,
    /// The fee of claims.
    X2,
    /// Penalties are of what the peer has revoked.
    X3,
    /// The child of an anchor, and its fee.
    X4,
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
    /// The database was put back, and the peer has not shown the newest state since.
    Recovering,
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
    #[error("the shutdown script is not the one fixed at opening")]
    OtherShutdown,
    #[error(
        "{0:x} is neither a script of this wallet nor on the allowlist; the operator can put it \
         there: lightning-hsmtool allowlist add {0:x}"
    )]
    ForeignScript(ScriptBuf),
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
    #[error(
        "incoming HTLC {0} has paid for one that can still be claimed: wait until both sides have \
         removed that one, or prove by TIP that the chain has ended it 3 blocks ago"
    )]
    StillClaimable(HtlcId),
    #[error("the peer has shown a newer state: this signer was put back to an old copy")]
    Stale,
    #[error(
        "the database was put back: nothing of this channel is signed until its peer has shown its \
         newest state. If the peer never comes back: lightning-hsmtool confirm-recovery --channel"
    )]
    NotShown,
    #[error(
        "the journal is of a backup: only its peer knows whether this is the newest state of channel {0}, \
         and has to close it"
    )]
    Copied(ChannelDbid),
    #[error("no database waits to be confirmed as put back: start the node with --await-recovery")]
    NoRecovery,
    #[error(
        "the words of the seed were shown before: stop the node and use lightning-hsmtool getsecret"
    )]
    MnemonicShown,
    #[error(
        "the seed is not of words, or under a passphrase: stop the node and use lightning-hsmtool \
         getsecret, or keep a copy of hsm_secret"
    )]
    NoMnemonic,
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
    #[error("channel {0} has asked for too many shared secrets lately")]
    TooManyPoints(ChannelDbid),
    #[error("no address of this wallet has index {0}")]
    NoAddress(u32),
    #[error("all addresses are used up")]
    NoMoreAddresses,
    #[error("inputs are {inputs}, outputs {outputs}")]
    OutputsExceedInputs { inputs: Satoshi, outputs: Satoshi },
    #[error("no input, no output, or amounts out of range")]
    EmptySpend,
    #[error(
        "a fee of {fee} is above the cap of {most}; the operator can move it: lightning-hsmtool \
         set-limits --max-fee {fee_sat}", fee_sat = fee.0
    )]
    SpendFee { fee: Satoshi, most: Satoshi },
    #[error(
        "a feerate of {feerate} is above the cap of {most}; the operator can move it: \
         lightning-hsmtool set-limits --max-feerate {rate}", rate = feerate.0
    )]
    SpendFeerate {
        feerate: FeeratePerKw,
        most: FeeratePerKw,
    },
    #[error("{0}")]
    Setting(&'static str),
    #[error("more than 256 outputs to others, or one with a script of more than 83 bytes")]
    OddOutputs,
    #[error("{0} cannot be on the allowlist")]
    NotAllowable(&'static str),
    #[error(transparent)]
    OverLimit(#[from] Box<OverLimit>),
    #[error("coin {0} comes twice")]
    CoinTwice(OutPoint),
    #[error("coin {0} had another amount before")]
    CoinChanged(OutPoint),
    #[error(
        "an output to channel {0} is not its funding output, or its commitment 0 is not verified"
    )]
    FundingTooEarly(ChannelDbid),
    #[error("{0}")]
    Update(UpdateFault),
    #[error("there is no timestamp above the last one")]
    NoMoreTimestamps,
    #[error("channel {0} had too many updates lately")]
    TooManyUpdates(ChannelDbid),
    #[error("it is for another chain")]
    OtherChainInvoice,
    #[error("{0}")]
    Fields(BuildError),
    #[error("another invoice was signed for payment hash {0}")]
    HashRegistered(PaymentHash),
    #[error("the preimage of payment hash {0} is not where the request says")]
    PreimageHolder(PaymentHash),
    #[error("{0} invoices can still be paid, and no more are taken: let some expire")]
    TooManyInvoices(usize),
    #[error("no preimage of this signer's is registered for payment hash {0}")]
    NotOurPreimage(PaymentHash),
    #[error("no backup that was sealed under this seed, or it was changed since")]
    NotOurBackup,
    #[error("the system has no random bytes")]
    NoRandom,
    #[error("channel {0} is known here already")]
    ChannelKnown(ChannelDbid),
    #[error("a label of {0} bytes is too long")]
    LabelTooLong(usize),
    #[error("a text of {0} bytes is too long")]
    TextTooLong(usize),
    #[error("{0}")]
    Claim(TxError),
    #[error(
        "a fee of {fee} where {most} is the most: half of what it is paid for, and never above the \
         cap that the operator can move: lightning-hsmtool set-limits --max-fee {fee_sat}",
         fee_sat = fee.0
    )]
    ClaimFee {
        rule: Rule,
        fee: Satoshi,
        most: Satoshi,
    },
    #[error("the secret of the peer's commitment {0} is not known here: it has not revoked it")]
    NotPunishable(CommitmentNumber),
    #[error("our commitment was not signed for broadcast: ask for ForceClose first")]
    NotBroadcast,
    #[error("{0}")]
    Chain(#[from] HeaderError),
    #[error(
        "it spends neither the channel's funding output nor an HTLC output of the commitment that \
         is proved to have spent it: prove that one first"
    )]
    NothingSpent,
    #[error("the newest block that is known here is {} minutes old: give the headers since", .0 / 60)]
    OldTip(u64),
    #[error("an HTLC that times out at {cltv_expiry}, where block {tip} is known already")]
    TimedOut {
        cltv_expiry: CltvExpiry,
        tip: BlockHeight,
    },
    #[error("{committed} of {amount} is committed")]
    NotPaid {
        committed: MilliSatoshi,
        amount: MilliSatoshi,
    },
}

/// What is wrong with a channel_update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateFault {
    #[error("it is for another chain")]
    Chain,
    #[error("it is not for our direction")]
    Direction,
    #[error("flags or fields that are not known")]
    Flags,
    #[error("the channel has had too many names")]
    Names,
    #[error("htlc_minimum_msat is above htlc_maximum_msat")]
    MinimumAboveMaximum,
    #[error("htlc_maximum_msat is above the channel's capacity")]
    AboveCapacity,
    #[error("the fees are out of bounds")]
    Fees,
    #[error("cltv_expiry_delta is out of bounds")]
    CltvDelta,
}

impl UpdateFault {
    fn rule(self) -> Rule {
        match self {
            UpdateFault::Chain
            | UpdateFault::Direction
            | UpdateFault::Flags
            | UpdateFault::Names => Rule::G1,
            UpdateFault::MinimumAboveMaximum
            | UpdateFault::AboveCapacity
            | UpdateFault::Fees
            | UpdateFault::CltvDelta => Rule::G3,
        }
    }
}

/// More than a limit leaves to something that nobody approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{amount} would leave {which}, and {left} is left of the {limit} that may in 24 hours; the \
     operator can allow it: lightning-hsmtool approve {number}",
    limit = standing.limit,
    left = standing.left
)]
pub struct OverLimit {
    pub rule: Rule,
    pub which: Allowance,
    pub amount: MilliSatoshi,
    pub standing: Standing,
    /// By which the operator finds it.
    pub number: u32,
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
            | Refused::NoRecovery
            | Refused::AlreadyOpen(_) => Rule::D4,
            Refused::NotOurKey(_)
            | Refused::SetupChanged
            | Refused::ChannelKnown(_)
            | Refused::FundingChanged
            | Refused::NoFunding
            | Refused::OutOfRange(_) => Rule::S1,
            Refused::ForeignScript(_) | Refused::OtherShutdown => Rule::S2,
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
            | Refused::TimedOut { .. }
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
            Refused::NotShown | Refused::Copied(_) => Rule::B2,
            Refused::InvoiceExpired | Refused::OtherPayee(_) | Refused::TooManyPayments(_) => {
                Rule::A1
            }
            Refused::NotSettled | Refused::CloseFee { .. } | Refused::CloseSignature => Rule::M1,
            Refused::Batch(_) | Refused::TooManyPoints(_) => Rule::K2,
            Refused::OutputsExceedInputs { .. }
            | Refused::EmptySpend
            | Refused::SpendFee { .. }
            | Refused::SpendFeerate { .. }
            | Refused::Setting(_) => Rule::W2,
            Refused::NotAllowable(_) | Refused::OddOutputs => Rule::W1,
            Refused::OverLimit(over) => over.rule,
            Refused::NoAddress(_)
            | Refused::NoMoreAddresses
            | Refused::CoinTwice(_)
            | Refused::CoinChanged(_) => Rule::W3,
            Refused::FundingTooEarly(_) => Rule::W6,
            Refused::Update(fault) => fault.rule(),
            Refused::NoMoreTimestamps => Rule::G2,
            Refused::TooManyUpdates(_) => Rule::G3,
            Refused::OtherChainInvoice
            | Refused::Fields(_)
            | Refused::HashRegistered(_)
            | Refused::PreimageHolder(_)
            | Refused::TooManyInvoices(_) => Rule::I1,
            Refused::NotOurBackup
            | Refused::NoRandom
            | Refused::LabelTooLong(_)
            | Refused::MnemonicShown
            | Refused::NoMnemonic => Rule::R2,
            Refused::TextTooLong(_) => Rule::D2,
            Refused::NotOurPreimage(_) | Refused::NotPaid { .. } => Rule::H4,
            Refused::Claim(TxError::NoAnchor | TxError::NotACommitment) | Refused::NotBroadcast => {
                Rule::X4
            }
            Refused::Claim(_) => Rule::X1,
            Refused::Chain(_) | Refused::NothingSpent | Refused::OldTip(_) => Rule::T1,
            Refused::ClaimFee { rule, .. } => *rule,
            Refused::NotPunishable(_) => Rule::X3,
        }
    }
}
