//! What the journal amounts to. Changed by [`State::apply`] alone, at start as while running.

use std::collections::{BTreeMap, HashMap};

use bitcoin::OutPoint;
use wire::{ChannelDbid, Satoshi};

use crate::channel::Channel;
use crate::flows::{Flows, HtlcAt};
use crate::pay::MAX_BUDGETS;
use crate::record::{Change, Record};

/// Coins in one record of a compacted journal.
const COINS: usize = 10_000;

/// A record does not fit what came before it: a damaged journal, or our bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(pub(crate) &'static str);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) next_dbid: ChannelDbid,
    pub(crate) next_address: u32,
    pub(crate) channels: BTreeMap<ChannelDbid, Channel>,
    /// Amounts of coins that were spent, as first said (W3).
    pub(crate) coins: HashMap<OutPoint, Satoshi>,
    /// What pays for the HTLCs that went out (H1, H2).
    pub(crate) flows: Flows,
}

impl State {
    pub(crate) fn new() -> State {
        State {
            next_dbid: ChannelDbid(1),
            next_address: 0,
            channels: BTreeMap::new(),
            coins: HashMap::new(),
            flows: Flows::default(),
        }
    }

    pub(crate) fn apply(&mut self, record: Record) -> Result<(), Misfit> {
        match record {
            Record::Address { index } => self.take_address(index),
            Record::NewChannel {
                dbid,
                peer,
                shutdown_index,
            } => {
                if dbid != self.next_dbid {
                    return Err(Misfit("channel numbers have a gap"));
                }
                self.take_address(shutdown_index)?;
                let next = dbid.checked_add(ChannelDbid(1));
                self.next_dbid = next.ok_or(Misfit("channel numbers are used up"))?;
                self.channels
                    .insert(dbid, Channel::new(peer, shutdown_index));
                Ok(())
            }
            Record::Channel { dbid, change } => self.change(dbid, change),
            Record::Forget { dbid } => {
                let forgotten = self.channels.remove(&dbid);
                forgotten
                    .map(drop)
                    .ok_or(Misfit("an unknown channel was forgotten"))
            }
            Record::Coins { coins } => {
                self.coins.extend(coins);
                Ok(())
            }
            Record::SnapshotCounters {
                next_dbid,
                next_address,
            } => {
                if *self != State::new() {
                    return Err(Misfit("a snapshot within a journal"));
                }
                (self.next_dbid, self.next_address) = (next_dbid, next_address);
                Ok(())
            }
            Record::SnapshotChannel { dbid, channel } => {
                if dbid >= self.next_dbid || self.channels.insert(dbid, *channel).is_some() {
                    return Err(Misfit("a channel's snapshot is out of place"));
                }
                Ok(())
            }
            // They are about the journal itself.
            Record::Start { .. } | Record::SnapshotHeads(_) => Ok(()),
            Record::Approved { hash, budget } => {
                if self.flows.len() >= MAX_BUDGETS {
                    self.flows.drop_over(budget.approved);
                }
                self.flows.approve(hash, budget);
                Ok(())
            }
            Record::SnapshotFlow { hash, flow } => self.flows.restore(hash, flow),
        }
    }

    fn change(&mut self, dbid: ChannelDbid, change: Change) -> Result<(), Misfit> {
        match &change {
            Change::Remote {
                deltas, tickets, ..
            } => {
                self.flows.note_offers(dbid, deltas, tickets)?;
                self.flows.note_preimages(dbid, deltas);
            }
            Change::Local { deltas, .. } => self.flows.note_preimages(dbid, deltas),
            Change::Setup(_)
            | Change::Funding(_)
            | Change::Revoked { .. }
            | Change::Close { .. }
            | Change::Onchain
            | Change::Stale => {}
        }
        let channel = self.channels.get_mut(&dbid);
        let gone = channel
            .ok_or(Misfit("a change of no channel"))?
            .apply(change)?;
        for (key, htlc) in gone {
            let at = HtlcAt {
                channel: dbid,
                id: key.id,
            };
            self.flows.settle(at, key.offerer, htlc.payment_hash);
        }
        Ok(())
    }

    fn take_address(&mut self, index: u32) -> Result<(), Misfit> {
        if index != self.next_address {
            return Err(Misfit("wallet addresses have a gap"));
        }
        let next = index.checked_add(1);
        self.next_address = next.ok_or(Misfit("wallet addresses are used up"))?;
        Ok(())
    }

    /// The records of a compacted journal.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = Record> + '_ {
        let counters = Record::SnapshotCounters {
            next_dbid: self.next_dbid,
            next_address: self.next_address,
        };
        let channels = self
            .channels
            .iter()
            .map(|(dbid, channel)| Record::SnapshotChannel {
                dbid: *dbid,
                channel: Box::new(channel.clone()),
            });
        let coins: Vec<(OutPoint, Satoshi)> = self.coins.iter().map(|(o, s)| (*o, *s)).collect();
        let chunks: Vec<Record> = coins
            .chunks(COINS)
            .map(|chunk| Record::Coins {
                coins: chunk.to_vec(),
            })
            .collect();
        let flows = self.flows.iter().map(|(hash, flow)| Record::SnapshotFlow {
            hash,
            flow: flow.clone(),
        });
        std::iter::once(counters)
            .chain(channels)
            .chain(chunks)
            .chain(flows)
    }
}
