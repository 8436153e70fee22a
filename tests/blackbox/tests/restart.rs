//! Orderly restarts in the middle of payments: everything goes on where it was.

use blackbox::kill::{Victim, strike_and_wait};
use blackbox::node::settled;
use blackbox::payments::{Load, audit};
use blackbox::{Network, Node, until};

const CHANNEL: u64 = 1_000_000;

/// Waits until this load has had so many payments more.
fn flows(load: &Load, more: usize) {
    let before = load.paid();
    until("payments flow", || {
        Ok((load.paid() >= before + more).then_some(()))
    })
    .unwrap();
}

#[test]
fn restarts_of_either_side_and_of_bitcoind_lose_no_payment() {
    let (mut network, channel) = Network::pair(CHANNEL).unwrap();
    let before: Vec<String> = network
        .nodes
        .iter()
        .map(|node| node.id().unwrap())
        .collect();
    let [alice, bob] = [&network.nodes[0], &network.nodes[1]].map(Node::client);
    let there = Load::start("there", alice.clone(), bob.clone(), 1_000);
    let back = Load::start("back", bob, alice, 2_000);
    flows(&there, 5);
    for victim in [0, 1] {
        network.nodes[victim].restart().unwrap();
        flows(&there, 5);
        flows(&back, 5);
    }
    network.bitcoind.stop().unwrap();
    network.bitcoind.restart().unwrap();
    flows(&there, 5);
    let (there, back) = (there.finish().unwrap(), back.finish().unwrap());
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let (ours, theirs) = settled(alice, bob).unwrap();
    let (arrived_there, arrived_back) = (
        audit(alice, bob, &there).unwrap(),
        audit(bob, alice, &back).unwrap(),
    );
    assert_eq!(
        ours.to_us_msat,
        channel.to_us_msat - arrived_there + arrived_back
    );
    assert_eq!(theirs.to_us_msat, CHANNEL * 1000 - ours.to_us_msat);
    assert_eq!(ours.channel_id, channel.channel_id);
    let after: Vec<String> = network
        .nodes
        .iter()
        .map(|node| node.id().unwrap())
        .collect();
    assert_eq!(before, after);
}

#[test]
fn sigterm_under_load_ends_with_success_and_loses_nothing() {
    let (mut network, channel) = Network::pair(CHANNEL).unwrap();
    let [alice, bob] = [&network.nodes[0], &network.nodes[1]].map(Node::client);
    let load = Load::start("load", alice, bob, 1_000);
    flows(&load, 5);
    let status = network.nodes[0].terminate().unwrap();
    assert!(status.success(), "{status}");
    network.nodes[0].launch().unwrap();
    flows(&load, 5);
    let attempts = load.finish().unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let (ours, _) = settled(alice, bob).unwrap();
    assert_eq!(
        ours.to_us_msat,
        channel.to_us_msat - audit(alice, bob, &attempts).unwrap()
    );
}

/// Alice has opened a channel to Bob, which no block has.
fn unconfirmed() -> Network {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    alice.fund(&network.bitcoind, CHANNEL + 200_000).unwrap();
    alice.connect(bob).unwrap();
    let params = serde_json::json!({"id": bob.id().unwrap(), "amount": CHANNEL});
    alice.rpc("fundchannel", params).unwrap();
    network
}

/// Blocks come, and both ends use the channel.
fn confirm(network: &Network) -> [&Node; 2] {
    network.mine(6).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    bob.wait_for_normal(alice).unwrap();
    alice.wait_for_normal(bob).unwrap();
    [alice, bob]
}

#[test]
fn a_channel_that_waits_for_its_confirmation_survives_a_restart() {
    let mut network = unconfirmed();
    for node in &mut network.nodes {
        node.restart().unwrap();
    }
    let [alice, bob] = confirm(&network);
    let invoice = bob.invoice(1_000_000, "after").unwrap();
    alice.pay(&invoice.bolt11).unwrap();
}

#[test]
fn a_channel_in_a_block_that_never_was_has_no_confirmation_after_a_restart() {
    let mut network = unconfirmed();
    let peer = network.nodes[0].id().unwrap();
    let is_confirmed = |node: &Node| -> anyhow::Result<bool> {
        let status = node.status_with(&peer)?.join("\n");
        Ok(!status.contains("waiting for a block with the funding transaction"))
    };
    network.die_within_a_block(1, is_confirmed).unwrap();
    network.bitcoind.reorganize(1).unwrap();
    network.nodes[1].launch().unwrap();
    assert!(!is_confirmed(&network.nodes[1]).unwrap());
    // In a block it is one.
    confirm(&network);
}

/// Its peer dials it at once, and what it says first waits for the channel's process.
#[test]
fn a_peer_that_is_back_before_the_channels_process_is_not_turned_away() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    for _ in 0..15 {
        network.nodes[0].restart().unwrap();
        network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    }
    let log = network.nodes[0].log();
    assert_eq!(log.matches("server started").count(), 16);
    assert_none_was_turned_away(&network.nodes[0]);
}

#[test]
fn a_peer_that_is_back_before_a_new_connectd_knows_the_channel_is_not_turned_away() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    for _ in 0..15 {
        strike_and_wait(&mut network.nodes[0], Victim::Role("connectd"), 1).unwrap();
        network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    }
    assert_none_was_turned_away(&network.nodes[0]);
}

fn assert_none_was_turned_away(node: &Node) {
    let log = node.log();
    for lost in ["for unclaimed channel", "a channel was not ready"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(lost)).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}
