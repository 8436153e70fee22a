//! The power fails under payment load: what was only in the page cache is lost. What the node has said
//! by then, to its peer or to whoever called it, was on the disk before, so that nothing is lost or
//! paid twice.
//!
//! Who is not root may not look at the files of the node's processes, which hide them; then this shows
//! nothing and says so. `BULKHEAD_KILL_ROUNDS` (10) and `BULKHEAD_KILL_SEED` choose another run.

use anyhow::{Context, Result};
use blackbox::Network;
use blackbox::kill::{self, Rounds};
use blackbox::node::ChannelState;
use blackbox::rounds::Traffic;
use rand::Rng;
use rand::rngs::StdRng;
use std::path::Path;
use std::time::Duration;

const CHANNEL: u64 = 5_000_000;
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
    let traffic = Traffic::start(&network.nodes, AT_ONCE, round)?;
    traffic.flow(8)?;
    std::thread::sleep(Duration::from_micros(random.gen_range(0..100_000)));
    network.nodes[whose].fail_power()?;
    network.nodes[whose].launch().context("after the failure")?;
    traffic.flow(8).context("after the failure")?;
    let tried = traffic.finish()?;
    println!("round {round}: {} payments", tried.count());
    tried.audit(&network.nodes, before)
}
