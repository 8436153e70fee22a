//! What breaks a rule. A refusal signs nothing and changes nothing.

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
use crate::rules::Rule;

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

/// The refusals in words, each under the rule that it keeps; those of more than one rule say which.
macro_rules! refusals {
    (
        $($rule:ident {
            $($name:ident $(($($tuple:tt)*))? $({$($field:tt)*})? = $says:literal $(, $arg:ident = $value:expr)*;)*
        })*
        [of several] {
            $($other:ident {$($of:tt)*} = $said:literal $(, $with:ident = $worth:expr)*;)*
        }
    ) => {
        /// Which rule a request breaks, and how.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Refused {
            $($(#[error($says $(, $arg = $value)*)] $name $(($($tuple)*))? $({$($field)*})?,)*)*
            $(#[error($said $(, $with = $worth)*)] $other {$($of)*},)*
        }

        impl Refused {
            /// The rule that it is about.
            #[must_use]
            pub fn rule(&self) -> Rule {
                match self {
                    $($(Refused::$name { .. } => Rule::$rule,)*)*
                    $(Refused::$other { rule, .. } => *rule,)*
                }
            }
        }
    };
}

refusals! {
    D2 {
        TextTooLong(usize) = "a text of {0} bytes is too long";
    }
    D3 {
        NoChannel(ChannelDbid) = "no channel {0}";
        NoChannelNamed(&'static str) = "{0} names no channel";
        NoSeat = "CHAN and ONCHAIN are for one channel, and no other role is";
        NoSocket(String) = "the socket cannot be used: {0}";
    }
    D4 {
        HasFunding(ChannelDbid) =
            "channel {0} may have a funding output on chain, and no spend of it is proved that is 100 \
             blocks deep";
        Phase { request: &'static str, phase: Phase } =
            "{request} is not for a channel in phase {phase:?}";
        OtherRole { request: &'static str, role: &'static str } =
            "{request} is not for the role {role}";
        NotOpen(&'static str) = "{0} comes before the keys are open";
        AlreadyOpen(&'static str) = "{0} comes when the keys are open already";
        NoRecovery =
            "no database waits to be confirmed as put back: start the node with --await-recovery";
    }
    R2 {
        LabelTooLong(usize) = "a label of {0} bytes is too long";
        MnemonicShown =
            "the words of the seed were shown before: stop the node and use lightning-hsmtool \
             getsecret";
        NoMnemonic =
            "the seed is not of words, or under a passphrase: stop the node and use \
             lightning-hsmtool getsecret, or keep a copy of hsm_secret";
        NotOurBackup = "no backup that was sealed under this seed, or it was changed since";
        NoRandom = "the system has no random bytes";
    }
    B2 {
        NotShown =
            "the database was put back: nothing of this channel is signed until its peer has shown \
             its newest state. If the peer never comes back: lightning-hsmtool confirm-recovery \
             --channel";
        Copied(ChannelDbid) =
            "the journal is of a backup: only its peer knows whether this is the newest state of \
             channel {0}, and has to close it";
    }
    B3 {
        Stale = "the peer has shown a newer state: this signer was put back to an old copy";
    }
    S1 {
        NotOurKey(&'static str) = "{0} of the setup is not what this signer gave out";
        SetupChanged = "the channel's terms were fixed before and differ";
        FundingChanged = "the funding output was fixed before and differs";
        NoFunding = "no funding output was fixed";
        OutOfRange(&'static str) = "{0} is out of range";
        ChannelKnown(ChannelDbid) = "channel {0} is known here already";
    }
    S2 {
        OtherShutdown = "the shutdown script is not the one fixed at opening";
        ForeignScript(ScriptBuf) =
            "{0:x} is neither a script of this wallet nor on the allowlist; the operator can put it \
             there: lightning-hsmtool allowlist add {0:x}";
    }
    C1 {
        Build(#[from] TxError) = "{0}";
        Key(#[from] KeyError) = "{0}";
    }
    C2 {
        Ledger(LedgerError) = "{0}";
        DeltasAtZero = "commitment 0 takes no deltas";
        DeltasChanged(CommitmentNumber) = "commitment {0} was made from other deltas before";
        RemovedAtOnce(HtlcKey) = "HTLC {0:?} is added and removed at once";
    }
    C3 {
        BelowReserve(Side) = "{0:?} goes below its reserve";
    }
    C4 {
        WrongNumber { got: CommitmentNumber, newest: Option<CommitmentNumber> } =
            "commitment {got} of this side, where {newest:?} is the newest";
        PointChanged(CommitmentNumber) = "commitment {0} was signed with another point";
        NotRevokedByPeer(CommitmentNumber) = "the peer has not revoked commitment {0}";
        OpeningIncomplete = "the other side's commitment 0 is still missing";
        NotReplaced(CommitmentNumber) =
            "commitment {0} of the peer is its newest, or was never signed";
        WrongSecret(CommitmentNumber) =
            "the secret of commitment {0} does not belong to its point or to the secrets before";
    }
    C5 {
        Signature(TxError) = "{0}";
        PointTooFar { got: CommitmentNumber, last: CommitmentNumber } =
            "point {got} is beyond {last}";
        NotRevoked(CommitmentNumber) = "our commitment {0} is not revoked";
    }
    C6 {
        ClosingStays = "a mutual close was signed: no new commitment";
        NothingValidated = "no commitment of ours was validated";
    }
    C7 {
        TooManyHtlcs(u16) = "more than {0} HTLCs of one side";
        TooMuchInFlight(MilliSatoshi) = "more than {0} in HTLCs of one side";
        NoHeight(CltvExpiry) = "cltv_expiry {0} is no block height";
        TimedOut { cltv_expiry: CltvExpiry, tip: BlockHeight } =
            "an HTLC that times out at {cltv_expiry}, where block {tip} is known already";
        Feerate { feerate: FeeratePerKw, most: FeeratePerKw } =
            "a feerate of {feerate} where {most} is the most";
        TooMuchDust(MilliSatoshi) = "HTLCs of more than {0} would have no output";
    }
    H1 {
        TicketCount { htlcs: usize, tickets: usize } = "{htlcs} HTLCs with {tickets} tickets";
        NotCommitted(ChannelDbid, HtlcId) =
            "HTLC {1} of channel {0} is not committed on both sides for good";
        OtherHash(ChannelDbid, HtlcId) = "HTLC {1} of channel {0} has another hash";
        TicketUsed(ChannelDbid, HtlcId) = "HTLC {1} of channel {0} pays for another HTLC";
        TicketSpent(ChannelDbid, HtlcId) =
            "HTLC {1} of channel {0} is on chain, where that channel was closed";
        TicketAmount { incoming: MilliSatoshi, outgoing: MilliSatoshi } =
            "{outgoing} would go out for {incoming}";
        TicketExpiry { incoming: CltvExpiry, outgoing: CltvExpiry } =
            "the outgoing HTLC times out at {outgoing}, too late for the incoming one's {incoming}";
        NoBudget(PaymentHash) = "no payment to {0} was approved";
        BudgetSpent { spent: MilliSatoshi, limit: MilliSatoshi } =
            "{spent} would have been sent where {limit} was approved";
        NotOffered(HtlcId) = "our HTLC {0} is not in the peer's commitment, or not the same";
    }
    H2 {
        HasPaid(HtlcId) =
            "incoming HTLC {0} has paid for one that was fulfilled: it can only be fulfilled";
        StillClaimable(HtlcId) =
            "incoming HTLC {0} has paid for one that can still be claimed: wait until both sides \
             have removed that one, or prove by TIP that the chain has ended it 3 blocks ago";
        PaidFor(ChannelDbid) =
            "an HTLC of channel {0} can still be claimed, and what has paid for it can still fail";
    }
    H3 {
        WrongPreimage(LedgerError) = "{0}";
    }
    H4 {
        NotOurPreimage(PaymentHash) =
            "no preimage of this signer's is registered for payment hash {0}";
        NotPaid { committed: MilliSatoshi, amount: MilliSatoshi } =
            "{committed} of {amount} is committed";
    }
    A1 {
        BadInvoice(String) = "{0}";
        InvoiceExpired = "the invoice has expired";
        OtherPayee(PaymentHash) = "another payee was approved for {0}";
        TooManyPayments(usize) = "more than {0} payments are approved and not made";
    }
    M1 {
        NotSettled = "HTLCs are pending or the two newest commitments differ";
        CloseFee { fee: Satoshi, most: Satoshi } =
            "a fee of {fee} for the mutual close is more than {most}";
        CloseSignature = "the peer's signature on the mutual close does not verify";
    }
    K2 {
        Batch(usize) = "{0} points in one batch";
        TooManyPoints(ChannelDbid) = "channel {0} has asked for too many shared secrets lately";
    }
    W1 {
        OddOutputs =
            "more than 256 outputs to others, or one with a script of more than 83 bytes";
        NotAllowable(&'static str) = "{0} cannot be on the allowlist";
    }
    W2 {
        OutputsExceedInputs { inputs: Satoshi, outputs: Satoshi } =
            "inputs are {inputs}, outputs {outputs}";
        EmptySpend = "no input, no output, or amounts out of range";
        SpendFee { fee: Satoshi, most: Satoshi } =
            "a fee of {fee} is above the cap of {most}; the operator can move it: \
             lightning-hsmtool set-limits --max-fee {sat}", sat = fee.0;
        SpendFeerate { feerate: FeeratePerKw, most: FeeratePerKw } =
            "a feerate of {feerate} is above the cap of {most}; the operator can move it: \
             lightning-hsmtool set-limits --max-feerate {rate}", rate = feerate.0;
        Setting(&'static str) = "{0}";
    }
    W3 {
        NoAddress(u32) = "no address of this wallet has index {0}";
        NoMoreAddresses = "all addresses are used up";
        CoinTwice(OutPoint) = "coin {0} comes twice";
        CoinChanged(OutPoint) = "coin {0} had another amount before";
    }
    W6 {
        FundingTooEarly(ChannelDbid) =
            "an output to channel {0} is not its funding output, or its commitment 0 is not \
             verified";
    }
    G1 {
        UpdateChain = "it is for another chain";
        UpdateDirection = "it is not for our direction";
        UpdateFlags = "flags or fields that are not known";
        UpdateNames = "the channel has had too many names";
    }
    G2 {
        NoMoreTimestamps = "there is no timestamp above the last one";
    }
    G3 {
        MinimumAboveMaximum = "htlc_minimum_msat is above htlc_maximum_msat";
        AboveCapacity = "htlc_maximum_msat is above the channel's capacity";
        UpdateFees = "the fees are out of bounds";
        UpdateCltvDelta = "cltv_expiry_delta is out of bounds";
        TooManyUpdates(ChannelDbid) = "channel {0} had too many updates lately";
    }
    I1 {
        OtherChainInvoice = "it is for another chain";
        Fields(#[from] BuildError) = "{0}";
        HashRegistered(PaymentHash) = "another invoice was signed for payment hash {0}";
        PreimageHolder(PaymentHash) =
            "the preimage of payment hash {0} is not where the request says";
        TooManyInvoices(usize) =
            "{0} invoices can still be paid, and no more are taken: let some expire";
    }
    X1 {
        Claim(TxError) = "{0}";
    }
    X3 {
        NotPunishable(CommitmentNumber) =
            "the secret of the peer's commitment {0} is not known here: it has not revoked it";
    }
    X4 {
        Anchor(TxError) = "{0}";
        NotBroadcast = "our commitment was not signed for broadcast: ask for ForceClose first";
    }
    T1 {
        Chain(#[from] HeaderError) = "{0}";
        NothingSpent =
            "it spends neither the channel's funding output nor an HTLC output of the commitment \
             that is proved to have spent it: prove that one first";
        OldTip { minutes: u64 } =
            "the newest block that is known here is {minutes} minutes old: give the headers since";
    }
    [of several] {
        // X2, X4
        ClaimFee { rule: Rule, fee: Satoshi, most: Satoshi } =
            "a fee of {fee} where {most} is the most: half of what it is paid for, and never above \
             the cap that the operator can move: lightning-hsmtool set-limits --max-fee {sat}",
            sat = fee.0;
        // A1, W1, W4: more than a limit leaves to something that nobody approved. By the number the
        // operator finds it.
        OverLimit {
            rule: Rule, which: Allowance, amount: MilliSatoshi, standing: Standing, number: u32
        } =
            "{amount} would leave {which}, and {left} is left of the {limit} that may in 24 hours; \
             the operator can allow it: lightning-hsmtool approve {number}",
            limit = standing.limit, left = standing.left;
    }
}

impl From<LedgerError> for Refused {
    fn from(error: LedgerError) -> Refused {
        match error {
            LedgerError::WrongPreimage(_) => Refused::WrongPreimage(error),
            LedgerError::Overdrawn(_)
            | LedgerError::Duplicate(_)
            | LedgerError::Unknown(_)
            | LedgerError::Overflow => Refused::Ledger(error),
        }
    }
}
