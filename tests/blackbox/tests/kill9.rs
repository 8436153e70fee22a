//! kill -9 of anything at any moment, under payment load in both directions. After each round both nodes
//! must come to the same channel again, with nothing in flight, every payment decided the same way on both
//! sides, the balances moved by exactly what arrived, and the funding output unspent.
//!
//! `BULKHEAD_KILL_ROUNDS` (100) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::kill::{self, Rounds, Victim, strike_and_wait};
use blackbox::node::ChannelState;
use blackbox::rounds::{MSAT, Traffic};
use blackbox::{Network, Node};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CHANNEL: u64 = 5_000_000;
/// Payers at the same time, each way.
const AT_ONCE: usize = 4;

/// What dies of which node; `None`: every process of both.
type Target = Option<(usize, Victim)>;

fn targets() -> Vec<Target> {
    let subdaemons = ["hsmd", "connectd", "channeld", "chaind", "payd"].map(Victim::Role);
    let of_one = |node| {
        let victims = subdaemons
            .into_iter()
            .chain([Victim::Lightningd, Victim::Node]);
        victims.map(move |victim| Some((node, victim)))
    };
    (0..2).flat_map(of_one).chain([None]).collect()
}

#[test]
fn kill_9_of_anything_at_any_moment_loses_nothing() {
    let mut rounds = Rounds::new(100);
    let seed = rounds.seed;
    let (mut network, mut channel) = Network::pair(CHANNEL).unwrap();
    let (all, mut order) = (targets(), Vec::new());
    for round in 0..rounds.count {
        let target = rounds.next_of(&mut order, &all);
        channel = one_round(&mut network, &channel, target, round, &mut rounds.random)
            .unwrap_or_else(|error| kill::failed(round, target, seed, &error));
    }
}

fn one_round(
    network: &mut Network,
    before: &ChannelState,
    target: Target,
    round: usize,
    random: &mut StdRng,
) -> Result<ChannelState> {
    let start = Instant::now();
    let traffic = Traffic::start(&network.nodes, AT_ONCE, round)?;
    traffic.flow(8)?;
    std::thread::sleep(Duration::from_micros(random.gen_range(0..30_000)));
    match target {
        Some((node, victim)) => strike_and_wait(&mut network.nodes[node], victim, 1)?,
        None => {
            network.nodes.iter_mut().try_for_each(Node::kill_all)?;
            network.nodes.iter_mut().try_for_each(Node::launch)?;
        }
    }
    traffic.flow(8).context("after the kill")?;
    let tried = traffic.finish()?;
    println!(
        "round {round}: {target:?}, {} payments, {:.1} s",
        tried.count(),
        start.elapsed().as_secs_f64()
    );
    let ours = tried.audit(&network.nodes, before)?;
    let unspent = network
        .bitcoind
        .unspent(&ours.funding_txid, ours.funding_output)?;
    ensure!(unspent.is_some(), "somebody spent the funding output");
    let [alice, bob] = &network.nodes[..] else {
        anyhow::bail!("two nodes")
    };
    counted(alice, bob)?;
    counted(bob, alice)?;
    Ok(ours)
}

/// Both sides have counted the same HTLCs, each once: all of them were of one amount.
fn counted(from: &Node, to: &Node) -> Result<()> {
    let channel = |node: &Node| {
        Ok::<_, anyhow::Error>(node.rpc("listpeerchannels", json!({}))?["channels"][0].clone())
    };
    let (payer, payee) = (channel(from)?, channel(to)?);
    for what in ["offered", "fulfilled"] {
        let of = |channel: &Value, way: &str| {
            let count = channel[format!("{way}_payments_{what}")].as_u64();
            count.zip(channel[format!("{way}_{what}_msat")].as_u64())
        };
        let (out, into) = (of(&payer, "out"), of(&payee, "in"));
        ensure!(out == into, "{what}: {out:?} went and {into:?} came");
        let fits = out.is_some_and(|(count, amount)| amount == count * MSAT);
        ensure!(fits, "{what}: {out:?} of {MSAT} msat each");
    }
    Ok(())
}
