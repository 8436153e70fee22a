//! What the journal amounts to. Changed by [`State::apply`] alone, at start as while running.

use std::collections::BTreeMap;
use std::io;

use bitcoin::{OutPoint, Txid};
use wire::{ChannelDbid, Satoshi, ShortChannelId};

use crate::channel::Channel;
use crate::coins::{Coins, Fate, Pin};
use crate::flows::{Flows, HtlcAt};
use crate::gossip::Timestamps;
use crate::invoices::Invoices;
use crate::pay::MAX_BUDGETS;
use crate::record::{Change, Record, Spent};
use crate::secret::fill_random;
use crate::spending::{Cause, Grant, Spending};
use crate::tip::Tip;

/// Coins in one record of a compacted journal.
const COINS: usize = 10_000;
/// So many channels and preimages at most were begun after a backup, or by one life of the node.
pub const RUN: u64 = 1 << 20;
/// So many runs at most are skipped at once: two lives hardly ever begin at the same, and the owner's tool can try
/// all, where nothing but the seed is left of a channel.
pub const LONGEST_SKIP: u64 = 1 << 20;

/// A record does not fit what came before it: a damaged journal, or our bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(pub(crate) &'static str);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) next_dbid: ChannelDbid,
    /// Channels below this one are of a backup or a life before this journal; 0 if there was none.
    pub(crate) copied_below: ChannelDbid,
    pub(crate) next_address: u32,
    pub(crate) channels: BTreeMap<ChannelDbid, Channel>,
    /// What pays for the HTLCs that went out (H1, H2).
    pub(crate) flows: Flows,
    pub(crate) coins: Coins,
    pub(crate) spending: Spending,
    pub(crate) invoices: Invoices,
    /// Of the newest channel_update of each name (G2).
    pub(crate) updates: Timestamps,
    pub(crate) tip: Tip,
    /// To the owner, once (R2).
    pub(crate) mnemonic_shown: bool,
}

impl State {
    pub(crate) fn new() -> State {
        State {
            next_dbid: ChannelDbid(1),
            ..State::default()
        }
    }

    pub(crate) fn apply(&mut self, record: Record) -> Result<(), Misfit> {
        match record {
            Record::Address(index) => self.take_address(index)?,
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
                let channel = Channel::new(peer, shutdown_index);
                self.channels.insert(dbid, channel);
            }
            Record::Recovered(dbid, channel) => {
                self.take_address(channel.shutdown_index)?;
                let next = ChannelDbid(dbid.0.saturating_add(1));
                self.next_dbid = self.next_dbid.max(next);
                if self.channels.insert(dbid, *channel).is_some() {
                    return Err(Misfit("a known channel was recovered"));
                }
            }
            Record::Channel { dbid, change } => self.change(dbid, change)?,
            Record::Forget(dbid) => {
                self.updates.remove(&dbid);
                let has_ended = |id| self.tip.has_ended(dbid, id);
                self.flows.forget(dbid, has_ended);
                self.tip.forget(dbid);
                // What its opening was to give away stays here.
                let push = Cause::Push(dbid);
                self.spending.end(push, self.spending.charged(push));
                let forgotten = self.channels.remove(&dbid);
                forgotten.ok_or(Misfit("an unknown channel was forgotten"))?;
            }
            Record::Coins(coins) => {
                for (outpoint, value) in coins {
                    self.coins.see(outpoint, value);
                }
            }
            Record::SnapshotCounters {
                next_dbid,
                copied_below,
                next_address,
            } => {
                if *self != State::new() {
                    return Err(Misfit("a snapshot within a journal"));
                }
                (self.next_dbid, self.copied_below) = (next_dbid, copied_below);
                self.next_address = next_address;
            }
            Record::SnapshotChannel { dbid, channel } => {
                if dbid >= self.next_dbid || self.channels.insert(dbid, *channel).is_some() {
                    return Err(Misfit("a channel's snapshot is out of place"));
                }
            }
            // They are about the journal itself.
            Record::Start { .. } | Record::SnapshotHeads(_) => {}
            Record::Approved { hash, budget } => {
                if self.flows.len() >= MAX_BUDGETS {
                    self.flows.drop_over(budget.approved);
                }
                self.flows.approve(hash, budget);
            }
            Record::SnapshotFlow { hash, flow } => self.flows.restore(hash, flow)?,
            Record::Spent(spent) => self.spend(&spent)?,
            Record::Paid { at, cause, grant } => self.spending.paid(at, cause, grant)?,
            Record::PaymentEnded { hash, unspent } => {
                self.spending.end(Cause::Payment(hash), unspent);
                self.flows.end_budget(hash);
            }
            Record::Limits(limits) => self.spending.limits = limits,
            Record::Allowed(script) => drop(self.spending.allowlist.insert(script)),
            Record::Disallowed(script) => drop(self.spending.allowlist.remove(&script)),
            Record::OperatorApproved { at, what } => self.spending.approve(at, what),
            Record::SnapshotCoins(pins) => self.coins.restore(pins),
            Record::SnapshotSpending(spending) => self.spending = *spending,
            Record::Preimage(number, hash) => self.invoices.take_number(number, hash)?,
            Record::Invoice(hash, terms) => self.invoices.register(hash, terms)?,
            Record::DropInvoices(now) => self.invoices.drop_old(now, &self.channels),
            Record::Update(dbid, scid, timestamp) => {
                let names = self.updates.entry(dbid).or_default();
                names.insert(scid, timestamp);
            }
            Record::SnapshotPreimages { next, unsigned } => {
                self.invoices.restore_numbers(next, unsigned);
            }
            Record::MnemonicShown => self.mnemonic_shown = true,
            Record::Recovery => {
                (self.channels.values_mut()).for_each(|channel| channel.recover(false));
            }
            Record::Copied(next_dbid, next_preimage) => {
                // What had no funding output here may have had one since.
                self.channels.retain(|_, channel| channel.funded().is_ok());
                (self.channels.values_mut()).for_each(|channel| channel.recover(true));
                (self.next_dbid, self.copied_below) = (next_dbid, next_dbid);
                self.invoices.skip_to(next_preimage);
            }
            Record::SnapshotInvoices(invoices) => self.invoices.restore(invoices),
            Record::Told(height, told) => self.tip.apply(height, told)?,
            Record::SnapshotTip(tip) => self.tip = *tip,
        }
        Ok(())
    }

    fn change(&mut self, dbid: ChannelDbid, change: Change) -> Result<(), Misfit> {
        if let Change::Remote(next) = &change {
            self.flows.note_offers(dbid, &next.deltas, &next.tickets)?;
        }
        self.flows.note_preimages(dbid, change.deltas());
        let touched = self.invoices.touched(&change);
        let channel = self.channels.get_mut(&dbid);
        let channel = channel.ok_or(Misfit("a change of no channel"))?;
        for (key, htlc) in channel.apply(change)? {
            let (channel, id) = (dbid, key.id);
            let at = HtlcAt { channel, id };
            self.flows.settle(at, key.offerer, htlc.payment_hash);
        }
        self.invoices.note(dbid, touched, &self.channels);
        Ok(())
    }

    fn spend(&mut self, spent: &Spent) -> Result<(), Misfit> {
        self.coins.spend(spent.txid, &spent.inputs);
        for (outpoint, value) in &spent.ours {
            self.coins.see(*outpoint, *value);
        }
        match spent.grant {
            Grant::Charge(amount) => self.coins.charge(&spent.coin, amount),
            Grant::Approval(_) => {}
        }
        self.spending.spent(spent.at, spent.grant, spent.coin)
    }

    /// Whether this transaction was the last that was signed for its coins.
    pub(crate) fn is_signed(&self, txid: Txid, inputs: &[(OutPoint, Satoshi)]) -> bool {
        let by_it = |(outpoint, _): &(OutPoint, Satoshi)| {
            let pin = self.coins.get(outpoint);
            pin.is_some_and(|pin| pin.fate == Fate::Spent(txid))
        };
        inputs.iter().all(by_it)
    }

    /// What the node holds, as far as it is known here: our side of the channels that are open and
    /// unspent coins.
    pub(crate) fn holds(&self) -> Satoshi {
        let channels = self.channels.values().map(Channel::our_balance);
        channels.fold(self.coins.balance(), Satoshi::saturating_add)
    }

    /// That this state is of a backup, or was lost: numbers that may have been given out since never come
    /// again. At random, so that each such loss goes on elsewhere.
    pub(crate) fn copied(&self) -> io::Result<Record> {
        let mut random = [0; 4];
        fill_random(&mut random)?;
        let runs = 1 + u64::from(u32::from_le_bytes(random)) % LONGEST_SKIP;
        let skipped = RUN.saturating_mul(runs);
        let next_dbid = ChannelDbid(self.next_dbid.0.saturating_add(skipped));
        Ok(Record::Copied(next_dbid, self.invoices.beyond(skipped)))
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
            copied_below: self.copied_below,
            next_address: self.next_address,
        };
        let channels = self.channels.iter().map(|(dbid, channel)| {
            let (dbid, channel) = (*dbid, Box::new(channel.clone()));
            Record::SnapshotChannel { dbid, channel }
        });
        let pins: Vec<(OutPoint, Pin)> = self.coins.pins().collect();
        let coins: Vec<Record> = pins
            .chunks(COINS)
            .map(|chunk| Record::SnapshotCoins(chunk.to_vec()))
            .collect();
        let spending = Record::SnapshotSpending(Box::new(self.spending.clone()));
        let flows = self.flows.iter().map(|(hash, flow)| {
            let flow = flow.clone();
            Record::SnapshotFlow { hash, flow }
        });
        let updates = self.updates.iter().flat_map(|(dbid, names)| {
            let update = |(scid, at): (&ShortChannelId, &u32)| Record::Update(*dbid, *scid, *at);
            names.iter().map(update)
        });
        let tip = Record::SnapshotTip(Box::new(self.tip.clone()));
        [counters, spending, tip]
            .into_iter()
            .chain(channels)
            .chain(coins)
            .chain(flows)
            .chain(self.invoices.snapshot())
            .chain(updates)
            .chain(self.mnemonic_shown.then_some(Record::MnemonicShown))
    }
}
