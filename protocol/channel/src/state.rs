//! What of a channel is stored, in the shape in which it is stored.
//!
//! `Live` is small and written whole with every commitment; HTLCs are records of their own,
//! so that a commitment writes only those that changed.

use bitcoin::ScriptBuf;
use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use tx::ledger::{Htlc, Ledger, LedgerError};
use tx::setup::{Funding, Setup};
use wire::{
    ChannelDbid, ChannelId, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, NodeId, Satoshi,
    ShortChannelId, Side,
};

use crate::action::{Agreed, CloseFees, Identity, Origin, Removal};

/// Where in its life a channel with a funding output is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Opener: funding_created left, funding_signed did not come yet. Found at a restart, it is forgotten.
    Opening,
    /// Waits for the funding transaction's depth and for channel_ready both ways.
    AwaitingLockin {
        sent_ready: bool,
        received_ready: bool,
    },
    Normal,
    /// shutdown was sent or received; HTLCs run out.
    ShuttingDown {
        local: Option<ScriptBuf>,
        remote: Option<ScriptBuf>,
        fees: CloseFees,
    },
    /// No HTLC is left: the fee of the closing transaction is negotiated.
    Closing {
        local: ScriptBuf,
        remote: ScriptBuf,
        fees: CloseFees,
        last_fee: Option<Satoshi>,
    },
    /// The closing transaction is signed by both: here it is, in consensus encoding, told again
    /// at each start until the funding output is spent.
    Closed {
        #[serde(with = "serde_bytes")]
        tx: Vec<u8>,
    },
    /// The funding output is spent, or the channel failed or is left of a backup: the chain decides.
    Onchain,
}

/// Where an HTLC is between the two commitments. The names are CLN's (`listpeerchannels`, `htlcs`):
/// who sent what last, seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HtlcState {
    // offered by us
    SentAddHtlc,
    SentAddCommit,
    RcvdAddRevocation,
    RcvdAddAckCommit,
    SentAddAckRevocation,
    RcvdRemoveHtlc,
    RcvdRemoveCommit,
    SentRemoveRevocation,
    SentRemoveAckCommit,
    RcvdRemoveAckRevocation,
    // offered by the peer
    RcvdAddHtlc,
    RcvdAddCommit,
    SentAddRevocation,
    SentAddAckCommit,
    RcvdAddAckRevocation,
    SentRemoveHtlc,
    SentRemoveCommit,
    RcvdRemoveRevocation,
    RcvdRemoveAckCommit,
    SentRemoveAckRevocation,
}

/// An HTLC with everything that is needed to go on with it after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HtlcRecord {
    pub htlc: Htlc,
    pub state: HtlcState,
    pub onion: wire::OnionPacket,
    /// Set for those that we offered.
    pub origin: Option<Origin>,
    /// How it ends, once either side said so.
    pub removal: Option<Removal>,
}

/// Everything about a channel but its HTLCs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    pub dbid: ChannelDbid,
    pub peer: NodeId,
    pub channel_id: ChannelId,
    pub setup: Setup,
    pub funding: Funding,
    pub announce: bool,
    pub minimum_depth: u32,
    pub phase: Phase,
    /// Real short_channel_id, once the funding transaction is deep enough.
    pub scid: Option<ShortChannelId>,
    pub local_alias: ShortChannelId,
    pub remote_alias: Option<ShortChannelId>,
    /// Number of the next commitment that the peer signs for us.
    pub local_next: CommitmentNumber,
    /// Number of the next commitment that we sign for the peer.
    pub remote_next: CommitmentNumber,
    /// Our newest commitment_signed is not yet answered by revoke_and_ack.
    pub awaiting_revocation: bool,
    /// Which of the two left last, for their order when both have to be sent again.
    pub last_sent: LastSent,
    /// The peer's point of its oldest commitment that is not revoked (`remote_next - 1`, or
    /// `remote_next - 2` while we await the revocation) and, once told, of the one after it.
    pub remote_current_point: PublicKey,
    pub remote_next_point: Option<PublicKey>,
    /// Newest secret that the peer revealed.
    pub last_remote_secret: Option<tx::signer::RevocationSecret>,
    /// Our next HTLC id and the peer's.
    pub next_htlc_id: HtlcId,
    pub remote_next_htlc_id: HtlcId,
    /// Balances in our newest commitment and in the peer's newest, HTLCs not counted.
    pub local_view: Balances,
    pub remote_view: Balances,
    /// Feerate changes on their way, as the HTLC states are for HTLCs.
    pub feerate: FeerateState,
    /// Our script for the mutual close: the one that our shutdown named, once we have sent it.
    pub shutdown_script: ScriptBuf,
    /// Fulfilled amounts for `listpeerchannels`: (count, amount) by direction.
    pub fulfilled_out: Tally,
    pub fulfilled_in: Tally,
}

/// Balances of one commitment, before fees and without HTLCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balances {
    pub to_local: MilliSatoshi,
    pub to_remote: MilliSatoshi,
}

/// The feerate in force and those that are under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeerateState {
    /// In force in both commitments, unless `pending` says otherwise.
    pub current: FeeratePerKw,
    /// From the opener, oldest first: each new feerate and how far it has come, at most one in
    /// each state (a later update_fee replaces an earlier one that has come as far).
    pub pending: Vec<(FeeratePerKw, HtlcState)>,
}

/// Of commitment_signed and revoke_and_ack, the one that we sent last (BOLT 2, Message Retransmission).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastSent {
    Commitment,
    Revocation,
}

/// How many HTLCs were fulfilled and how much they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub count: u64,
    pub amount: MilliSatoshi,
}

impl Live {
    /// Our commitment 0 is the only one there ever was, so the peer has no secret of ours.
    #[must_use]
    pub fn has_revoked_nothing(&self) -> bool {
        self.local_next <= CommitmentNumber(1)
    }

    /// A channel with commitment 0 on both sides; `remote_point` is the peer's
    /// first_per_commitment_point, `phase` is `Opening` or `AwaitingLockin`.
    ///
    /// # Errors
    /// `Overdrawn` if the push exceeds the funding value.
    pub fn opened(
        identity: &Identity,
        agreed: Agreed,
        funding: Funding,
        remote_point: PublicKey,
        phase: Phase,
    ) -> Result<Live, LedgerError> {
        let Agreed {
            setup,
            minimum_depth,
            announce,
        } = agreed;
        let ledger = Ledger::opening(&setup)?;
        let balances = Balances {
            to_local: ledger.to_local,
            to_remote: ledger.to_remote,
        };
        Ok(Live {
            dbid: identity.dbid,
            peer: identity.peer,
            channel_id: ChannelId::v1(&funding.outpoint),
            feerate: FeerateState {
                current: setup.feerate,
                pending: Vec::new(),
            },
            setup,
            funding,
            announce,
            minimum_depth,
            phase,
            scid: None,
            local_alias: identity.alias,
            remote_alias: None,
            local_next: CommitmentNumber(1),
            remote_next: CommitmentNumber(1),
            awaiting_revocation: false,
            last_sent: LastSent::Revocation,
            remote_current_point: remote_point,
            remote_next_point: None,
            last_remote_secret: None,
            next_htlc_id: HtlcId(0),
            remote_next_htlc_id: HtlcId(0),
            local_view: balances,
            remote_view: balances,
            shutdown_script: identity.shutdown_script.clone(),
            fulfilled_out: Tally::default(),
            fulfilled_in: Tally::default(),
        })
    }

    /// Our balance for certain: what our newest commitment gives us, HTLCs not counted.
    #[must_use]
    pub fn our_balance(&self) -> MilliSatoshi {
        self.local_view.to_local
    }

    /// Left of a static backup: nothing is known of its commitments, and all that the peer hears is that it
    /// has to close. Any other channel has commitment 0.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.local_next == CommitmentNumber::ZERO
    }

    #[must_use]
    pub fn is_opener(&self) -> bool {
        self.setup.opener == Side::Local
    }
}
