//! kill -9 of the node in the middle, or of any of its processes, while payments go through it both
//! ways. After each round nothing is in flight, every payment is decided the same way by payer and
//! payee, none was paid twice, and the node in the middle has earned exactly its fees: it never paid on
//! what it did not get, nor kept what it should have given back.
//!
//! `BULKHEAD_KILL_ROUNDS` (30) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::node::{ChannelState, settled};
use blackbox::payments::{Attempt, Load, audit, spent};
use blackbox::{Network, Node, Pid, Process, until};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CHANNEL: u64 = 2_000_000;
const MSAT: u64 = 100_000;
/// Payers at the same time, each way.
const AT_ONCE: usize = 3;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// What of the middle node dies in a round.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// Its master.
    Lightningd,
    /// One process; of the two channelds one of the two.
    Subdaemon(&'static str, usize),
    /// Both its channelds at the same time.
    Channelds,
    /// All of them.
    Node,
}

const VICTIMS: [Victim; 9] = [
    Victim::Lightningd,
    Victim::Subdaemon("channeld", 0),
    Victim::Subdaemon("channeld", 1),
    Victim::Subdaemon("connectd", 0),
    Victim::Subdaemon("hsmd", 0),
    Victim::Subdaemon("chaind", 0),
    Victim::Subdaemon("payd", 0),
    Victim::Channelds,
    Victim::Node,
];

/// What alice, bob and carol have in their channels, in msat.
type Balances = [u64; 3];

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn kill_9_of_the_node_in_the_middle_loses_nothing() {
    let rounds: usize = setting("BULKHEAD_KILL_ROUNDS").unwrap_or(30);
    let seed: u64 = setting("BULKHEAD_KILL_SEED").unwrap_or_else(rand::random);
    println!("{rounds} rounds, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut network = Network::start(&["alice", "bob", "carol"]).unwrap();
    network.open(ALICE, BOB, CHANNEL, CHANNEL * 500).unwrap();
    network.open(BOB, CAROL, CHANNEL, CHANNEL * 500).unwrap();
    network.sync().unwrap();
    let mut balances = quiet(&network).unwrap();
    let mut order = Vec::new();
    for round in 0..rounds {
        if order.is_empty() {
            order = VICTIMS.to_vec();
            order.shuffle(&mut random);
        }
        let victim = order.pop().unwrap_or(Victim::Node);
        balances = one_round(&mut network, balances, victim, round, &mut random)
            .unwrap_or_else(|error| panic!("round {round}, {victim:?}, seed {seed}: {error:#}"));
    }
    for node in &network.nodes {
        let disagreements = node.disagreements();
        assert!(
            disagreements.is_empty(),
            "seed {seed}, {}: {disagreements:#?}",
            node.name()
        );
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
    flow(&there, 4)?;
    flow(&back, 4)?;
    std::thread::sleep(Duration::from_micros(random.gen_range(0..30_000)));
    strike(&mut network.nodes[BOB], victim)?;
    flow(&there, 4).context("after the kill")?;
    flow(&back, 4).context("after the kill")?;
    let (there, back) = (finish(there)?, finish(back)?);
    println!(
        "round {round}: {victim:?}, {} payments, {:.1} s",
        there.len() + back.len(),
        start.elapsed().as_secs_f64()
    );
    check(network, before, &there, &back)
}

fn loads(network: &Network, from: usize, to: usize, name: &str) -> Result<Vec<Load>> {
    let (payer, payee) = (&network.nodes[from], &network.nodes[to]);
    let hint = channel(payee, &network.nodes[BOB])?
        .short_channel_id
        .context("a confirmed channel")?;
    let further: Value = json!({"exposeprivatechannels": [hint]});
    let one = |number| {
        let name = format!("{name}-{number}");
        Load::start_with(&name, payer.client(), payee.client(), MSAT, further.clone())
    };
    Ok((0..AT_ONCE).map(one).collect())
}

fn finish(loads: Vec<Load>) -> Result<Vec<Attempt>> {
    let ended: Result<Vec<_>> = loads.into_iter().map(Load::finish).collect();
    Ok(ended?.concat())
}

fn flow(loads: &[Load], more: usize) -> Result<()> {
    let paid = || loads.iter().map(Load::paid).sum::<usize>();
    let before = paid();
    until("payments flow", || {
        Ok((paid() >= before + more).then_some(()))
    })
}

fn strike(bob: &mut Node, victim: Victim) -> Result<()> {
    match victim {
        Victim::Lightningd => {
            bob.kill9()?;
            bob.launch()
        }
        Victim::Node => {
            bob.kill_all()?;
            bob.launch()
        }
        Victim::Subdaemon("hsmd", _) => {
            running(bob, "hsmd", 1)?[0].kill9();
            let status = bob.wait_for_end()?;
            ensure!(!status.success(), "it lost its hsmd and ended with success");
            bob.launch()
        }
        Victim::Subdaemon("channeld", which) => {
            let victim = running(bob, "channeld", 2)?.swap_remove(which);
            replaced(bob, "channeld", &[victim])
        }
        Victim::Subdaemon(role, _) => {
            let victims = running(bob, role, 1)?;
            replaced(bob, role, &victims)
        }
        Victim::Channelds => {
            let victims = running(bob, "channeld", 2)?;
            replaced(bob, "channeld", &victims)
        }
    }
}

fn running(node: &Node, role: &str, count: usize) -> Result<Vec<Process>> {
    node.wait_for(&format!("it has {count} {role}"), |node| {
        let found = node.processes_in_role(role);
        Ok((found.len() == count).then_some(found))
    })
}

/// Kills these; lightningd lives on and starts as many others.
fn replaced(node: &mut Node, role: &str, victims: &[Process]) -> Result<()> {
    let master = node.pid();
    let all = node.processes_in_role(role).len();
    victims.iter().for_each(Process::kill9);
    let dead: Vec<Pid> = victims.iter().map(|process| process.pid).collect();
    node.wait_for(&format!("it has a new {role}"), |node| {
        let found = node.processes_in_role(role);
        let fresh = found.iter().all(|process| !dead.contains(&process.pid));
        Ok((fresh && found.len() == all).then_some(()))
    })?;
    ensure!(
        node.is_running() && node.pid() == master,
        "lightningd did not outlive its {role}"
    );
    Ok(())
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
    Ok(after)
}
