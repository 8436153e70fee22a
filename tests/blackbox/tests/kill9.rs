//! kill -9 of anything at any moment, under payment load in both directions. After each round both nodes
//! must come to the same channel again, with nothing in flight, every payment decided the same way on both
//! sides, the balances moved by exactly what arrived, and the funding output unspent.
//!
//! `BULKHEAD_KILL_ROUNDS` (100) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::node::{ChannelState, settled};
use blackbox::payments::{Attempt, Load, audit};
use blackbox::{Client, Network, Node, Pid, until};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

const CHANNEL: u64 = 5_000_000;
const MSAT: u64 = 1_000;
/// Payers at the same time, each way.
const AT_ONCE: usize = 4;

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
    before: &ChannelState,
    victim: Victim,
    round: usize,
    random: &mut StdRng,
) -> Result<ChannelState> {
    let [alice, bob] = [&network.nodes[0], &network.nodes[1]].map(Node::client);
    let start = Instant::now();
    let there = loads(&format!("there-{round}"), &alice, &bob);
    let back = loads(&format!("back-{round}"), &bob, &alice);
    flow(&there, 8)?;
    flow(&back, 8)?;
    std::thread::sleep(Duration::from_micros(random.gen_range(0..30_000)));
    strike(network, victim)?;
    flow(&there, 8).context("after the kill")?;
    flow(&back, 8).context("after the kill")?;
    let (there, back) = (finish(there)?, finish(back)?);
    println!(
        "round {round}: {victim:?}, {} payments, {:.1} s",
        there.len() + back.len(),
        start.elapsed().as_secs_f64()
    );
    check(network, before, &there, &back)
}

fn loads(name: &str, payer: &Client, payee: &Client) -> Vec<Load> {
    let one = |number| {
        let name = format!("{name}-{number}");
        Load::start(&name, payer.clone(), payee.clone(), MSAT)
    };
    (0..AT_ONCE).map(one).collect()
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
    there: &[Attempt],
    back: &[Attempt],
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
