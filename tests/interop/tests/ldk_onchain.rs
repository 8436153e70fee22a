//! Channels with a real LDK node that end on chain, with and without anchors. Alice is ours; LDK has a
//! channel with her, and so has a merchant, LDK too, to whom she forwards. What each has in the end is
//! compared to the satoshi with what the channel said, less the fees of the transactions in blocks.

use blackbox::{Tally, until};
use interop::Format::{self, Anchors, StaticRemotekey};
use interop::both_ways::{BothWays, OURS_CLAIMED, OURS_NEVER, THEIRS_CLAIMED};
use interop::{CHANNEL, Held, Opener, World};
use serde_json::json;
use std::path::PathBuf;

/// From the moment when the commitment is in a block: each HTLC ends, and everybody has what is theirs.
fn all_htlcs_end(world: &World, both: &BothWays, ours: bool) {
    let alice = world.alice();
    alice.wait_for_state(&world.ldk_id, "ONCHAIN").unwrap();
    both.ldk_claims(world);
    both.alice_claims(world);
    both.merchant_fails(world);
    both.others_fail(world);
    both.is_shared_out(world, ours);
}

fn ldk_closes_with_htlcs_both_ways(format: Format) {
    let world = World::start(format, Opener::Alice);
    let both = BothWays::start(&world);
    world.ldk_force_closes();
    all_htlcs_end(&world, &both, false);
}

#[test]
fn ldk_closes_with_htlcs_both_ways_and_each_ends_as_it_should() {
    ldk_closes_with_htlcs_both_ways(Anchors);
}

#[test]
fn ldk_closes_with_htlcs_both_ways_and_each_ends_as_it_should_without_anchors() {
    ldk_closes_with_htlcs_both_ways(StaticRemotekey);
}

fn we_close_with_htlcs_both_ways(format: Format) {
    let mut world = World::start(format, Opener::Ldk);
    let both = BothWays::start(&world);
    world.alice_closes();
    all_htlcs_end(&world, &both, true);
}

#[test]
fn we_close_with_htlcs_both_ways_and_each_ends_as_it_should() {
    we_close_with_htlcs_both_ways(Anchors);
}

#[test]
fn we_close_with_htlcs_both_ways_and_each_ends_as_it_should_without_anchors() {
    we_close_with_htlcs_both_ways(StaticRemotekey);
}

/// LDK had a commitment with HTLCs both ways, of which there is a copy, and has revoked it; the one is ours that
/// it can get into the second stage.
fn with_a_revoked_commitment(format: Format) -> (World, PathBuf, Held) {
    let mut world = World::start(format, Opener::Alice);
    let ours = world.alice_pays_ldk(OURS_CLAIMED);
    let never = world.alice_pays_ldk(OURS_NEVER);
    let theirs = world.ldk_pays_merchant(THEIRS_CLAIMED);
    let old = world.copy_of_ldk();
    world.ldk.claim(&ours).unwrap();
    world.merchant.claim(&theirs).unwrap();
    world.ldk.wait_paid(theirs.hash).unwrap();
    world.ldk.fail(&never).unwrap();
    world.wait_quiet();
    let later = world.ldk.invoice(1_000_000, "later").unwrap();
    world.alice().pay(&later).unwrap();
    world.wait_quiet();
    (world, old, ours)
}

/// LDK has cheated with it, and Alice takes it all.
fn all_of_it_is_ours(world: &World) {
    let peer = world.ldk_id.clone();
    world.alice().wait_for_state(&peer, "ONCHAIN").unwrap();
    let status = world.alice().status_with(&peer).unwrap().join("\n");
    assert!(status.contains("revoked"), "{status}");
    let tally = world.tally();
    assert!(tally.all[1..].iter().any(|tx| tx.is_htlc_tx), "{tally:?}");
    world.alice_has(|tally| CHANNEL - taken_by_fees(tally) - world.anchors());
}

/// What of the channel went to the fees of LDK's transactions: with anchors its HTLC transaction has coins for it.
fn taken_by_fees(tally: &Tally) -> u64 {
    let alone = |tx: &&blackbox::tally::Descendant| tx.is_htlc_tx && tx.spends.len() == 1;
    let htlc_txs = tally.all.iter().filter(alone);
    tally.commitment().fee + htlc_txs.map(|tx| tx.fee).sum::<u64>()
}

fn a_revoked_commitment_of_ldks_is_ours(format: Format) {
    let (mut world, old, ours) = with_a_revoked_commitment(format);
    world.ldk_cheats(&old, &ours);
    all_of_it_is_ours(&world);
}

#[test]
fn a_revoked_commitment_of_ldks_is_ours_with_its_second_stage() {
    a_revoked_commitment_of_ldks_is_ours(Anchors);
}

#[test]
fn a_revoked_commitment_of_ldks_is_ours_with_its_second_stage_without_anchors() {
    a_revoked_commitment_of_ldks_is_ours(StaticRemotekey);
}

fn a_revoked_commitment_of_ldks_is_ours_by_a_backup(format: Format) {
    let (mut world, old, ours) = with_a_revoked_commitment(format);
    let backup = world.backup();
    world.alice_pays_at_once(10_000, "not in the backup");
    world.ldk_cheats_who_is_put_back(&backup, &old, &ours);
    all_of_it_is_ours(&world);
}

#[test]
fn a_revoked_commitment_of_ldks_is_ours_after_our_backup_is_put_back() {
    a_revoked_commitment_of_ldks_is_ours_by_a_backup(Anchors);
}

#[test]
fn a_revoked_commitment_of_ldks_is_ours_after_our_backup_is_put_back_without_anchors() {
    a_revoked_commitment_of_ldks_is_ours_by_a_backup(StaticRemotekey);
}

/// The merchant takes two HTLCs of the same hash on chain, from the commitment of `closer`.
fn what_the_merchant_takes_on_chain_is_settled_upstream(format: Format, alice_closes: bool) {
    let mut world = World::with_two_channels(format);
    let held = world.merchant.hold(150_000_000).unwrap();
    world.ldk.pay(&held.bolt11).unwrap();
    world.merchant.wait_claimable(&held).unwrap();
    let with_merchant = world.channel_with(&world.merchant);
    let htlcs = with_merchant["htlcs"].as_array().unwrap();
    assert_eq!(htlcs.len(), 2, "{htlcs:?}");
    assert!(
        htlcs
            .iter()
            .all(|htlc| htlc["payment_hash"] == held.payment_hash())
    );
    world.close_with_merchant(alice_closes);
    world.merchant.claim(&held).unwrap();
    world.mine_until("LDK hears of it off chain", 20, || {
        Ok((world.ldk.end_of(held.hash) == Some(true)).then_some(()))
    });
    until("both channels are quiet again", || {
        let all = world.alice().channels_with(&world.ldk.id().to_string())?;
        let quiet = all
            .iter()
            .all(|channel| channel.state == "CHANNELD_NORMAL" && channel.htlcs == 0);
        Ok((quiet && all.len() == 2).then_some(()))
    })
    .unwrap();
    let all = world
        .alice()
        .channels_with(&world.ldk.id().to_string())
        .unwrap();
    let ours: u64 = all.iter().map(|channel| channel.to_us_msat).sum();
    assert_eq!(ours, held.msat);
}

#[test]
fn what_ldk_takes_on_chain_from_its_commitment_is_settled_upstream() {
    what_the_merchant_takes_on_chain_is_settled_upstream(Anchors, false);
}

#[test]
fn what_ldk_takes_on_chain_from_ours_is_settled_upstream_without_anchors() {
    what_the_merchant_takes_on_chain_is_settled_upstream(StaticRemotekey, true);
}

/// Alice's database is put back: LDK closes with a commitment that she does not know.
fn after_our_data_loss_we_get_our_balance(format: Format) {
    let mut world = World::start(format, Opener::Ldk);
    world.alice_pays_at_once(40_000, "before");
    let old = world.copy_of_database();
    for n in 0..3 {
        world.alice_pays_at_once(10_000, &format!("after {n}"));
    }
    world.put_database_back(&old);
    world.ldk.reconnect(&world.network.nodes[0]).unwrap();
    let closed = world.network.bitcoind.wait_for_mempool(1).unwrap();
    world.mine(1);
    let peer = world.ldk_id.clone();
    world.alice().wait_for_state(&peer, "ONCHAIN").unwrap();
    let status = world.alice().status_with(&peer).unwrap().join("\n");
    assert!(
        status.contains("newer than what we know") && status.contains(&closed[0]),
        "{status}"
    );
    world.is_shared_out(false, |_| world.balance - 70_000);
    let asked = world.alice().rpc("close", json!({ "id": peer }));
    assert!(asked.is_err(), "{asked:?}");
}

#[test]
fn after_our_data_loss_ldk_closes_and_we_get_our_newest_balance() {
    after_our_data_loss_we_get_our_balance(Anchors);
}

#[test]
fn after_our_data_loss_ldk_closes_and_we_get_our_newest_balance_without_anchors() {
    after_our_data_loss_we_get_our_balance(StaticRemotekey);
}

#[test]
fn a_mutual_close_without_anchors_shares_the_channel_out() {
    let world = World::start(StaticRemotekey, Opener::Alice);
    let id = world.ldk_id.clone();
    let closed = world.alice().rpc("close", json!({ "id": id })).unwrap();
    assert_eq!(closed["type"], "mutual", "{closed}");
    world.network.bitcoind.wait_for_mempool(1).unwrap();
    world.mine(1);
    world.is_shared_out(false, |fee| world.balance - fee);
}
