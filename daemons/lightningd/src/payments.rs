//! Paying: a route, an HTLC, its end, and perhaps another try.
//!
//! A part is written before its HTLC is offered and once more when that HTLC ends, in the same
//! ordered writer as the channels. So after any crash a pending part has its HTLC, or never had
//! one: [`settle_orphans`] tells which, once, at the start.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use channel::action::{AddRefusal, Origin, Removal};
use ipc_messages::lightningd_payd::{PaymentOnion, Routed};
use lightningd_db::{Batch, Db, DbError};
use onion::Failure;
use routing::{HintHop, LocalChannel, NoRoute, RouteRequest};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tx::ledger::Htlc;
use wire::{
    BlockDelta, MilliSatoshi, NodeId, PaymentHash, PaymentSecret, Preimage, ShortChannelId,
};

use crate::channel::Mail;
use crate::channels::Summary;
use crate::hsm::HsmError;
use crate::node::Node;
use crate::store::channels::Stored;
use crate::store::forwards::End;
use crate::store::now;
use crate::store::payments::{self as records, Part, PartStatus, Payment};

/// Pause before another try when nothing else has changed.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What to pay.
#[derive(Clone, Debug)]
pub struct PayRequest {
    pub bolt11: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub payment_hash: PaymentHash,
    pub payment_secret: Option<PaymentSecret>,
    pub metadata: Option<Vec<u8>>,
    pub destination: NodeId,
    pub amount: MilliSatoshi,
    /// The same, if the invoice leaves it to the payer.
    pub chosen_amount: Option<MilliSatoshi>,
    pub final_cltv_delta: BlockDelta,
    pub route_hints: Vec<Vec<HintHop>>,
    pub max_fee: MilliSatoshi,
    pub max_delay: BlockDelta,
    pub retry_for: Duration,
    pub excluded: Vec<ShortChannelId>,
}

/// A payment that arrived.
#[derive(Clone, Debug)]
pub struct Paid {
    pub preimage: Preimage,
    pub parts: u64,
    pub amount: MilliSatoshi,
    pub amount_sent: MilliSatoshi,
    pub created_at: u64,
    pub destination: NodeId,
}

/// Why a payment did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    #[error("the same payment is under way already")]
    InProgress,
    #[error("{0}")]
    NoRoute(#[from] NoRoute),
    /// By the hop of this index, 1 being our peer; 0 means that the error could not be read.
    #[error("failed by {}: {}", by(.failure_hop, .destination), .failure.as_ref().map_or("an unreadable error", |f| f.name()))]
    Failed {
        failure_hop: usize,
        destination: bool,
        failure: Option<Failure>,
    },
    #[error("timed out: {0}")]
    TimedOut(String),
    #[error(transparent)]
    Db(#[from] DbError),
    /// The signer does not approve of it.
    #[error(transparent)]
    Signer(#[from] HsmError),
    #[error("the node is stopping")]
    Stopping,
}

fn by(hop: &usize, destination: &bool) -> String {
    if *destination {
        "the destination".to_owned()
    } else {
        format!("hop {hop}")
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum PartEnd {
    Ended(Removal),
    /// The channel did not take it: nothing left.
    Refused(AddRefusal),
    /// The channel was closed on chain, and nobody can take it there any more.
    TimedOut,
}

impl From<End> for PartEnd {
    fn from(end: End) -> PartEnd {
        match end {
            End::Removed(removal) => PartEnd::Ended(removal),
            End::TimedOut => PartEnd::TimedOut,
        }
    }
}

type Key = (PaymentHash, u64, u64);

/// Who waits for which part, and what is being paid now. The only state that commands share;
/// everything else is in the database.
pub struct Payments {
    waiting: Mutex<HashMap<Key, oneshot::Sender<PartEnd>>>,
    active: Mutex<HashSet<PaymentHash>>,
    next_created: AtomicU64,
    next_updated: AtomicU64,
}

/// The counters, as the database has them at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    created: u64,
    updated: u64,
}

impl Counters {
    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db) -> Result<Counters, DbError> {
        let mut counters = Counters::default();
        for part in records::all_parts(db)? {
            counters.created = counters.created.max(part.created_index);
            counters.updated = counters.updated.max(part.updated_index.unwrap_or(0));
        }
        Ok(counters)
    }
}

impl Payments {
    #[must_use]
    pub fn new(counters: Counters) -> Payments {
        Payments {
            waiting: Mutex::default(),
            active: Mutex::default(),
            next_created: AtomicU64::new(counters.created + 1),
            next_updated: AtomicU64::new(counters.updated + 1),
        }
    }

    /// An attempt's HTLC ended: written at once, then told to who waits.
    pub fn ended(&self, node: &Node, hash: PaymentHash, groupid: u64, partid: u64, end: PartEnd) {
        match node.db.get::<Part>(&(hash.0, groupid, partid)) {
            Ok(Some(part)) if part.status == PartStatus::Pending => {
                if let Err(error) = self.write_end(node, part, &end) {
                    return node.database_failed(&error);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => tracing::error!("an HTLC ended that no payment knows ({hash})"),
            Err(error) => return node.database_failed(&error),
        }
        let waiting = lock(&self.waiting).remove(&(hash, groupid, partid));
        if let Some(waiting) = waiting {
            let _ = waiting.send(end);
        }
    }

    fn write_end(&self, node: &Node, mut part: Part, end: &PartEnd) -> Result<(), DbError> {
        part.status = match end {
            PartEnd::Ended(Removal::Fulfil { preimage }) => PartStatus::Complete {
                preimage: *preimage,
            },
            PartEnd::Ended(Removal::Fail { reason }) => PartStatus::Failed {
                reason: reason.clone(),
            },
            PartEnd::Ended(Removal::Malformed { .. }) | PartEnd::Refused(_) | PartEnd::TimedOut => {
                PartStatus::Failed { reason: Vec::new() }
            }
        };
        part.completed_at = Some(now());
        part.updated_index = Some(self.next_updated.fetch_add(1, Ordering::Relaxed));
        let mut batch = Batch::new();
        records::put_part(&mut batch, &part);
        node.db.write(batch)
    }

    /// Whether a `pay` for this hash runs now.
    #[must_use]
    pub fn is_active(&self, hash: PaymentHash) -> bool {
        lock(&self.active).contains(&hash)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Marks the hash as being paid, for as long as it lives.
struct Active<'a>(&'a Payments, PaymentHash);

impl<'a> Active<'a> {
    fn begin(payments: &'a Payments, hash: PaymentHash) -> Option<Active<'a>> {
        lock(&payments.active)
            .insert(hash)
            .then(|| Active(payments, hash))
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        lock(&self.0.active).remove(&self.1);
    }
}

/// Pays, or says how it was paid before.
///
/// # Errors
/// See [`PayError`]. After `TimedOut` the payment may still arrive.
pub async fn pay(node: &Node, request: PayRequest) -> Result<Paid, PayError> {
    let hash = request.payment_hash;
    let _active = Active::begin(&node.payments, hash).ok_or(PayError::InProgress)?;
    let before = records::parts_of(&node.db, hash)?;
    if let Some(paid) = completed(&before) {
        return Ok(paid);
    }
    if before.iter().any(|part| part.status == PartStatus::Pending) {
        return Err(PayError::InProgress);
    }
    let groupid = before.iter().map(|part| part.groupid).max().unwrap_or(0) + 1;
    let mut attempts = Attempts {
        node,
        groupid,
        next_part: 0,
        deadline: Instant::now() + request.retry_for,
        excluded: request.excluded.clone(),
        request,
    };
    attempts.run().await
}

/// The payment that these parts complete, if they do.
#[must_use]
pub fn completed(parts: &[Part]) -> Option<Paid> {
    let preimage = parts.iter().find_map(|part| match part.status {
        PartStatus::Complete { preimage } => Some((preimage, part.groupid)),
        PartStatus::Pending | PartStatus::Failed { .. } => None,
    });
    let (preimage, groupid) = preimage?;
    let done = |part: &&Part| {
        part.groupid == groupid && matches!(part.status, PartStatus::Complete { .. })
    };
    let sum = |amount: fn(&Part) -> MilliSatoshi| {
        parts
            .iter()
            .filter(done)
            .fold(MilliSatoshi(0), |sum, p| sum.saturating_add(amount(p)))
    };
    Some(Paid {
        preimage,
        parts: parts.iter().filter(done).count() as u64,
        amount: sum(|part| part.amount),
        amount_sent: sum(|part| part.amount_sent),
        created_at: parts
            .iter()
            .filter(done)
            .map(|part| part.created_at)
            .min()?,
        destination: parts.first()?.destination,
    })
}

struct Attempts<'a> {
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

impl Attempts<'_> {
    async fn run(&mut self) -> Result<Paid, PayError> {
        self.begin()?;
        let mut last = String::from("no attempt was made");
        let mut failed = None;
        let mut changes = self.node.channels.changes();
        loop {
            if Instant::now() >= self.deadline {
                return Err(PayError::TimedOut(last));
            }
            changes.mark_unchanged();
            let routed = match self.route().await {
                Ok(Some(routed)) => routed,
                // payd is being started again.
                Ok(None) => {
                    self.pause().await?;
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
            let end = match self.attempt(&routed).await? {
                Some(end) => end,
                None => return Err(PayError::TimedOut("the HTLC has not ended yet".to_owned())),
            };
            match end {
                PartEnd::Ended(Removal::Fulfil { .. }) => {
                    let parts = records::parts_of(&self.node.db, self.request.payment_hash)?;
                    return completed(&parts).ok_or(PayError::Stopping);
                }
                ended => match self.after(&routed, ended).await? {
                    Next::GiveUp(error) => return Err(error),
                    Next::TryAgain(why) => {
                        last = "the last attempt failed".to_owned();
                        failed = why.or(failed);
                    }
                },
            }
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
                created_index: self.node.payments.next_created.load(Ordering::Relaxed),
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
            total: request.amount,
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
        let (invoice, amount) = (request.bolt11.clone(), request.chosen_amount);
        let hsm = &self.node.hsm;
        Ok(hsm.approve_bolt11(invoice, amount, request.max_fee).await?)
    }

    /// Offers one HTLC and waits for its end; `None` when time is up before that.
    async fn attempt(&mut self, routed: &Routed) -> Result<Option<PartEnd>, PayError> {
        let hash = self.request.payment_hash;
        self.approve().await?;
        let partid = self.next_part;
        self.next_part += 1;
        let first = self.node.channels.by_scid(routed.route.first_channel);
        let channel = first.ok_or(PayError::NoRoute(NoRoute::NoChannels))?.dbid;
        let mut batch = Batch::new();
        records::put_part(
            &mut batch,
            &Part {
                payment_hash: hash,
                groupid: self.groupid,
                partid,
                created_index: self
                    .node
                    .payments
                    .next_created
                    .fetch_add(1, Ordering::Relaxed),
                updated_index: None,
                created_at: now(),
                completed_at: None,
                destination: self.request.destination,
                amount: self.request.amount,
                amount_sent: routed.amount,
                channel,
                secrets: routed.secrets.clone(),
                status: PartStatus::Pending,
            },
        );
        self.node.db.write(batch)?;
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
            end = end => end.map(Some).map_err(|_| PayError::Stopping),
            () = tokio::time::sleep_until(self.deadline) => Ok(None),
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

/// At the start: a pending part whose HTLC no channel has was never offered.
///
/// # Errors
/// The database fails.
pub fn settle_orphans(db: &Db, channels: &[Stored]) -> Result<usize, DbError> {
    let standing: HashSet<Origin> = channels
        .iter()
        .flat_map(|(_, htlcs)| htlcs.iter().filter_map(|(_, record)| record.origin))
        .collect();
    let mut batch = Batch::new();
    let mut count = 0;
    let mut updated = Counters::load(db)?.updated;
    for mut part in records::all_parts(db)? {
        let origin = Origin::Payment {
            payment_hash: part.payment_hash,
            groupid: part.groupid,
            partid: part.partid,
        };
        if part.status == PartStatus::Pending && !standing.contains(&origin) {
            part.status = PartStatus::Failed { reason: Vec::new() };
            part.completed_at = Some(now());
            updated += 1;
            part.updated_index = Some(updated);
            records::put_part(&mut batch, &part);
            count += 1;
        }
    }
    db.write(batch)?;
    Ok(count)
}

/// At the start: in a loss of power hsmd may have lost the approval of an HTLC that is stored here and
/// not signed yet.
///
/// # Errors
/// The database fails.
pub async fn approve_pending(node: &Node) -> Result<(), DbError> {
    let parts = records::all_parts(&node.db)?;
    let pending = |part: &&Part| part.status == PartStatus::Pending;
    for part in parts.iter().filter(pending) {
        let payments = records::groups_of(&node.db, part.payment_hash)?;
        let payment = payments.into_iter().find(|p| p.groupid == part.groupid);
        let Some(bolt11) = payment.and_then(|payment| payment.bolt11) else {
            continue;
        };
        let chosen = match invoice::parse(&bolt11) {
            Ok(invoice) if invoice.amount.is_none() => Some(part.amount),
            Ok(_) | Err(_) => None,
        };
        let max_fee = part.amount_sent.saturating_sub(part.amount);
        if let Err(error) = node.hsm.approve_bolt11(bolt11, chosen, max_fee).await {
            tracing::warn!("a payment under way is not approved again: {error}");
        }
    }
    Ok(())
}
