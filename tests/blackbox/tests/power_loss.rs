//! The power fails under payment load: what was only in the page cache is lost. What the node has said
//! by then, to its peer or to whoever called it, was on the disk before, so that nothing is lost or
//! paid twice.
//!
//! Who is not root may not look at the files of the node's processes, which hide them; then this shows
//! nothing and says so. `BULKHEAD_KILL_ROUNDS` (10) and `BULKHEAD_KILL_SEED` choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::kill::{self, Rounds};
use blackbox::node::{ChannelState, settled};
use blackbox::payments::{Loads, audit};
use blackbox::{Network, Node};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const CHANNEL: u64 = 5_000_000;
const MSAT: u64 = 1_000;
/// Payers at the same time, each way.
const AT_ONCE: usize = 3;

#[test]
fn a_power_failure_at_any_moment_loses_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root may look at the files of the node's processes");
    }
    let mut rounds = Rounds::new(10);
    let (mut network, mut channel) = Network::pair(CHANNEL).unwrap();
    for round in 0..rounds.count {
        let whose = round % 2;
        channel = one_round(&mut network, &channel, whose, round, &mut rounds.random)
            .unwrap_or_else(|error| kill::failed(round, whose, rounds.seed, &error));
    }
    kill::no_disagreements(&network.nodes).unwrap();
}

fn one_round(
    network: &mut Network,
    before: &ChannelState,
    whose: usize,
    round: usize,
    random: &mut StdRng,
) -> Result<ChannelState> {
    let node = &mut network.nodes[whose];
    node.stop()?;
    node.launch_on(Path::new(env!("CARGO_BIN_EXE_power")))?;
    let [alice, bob] = [&network.nodes[0], &network.nodes[1]].map(Node::client);
    let load = |name: &str, payer, payee| {
        let name = format!("{name}-{round}");
        Loads::start(AT_ONCE, &name, payer, payee, MSAT, &json!({}))
    };
    let (there, back) = (load("there", &alice, &bob), load("back", &bob, &alice));
    there.flow(8)?;
    back.flow(8)?;
    std::thread::sleep(Duration::from_micros(random.gen_range(0..100_000)));
    network.nodes[whose].fail_power()?;
    network.nodes[whose].launch().context("after the failure")?;
    there.flow(8).context("after the failure")?;
    back.flow(8).context("after the failure")?;
    let (there, back) = (there.finish()?, back.finish()?);
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let (ours, _) = settled(alice, bob)?;
    ensure!(ours.channel_id == before.channel_id, "another channel");
    let (arrived_there, arrived_back) = (audit(alice, bob, &there)?, audit(bob, alice, &back)?);
    let expected = before.to_us_msat + arrived_back - arrived_there;
    ensure!(
        ours.to_us_msat == expected,
        "alice should have {expected} msat: {ours:?}"
    );
    println!("round {round}: {} payments", there.len() + back.len());
    Ok(ours)
}
