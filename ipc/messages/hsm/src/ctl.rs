//! CTL: lightningd itself. Hands out the sockets of the other roles.

use bitcoin::ScriptBuf;
use secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use tx::setup::Basepoints;
use wire::{ChainHash, ChannelDbid, NodeId};

use super::{Refused, Role};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// First request. Effect: none; who we are.
    /// Refused if: the seed file or the journal is missing or damaged, or belongs to another network.
    /// `new_node`: lightningd has no database. Only then are a missing seed and journal created.
    Init {
        chain_hash: ChainHash,
        new_node: bool,
    },
    /// Effect: allocates a channel, phase Stub; its number is never used again.
    NewChannel { peer: NodeId },
    /// Effect: the descriptor that comes along speaks for this role, and for this channel if the role is Chan.
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
    /// Refused if: its funding output may be on chain. As opener: our commitment 0 is validated, so the
    /// funding transaction may have been signed; as accepter: the peer has our signature on its commitment 0.
    Forget { channel: ChannelDbid },
    /// Effect: flushes the journal and exits.
    Stop,
}

#[allow(clippy::large_enum_variant)] // short-lived: decoded, matched, taken apart
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Init(Init),
    NewChannel(NewChannel),
    Minted,
    ForceClose {
        #[serde(with = "serde_bytes")]
        tx: Vec<u8>,
    },
    Forgotten,
    Refused(Refused),
}

/// Who the seed makes us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Init {
    pub node_id: NodeId,
    /// Channels that the journal knows, to be compared with the database.
    pub channels: Vec<ChannelDbid>,
    /// Highest wallet address index handed out, and its script kinds' watch list is derived by GetAddress alone.
    pub next_address: u32,
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
