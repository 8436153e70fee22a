//! The close of a channel with a real LDK node that does not stay in its block, with HTLCs both ways: a reorg takes
//! it or what came of it out, or puts the other's commitment in its place; or no block takes LDK's at all. What each
//! has in the end is compared to the satoshi, as in `ldk_onchain.rs`.
//!
//! LDK and the merchant fail what they hold a few blocks after they got it, so it is claimed before that.

use interop::Format::{self, Anchors, StaticRemotekey};
use interop::both_ways::{BothWays, OURS_CLAIMED, OURS_NEVER, THEIRS_CLAIMED, THEIRS_NEVER};
use interop::{Opener, World};

/// So many blocks before its deadline what no block takes gets a child, whatever the estimates say.
const URGENT: u64 = 12;

/// What listpeerchannels says of the channel with LDK.
fn wait_for_status(world: &World, words: &str) {
    let alice = world.alice();
    alice.wait_for_state(&world.ldk_id, "ONCHAIN").unwrap();
    alice
        .wait_for(words, |alice| {
            let status = alice.status_with(&world.ldk_id)?.join("\n");
            Ok(status.contains(words).then_some(()))
        })
        .unwrap();
}

/// The commitment is out of the chain with all that came of it, and Alice waits for one again.
fn takes_the_close_out(world: &World) {
    world.reorganize(world.depth(world.tally().commitment().height));
    world.alice_awaits_a_close();
}

/// From the moment when the commitment is in a block.
fn a_reorg_takes_each_step_out_and_it_comes_back(world: &World, both: &BothWays, ours: bool) {
    let whose = if ours {
        "our commitment"
    } else {
        "the peer's commitment"
    };
    wait_for_status(world, whose);
    takes_the_close_out(world);
    world.mine(1);
    wait_for_status(world, whose);
    world.ldk.claim(&both.ours_claimed).unwrap();
    world.merchant.claim(&both.theirs_claimed).unwrap();
    world.taken_twice(&[OURS_CLAIMED, THEIRS_CLAIMED]);
    both.alice_sees_the_preimage(world);
    both.ldk_sees_the_preimage(world);
    both.merchant_fails(world);
    world.mine_to(both.our_expiry);
    world.taken_twice(&[OURS_NEVER]);
    world.mine_to(both.their_expiry);
    world.taken_twice(&[THEIRS_NEVER]);
    both.others_fail(world);
    both.is_shared_out(world, ours);
}

fn ldks_close_comes_back(format: Format) {
    let world = World::start(format, Opener::Alice);
    let both = BothWays::start(&world);
    world.ldk_force_closes();
    a_reorg_takes_each_step_out_and_it_comes_back(&world, &both, false);
}

#[test]
fn a_reorg_takes_ldks_close_and_each_step_after_it_out_and_it_comes_back() {
    ldks_close_comes_back(Anchors);
}

#[test]
fn a_reorg_takes_ldks_close_and_each_step_after_it_out_and_it_comes_back_without_anchors() {
    ldks_close_comes_back(StaticRemotekey);
}

fn our_close_comes_back(format: Format) {
    let mut world = World::start(format, Opener::Ldk);
    let both = BothWays::start(&world);
    world.alice_closes();
    a_reorg_takes_each_step_out_and_it_comes_back(&world, &both, true);
}

#[test]
fn a_reorg_takes_our_close_and_each_step_after_it_out_and_it_comes_back() {
    our_close_comes_back(Anchors);
}

#[test]
fn a_reorg_takes_our_close_and_each_step_after_it_out_and_it_comes_back_without_anchors() {
    our_close_comes_back(StaticRemotekey);
}

/// The HTLCs are claimed from one commitment, and then from the other.
fn ours_in_the_place_of_ldks(format: Format) {
    let mut world = World::start(format, Opener::Alice);
    let both = BothWays::start(&world);
    world.ldk_force_closes();
    wait_for_status(&world, "the peer's commitment");
    world.ldk.claim(&both.ours_claimed).unwrap();
    world.merchant.claim(&both.theirs_claimed).unwrap();
    world.mine_until_taken(&[OURS_CLAIMED, THEIRS_CLAIMED]);
    both.alice_sees_the_preimage(&world);
    both.ldk_sees_the_preimage(&world);
    // Nobody has LDK's any more.
    world.ldk.stop().unwrap();
    takes_the_close_out(&world);
    world.network.bitcoind.forget_mempool().unwrap();
    world.network.bitcoind.wait_for_mempool(1).unwrap();
    world.network.mine(1).unwrap();
    wait_for_status(&world, "our commitment");
    world.ldk.launch().unwrap();
    world.mine(0);
    world.mine_until_taken(&[OURS_CLAIMED, THEIRS_CLAIMED]);
    both.merchant_fails(&world);
    both.others_fail(&world);
    both.is_shared_out(&world, true);
}

#[test]
fn a_reorg_puts_our_commitment_in_the_place_of_ldks() {
    ours_in_the_place_of_ldks(Anchors);
}

#[test]
fn a_reorg_puts_our_commitment_in_the_place_of_ldks_without_anchors() {
    ours_in_the_place_of_ldks(StaticRemotekey);
}

fn ldks_in_the_place_of_ours(format: Format) {
    let mut world = World::start(format, Opener::Ldk);
    let both = BothWays::start(&world);
    // LDK has claimed what it holds before it is late, and Alice has not heard of it.
    world.ldk.stop().unwrap();
    world.alice().freeze();
    world.ldk.launch().unwrap();
    world.ldk.claim(&both.ours_claimed).unwrap();
    world.ldk.stop().unwrap();
    world.alice().thaw();
    world.alice().close_unilaterally(&world.ldk_id).unwrap();
    world.network.bitcoind.wait_for_mempool(1).unwrap();
    world.mine(1);
    wait_for_status(&world, "our commitment");
    world.merchant.claim(&both.theirs_claimed).unwrap();
    world.mine_until_taken(&[THEIRS_CLAIMED]);
    takes_the_close_out(&world);
    // LDK never saw hers.
    world.alice().freeze();
    world.network.bitcoind.forget_mempool().unwrap();
    world.ldk.launch().unwrap();
    world.ldk.force_close(&world.alice_id).unwrap();
    world.network.bitcoind.wait_for_mempool(1).unwrap();
    world.network.bitcoind.mine(1).unwrap();
    world.alice().thaw();
    world.mine(0);
    wait_for_status(&world, "the peer's commitment");
    both.alice_sees_the_preimage(&world);
    both.ldk_sees_the_preimage(&world);
    both.merchant_fails(&world);
    both.others_fail(&world);
    both.is_shared_out(&world, false);
}

#[test]
fn a_reorg_puts_ldks_commitment_in_the_place_of_ours() {
    ldks_in_the_place_of_ours(Anchors);
}

#[test]
fn a_reorg_puts_ldks_commitment_in_the_place_of_ours_without_anchors() {
    ldks_in_the_place_of_ours(StaticRemotekey);
}

#[test]
fn ldks_commitment_that_no_block_takes_gets_a_child_before_our_htlcs_are_late() {
    let mut world = World::start(Anchors, Opener::Alice);
    let ours = world.alice_pays_ldk(OURS_NEVER);
    let theirs = world.ldk_pays_merchant(THEIRS_CLAIMED);
    let expiry = world.last_expiry();
    let commitment = world.ldk_leaves_its_commitment();
    world.alice_awaits_a_close();
    world.merchant.claim(&theirs).unwrap();
    world.wait_quiet_with(&world.merchant);
    let bitcoind = &world.network.bitcoind;
    assert_eq!(bitcoind.mempool().unwrap(), [&*commitment]);
    // Hers is refused for it, and again in each block.
    world.mine_empty_to(expiry - URGENT - 1);
    assert_eq!(bitcoind.mempool().unwrap(), [&*commitment]);
    let what = "LDK's commitment has a child";
    let child = world.mine_empty_until(what, expiry - 2, || bitcoind.child(&commitment));
    world.mine(1);
    let child = bitcoind.transaction(&child).unwrap();
    assert_eq!(child["confirmations"], 1, "{child}");
    wait_for_status(&world, "the peer's commitment");
    world.mine_until_taken(&[THEIRS_CLAIMED]);
    assert!(world.taken(THEIRS_CLAIMED).unwrap() < expiry);
    world.ldk.launch().unwrap();
    world.mine_until("LDK sees alice's preimage", 20, || {
        Ok((world.ldk.end_of(theirs.hash) == Some(true)).then_some(()))
    });
    world.mine_until("alice's payment failed", 20, || {
        world.attempt_is(&ours, "failed")
    });
    world.is_shared_out(false, |fee| {
        world.balance + THEIRS_CLAIMED - fee - world.anchors()
    });
}
