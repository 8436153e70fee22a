//! What may leave the node: limits, the allowlist, and approvals of what is above a limit.

use std::env;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::str::FromStr;

use bitcoin::address::NetworkUnchecked;
use bitcoin::constants::ChainHash;
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::{Address, Network, ScriptBuf};
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use hsm_messages::limits::{Approvable, Limit, Limits, Overview, Payout, Refusal, Standing};
use hsm_messages::operator::{Reply, Request};
use serde_json::{Value, json};
use wire::{FeeratePerKw, MilliSatoshi, NodeId, Satoshi};

use crate::failure::Failure;
use crate::flags::Flags;
use crate::operator;

/// Asks hsmd.
type Ask<'a> = &'a mut dyn FnMut(Request) -> Result<Reply, Failure>;

/// What is asked about.
#[derive(Debug, Subcommand)]
pub enum Spending {
    /// Shows what may leave in 24 hours, and what has
    Limits,
    /// Changes limits; what is not named stays as it is
    SetLimits(SetLimits),
    /// Addresses that everything may be paid to, and that channels may be closed to
    #[command(subcommand)]
    Allowlist(Allowlist),
    /// What was refused for a limit since hsmd was started
    Refused,
    /// Allows what a limit has refused, once and within a day
    Approve {
        /// As the error and `refused` say it
        number: u32,
        #[command(flatten)]
        sure: Sure,
    },
    /// Allows a withdrawal above the limit, once and within a day
    ApproveWithdraw {
        /// An address, or a script in hex
        to: String,
        /// At most this, in sat
        amount: u64,
        /// The most that it may cost, in sat
        #[arg(long, default_value_t = 20_000)]
        fee: u64,
        #[command(flatten)]
        sure: Sure,
    },
    /// Allows a payment above the limit, within a day
    ApprovePay {
        /// BOLT 11
        invoice: String,
        /// In msat, where the invoice leaves it to the payer
        #[arg(long)]
        amount: Option<u64>,
        /// The most that it may cost, in msat; without it 1 % of the amount, and at least 5,000
        #[arg(long)]
        fee: Option<u64>,
        #[command(flatten)]
        sure: Sure,
    },
    /// Allows an opening that gives the peer more than the limit, once and within a day
    ApprovePush {
        /// The peer's node id
        peer: NodeId,
        /// At most this, in msat
        amount: u64,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Args)]
pub struct Sure {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SetLimits {
    /// On chain, fees counted: sat in 24 hours, or `auto`: half of what the node holds and at least 1,000,000
    #[arg(long, value_parser = limit)]
    withdraw_per_day: Option<Limit>,
    /// Over channels, fees counted: as above
    #[arg(long, value_parser = limit)]
    pay_per_day: Option<Limit>,
    /// Of one transaction: sat per 1,000 weight units, 1,000 to 250,000
    #[arg(long)]
    max_feerate: Option<u32>,
    /// Of one transaction: sat, 1,000 to 10,000,000
    #[arg(long)]
    max_fee: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum Allowlist {
    /// Shows it
    List,
    /// Puts an address, or a script in hex, on it
    Add { to: String },
    /// Takes an address, or a script in hex, off it
    Remove { to: String },
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    #[error("{0} is neither an address of {1} nor a script in hex")]
    NoScript(String, Network),
    #[error("nothing with number {0} was refused since hsmd was started: see `refused`")]
    NoRefusal(u32),
    #[error("the invoice: {0}")]
    Invoice(#[from] invoice::ParseError),
    #[error("the invoice is for another network than {0}")]
    OtherNetwork(Network),
    #[error("the invoice leaves the amount to the payer: give --amount")]
    NoAmount,
    #[error("not approved")]
    NotSure,
}

fn limit(text: &str) -> Result<Limit, String> {
    if text == "auto" {
        return Ok(Limit::InProportion);
    }
    let sat = text.strip_suffix("sat").unwrap_or(text);
    let sat = sat.parse().map_err(|_| "is `auto` or a number of sat")?;
    Ok(Limit::Exactly(Satoshi(sat)))
}

/// Does it, over the socket of the hsmd in that folder, and shows what came of it.
///
/// # Errors
/// hsmd refuses or cannot be reached; wrong usage; the output is closed.
pub fn run(command: &Spending, flags: &Flags) -> Result<(), Failure> {
    let folder = match &flags.network_dir {
        Some(folder) => folder.clone(),
        None => Path::new(&env::var_os("HOME").unwrap_or_default()).join(".lightning/bitcoin"),
    };
    let mut hsmd = operator::connect(&folder)?;
    let mut ask = |request| match hsmd.call(&request)? {
        Reply::Refused(refused) => Err(refused.into()),
        reply => Ok(reply),
    };
    let network = network(&overview(&mut ask)?);
    with(command, network, flags.json, &mut ask)
}

fn network(overview: &Overview) -> Network {
    let hash = ChainHash::from(overview.chain_hash.0);
    Network::from_chain_hash(hash).unwrap_or(Network::Bitcoin)
}

fn with(command: &Spending, network: Network, json: bool, ask: Ask<'_>) -> Result<(), Failure> {
    match command {
        Spending::Limits => show_limits(&overview(ask)?, json),
        Spending::SetLimits(set) => {
            let limits = set.applied_to(overview(ask)?.limits);
            done(ask(Request::SetLimits { limits })?)?;
            show_limits(&overview(ask)?, json)
        }
        Spending::Allowlist(command) => {
            match command {
                Allowlist::List => {}
                Allowlist::Add { to } => {
                    let script = script(to, network)?;
                    done(ask(Request::AllowlistAdd { script })?)?;
                }
                Allowlist::Remove { to } => {
                    let script = script(to, network)?;
                    done(ask(Request::AllowlistRemove { script })?)?;
                }
            }
            show_allowlist(&allowlist(ask)?, network, json)
        }
        Spending::Refused => show_refused(&refused(ask)?, network, json),
        Spending::Approve { number, sure } => {
            let mut refused = refused(ask)?.into_iter();
            let refused = refused.find(|one| one.number == *number);
            let what = refused.ok_or(SpendingError::NoRefusal(*number))?.what;
            approve(what, network, sure, json, ask)
        }
        Spending::ApproveWithdraw {
            to,
            amount,
            fee,
            sure,
        } => {
            let payout = Payout {
                script: script(to, network)?,
                value: Satoshi(*amount),
            };
            let what = Approvable::Spend {
                payouts: vec![payout],
                fee: Satoshi(*fee),
            };
            approve(what, network, sure, json, ask)
        }
        Spending::ApprovePay {
            invoice,
            amount,
            fee,
            sure,
        } => {
            let what = payment(invoice, *amount, *fee, network)?;
            approve(what, network, sure, json, ask)
        }
        Spending::ApprovePush { peer, amount, sure } => {
            let amount = MilliSatoshi(*amount);
            let what = Approvable::Push {
                peer: *peer,
                amount,
            };
            approve(what, network, sure, json, ask)
        }
    }
}

impl SetLimits {
    fn applied_to(&self, before: Limits) -> Limits {
        Limits {
            withdraw_per_day: self.withdraw_per_day.unwrap_or(before.withdraw_per_day),
            pay_per_day: self.pay_per_day.unwrap_or(before.pay_per_day),
            max_feerate: self.max_feerate.map_or(before.max_feerate, FeeratePerKw),
            max_fee: self.max_fee.map_or(before.max_fee, Satoshi),
        }
    }
}

fn overview(ask: Ask<'_>) -> Result<Overview, Failure> {
    match ask(Request::Limits)? {
        Reply::Limits(overview) => Ok(overview),
        _other => Err(Failure::Confused),
    }
}

fn allowlist(ask: Ask<'_>) -> Result<Vec<ScriptBuf>, Failure> {
    match ask(Request::Allowlist)? {
        Reply::Allowlist { scripts } => Ok(scripts),
        _other => Err(Failure::Confused),
    }
}

fn refused(ask: Ask<'_>) -> Result<Vec<Refusal>, Failure> {
    match ask(Request::Refusals)? {
        Reply::Refusals { refusals } => Ok(refusals),
        _other => Err(Failure::Confused),
    }
}

fn done(reply: Reply) -> Result<(), Failure> {
    match reply {
        Reply::Done => Ok(()),
        _other => Err(Failure::Confused),
    }
}

fn script(text: &str, network: Network) -> Result<ScriptBuf, SpendingError> {
    let address = Address::<NetworkUnchecked>::from_str(text).ok();
    let address = address.and_then(|address| address.require_network(network).ok());
    if let Some(address) = address {
        return Ok(address.script_pubkey());
    }
    match Vec::from_hex(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(ScriptBuf::from_bytes(bytes)),
        Ok(_) | Err(_) => Err(SpendingError::NoScript(text.to_owned(), network)),
    }
}

/// An address where there is one.
fn shown(script: &ScriptBuf, network: Network) -> String {
    match Address::from_script(script, network) {
        Ok(address) => address.to_string(),
        Err(_) => script.as_bytes().to_lower_hex_string(),
    }
}

fn payment(
    text: &str,
    amount: Option<u64>,
    fee: Option<u64>,
    network: Network,
) -> Result<Approvable, SpendingError> {
    let invoice = invoice::parse(text)?;
    if !invoice.is_for(network) {
        return Err(SpendingError::OtherNetwork(network));
    }
    let amount = invoice.amount.or(amount.map(MilliSatoshi));
    let amount = amount.ok_or(SpendingError::NoAmount)?;
    let fee = fee.unwrap_or_else(|| (amount.0 / 100).max(5_000));
    Ok(Approvable::Payment {
        hash: invoice.payment_hash,
        amount: amount.saturating_add(MilliSatoshi(fee)),
    })
}

/// Exactly what was shown is what is approved: nothing is looked up in between.
fn approve(
    what: Approvable,
    network: Network,
    sure: &Sure,
    json: bool,
    ask: Ask<'_>,
) -> Result<(), Failure> {
    let text = words(&what, network);
    if !sure.yes && io::stdin().is_terminal() {
        eprint!("{text}\nAllow it once, within 24 hours? [y/N] ");
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(Failure::Output)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Err(SpendingError::NotSure.into());
        }
    }
    let shown = facts(&what, network);
    done(ask(Request::Approve { what })?)?;
    match json {
        true => print_json(&json!({ "approved": shown })),
        false => print(&format!("approved for 24 hours: {text}\n")),
    }
}

fn words(what: &Approvable, network: Network) -> String {
    match what {
        Approvable::Spend { payouts, fee } => {
            let payouts = payouts.iter().map(|payout| {
                let to = shown(&payout.script, network);
                format!("at most {} to {to}", payout.value)
            });
            let mut parts: Vec<String> = payouts.collect();
            parts.push(format!("a fee of at most {fee}"));
            format!("a withdrawal of {}", parts.join(", "))
        }
        Approvable::Payment { hash, amount } => {
            format!("a payment of at most {amount}, fees counted, for hash {hash}")
        }
        Approvable::Push { peer, amount } => {
            format!("an opening that gives at most {amount} to {peer}")
        }
    }
}

fn facts(what: &Approvable, network: Network) -> Value {
    match what {
        Approvable::Spend { payouts, fee } => {
            let payouts = payouts.iter().map(|payout| {
                json!({"to": shown(&payout.script, network), "amount_sat": payout.value.0})
            });
            json!({"withdrawal": payouts.collect::<Vec<_>>(), "max_fee_sat": fee.0})
        }
        Approvable::Payment { hash, amount } => {
            json!({"payment_hash": hash.to_string(), "amount_msat": amount.0})
        }
        Approvable::Push { peer, amount } => {
            json!({"push_to": peer.to_string(), "amount_msat": amount.0})
        }
    }
}

fn show_limits(overview: &Overview, json: bool) -> Result<(), Failure> {
    let Overview {
        limits,
        withdrawals,
        payments,
        ..
    } = overview;
    if json {
        let one = |limit: Limit, standing: &Standing| {
            json!({
                "setting": setting(limit),
                "limit_sat": standing.limit.0,
                "used_msat": standing.used.0,
                "left_msat": standing.left.0,
            })
        };
        return print_json(&json!({
            "withdraw_per_day": one(limits.withdraw_per_day, withdrawals),
            "pay_per_day": one(limits.pay_per_day, payments),
            "max_feerate_perkw": limits.max_feerate.0,
            "max_fee_sat": limits.max_fee.0,
            "holds_sat": overview.holds.0,
        }));
    }
    let mut table = table(&["in 24 hours", "setting", "limit", "used", "left"]);
    let mut row = |name: &str, limit, standing: &Standing| {
        table.add_row([
            name.to_owned(),
            setting(limit),
            standing.limit.to_string(),
            standing.used.to_string(),
            standing.left.to_string(),
        ]);
    };
    row("withdrawals", limits.withdraw_per_day, withdrawals);
    row("payments", limits.pay_per_day, payments);
    print(&format!(
        "{table}\nA transaction's fee: at most {} and {}. The node holds {}.\n",
        limits.max_fee, limits.max_feerate, overview.holds
    ))
}

fn setting(limit: Limit) -> String {
    match limit {
        Limit::InProportion => "auto".to_owned(),
        Limit::Exactly(sum) => sum.to_string(),
    }
}

fn show_allowlist(scripts: &[ScriptBuf], network: Network, json: bool) -> Result<(), Failure> {
    let lines = scripts.iter().map(|script| shown(script, network));
    let lines: Vec<String> = lines.collect();
    match (json, lines.is_empty()) {
        (true, _) => print_json(&json!({ "allowlist": lines })),
        (false, true) => print("nothing is on the allowlist\n"),
        (false, false) => print(&format!("{}\n", lines.join("\n"))),
    }
}

fn show_refused(refusals: &[Refusal], network: Network, json: bool) -> Result<(), Failure> {
    if json {
        let one = |refusal: &Refusal| {
            let mut shown = facts(&refusal.what, network);
            shown["number"] = json!(refusal.number);
            shown["at"] = json!(refusal.at);
            shown
        };
        let list: Vec<Value> = refusals.iter().map(one).collect();
        return print_json(&json!({ "refused": list }));
    }
    if refusals.is_empty() {
        return print("nothing was refused for a limit\n");
    }
    let mut table = table(&["number", "what"]);
    for refusal in refusals {
        let what = words(&refusal.what, network);
        table.add_row([refusal.number.to_string(), what]);
    }
    print(&format!("{table}\n"))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)
}
