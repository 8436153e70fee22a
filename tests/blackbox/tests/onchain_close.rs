//! A channel closed by one side's commitment: each side gets what is its own, to its wallet, and the
//! channel stays listed until nothing can come back.

use std::process::Command;

use blackbox::node::{Format, program};
use blackbox::{Network, Node};
use serde_json::{Value, json};

const CHANNEL: u64 = 1_000_000;
/// More than all fees of a close at the lowest feerate.
const FEES: u64 = 10_000;

struct Closed {
    network: Network,
    /// What each had on chain before.
    before: [u64; 2],
    ids: [String; 2],
    commitment: String,
    /// Bob's, which nobody publishes.
    bobs: String,
    funding: String,
}

/// Alice and Bob have half a channel each, and Alice closes without hearing Bob.
fn closed_by_alice(format: Format) -> Closed {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let half = CHANNEL * 500;
    let channel = network.open_as(0, 1, CHANNEL, half, format).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let ids = [alice.id().unwrap(), bob.id().unwrap()];
    let before = [alice.coins().unwrap(), bob.coins().unwrap()];
    let (bobs, _) = bob.last_tx_with(&ids[0]).unwrap();
    bob.freeze();
    let commitment = alice.close_unilaterally(&ids[1]).unwrap();
    alice
        .wait_for_state(&ids[1], "AWAITING_UNILATERAL")
        .unwrap();
    bob.thaw();
    network.bitcoind.wait_for_mempool(1).unwrap();
    Closed {
        before,
        ids,
        commitment,
        bobs,
        funding: channel.funding_txid,
        network,
    }
}

fn has_about(node: &Node, expected: u64) -> bool {
    let coins = node.coins().unwrap();
    coins <= expected && coins + FEES >= expected
}

fn closed_channels(node: &Node) -> Vec<Value> {
    let listed = node.rpc("listclosedchannels", json!({})).unwrap();
    listed["closedchannels"].as_array().unwrap().clone()
}

/// The signer has dropped the channel with its keys and its ledger.
fn hsmd_forgets(node: &Node) {
    node.wait_for("hsmd forgets the channel", |node| {
        let mut status = Command::new(program("lightning-hsmtool")?);
        let status = status
            .args(["--json", "status"])
            .arg(node.network_dir())
            .output()?;
        let facts: Value = serde_json::from_slice(&status.stdout)?;
        Ok((facts["channels"] == "0").then_some(()))
    })
    .unwrap();
}

/// Both have theirs, after at most so many blocks.
fn both_are_paid(closed: &Closed) {
    let [alice, bob] = &closed.network.nodes[..] else {
        panic!("two nodes")
    };
    let paid = || {
        let all = has_about(alice, closed.before[0] + CHANNEL / 2)
            && has_about(bob, closed.before[1] + CHANNEL / 2);
        Ok(all.then_some(()))
    };
    closed
        .network
        .mine_until("both are paid", 20, &[alice, bob], paid)
        .unwrap();
}

#[test]
fn both_sides_are_paid_and_the_channel_is_listed_until_it_is_buried() {
    paid_and_listed(Format::Anchors);
}

#[test]
fn both_sides_are_paid_and_the_channel_is_listed_until_it_is_buried_without_anchors() {
    paid_and_listed(Format::StaticRemotekey);
}

fn paid_and_listed(format: Format) {
    let closed = closed_by_alice(format);
    let [alice, bob] = &closed.network.nodes[..] else {
        panic!("two nodes")
    };
    closed.network.mine(1).unwrap();
    for (node, peer) in [(alice, &closed.ids[1]), (bob, &closed.ids[0])] {
        node.wait_for_state(peer, "ONCHAIN").unwrap();
        let status = node.status_with(peer).unwrap().join("\n");
        assert!(status.contains(&closed.commitment), "{status}");
        assert_eq!(node.processes_in_role("channeld").len(), 0);
        assert_eq!(node.processes_in_role("onchaind").len(), 1);
    }
    let status = alice.status_with(&closed.ids[1]).unwrap().join("\n");
    assert!(status.contains("its owner's balance"), "{status}");
    // The delay of regtest is 6 blocks.
    both_are_paid(&closed);
    // hsmd is told of what it wants to know and of nothing else.
    for node in [alice, bob] {
        assert!(!node.log().contains("refused TIP"), "{}", node.log());
    }
    let spent = closed
        .network
        .bitcoind
        .transaction(&closed.commitment)
        .unwrap();
    assert_eq!(spent["vin"][0]["txid"], closed.funding.as_str());
    assert!(closed_channels(alice).is_empty());
    closed.network.mine(110).unwrap();
    let ends = [
        (alice, &closed.ids[1], &closed.commitment),
        (bob, &closed.ids[0], &closed.bobs),
    ];
    for (node, peer, last) in ends {
        node.wait_for("it forgets the channel", |node| {
            Ok(node.state_with(peer)?.is_none().then_some(()))
        })
        .unwrap();
        let listed = closed_channels(node);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0]["funding_txid"], closed.funding.as_str());
        assert_eq!(listed[0]["last_commitment_txid"], last.as_str());
        assert!(listed[0]["last_commitment_fee_msat"].as_u64() > Some(0));
        node.wait_for("its onchaind ends", |node| {
            Ok(node.processes_in_role("onchaind").is_empty().then_some(()))
        })
        .unwrap();
        hsmd_forgets(node);
    }
}

#[test]
fn a_mutual_close_is_listed_until_it_is_buried() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let peer = bob.id().unwrap();
    assert_eq!(alice.close(bob).unwrap()["type"], "mutual");
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.mine(1).unwrap();
    alice.wait_for_state(&peer, "ONCHAIN").unwrap();
    network.mine(105).unwrap();
    alice
        .wait_for("it forgets the channel", |alice| {
            Ok(alice.state_with(&peer)?.is_none().then_some(()))
        })
        .unwrap();
    assert_eq!(closed_channels(alice).len(), 1);
    hsmd_forgets(alice);
}

#[test]
fn a_mutual_close_that_a_reorganization_takes_out_stays_mutual() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let peer = bob.id().unwrap();
    let closed = alice.close(bob).unwrap();
    assert_eq!(closed["type"], "mutual");
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.mine(1).unwrap();
    alice.wait_for_state(&peer, "ONCHAIN").unwrap();
    network.bitcoind.reorganize(1).unwrap();
    network.sync().unwrap();
    alice
        .wait_for("the close is gone", |alice| {
            let state = alice.state_with(&peer)?;
            Ok((state.as_deref() != Some("ONCHAIN")).then_some(()))
        })
        .unwrap();
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.mine(1).unwrap();
    alice.wait_for_state(&peer, "ONCHAIN").unwrap();
    let status = alice.status_with(&peer).unwrap().join("\n");
    let txid = closed["txids"][0].as_str().unwrap();
    assert!(
        status.contains("mutual close") && status.contains(txid),
        "{status}"
    );
}

#[test]
fn nothing_is_lost_whoever_dies_and_whenever() {
    let mut closed = closed_by_alice(Format::Anchors);
    let kill = |closed: &Closed| {
        for node in &closed.network.nodes {
            let all = node.processes_in_role("onchaind");
            all.iter().for_each(blackbox::Process::kill9);
        }
    };
    kill(&closed);
    closed.network.mine(1).unwrap();
    kill(&closed);
    closed.network.nodes[0].kill_all().unwrap();
    // What happens while it is away, it finds when it comes back: more than chaind keeps by heart.
    closed.network.bitcoind.mine(8).unwrap();
    closed.network.nodes[0].launch().unwrap();
    closed.network.sync().unwrap();
    kill(&closed);
    closed.network.nodes[1].kill_all().unwrap();
    closed.network.nodes[1].launch().unwrap();
    kill(&closed);
    both_are_paid(&closed);
}

#[test]
fn a_reorganization_takes_the_close_out_and_it_comes_back() {
    let closed = closed_by_alice(Format::Anchors);
    let [alice, bob] = &closed.network.nodes[..] else {
        panic!("two nodes")
    };
    closed.network.mine(1).unwrap();
    alice.wait_for_state(&closed.ids[1], "ONCHAIN").unwrap();
    bob.wait_for_state(&closed.ids[0], "ONCHAIN").unwrap();
    closed.network.bitcoind.reorganize(1).unwrap();
    closed.network.sync().unwrap();
    for (node, peer) in [(alice, &closed.ids[1]), (bob, &closed.ids[0])] {
        node.wait_for_state(peer, "AWAITING_UNILATERAL").unwrap();
    }
    both_are_paid(&closed);
}
