//! Paying: a route, an HTLC, its end, and perhaps another try.
//!
//! A part is written before its HTLC is offered and once more when that HTLC ends, in the same
//! ordered writer as the channels. So after any crash a pending part has its HTLC, or never had
//! one: [`settle_orphans`] tells which, once, at the start.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use channel::action::{AddRefusal, Origin, Removal};
use lightningd_db::{Batch, Db, DbError};
use onion::Failure;
use routing::{HintHop, NoRoute};
use tokio::sync::oneshot;
use wire::{
    BlockDelta, MilliSatoshi, NodeId, PaymentHash, PaymentSecret, Preimage, ShortChannelId,
};

use crate::hsm::HsmError;
use crate::node::Node;
use crate::store::channels::Stored;
use crate::store::forwards::End;
use crate::store::now;
use crate::store::payments::{self as records, Indexes, Part, PartStatus};

mod attempts;

use attempts::Attempts;

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
    /// What we pay.
    pub amount: MilliSatoshi,
    /// What the payee waits for before it takes any of it. Others bring what is more than `amount`.
    pub total: MilliSatoshi,
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
    /// No attempt may begin any more, and none is under way.
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

impl Part {
    /// What it is after this end, if that is news: the first counts, but a preimage proves the payment whatever
    /// was heard before it.
    fn after(&self, end: &PartEnd) -> Option<PartStatus> {
        let status = match end {
            PartEnd::Ended(Removal::Fulfil { preimage }) => {
                let preimage = *preimage;
                let proves = preimage.payment_hash() == self.payment_hash;
                return match self.status {
                    PartStatus::Pending | PartStatus::Failed { .. } if proves => {
                        Some(PartStatus::Complete { preimage })
                    }
                    PartStatus::Pending
                    | PartStatus::Failed { .. }
                    | PartStatus::Complete { .. } => None,
                };
            }
            PartEnd::Ended(Removal::Fail { reason }) => PartStatus::Failed {
                reason: reason.clone(),
            },
            PartEnd::Ended(Removal::Malformed { .. }) | PartEnd::Refused(_) | PartEnd::TimedOut => {
                PartStatus::Failed { reason: Vec::new() }
            }
        };
        (self.status == PartStatus::Pending).then_some(status)
    }
}

type Key = (PaymentHash, u64, u64);

/// Who waits for which part, and what is being paid now. The only state that commands share;
/// everything else is in the database.
pub struct Payments {
    waiting: Mutex<HashMap<Key, oneshot::Sender<PartEnd>>>,
    active: Mutex<HashSet<PaymentHash>>,
    indexes: Mutex<Indexes>,
}

impl Payments {
    #[must_use]
    pub fn new(indexes: Indexes) -> Payments {
        Payments {
            waiting: Mutex::default(),
            active: Mutex::default(),
            indexes: Mutex::new(indexes),
        }
    }

    /// An attempt's HTLC ended: written at once, then told to who waits.
    pub fn ended(&self, node: &Node, hash: PaymentHash, groupid: u64, partid: u64, end: PartEnd) {
        match node.db.get::<Part>(&(hash.0, groupid, partid)) {
            Ok(Some(part)) => {
                if let Some(status) = part.after(&end)
                    && let Err(error) = self.write_end(node, part, status)
                {
                    return node.database_failed(&error);
                }
            }
            Ok(None) => tracing::error!("an HTLC ended that no payment knows ({hash})"),
            Err(error) => return node.database_failed(&error),
        }
        let waiting = lock(&self.waiting).remove(&(hash, groupid, partid));
        if let Some(waiting) = waiting {
            let _ = waiting.send(end);
        }
    }

    fn write_end(&self, node: &Node, mut part: Part, status: PartStatus) -> Result<(), DbError> {
        part.status = status;
        part.completed_at = Some(now());
        self.write(&node.db, |indexes| {
            indexes.updated += 1;
            part.updated_index = Some(indexes.updated);
            part
        })
    }

    /// Writes a part and the indexes that it takes. One after another, so that the database never has
    /// lower ones than a part.
    fn write(&self, db: &Db, part: impl FnOnce(&mut Indexes) -> Part) -> Result<(), DbError> {
        let mut indexes = lock(&self.indexes);
        let part = part(&mut indexes);
        let mut batch = Batch::new();
        records::put_part(&mut batch, &part);
        indexes.put(&mut batch);
        db.write(batch)
    }

    /// The index that the next part gets.
    fn next_created(&self) -> u64 {
        lock(&self.indexes).created + 1
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
/// See [`PayError`]. Only after `Stopping` and `InProgress` may the payment still arrive.
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
    Attempts::new(node, groupid, request).run().await
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
    let mut indexes = Indexes::load(db)?;
    for mut part in records::pending(db)? {
        let origin = Origin::Payment {
            payment_hash: part.payment_hash,
            groupid: part.groupid,
            partid: part.partid,
        };
        if !standing.contains(&origin) {
            part.status = PartStatus::Failed { reason: Vec::new() };
            part.completed_at = Some(now());
            indexes.updated += 1;
            part.updated_index = Some(indexes.updated);
            records::put_part(&mut batch, &part);
            count += 1;
        }
    }
    indexes.put(&mut batch);
    db.write(batch)?;
    Ok(count)
}

/// At the start: in a loss of power hsmd may have lost the approval of an HTLC that is stored here and
/// not signed yet.
///
/// # Errors
/// The database fails.
pub async fn approve_pending(node: &Node) -> Result<(), DbError> {
    for part in records::pending(&node.db)? {
        let payments = records::groups_of(&node.db, part.payment_hash)?;
        let payment = payments.into_iter().find(|p| p.groupid == part.groupid);
        let Some(bolt11) = payment.and_then(|payment| payment.bolt11) else {
            continue;
        };
        let (amount, max_fee) = (part.amount, part.amount_sent.saturating_sub(part.amount));
        if let Err(error) = node.hsm.approve_bolt11(bolt11, amount, max_fee).await {
            tracing::warn!("a payment under way is not approved again: {error}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use secp256k1::{SECP256K1, SecretKey};
    use wire::ChannelDbid;

    use super::*;

    const PREIMAGE: Preimage = Preimage([7; 32]);

    fn part(status: PartStatus) -> Part {
        let key = SecretKey::from_slice(&[1; 32]).unwrap();
        Part {
            payment_hash: PREIMAGE.payment_hash(),
            groupid: 1,
            partid: 0,
            created_index: 1,
            updated_index: None,
            created_at: 0,
            completed_at: None,
            destination: NodeId(key.public_key(SECP256K1)),
            amount: MilliSatoshi(1_000),
            amount_sent: MilliSatoshi(1_000),
            channel: ChannelDbid(1),
            secrets: Vec::new(),
            status,
        }
    }

    fn fulfilled(preimage: Preimage) -> PartEnd {
        PartEnd::Ended(Removal::Fulfil { preimage })
    }

    fn failed(reason: u8) -> PartStatus {
        let reason = vec![reason];
        PartStatus::Failed { reason }
    }

    const COMPLETE: PartStatus = PartStatus::Complete { preimage: PREIMAGE };

    #[test]
    fn a_preimage_completes_a_part_even_after_it_failed() {
        for before in [PartStatus::Pending, failed(1)] {
            let after = part(before).after(&fulfilled(PREIMAGE));
            assert_eq!(after, Some(COMPLETE));
        }
        let parts = [part(COMPLETE)];
        assert_eq!(completed(&parts).unwrap().preimage, PREIMAGE);
    }

    #[test]
    fn nothing_but_a_preimage_changes_how_a_part_ended() {
        let fail = || PartEnd::Ended(Removal::Fail { reason: vec![2] });
        assert_eq!(part(PartStatus::Pending).after(&fail()), Some(failed(2)));
        for before in [failed(1), COMPLETE] {
            for end in [fail(), PartEnd::TimedOut] {
                assert_eq!(part(before.clone()).after(&end), None);
            }
        }
        assert_eq!(part(COMPLETE).after(&fulfilled(PREIMAGE)), None);
        let wrong = fulfilled(Preimage([8; 32]));
        assert_eq!(part(failed(1)).after(&wrong), None);
    }
}
