//! CTL: lightningd itself. Hands out the sockets of the other roles.

use bitcoin::ScriptBuf;
use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use tx::setup::{BackedUp, Basepoints};
use wire::{ChainHash, ChannelDbid, CommitmentNumber, NodeId};

use super::mark::Mark;
use super::{Refused, Role};

#[allow(clippy::large_enum_variant)] // short-lived: decoded, matched, taken apart
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// First request. Effect: records the start; who we are. With the reply comes the descriptor of the
    /// block that [`crate::mark`] tells of.
    /// Refused if: the seed file or the journal is missing or damaged, or belongs to another network; the
    /// journal or the database is an older copy than the other (B2). Then nothing is created or changed.
    /// Locked if: the seed needs a passphrase. It comes over OPERATOR; ask for Unlocked.
    /// Inspected if: the database is said to be Inspected. Then seed and journal are read and nothing is written, and
    /// no key is open afterwards.
    /// Unconfirmed if: the database is said to be Restored or Copied. The confirmation comes over OPERATOR; ask for Unlocked.
    Init {
        chain_hash: ChainHash,
        database: Database,
    },
    /// Only after a reply Locked or Unconfirmed. Effect: none; the reply is that of Init, once the owner has
    /// unlocked the seed or confirmed the recovery.
    Unlocked,
    /// Effect: allocates a channel, phase Stub; its number is never used again.
    NewChannel { peer: NodeId },
    /// Effect: a channel that a static backup has and the journal lost, under its old number, phase Stale: it signs
    /// what takes the outputs of the peer's commitment that are ours, and nothing else. The reply is that of NewChannel.
    /// Refused if: a channel of this number is known.
    RecoverChannel(LostChannel),
    /// Effect: the descriptor that comes along speaks for this role, and for this channel if the role is Chan or Onchain.
    /// An older socket of the same role and channel is closed.
    /// Refused if: no such channel, or a channel is given for a role that has none.
    Mint {
        role: Role,
        channel: Option<ChannelDbid>,
    },
    /// Effect: completes our newest commitment with both signatures, ready to broadcast; phase -> Onchain:
    /// the channel signs no further state.
    /// Refused if: no commitment of ours was validated.
    ForceClose { channel: ChannelDbid },
    /// Effect: the channel's keys and ledger are dropped from the journal's next snapshot.
    /// Refused if: its funding output may be on chain, and it is not proved (TIP) that it was spent 100 blocks ago.
    /// As opener: our commitment 0 is validated, so the funding transaction may have been signed; as accepter: the
    /// peer has our signature on its commitment 0. And if an HTLC that went out there can still be claimed, while
    /// the one that came in for it can still fail.
    Forget { channel: ChannelDbid },
    /// Effect: flushes the journal and exits.
    Stop,
}

/// A channel as a static backup has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostChannel {
    /// The number that its keys follow from.
    pub channel: ChannelDbid,
    pub peer: NodeId,
    pub backup: BackedUp,
}

/// What lightningd has of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Database {
    /// None: this is a node's first start. Only now are a missing seed and journal created.
    Absent,
    /// One, and the mark in its last batch; none if it was made and never written to.
    Present { mark: Option<Mark> },
    /// One that the owner says was put back from an older copy, with its mark. Nothing is opened before
    /// the owner confirms it over OPERATOR.
    Restored { mark: Option<Mark> },
    /// One of a backup, whose journal and seed are of the backup too: both may be older than what peers have. Nothing
    /// is opened before the owner confirms it over OPERATOR.
    Copied { mark: Option<Mark> },
    /// One that is only to be compared with seed and journal, with its mark.
    Inspected { mark: Option<Mark> },
}

impl Database {
    /// Its mark, if it is there and was written to.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        match self {
            Database::Absent => None,
            Database::Present { mark }
            | Database::Restored { mark }
            | Database::Copied { mark }
            | Database::Inspected { mark } => *mark,
        }
    }

    /// Whether the owner says that it was put back.
    #[must_use]
    pub fn is_put_back(&self) -> bool {
        matches!(self, Database::Restored { .. } | Database::Copied { .. })
    }
}

#[allow(clippy::large_enum_variant)] // short-lived: decoded, matched, taken apart
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Init(Init),
    Locked,
    NewChannel(NewChannel),
    /// With a channel: its newest commitment of ours that was verified.
    Minted {
        newest: Option<LocalPoint>,
    },
    ForceClose {
        #[serde(with = "serde_bytes")]
        tx: Vec<u8>,
    },
    Forgotten,
    Refused(Refused),
    Unconfirmed,
    Inspected(Inspected),
}

/// Who the seed makes us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Init {
    pub node_id: NodeId,
    /// Channels with a funding output that the journal knows, to be compared with the database.
    pub channels: Vec<Known>,
    /// Highest wallet address index handed out, and its script kinds' watch list is derived by GetAddress alone.
    pub next_address: u32,
}

/// What an Init that changes nothing found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    pub node_id: NodeId,
    /// Channels with a funding output, or why the journal cannot be used.
    pub journal: Result<Vec<Known>, String>,
    /// Why the journal and the database are not of one moment (B2); `None` if they are, or there is no journal.
    pub moment: Option<String>,
}

/// A channel with a funding output, as the journal knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub channel: ChannelDbid,
    /// Our newest commitment that was verified; all before it are revoked. `None` before the first.
    pub local: Option<CommitmentNumber>,
    /// The peer's newest commitment that was signed. `None` before the first.
    pub remote: Option<CommitmentNumber>,
}

/// Our per-commitment point of one commitment of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPoint {
    pub n: CommitmentNumber,
    pub point: PublicKey,
}

/// The public half of a new channel's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewChannel {
    pub channel: ChannelDbid,
    pub funding_pubkey: PublicKey,
    pub basepoints: Basepoints,
    /// Per-commitment points 0 and 1.
    pub first_points: [PublicKey; 2],
    /// Wallet address that mutual closes pay to (the P2TR one), and its index.
    pub shutdown_p2wpkh: ScriptBuf,
    pub shutdown_p2tr: ScriptBuf,
    pub shutdown_index: u32,
}
