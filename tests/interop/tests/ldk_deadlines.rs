//! HTLCs with a real LDK node that is silent: its channel is closed at the deadline, not a block before, and in time;
//! and it is not closed if LDK settles in the last block before. See `docs/onchain.md` for the rule.

use std::time::Duration;

use blackbox::until;
use blackbox::wait::until_within;
use interop::Format::{self, Anchors, StaticRemotekey};
use interop::{Held, Opener, World};
use serde_json::Value;

const PAYMENT: u64 = 30_000;
/// An HTLC of ours is late so many blocks after its expiry.
const OFFERED: u64 = 1;
/// One of theirs that we have the preimage for is late so many blocks before: half of `cltv-delta` on regtest.
const FULFILLED: u64 = 3;
/// So long a close that should not be may show itself after a block.
const REACTION: Duration = Duration::from_secs(2);

fn state(world: &World, peer: &str) -> String {
    world.alice().state_with(peer).unwrap().unwrap_or_default()
}

fn expiry(channel: &Value) -> u64 {
    let htlcs = channel["htlcs"].as_array().unwrap();
    assert_eq!(htlcs.len(), 1, "{htlcs:?}");
    htlcs[0]["expiry"].as_u64().unwrap()
}

/// Mines to this height; the channel stands in each of the last blocks.
fn stands_until(world: &World, peer: &str, height: u64) {
    world.mine_to(height - 3);
    for _ in 0..3 {
        world.mine(1);
        let closed = until_within(REACTION, "it is closed", || {
            let state = state(world, peer);
            Ok((state != "CHANNELD_NORMAL").then_some(state))
        });
        let now = world.network.bitcoind.height().unwrap();
        assert!(closed.is_err(), "{closed:?} at {now}, before {height}");
    }
    assert_eq!(world.network.bitcoind.height().unwrap(), height);
}

/// In the next block Alice closes the channel with this peer; it is in the one after.
fn closes_in_the_next(world: &World, peer: &str) {
    world.mine(1);
    let alice = world.alice();
    alice.wait_for_state(peer, "AWAITING_UNILATERAL").unwrap();
    world.network.bitcoind.wait_for_mempool(1).unwrap();
    world.mine(1);
    alice.wait_for_state(peer, "ONCHAIN").unwrap();
}

/// The channel outlives the deadline and can be paid through.
fn lives_on(world: &World, deadline: u64) {
    world.wait_quiet();
    world.mine_to(deadline + 2);
    assert_eq!(state(world, &world.ldk_id), "CHANNELD_NORMAL");
    world.alice_pays_at_once(1_000, "later");
    assert_eq!(state(world, &world.ldk_id), "CHANNELD_NORMAL");
}

/// LDK holds a payment of Alice's and is gone; it is the last block before the deadline.
fn gone_with_a_payment(world: &mut World) -> (Held, u64) {
    let held = world.alice_pays_ldk(PAYMENT);
    let deadline = expiry(&world.channel_with(&world.ldk)) + OFFERED;
    world.ldk.stop().unwrap();
    stands_until(world, &world.ldk_id, deadline - 1);
    (held, deadline)
}

fn never_settled(format: Format) {
    let mut world = World::start(format, Opener::Alice);
    let (held, _) = gone_with_a_payment(&mut world);
    assert_eq!(
        world.alice().attempt(&held.payment_hash()).unwrap(),
        "pending"
    );
    closes_in_the_next(&world, &world.ldk_id);
    world.mine_until("alice's payment failed", 20, || {
        world.attempt_is(&held, "failed")
    });
    world.ldk.launch().unwrap();
    world.mine(0);
    world.is_shared_out(true, |fee| world.balance - fee - world.anchors());
}

#[test]
fn a_payment_that_ldk_never_settles_is_taken_back_at_its_deadline() {
    never_settled(Anchors);
}

#[test]
fn a_payment_that_ldk_never_settles_is_taken_back_at_its_deadline_without_anchors() {
    never_settled(StaticRemotekey);
}

#[test]
fn a_payment_that_ldk_fails_in_the_last_block_before_its_deadline_closes_nothing() {
    let mut world = World::start(Anchors, Opener::Alice);
    let (held, deadline) = gone_with_a_payment(&mut world);
    // LDK fails what it has not claimed by then.
    world.ldk.launch().unwrap();
    world.ldk.reconnect(world.alice()).unwrap();
    until("LDK fails it", || world.attempt_is(&held, "failed")).unwrap();
    lives_on(&world, deadline);
}

/// LDK pays the merchant through Alice and is gone before the merchant claims.
fn gone_before_it_is_claimed(world: &mut World) -> (Held, u64) {
    let held = world.ldk_pays_merchant(PAYMENT);
    let expiry = expiry(&world.channel_with(&world.ldk));
    world.ldk.stop().unwrap();
    world.merchant.claim(&held).unwrap();
    world.wait_quiet_with(&world.merchant);
    (held, expiry - FULFILLED)
}

fn never_takes_the_preimage(format: Format) {
    let mut world = World::start(format, Opener::Alice);
    let (held, deadline) = gone_before_it_is_claimed(&mut world);
    let peer = world.ldk_id.clone();
    stands_until(&world, &peer, deadline - 1);
    closes_in_the_next(&world, &peer);
    // The HTLC's transaction is in a block before the HTLC has expired.
    world.network.bitcoind.wait_for_mempool(1).unwrap();
    world.mine(1);
    let claim = world.tally().all.into_iter().find(|tx| tx.is_htlc_tx);
    let claim = claim.expect("alice's claim");
    assert!(claim.height < deadline + FULFILLED, "{claim:?}");
    world.ldk.launch().unwrap();
    world.mine_until("LDK sees the preimage", 20, || {
        Ok((world.ldk.end_of(held.hash) == Some(true)).then_some(()))
    });
    world.is_shared_out(true, |fee| world.balance + PAYMENT - fee - world.anchors());
}

#[test]
fn a_preimage_that_ldk_never_takes_is_used_on_chain_at_its_deadline() {
    never_takes_the_preimage(Anchors);
}

#[test]
fn a_preimage_that_ldk_never_takes_is_used_on_chain_at_its_deadline_without_anchors() {
    never_takes_the_preimage(StaticRemotekey);
}

#[test]
fn a_preimage_that_ldk_takes_in_the_last_block_before_its_deadline_closes_nothing() {
    let mut world = World::start(Anchors, Opener::Alice);
    let (held, deadline) = gone_before_it_is_claimed(&mut world);
    let peer = world.ldk_id.clone();
    stands_until(&world, &peer, deadline - 1);
    world.ldk.launch().unwrap();
    world.ldk.reconnect(world.alice()).unwrap();
    world.ldk.wait_paid(held.hash).unwrap();
    lives_on(&world, deadline);
}

#[test]
fn a_forward_that_ldk_never_settles_is_failed_upstream_and_closes_its_channel_alone() {
    let mut world = World::start(Anchors, Opener::Ldk);
    let held = world.ldk_pays_merchant(PAYMENT);
    let merchant = world.merchant.id().to_string();
    let expiry = expiry(&world.channel_with(&world.merchant));
    world.merchant.stop().unwrap();
    stands_until(&world, &merchant, expiry + OFFERED - 1);
    closes_in_the_next(&world, &merchant);
    world.mine_until("LDK's payment failed", 20, || {
        Ok((world.ldk.end_of(held.hash) == Some(false)).then_some(()))
    });
    lives_on(&world, expiry + OFFERED);
}
