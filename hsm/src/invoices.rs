//! Invoices and their preimages: a hash is registered once (I1), and a preimage of ours leaves only
//! for HTLCs that pay (H4).
//!
//! A preimage is derived from the seed and a number that never comes again, so none is stored. What
//! is stored for an invoice is what it takes to judge a release: its amount, and the HTLCs with its
//! hash that peers have offered, noted as our commitments with them are verified.

use std::collections::{BTreeMap, BTreeSet};

use hsm_messages::invoice::PreimageHolder;
use invoice::Bolt11Fields;
use serde::{Deserialize, Serialize};
use tx::ledger::{Delta, Htlc, HtlcKey};
use wire::{ChainHash, ChannelDbid, HtlcId, MilliSatoshi, PaymentHash, Preimage, Side};

use crate::channel::Channel;
use crate::hsm::Hsm;
use crate::node_key::{NodeMessage, compact};
use crate::record::{Change, Record};
use crate::refused::Refused;
use crate::state::Misfit;
use hsm_files::UnixTime;

/// Most hashes that were given out and not signed for yet; of more, the oldest are forgotten.
const MAX_UNSIGNED: usize = 1024;
/// Most invoices that may still be paid.
pub(crate) const MAX_REGISTERED: usize = 250_000;
/// So many invoices are not looked through for old ones.
const FEW: usize = 1024;
/// Invoices in one record of a compacted journal.
const CHUNK: usize = 5000;

/// Counts the preimages that were derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct PreimageNumber(pub(crate) u64);

/// Where an invoice's preimage comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    Derived(PreimageNumber),
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    Due,
    /// The preimage is in a commitment of a peer's that we signed: it is no secret any more.
    Paid,
}

/// What an invoice was signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// `None`: any but nothing.
    pub(crate) amount: Option<MilliSatoshi>,
    pub(crate) expires_at: UnixTime,
    /// What was signed, and so all its fields (BOLT 11).
    pub(crate) hash: [u8; 32],
    pub(crate) source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registered {
    terms: Terms,
    standing: Standing,
    /// HTLCs that came in with its hash.
    parts: BTreeSet<(ChannelDbid, HtlcId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Invoices {
    next: PreimageNumber,
    /// Given out, not signed for.
    unsigned: BTreeMap<PaymentHash, PreimageNumber>,
    registered: BTreeMap<PaymentHash, Registered>,
}

type Channels = BTreeMap<ChannelDbid, Channel>;

/// What a channel's change means for invoices.
pub(crate) enum Touched {
    Offered(PaymentHash, HtlcId),
    Fulfilled(PaymentHash),
}

impl Invoices {
    pub(crate) fn take_number(
        &mut self,
        number: PreimageNumber,
        payment_hash: PaymentHash,
    ) -> Result<(), Misfit> {
        if number != self.next {
            return Err(Misfit("preimage numbers have a gap"));
        }
        let next = number.0.checked_add(1);
        self.next = PreimageNumber(next.ok_or(Misfit("preimages are used up"))?);
        if self.unsigned.len() >= MAX_UNSIGNED {
            let oldest = self.unsigned.iter().min_by_key(|(_, number)| **number);
            if let Some(hash) = oldest.map(|(hash, _)| *hash) {
                self.unsigned.remove(&hash);
            }
        }
        self.unsigned.insert(payment_hash, number);
        Ok(())
    }

    /// A number that many further than the next.
    pub(crate) fn beyond(&self, many: u64) -> PreimageNumber {
        PreimageNumber(self.next.0.saturating_add(many))
    }

    /// No number below this is given out any more.
    pub(crate) fn skip_to(&mut self, next: PreimageNumber) {
        self.next = self.next.max(next);
        self.unsigned.clear();
    }

    pub(crate) fn register(&mut self, hash: PaymentHash, terms: Terms) -> Result<(), Misfit> {
        self.unsigned.remove(&hash);
        let registered = Registered {
            terms,
            standing: Standing::Due,
            parts: BTreeSet::new(),
        };
        match self.registered.insert(hash, registered) {
            None => Ok(()),
            Some(_) => Err(Misfit("an invoice was registered twice")),
        }
    }

    /// Forgets what can no longer be paid: expired at `now`, or paid, and without an HTLC.
    pub(crate) fn drop_old(&mut self, now: UnixTime, channels: &Channels) {
        self.registered
            .retain(|_, invoice| !invoice.is_over(now, channels));
    }

    fn has_old(&self, now: UnixTime, channels: &Channels) -> bool {
        let mut registered = self.registered.values();
        registered.any(|invoice| invoice.is_over(now, channels))
    }

    /// I1: one invoice for a hash. `None`: the same again.
    fn check(
        &self,
        fields: &Bolt11Fields,
        hash: [u8; 32],
        holder: PreimageHolder,
    ) -> Result<Option<Terms>, Refused> {
        let payment_hash = fields.payment_hash;
        if let Some(registered) = self.registered.get(&payment_hash) {
            return match registered.terms.hash == hash {
                true => Ok(None),
                false => Err(Refused::HashRegistered(payment_hash)),
            };
        }
        let source = match (holder, self.unsigned.get(&payment_hash)) {
            (PreimageHolder::Hsmd, Some(number)) => Source::Derived(*number),
            (PreimageHolder::Lightningd, None) => Source::Foreign,
            (PreimageHolder::Hsmd, None) | (PreimageHolder::Lightningd, Some(_)) => {
                return Err(Refused::PreimageHolder(payment_hash));
            }
        };
        if self.registered.len() >= MAX_REGISTERED {
            return Err(Refused::TooManyInvoices(MAX_REGISTERED));
        }
        let expires = fields.timestamp.saturating_add(fields.expiry);
        Ok(Some(Terms {
            amount: fields.amount,
            expires_at: UnixTime(expires.as_secs()),
            hash,
            source,
        }))
    }

    /// H4: the number of the preimage that may leave.
    fn release(
        &self,
        payment_hash: PaymentHash,
        channels: &Channels,
    ) -> Result<PreimageNumber, Refused> {
        let registered = self.registered.get(&payment_hash);
        let invoice = registered.ok_or(Refused::NotOurPreimage(payment_hash))?;
        let Source::Derived(number) = invoice.terms.source else {
            return Err(Refused::NotOurPreimage(payment_hash));
        };
        let (committed, amount) = (
            invoice.committed(payment_hash, channels),
            invoice.terms.amount.unwrap_or(MilliSatoshi(1)),
        );
        match invoice.standing {
            Standing::Due if committed < amount => Err(Refused::NotPaid { committed, amount }),
            Standing::Due | Standing::Paid => Ok(number),
        }
    }

    /// What a change, before it is made, says about registered invoices. A peer's HTLC is in our
    /// commitment first, and what we fulfil leaves the peer's first.
    pub(crate) fn touched(&self, change: &Change) -> Vec<Touched> {
        let is_registered = |hash: &PaymentHash| self.registered.contains_key(hash);
        let ours = matches!(change, Change::Local(_));
        let touched = |delta: &Delta| match ours {
            true => {
                let (id, htlc) = delta.added(Side::Remote)?;
                let hash = Some(htlc.payment_hash).filter(is_registered)?;
                Some(Touched::Offered(hash, id))
            }
            false => {
                let (_, preimage) = delta.fulfilled(Side::Remote)?;
                let hash = Some(preimage.payment_hash()).filter(is_registered)?;
                Some(Touched::Fulfilled(hash))
            }
        };
        change.deltas().iter().filter_map(touched).collect()
    }

    /// Notes it, once the change is made.
    pub(crate) fn note(&mut self, dbid: ChannelDbid, touched: Vec<Touched>, channels: &Channels) {
        for touch in touched {
            let (Touched::Offered(hash, _) | Touched::Fulfilled(hash)) = &touch;
            let Some(invoice) = self.registered.get_mut(hash) else {
                continue;
            };
            match touch {
                Touched::Offered(_, id) => {
                    invoice.parts.retain(|part| pending(*part, channels));
                    invoice.parts.insert((dbid, id));
                }
                Touched::Fulfilled(_) => invoice.standing = Standing::Paid,
            }
        }
    }

    /// The records of a compacted journal.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = Record> + '_ {
        let (next, unsigned) = (self.next, self.unsigned.iter());
        let unsigned = unsigned.map(|(h, n)| (*h, *n)).collect();
        let numbers = Record::SnapshotPreimages { next, unsigned };
        let all: Vec<(&PaymentHash, &Registered)> = self.registered.iter().collect();
        let chunks: Vec<Record> = all
            .chunks(CHUNK)
            .map(|chunk| {
                Record::SnapshotInvoices(chunk.iter().map(|(h, r)| (**h, (*r).clone())).collect())
            })
            .collect();
        std::iter::once(numbers).chain(chunks)
    }

    pub(crate) fn restore_numbers(
        &mut self,
        next: PreimageNumber,
        unsigned: Vec<(PaymentHash, PreimageNumber)>,
    ) {
        self.next = next;
        self.unsigned = unsigned.into_iter().collect();
    }

    pub(crate) fn restore(&mut self, invoices: Vec<(PaymentHash, Registered)>) {
        self.registered.extend(invoices);
    }
}

impl Registered {
    /// What is committed with its hash on both sides of all channels.
    fn committed(&self, payment_hash: PaymentHash, channels: &Channels) -> MilliSatoshi {
        let htlcs = self.parts.iter().filter_map(|(dbid, id)| {
            let funded = channels.get(dbid)?.funded().ok()?;
            let htlc: &Htlc = funded.locked_in(&HtlcKey::remote(*id))?;
            (htlc.payment_hash == payment_hash).then_some(htlc.amount)
        });
        htlcs.fold(MilliSatoshi(0), MilliSatoshi::saturating_add)
    }

    fn is_over(&self, now: UnixTime, channels: &Channels) -> bool {
        let done = match self.standing {
            Standing::Due => self.terms.expires_at < now,
            Standing::Paid => true,
        };
        done && !self.parts.iter().any(|part| pending(*part, channels))
    }
}

/// Whether an HTLC is in any commitment that may still count.
fn pending((dbid, id): (ChannelDbid, HtlcId), channels: &Channels) -> bool {
    let funded = channels.get(&dbid).map(Channel::funded);
    matches!(funded, Some(Ok(funded)) if funded.holds(&HtlcKey::remote(id)))
}

impl Hsm {
    /// Derives a preimage that no invoice had before, and gives its hash.
    ///
    /// # Errors
    /// All are used up.
    pub fn new_preimage(&mut self) -> Result<PaymentHash, Refused> {
        let number = self.state.invoices.next;
        let payment_hash = self.node.preimage(number)?.payment_hash();
        self.record(Record::Preimage(number, payment_hash));
        Ok(payment_hash)
    }

    /// Signs an invoice and registers its hash: compact signature and recovery id (0 to 3).
    ///
    /// # Errors
    /// I1: another chain, fields that make no invoice, another invoice for the hash, one too many.
    pub fn sign_bolt11(
        &mut self,
        fields: &Bolt11Fields,
        holder: PreimageHolder,
    ) -> Result<([u8; 64], u8), Refused> {
        use bitcoin::constants::ChainHash as GenesisHash;
        let genesis = GenesisHash::using_genesis_block_const(fields.network);
        if ChainHash(genesis.to_bytes()) != self.chain_hash() {
            return Err(Refused::OtherChainInvoice);
        }
        let message = NodeMessage::Bolt11(fields);
        let hash = message.digest()?;
        let signature = self.node.key.sign(message)?;
        self.make_room();
        if let Some(terms) = self.state.invoices.check(fields, hash, holder)? {
            let payment_hash = fields.payment_hash;
            self.record(Record::Invoice(payment_hash, terms));
        }
        Ok(compact(&signature))
    }

    /// The preimage of an invoice of ours that is paid.
    ///
    /// # Errors
    /// H4: it is not, or the preimage is not ours.
    pub fn release(&self, payment_hash: PaymentHash) -> Result<Preimage, Refused> {
        let (invoices, channels) = (&self.state.invoices, &self.state.channels);
        let number = invoices.release(payment_hash, channels)?;
        Ok(self.node.preimage(number)?)
    }

    /// Drops invoices that are over, each time that there are twice as many as were left.
    fn make_room(&mut self) {
        let (invoices, channels, now) = (&self.state.invoices, &self.state.channels, self.now());
        let many = invoices.registered.len() >= self.sweep_invoices_at.max(FEW);
        if many && invoices.has_old(now, channels) {
            self.record(Record::DropInvoices(now));
        }
        if many {
            let left = self.state.invoices.registered.len();
            self.sweep_invoices_at = left.saturating_mul(2).min(MAX_REGISTERED);
        }
    }
}
