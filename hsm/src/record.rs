//! What the journal holds: changes, and at the head of a compacted journal the state itself.
//!
//! The encoding is that of ipc-transport's codec. Variants are only ever added at the end, and
//! their fields never change: older journals stay readable.

use bitcoin::OutPoint;
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use serde::{Deserialize, Serialize};
use tx::ledger::Delta;
use tx::setup::{Funding, Setup};
use tx::signer::{RevocationSecret, Ticket};
use wire::{ChannelDbid, CommitmentNumber, NodeId, PaymentHash, Satoshi};

use crate::channel::Channel;
use crate::flows::{Budget, Flow};
use crate::journal::Heads;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// Wallet address `index` was handed out.
    Address {
        index: u32,
    },
    /// With its shutdown address.
    NewChannel {
        dbid: ChannelDbid,
        peer: NodeId,
        shutdown_index: u32,
    },
    Channel {
        dbid: ChannelDbid,
        change: Change,
    },
    Forget {
        dbid: ChannelDbid,
    },
    /// Amounts of coins, as first said.
    Coins {
        coins: Vec<(OutPoint, Satoshi)>,
    },
    /// First record of a compacted journal.
    SnapshotCounters {
        next_dbid: ChannelDbid,
        next_address: u32,
    },
    /// A channel in a compacted journal.
    SnapshotChannel {
        dbid: ChannelDbid,
        channel: Box<Channel>,
    },
    /// hsmd was started, for the `epoch`th time.
    Start {
        epoch: u64,
    },
    /// Last record of a compacted journal's snapshot: how far the journal before it had come.
    SnapshotHeads(Heads),
    /// A payment may be made. When there are many, those that are over leave.
    Approved {
        hash: PaymentHash,
        budget: Budget,
    },
    /// What moves under one hash, in a compacted journal.
    SnapshotFlow {
        hash: PaymentHash,
        flow: Flow,
    },
}

impl Record {
    /// Whether its reply may leave before it is durable, see [`crate::Hsm::settle`].
    ///
    /// The peer's secrets and approvals. To lose a secret in a power failure is harmless as long as channeld, which
    /// keeps the newest too, gives it again when it starts: older ones are covered by the record of
    /// the next SignRemote, which comes behind them in the same file and is waited for, as is every
    /// commitment of another channel that a forwarded HTLC ends up in. kill -9 loses nothing that
    /// was written. The same holds for an approval: the HTLC that it is for stands behind it.
    pub(crate) fn may_wait(&self) -> bool {
        match self {
            Record::Channel { change, .. } => match change {
                Change::Revoked { .. } => true,
                Change::Setup(_)
                | Change::Funding(_)
                | Change::Remote { .. }
                | Change::Local { .. }
                | Change::Close { .. }
                | Change::Onchain
                | Change::Stale => false,
            },
            Record::Approved { .. } => true,
            Record::Address { .. }
            | Record::NewChannel { .. }
            | Record::Forget { .. }
            | Record::Coins { .. }
            | Record::SnapshotCounters { .. }
            | Record::SnapshotChannel { .. }
            | Record::Start { .. }
            | Record::SnapshotHeads(_)
            | Record::SnapshotFlow { .. } => false,
        }
    }
}

/// What happens to a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Change {
    Setup(Box<Setup>),
    Funding(Funding),
    /// The peer's commitment `n` was signed.
    Remote {
        n: CommitmentNumber,
        point: PublicKey,
        deltas: Vec<Delta>,
        tickets: Vec<Ticket>,
    },
    /// Our commitment `n` was verified, with these signatures of the peer's.
    Local {
        n: CommitmentNumber,
        deltas: Vec<Delta>,
        signature: Signature,
        htlc_signatures: Vec<Signature>,
    },
    /// The peer revealed the secret of its commitment `n`.
    Revoked {
        n: CommitmentNumber,
        secret: RevocationSecret,
    },
    /// A mutual close with this fee was signed.
    Close {
        fee: Satoshi,
    },
    /// Our own commitment was signed.
    Onchain,
    /// The peer has a secret of a commitment of ours that is not revoked here (B3).
    Stale,
}
