//! Our newest commitment, as whoever knows its point can build it: what would be broadcast now if the peer
//! were of no help.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bitcoin::{Transaction, Txid};
use channel::state::{HtlcRecord, Live};
use secp256k1::PublicKey;
use tx::Commitment;
use tx::ledger::HtlcKey;
use wire::{CommitmentNumber, Satoshi, Side};

use super::{Channel, Stage, ours};
use crate::store::channels::ChannelRecord;

/// The number and point of our newest commitment, which are in no record: hsmd tells them with a
/// socket for one of the channel's processes, and channeld with each new one.
pub struct Newest {
    n: CommitmentNumber,
    point: PublicKey,
    /// Built when somebody first asks.
    shown: OnceLock<Option<LastTx>>,
}

/// A transaction that spends the funding output: CLN's `scratch_txid` and `last_tx_fee_msat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastTx {
    pub txid: Txid,
    pub fee: Satoshi,
}

impl LastTx {
    /// What ends the channel, if it is ending.
    #[must_use]
    pub fn closing(record: &ChannelRecord) -> Option<LastTx> {
        let closing = record.facts.closing_tx.as_ref();
        closing.map(|tx| LastTx::of(tx, &record.live))
    }

    fn of(tx: &Transaction, live: &Live) -> LastTx {
        let out = tx.output.iter().map(|output| output.value.to_sat());
        LastTx {
            txid: tx.compute_txid(),
            fee: Satoshi(live.funding.value.0.saturating_sub(out.sum())),
        }
    }
}

impl Newest {
    #[must_use]
    pub fn new(n: CommitmentNumber, point: PublicKey) -> Newest {
        Newest {
            n,
            point,
            shown: OnceLock::new(),
        }
    }

    /// Unsigned. `None` if the record is of another one: hsmd verified one more before a crash, which
    /// the peer signs again.
    fn build(&self, live: &Live, htlcs: &BTreeMap<HtlcKey, HtlcRecord>) -> Option<Transaction> {
        if live.local_next.prev() != Some(self.n) {
            return None;
        }
        let (setup, funding) = (&live.setup, &live.funding);
        let ledger = live.ledger(Side::Local, htlcs);
        match Commitment::build(setup, funding, Side::Local, self.n, &self.point, &ledger) {
            Ok(commitment) => Some(commitment.tx),
            Err(error) => {
                tracing::error!("our commitment {} cannot be built: {error}", self.n);
                None
            }
        }
    }
}

impl Channel {
    /// The transaction that ends the channel or would end it now. CLN's last transaction, too, is the mutual
    /// close where there is one.
    pub(super) fn last_tx(&self) -> Option<LastTx> {
        let Stage::Open(record, htlcs) = &self.stage else {
            return None;
        };
        let newest = || {
            let newest = self.newest.as_ref()?;
            let build = || {
                Some(LastTx::of(
                    &newest.build(&record.live, htlcs)?,
                    &record.live,
                ))
            };
            *newest.shown.get_or_init(build)
        };
        LastTx::closing(record).or_else(newest)
    }

    /// Its record, for when it is over: with our commitment, if nothing of ours spent the funding output.
    pub(super) fn last_record(&self) -> Option<ChannelRecord> {
        let Stage::Open(record, htlcs) = &self.stage else {
            return None;
        };
        let mut record = (**record).clone();
        if record.facts.closing_tx.is_none() {
            let newest = self.newest.as_ref();
            record.facts.closing_tx = newest.and_then(|newest| newest.build(&record.live, htlcs));
        }
        // Nothing goes on from it: what it shows is what is left.
        record.live.local_view.to_local = ours(&record.live, htlcs);
        Some(record)
    }
}
