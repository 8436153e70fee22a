//! kill -9 of anything at any moment of a mutual close. It is mutual all the same: both are paid what
//! the channel owed them, at once and to the satoshi; whoever asked for it may have to ask again.
//!
//! `BULKHEAD_KILL_ROUNDS` (30) and `BULKHEAD_KILL_SEED` (random, printed) choose another run.

use anyhow::{Result, ensure};
use blackbox::kill::{self, Rounds, Victim, strike};
use blackbox::node::settled;
use blackbox::{Client, Network, Node};
use rand::Rng;
use serde_json::json;
use std::time::{Duration, Instant};

const CHANNEL: u64 = 100_000;
/// What bob has in the end of each.
const PAID: u64 = 20_000;
/// More than the fee of a close, and less than what matters.
const FEE: u64 = 2_000;

const VICTIMS: [Victim; 6] = [
    Victim::Node,
    Victim::Lightningd,
    Victim::Role("hsmd"),
    Victim::Role("channeld"),
    Victim::Role("connectd"),
    Victim::Role("chaind"),
];

#[test]
fn kill_9_during_a_close_leaves_it_mutual() {
    let mut rounds = Rounds::new(30);
    let mut network = Network::start(&["alice", "bob"]).unwrap();
    open(&network).unwrap();
    let start = Instant::now();
    network.nodes[0].close(&network.nodes[1]).unwrap();
    let usual = start.elapsed();
    ended(&network).unwrap();
    for round in 0..rounds.count {
        let closer = rounds.any_of(&[0, 1]);
        let victim = (rounds.any_of(&[0, 1]), rounds.any_of(&VICTIMS));
        let moment = usual.mul_f64(rounds.random.gen_range(0.0..1.1));
        let outcome = one_round(&mut network, closer, victim, moment)
            .unwrap_or_else(|error| kill::failed(round, (victim, moment), rounds.seed, &error));
        println!("round {round}: {closer} closes, {victim:?} after {moment:?}: {outcome}");
    }
}

/// A channel of which a fifth is bob's.
fn open(network: &Network) -> Result<()> {
    network.open(0, 1, CHANNEL, PAID * 1000)?;
    settled(&network.nodes[0], &network.nodes[1])?;
    network.sync()
}

fn one_round(
    network: &mut Network,
    closer: usize,
    victim: (usize, Victim),
    moment: Duration,
) -> Result<String> {
    open(network)?;
    let before = onchain(network)?;
    let other = network.nodes[1 - closer].id()?;
    let client = network.nodes[closer].client();
    let params = json!({"id": other});
    let asked = params.clone();
    let closing = std::thread::spawn(move || client.call("close", asked));
    std::thread::sleep(moment);
    strike(&mut network.nodes[victim.0], victim.1)?;
    // Whoever got no answer asks again, until one of the two has the other's signature. The other
    // one may hear of that by the block alone.
    let node = &network.nodes[closer];
    let impatient = Client::new(&node.rpc_socket(), Duration::from_secs(1));
    node.wait_for("there is a closing transaction", |_| {
        if !network.bitcoind.mempool()?.is_empty() {
            return Ok(Some(()));
        }
        let _ = impatient.call("close", params.clone());
        Ok(None)
    })?;
    network.mine(1)?;
    let first = closing
        .join()
        .map_err(|_| anyhow::anyhow!("the call panicked"))?;
    ended(network)?;
    let after = onchain(network)?;
    let gained = [0, 1].map(|node| after[node].saturating_sub(before[node]));
    ensure!(gained[1] == PAID, "bob got {} sat", gained[1]);
    let alices = CHANNEL - PAID;
    ensure!(
        gained[0] <= alices && gained[0] >= alices - FEE,
        "alice got {} sat of {alices}",
        gained[0]
    );
    Ok(match first {
        Ok(closed) => {
            ensure!(closed["type"] == "mutual", "{closed}");
            "closed".to_owned()
        }
        Err(error) => error.to_string(),
    })
}

fn onchain(network: &Network) -> Result<[u64; 2]> {
    let of = |node: &Node| Ok::<_, anyhow::Error>(node.onchain_msat(true)? / 1000);
    Ok([of(&network.nodes[0])?, of(&network.nodes[1])?])
}

/// Buries what was closed until both forget it.
fn ended(network: &Network) -> Result<()> {
    network.mine(101)?;
    for (node, peer) in [(0, 1), (1, 0)] {
        let peer = network.nodes[peer].id()?;
        network.nodes[node].wait_for("the channel is forgotten", |node| {
            Ok(node.channels_with(&peer)?.is_empty().then_some(()))
        })?;
    }
    Ok(())
}
