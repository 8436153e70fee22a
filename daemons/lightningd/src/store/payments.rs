//! Payments of ours and their parts. A part's record is written before its HTLC is offered and
//! once more when that HTLC ends, by the channel that it was on. Which parts are pending, and how far
//! the indexes have come, is written with them, so that a start reads nothing of what is over.

use lightningd_db::{Batch, Cf, Db, DbError, Record};
use serde::{Deserialize, Serialize};
use wire::{ChannelDbid, MilliSatoshi, NodeId, PaymentHash, Preimage};

/// What was to be paid; key: payment hash and group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    pub payment_hash: PaymentHash,
    pub groupid: u64,
    pub bolt11: Option<String>,
    pub description: Option<String>,
    pub label: Option<String>,
    pub destination: NodeId,
    pub amount: MilliSatoshi,
    /// Seconds since the epoch.
    pub created_at: u64,
    pub created_index: u64,
}

impl Record for Payment {
    const CF: Cf = Cf::Payments;
    const VERSION: u8 = 1;
    type Key = ([u8; 32], u64);
}

/// One attempt at a part; key: payment hash, group and part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    pub payment_hash: PaymentHash,
    pub groupid: u64,
    pub partid: u64,
    pub created_index: u64,
    pub updated_index: Option<u64>,
    pub created_at: u64,
    pub completed_at: Option<u64>,
    pub destination: NodeId,
    /// What arrives.
    pub amount: MilliSatoshi,
    /// What leaves us.
    pub amount_sent: MilliSatoshi,
    pub channel: ChannelDbid,
    /// For reading the errors of the hops.
    pub secrets: Vec<onion::SharedSecret>,
    pub status: PartStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PartStatus {
    Pending,
    Complete { preimage: Preimage },
    Failed { reason: Vec<u8> },
}

impl Record for Part {
    const CF: Cf = Cf::PaymentParts;
    const VERSION: u8 = 1;
    type Key = ([u8; 32], u64, u64);
}

/// A part that is pending; the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPart;

impl Record for PendingPart {
    const CF: Cf = Cf::PendingParts;
    const VERSION: u8 = 1;
    type Key = ([u8; 32], u64, u64);
}

/// The highest indexes of parts given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indexes {
    pub created: u64,
    pub updated: u64,
}

impl Indexes {
    pub fn key() -> String {
        "payments/indexes".to_owned()
    }

    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db) -> Result<Indexes, DbError> {
        Ok(db.get::<Indexes>(&Indexes::key())?.unwrap_or_default())
    }

    pub fn put(&self, batch: &mut Batch) {
        batch.put(&Indexes::key(), self);
    }

    /// What these come to with those of one more part.
    #[must_use]
    pub fn with(self, part: &Part) -> Indexes {
        Indexes {
            created: self.created.max(part.created_index),
            updated: self.updated.max(part.updated_index.unwrap_or(0)),
        }
    }
}

impl Record for Indexes {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
}

/// # Errors
/// A record that cannot be read.
pub fn parts_of(db: &Db, hash: PaymentHash) -> Result<Vec<Part>, DbError> {
    Ok(db
        .scan_prefix::<Part>(&hash.0)?
        .into_iter()
        .map(|(_, part)| part)
        .collect())
}

/// # Errors
/// A record that cannot be read.
pub fn groups_of(db: &Db, hash: PaymentHash) -> Result<Vec<Payment>, DbError> {
    Ok(db
        .scan_prefix::<Payment>(&hash.0)?
        .into_iter()
        .map(|(_, payment)| payment)
        .collect())
}

/// Every part whose HTLC has not ended.
///
/// # Errors
/// A record that cannot be read.
pub fn pending(db: &Db) -> Result<Vec<Part>, DbError> {
    let mut parts = Vec::new();
    for (key, PendingPart) in db.scan::<PendingPart>()? {
        parts.extend(db.get::<Part>(&key)?);
    }
    Ok(parts)
}

/// Every part of every payment.
///
/// # Errors
/// A record that cannot be read.
pub fn all_parts(db: &Db) -> Result<Vec<Part>, DbError> {
    Ok(db
        .scan::<Part>()?
        .into_iter()
        .map(|(_, part)| part)
        .collect())
}

/// Every payment.
///
/// # Errors
/// A record that cannot be read.
pub fn all_payments(db: &Db) -> Result<Vec<Payment>, DbError> {
    Ok(db
        .scan::<Payment>()?
        .into_iter()
        .map(|(_, payment)| payment)
        .collect())
}

pub fn put_part(batch: &mut Batch, part: &Part) {
    let key = (part.payment_hash.0, part.groupid, part.partid);
    batch.put(&key, part);
    note_pending(batch, part);
}

/// Enters a part among those that are pending, or takes it out.
pub fn note_pending(batch: &mut Batch, part: &Part) {
    let key = (part.payment_hash.0, part.groupid, part.partid);
    match part.status {
        PartStatus::Pending => batch.put(&key, &PendingPart),
        PartStatus::Complete { .. } | PartStatus::Failed { .. } => {
            batch.delete::<PendingPart>(&key)
        }
    };
}

pub fn put_payment(batch: &mut Batch, payment: &Payment) {
    batch.put(&(payment.payment_hash.0, payment.groupid), payment);
}
