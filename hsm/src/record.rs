//! What the journal holds: changes, and at the head of a compacted journal the state itself.
//!
//! The encoding is that of ipc-transport's codec. Variants are only ever added at the end, and
//! their fields never change: older journals stay readable.

use bitcoin::{OutPoint, ScriptBuf, Txid};
use hsm_messages::limits::{Approvable, Limits};
use serde::{Deserialize, Serialize};
use tx::ledger::Delta;
use tx::setup::{Funding, Setup};
use tx::signer::{NextLocal, NextRemote, RevocationSecret};
use wire::{
    BlockHeight, ChannelDbid, CommitmentNumber, MilliSatoshi, NodeId, PaymentHash, Satoshi,
    ShortChannelId,
};

use crate::channel::Channel;
use crate::coins::Pin;
use crate::flows::{Budget, Flow};
use crate::invoices::{PreimageNumber, Registered, Terms};
use crate::journal::Heads;
use crate::spending::{Cause, Grant, Spending};
use crate::tip::{Tip, Told};

use hsm_files::UnixTime;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The wallet address of this index was handed out.
    Address(u32),
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
    Forget(ChannelDbid),
    /// Coins that are there, with their amounts as first said.
    Coins(Vec<(OutPoint, Satoshi)>),
    /// First record of a compacted journal.
    SnapshotCounters {
        next_dbid: ChannelDbid,
        copied_below: ChannelDbid,
        next_address: u32,
    },
    /// A channel in a compacted journal.
    SnapshotChannel {
        dbid: ChannelDbid,
        channel: Box<Channel>,
    },
    /// hsmd was started; this is how often by now.
    Start(u64),
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
    /// A transaction of the wallet was signed.
    Spent(Box<Spent>),
    /// So much of what may be paid over channels is for this.
    Paid {
        at: UnixTime,
        cause: Cause,
        grant: Grant,
    },
    /// Nothing more is paid for it; of what it was charged, `unspent` flows back.
    PaymentEnded {
        hash: PaymentHash,
        unspent: MilliSatoshi,
    },
    /// By the operator, as the next three.
    Limits(Limits),
    Allowed(ScriptBuf),
    Disallowed(ScriptBuf),
    OperatorApproved {
        at: UnixTime,
        what: Approvable,
    },
    /// Coins in a compacted journal.
    SnapshotCoins(Vec<(OutPoint, Pin)>),
    /// What has left and may leave, in a compacted journal.
    SnapshotSpending(Box<Spending>),
    /// A preimage was derived, and its hash given out.
    Preimage(PreimageNumber, PaymentHash),
    /// An invoice was signed.
    Invoice(PaymentHash, Terms),
    /// Invoices that can no longer be paid were forgotten.
    DropInvoices(UnixTime),
    /// A channel_update was signed, with this timestamp.
    Update(ChannelDbid, ShortChannelId, u32),
    /// Preimages in a compacted journal.
    SnapshotPreimages {
        next: PreimageNumber,
        unsigned: Vec<(PaymentHash, PreimageNumber)>,
    },
    /// Invoices in a compacted journal.
    SnapshotInvoices(Vec<(PaymentHash, Registered)>),
    /// What lightningd has told of the chain, at this height.
    Told(BlockHeight, Told),
    /// What is known of the chain, in a compacted journal.
    SnapshotTip(Box<Tip>),
    /// By the operator: the database was put back from an older copy (B2).
    Recovery,
    /// The owner has seen the words of the seed.
    MnemonicShown,
    /// By the operator: database and journal are a backup, that was put back (B2). New channels, addresses and
    /// preimages are numbered from here on, beyond all that may have been given out since.
    Copied(ChannelDbid, PreimageNumber),
    /// A channel from a static backup, with its shutdown address: nothing of it is ever signed but
    /// what takes the peer's commitment's outputs.
    Recovered(ChannelDbid, Box<Channel>),
}

/// A transaction that spends coins of the wallet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spent {
    pub(crate) at: UnixTime,
    pub(crate) txid: Txid,
    pub(crate) inputs: Vec<(OutPoint, Satoshi)>,
    /// Outputs to the wallet.
    pub(crate) ours: Vec<(OutPoint, Satoshi)>,
    pub(crate) grant: Grant,
    /// The one of `inputs` that the grant stands with.
    pub(crate) coin: OutPoint,
}

impl Record {
    /// Whether its reply may leave before it is durable, see [`crate::Hsm::settle`].
    ///
    /// The peer's secrets and approvals. To lose a secret in a power failure is harmless as long as channeld, which
    /// keeps the newest too, gives it again when it starts: older ones are covered by the record of
    /// the next SignRemote, which comes behind them in the same file and is waited for, as is every
    /// commitment of another channel that a forwarded HTLC ends up in. kill -9 loses nothing that
    /// was written. The same holds for an approval: the HTLC that it is for stands behind it.
    ///
    /// A lost Preimage is derived once more: no invoice was signed for it, since the record of that
    /// comes behind it and is waited for. A lost Update's timestamp is behind the clock by then, and
    /// lost DropInvoices are dropped again. Of the chain lightningd tells again; what is signed for
    /// what it has told stands behind it.
    pub(crate) fn may_wait(&self) -> bool {
        matches!(
            self,
            Record::Channel {
                change: Change::Revoked { .. },
                ..
            } | Record::Approved { .. }
                | Record::Paid { .. }
                | Record::Preimage(..)
                | Record::DropInvoices { .. }
                | Record::Update(..)
                | Record::Told(..)
        )
    }
}

/// What happens to a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Change {
    Setup(Box<Setup>),
    Funding(Funding),
    /// The peer's commitment `n` was signed.
    Remote(NextRemote),
    /// Our commitment `n` was verified, with these signatures of the peer's.
    Local(NextLocal),
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
    /// After a recovery the peer has shown the newest state.
    Shown,
}

impl Change {
    /// Those of a commitment.
    pub(crate) fn deltas(&self) -> &[Delta] {
        match self {
            Change::Remote(next) => &next.deltas,
            Change::Local(next) => &next.deltas,
            Change::Setup(_)
            | Change::Funding(_)
            | Change::Revoked { .. }
            | Change::Close { .. }
            | Change::Onchain
            | Change::Stale
            | Change::Shown => &[],
        }
    }
}
