//! A channeld that dies again and again, by the kernel's or the owner's hand: what it guards is guarded still.

use blackbox::wait::until_within;
use blackbox::{Network, Node, until};
use serde_json::json;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(180);

/// Kills its channeld, which hears nothing of its peer, so often that lightningd lets some time pass before there
/// is another one.
fn kill_often(node: &Node) {
    until_within(LONG, "channeld died more often than bad luck is", || {
        for channeld in node.processes_in_role("channeld") {
            channeld.kill9();
        }
        Ok(node.log().contains("dies again and again").then_some(()))
    })
    .unwrap();
}

#[test]
fn a_close_that_no_process_hears_is_told_to_the_next() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    bob.freeze();
    kill_often(alice);
    bob.thaw();
    let params = json!({"id": bob.id().unwrap(), "unilateraltimeout": 50});
    let closed = alice.rpc("close", params).unwrap();
    assert_eq!(closed["type"], "mutual", "{closed}");
}

#[test]
fn a_channel_whose_process_died_often_is_closed_in_time() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let bob_id = bob.id().unwrap();
    let slow = bob.invoice(40_000_000, "slow").unwrap();
    bob.freeze();
    let paying = alice.begin_to_pay(&slow.bolt11);
    let expiry = until("the HTLC is in the database", || {
        let channels = alice.rpc("listpeerchannels", json!({}))?;
        Ok(channels["channels"][0]["htlcs"][0]["expiry"].as_u64())
    })
    .unwrap();
    kill_often(alice);
    let height = network.bitcoind.height().unwrap();
    let left = u32::try_from(expiry - height).unwrap();
    network.bitcoind.mine(left + 3).unwrap();
    until_within(LONG, "the channel is closed", || {
        let state = alice.state_with(&bob_id)?;
        Ok((state.as_deref() == Some("AWAITING_UNILATERAL")).then_some(()))
    })
    .unwrap();
    network.bitcoind.wait_for_mempool(1).unwrap();
    bob.thaw();
    drop(paying);
}
