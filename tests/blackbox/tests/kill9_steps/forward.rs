//! A payment there and one back, through the node that dies.

use super::{POWER, may_trace, paid};
use anyhow::{Result, bail};
use blackbox::Network;
use blackbox::middle::{ALICE, BOB, Balances, CAROL, audited, quiet, reached_through};
use blackbox::steps::{at_each, keep_trying};
use std::path::Path;
use std::slice::from_ref;

const CHANNEL: u64 = 2_000_000;
const MSAT: u64 = 100_000;

#[test]
fn a_forward_survives_the_death_of_the_node_in_the_middle_at_each_step() {
    if !may_trace() {
        return;
    }
    let mut network = Network::start(&["alice", "bob", "carol"]).unwrap();
    network.open(ALICE, BOB, CHANNEL, CHANNEL * 500).unwrap();
    network.open(BOB, CAROL, CHANNEL, CHANNEL * 500).unwrap();
    network.sync().unwrap();
    let mut balances = quiet(&network).unwrap();
    at_each(8, |round, moment| {
        play(&mut network, &mut balances, round, moment)
    });
}

fn play(
    network: &mut Network,
    balances: &mut Balances,
    round: u64,
    moment: &str,
) -> Result<Option<String>> {
    network.nodes[BOB].begin_round(Path::new(POWER), moment)?;
    let [alice, bob, carol] = &network.nodes[..] else {
        bail!("three nodes")
    };
    let connect = || {
        alice.connect(bob)?;
        bob.connect(carol)
    };
    let hints = keep_trying("bob is there", || {
        Ok(Some([
            reached_through(alice, bob)?,
            reached_through(carol, bob)?,
        ]))
    })?;
    let there = format!("there {round}");
    let there = paid(alice, carol, &there, MSAT, &hints[1], connect)?;
    let back = format!("back {round}");
    let back = paid(carol, alice, &back, MSAT, &hints[0], connect)?;
    let before = *balances;
    *balances = keep_trying("the balances are right", || {
        audited(network, before, from_ref(&there), from_ref(&back)).map(Some)
    })?;
    let died = network.nodes[BOB].end_round()?;
    if died.is_some() {
        let after = quiet(network)?;
        anyhow::ensure!(after == *balances, "{after:?} after {balances:?}");
    }
    Ok(died)
}
