//! Payments of ours and their parts. A part's record is written before its HTLC is offered and
//! once more when that HTLC ends, by the channel that it was on.

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
    batch.put(&(part.payment_hash.0, part.groupid, part.partid), part);
}

pub fn put_payment(batch: &mut Batch, payment: &Payment) {
    batch.put(&(payment.payment_hash.0, payment.groupid), payment);
}
