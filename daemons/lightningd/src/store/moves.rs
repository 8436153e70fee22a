//! What moved between the wallet, the channels and everybody else: Core Lightning's chain moves and
//! channel moves, from which its bookkeeper's commands are worked out.
//!
//! A move's key follows from what it tells of, so it is written twice as easily as once; it is written in
//! the batch of the state that it tells of, and taken back with it by a reorganization.

use bitcoin::{OutPoint, Txid};
use lightningd_db::{Batch, Cf, Db, DbError, Record};
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, ChannelDbid, MilliSatoshi, PaymentHash, Satoshi};

use super::now;

/// Whose books a move stands in: the wallet's, or a channel's by its number, which is never 0.
pub const WALLET: u64 = 0;

/// Whose money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// The one whose books these are.
    Own,
    /// Somebody else's, paid or lost by the one whose books these are.
    External,
}

/// What an output meant, in Core Lightning's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tag {
    Deposit,
    Withdrawal,
    ChannelOpen,
    ChannelClose,
    DelayedToUs,
    HtlcTimeout,
    HtlcFulfill,
    HtlcTx,
    ToWallet,
    ToThem,
    Anchor,
    Penalty,
    Penalized,
    Stolen,
    Invoice,
    Routed,
    Pushed,
    Journal,
}

impl Tag {
    /// As Core Lightning writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Tag::Deposit => "deposit",
            Tag::Withdrawal => "withdrawal",
            Tag::ChannelOpen => "channel_open",
            Tag::ChannelClose => "channel_close",
            Tag::DelayedToUs => "delayed_to_us",
            Tag::HtlcTimeout => "htlc_timeout",
            Tag::HtlcFulfill => "htlc_fulfill",
            Tag::HtlcTx => "htlc_tx",
            Tag::ToWallet => "to_wallet",
            Tag::ToThem => "to_them",
            Tag::Anchor => "anchor",
            Tag::Penalty => "penalty",
            Tag::Penalized => "penalized",
            Tag::Stolen => "stolen",
            Tag::Invoice => "invoice",
            Tag::Routed => "routed",
            Tag::Pushed => "pushed",
            Tag::Journal => "journal_entry",
        }
    }
}

/// An output that came to an account or was spent from it; key: [`ChainKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainMove {
    pub tag: Tag,
    /// What of the output is the account's.
    pub amount: MilliSatoshi,
    /// All of the output.
    pub output: Satoshi,
    /// The block that it came or was spent in.
    pub height: BlockHeight,
    /// Of a spend: by what.
    pub spending_txid: Option<Txid>,
    pub payment_hash: Option<PaymentHash>,
    /// Seconds since the epoch.
    pub recorded_at: u64,
}

impl Record for ChainMove {
    const CF: Cf = Cf::ChainMoves;
    const VERSION: u8 = 1;
    type Key = (u64, bool, OutPoint, bool);
}

/// Whose books, whose money, which output, and whether it was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainKey {
    pub books: u64,
    pub account: Account,
    pub outpoint: OutPoint,
    pub debit: bool,
}

impl ChainKey {
    fn stored(self) -> (u64, bool, OutPoint, bool) {
        let external = self.account == Account::External;
        (self.books, external, self.outpoint, self.debit)
    }

    fn of((books, external, outpoint, debit): (u64, bool, OutPoint, bool)) -> ChainKey {
        ChainKey {
            books,
            account: if external {
                Account::External
            } else {
                Account::Own
            },
            outpoint,
            debit,
        }
    }
}

/// An amount that went over within a channel; key: the channel, which [`What`], and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelMove {
    pub tag: Tag,
    /// It left us.
    pub debit: bool,
    pub amount: MilliSatoshi,
    /// Of a payment of ours: paid beyond the amount. Of a forward: earned.
    pub fees: MilliSatoshi,
    pub payment_hash: Option<PaymentHash>,
    /// Of a payment of ours: its part.
    pub part: Option<u64>,
    /// Of a forward: its incoming channel and HTLC.
    pub forward: Option<(u64, u64)>,
    /// Seconds since the epoch.
    pub recorded_at: u64,
}

impl Record for ChannelMove {
    const CF: Cf = Cf::ChannelMoves;
    const VERSION: u8 = 1;
    type Key = (u64, u8, u64);
}

/// What moved within a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An HTLC that we offered, by its id.
    OfferedHtlc(u64),
    ReceivedHtlc(u64),
    /// push_msat of the opening.
    Push,
    /// All that moved before there were books.
    Before,
}

fn channel_key(channel: ChannelDbid, what: What) -> (u64, u8, u64) {
    match what {
        What::OfferedHtlc(id) => (channel.0, 0, id),
        What::ReceivedHtlc(id) => (channel.0, 1, id),
        What::Push => (channel.0, 2, 0),
        What::Before => (channel.0, 3, 0),
    }
}

/// Makes the move under `key` what it should be: there, or not. One that is there already keeps its time.
///
/// # Errors
/// A record that cannot be read.
pub fn set(
    db: &Db,
    batch: &mut Batch,
    key: ChainKey,
    wanted: Option<ChainMove>,
) -> Result<(), DbError> {
    let there = db.get::<ChainMove>(&key.stored())?;
    set_known(batch, key, there, wanted);
    Ok(())
}

fn set_known(
    batch: &mut Batch,
    key: ChainKey,
    there: Option<ChainMove>,
    wanted: Option<ChainMove>,
) {
    match (there, wanted) {
        (None, None) => {}
        (Some(_), None) => {
            batch.delete::<ChainMove>(&key.stored());
        }
        (Some(there), Some(wanted)) => {
            let recorded_at = there.recorded_at;
            let wanted = ChainMove {
                recorded_at,
                ..wanted
            };
            if wanted != there {
                batch.put(&key.stored(), &wanted);
            }
        }
        (None, Some(wanted)) => {
            let recorded_at = now();
            let wanted = ChainMove {
                recorded_at,
                ..wanted
            };
            batch.put(&key.stored(), &wanted);
        }
    }
}

/// Makes the books of a channel these. Moves that are there already keep their times.
///
/// # Errors
/// A record that cannot be read.
pub fn set_all(
    db: &Db,
    batch: &mut Batch,
    channel: ChannelDbid,
    wanted: Vec<(ChainKey, ChainMove)>,
) -> Result<(), DbError> {
    let mut there: std::collections::BTreeMap<ChainKey, ChainMove> =
        chain_of(db, channel.0)?.into_iter().collect();
    for (key, wanted) in wanted {
        set_known(batch, key, there.remove(&key), Some(wanted));
    }
    for key in there.keys() {
        batch.delete::<ChainMove>(&key.stored());
    }
    Ok(())
}

/// Writes a move within a channel. It is written with the state in which it has happened, once.
pub fn put_channel(batch: &mut Batch, channel: ChannelDbid, what: What, moved: &ChannelMove) {
    batch.put(&channel_key(channel, what), moved);
}

/// Takes a move within a channel back.
pub fn take_back_channel(batch: &mut Batch, channel: ChannelDbid, what: What) {
    batch.delete::<ChannelMove>(&channel_key(channel, what));
}

/// # Errors
/// A record that cannot be read.
pub fn channel(db: &Db, channel: ChannelDbid, what: What) -> Result<Option<ChannelMove>, DbError> {
    db.get(&channel_key(channel, what))
}

/// The chain moves in these books.
///
/// # Errors
/// A record that cannot be read.
pub fn chain_of(db: &Db, books: u64) -> Result<Vec<(ChainKey, ChainMove)>, DbError> {
    let all = db.scan_prefix::<ChainMove>(&books)?.into_iter();
    Ok(all.map(|(key, moved)| (ChainKey::of(key), moved)).collect())
}

/// Whether nothing was ever written in these books.
///
/// # Errors
/// A record that cannot be read.
pub fn is_empty(db: &Db, books: u64) -> Result<bool, DbError> {
    let first = db.iter_prefix::<ChainMove>(&books)?.next();
    Ok(first.transpose()?.is_none())
}

/// All chain moves.
///
/// # Errors
/// A record that cannot be read.
pub fn all_chain(db: &Db) -> Result<Vec<(ChainKey, ChainMove)>, DbError> {
    let all = db.scan::<ChainMove>()?.into_iter();
    Ok(all.map(|(key, moved)| (ChainKey::of(key), moved)).collect())
}

/// All moves within channels, with the channels.
///
/// # Errors
/// A record that cannot be read.
pub fn all_channel(db: &Db) -> Result<Vec<(ChannelDbid, ChannelMove)>, DbError> {
    let all = db.scan::<ChannelMove>()?.into_iter();
    Ok(all
        .map(|((channel, _, _), moved)| (ChannelDbid(channel), moved))
        .collect())
}
