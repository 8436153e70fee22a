//! How the HTLCs that we offered ended in a spent channel, from what blocks prove (BOLT 5).
//!
//! A block commits to its transactions without their witnesses, so what an input shows is not looked
//! at: whether the peer took an HTLC is told by outputs. Of an HTLC in its commitment it has our
//! signature for one output alone, that of its HTLC-success transaction; any other spend is ours. Of one
//! in our commitment our HTLC-timeout transaction has one output that pays us all of it; any other
//! spend counts as the peer's.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, Transaction, TxOut, Txid};
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, CommitmentNumber, HtlcId, Side};

use crate::commitment::{Commitment, number_of};
use crate::error::TxError;
use crate::limits::WORTHLESS;
use crate::setup::{Funding, Setup};

/// What spent the funding output, as far as HTLCs that we offered go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spender {
    /// A mutual close, which has none, or a commitment that the peer has revoked, of which all is ours.
    NoHtlcs,
    Commitment {
        txid: Txid,
        owner: Side,
        /// Those that have an output, and not a [`WORTHLESS`] one.
        offered: BTreeMap<HtlcId, Offered>,
    },
    /// A commitment that is not known: data was lost.
    Unknown,
}

/// The output of an HTLC that we offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    vout: u32,
    /// That of the second-stage transaction of the commitment's owner.
    second: TxOut,
}

impl Spender {
    /// `None` if `tx` does not spend the funding output. `live`: the commitments that are not revoked;
    /// `first_live`: the peer has revoked those of its numbers that are below.
    ///
    /// # Errors
    /// As [`Commitment::htlc_transactions`].
    pub fn of(
        setup: &Setup,
        funding: &Funding,
        tx: &Transaction,
        live: &[Commitment],
        first_live: CommitmentNumber,
    ) -> Result<Option<Spender>, TxError> {
        let spends = |outpoint: &OutPoint| *outpoint == funding.outpoint;
        if !tx.input.iter().any(|input| spends(&input.previous_output)) {
            return Ok(None);
        }
        let txid = tx.compute_txid();
        if let Some(commitment) = live.iter().find(|live| live.tx.compute_txid() == txid) {
            return Spender::commitment(commitment, txid).map(Some);
        }
        // Our signature is on our own newest commitment alone, and we revoke nothing after it: with a
        // number that is revoked it is the peer's. What has no number is a mutual close.
        Ok(Some(match number_of(setup, tx) {
            Some(n) if n >= first_live => Spender::Unknown,
            Some(_) | None => Spender::NoHtlcs,
        }))
    }

    fn commitment(commitment: &Commitment, txid: Txid) -> Result<Spender, TxError> {
        let mut offered = BTreeMap::new();
        let all = commitment.htlc_transactions()?;
        for htlc in all.iter().filter(|htlc| htlc.amount >= WORTHLESS) {
            let outputs = htlc.tx.input.first().zip(htlc.tx.output.first());
            if let (Side::Local, Some((input, output))) = (htlc.key.offerer, outputs) {
                let vout = input.previous_output.vout;
                let second = output.clone();
                offered.insert(htlc.key.id, Offered { vout, second });
            }
        }
        let owner = commitment.owner;
        Ok(Spender::Commitment {
            txid,
            owner,
            offered,
        })
    }

    /// Whether the peer can never take this HTLC of ours, once the spend is buried.
    #[must_use]
    pub fn excludes(&self, id: HtlcId) -> bool {
        match self {
            Spender::NoHtlcs => true,
            Spender::Commitment { offered, .. } => !offered.contains_key(&id),
            Spender::Unknown => false,
        }
    }

    /// Which HTLCs of ours `tx` takes back; `None` if it spends none of their outputs.
    #[must_use]
    pub fn taken_back(&self, tx: &Transaction) -> Option<Vec<HtlcId>> {
        let Spender::Commitment {
            txid,
            owner,
            offered,
        } = self
        else {
            return None;
        };
        let (mut spends, mut ids) = (false, Vec::new());
        for (at, input) in tx.input.iter().enumerate() {
            let spent = input.previous_output;
            for (id, htlc) in offered {
                if spent.txid != *txid || spent.vout != htlc.vout {
                    continue;
                }
                spends = true;
                // BOLT 3, HTLC-Timeout and HTLC-Success Transactions: the output stands where the input does.
                let by_owner = tx.output.get(at) == Some(&htlc.second);
                if by_owner == (*owner == Side::Local) {
                    ids.push(*id);
                }
            }
        }
        spends.then_some(ids)
    }
}

/// A channel whose funding output is spent in a block, and which HTLCs of ours came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The block that spends the funding output.
    pub height: BlockHeight,
    pub spender: Spender,
    ended: BTreeMap<HtlcId, BlockHeight>,
}

impl Closed {
    #[must_use]
    pub fn new(height: BlockHeight, spender: Spender) -> Closed {
        let ended = BTreeMap::new();
        Closed {
            height,
            spender,
            ended,
        }
    }

    /// The block at this height takes them back.
    pub fn end(&mut self, ids: &[HtlcId], height: BlockHeight) {
        self.ended.extend(ids.iter().map(|id| (*id, height)));
    }

    #[must_use]
    pub fn knows(&self, ids: &[HtlcId]) -> bool {
        ids.iter().all(|id| self.ended.contains_key(id))
    }

    /// Blocks from this height on are gone. Says whether the spend is not.
    pub fn stays_below(&mut self, from: BlockHeight) -> bool {
        self.ended.retain(|_, height| *height < from);
        self.height < from
    }

    /// Whether the peer can no longer take this HTLC of ours; `buried` says which blocks are deep enough.
    #[must_use]
    pub fn has_ended(&self, id: HtlcId, buried: impl Fn(BlockHeight) -> bool) -> bool {
        let came_back = || self.ended.get(&id).is_some_and(|height| buried(*height));
        buried(self.height) && (self.spender.excludes(id) || came_back())
    }
}
