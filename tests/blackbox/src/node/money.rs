//! On-chain funds, invoices and payments.

use super::{Node, number, program, text};
use crate::{Bitcoind, RpcError};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::process::Command;

impl Node {
    /// Lets everything leave, as its owner may: with the tool, past lightningd. For tests that pay
    /// more in a day than hsmd allows by itself.
    ///
    /// # Errors
    /// The tool is not there, or hsmd refuses.
    pub fn lift_limits(&self) -> Result<()> {
        const ALL: &str = "2100000000000000sat";
        let mut command = Command::new(program("lightning-hsmtool")?);
        command.arg(format!("--network-dir={}", self.network_dir().display()));
        command.args([
            "set-limits",
            "--pay-per-day",
            ALL,
            "--withdraw-per-day",
            ALL,
        ]);
        let output = command.output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "lightning-hsmtool: {error}");
        Ok(())
    }

    /// Sends so many satoshi to a new address of its wallet, mines a block, waits until it can use them.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn fund(&self, bitcoind: &Bitcoind, satoshi: u64) -> Result<()> {
        let address = text(
            &self.rpc("newaddr", json!({"addresstype": "bech32"}))?["bech32"],
            "newaddr's bech32",
        )?;
        let txid = bitcoind.fund(&address, satoshi)?;
        bitcoind.mine(1)?;
        self.wait_for("its funds confirm", |node| {
            let funds = node.rpc("listfunds", json!({}))?;
            let outputs = funds["outputs"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let confirmed = |output: &&Value| {
                output["txid"] == txid.as_str() && output["status"] == "confirmed"
            };
            Ok(outputs.iter().find(confirmed).map(drop))
        })
    }

    /// The sum of its unspent on-chain outputs in msat; `confirmed`: only of those.
    ///
    /// # Errors
    /// Those of the call.
    pub fn onchain_msat(&self, confirmed: bool) -> Result<u64> {
        let funds = self.rpc("listfunds", json!({}))?;
        let outputs = funds["outputs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let counted = outputs
            .iter()
            .filter(|output| !confirmed || output["status"] == "confirmed");
        counted
            .map(|output| number(&output["amount_msat"], "an output's amount_msat"))
            .sum()
    }

    /// A BOLT 11 invoice for so many msat.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn invoice(&self, msat: u64, label: &str) -> Result<Invoice, RpcError> {
        let params = json!({"amount_msat": msat, "label": label, "description": label});
        let made = self.rpc("invoice", params)?;
        Ok(Invoice {
            label: label.to_string(),
            msat,
            bolt11: made["bolt11"].as_str().unwrap_or_default().to_string(),
            payment_hash: made["payment_hash"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
        })
    }

    /// Pays a BOLT 11 invoice and waits for the outcome.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn pay(&self, bolt11: &str) -> Result<Value, RpcError> {
        self.rpc("pay", json!({"bolt11": bolt11}))
    }

    /// The status of one of its invoices: `unpaid`, `paid`, `expired`; None where it knows none such.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn invoice_status(&self, label: &str) -> Result<Option<String>, RpcError> {
        let found = self.rpc("listinvoices", json!({"label": label}))?;
        Ok(found["invoices"][0]["status"].as_str().map(str::to_string))
    }
}

/// An invoice that a node made.
#[derive(Debug, Clone)]
pub struct Invoice {
    /// What its maker calls it.
    pub label: String,
    /// Its amount.
    pub msat: u64,
    /// The text to pay.
    pub bolt11: String,
    /// Its payment hash in hex.
    pub payment_hash: String,
}
