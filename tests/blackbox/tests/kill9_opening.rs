//! kill -9 of anything at any moment of an opening. Afterwards the opener has the channel, funded and
//! usable by both, or it knows of none and nothing of it ever gets on chain; and its money is all there.
//!
//! `BULKHEAD_KILL_ROUNDS` (30) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::kill::{self, Rounds, Victim, strike};
use blackbox::node::settled;
use blackbox::{Network, Node, RpcError};
use rand::Rng;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CHANNEL: u64 = 100_000;
/// More than all fees of a round.
const FEES: u64 = 20_000;

/// What of one of the two dies in a round.
const VICTIMS: [Victim; 6] = [
    Victim::Node,
    Victim::Lightningd,
    Victim::Role("hsmd"),
    Victim::Role("channeld"),
    Victim::Role("connectd"),
    Victim::Role("chaind"),
];

#[test]
fn kill_9_during_an_opening_loses_no_money() {
    let mut rounds = Rounds::new(30);
    let mut network = Network::start(&["alice", "bob"]).unwrap();
    // An opening that takes as long as this one tells when to strike.
    fund(&network).unwrap();
    let start = Instant::now();
    open(&network).unwrap();
    let usual = start.elapsed();
    end(&mut network).unwrap();
    for round in 0..rounds.count {
        let victim = (rounds.any_of(&[0, 1]), rounds.any_of(&VICTIMS));
        let moment = usual.mul_f64(rounds.random.gen_range(0.0..1.1));
        let outcome = one_round(&mut network, victim, moment)
            .unwrap_or_else(|error| kill::failed(round, (victim, moment), rounds.seed, &error));
        println!("round {round}: {victim:?} after {moment:?}: {outcome}");
    }
}

fn fund(network: &Network) -> Result<()> {
    let alice = &network.nodes[0];
    alice.fund(&network.bitcoind, CHANNEL + 50_000)?;
    connected(network)
}

/// Alice dials until it has bob: he may only just be up.
fn connected(network: &Network) -> Result<()> {
    let [alice, bob] = &network.nodes[..] else {
        anyhow::bail!("two nodes")
    };
    alice.wait_for("bob is connected", |alice| Ok(alice.connect(bob).ok()))
}

fn open(network: &Network) -> Result<Value, RpcError> {
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let id = bob.id().map_err(|error| panic!("{error}"))?;
    alice.rpc("fundchannel", json!({"id": id, "amount": CHANNEL}))
}

fn one_round(
    network: &mut Network,
    (node, victim): (usize, Victim),
    moment: Duration,
) -> Result<String> {
    fund(network)?;
    let before = network.nodes[0].onchain_msat(false)?;
    let bob = network.nodes[1].id()?;
    let client = network.nodes[0].client();
    let opening = std::thread::spawn(move || {
        client.call("fundchannel", json!({"id": bob, "amount": CHANNEL}))
    });
    std::thread::sleep(moment);
    strike(&mut network.nodes[node], victim)?;
    let opened = opening
        .join()
        .map_err(|_| anyhow::anyhow!("the call panicked"))?;
    connected(network)?;
    network.mine(6)?;
    let channels = decided(&network.nodes[0], &network.nodes[1])?;
    ensure!(
        opened.is_err() || channels == 1,
        "alice was told of a channel that it does not know"
    );
    if channels == 1 {
        let [alice, bob] = &network.nodes[..] else {
            anyhow::bail!("two nodes")
        };
        let invoice = bob.invoice(10_000_000, &format!("{}", rand::random::<u64>()))?;
        alice.pay(&invoice.bolt11).context("over the new channel")?;
    }
    end(network)?;
    let after = network.nodes[0].onchain_msat(false)?;
    let spent = before.saturating_sub(after) / 1000;
    let paid = 10_000 * channels as u64;
    ensure!(
        spent <= paid + FEES,
        "{spent} sat are gone, {paid} of them paid"
    );
    let said = match &opened {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(format!("{channels} channel, {said}"))
}

/// Waits until each channel that alice knows with bob is in use or gone: how many there are.
fn decided(alice: &Node, bob: &Node) -> Result<usize> {
    let id = bob.id()?;
    alice.wait_for("every opening is decided", |alice| {
        let channels = alice.channels_with(&id)?;
        let live: Vec<_> = channels
            .into_iter()
            .filter(|channel| channel.state != "ONCHAIN")
            .collect();
        ensure!(live.len() <= 1, "{live:?}");
        let normal = live
            .iter()
            .all(|channel| channel.state == "CHANNELD_NORMAL" && channel.usable);
        Ok(normal.then_some(live.len()))
    })
}

/// Closes what is open and buries it.
fn end(network: &mut Network) -> Result<()> {
    network.mine(6)?;
    let [alice, bob] = &network.nodes[..] else {
        anyhow::bail!("two nodes")
    };
    if decided(alice, bob)? == 1 {
        bob.wait_for_normal(alice)?;
        settled(alice, bob)?;
        alice.close(bob)?;
        network.bitcoind.wait_for_mempool(1)?;
    }
    // Deep enough that both forget the channel.
    network.mine(101)
}
