//! What a channel reacts to and what it asks for.

use bitcoin::{OutPoint, ScriptBuf};
use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use tx::ledger::{Htlc, HtlcKey};
use tx::setup::{Funding, Setup};
use tx::signer;
use wire::{
    BlockDelta, BlockHeight, ChannelDbid, ChannelId, FeeratePerKw, HtlcId, MilliSatoshi, NodeId,
    PaymentHash, Preimage, Satoshi, ShortChannelId,
};

use crate::state::{HtlcRecord, Live};

/// Why an outgoing HTLC exists. Stored with it, so that its end finds its beginning after any crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// A part of a payment of ours (CLN's payment_hash, groupid, partid).
    Payment {
        payment_hash: PaymentHash,
        groupid: u64,
        partid: u64,
    },
    /// An HTLC that came in on another channel.
    Forward { channel: ChannelDbid, id: HtlcId },
}

/// Of a peer's error for an HTLC so many bytes are kept, eight times what BOLT 4, Returning Errors, makes the least.
/// Errors stand with their HTLCs, and all of a channel's have to fit one message to its process; one that is longer
/// than any node makes is cut, so that its payer cannot read it.
pub const MAX_REASON: usize = 2_048;

/// How an HTLC ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    Fulfil {
        preimage: Preimage,
    },
    /// `reason` is the onion-encrypted error (BOLT 4, Returning Errors).
    Fail {
        #[serde(with = "serde_bytes")]
        reason: Vec<u8>,
    },
    /// The onion could not be read (BOLT 2, update_fail_malformed_htlc).
    Malformed {
        sha256_of_onion: [u8; 32],
        failure_code: u16,
    },
}

/// What happens to a channel.
#[allow(clippy::large_enum_variant)] // short-lived: made, matched, taken apart
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The peer is connected (again), after init.
    Connected,
    Disconnected,
    /// A message of the peer for this channel.
    Peer(wire::Message),
    /// The node asks for something.
    Command(Command),
    /// Answer to the one outstanding [`Action::AskSigner`].
    Signer(signer::Reply),
    /// Nothing else waits: send what is owed.
    Flush,
}

/// What the node asks of a channel.
#[allow(clippy::large_enum_variant)] // short-lived: made, matched, taken apart
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Opener: the funding transaction (unsigned as yet) has this output for us. Answers [`Notice::NeedFunding`].
    FundingCreated {
        outpoint: OutPoint,
    },
    /// Opener: give up before the funding transaction was signed.
    CancelOpening {
        reason: String,
    },
    /// The funding transaction has `depth` confirmations now (0 after a reorg took it out).
    FundingDepth {
        depth: u32,
        scid: Option<ShortChannelId>,
    },
    /// Offer an HTLC. Answered by [`Notice::AddRefused`] or, in the end, [`Notice::Resolved`].
    Add {
        origin: Origin,
        htlc: Htlc,
        onion: wire::OnionPacket,
    },
    /// End an HTLC that the peer offered and that [`Notice::Locked`] reported. Repetitions are ignored.
    Remove {
        id: HtlcId,
        removal: Removal,
    },
    /// Opener: the feerate to aim at.
    Feerate {
        feerate: FeeratePerKw,
    },
    Block {
        height: BlockHeight,
    },
    /// Begin the mutual close.
    Shutdown {
        script: ScriptBuf,
        fees: CloseFees,
        /// The fees were asked for: they replace those of an earlier shutdown.
        wished: bool,
    },
    /// The closing or a commitment transaction is on chain: nothing more is to be negotiated.
    FundingSpent,
    /// A message that goes to the peer as it is (channel_update for an unannounced channel).
    Relay {
        message: wire::Message,
    },
}

/// Fees that we would pay or accept at mutual close, for the whole transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseFees {
    /// What we would like.
    pub ideal: FeeratePerKw,
    pub min: FeeratePerKw,
    pub max: FeeratePerKw,
}

/// What a channel asks its shell to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Durable before the next action.
    Persist(Box<Persist>),
    /// Written in order, not waited for.
    Record(Box<Persist>),
    AskSigner(signer::Request),
    Send(wire::Message),
    Tell(Notice),
}

/// What is to be written: the channel's state and the HTLCs that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Persist {
    pub live: Live,
    /// HTLCs that are new or changed (`Some`) or gone (`None`).
    pub htlcs: Vec<(HtlcKey, Option<HtlcRecord>)>,
    /// Our per-commitment point of our newest commitment in `live`, told once for each.
    pub local_point: Option<PublicKey>,
}

/// What a channel tells the node.
#[allow(clippy::large_enum_variant)] // short-lived: made, matched, taken apart
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// Opener: both sides agree; build a transaction with this output, do not broadcast or sign it yet.
    NeedFunding { script: ScriptBuf, value: Satoshi },
    /// Accepter: our signature on commitment 0 is about to leave; watch this output.
    WatchFunding { funding: Funding, script: ScriptBuf },
    /// Opener: commitment 0 is signed by the peer and durable: the funding transaction may be signed and broadcast.
    FundingSigned { funding: Funding, script: ScriptBuf },
    /// The opening ended before there was a channel.
    OpeningFailed { reason: String },
    /// channel_ready went both ways: HTLCs may be added. Also after each reestablish of such a channel.
    Ready { peer_alias: Option<ShortChannelId> },
    /// Reestablished with the peer, or not any more.
    Active { active: bool },
    /// The peer offered this HTLC and it is irrevocably committed. Repeated after a restart until removed.
    /// `over_dust_limit`: BOLT 2 (max_dust_htlc_exposure_msat) wants it failed, not forwarded and not fulfilled;
    /// never in a repetition, before which it may have been forwarded.
    Locked {
        id: HtlcId,
        htlc: Htlc,
        onion: wire::OnionPacket,
        over_dust_limit: bool,
    },
    /// A [`Command::Add`] that cannot be done; nothing was sent.
    AddRefused { origin: Origin, reason: AddRefusal },
    /// An HTLC of ours has ended; a fulfil is told at once, a failure when it is irrevocable.
    /// Repeated after a restart while the HTLC exists.
    Resolved {
        id: HtlcId,
        origin: Origin,
        removal: Removal,
    },
    /// A channel_update (or another message that only the node understands) from the peer.
    PeerUpdate { message: wire::Message },
    /// The peer wants to close, or we do: no HTLC can be added any more.
    ShuttingDown { by_us: bool },
    /// The closing transaction both signed, ready to broadcast.
    MutualClose {
        #[serde(with = "serde_bytes")]
        tx: Vec<u8>,
    },
    /// The peer proved at reestablish that our state is older than its own: never broadcast ours.
    WeAreStale,
}

/// Why an HTLC could not be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AddRefusal {
    #[error("the peer is not connected")]
    NotConnected,
    #[error("the channel is not ready for payments")]
    NotReady,
    #[error("the channel is shutting down")]
    ShuttingDown,
    #[error("{0} is more than the channel can send now ({1})")]
    InsufficientCapacity(MilliSatoshi, MilliSatoshi),
    #[error("{0} is below the peer's minimum of {1}")]
    BelowMinimum(MilliSatoshi, MilliSatoshi),
    #[error("the peer takes no more than {0} HTLCs at a time")]
    TooManyHtlcs(u16),
    #[error("the peer takes no more than {0} in flight")]
    TooMuchInFlight(MilliSatoshi),
    #[error("too much dust exposure: more than {0}")]
    TooMuchDust(MilliSatoshi),
    #[error("expires too soon or too late")]
    BadExpiry,
    #[error("the signer does not sign it")]
    NotSigned,
}

/// What our node wants from every channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What we say in open_channel or accept_channel, reserve computed from the funding value.
    pub dust_limit: Satoshi,
    pub to_self_delay: BlockDelta,
    /// Largest delay that we accept for ourselves.
    pub max_to_self_delay: BlockDelta,
    pub htlc_minimum: MilliSatoshi,
    /// `None`: the whole channel.
    pub max_htlc_value_in_flight: Option<MilliSatoshi>,
    pub max_accepted_htlcs: u16,
    /// Smallest channel that we accept.
    pub min_capacity: Satoshi,
    pub minimum_depth: u32,
    pub max_dust_exposure: MilliSatoshi,
    /// Feerates that we accept from the opener.
    pub feerate_min: FeeratePerKw,
    pub feerate_max: FeeratePerKw,
    /// So many blocks before its expiry an HTLC that we fulfilled has to be claimed on chain. Less
    /// than what an HTLC that we take has left, or each of them fails its channel.
    pub fulfil_deadline: BlockDelta,
    pub close_fees: CloseFees,
}

/// The facts about a channel that never come from the peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub dbid: ChannelDbid,
    pub peer: NodeId,
    pub chain_hash: wire::ChainHash,
    /// hsmd's keys for it, as they go into open_channel or accept_channel.
    pub funding_pubkey: PublicKey,
    pub basepoints: tx::setup::Basepoints,
    /// Our per-commitment points 0 and 1.
    pub first_points: [PublicKey; 2],
    /// Our script for mutual close, hsmd-derived.
    pub shutdown_script: ScriptBuf,
    /// Random alias for this channel that we give the peer (BOLT 2, channel_ready).
    pub alias: ShortChannelId,
}

/// What fundchannel asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    pub temporary_channel_id: ChannelId,
    pub funding_value: Satoshi,
    pub push: MilliSatoshi,
    pub feerate: FeeratePerKw,
    pub announce: bool,
    pub format: tx::setup::CommitmentFormat,
    pub minimum_depth: Option<u32>,
    pub reserve: Option<Satoshi>,
}

/// The peer broke the protocol or a bound of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// BOLT 1 warning, then disconnect: the channel stays.
    #[error("{0}")]
    Warning(String),
    /// BOLT 1 error: the channel fails.
    #[error("{0}")]
    Error(String),
}

/// Facts of the opening that later steps need, before [`Live`] exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreed {
    pub setup: Setup,
    pub minimum_depth: u32,
    pub announce: bool,
}
