//! The demo: the main job on a real bitcoind. Alice opens a channel to Bob, Bob one to Carol; Alice pays
//! Carol through Bob, Carol pays back, many payments go both ways, one channel is closed; then a table of
//! everything, the processes and what they may do included.

mod table;

use crate::node::Options;
use crate::{Network, Node, until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Instant;

const CHANNEL_SATOSHI: u64 = 1_000_000;
/// Given to the other side at the opening, so that both can pay at once.
const PUSH_MSAT: u64 = 400_000_000;
/// Small payments each way over each channel.
const BOTH_WAYS: u32 = 5;
const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// What the demo did, for its table.
#[derive(Debug, Default)]
pub struct Story {
    payments: Vec<Payment>,
    closed: Option<String>,
}

/// One line of the payments' table.
#[derive(Debug)]
struct Payment {
    from: String,
    to: String,
    msat: u64,
    fee_msat: u64,
    milliseconds: u128,
}

/// Says what happens, with the seconds since the start.
struct Progress(Instant);

impl Progress {
    fn say(&self, text: &str) {
        println!("[{:7.1}s] {text}", self.0.elapsed().as_secs_f32());
    }
}

/// Runs the demo and prints its tables; with `keep`, leaves everything running and says how to talk to it.
///
/// # Errors
/// The first thing that did not go as told.
pub fn run(keep: bool) -> Result<()> {
    let progress = Progress(Instant::now());
    progress
        .say("starting bitcoind on a private regtest chain, and the nodes alice, bob and carol");
    let options = Options {
        own_group: keep,
        ..Options::default()
    };
    let network = Network::start_with(&["alice", "bob", "carol"], &options)?;
    let mut story = Story::default();
    open(&network, &progress)?;
    pay_through_bob(&network, &progress, &mut story)?;
    pay_both_ways(&network, &progress, &mut story)?;
    close(&network, &progress, &mut story)?;
    println!("\n{}", table::nodes(&network)?);
    println!("\n{}", table::channels(&network)?);
    println!("\n{}", table::payments(&story));
    println!("\n{}\n", table::processes(&network));
    if keep {
        leave(network);
        return Ok(());
    }
    progress.say("stopping the nodes in order");
    let Network {
        nodes,
        mut bitcoind,
    } = network;
    for mut node in nodes {
        let status = node.stop()?;
        ensure!(status.success(), "{} ended with {status}", node.name());
    }
    bitcoind.stop()?;
    progress.say("done");
    Ok(())
}

fn open(network: &Network, progress: &Progress) -> Result<()> {
    for (from, to) in [(ALICE, BOB), (BOB, CAROL)] {
        let (a, b) = (network.nodes[from].name(), network.nodes[to].name());
        progress.say(&format!(
            "{a} gets coins, connects to {b} and opens a channel of {CHANNEL_SATOSHI} sat"
        ));
        let channel = network.open(from, to, CHANNEL_SATOSHI, PUSH_MSAT)?;
        let id = channel.short_channel_id.unwrap_or(channel.channel_id);
        progress.say(&format!(
            "channel {id} is open; {} msat are {a}'s",
            channel.to_us_msat
        ));
    }
    network.sync()
}

/// Carol's invoice carries a route hint (her channel with Bob), so Alice needs no other knowledge of it.
fn pay_through_bob(network: &Network, progress: &Progress, story: &mut Story) -> Result<()> {
    let (alice, bob, carol) = (
        &network.nodes[ALICE],
        &network.nodes[BOB],
        &network.nodes[CAROL],
    );
    for (number, msat) in [25_000_000_u64, 1_234_567].into_iter().enumerate() {
        let hint = hint_through(carol, bob)?;
        let label = format!("coffee-{number}");
        let params = json!({
            "amount_msat": msat, "label": label, "description": "coffee", "exposeprivatechannels": [hint],
        });
        let bolt11 = carol.rpc("invoice", params)?["bolt11"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        progress.say(&format!("alice pays {msat} msat to carol, through bob"));
        story.payments.push(pay(alice, carol, &bolt11, &label)?);
    }
    let last = story.payments.last().context("a payment was made")?;
    ensure!(last.fee_msat > 0, "bob forwarded, so he earned a fee");
    Ok(())
}

/// The short channel id of the payee's channel with this neighbour.
fn hint_through(payee: &Node, neighbour: &Node) -> Result<String> {
    let channels = payee.channels_with(&neighbour.id()?)?;
    let open = channels
        .into_iter()
        .find_map(|channel| channel.short_channel_id);
    open.with_context(|| format!("{} has a channel with {}", payee.name(), neighbour.name()))
}

fn pay_both_ways(network: &Network, progress: &Progress, story: &mut Story) -> Result<()> {
    for (one, other) in [(ALICE, BOB), (BOB, CAROL)] {
        let (one, other) = (&network.nodes[one], &network.nodes[other]);
        progress.say(&format!(
            "{BOTH_WAYS} payments each way between {} and {}",
            one.name(),
            other.name()
        ));
        let forth = std::thread::scope(|scope| -> Result<Vec<Payment>> {
            let forth = scope.spawn(|| several(one, other));
            let back = several(other, one)?;
            let mut made = forth
                .join()
                .map_err(|_| anyhow::anyhow!("a paying thread panicked"))??;
            made.extend(back);
            Ok(made)
        });
        story.payments.extend(forth?);
    }
    Ok(())
}

fn several(payer: &Node, payee: &Node) -> Result<Vec<Payment>> {
    let one = |number: u32| {
        let label = format!("from-{}-{number}", payer.name());
        let invoice = payee.invoice(u64::from(number + 1) * 100_000, &label)?;
        pay(payer, payee, &invoice.bolt11, &label)
    };
    (0..BOTH_WAYS).map(one).collect()
}

fn pay(payer: &Node, payee: &Node, bolt11: &str, label: &str) -> Result<Payment> {
    let start = Instant::now();
    let paid = payer.pay(bolt11)?;
    let milliseconds = start.elapsed().as_millis();
    ensure!(
        paid["status"] == "complete",
        "the payment is complete: {paid}"
    );
    let status = payee.invoice_status(label)?;
    ensure!(
        status.as_deref() == Some("paid"),
        "{} has the invoice {label} as {status:?}",
        payee.name()
    );
    let amount = |field: &str| {
        paid[field]
            .as_u64()
            .with_context(|| format!("pay gives {field}: {paid}"))
    };
    let (msat, sent) = (amount("amount_msat")?, amount("amount_sent_msat")?);
    let fee_msat = sent
        .checked_sub(msat)
        .context("no less was sent than arrived")?;
    Ok(Payment {
        from: payer.name().into(),
        to: payee.name().into(),
        msat,
        fee_msat,
        milliseconds,
    })
}

fn close(network: &Network, progress: &Progress, story: &mut Story) -> Result<()> {
    let (bob, carol) = (&network.nodes[BOB], &network.nodes[CAROL]);
    bob.wait_for_quiet(carol)?;
    carol.wait_for_quiet(bob)?;
    progress.say("bob closes his channel with carol, together with her");
    let closed = bob.close(carol)?;
    ensure!(closed["type"] == "mutual", "the close is mutual: {closed}");
    let txid = closed["txids"][0]
        .as_str()
        .context("close gives a txid")?
        .to_string();
    network.bitcoind.wait_for_mempool(1)?;
    network.mine(6)?;
    let transaction = network.bitcoind.transaction(&txid)?;
    ensure!(
        transaction["confirmations"].as_u64() >= Some(6),
        "the closing transaction is mined"
    );
    let outputs = transaction["vout"]
        .as_array()
        .map(Vec::len)
        .unwrap_or_default();
    progress.say(&format!("closed on chain by {txid}, {outputs} outputs"));
    for node in [bob, carol] {
        until(&format!("{} has its share", node.name()), || {
            let funds = node.rpc("listfunds", json!({}))?;
            let outputs = funds["outputs"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let share = |output: &&Value| {
                output["txid"] == txid.as_str() && output["status"] == "confirmed"
            };
            Ok(outputs.iter().find(share).map(drop))
        })?;
    }
    story.closed = Some(txid);
    Ok(())
}

fn leave(network: Network) {
    let cli = crate::node::program("lightning-cli")
        .map_or("lightning-cli".into(), |path| path.display().to_string());
    println!("Everything is left running. To talk to it:\n");
    for node in &network.nodes {
        println!(
            "  {cli} --regtest --lightning-dir={} getinfo   # {}",
            node.lightning_dir().display(),
            node.name()
        );
    }
    let Network { nodes, bitcoind } = network;
    println!("\nTo mine a block:\n");
    let (user, password) = (crate::bitcoind::USER, crate::bitcoind::PASSWORD);
    println!(
        "  curl -s -u {user}:{password} http://127.0.0.1:{}/wallet/miner \\\n    -d '{{\"method\":\"generatetoaddress\",\
         \"params\":[1,\"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080\"]}}'",
        bitcoind.rpc_port()
    );
    println!("\nTo end it: `stop` on each node, then:\n");
    if let Some(pid) = bitcoind.pid() {
        println!("  kill {pid}   # bitcoind");
    }
    let mut folders: Vec<String> = nodes
        .into_iter()
        .map(|node| node.leave().display().to_string())
        .collect();
    folders.push(bitcoind.leave().display().to_string());
    println!("  rm -r {}\n", folders.join(" "));
}
