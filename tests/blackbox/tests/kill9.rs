//! kill -9 of anything at any moment, under payment load in both directions. After each round both nodes
//! must come to the same channel again, with nothing in flight, every payment decided the same way on both
//! sides, the balances moved by exactly what arrived, and the funding output unspent.
//!
//! `BULKHEAD_KILL_ROUNDS` (100) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::node::{ChannelState, settled};
use blackbox::payments::{Load, audit};
use blackbox::{Network, Node, Pid, until};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::time::Duration;

const CHANNEL: u64 = 5_000_000;
const MSAT: u64 = 1_000;

/// What dies in a round.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// One node's master.
    Lightningd(usize),
    /// One process of one node.
    Subdaemon(usize, &'static str),
    /// Every process of one node.
    Node(usize),
    /// Every process of both.
    Both,
}

fn victims() -> Vec<Victim> {
    let roles = ["hsmd", "connectd", "channeld", "chaind", "payd"];
    let of_one = |node: usize| {
        let subdaemons = roles
            .into_iter()
            .map(move |role| Victim::Subdaemon(node, role));
        subdaemons.chain([Victim::Lightningd(node), Victim::Node(node)])
    };
    (0..2).flat_map(of_one).chain([Victim::Both]).collect()
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn kill_9_of_anything_at_any_moment_loses_nothing() {
    let rounds: usize = setting("BULKHEAD_KILL_ROUNDS").unwrap_or(100);
    let seed: u64 = setting("BULKHEAD_KILL_SEED").unwrap_or_else(rand::random);
    println!("{rounds} rounds, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut network, mut channel) = Network::pair(CHANNEL).unwrap();
    let mut order = Vec::new();
    for round in 0..rounds {
        // Each victim in turn, in random order, so that a short run meets most of them too.
        if order.is_empty() {
            order = victims();
            order.shuffle(&mut random);
        }
        let victim = order.pop().unwrap_or(Victim::Both);
        channel = one_round(&mut network, &channel, victim, round, &mut random)
            .unwrap_or_else(|error| panic!("round {round}, {victim:?}, seed {seed}: {error:#}"));
    }
}

fn one_round(
    network: &mut Network,
    before: &ChannelState,
    victim: Victim,
    round: usize,
    random: &mut StdRng,
) -> Result<ChannelState> {
    let [alice, bob] = [&network.nodes[0], &network.nodes[1]].map(Node::client);
    let there = Load::start(&format!("there-{round}"), alice.clone(), bob.clone(), MSAT);
    let back = Load::start(&format!("back-{round}"), bob, alice, MSAT);
    flows(&there, 2)?;
    flows(&back, 2)?;
    std::thread::sleep(Duration::from_micros(random.gen_range(0..30_000)));
    strike(network, victim)?;
    flows(&there, 2).context("after the kill")?;
    flows(&back, 2).context("after the kill")?;
    let (there, back) = (there.finish()?, back.finish()?);
    println!(
        "round {round}: {victim:?}, {} payments",
        there.len() + back.len()
    );
    check(network, before, &there, &back)
}

fn flows(load: &Load, more: usize) -> Result<()> {
    let before = load.paid();
    until("payments flow", || {
        Ok((load.paid() >= before + more).then_some(()))
    })
}

fn strike(network: &mut Network, victim: Victim) -> Result<()> {
    match victim {
        Victim::Lightningd(node) => {
            network.nodes[node].kill9()?;
            network.nodes[node].launch()
        }
        Victim::Node(node) => {
            network.nodes[node].kill_all()?;
            network.nodes[node].launch()
        }
        Victim::Both => {
            for node in &mut network.nodes {
                node.kill_all()?;
            }
            network.nodes.iter_mut().try_for_each(Node::launch)
        }
        Victim::Subdaemon(node, "hsmd") => {
            // Without its keys a node can promise nothing: it stops, with a reason, and is started again.
            let node = &mut network.nodes[node];
            pick(node, "hsmd")?.kill9();
            let status = node.wait_for_end()?;
            ensure!(
                !status.success(),
                "a node that lost its hsmd ended with success"
            );
            node.launch()
        }
        Victim::Subdaemon(node, role) => replaced(&mut network.nodes[node], role),
    }
}

fn pick(node: &Node, role: &str) -> Result<blackbox::Process> {
    node.wait_for(&format!("it has a {role}"), |node| {
        Ok(node.processes_in_role(role).into_iter().next())
    })
}

/// Kills one subdaemon; lightningd lives on and starts another.
fn replaced(node: &mut Node, role: &str) -> Result<()> {
    let master = node.pid();
    let victim = pick(node, role)?;
    victim.kill9();
    let successor = node.wait_for(&format!("it has a new {role}"), |node| {
        let pids = node
            .processes_in_role(role)
            .into_iter()
            .map(|process| process.pid);
        Ok(pids.into_iter().find(|pid: &Pid| *pid != victim.pid))
    });
    successor?;
    ensure!(
        node.is_running() && node.pid() == master,
        "lightningd did not outlive its {role}"
    );
    Ok(())
}

fn check(
    network: &Network,
    before: &ChannelState,
    there: &[blackbox::payments::Attempt],
    back: &[blackbox::payments::Attempt],
) -> Result<ChannelState> {
    let [alice, bob] = &network.nodes[..] else {
        anyhow::bail!("two nodes")
    };
    let (ours, theirs) = settled(alice, bob)?;
    ensure!(
        ours.channel_id == before.channel_id,
        "the channel is another: {ours:?}"
    );
    for (node, peer) in [(alice, bob), (bob, alice)] {
        let channels = node.channels_with(&peer.id()?)?;
        ensure!(channels.len() == 1, "{} has {channels:?}", node.name());
    }
    let unspent = network
        .bitcoind
        .unspent(&ours.funding_txid, ours.funding_output)?;
    ensure!(unspent.is_some(), "somebody spent the funding output");
    let (arrived_there, arrived_back) = (audit(alice, bob, there)?, audit(bob, alice, back)?);
    let expected = before.to_us_msat + arrived_back - arrived_there;
    ensure!(
        ours.to_us_msat == expected && theirs.to_us_msat == ours.total_msat - expected,
        "alice should have {expected} msat: {ours:?}, {theirs:?}"
    );
    Ok(ours)
}
