//! Invoices, by label, and an index by payment hash.

use lightningd_db::{Batch, Cf, Db, DbError, NotReadable, Record};
use serde::{Deserialize, Serialize};
use wire::{MilliSatoshi, PaymentHash, PaymentSecret, Preimage};

/// An invoice of ours; the key is its label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invoice {
    pub label: String,
    pub bolt11: String,
    pub payment_hash: PaymentHash,
    pub preimage: PreimageAt,
    pub payment_secret: PaymentSecret,
    /// `None`: any amount.
    pub amount: Option<MilliSatoshi>,
    /// `None` once `delinvoice` has removed it.
    pub description: Option<String>,
    /// Seconds since the epoch.
    pub expires_at: u64,
    pub paid: Option<Paid>,
    pub created_index: u64,
    pub updated_index: Option<u64>,
}

/// Where an invoice's preimage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreimageAt {
    /// Given by whoever asked for the invoice, or released: it is paid.
    Here(Preimage),
    /// With hsmd, which derives it once the invoice is paid.
    Hsmd,
}

/// That and how an invoice was paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paid {
    /// Counts paid invoices from 1 (`waitanyinvoice`).
    pub pay_index: u64,
    pub amount_received: MilliSatoshi,
    /// Seconds since the epoch.
    pub paid_at: u64,
    /// The HTLCs that paid it: (channel, id). One of these may be fulfilled again after a crash, no other.
    pub htlcs: Vec<(u64, u64)>,
}

impl Record for Invoice {
    const CF: Cf = Cf::Invoices;
    const VERSION: u8 = 2;
    type Key = String;

    /// Version 1 had every preimage here.
    fn migrate(version: u8, bytes: &[u8]) -> Result<Invoice, NotReadable> {
        match version {
            1 => NotReadable::or_decode::<InvoiceV1>(bytes).map(Invoice::from),
            other => Err(NotReadable(format!("there was never a version {other}"))),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct InvoiceV1 {
    label: String,
    bolt11: String,
    payment_hash: PaymentHash,
    preimage: Preimage,
    payment_secret: PaymentSecret,
    amount: Option<MilliSatoshi>,
    description: Option<String>,
    expires_at: u64,
    paid: Option<Paid>,
    created_index: u64,
    updated_index: Option<u64>,
}

impl From<InvoiceV1> for Invoice {
    fn from(old: InvoiceV1) -> Invoice {
        Invoice {
            label: old.label,
            bolt11: old.bolt11,
            payment_hash: old.payment_hash,
            preimage: PreimageAt::Here(old.preimage),
            payment_secret: old.payment_secret,
            amount: old.amount,
            description: old.description,
            expires_at: old.expires_at,
            paid: old.paid,
            created_index: old.created_index,
            updated_index: old.updated_index,
        }
    }
}

/// Label of the invoice with this payment hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelOf(pub String);

impl Record for LabelOf {
    const CF: Cf = Cf::InvoiceByHash;
    const VERSION: u8 = 1;
    type Key = [u8; 32];
}

/// The highest indexes given out, written with every invoice that has a new one, so that a later one never
/// gets an index for a second time, whatever was deleted, and a start reads no invoice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Highest {
    pub created: u64,
    pub updated: u64,
    pub paid: u64,
}

impl Highest {
    pub fn key() -> String {
        "invoices/highest".to_owned()
    }

    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db) -> Result<Highest, DbError> {
        Ok(db.get::<Highest>(&Highest::key())?.unwrap_or_default())
    }

    pub fn put(&self, batch: &mut Batch) {
        batch.put(&Highest::key(), self);
    }

    /// What these come to with those of one more invoice.
    #[must_use]
    pub fn with(self, invoice: &Invoice) -> Highest {
        let paid = invoice.paid.as_ref().map_or(0, |paid| paid.pay_index);
        Highest {
            created: self.created.max(invoice.created_index),
            updated: self.updated.max(invoice.updated_index.unwrap_or(0)),
            paid: self.paid.max(paid),
        }
    }
}

impl Record for Highest {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
}

pub fn put(batch: &mut Batch, invoice: &Invoice) {
    batch.put(&invoice.label, invoice);
    batch.put(&invoice.payment_hash.0, &LabelOf(invoice.label.clone()));
}

pub fn delete(batch: &mut Batch, invoice: &Invoice) {
    batch.delete::<Invoice>(&invoice.label);
    batch.delete::<LabelOf>(&invoice.payment_hash.0);
}

/// # Errors
/// A record that cannot be read.
pub fn by_hash(db: &Db, hash: PaymentHash) -> Result<Option<Invoice>, DbError> {
    match db.get::<LabelOf>(&hash.0)? {
        Some(LabelOf(label)) => by_label(db, &label),
        None => Ok(None),
    }
}

/// # Errors
/// A record that cannot be read.
pub fn by_label(db: &Db, label: &str) -> Result<Option<Invoice>, DbError> {
    db.get::<Invoice>(&label.to_owned())
}

/// Every invoice, by label.
///
/// # Errors
/// A record that cannot be read.
pub fn all(db: &Db) -> Result<Vec<Invoice>, DbError> {
    Ok(db
        .scan::<Invoice>()?
        .into_iter()
        .map(|(_, invoice)| invoice)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invoice_of_the_first_version_keeps_its_preimage() {
        let old = InvoiceV1 {
            label: "tea".to_owned(),
            bolt11: "lnbcrt1".to_owned(),
            payment_hash: PaymentHash([1; 32]),
            preimage: Preimage([2; 32]),
            payment_secret: PaymentSecret([3; 32]),
            amount: Some(MilliSatoshi(4)),
            description: Some("Darjeeling".to_owned()),
            expires_at: 5,
            paid: None,
            created_index: 6,
            updated_index: None,
        };
        let bytes = ipc_transport::codec::encode(&old).unwrap();
        let invoice = Invoice::migrate(1, &bytes).unwrap();
        assert_eq!(invoice.preimage, PreimageAt::Here(Preimage([2; 32])));
        assert_eq!((invoice.label.as_str(), invoice.created_index), ("tea", 6));
        assert!(Invoice::migrate(0, &bytes).is_err());
    }
}
