//! Invoices: one task that makes them, matches HTLCs that arrive (`receive`), and wakes who waits.

mod receive;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use lightningd_db::{Batch, DbError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tx::ledger::Htlc;
use wire::{ChannelDbid, CltvExpiry, HtlcId, MilliSatoshi, PaymentHash, PaymentSecret};

use self::receive::{PartialSet, Release};
use crate::node::Node;
use crate::store::invoices::{self as records, Highest, Invoice};
use crate::store::now;

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

struct Invoices {
    node: Arc<Node>,
    next_index: u64,
    next_update: u64,
    next_pay_index: u64,
    sets: HashMap<PaymentHash, PartialSet>,
    /// Preimages that hsmd was asked for.
    releases: FuturesUnordered<BoxFuture<'static, Release>>,
    by_label: Vec<(String, Reply<Invoice>)>,
    any: Vec<(u64, Reply<Invoice>)>,
}

/// Runs until the node stops.
pub async fn run(node: Arc<Node>, Mailbox(mut asks): Mailbox, highest: Highest) {
    let mut invoices = Invoices {
        node: node.clone(),
        next_index: highest.created + 1,
        next_update: highest.updated + 1,
        next_pay_index: highest.paid + 1,
        sets: HashMap::new(),
        releases: FuturesUnordered::new(),
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
            Some(release) = invoices.releases.next() => invoices.released(release),
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
        self.highest().put(&mut batch);
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
        }
        self.highest().put(&mut batch);
        self.node.db.commit(batch).await?;
        let deleted = |(waiting, _): &(String, Reply<Invoice>)| *waiting == label && !desc_only;
        for (_, reply) in self.by_label.extract_if(.., |w| deleted(w)) {
            let _ = reply.send(Err(InvoiceError::Deleted));
        }
        Ok(if desc_only { left } else { invoice })
    }

    /// The indexes given out by now.
    fn highest(&self) -> Highest {
        Highest {
            created: self.next_index - 1,
            updated: self.next_update - 1,
            paid: self.next_pay_index - 1,
        }
    }

    fn update_index(&mut self) -> u64 {
        self.next_update += 1;
        self.next_update - 1
    }

    fn wait(&mut self, what: Wait, reply: Reply<Invoice>) {
        // Whoever has hung up or was not willing to wait longer.
        self.by_label.retain(|(_, reply)| !reply.is_closed());
        self.any.retain(|(_, reply)| !reply.is_closed());
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

    /// When the next incomplete set, or the next invoice that somebody waits for, is due.
    fn next_alarm(&self) -> Option<Instant> {
        let sets = self.sets.values().filter_map(PartialSet::due).min();
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
        self.sets_due(due);
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
