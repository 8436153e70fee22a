//! One payment's attempts, one after another: a route from payd, an approval from hsmd, an HTLC, and
//! what its end says about the next route.

use std::time::Duration;

use channel::action::{AddRefusal, Origin, Removal};
use ipc_messages::lightningd_payd::{PaymentOnion, Routed};
use lightningd_db::{Batch, DbError};
use onion::Failure;
use routing::{LocalChannel, NoRoute, RouteRequest};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tx::ledger::Htlc;
use wire::{MilliSatoshi, NodeId, ShortChannelId};

use super::{Paid, PartEnd, PayError, PayRequest, completed, lock};
use crate::channel::Mail;
use crate::channels::Summary;
use crate::node::Node;
use crate::store::now;
use crate::store::payments::{self as records, Part, PartStatus, Payment};

/// Pause before another try when nothing else has changed.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A payment under way.
pub struct Attempts<'a> {
    node: &'a Node,
    groupid: u64,
    next_part: u64,
    deadline: Instant,
    excluded: Vec<ShortChannelId>,
    request: PayRequest,
}

/// When a payment can be carried; the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Prospect {
    Now,
    Later,
    Never,
}

/// What to do after a failed attempt.
enum Next {
    /// On another way, if there is one.
    TryAgain(Option<PayError>),
    GiveUp(PayError),
}

impl<'a> Attempts<'a> {
    /// None made yet; `groupid` is this payment's own.
    #[must_use]
    pub fn new(node: &'a Node, groupid: u64, request: PayRequest) -> Attempts<'a> {
        Attempts {
            node,
            groupid,
            next_part: 0,
            deadline: Instant::now() + request.retry_for,
            excluded: request.excluded.clone(),
            request,
        }
    }

    /// Pays.
    ///
    /// # Errors
    /// See [`PayError`].
    pub async fn run(mut self) -> Result<Paid, PayError> {
        let tried = self.try_all().await;
        match self.paid()? {
            Some(paid) => Ok(paid),
            None => tried.and(Err(PayError::Stopping)),
        }
    }

    /// The payment, if a part of it is complete: perhaps by a preimage that came after that had failed.
    fn paid(&self) -> Result<Option<Paid>, DbError> {
        let parts = records::parts_of(&self.node.db, self.request.payment_hash)?;
        Ok(completed(&parts))
    }

    /// One way after the other, until one is taken or none is left.
    async fn try_all(&mut self) -> Result<(), PayError> {
        self.begin()?;
        let mut last = String::from("nothing has left this node");
        let mut failed = None;
        let mut changes = self.node.channels.changes();
        while self.paid()?.is_none() {
            changes.mark_unchanged();
            let routed = match self.route().await {
                Ok(Some(routed)) => routed,
                // payd is being started again.
                Ok(None) => {
                    self.pause().await?;
                    self.may_try(&last)?;
                    continue;
                }
                // A channel may come back, and what is in flight may be what is to be spent.
                Err(PayError::NoRoute(why @ NoRoute::NoChannels)) => {
                    self.until_better(&mut changes, MilliSatoshi(1), why)
                        .await?;
                    continue;
                }
                Err(PayError::NoRoute(why @ NoRoute::NotEnough { needed, .. })) => {
                    self.until_better(&mut changes, needed, why).await?;
                    continue;
                }
                // Every way has been tried: how the last one failed says more.
                Err(PayError::NoRoute(NoRoute::Excluded)) if failed.is_some() => {
                    return Err(failed.unwrap_or(PayError::NoRoute(NoRoute::Excluded)));
                }
                Err(error) => return Err(error),
            };
            match self.attempt(&routed).await? {
                PartEnd::Ended(Removal::Fulfil { .. }) => break,
                ended => match self.after(&routed, ended).await? {
                    Next::GiveUp(error) => return Err(error),
                    Next::TryAgain(why) => {
                        failed = why.or(failed);
                        last = failed.as_ref().map_or(last, ToString::to_string);
                        self.may_try(&last)?;
                    }
                },
            }
        }
        Ok(())
    }

    /// `retry_for` bounds when an attempt begins, and none how long it takes.
    ///
    /// # Errors
    /// Time is up; `last`: how the last attempt ended.
    fn may_try(&self, last: &str) -> Result<(), PayError> {
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(PayError::TimedOut(last.to_owned())),
        }
    }

    /// Writes what is to be paid; durable with the first attempt.
    fn begin(&self) -> Result<(), DbError> {
        let request = &self.request;
        let mut batch = Batch::new();
        records::put_payment(
            &mut batch,
            &Payment {
                payment_hash: request.payment_hash,
                groupid: self.groupid,
                bolt11: Some(request.bolt11.clone()),
                description: request.description.clone(),
                label: request.label.clone(),
                destination: request.destination,
                amount: request.amount,
                created_at: now(),
                created_index: self.node.payments.next_created(),
            },
        );
        self.node.db.write(batch)
    }

    /// Whether one of our channels can carry so much.
    fn prospect(&self, needed: MilliSatoshi) -> Prospect {
        let all = self.candidates();
        let left = all.filter(|summary| !self.excluded.contains(&summary.local_alias));
        let each = left.map(|summary| {
            if summary.usable && summary.spendable >= needed {
                Prospect::Now
            } else if summary.prospect >= needed {
                Prospect::Later
            } else {
                Prospect::Never
            }
        });
        each.min().unwrap_or(Prospect::Never)
    }

    /// Waits while a channel may come to carry so much, until one can.
    ///
    /// # Errors
    /// `why`, if none will, or time is up.
    async fn until_better(
        &self,
        changes: &mut watch::Receiver<()>,
        needed: MilliSatoshi,
        why: NoRoute,
    ) -> Result<(), PayError> {
        let better = async {
            // What has changed since the route was asked for counts, too.
            let mut changed = changes.has_changed().unwrap_or(false);
            loop {
                match self.prospect(needed) {
                    Prospect::Now => return changed,
                    Prospect::Later => changed = changes.changed().await.is_ok(),
                    Prospect::Never => return false,
                }
            }
        };
        let better = tokio::select! {
            better = better => better,
            () = tokio::time::sleep_until(self.deadline) => false,
            _ = self.node.stopped() => return Err(PayError::Stopping),
        };
        if better { Ok(()) } else { Err(why.into()) }
    }

    /// Our channels that can begin a route to the destination.
    fn candidates(&self) -> impl Iterator<Item = Summary> + '_ {
        let request = &self.request;
        let first = |peer: NodeId| {
            peer == request.destination
                || request
                    .route_hints
                    .iter()
                    .flatten()
                    .any(|hop| hop.node == peer)
        };
        let all = self.node.channels.summaries().into_iter();
        all.filter(move |s| !s.pending && first(s.peer))
    }

    async fn pause(&self) -> Result<(), PayError> {
        tokio::select! {
            () = tokio::time::sleep(RETRY_PAUSE) => Ok(()),
            _ = self.node.stopped() => Err(PayError::Stopping),
        }
    }

    /// `None`: payd died meanwhile.
    async fn route(&self) -> Result<Option<Box<Routed>>, PayError> {
        let channels = self
            .candidates()
            .filter(|summary| summary.usable)
            .map(|summary| LocalChannel {
                peer: summary.peer,
                scid: summary.local_alias,
                spendable: summary.spendable,
                htlc_minimum: summary.htlc_minimum,
                htlc_maximum: summary.capacity,
                capacity: summary.capacity,
            });
        let request = &self.request;
        let find = RouteRequest {
            channels: channels.collect(),
            destination: request.destination,
            amount: request.amount,
            final_cltv_delta: request.final_cltv_delta,
            route_hints: request.route_hints.clone(),
            max_fee: request.max_fee,
            max_total_delay: request.max_delay,
            excluded: self.excluded.clone(),
        };
        let onion = PaymentOnion {
            payment_hash: request.payment_hash,
            payment_secret: request.payment_secret,
            total: request.total,
            metadata: request.metadata.clone(),
            height: self.node.chain.height(),
        };
        Ok(self.node.payd.route(find, onion).await.transpose()?)
    }

    /// Which hop failed and why, if that can be read.
    async fn read_error(
        &self,
        routed: &Routed,
        reason: Vec<u8>,
    ) -> Result<Option<(usize, Failure)>, PayError> {
        loop {
            let (secrets, reason) = (routed.secrets.clone(), reason.clone());
            match self.node.payd.read_error(secrets, reason).await {
                Some(read) => return Ok(read),
                None => self.pause().await?,
            }
        }
    }

    /// hsmd lets no HTLC out for a payment that it was not asked about before.
    async fn approve(&self) -> Result<(), PayError> {
        let request = &self.request;
        let (invoice, amount) = (request.bolt11.clone(), request.amount);
        let hsm = &self.node.hsm;
        Ok(hsm.approve_bolt11(invoice, amount, request.max_fee).await?)
    }

    /// Offers one HTLC and waits for its end, however long that takes: until then its money may be gone.
    async fn attempt(&mut self, routed: &Routed) -> Result<PartEnd, PayError> {
        let hash = self.request.payment_hash;
        self.approve().await?;
        let partid = self.next_part;
        self.next_part += 1;
        let first = self.node.channels.by_scid(routed.route.first_channel);
        let channel = first.ok_or(PayError::NoRoute(NoRoute::NoChannels))?.dbid;
        self.node.payments.write(&self.node.db, |indexes| {
            indexes.created += 1;
            Part {
                payment_hash: hash,
                groupid: self.groupid,
                partid,
                created_index: indexes.created,
                updated_index: None,
                created_at: now(),
                completed_at: None,
                destination: self.request.destination,
                amount: self.request.amount,
                amount_sent: routed.amount,
                channel,
                secrets: routed.secrets.clone(),
                status: PartStatus::Pending,
            }
        })?;
        let (ended, end) = oneshot::channel();
        lock(&self.node.payments.waiting).insert((hash, self.groupid, partid), ended);
        let htlc = Htlc {
            amount: routed.amount,
            payment_hash: hash,
            cltv_expiry: routed.cltv_expiry,
        };
        let origin = Origin::Payment {
            payment_hash: hash,
            groupid: self.groupid,
            partid,
        };
        let onion = routed.onion.clone();
        self.node.channels.tell(
            channel,
            Mail::Offer {
                origin,
                htlc,
                onion,
            },
        );
        tokio::select! {
            end = end => end.map_err(|_| PayError::Stopping),
            _ = self.node.stopped() => Err(PayError::Stopping),
        }
    }

    async fn after(&mut self, routed: &Routed, end: PartEnd) -> Result<Next, PayError> {
        let hops = &routed.route.hops;
        let error = match end {
            // These pass: the peer comes back, other HTLCs end.
            PartEnd::Refused(
                AddRefusal::NotConnected
                | AddRefusal::TooManyHtlcs(_)
                | AddRefusal::TooMuchInFlight(_),
            ) => {
                self.pause().await?;
                return Ok(Next::TryAgain(None));
            }
            PartEnd::Refused(why) => {
                tracing::debug!("our own channel does not take the HTLC: {why}");
                self.excluded.push(routed.route.first_channel);
                return Ok(Next::TryAgain(None));
            }
            PartEnd::TimedOut => {
                self.excluded.push(routed.route.first_channel);
                return Ok(Next::TryAgain(None));
            }
            PartEnd::Ended(Removal::Fail { reason }) => self.read_error(routed, reason).await?,
            PartEnd::Ended(Removal::Malformed {
                sha256_of_onion,
                failure_code,
            }) => Failure::from_malformed(failure_code, sha256_of_onion)
                .ok()
                .map(|f| (0, f)),
            PartEnd::Ended(Removal::Fulfil { .. }) => None,
        };
        let Some((hop, failure)) = error else {
            self.excluded.push(routed.route.first_channel);
            return Ok(Next::GiveUp(PayError::Failed {
                failure_hop: 0,
                destination: false,
                failure: None,
            }));
        };
        let destination = hop + 1 == hops.len();
        // The erring hop could not use the channel after it: the next route avoids that one.
        let next = hops.get(hop + 1).map(|hop| hop.scid);
        let may_try = !destination && (!failure.is_permanent() || hops.len() > 2);
        let failed = PayError::Failed {
            failure_hop: hop + 1,
            destination,
            failure: Some(failure),
        };
        if let (Some(scid), true) = (next, may_try) {
            self.excluded.push(scid);
            return Ok(Next::TryAgain(Some(failed)));
        }
        Ok(Next::GiveUp(failed))
    }
}
