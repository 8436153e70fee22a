//! kill -9 of the node in the middle, or of any of its processes, while payments go through it both
//! ways. After each round nothing is in flight, every payment is decided the same way by payer and
//! payee, none was paid twice, and the node in the middle has earned exactly its fees: it never paid on
//! what it did not get, nor kept what it should have given back.
//!
//! `BULKHEAD_KILL_ROUNDS` (30) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::Network;
use blackbox::kill::{self, Rounds, Victim, strike_and_wait};
use blackbox::middle::{ALICE, BOB, Balances, CAROL, audited, quiet, reached_through};
use blackbox::payments::Loads;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use std::time::{Duration, Instant};

const CHANNEL: u64 = 2_000_000;
const MSAT: u64 = 100_000;
/// Payers at the same time, each way.
const AT_ONCE: usize = 3;

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
    let after = audited(network, before, &there, &back)?;
    // Bob began with half of each channel, and has counted each fee once.
    let info = network.nodes[BOB].rpc("getinfo", json!({}))?;
    let earned = after[BOB] - CHANNEL * 1000;
    ensure!(
        info["fees_collected_msat"] == earned,
        "{earned} msat were earned: {info}"
    );
    Ok(after)
}

fn loads(network: &Network, from: usize, to: usize, name: &str) -> Result<Loads> {
    let (payer, payee) = (&network.nodes[from], &network.nodes[to]);
    let further = reached_through(payee, &network.nodes[BOB])?;
    let (payer, payee) = (payer.client(), payee.client());
    Ok(Loads::start(AT_ONCE, name, &payer, &payee, MSAT, &further))
}
