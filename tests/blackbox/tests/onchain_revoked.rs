//! A peer that broadcasts a commitment that it has revoked loses all of the channel. The cheater is a node
//! whose whole folder is put back to an earlier moment.

use blackbox::node::{Format, settled};
use blackbox::{Network, Node, Options, until};
use serde_json::json;
use std::path::{Path, PathBuf};

const CHANNEL: u64 = 1_000_000;
const FEES: u64 = 20_000;

/// Alice's folder as it is now.
fn copy_of_alice(network: &mut Network) -> PathBuf {
    let copy = network.nodes[0].lightning_dir().join("old");
    network.nodes[0].stop().unwrap();
    network.nodes[0].copy_folder_to(&copy).unwrap();
    network.nodes[0].launch().unwrap();
    copy
}

/// Alice broadcasts what that folder has, and goes.
fn cheat(network: &mut Network, old: &Path) -> String {
    let bob_id = network.nodes[1].id().unwrap();
    network.nodes[1].freeze();
    network.nodes[0].kill_all().unwrap();
    network.nodes[0].put_back_folder(old).unwrap();
    network.nodes[0].launch().unwrap();
    let txid = network.nodes[0].close_unilaterally(&bob_id).unwrap();
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.nodes[0].kill_all().unwrap();
    network.bitcoind.mine(1).unwrap();
    network.nodes[1].thaw();
    txid
}

fn bob_takes_all(network: &Network, before: u64, expected: u64) {
    let bob = &network.nodes[1];
    network
        .mine_until("bob has all of the channel", 20, &[bob], || {
            Ok((bob.coins()? + FEES >= before + expected).then_some(()))
        })
        .unwrap();
}

#[test]
fn a_revoked_commitment_gives_its_victim_the_whole_channel() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    let alice_id = network.nodes[0].id().unwrap();
    let old = copy_of_alice(&mut network);
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    for n in 0..3 {
        let invoice = network.nodes[1]
            .invoice(100_000_000, &format!("{n}"))
            .unwrap();
        network.nodes[0].pay(&invoice.bolt11).unwrap();
    }
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let before = network.nodes[1].coins().unwrap();
    let txid = cheat(&mut network, &old);
    let bob = &network.nodes[1];
    bob.wait_for_state(&alice_id, "ONCHAIN").unwrap();
    let status = bob.status_with(&alice_id).unwrap().join("\n");
    assert!(
        status.contains("revoked") && status.contains(&txid),
        "{status}"
    );
    bob_takes_all(&network, before, CHANNEL);
}

#[test]
fn htlcs_of_a_revoked_commitment_are_taken_too() {
    htlcs_of_a_revoked_commitment(Format::Anchors);
}

#[test]
fn htlcs_of_a_revoked_commitment_are_taken_too_without_anchors() {
    htlcs_of_a_revoked_commitment(Format::StaticRemotekey);
}

fn htlcs_of_a_revoked_commitment(format: Format) {
    let options = Options::default();
    let mut network = Network::start_with(&["alice", "bob", "carol"], &options).unwrap();
    let half = CHANNEL * 500;
    network.open_as(0, 1, CHANNEL, half, format).unwrap();
    network.open(1, 2, CHANNEL, CHANNEL * 500).unwrap();
    network.sync().unwrap();
    let [alice_id, bob_id] = [0, 1].map(|n: usize| network.nodes[n].id().unwrap());
    let carol = &network.nodes[2];
    let hint = carol.channels_with(&bob_id).unwrap()[0]
        .short_channel_id
        .clone();
    let held = json!({
        "amount_msat": 100_000_000, "label": "held", "description": "held",
        "exposeprivatechannels": [hint.unwrap()],
    });
    let held = carol.rpc("invoice", held).unwrap();
    carol.freeze();
    let paying = network.nodes[0].begin_to_pay(held["bolt11"].as_str().unwrap());
    let htlcs = |node: &Node, peer: &str| anyhow::Ok(node.channels_with(peer)?[0].htlcs);
    until("the HTLC is with bob", || {
        Ok((htlcs(&network.nodes[1], &alice_id)? == 1).then_some(()))
    })
    .unwrap();
    // It is in the commitment that will be revoked.
    let _ = paying.join().unwrap();
    let old = copy_of_alice(&mut network);
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    network.nodes[2].thaw();
    let hash = held["payment_hash"].as_str().unwrap();
    until("it is settled", || {
        Ok((network.nodes[0].attempt(hash)? == "complete").then_some(()))
    })
    .unwrap();
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let before = network.nodes[1].coins().unwrap();
    cheat(&mut network, &old);
    network.nodes[1]
        .wait_for_state(&alice_id, "ONCHAIN")
        .unwrap();
    bob_takes_all(&network, before, CHANNEL);
}
