//! A channel's moves: its opening, what went over in it, and what became of it on chain.
//!
//! All of them follow from the channel's record and from what onchaind says of its outputs, so a
//! reorganization takes a move back by the channel's state going back.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, Transaction, Txid};
use channel::action::{Origin, Removal};
use channel::state::{HtlcRecord, Live};
use lightningd_db::{Db, DbError};
use onchain::action::{Fate, OutputKind, OutputStanding, Spender, Standing};
use tx::fees::ANCHOR_VALUE;
use tx::ledger::HtlcKey;
use wire::{BlockHeight, ChannelDbid, MilliSatoshi, PaymentHash, Satoshi, Side};

use crate::store::channels::ChannelRecord;
use crate::store::forwards::Forward;
use crate::store::moves::{Account, ChainKey, ChainMove, ChannelMove, Tag};
use crate::store::now;
use crate::store::payments::Part;

/// What the chain has shown of a channel that is over.
pub struct Shown<'a> {
    pub standing: &'a Standing,
    /// What spent the funding output.
    pub tx: &'a Transaction,
    /// HTLCs that are neither settled nor failed within the channel.
    pub htlcs: &'a BTreeMap<HtlcKey, HtlcRecord>,
    pub payment_hash: &'a dyn Fn(HtlcKey) -> Option<PaymentHash>,
}

/// All chain moves of the channel; without `shown` none of the outputs of what spent it.
#[must_use]
pub fn chain_moves(
    record: &ChannelRecord,
    shown: Option<&Shown<'_>>,
) -> Vec<(ChainKey, ChainMove)> {
    let mut book = Book {
        books: record.live.dbid.0,
        moves: Vec::new(),
    };
    let funding = record.live.funding;
    if let Some(height) = record.facts.funding_height {
        let amount = opened_with(&record.live);
        let output = Place {
            outpoint: funding.outpoint,
            value: funding.value,
            height,
        };
        book.add(Account::Own, &output, Tag::ChannelOpen, None, |moved| {
            moved.amount = amount;
        });
    }
    let Some((txid, height)) = record.facts.spent_by else {
        return book.moves;
    };
    let mut balance = settled(&record.live);
    if let Some(shown) = shown {
        for (key, htlc) in in_closing(record, shown) {
            balance = match key.offerer {
                Side::Local => balance.saturating_sub(htlc.htlc.amount),
                Side::Remote => balance.saturating_add(htlc.htlc.amount),
            };
        }
    }
    let output = Place {
        outpoint: funding.outpoint,
        value: funding.value,
        height,
    };
    book.add(
        Account::Own,
        &output,
        Tag::ChannelClose,
        Some(txid),
        |moved| {
            moved.amount = balance;
        },
    );
    if let Some(shown) = shown {
        book.close(record, txid, height, shown);
    }
    book.moves
}

/// What we had when the channel opened, before anything was pushed.
fn opened_with(live: &Live) -> MilliSatoshi {
    match live.setup.opener {
        Side::Local => live.funding.value.to_msat().unwrap_or_default(),
        Side::Remote => MilliSatoshi::ZERO,
    }
}

/// Our balance by all that is settled within the channel.
fn settled(live: &Live) -> MilliSatoshi {
    let push = live.setup.push;
    let begun = match live.setup.opener {
        Side::Local => opened_with(live).saturating_sub(push),
        Side::Remote => push,
    };
    begun
        .saturating_add(live.fulfilled_in.amount)
        .saturating_sub(live.fulfilled_out.amount)
}

/// HTLCs that were being settled when the channel closed and are so in the commitment that did it: it has
/// no output for them. An incoming one too small for an output is taken as lost.
pub fn in_closing<'a>(
    record: &'a ChannelRecord,
    shown: &'a Shown<'a>,
) -> impl Iterator<Item = (HtlcKey, &'a HtlcRecord)> {
    let owner = match shown.standing.spender {
        Some((Spender::Ours, _, _)) => Some(Side::Local),
        Some((Spender::Theirs, _, _)) => Some(Side::Remote),
        Some((Spender::MutualClose | Spender::Revoked | Spender::Unknown, _, _)) | None => None,
    };
    let live = &record.live;
    let has_output = move |key: &HtlcKey| {
        let mut outputs = shown.standing.outputs.iter();
        outputs.any(|output| output.kind == OutputKind::Htlc(*key))
    };
    let is_settled = move |(key, htlc): &(&HtlcKey, &HtlcRecord)| {
        let fulfilled = matches!(htlc.removal, Some(Removal::Fulfil { .. }));
        let lost = owner.is_none_or(|owner| {
            key.offerer == Side::Remote
                && tx::fees::is_trimmed(
                    &live.setup,
                    owner,
                    live.feerate.current,
                    key.offerer,
                    htlc.htlc.amount,
                )
        });
        fulfilled && !lost && !has_output(key)
    };
    let all = shown.htlcs.iter().filter(is_settled);
    all.map(|(key, htlc)| (*key, htlc))
}

/// The move of an HTLC that is settled within the channel.
///
/// # Errors
/// A record that cannot be read.
pub fn of_settled(
    db: &Db,
    channel: ChannelDbid,
    key: HtlcKey,
    record: &HtlcRecord,
) -> Result<ChannelMove, DbError> {
    let mut moved = ChannelMove {
        tag: Tag::Invoice,
        debit: key.offerer == Side::Local,
        amount: record.htlc.amount,
        fees: MilliSatoshi::ZERO,
        payment_hash: Some(record.htlc.payment_hash),
        part: None,
        forward: None,
        recorded_at: now(),
    };
    let incoming = match (key.offerer, record.origin) {
        (Side::Local, Some(Origin::Forward { channel, id })) => (channel.0, id.0),
        (Side::Remote, _) => (channel.0, key.id.0),
        (
            Side::Local,
            Some(Origin::Payment {
                payment_hash,
                groupid,
                partid,
            }),
        ) => {
            if let Some(part) = db.get::<Part>(&(payment_hash.0, groupid, partid))? {
                moved.fees = part.amount_sent.saturating_sub(part.amount);
            }
            moved.part = Some(partid);
            return Ok(moved);
        }
        (Side::Local, None) => return Ok(moved),
    };
    if let Some(forward) = db.get::<Forward>(&incoming)? {
        moved.tag = Tag::Routed;
        moved.fees = forward.amount_in.saturating_sub(forward.amount_out);
        moved.forward = Some(incoming);
    }
    Ok(moved)
}

/// push_msat.
#[must_use]
pub fn pushed(live: &Live) -> Option<ChannelMove> {
    (live.setup.push > MilliSatoshi::ZERO).then(|| ChannelMove {
        tag: Tag::Pushed,
        debit: live.is_opener(),
        amount: live.setup.push,
        fees: MilliSatoshi::ZERO,
        payment_hash: None,
        part: None,
        forward: None,
        recorded_at: now(),
    })
}

/// What went over before there were books.
#[must_use]
pub fn before(live: &Live) -> Option<ChannelMove> {
    let (came, went) = (live.fulfilled_in.amount, live.fulfilled_out.amount);
    (came != went).then(|| ChannelMove {
        tag: Tag::Journal,
        debit: went > came,
        amount: came.max(went).saturating_sub(came.min(went)),
        fees: MilliSatoshi::ZERO,
        payment_hash: None,
        part: None,
        forward: None,
        recorded_at: now(),
    })
}

/// An output in a block.
struct Place {
    outpoint: OutPoint,
    value: Satoshi,
    height: BlockHeight,
}

/// The block of an HTLC transaction, by the output that it spent.
fn mined(standing: &Standing, output: &OutputStanding) -> Option<BlockHeight> {
    let parent = output.outpoint.txid;
    standing
        .outputs
        .iter()
        .find_map(|output| match output.fate {
            Fate::Spent { txid, height, .. } if txid == parent => Some(height),
            Fate::Spent { .. }
            | Fate::Left
            | Fate::Waits { .. }
            | Fate::NeedsPreimage { .. }
            | Fate::NeedsCoins { .. }
            | Fate::NeedsLowerFees
            | Fate::Claimed { .. }
            | Fate::Uneconomic => None,
        })
}

/// The moves while they are worked out.
struct Book {
    books: u64,
    moves: Vec<(ChainKey, ChainMove)>,
}

impl Book {
    fn add(
        &mut self,
        account: Account,
        output: &Place,
        tag: Tag,
        spending_txid: Option<Txid>,
        change: impl FnOnce(&mut ChainMove),
    ) {
        let key = ChainKey {
            books: self.books,
            account,
            outpoint: output.outpoint,
            debit: spending_txid.is_some(),
        };
        let mut moved = ChainMove {
            tag,
            amount: output.value.to_msat().unwrap_or_default(),
            output: output.value,
            height: output.height,
            spending_txid,
            payment_hash: None,
            recorded_at: 0,
        };
        change(&mut moved);
        self.moves.push((key, moved));
    }

    fn close(
        &mut self,
        record: &ChannelRecord,
        txid: Txid,
        height: BlockHeight,
        shown: &Shown<'_>,
    ) {
        let Some((spender, by, _)) = shown.standing.spender else {
            return;
        };
        if by != txid {
            return;
        }
        if spender == Spender::MutualClose {
            return self.mutual(record, txid, height, shown.tx);
        }
        for output in &shown.standing.outputs {
            let place = Place {
                outpoint: output.outpoint,
                value: output.value,
                height: mined(shown.standing, output).unwrap_or(height),
            };
            self.output(spender, output, &place, shown);
        }
    }

    /// Ours is the script that our shutdown named. If it is the wallet's, the wallet's books have it.
    fn mutual(
        &mut self,
        record: &ChannelRecord,
        txid: Txid,
        height: BlockHeight,
        tx: &Transaction,
    ) {
        for (vout, output) in (0_u32..).zip(&tx.output) {
            let place = Place {
                outpoint: OutPoint { txid, vout },
                value: Satoshi(output.value.to_sat()),
                height,
            };
            let tag = match output.script_pubkey == record.live.shutdown_script {
                true => Tag::Deposit,
                false => Tag::ToThem,
            };
            self.add(Account::External, &place, tag, None, |_| {});
        }
    }

    fn output(
        &mut self,
        spender: Spender,
        output: &OutputStanding,
        place: &Place,
        shown: &Shown<'_>,
    ) {
        let theirs = |book: &mut Book, tag| book.add(Account::External, place, tag, None, |_| {});
        match (output.kind, spender) {
            (OutputKind::ToLocal, Spender::Ours) => self.balance(output, place, Tag::DelayedToUs),
            (OutputKind::ToRemote, Spender::Theirs | Spender::Revoked | Spender::Unknown) => {
                self.balance(output, place, Tag::DelayedToUs);
            }
            (OutputKind::ToLocal | OutputKind::HtlcTx(_), Spender::Revoked) => {
                self.won(output, place, Tag::Penalty, Some(Tag::Stolen), None, None);
            }
            (OutputKind::ToLocal | OutputKind::ToRemote, _) => theirs(self, Tag::ToThem),
            (OutputKind::Anchor, _) => theirs(self, Tag::Anchor),
            (OutputKind::HtlcTx(_), Spender::Ours) => self.balance(output, place, Tag::HtlcTx),
            (OutputKind::Htlc(_), Spender::Revoked) => {
                self.won(output, place, Tag::Penalty, None, None, None);
            }
            (OutputKind::Htlc(key), Spender::Ours | Spender::Theirs) => {
                let (ours, lost) = match key.offerer {
                    Side::Local => (Tag::HtlcTimeout, Tag::HtlcFulfill),
                    Side::Remote => (Tag::HtlcFulfill, Tag::HtlcTimeout),
                };
                // From our commitment it goes through an HTLC transaction.
                let left = (spender == Spender::Ours).then_some(ours);
                let hash = (shown.payment_hash)(key);
                self.won(output, place, ours, Some(lost), left, hash);
            }
            (OutputKind::Theirs | OutputKind::Close, Spender::Unknown) => {
                theirs(self, Tag::Penalty);
            }
            (OutputKind::Theirs | OutputKind::Close, _) if output.value == ANCHOR_VALUE => {
                theirs(self, Tag::Anchor);
            }
            (OutputKind::Theirs | OutputKind::Close, _) => theirs(self, Tag::ToThem),
            (
                OutputKind::HtlcTx(_) | OutputKind::Htlc(_),
                Spender::Theirs | Spender::Unknown | Spender::MutualClose,
            ) => {}
        }
    }

    /// Ours for certain, from when it is in a block until we take it.
    fn balance(&mut self, output: &OutputStanding, place: &Place, tag: Tag) {
        match output.fate {
            Fate::Waits { .. }
            | Fate::NeedsCoins { .. }
            | Fate::NeedsLowerFees
            | Fate::Claimed { .. } => {
                self.add(Account::Own, place, tag, None, |_| {});
            }
            Fate::Spent { .. } => self.won(output, place, tag, Some(Tag::Penalized), None, None),
            Fate::Left | Fate::NeedsPreimage { .. } | Fate::Uneconomic => {}
        }
    }

    /// Ours once we have taken it. `lost`: what it is if the peer did; `left`: what it left as, if not to
    /// the wallet.
    fn won(
        &mut self,
        output: &OutputStanding,
        place: &Place,
        tag: Tag,
        lost: Option<Tag>,
        left: Option<Tag>,
        hash: Option<PaymentHash>,
    ) {
        match (output.fate, lost) {
            (
                Fate::Spent {
                    by_us: true,
                    txid,
                    height,
                },
                _,
            ) => {
                self.add(Account::Own, place, tag, None, |m| m.payment_hash = hash);
                let left = left.unwrap_or(Tag::ToWallet);
                self.add(Account::Own, place, left, Some(txid), |moved| {
                    (moved.payment_hash, moved.height) = (hash, height);
                });
            }
            (Fate::Spent { by_us: false, .. }, Some(lost)) => {
                self.add(Account::External, place, lost, None, |m| {
                    m.payment_hash = hash
                });
            }
            (Fate::Spent { by_us: false, .. }, None)
            | (
                Fate::Left
                | Fate::Waits { .. }
                | Fate::NeedsPreimage { .. }
                | Fate::NeedsCoins { .. }
                | Fate::NeedsLowerFees
                | Fate::Claimed { .. }
                | Fate::Uneconomic,
                _,
            ) => {}
        }
    }
}
