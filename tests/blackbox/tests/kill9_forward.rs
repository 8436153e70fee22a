//! kill -9 of the node in the middle, or of any of its processes, while payments go through it both
//! ways. After each round nothing is in flight, every payment is decided the same way by payer and
//! payee, none was paid twice, and the node in the middle has earned exactly its fees: it never paid on
//! what it did not get, nor kept what it should have given back.
//!
//! `BULKHEAD_KILL_ROUNDS` (30) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::kill::{self, Rounds, Victim, strike_and_wait};
use blackbox::node::{ChannelState, settled};
use blackbox::payments::{Attempt, Loads, audit, spent};
use blackbox::{Network, Node};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use std::time::{Duration, Instant};

const CHANNEL: u64 = 2_000_000;
const MSAT: u64 = 100_000;
/// Payers at the same time, each way.
const AT_ONCE: usize = 3;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// What of the middle node dies in a round.
const VICTIMS: [Victim; 9] = [
    Victim::Lightningd,
    Victim::One("channeld", 0),
    Victim::One("channeld", 1),
    Victim::Role("channeld"),
    Victim::Role("connectd"),
    Victim::Role("hsmd"),
    Victim::Role("chaind"),
    Victim::Role("payd"),
    Victim::Node,
];

/// What alice, bob and carol have in their channels, in msat.
type Balances = [u64; 3];

#[test]
fn kill_9_of_the_node_in_the_middle_loses_nothing() {
    let mut rounds = Rounds::new(30);
    let seed = rounds.seed;
    let mut network = Network::start(&["alice", "bob", "carol"]).unwrap();
    network.open(ALICE, BOB, CHANNEL, CHANNEL * 500).unwrap();
    network.open(BOB, CAROL, CHANNEL, CHANNEL * 500).unwrap();
    network.sync().unwrap();
    let mut balances = quiet(&network).unwrap();
    let mut order = Vec::new();
    for round in 0..rounds.count {
        let victim = rounds.next_of(&mut order, &VICTIMS);
        balances = one_round(&mut network, balances, victim, round, &mut rounds.random)
            .unwrap_or_else(|error| kill::failed(round, victim, seed, &error));
    }
    kill::no_disagreements(&network.nodes).unwrap();
}

fn one_round(
    network: &mut Network,
    before: Balances,
    victim: Victim,
    round: usize,
    random: &mut StdRng,
) -> Result<Balances> {
    let start = Instant::now();
    let there = loads(network, ALICE, CAROL, &format!("there-{round}"))?;
    let back = loads(network, CAROL, ALICE, &format!("back-{round}"))?;
    there.flow(4)?;
    back.flow(4)?;
    std::thread::sleep(Duration::from_micros(random.gen_range(0..30_000)));
    strike_and_wait(&mut network.nodes[BOB], victim, 2)?;
    there.flow(4).context("after the kill")?;
    back.flow(4).context("after the kill")?;
    let (there, back) = (there.finish()?, back.finish()?);
    println!(
        "round {round}: {victim:?}, {} payments, {:.1} s",
        there.len() + back.len(),
        start.elapsed().as_secs_f64()
    );
    check(network, before, &there, &back)
}

fn loads(network: &Network, from: usize, to: usize, name: &str) -> Result<Loads> {
    let (payer, payee) = (&network.nodes[from], &network.nodes[to]);
    let hint = channel(payee, &network.nodes[BOB])?
        .short_channel_id
        .context("a confirmed channel")?;
    let further = json!({"exposeprivatechannels": [hint]});
    let (payer, payee) = (payer.client(), payee.client());
    Ok(Loads::start(AT_ONCE, name, &payer, &payee, MSAT, &further))
}

fn channel(node: &Node, peer: &Node) -> Result<ChannelState> {
    let mut all = node.channels_with(&peer.id()?)?;
    ensure!(all.len() == 1, "{} has {all:?}", node.name());
    Ok(all.remove(0))
}

/// Waits until nothing is in flight anywhere; both channels stand as they were opened.
fn quiet(network: &Network) -> Result<Balances> {
    let [alice, bob, carol] = &network.nodes[..] else {
        anyhow::bail!("three nodes")
    };
    let (alices, bobs_left) = settled(alice, bob)?;
    let (bobs_right, carols) = settled(bob, carol)?;
    for channel in [&alices, &carols] {
        let unspent = network
            .bitcoind
            .unspent(&channel.funding_txid, channel.funding_output)?;
        ensure!(unspent.is_some(), "somebody spent the funding output");
    }
    let bob = bobs_left.to_us_msat + bobs_right.to_us_msat;
    Ok([alices.to_us_msat, bob, carols.to_us_msat])
}

fn check(
    network: &Network,
    before: Balances,
    there: &[Attempt],
    back: &[Attempt],
) -> Result<Balances> {
    let after = quiet(network)?;
    let (alice, carol) = (&network.nodes[ALICE], &network.nodes[CAROL]);
    let arrived = (audit(alice, carol, there)?, audit(carol, alice, back)?);
    let sent = (spent(alice, there)?, spent(carol, back)?);
    let expected = [
        before[ALICE] + arrived.1 - sent.0,
        before[BOB] + (sent.0 - arrived.0) + (sent.1 - arrived.1),
        before[CAROL] + arrived.0 - sent.1,
    ];
    ensure!(
        after == expected,
        "the balances should be {expected:?} msat and are {after:?}; sent {sent:?}, arrived {arrived:?}"
    );
    // Bob began with half of each channel, and has counted each fee once.
    let info = network.nodes[BOB].rpc("getinfo", json!({}))?;
    let earned = after[BOB] - CHANNEL * 1000;
    ensure!(
        info["fees_collected_msat"] == earned,
        "{earned} msat were earned: {info}"
    );
    Ok(after)
}
