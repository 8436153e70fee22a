//! HTLCs of a channel that is closed by one side's commitment: timed out, or claimed with a preimage, and
//! whoever paid hears how it ended. Alice pays Carol through Bob; who is frozen, answers nothing.

use blackbox::node::Format::{self, Anchors, StaticRemotekey};
use blackbox::node::settled;
use blackbox::onchain::Paying;
use blackbox::{Network, Node, RpcError, until};
use serde_json::json;

const CHANNEL: u64 = 1_000_000;
const PAYMENT: u64 = 100_000;
/// More than all fees at the lowest feerate.
const FEES: u64 = 20_000;

struct Pending {
    network: Network,
    hash: String,
    ids: [String; 3],
    paying: Paying,
}

impl Pending {
    fn nodes(&self) -> [&Node; 3] {
        let [alice, bob, carol] = &self.network.nodes[..] else {
            panic!("three nodes")
        };
        [alice, bob, carol]
    }

    /// Mines to where this node's HTLC with that peer expires; these nodes see it.
    fn mine_to_expiry(&self, node: &Node, peer: &str, nodes: &[&Node]) {
        let listed = node.rpc("listpeerchannels", json!({"id": peer})).unwrap();
        let expiry = listed["channels"][0]["htlcs"][0]["expiry"]
            .as_u64()
            .unwrap();
        let left = expiry - self.network.bitcoind.height().unwrap();
        self.network
            .bitcoind
            .mine(u32::try_from(left).unwrap())
            .unwrap();
        for node in nodes {
            node.wait_for_height(expiry).unwrap();
        }
    }

    /// Within so many blocks Alice sees the preimage on chain, and Bob, who had so much in the wallet, gets his half and the payment.
    fn proved_and_paid(&self, before: u64, within: u32) {
        let [alice, bob, _] = self.nodes();
        self.network
            .mine_until("alice sees the preimage", within, &[alice, bob], || {
                self.attempt_is("complete")
            })
            .unwrap();
        let all = before + CHANNEL / 2 + PAYMENT;
        self.network
            .mine_until("bob has all of it", 30, &[alice, bob], || {
                Ok((bob.coins()? + FEES >= all).then_some(()))
            })
            .unwrap();
    }

    fn attempt_is(&self, wanted: &str) -> anyhow::Result<Option<()>> {
        let status = self.network.nodes[0].attempt(&self.hash)?;
        Ok((status == wanted).then_some(()))
    }
}

/// An HTLC of Alice's is with Bob, who has offered it to Carol, who does not answer.
fn pending(format: Format) -> Pending {
    let network = Network::start(&["alice", "bob", "carol"]).unwrap();
    for (from, to) in [(0, 1), (1, 2)] {
        let half = CHANNEL * 500;
        network.open_as(from, to, CHANNEL, half, format).unwrap();
    }
    network.sync().unwrap();
    let [alice, bob, carol] = &network.nodes[..] else {
        panic!("three nodes")
    };
    let ids = [alice, bob, carol].map(|node| node.id().unwrap());
    let hint = carol.channels_with(&ids[1]).unwrap()[0]
        .short_channel_id
        .clone()
        .unwrap();
    let invoice = carol
        .rpc(
            "invoice",
            json!({
                "amount_msat": PAYMENT * 1000, "label": "held", "description": "held",
                // Blocks come before Carol takes it.
                "cltv": 30, "exposeprivatechannels": [hint],
            }),
        )
        .unwrap();
    carol.freeze();
    let paying = alice.begin_to_pay(invoice["bolt11"].as_str().unwrap());
    until("bob has offered it to carol", || {
        let offered = bob.channels_with(&ids[2])?[0].htlcs == 1;
        let here = bob.channels_with(&ids[0])?[0].htlcs == 1;
        Ok((offered && here).then_some(()))
    })
    .unwrap();
    Pending {
        hash: invoice["payment_hash"].as_str().unwrap().to_owned(),
        ids,
        paying,
        network,
    }
}

#[test]
fn an_htlc_that_the_next_peer_never_settles_is_failed_upstream_in_time() {
    never_settled(Anchors);
}

#[test]
fn an_htlc_that_the_next_peer_never_settles_is_failed_upstream_in_time_without_anchors() {
    never_settled(StaticRemotekey);
}

fn never_settled(format: Format) {
    let pending = pending(format);
    let [alice, bob, _] = pending.nodes();
    let closed = || {
        let state = bob.state_with(&pending.ids[2])?;
        Ok((state.as_deref() == Some("AWAITING_UNILATERAL")).then_some(()))
    };
    pending.mine_to_expiry(bob, &pending.ids[2], &[alice, bob]);
    pending
        .network
        .mine_until("bob closes with carol", 2, &[alice, bob], closed)
        .unwrap();
    pending
        .network
        .mine_until("alice hears that it failed", 10, &[alice, bob], || {
            pending.attempt_is("failed")
        })
        .unwrap();
    // Alice's own channel was not needed for it.
    let (ours, _) = settled(alice, bob).unwrap();
    assert_eq!(ours.to_us_msat, CHANNEL * 500);
    let Err(RpcError::Refused { data, .. }) = pending.paying.join().unwrap() else {
        panic!("it was not paid")
    };
    assert_eq!(data["status"], "failed");
}

#[test]
fn the_commitment_that_is_shown_is_the_one_that_is_broadcast() {
    shown_is_broadcast(Anchors);
}

#[test]
fn the_commitment_that_is_shown_is_the_one_that_is_broadcast_without_anchors() {
    shown_is_broadcast(StaticRemotekey);
}

fn shown_is_broadcast(format: Format) {
    let mut pending = pending(format);
    let bob_id = pending.ids[1].clone();
    let shown = |pending: &Pending| pending.nodes()[0].last_tx_with(&bob_id).unwrap();
    until("the HTLC is committed to", || {
        let listed = pending.nodes()[0].rpc("listpeerchannels", json!({}))?;
        let state = &listed["channels"][0]["htlcs"][0]["state"];
        Ok((state == "SENT_ADD_ACK_REVOCATION").then_some(()))
    })
    .unwrap();
    // An HTLC that is out is its offerer's until its preimage is known.
    let channel = |node: &Node, with: &str| {
        let listed = node.rpc("listpeerchannels", json!({"id": with})).unwrap();
        listed["channels"][0].clone()
    };
    let [alices, bobs] = [(0, 1), (1, 0)].map(|(node, with)| {
        let shown = channel(pending.nodes()[node], &pending.ids[with]);
        (
            shown["to_us_msat"].as_u64().unwrap(),
            shown["total_msat"].as_u64().unwrap(),
        )
    });
    assert_eq!(alices.0 + bobs.0, alices.1);
    let (txid, fee) = shown(&pending);
    // Of another one, which bob holds.
    let bobs = pending.nodes()[1].last_tx_with(&pending.ids[0]).unwrap();
    assert_ne!(bobs.0, txid);
    // After a start it is shown before the peer is there.
    pending.network.nodes[1].freeze();
    pending.network.nodes[0].kill_all().unwrap();
    pending.network.nodes[0].launch().unwrap();
    assert_eq!(shown(&pending), (txid.clone(), fee));
    let alice = pending.nodes()[0];
    assert_eq!(alice.close_unilaterally(&bob_id).unwrap(), txid);
    assert_eq!(shown(&pending), (txid.clone(), fee));
    let bitcoind = &pending.network.bitcoind;
    let entry = bitcoind.rpc("getmempoolentry", json!([txid])).unwrap();
    let paid = entry["fees"]["base"].as_f64().unwrap() * 1e11;
    assert_eq!(paid.round() as u64, fee);
    let mined = bitcoind.transaction(&txid).unwrap();
    let values = mined["vout"].as_array().unwrap().iter();
    let mut values = values.map(|out| (out["value"].as_f64().unwrap() * 1e8).round() as u64);
    // With bob's fee.
    assert!(values.any(|value| (PAYMENT..PAYMENT + 10).contains(&value)));
    // Bob's is shown though alice's has spent the channel, and after a start, too.
    pending.network.nodes[1].thaw();
    pending.network.bitcoind.mine(1).unwrap();
    let alice_id = pending.ids[0].clone();
    for _ in 0..2 {
        let bob = pending.nodes()[1];
        bob.wait_for_state(&alice_id, "ONCHAIN").unwrap();
        assert_eq!(bob.last_tx_with(&alice_id).unwrap(), bobs);
        pending.network.nodes[1].kill_all().unwrap();
        pending.network.nodes[1].launch().unwrap();
    }
}

#[test]
fn an_htlc_of_ours_is_taken_back_on_chain_after_its_expiry() {
    taken_back(Anchors);
}

#[test]
fn an_htlc_of_ours_is_taken_back_on_chain_after_its_expiry_without_anchors() {
    taken_back(StaticRemotekey);
}

fn taken_back(format: Format) {
    let mut pending = pending(format);
    let before = pending.network.nodes[0].coins().unwrap();
    pending.network.nodes[1].kill_all().unwrap();
    let [alice, _, _] = pending.nodes();
    let closed = || {
        let state = alice.state_with(&pending.ids[1])?;
        Ok((state.as_deref() == Some("AWAITING_UNILATERAL")).then_some(()))
    };
    pending.mine_to_expiry(alice, &pending.ids[1], &[alice]);
    pending
        .network
        .mine_until("alice closes with bob", 2, &[alice], closed)
        .unwrap();
    // onchaind dies at each step: once in each block.
    let mut killed = 0;
    pending
        .network
        .mine_until("the payment failed", 20, &[alice], || {
            let height = pending.network.bitcoind.height()?;
            if killed < height {
                killed = height;
                let all = alice.processes_in_role("onchaind");
                all.iter().for_each(blackbox::Process::kill9);
            }
            pending.attempt_is("failed")
        })
        .unwrap();
    let all = before + CHANNEL / 2;
    pending
        .network
        .mine_until("alice has all back", 30, &[alice], || {
            Ok((alice.coins()? + FEES >= all).then_some(()))
        })
        .unwrap();
    assert!(alice.coins().unwrap() <= all);
}

#[test]
fn a_preimage_that_is_learned_late_claims_the_htlc_on_chain_and_proves_the_payment() {
    learned_late(Anchors);
}

#[test]
fn a_preimage_that_is_learned_late_claims_the_htlc_on_chain_and_proves_the_payment_without_anchors()
{
    learned_late(StaticRemotekey);
}

fn learned_late(format: Format) {
    let pending = pending(format);
    let [alice, bob, carol] = pending.nodes();
    // Bob pays for the HTLC transaction.
    bob.fund(&pending.network.bitcoind, 500_000).unwrap();
    alice
        .wait_for_height(pending.network.bitcoind.height().unwrap())
        .unwrap();
    alice.freeze();
    let before = bob.coins().unwrap();
    bob.close_unilaterally(&pending.ids[0]).unwrap();
    pending.network.bitcoind.wait_for_mempool(1).unwrap();
    pending.network.bitcoind.mine(1).unwrap();
    bob.wait_for_state(&pending.ids[0], "ONCHAIN").unwrap();
    let status = bob.status_with(&pending.ids[0]).unwrap().join("\n");
    assert!(
        status.contains("unless its preimage is learned"),
        "{status}"
    );
    carol.thaw();
    bob.wait_for("carol has settled", |bob| {
        let htlcs = bob.channels_with(&pending.ids[2])?[0].htlcs;
        Ok((htlcs == 0).then_some(()))
    })
    .unwrap();
    pending.network.bitcoind.wait_for_mempool(1).unwrap();
    alice.thaw();
    pending.proved_and_paid(before, 6);
}

#[test]
fn a_preimage_claims_the_htlc_from_the_peers_commitment_too() {
    from_the_peers_commitment(Anchors);
}

#[test]
fn a_preimage_claims_the_htlc_from_the_peers_commitment_too_without_anchors() {
    from_the_peers_commitment(StaticRemotekey);
}

fn from_the_peers_commitment(format: Format) {
    let pending = pending(format);
    let [alice, bob, carol] = pending.nodes();
    let before = bob.coins().unwrap();
    bob.freeze();
    alice.close_unilaterally(&pending.ids[1]).unwrap();
    pending.network.bitcoind.wait_for_mempool(1).unwrap();
    pending.network.bitcoind.mine(1).unwrap();
    alice.wait_for_state(&pending.ids[1], "ONCHAIN").unwrap();
    bob.thaw();
    bob.wait_for_state(&pending.ids[0], "ONCHAIN").unwrap();
    carol.thaw();
    pending.proved_and_paid(before, 8);
}
