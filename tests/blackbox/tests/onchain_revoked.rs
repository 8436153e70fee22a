//! A peer that broadcasts a commitment that it has revoked loses all of the channel. The cheater is a node
//! whose whole folder is put back to an earlier moment.

use blackbox::line::Line;
use blackbox::node::{Format, settled};
use blackbox::{Network, Node, Options, Tally, until};
use serde_json::json;
use std::path::{Path, PathBuf};

const CHANNEL: u64 = 1_000_000;
const FEES: u64 = 20_000;

/// This node's folder as it is now.
fn copy_of(network: &mut Network, at: usize) -> PathBuf {
    let copy = network.nodes[at].lightning_dir().join("old");
    network.nodes[at].stop().unwrap();
    network.nodes[at].copy_folder_to(&copy).unwrap();
    network.nodes[at].launch().unwrap();
    copy
}

/// The cheater broadcasts what that folder has, and goes.
fn cheat(network: &mut Network, who: [usize; 2], victim_id: &str, old: &Path) -> String {
    cheat_and(network, who, victim_id, old, |_| ())
}

/// The same, and does something more on chain before it goes and the victim hears of it.
fn cheat_and(
    network: &mut Network,
    [cheater, victim]: [usize; 2],
    victim_id: &str,
    old: &Path,
    then: impl FnOnce(&Network),
) -> String {
    network.nodes[victim].freeze();
    network.nodes[cheater].kill_all().unwrap();
    network.nodes[cheater].put_back_folder(old).unwrap();
    network.nodes[cheater].launch().unwrap();
    let closing = network.nodes[cheater].close_unilaterally(victim_id);
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.bitcoind.mine(1).unwrap();
    then(network);
    network.nodes[cheater].kill_all().unwrap();
    network.nodes[victim].thaw();
    closing.unwrap()
}

/// The victim knows what it sees.
fn says_so(victim: &Node, cheater: &str, txid: &str) {
    victim.wait_for_state(cheater, "ONCHAIN").unwrap();
    let status = victim.status_with(cheater).unwrap().join("\n");
    assert!(
        status.contains("revoked") && status.contains(txid),
        "{status}"
    );
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
    let old = copy_of(&mut network, 0);
    let bob_id = network.nodes[1].id().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    for n in 0..3 {
        let invoice = network.nodes[1]
            .invoice(100_000_000, &format!("{n}"))
            .unwrap();
        network.nodes[0].pay(&invoice.bolt11).unwrap();
    }
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let before = network.nodes[1].coins().unwrap();
    let txid = cheat(&mut network, [0, 1], &bob_id, &old);
    says_so(&network.nodes[1], &alice_id, &txid);
    bob_takes_all(&network, before, CHANNEL);
}

#[test]
fn what_was_revoked_before_a_backup_is_punished_after_the_backup_is_put_back() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    let [alice_id, bob_id] = [0, 1].map(|n: usize| network.nodes[n].id().unwrap());
    let old = copy_of(&mut network, 0);
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    let pay = |network: &Network, label: &str| {
        let [alice, bob] = [0, 1].map(|n: usize| &network.nodes[n]);
        let invoice = bob.invoice(100_000_000, label).unwrap();
        alice.pay(&invoice.bolt11).unwrap();
        settled(alice, bob).unwrap();
    };
    pay(&network, "before");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy");
    let destination = json!({"destination": to});
    network.nodes[1].rpc("backup", destination).unwrap();
    pay(&network, "after");
    let before = network.nodes[1].coins().unwrap();
    network.nodes[1].kill_all().unwrap();
    network.nodes[1]
        .put_back_folder(&to.join("regtest"))
        .unwrap();
    let txid = cheat(&mut network, [0, 1], &bob_id, &old);
    network.nodes[1].launch_and_confirm_recovery().unwrap();
    says_so(&network.nodes[1], &alice_id, &txid);
    bob_takes_all(&network, before, CHANNEL);
}

#[test]
fn htlcs_of_a_revoked_commitment_are_taken_too() {
    htlcs_of_a_revoked_commitment(Format::Anchors, |_| ());
}

#[test]
fn htlcs_of_a_revoked_commitment_are_taken_too_without_anchors() {
    htlcs_of_a_revoked_commitment(Format::StaticRemotekey, |_| ());
}

#[test]
fn a_revoked_commitments_htlc_transactions_are_taken_too() {
    htlcs_of_a_revoked_commitment(Format::Anchors, takes_her_htlc_back);
}

#[test]
fn a_revoked_commitments_htlc_transactions_are_taken_too_without_anchors() {
    htlcs_of_a_revoked_commitment(Format::StaticRemotekey, takes_her_htlc_back);
}

/// Alice waits until her HTLC has timed out, and has her HTLC transaction in a block.
fn takes_her_htlc_back(network: &Network) {
    let (alice, bitcoind) = (&network.nodes[0], &network.bitcoind);
    let channel = &alice.rpc("listpeerchannels", json!({})).unwrap()["channels"][0];
    let height = bitcoind.height().unwrap();
    let expiry = channel["htlcs"][0]["expiry"].as_u64().unwrap();
    let txid = channel["funding_txid"].as_str().unwrap();
    let funding = (txid, channel["funding_outnum"].as_u64().unwrap());
    bitcoind.mine((expiry - height) as u32).unwrap();
    let taken = || {
        let tally = Tally::of(bitcoind, funding, height)?;
        let found = tally.all.iter().any(|tx| tx.is_htlc_tx);
        Ok(found.then_some(()))
    };
    network
        .mine_until("alice's HTLC transaction", 20, &[alice], taken)
        .unwrap();
}

fn htlcs_of_a_revoked_commitment(format: Format, then: impl FnOnce(&Network)) {
    // Bob has time enough to see what Alice's HTLC transaction did.
    let options = Options {
        arguments: vec!["--watchtime-blocks=200".into()],
        ..Options::default()
    };
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
    drop(network.nodes[0].begin_to_pay(held["bolt11"].as_str().unwrap()));
    until("the HTLC is in the commitment that will be revoked", || {
        let with_alice = json!({"id": alice_id});
        let listed = network.nodes[1].rpc("listpeerchannels", with_alice)?;
        let state = &listed["channels"][0]["htlcs"][0]["state"];
        Ok((state == "RCVD_ADD_ACK_REVOCATION").then_some(()))
    })
    .unwrap();
    let old = copy_of(&mut network, 0);
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    network.nodes[2].thaw();
    let hash = held["payment_hash"].as_str().unwrap();
    until("it is settled", || {
        Ok((network.nodes[0].attempt(hash)? == "complete").then_some(()))
    })
    .unwrap();
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let before = network.nodes[1].coins().unwrap();
    cheat_and(&mut network, [0, 1], &bob_id, &old, then);
    network.nodes[1]
        .wait_for_state(&alice_id, "ONCHAIN")
        .unwrap();
    bob_takes_all(&network, before, CHANNEL);
}

/// Bob's own part and Alice's that he forwards have one hash, and one of Carol's goes the other way.
const PARTS: [u64; 3] = [30_000, 50_000, 25_000];
/// What is missing of each payment.
const REST: u64 = 20_000;

/// `None`: a payee did not hold the parts for so long as this machine takes.
fn several_of_one_hash(format: Format) -> Option<()> {
    let (alice, bob, carol, dave) = (0, 1, 2, 3);
    let mut line = Line::start(&["alice", "bob", "carol", "dave"], format);
    line.open(dave, carol);
    let [bobs, alices, carols] = PARTS;
    let (to_carol, _) = line.invoice(carol, bob, bobs + alices + REST, "set");
    let (to_bob, _) = line.invoice(bob, carol, carols + REST, "back");
    for (payer, bolt11, part) in [
        (bob, &to_carol, bobs),
        (alice, &to_carol, alices),
        (carol, &to_bob, carols),
    ] {
        drop(line.node(payer).begin_to_pay_part(bolt11, part));
    }
    line.wait_committed(bob, carol, 3);
    line.wait_committed(carol, bob, 3);
    let old = copy_of(&mut line.network, bob);
    for peer in [alice, carol] {
        line.node(bob).wait_for_normal(line.node(peer)).unwrap();
    }
    // However they end, it is over with the commitment that they are in.
    for (payer, bolt11) in [(dave, &to_carol), (alice, &to_bob)] {
        let _ = line.node(payer).begin_to_pay_part(bolt11, REST).join();
    }
    settled(line.node(bob), line.node(carol)).unwrap();
    let before = line.node(carol).coins().unwrap();
    let txid = cheat(&mut line.network, [bob, carol], &line.ids[carol], &old);
    says_so(line.node(carol), &line.ids[bob], &txid);
    let tally = line.tally([bob, carol]);
    let outputs = &tally.commitment().values;
    if !PARTS.iter().all(|part| outputs.contains(part)) {
        return None;
    }
    // Nobody but her gets anything.
    line.has(carol, bob, false, before, |tally| {
        CHANNEL - tally.commitment().fee - line.anchors()
    });
    Some(())
}

fn several_of_one_hash_in_time(format: Format) {
    let done = (0..4).find_map(|_| several_of_one_hash(format));
    done.expect("a payee holds parts for longer than this machine takes");
}

#[test]
fn several_htlcs_of_one_hash_in_a_revoked_commitment_are_taken_too() {
    several_of_one_hash_in_time(Format::Anchors);
}

#[test]
fn several_htlcs_of_one_hash_in_a_revoked_commitment_are_taken_too_without_anchors() {
    several_of_one_hash_in_time(Format::StaticRemotekey);
}
