//! What seldom happens to a channel on chain: another transaction takes the spending one's place, an HTLC without
//! an output, a peer's commitment that nobody mines, and a database that was lost. What our side has in the end is
//! right to the satoshi.

use blackbox::folder::copy;
use blackbox::line::{CHANNEL, Line};
use blackbox::node::Format::{self, Anchors, StaticRemotekey};
use blackbox::until;
use serde_json::Value;

const PAYMENT: u64 = 100_000;
/// Less than any commitment has an output for.
const DUST: u64 = 200;

fn a_reorg_swaps_the_peers_commitment_for_ours(format: Format) {
    let mut line = Line::start(&["alice", "bob", "carol"], format);
    let [alice, bob, carol] = [0, 1, 2].map(|at| line.node(at));
    let (bolt11, hash) = line.invoice(2, 1, PAYMENT, "held");
    carol.freeze();
    drop(alice.begin_to_pay(&bolt11));
    line.wait_htlcs(1, 2, 1);
    let before = alice.coins().unwrap();
    let expiry = line.expiry(0, 1);
    alice.freeze();
    let theirs = bob.close_unilaterally(&line.ids[0]).unwrap();
    line.network.bitcoind.wait_for_mempool(1).unwrap();
    line.network.bitcoind.mine(1).unwrap();
    alice.thaw();
    alice.wait_for_state(&line.ids[1], "ONCHAIN").unwrap();
    let status = alice.status_with(&line.ids[1]).unwrap().join("\n");
    assert!(status.contains("the peer's commitment"), "{status}");
    // Two blocks without it, nobody who has it; then one with hers.
    line.network.nodes[1].kill_all().unwrap();
    line.network.bitcoind.reorganize(1).unwrap();
    let alice = line.node(0);
    alice
        .wait_for_state(&line.ids[1], "AWAITING_UNILATERAL")
        .unwrap();
    alice
        .wait_for("she knows that the mempool has the peer's", |alice| {
            let status = alice.status_with(&line.ids[1])?.join("\n");
            let said = status.contains(&theirs) && status.contains("in the mempool");
            Ok(said.then_some(()))
        })
        .unwrap();
    line.network.bitcoind.forget_mempool().unwrap();
    line.network.bitcoind.wait_for_mempool(1).unwrap();
    line.network.bitcoind.mine(1).unwrap();
    let alice = line.node(0);
    alice
        .wait_for("she knows it as her own", |alice| {
            let status = alice.status_with(&line.ids[1])?.join("\n");
            Ok(status.contains("our commitment").then_some(()))
        })
        .unwrap();
    line.mine_to(expiry, &[alice]);
    line.network
        .mine_until("the payment failed", 20, &[alice], || {
            Ok((alice.attempt(&hash)? == "failed").then_some(()))
        })
        .unwrap();
    // She opened it, so she pays for the commitment.
    line.has(0, 1, true, before, |tally| {
        CHANNEL / 2 - tally.commitment().fee - line.anchors()
    });
}

#[test]
fn a_reorganization_puts_our_commitment_in_the_place_of_the_peers() {
    a_reorg_swaps_the_peers_commitment_for_ours(Anchors);
}

#[test]
fn a_reorganization_puts_our_commitment_in_the_place_of_the_peers_without_anchors() {
    a_reorg_swaps_the_peers_commitment_for_ours(StaticRemotekey);
}

#[test]
fn an_htlc_without_an_output_fails_upstream_once_the_commitment_is_deep_enough() {
    let line = Line::start(&["alice", "bob", "carol"], StaticRemotekey);
    let [alice, bob, carol] = [0, 1, 2].map(|at| line.node(at));
    let (bolt11, hash) = line.invoice(2, 1, DUST, "dust");
    carol.freeze();
    drop(alice.begin_to_pay(&bolt11));
    line.wait_htlcs(1, 2, 1);
    bob.close_unilaterally(&line.ids[2]).unwrap();
    line.network.bitcoind.wait_for_mempool(1).unwrap();
    let all = [alice, bob];
    line.network
        .mine_until("alice hears that it failed", 15, &all, || {
            Ok((alice.attempt(&hash)? == "failed").then_some(()))
        })
        .unwrap();
    // Her own channel was not needed for it.
    line.wait_htlcs(0, 1, 0);
    let state = alice.state_with(&line.ids[1]).unwrap();
    assert_eq!(state.as_deref(), Some("CHANNELD_NORMAL"));
}

#[test]
fn a_peers_commitment_that_no_block_takes_gets_a_child_before_our_htlcs_are_late() {
    let line = Line::start(&["alice", "bob", "carol"], Anchors);
    let [alice, bob, carol] = [0, 1, 2].map(|at| line.node(at));
    let (bolt11, _) = line.invoice(2, 1, PAYMENT, "held");
    carol.freeze();
    drop(alice.begin_to_pay(&bolt11));
    line.wait_htlcs(1, 2, 1);
    // Carol's commitment gets no further than the mempool.
    bob.freeze();
    carol.thaw();
    let theirs = carol.close_unilaterally(&line.ids[1]).unwrap();
    line.network.bitcoind.wait_for_mempool(1).unwrap();
    carol.freeze();
    bob.thaw();
    let expiry = line.expiry(1, 2);
    let anchor_spender = || -> anyhow::Result<Option<Value>> {
        for txid in line.network.bitcoind.mempool()? {
            let tx = line.network.bitcoind.transaction(&txid)?;
            let inputs = tx["vin"].as_array().cloned().unwrap_or_default();
            if inputs.iter().any(|input| input["txid"] == theirs.as_str()) {
                return Ok(Some(tx));
            }
        }
        Ok(None)
    };
    let mut child = None;
    for _ in 0..200 {
        line.network.bitcoind.mine_empty(1).unwrap();
        line.network.sync_of(&[alice, bob]).unwrap();
        child = anchor_spender().unwrap();
        let height = line.network.bitcoind.height().unwrap();
        if child.is_some() || height > expiry + 5 {
            break;
        }
    }
    let child = match child {
        Some(child) => child,
        None => until("a child of carol's commitment", anchor_spender).unwrap(),
    };
    assert_eq!(child["vin"][0]["txid"], theirs.as_str());
    line.network.bitcoind.mine(1).unwrap();
    let txid = child["txid"].as_str().unwrap();
    let confirmed = line.network.bitcoind.transaction(txid).unwrap();
    assert_eq!(confirmed["confirmations"], 1, "{confirmed}");
    bob.wait_for_state(&line.ids[2], "ONCHAIN").unwrap();
}

fn after_data_loss_the_newest_balance_is_ours(format: Format) {
    let mut line = Line::start(&["bob", "alice", "carol"], format);
    // Alice, who lost her data, did not open it and pays no fee but that of her claim.
    let before = line.node(1).coins().unwrap();
    let database = line.node(1).network_dir().join("db");
    let old = database.with_file_name("db.old");
    line.network.nodes[1].stop().unwrap();
    copy(&database, &old).unwrap();
    line.network.nodes[1].launch().unwrap();
    line.node(1).wait_for_normal(line.node(0)).unwrap();
    for n in 0..3 {
        let invoice = line.node(0).invoice(50_000_000, &format!("{n}")).unwrap();
        line.node(1).pay(&invoice.bolt11).unwrap();
    }
    blackbox::node::settled(line.node(0), line.node(1)).unwrap();
    line.network.nodes[1].stop().unwrap();
    std::fs::remove_dir_all(&database).unwrap();
    std::fs::rename(&old, &database).unwrap();
    line.network.nodes[1].launch_and_confirm_recovery().unwrap();
    let closed = line.network.bitcoind.wait_for_mempool(1).unwrap();
    line.network.mine(1).unwrap();
    let alice = line.node(1);
    alice.wait_for_state(&line.ids[0], "ONCHAIN").unwrap();
    let status = alice.status_with(&line.ids[0]).unwrap().join("\n");
    assert!(
        status.contains("newer than what we know") && status.contains(&closed[0]),
        "{status}"
    );
    line.has(1, 0, false, before, |_| CHANNEL / 2 - 150_000);
}

#[test]
fn after_data_loss_the_peer_closes_and_our_newest_balance_is_ours() {
    after_data_loss_the_newest_balance_is_ours(Anchors);
}

#[test]
fn after_data_loss_the_peer_closes_and_our_newest_balance_is_ours_without_anchors() {
    after_data_loss_the_newest_balance_is_ours(StaticRemotekey);
}
