//! Payments under load, remembered so that they can be checked afterwards against what both nodes and
//! their channel say: none lost, none paid twice.

use crate::node::{Node, number};
use crate::rpc::{Client, RpcError};
use crate::wait::{patience, until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// CLN's code of `pay`: a payment of this invoice is under way.
const PAY_IN_PROGRESS: i64 = 200;

/// One invoice and the call that paid it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The invoice.
    pub bolt11: String,
    /// Its label with the payee.
    pub label: String,
    /// Its amount.
    pub msat: u64,
    /// The payer was told that it was paid.
    pub reported_paid: bool,
}

/// A thread that pays from one node to another, one payment after the other, until told to stop.
/// A call that gets no answer (the node may be dead just now) is made again with the same invoice, as
/// a careful client does; what was tried is remembered.
pub struct Load {
    stop: Arc<AtomicBool>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Starts paying `msat` at a time; `name` makes the labels of this load its own.
    pub fn start(name: &str, payer: Client, payee: Client, msat: u64) -> Load {
        Load::start_with(name, payer, payee, msat, json!({}))
    }

    /// As [`Load::start`], with further parameters of each `invoice`.
    pub fn start_with(name: &str, payer: Client, payee: Client, msat: u64, further: Value) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let (stopped, remembered, name) = (stop.clone(), attempts.clone(), name.to_string());
        let thread = std::thread::spawn(move || {
            for number in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let label = format!("{name}-{number}");
                if !pay_once(&payer, &payee, &label, msat, &further, &remembered) {
                    // Somebody is down; do not spin while it comes back.
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        });
        Load {
            stop,
            attempts,
            thread,
        }
    }

    /// Payments that the payer was told of as paid, so far.
    pub fn paid(&self) -> usize {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts
            .iter()
            .filter(|attempt| attempt.reported_paid)
            .count()
    }

    /// Lets the payment under way end, and gives what was tried.
    ///
    /// # Errors
    /// Where the thread panicked.
    pub fn finish(self) -> Result<Vec<Attempt>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread that pays panicked"))?;
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(attempts.clone())
    }
}

/// Several payers at the same time.
pub struct Loads(Vec<Load>);

impl Loads {
    /// So many, as [`Load::start_with`].
    pub fn start(
        count: usize,
        name: &str,
        payer: &Client,
        payee: &Client,
        msat: u64,
        further: &Value,
    ) -> Loads {
        let one = |number| {
            let name = format!("{name}-{number}");
            Load::start_with(&name, payer.clone(), payee.clone(), msat, further.clone())
        };
        Loads((0..count).map(one).collect())
    }

    /// Waits until so many more payments were reported as paid.
    ///
    /// # Errors
    /// They were not.
    pub fn flow(&self, more: usize) -> Result<()> {
        let before = self.paid();
        until("payments flow", || {
            Ok((self.paid() >= before + more).then_some(()))
        })
    }

    /// As [`Load::paid`], of all of them.
    pub fn paid(&self) -> usize {
        self.0.iter().map(Load::paid).sum()
    }

    /// As [`Load::finish`], for all of them.
    ///
    /// # Errors
    /// Where a thread panicked.
    pub fn finish(self) -> Result<Vec<Attempt>> {
        let ended: Result<Vec<_>> = self.0.into_iter().map(Load::finish).collect();
        Ok(ended?.concat())
    }
}

fn pay_once(
    payer: &Client,
    payee: &Client,
    label: &str,
    msat: u64,
    further: &Value,
    remembered: &Mutex<Vec<Attempt>>,
) -> bool {
    let mut params = json!({"amount_msat": msat, "label": label, "description": label});
    for (name, value) in further.as_object().into_iter().flatten() {
        params[name] = value.clone();
    }
    let Ok(invoice) = payee.call("invoice", params) else {
        return false;
    };
    let bolt11 = invoice["bolt11"].as_str().unwrap_or_default().to_string();
    let attempt = Attempt {
        bolt11: bolt11.clone(),
        label: label.to_string(),
        msat,
        reported_paid: false,
    };
    let place = {
        let mut attempts = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.push(attempt);
        attempts.len() - 1
    };
    let paid = pay_until_answered(payer, &bolt11);
    remembered.lock().unwrap_or_else(PoisonError::into_inner)[place].reported_paid = paid;
    paid
}

/// Pays until the payer's node says how it ended: who got no answer, or hears that it is under way, asks
/// again. Gives up after [`patience`].
fn pay_until_answered(payer: &Client, bolt11: &str) -> bool {
    let start = Instant::now();
    while start.elapsed() < patience() {
        match payer.call("pay", json!({"bolt11": bolt11, "retry_for": 10})) {
            Ok(_) => return true,
            Err(RpcError::Refused { code, .. }) if code != PAY_IN_PROGRESS => return false,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    false
}

/// What the payer's channels gave for what arrived, fees included, in msat.
///
/// # Errors
/// Those of the calls.
pub fn spent(payer: &Node, attempts: &[Attempt]) -> Result<u64> {
    let of_one = |attempt: &Attempt| -> Result<u64> {
        let found = payer.rpc("listpays", json!({"bolt11": attempt.bolt11}))?;
        let pays = found["pays"].as_array().context("listpays gives pays")?;
        let complete = pays.iter().filter(|pay| pay["status"] == "complete");
        complete
            .map(|pay| number(&pay["amount_sent_msat"], "amount_sent_msat"))
            .sum()
    };
    attempts.iter().map(of_one).sum()
}

/// Checks each attempt with both nodes, once nothing is in flight; returns the sum of what arrived.
///
/// # Errors
/// Names the first payment that was lost (the payer was told of it, or holds its preimage, but the payee
/// has it unpaid), made without its being known to the payer, or is undecided for good.
pub fn audit(payer: &Node, payee: &Node, attempts: &[Attempt]) -> Result<u64> {
    let mut arrived = 0_u64;
    for attempt in attempts {
        let label = &attempt.label;
        let status = settled(payer, attempt)?;
        let invoice = payee.rpc("listinvoices", json!({"label": label}))?;
        let invoice = &invoice["invoices"][0];
        let paid = invoice["status"] == "paid";
        ensure!(
            !attempt.reported_paid || paid,
            "{label}: reported as paid, but the payee has {invoice}"
        );
        ensure!(
            (status == "complete") == paid,
            "{label}: the payer has {status}, the payee has {invoice}"
        );
        if paid {
            let received = invoice["amount_received_msat"]
                .as_u64()
                .context("a paid invoice's amount")?;
            ensure!(
                received == attempt.msat,
                "{label}: {} msat asked, {received} received",
                attempt.msat
            );
            arrived += received;
        }
    }
    Ok(arrived)
}

/// The payer's final word on an attempt: `complete`, `failed`, or `none` if it never began.
fn settled(payer: &Node, attempt: &Attempt) -> Result<String> {
    payer.wait_for(&format!("payment {} is decided", attempt.label), |node| {
        let found = node.rpc("listpays", json!({"bolt11": attempt.bolt11}))?;
        let pays = found["pays"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let complete = pays
            .iter()
            .filter(|pay| pay["status"] == "complete")
            .count();
        ensure!(complete <= 1, "{} was paid {complete} times", attempt.label);
        let pending = pays.iter().any(|pay| pay["status"] == "pending");
        let last = pays
            .last()
            .and_then(|pay: &Value| pay["status"].as_str())
            .unwrap_or("none");
        let status = if complete == 1 { "complete" } else { last };
        Ok((!pending).then(|| status.to_string()))
    })
}
