//! kill -9 of a whole node at every step to the disk of a short life, one step in each round: right before it is
//! synced, right after it, and with what was not synced lost. The node comes back by itself, whatever the death
//! kept it from is asked for again, and in the end the audit finds what it would have found without it: the
//! same balances, no payment lost or paid twice, no channel lost, no close that nobody asked for.
//!
//! Who is not root may not look at the files of the node's processes, which hide them; then this shows
//! nothing and says so. It plays every so many steps, beginning anywhere; `BULKHEAD_KILL_STEPS=all` plays each at
//! each moment (from `BULKHEAD_KILL_FIRST`), `BULKHEAD_KILL_MOMENTS=before,after` these moments alone,
//! `BULKHEAD_KILL_SEED` another run.

#[path = "kill9_steps/forward.rs"]
mod forward;
#[path = "kill9_steps/life.rs"]
mod life;
#[path = "kill9_steps/onchain.rs"]
mod onchain;

use anyhow::Result;
use blackbox::Node;
use blackbox::payments::Attempt;
use blackbox::steps::keep_trying;
use serde_json::{Value, json};

const POWER: &str = env!("CARGO_BIN_EXE_power");

fn may_trace() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root may look at the files of the node's processes");
    }
    root
}

/// Pays until it is paid, both asked for as often as it takes.
fn paid(
    payer: &Node,
    payee: &Node,
    label: &str,
    msat: u64,
    further: &Value,
    connect: impl Fn() -> Result<()>,
) -> Result<Attempt> {
    let mut params = json!({"amount_msat": msat, "label": label, "description": label});
    for (name, value) in further.as_object().into_iter().flatten() {
        params[name] = value.clone();
    }
    let bolt11 = keep_trying("there is an invoice", || {
        let made = payee.rpc("listinvoices", json!({"label": label}))?;
        let made = match made["invoices"][0].clone() {
            Value::Null => payee.rpc("invoice", params.clone())?,
            invoice => invoice,
        };
        Ok(made["bolt11"].as_str().map(str::to_owned))
    })?;
    keep_trying("it is paid", || {
        connect()?;
        let paid = payer.rpc("pay", json!({"bolt11": bolt11, "retry_for": 10}))?;
        Ok((paid["status"] == "complete").then_some(()))
    })?;
    Ok(Attempt {
        bolt11,
        label: label.to_owned(),
        msat,
        reported_paid: true,
    })
}
