//! Invoices: one task that makes them, matches HTLCs that arrive, and wakes who waits.
//!
//! Paid is written before the preimage leaves: the channel's Persist that carries the preimage
//! comes later in the same ordered writer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ipc_messages::lightningd_channeld::RemoveHow;
use lightningd_db::{Batch, Db, DbError};
use onion::Failure;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tx::ledger::Htlc;
use wire::{ChannelDbid, CltvExpiry, HtlcId, MilliSatoshi, PaymentHash, PaymentSecret};

use crate::channel::Mail;
use crate::node::Node;
use crate::store::invoices::{self as records, Invoice, Paid};
use crate::store::now;

/// BOLT 4: an incomplete set of parts is failed after this long.
const MPP_TIMEOUT: Duration = Duration::from_secs(60);

/// An HTLC for us.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub channel: ChannelDbid,
    pub id: HtlcId,
    pub htlc: Htlc,
    /// As the onion says.
    pub amount: MilliSatoshi,
    pub cltv_expiry: CltvExpiry,
    pub payment_secret: Option<PaymentSecret>,
    pub total: Option<MilliSatoshi>,
}

/// Which invoices `waitinvoice` and `waitanyinvoice` wait for.
pub enum Wait {
    Label(String),
    /// The next one after this pay index.
    PaidAfter(u64),
}

/// Why an invoice command cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    #[error("Label already exists")]
    DuplicateLabel,
    #[error("preimage already used")]
    DuplicatePreimage,
    #[error("Unknown invoice")]
    Unknown,
    #[error("Invoice deleted during wait")]
    Deleted,
    #[error("Invoice status is {0} not {1}")]
    WrongStatus(&'static str, String),
    #[error("Invoice expired")]
    Expired(Box<Invoice>),
    #[error("Invoice description already removed")]
    NoDescription,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the node is stopping")]
    Stopping,
}

type Reply<T> = oneshot::Sender<Result<T, InvoiceError>>;

enum Ask {
    Add(Box<Invoice>, Reply<Invoice>),
    Delete {
        label: String,
        status: String,
        desc_only: bool,
        reply: Reply<Invoice>,
    },
    Wait(Wait, Reply<Invoice>),
    Arrived(Arrived),
}

#[derive(Clone)]
pub struct Handle(mpsc::UnboundedSender<Ask>);

pub struct Mailbox(mpsc::UnboundedReceiver<Ask>);

/// A new mailbox; bounded by its callers, who wait, and by the HTLCs that the channels allow.
#[must_use]
pub fn mailbox() -> (Handle, Mailbox) {
    let (send, receive) = mpsc::unbounded_channel();
    (Handle(send), Mailbox(receive))
}

impl Handle {
    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, InvoiceError> {
        let (reply, answer) = oneshot::channel();
        self.0
            .send(ask(reply))
            .map_err(|_| InvoiceError::Stopping)?;
        answer.await.map_err(|_| InvoiceError::Stopping)?
    }

    /// Stores an invoice; durable when this returns. Its `created_index` is set.
    ///
    /// # Errors
    /// The label or the payment hash exists already.
    pub async fn add(&self, invoice: Invoice) -> Result<Invoice, InvoiceError> {
        self.ask(|reply| Ask::Add(Box::new(invoice), reply)).await
    }

    /// Deletes an invoice in the state `status`, or only its description.
    ///
    /// # Errors
    /// Unknown, or in another state.
    pub async fn delete(
        &self,
        label: String,
        status: String,
        desc_only: bool,
    ) -> Result<Invoice, InvoiceError> {
        self.ask(|reply| Ask::Delete {
            label,
            status,
            desc_only,
            reply,
        })
        .await
    }

    /// # Errors
    /// Unknown or expired.
    pub async fn wait(&self, what: Wait) -> Result<Invoice, InvoiceError> {
        self.ask(|reply| Ask::Wait(what, reply)).await
    }

    pub fn arrived(&self, htlc: Arrived) {
        let _ = self.0.send(Ask::Arrived(htlc));
    }
}

/// `unpaid`, `paid` or `expired`.
#[must_use]
pub fn status(invoice: &Invoice) -> &'static str {
    match &invoice.paid {
        Some(_) => "paid",
        None if invoice.expires_at <= now() => "expired",
        None => "unpaid",
    }
}

struct PartialSet {
    parts: Vec<Arrived>,
    deadline: Instant,
}

struct Invoices {
    node: Arc<Node>,
    next_index: u64,
    next_update: u64,
    next_pay_index: u64,
    sets: HashMap<PaymentHash, PartialSet>,
    by_label: Vec<(String, Reply<Invoice>)>,
    any: Vec<(u64, Reply<Invoice>)>,
}

/// The counters, as the database has them at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    created: u64,
    updated: u64,
    paid: u64,
}

impl Counters {
    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db) -> Result<Counters, DbError> {
        let highest = records::Highest::load(db)?;
        let mut counters = Counters {
            created: highest.created,
            updated: highest.updated,
            paid: highest.paid,
        };
        for invoice in records::all(db)? {
            counters.created = counters.created.max(invoice.created_index);
            counters.updated = counters.updated.max(invoice.updated_index.unwrap_or(0));
            counters.paid = counters
                .paid
                .max(invoice.paid.map_or(0, |paid| paid.pay_index));
        }
        Ok(counters)
    }
}

/// Runs until the node stops.
pub async fn run(node: Arc<Node>, Mailbox(mut asks): Mailbox, counters: Counters) {
    let mut invoices = Invoices {
        node: node.clone(),
        next_index: counters.created + 1,
        next_update: counters.updated + 1,
        next_pay_index: counters.paid + 1,
        sets: HashMap::new(),
        by_label: Vec::new(),
        any: Vec::new(),
    };
    loop {
        let alarm = invoices.next_alarm();
        tokio::select! {
            _ = node.stopped() => break,
            ask = asks.recv() => match ask {
                Some(ask) => invoices.ask(ask).await,
                None => break,
            },
            () = sleep_until(alarm) => invoices.alarm(),
        }
    }
}

async fn sleep_until(alarm: Option<Instant>) {
    match alarm {
        Some(alarm) => tokio::time::sleep_until(alarm).await,
        None => std::future::pending().await,
    }
}

impl Invoices {
    async fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Add(invoice, reply) => drop(reply.send(self.add(*invoice).await)),
            Ask::Delete {
                label,
                status,
                desc_only,
                reply,
            } => {
                drop(reply.send(self.delete(&label, &status, desc_only).await));
            }
            Ask::Wait(what, reply) => self.wait(what, reply),
            Ask::Arrived(htlc) => {
                if let Err(error) = self.arrived(htlc) {
                    self.node.database_failed(&error);
                }
            }
        }
    }

    async fn add(&mut self, mut invoice: Invoice) -> Result<Invoice, InvoiceError> {
        if records::by_label(&self.node.db, &invoice.label)?.is_some() {
            return Err(InvoiceError::DuplicateLabel);
        }
        if records::by_hash(&self.node.db, invoice.payment_hash)?.is_some() {
            return Err(InvoiceError::DuplicatePreimage);
        }
        invoice.created_index = self.next_index;
        self.next_index += 1;
        let mut batch = Batch::new();
        records::put(&mut batch, &invoice);
        self.node.db.commit(batch).await?;
        Ok(invoice)
    }

    async fn delete(
        &mut self,
        label: &str,
        wanted: &str,
        desc_only: bool,
    ) -> Result<Invoice, InvoiceError> {
        let invoice = records::by_label(&self.node.db, label)?.ok_or(InvoiceError::Unknown)?;
        if status(&invoice) != wanted {
            return Err(InvoiceError::WrongStatus(
                status(&invoice),
                wanted.to_owned(),
            ));
        }
        let mut batch = Batch::new();
        let mut left = invoice.clone();
        if desc_only {
            if invoice.description.is_none() {
                return Err(InvoiceError::NoDescription);
            }
            left.description = None;
            left.updated_index = Some(self.update_index());
            records::put(&mut batch, &left);
        } else {
            records::delete(&mut batch, &invoice);
            let highest = records::Highest {
                created: self.next_index - 1,
                updated: self.next_update - 1,
                paid: self.next_pay_index - 1,
            };
            highest.put(&mut batch);
        }
        self.node.db.commit(batch).await?;
        let deleted = |(waiting, _): &(String, Reply<Invoice>)| *waiting == label && !desc_only;
        for (_, reply) in self.by_label.extract_if(.., |w| deleted(w)) {
            let _ = reply.send(Err(InvoiceError::Deleted));
        }
        Ok(if desc_only { left } else { invoice })
    }

    fn update_index(&mut self) -> u64 {
        self.next_update += 1;
        self.next_update - 1
    }

    fn wait(&mut self, what: Wait, reply: Reply<Invoice>) {
        match what {
            Wait::Label(label) => match records::by_label(&self.node.db, &label) {
                Ok(Some(invoice)) if invoice.paid.is_some() => drop(reply.send(Ok(invoice))),
                Ok(Some(invoice)) if status(&invoice) == "expired" => {
                    let _ = reply.send(Err(InvoiceError::Expired(Box::new(invoice))));
                }
                Ok(Some(_)) => self.by_label.push((label, reply)),
                Ok(None) => drop(reply.send(Err(InvoiceError::Unknown))),
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            Wait::PaidAfter(last) => match self.first_paid_after(last) {
                Ok(Some(invoice)) => drop(reply.send(Ok(invoice))),
                Ok(None) => self.any.push((last, reply)),
                Err(error) => drop(reply.send(Err(error.into()))),
            },
        }
    }

    fn first_paid_after(&self, last: u64) -> Result<Option<Invoice>, DbError> {
        if last.saturating_add(1) >= self.next_pay_index {
            return Ok(None);
        }
        let index = |invoice: &Invoice| invoice.paid.as_ref().map_or(0, |paid| paid.pay_index);
        let all = records::all(&self.node.db)?.into_iter();
        Ok(all
            .filter(|invoice| index(invoice) > last)
            .min_by_key(index))
    }

    fn arrived(&mut self, part: Arrived) -> Result<(), DbError> {
        let invoice = records::by_hash(&self.node.db, part.htlc.payment_hash)?;
        let Some(invoice) = invoice else {
            self.fail(&part, None);
            return Ok(());
        };
        if let Some(paid) = &invoice.paid {
            // Again after a crash: the same HTLC gets the same answer, another one is refused.
            if paid.htlcs.contains(&(part.channel.0, part.id.0)) {
                self.fulfil(&part, &invoice);
            } else {
                self.fail(&part, None);
            }
            return Ok(());
        }
        if let Err(failure) = self.check(&part, &invoice) {
            self.fail(&part, Some(failure));
            return Ok(());
        }
        let wanted = part.total.unwrap_or(part.amount);
        let deadline = Instant::now() + MPP_TIMEOUT;
        let set = self
            .sets
            .entry(invoice.payment_hash)
            .or_insert_with(|| PartialSet {
                parts: Vec::new(),
                deadline,
            });
        if !set
            .parts
            .iter()
            .any(|p| (p.channel, p.id) == (part.channel, part.id))
        {
            set.parts.push(part);
        }
        let sum = set
            .parts
            .iter()
            .fold(MilliSatoshi(0), |sum, p| sum.saturating_add(p.htlc.amount));
        if sum >= wanted {
            self.paid(invoice, sum)?;
        }
        Ok(())
    }

    /// BOLT 4, Requirements for the final node. `Err`: the failure that is not the usual
    /// incorrect_or_unknown_payment_details, which tells a prober nothing.
    fn check(&self, part: &Arrived, invoice: &Invoice) -> Result<(), Failure> {
        let unknown = || self.unknown(part);
        let (htlc, total) = (&part.htlc, part.total.unwrap_or(part.amount));
        if part.payment_secret != Some(invoice.payment_secret) {
            return Err(unknown());
        }
        if htlc.amount < part.amount {
            return Err(Failure::FinalIncorrectHtlcAmount {
                incoming_htlc_amt: htlc.amount,
            });
        }
        if htlc.cltv_expiry < part.cltv_expiry {
            return Err(Failure::FinalIncorrectCltvExpiry {
                cltv_expiry: htlc.cltv_expiry,
            });
        }
        let least = self
            .node
            .chain
            .height()
            .plus(self.node.options.channels.cltv_final.0.into());
        if htlc.cltv_expiry < least || status(invoice) == "expired" {
            return Err(unknown());
        }
        if let Some(amount) = invoice.amount {
            // BOLT 4: up to twice the amount is accepted, against correlation.
            if total < amount || total.0 > amount.0.saturating_mul(2) {
                return Err(unknown());
            }
        }
        let set = self.sets.get(&invoice.payment_hash);
        let first = set.and_then(|set| set.parts.first());
        if first.is_some_and(|first| first.total.unwrap_or(first.amount) != total) {
            return Err(unknown());
        }
        Ok(())
    }

    fn unknown(&self, part: &Arrived) -> Failure {
        Failure::IncorrectOrUnknownPaymentDetails {
            htlc_msat: part.htlc.amount,
            height: self.node.chain.height(),
        }
    }

    fn paid(&mut self, mut invoice: Invoice, received: MilliSatoshi) -> Result<(), DbError> {
        let parts = self.sets.remove(&invoice.payment_hash).map(|set| set.parts);
        let parts = parts.unwrap_or_default();
        invoice.updated_index = Some(self.update_index());
        invoice.paid = Some(Paid {
            pay_index: self.next_pay_index,
            amount_received: received,
            paid_at: now(),
            htlcs: parts
                .iter()
                .map(|part| (part.channel.0, part.id.0))
                .collect(),
        });
        self.next_pay_index += 1;
        let mut batch = Batch::new();
        records::put(&mut batch, &invoice);
        self.node.db.write(batch)?;
        for part in &parts {
            self.fulfil(part, &invoice);
        }
        tracing::debug!("invoice {:?} is paid with {received}", invoice.label);
        self.wake(&invoice);
        Ok(())
    }

    fn wake(&mut self, invoice: &Invoice) {
        let index = invoice.paid.as_ref().map_or(0, |paid| paid.pay_index);
        for (_, reply) in self
            .by_label
            .extract_if(.., |(label, _)| *label == invoice.label)
        {
            let _ = reply.send(Ok(invoice.clone()));
        }
        for (_, reply) in self.any.extract_if(.., |(last, _)| *last < index) {
            let _ = reply.send(Ok(invoice.clone()));
        }
    }

    fn fulfil(&self, part: &Arrived, invoice: &Invoice) {
        let how = RemoveHow::Fulfil {
            preimage: invoice.preimage,
        };
        self.node
            .channels
            .tell(part.channel, Mail::Remove { id: part.id, how });
    }

    fn fail(&self, part: &Arrived, failure: Option<Failure>) {
        let failure = failure.unwrap_or_else(|| self.unknown(part));
        tracing::debug!(channel = %part.channel, "HTLC {} failed: {}", part.id, failure.name());
        let how = RemoveHow::FailHere { failure };
        self.node
            .channels
            .tell(part.channel, Mail::Remove { id: part.id, how });
    }

    /// When the next incomplete set, or the next invoice that somebody waits for, is due.
    fn next_alarm(&self) -> Option<Instant> {
        let sets = self.sets.values().map(|set| set.deadline).min();
        let waits = self.by_label.iter().filter_map(|(label, _)| {
            let expires = records::by_label(&self.node.db, label).ok()??.expires_at;
            let left = Duration::from_secs(expires.saturating_sub(now()));
            // An expiry that far away never comes.
            Instant::now().checked_add(left)
        });
        sets.into_iter().chain(waits.min()).min()
    }

    fn alarm(&mut self) {
        let due = Instant::now();
        let late: Vec<PaymentHash> = self
            .sets
            .iter()
            .filter(|(_, set)| set.deadline <= due)
            .map(|(h, _)| *h)
            .collect();
        for hash in late {
            for part in self
                .sets
                .remove(&hash)
                .into_iter()
                .flat_map(|set| set.parts)
            {
                self.fail(&part, Some(Failure::MppTimeout));
            }
        }
        let db = &self.node.db;
        let expired = |label: &String| {
            let invoice = records::by_label(db, label).ok().flatten()?;
            (status(&invoice) == "expired").then_some(invoice)
        };
        for (label, reply) in self
            .by_label
            .extract_if(.., |(label, _)| expired(label).is_some())
        {
            let _ = match expired(&label) {
                Some(invoice) => reply.send(Err(InvoiceError::Expired(Box::new(invoice)))),
                None => reply.send(Err(InvoiceError::Unknown)),
            };
        }
    }
}
