//! Channels with a real LDK node that end on chain, with and without anchors. Alice is ours; LDK has a
//! channel with her, and so has a merchant, LDK too, to whom she forwards. What each has in the end is
//! compared to the satoshi with what the channel said, less the fees of the transactions in blocks.

use blackbox::{Tally, until};
use interop::Format::{self, Anchors, StaticRemotekey};
use interop::{CHANNEL, Held, Opener, World};
use serde_json::json;

/// HTLCs of each end, both ways.
struct Both {
    ours_claimed: Held,
    ours_never: Held,
    ours_dust: Held,
    theirs_claimed: Held,
    theirs_never: Held,
    theirs_dust: Held,
    /// The last block before all have expired.
    expiry: u64,
}

const OURS_CLAIMED: u64 = 30_000;
const OURS_NEVER: u64 = 20_000;
const OURS_DUST: u64 = 201;
const THEIRS_CLAIMED: u64 = 25_000;
const THEIRS_NEVER: u64 = 15_000;
const THEIRS_DUST: u64 = 303;

/// Three payments from Alice to LDK, three from LDK through Alice to the merchant, all of them held.
fn both_ways(world: &World) -> Both {
    let mut both = Both {
        ours_claimed: world.alice_pays_ldk(OURS_CLAIMED),
        ours_never: world.alice_pays_ldk(OURS_NEVER),
        ours_dust: world.alice_pays_ldk(OURS_DUST),
        theirs_claimed: world.ldk_pays_merchant(THEIRS_CLAIMED),
        theirs_never: world.ldk_pays_merchant(THEIRS_NEVER),
        theirs_dust: world.ldk_pays_merchant(THEIRS_DUST),
        expiry: 0,
    };
    both.expiry = world.last_expiry();
    both
}

/// From the moment when the commitment is in a block: each HTLC ends, and everybody has what is theirs.
fn all_htlcs_end(world: &World, both: &Both, ours: bool) {
    let peer = world.ldk.id().to_string();
    world.alice().wait_for_state(&peer, "ONCHAIN").unwrap();
    // LDK shows its preimage on chain, and there alone.
    world.ldk.claim(&both.ours_claimed).unwrap();
    world.mine_until("alice sees LDK's preimage", 20, || {
        world.attempt_is(&both.ours_claimed, "complete")
    });
    // Alice learns hers late, and LDK learns it from the chain.
    world.merchant.claim(&both.theirs_claimed).unwrap();
    world.mine_until("LDK sees alice's preimage", 20, || {
        Ok((world.ldk.end_of(both.theirs_claimed.hash) == Some(true)).then_some(()))
    });
    for held in [&both.theirs_never, &both.theirs_dust] {
        world.merchant.fail(held).unwrap();
    }
    until("the merchant's channel is quiet", || {
        let htlcs = world.channel_with(&world.merchant)["htlcs"].clone();
        Ok(htlcs.as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .unwrap();
    world.mine_to(both.expiry);
    for held in [&both.ours_never, &both.ours_dust] {
        world.mine_until("alice's payment failed", 20, || {
            world.attempt_is(held, "failed")
        });
    }
    for held in [&both.theirs_never, &both.theirs_dust] {
        world.mine_until("LDK's payment failed", 20, || {
            Ok((world.ldk.end_of(held.hash) == Some(false)).then_some(()))
        });
    }
    world.is_shared_out(ours, |commitment_fee| {
        let fee = match world.opener {
            Opener::Alice => commitment_fee - OURS_DUST - THEIRS_DUST + world.anchors(),
            Opener::Ldk => 0,
        };
        world.balance + THEIRS_CLAIMED - OURS_CLAIMED - OURS_DUST - fee
    });
    // The merchant's channel had nothing to do with it but the payment.
    let merchant = world.channel_with(&world.merchant);
    assert_eq!(merchant["state"], "CHANNELD_NORMAL");
    assert_eq!(
        merchant["to_us_msat"],
        (world.with_merchant - THEIRS_CLAIMED) * 1000
    );
}

fn ldk_closes_with_htlcs_both_ways(format: Format) {
    let world = World::start(format, Opener::Alice);
    let both = both_ways(&world);
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
    let both = both_ways(&world);
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

/// LDK cheats with a commitment that has HTLCs both ways, and gets one of them into the second stage.
fn a_revoked_commitment_of_ldks_is_ours(format: Format) {
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
    world.ldk_cheats(&old, &ours);
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

#[test]
fn a_revoked_commitment_of_ldks_is_ours_with_its_second_stage() {
    a_revoked_commitment_of_ldks_is_ours(Anchors);
}

#[test]
fn a_revoked_commitment_of_ldks_is_ours_with_its_second_stage_without_anchors() {
    a_revoked_commitment_of_ldks_is_ours(StaticRemotekey);
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
