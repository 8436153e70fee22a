//! This channel's books, written in the batches of what they tell of.

use channel::action::Removal;
use channel::state::{HtlcRecord, HtlcState};
use lightningd_db::{Batch, DbError};
use tx::ledger::HtlcKey;
use wire::PaymentHash;

use super::{Channel, Stage};
use crate::books::channel as books;
use crate::store::channels as records;
use crate::store::channels::ChannelRecord;
use crate::store::moves::{self, What};

impl Channel {
    /// HTLCs that were settled within the channel, in the batch that takes their records out.
    pub(super) fn book_settled(&self, batch: &mut Batch, gone: &[(HtlcKey, HtlcRecord)]) {
        for (key, record) in gone.iter().filter(|(_, record)| is_fulfilled(record)) {
            match books::of_settled(&self.node.db, self.dbid, *key, record) {
                Ok(moved) => moves::put_channel(batch, self.dbid, what(*key), &moved),
                Err(error) => return self.node.database_failed(&error),
            }
        }
    }

    /// What the chain has done to the channel, as far as it is known.
    pub(super) fn book(&self, batch: &mut Batch) {
        if let Err(error) = self.try_book(batch) {
            self.node.database_failed(&error);
        }
    }

    /// The same by itself, when onchaind says more.
    pub(super) fn book_now(&self) {
        let mut batch = Batch::new();
        self.book(&mut batch);
        if !batch.is_empty() {
            self.write(batch);
        }
    }

    fn try_book(&self, batch: &mut Batch) -> Result<(), DbError> {
        let Stage::Open(record, htlcs) = &self.stage else {
            return Ok(());
        };
        let (db, dbid) = (&self.node.db, self.dbid);
        self.book_push(batch, record)?;
        let Some((txid, _)) = record.facts.spent_by else {
            return moves::set_all(db, batch, dbid, books::chain_moves(record, None));
        };
        let stands = |standing: &&onchain::action::Standing| {
            standing.spender.is_some_and(|(_, by, _)| by == txid)
        };
        let known = self.onchain.standing.as_ref().filter(stands);
        let shown = known.zip(self.spending_tx(txid));
        let Some((standing, tx)) = shown else {
            // What is written of this spend stays until onchaind has told again what it knows.
            return self.book_spend(batch, record);
        };
        let payment_hash = |key: HtlcKey| -> Option<PaymentHash> {
            let here = htlcs.get(&key).map(|record| record.htlc);
            let htlc = here.or_else(|| records::htlc(db, dbid, key).ok().flatten());
            htlc.map(|htlc| htlc.payment_hash)
        };
        let shown = books::Shown {
            standing,
            tx: &tx,
            htlcs,
            payment_hash: &payment_hash,
        };
        moves::set_all(db, batch, dbid, books::chain_moves(record, Some(&shown)))?;
        for key in htlcs.keys() {
            let closed = books::in_closing(record, &shown).find(|(settled, _)| settled == key);
            let there = moves::channel(db, dbid, what(*key))?.is_some();
            match closed {
                Some((_, htlc)) if !there => {
                    let moved = books::of_settled(db, dbid, *key, htlc)?;
                    moves::put_channel(batch, dbid, what(*key), &moved);
                }
                None if there => moves::take_back_channel(batch, dbid, what(*key)),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// The spend of the funding output alone, unless it is written already.
    fn book_spend(&self, batch: &mut Batch, record: &ChannelRecord) -> Result<(), DbError> {
        let wanted = books::chain_moves(record, None);
        let written = moves::chain_of(&self.node.db, self.dbid.0)?;
        let same = |(key, moved): &(moves::ChainKey, moves::ChainMove)| {
            let there = written.iter().find(|(there, _)| there == key);
            there.is_some_and(|(_, there)| {
                (there.spending_txid, there.height) == (moved.spending_txid, moved.height)
            })
        };
        match wanted.iter().all(same) {
            true => Ok(()),
            false => moves::set_all(&self.node.db, batch, self.dbid, wanted),
        }
    }

    fn book_push(&self, batch: &mut Batch, record: &ChannelRecord) -> Result<(), DbError> {
        let opened = record.facts.funding_height.is_some();
        let wanted = books::pushed(&record.live).filter(|_| opened);
        let there = moves::channel(&self.node.db, self.dbid, What::Push)?;
        match (there, wanted) {
            (None, Some(pushed)) => moves::put_channel(batch, self.dbid, What::Push, &pushed),
            (Some(_), None) => moves::take_back_channel(batch, self.dbid, What::Push),
            (None, None) | (Some(_), Some(_)) => {}
        }
        Ok(())
    }

    /// At the start: of a channel from before there were books, one entry stands for all that went over.
    pub(super) fn begin_books(&self) {
        let Some(record) = self.record() else { return };
        match moves::is_empty(&self.node.db, self.dbid.0) {
            Ok(true) if record.facts.funding_height.is_some() => {}
            Ok(_) => return,
            Err(error) => return self.node.database_failed(&error),
        }
        let mut batch = Batch::new();
        if let Some(before) = books::before(&record.live) {
            moves::put_channel(&mut batch, self.dbid, What::Before, &before);
        }
        self.book(&mut batch);
        self.write(batch);
    }

    /// What spent the funding output, as onchaind has it.
    fn spending_tx(&self, txid: bitcoin::Txid) -> Option<bitcoin::Transaction> {
        let state = self.onchain_record().state?;
        let first = state.confirmed.first()?.tx.decode()?;
        (first.compute_txid() == txid).then_some(first)
    }
}

/// Whether hsmd did not sign the commitment that it was added with: it was never offered.
pub(super) fn is_taken_back(record: &HtlcRecord) -> bool {
    record.state == HtlcState::SentAddCommit
}

/// Whether it ended with its preimage.
pub(super) fn is_fulfilled(record: &HtlcRecord) -> bool {
    matches!(record.removal, Some(Removal::Fulfil { .. }))
}

fn what(key: HtlcKey) -> What {
    match key.offerer {
        wire::Side::Local => What::OfferedHtlc(key.id.0),
        wire::Side::Remote => What::ReceivedHtlc(key.id.0),
    }
}
