//! HTLCs that go through us: our fee and delay, the way out, and back.
//!
//! A forward is a record keyed by its incoming HTLC. channeld repeats every incoming HTLC after
//! a restart, so each step here looks at the record first and is safe to repeat.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use channel::action::{AddRefusal, Origin, Removal};
use ipc_messages::lightningd_channeld::RemoveHow;
use lightningd_db::{Batch, Db, DbError};
use onion::Failure;
use tx::ledger::Htlc;
use wire::{ChannelDbid, CltvExpiry, HtlcId, MilliSatoshi, ShortChannelId};

use crate::channel::Mail;
use crate::channels::Summary;
use crate::node::Node;
use crate::store::forwards::{End, Forward, Totals};
use crate::store::now;

pub struct Forwards {
    /// By the incoming HTLC. What the database has of them does not tell whether the outgoing channel
    /// still has the offer in hand, nor whether the incoming one has been told that it will not be.
    outgoing: Mutex<HashMap<(ChannelDbid, HtlcId), Outgoing>>,
    totals: Mutex<Totals>,
}

/// What has become of an outgoing half since the start.
#[derive(Clone, Debug)]
enum Outgoing {
    /// It was offered and has not ended.
    Offered,
    /// It never left, and the incoming HTLC is being failed with this: it must not be offered after all, or
    /// what it pays for could be fulfilled while that fails.
    Refused(Failure),
}

impl Forwards {
    #[must_use]
    pub fn new(totals: Totals) -> Forwards {
        Forwards {
            outgoing: Mutex::default(),
            totals: Mutex::new(totals),
        }
    }

    /// Whether an outgoing channel has it in hand, and perhaps in no record of its own yet.
    #[must_use]
    pub fn is_offered(&self, channel: ChannelDbid, id: HtlcId) -> bool {
        matches!(self.lock().get(&(channel, id)), Some(Outgoing::Offered))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ChannelDbid, HtlcId), Outgoing>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It never leaves, whoever asks again.
    fn refuse(&self, incoming: (ChannelDbid, HtlcId), failure: &Failure) {
        let refused = Outgoing::Refused(failure.clone());
        self.lock().insert(incoming, refused);
    }

    /// The incoming HTLC is over.
    pub fn forget(&self, channel: ChannelDbid, id: HtlcId) {
        self.lock().remove(&(channel, id));
    }

    fn lock_totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all forwards have brought us.
    #[must_use]
    pub fn collected(&self) -> MilliSatoshi {
        self.lock_totals().collected
    }

    /// Writes that an outgoing half is about to be offered; again where a restart came between.
    fn begin(&self, db: &Db, key: &(u64, u64), forward: Forward) -> Result<(), DbError> {
        // Held until it is written: another may count on.
        let mut totals = self.lock_totals();
        let (mut batch, mut sum) = (Batch::new(), *totals);
        let before = db.get::<Forward>(key)?;
        let created_index = match before {
            Some(before) => before.created_index,
            None => {
                sum.created = sum.created.saturating_add(1);
                sum.put(&mut batch);
                sum.created
            }
        };
        let forward = Forward {
            created_index,
            ..forward
        };
        batch.put(key, &forward);
        db.write(batch)?;
        *totals = sum;
        Ok(())
    }

    /// Notes how an outgoing half ended, and what it has brought us, once. How it ended first, counts,
    /// unless a preimage shows later. Returns what counts.
    fn end(&self, db: &Db, key: &(u64, u64), out: HtlcId, end: End) -> Result<End, DbError> {
        let mut totals = self.lock_totals();
        let Some(forward) = db.get::<Forward>(key)? else {
            return Ok(end);
        };
        if let Some(old) = &forward.end
            && !is_better(&end, old)
        {
            return Ok(old.clone());
        }
        let updated = totals.updated.saturating_add(1);
        let done = Forward {
            end: Some(end.clone()),
            resolved_at: Some(now()),
            htlc_out: Some(out),
            updated_index: Some(updated),
            ..forward
        };
        let sum = Totals {
            collected: totals.collected.saturating_add(done.earned()),
            updated,
            ..*totals
        };
        let mut batch = Batch::new();
        batch.put(key, &done);
        sum.put(&mut batch);
        db.write(batch)?;
        *totals = sum;
        Ok(end)
    }
}

/// An HTLC further than this many blocks away is not locked up here.
const MAX_EXPIRY_BLOCKS: u32 = 2016;

/// An incoming HTLC whose onion names a next channel.
pub struct Forwarding {
    pub channel: ChannelDbid,
    pub id: HtlcId,
    pub htlc: Htlc,
    pub scid: ShortChannelId,
    pub amount: MilliSatoshi,
    pub cltv_expiry: CltvExpiry,
    pub onion: wire::OnionPacket,
}

/// Offers the outgoing half, or goes on where a restart interrupted.
///
/// # Errors
/// What to tell the origin.
pub fn begin(node: &Node, ask: Forwarding) -> Result<(), Failure> {
    let incoming = (ask.channel, ask.id);
    try_begin(node, ask).inspect_err(|failure| node.forwards.refuse(incoming, failure))
}

fn try_begin(node: &Node, ask: Forwarding) -> Result<(), Failure> {
    let key = (ask.channel.0, ask.id.0);
    // The incoming channel's process was restarted and says again what it has said: the offer may
    // be anywhere on its way to the outgoing channel's database, and must not be made twice; or its
    // refusal on its way back, and must not be made at all.
    match node.forwards.lock().get(&(ask.channel, ask.id)) {
        Some(Outgoing::Offered) => return Ok(()),
        Some(Outgoing::Refused(failure)) => return Err(failure.clone()),
        None => {}
    }
    match node.db.get::<Forward>(&key) {
        Ok(Some(Forward { end: Some(end), .. })) => {
            node.channels.tell(
                ask.channel,
                Mail::Remove {
                    id: ask.id,
                    how: how(end),
                },
            );
            return Ok(());
        }
        // Offered before the restart, and its HTLC still stands: its end will be told.
        Ok(Some(forward)) if is_out(node, &ask, forward.channel_out) => return Ok(()),
        // Written but never offered, or new.
        Ok(Some(_) | None) => {}
        Err(error) => {
            node.database_failed(&error);
            return Err(Failure::TemporaryNodeFailure);
        }
    }
    let out = node
        .channels
        .by_scid(ask.scid)
        .ok_or(Failure::UnknownNextPeer)?;
    check(node, &ask, &out)?;
    let forward = Forward {
        payment_hash: ask.htlc.payment_hash,
        amount_in: ask.htlc.amount,
        amount_out: ask.amount,
        scid_out: ask.scid,
        channel_out: out.dbid,
        received_at: now(),
        resolved_at: None,
        end: None,
        htlc_out: None,
        created_index: 0,
        updated_index: None,
    };
    if let Err(error) = node.forwards.begin(&node.db, &key, forward) {
        node.database_failed(&error);
        return Err(Failure::TemporaryNodeFailure);
    }
    let htlc = Htlc {
        amount: ask.amount,
        payment_hash: ask.htlc.payment_hash,
        cltv_expiry: ask.cltv_expiry,
    };
    let origin = Origin::Forward {
        channel: ask.channel,
        id: ask.id,
    };
    let incoming = (ask.channel, ask.id);
    (node.forwards.lock()).insert(incoming, Outgoing::Offered);
    node.channels.tell(
        out.dbid,
        Mail::Offer {
            origin,
            htlc,
            onion: ask.onion,
        },
    );
    Ok(())
}

/// Whether the outgoing half is committed to (in the database, where Persist put it).
fn is_out(node: &Node, ask: &Forwarding, out: ChannelDbid) -> bool {
    let origin = Origin::Forward {
        channel: ask.channel,
        id: ask.id,
    };
    match crate::store::channels::offered_for(&node.db, out, origin) {
        Ok(offered) => offered.is_some(),
        Err(error) => {
            node.database_failed(&error);
            true
        }
    }
}

/// BOLT 7, HTLC Fees; BOLT 4, Failure Messages: what we demand of a forward.
fn check(node: &Node, ask: &Forwarding, out: &Summary) -> Result<(), Failure> {
    let options = &node.options.channels;
    let none = Vec::new;
    if !out.usable {
        return Err(Failure::TemporaryChannelFailure {
            channel_update: none(),
        });
    }
    let fee = fee(
        options.fee_base,
        options.fee_proportional_millionths,
        ask.amount,
    );
    if ask
        .amount
        .checked_add(fee)
        .is_none_or(|least| ask.htlc.amount < least)
    {
        return Err(Failure::FeeInsufficient {
            htlc_msat: ask.htlc.amount,
            channel_update: none(),
        });
    }
    let least = ask
        .cltv_expiry
        .0
        .checked_add(u32::from(options.cltv_delta.0));
    if least.is_none_or(|least| ask.htlc.cltv_expiry.0 < least) {
        return Err(Failure::IncorrectCltvExpiry {
            cltv_expiry: ask.cltv_expiry,
            channel_update: none(),
        });
    }
    let height = node.chain.height();
    if ask.cltv_expiry <= height.plus(0) {
        return Err(Failure::ExpiryTooSoon {
            channel_update: none(),
        });
    }
    if ask.cltv_expiry > height.plus(MAX_EXPIRY_BLOCKS) {
        return Err(Failure::ExpiryTooFar);
    }
    if ask.amount < out.htlc_minimum.max(options.htlc_minimum) {
        return Err(Failure::AmountBelowMinimum {
            htlc_msat: ask.amount,
            channel_update: none(),
        });
    }
    if ask.amount > options.htlc_maximum {
        return Err(Failure::TemporaryChannelFailure {
            channel_update: none(),
        });
    }
    Ok(())
}

/// BOLT 7: base fee plus millionths of the amount forwarded. Saturates.
fn fee(base: MilliSatoshi, millionths: u32, amount: MilliSatoshi) -> MilliSatoshi {
    let part = u128::from(amount.0) * u128::from(millionths) / 1_000_000;
    base.saturating_add(MilliSatoshi(u64::try_from(part).unwrap_or(u64::MAX)))
}

fn how(end: End) -> RemoveHow {
    match end {
        End::Removed(Removal::Fulfil { preimage }) => RemoveHow::Fulfil { preimage },
        End::Removed(Removal::Fail { reason }) => RemoveHow::FailFrom { reason },
        // BOLT 4: the outgoing channel is gone for good.
        End::TimedOut => RemoveHow::FailHere {
            failure: Failure::PermanentChannelFailure,
        },
        // BOLT 4: a malformed onion further on is our own failure message with that code.
        End::Removed(Removal::Malformed {
            sha256_of_onion,
            failure_code,
        }) => {
            let failure = Failure::from_malformed(failure_code, sha256_of_onion);
            RemoveHow::FailHere {
                failure: failure.unwrap_or(Failure::TemporaryNodeFailure),
            }
        }
    }
}

/// The outgoing half, HTLC `out` of its channel, ended.
pub fn ended(node: &Node, channel: ChannelDbid, id: HtlcId, out: HtlcId, end: End) {
    node.forwards.lock().remove(&(channel, id));
    match node.forwards.end(&node.db, &(channel.0, id.0), out, end) {
        Ok(end) => (node.channels).tell(channel, Mail::Remove { id, how: how(end) }),
        Err(error) => node.database_failed(&error),
    }
}

fn is_better(new: &End, old: &End) -> bool {
    let paid = |end: &End| matches!(end, End::Removed(Removal::Fulfil { .. }));
    paid(new) && !paid(old)
}

/// The outgoing channel could not take it: it never left.
pub fn refused(node: &Node, channel: ChannelDbid, id: HtlcId, why: &AddRefusal) {
    tracing::debug!("forward refused: {why}");
    // BOLT 4: the outgoing channel cannot take it now.
    let failure = Failure::TemporaryChannelFailure {
        channel_update: Vec::new(),
    };
    node.forwards.refuse((channel, id), &failure);
    node.channels.tell(
        channel,
        Mail::Remove {
            id,
            how: RemoveHow::FailHere { failure },
        },
    );
    let mut batch = Batch::new();
    batch.delete::<Forward>(&(channel.0, id.0));
    if let Err(error) = node.db.write(batch) {
        node.database_failed(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_stays_so_until_its_htlc_is_over() {
        let forwards = Forwards::new(Totals::default());
        let incoming = (ChannelDbid(1), HtlcId(7));
        forwards.lock().insert(incoming, Outgoing::Offered);
        let failure = Failure::TemporaryNodeFailure;
        forwards.refuse(incoming, &failure);
        // Its channel says it again before it has heard that: the same answer.
        let refused = |forwards: &Forwards| match forwards.lock().get(&incoming) {
            Some(Outgoing::Refused(failure)) => Some(failure.clone()),
            Some(Outgoing::Offered) | None => None,
        };
        assert_eq!(refused(&forwards), Some(failure));
        forwards.forget(incoming.0, incoming.1);
        assert_eq!(refused(&forwards), None);
    }
}
