//! Our node loses all but its seed, with a real LDK node as its peer: LDK has kept our backup, gives it back,
//! closes the channel, and every satoshi of ours comes to the wallet.

use blackbox::{Network, Options};
use interop::Ldk;
use serde_json::json;

const COINS: u64 = 5_000_000;
const CHANNEL: u64 = 2_000_000;
const PUSHED_MSAT: u64 = 800_000_000;
/// More than all fees of the close and of what takes its output, at the lowest feerate.
const FEES: u64 = 10_000;

#[test]
fn ldk_gives_our_backup_back_and_closes_the_channel() {
    let mut network = Network::start(&["alice"]).unwrap();
    let ldk = Ldk::start(&network.bitcoind).unwrap();
    let alice = &network.nodes[0];
    alice.lift_limits().unwrap();
    alice.fund(&network.bitcoind, COINS).unwrap();
    ldk.fund(&network.bitcoind, COINS).unwrap();
    let at = format!("{}@{}", ldk.id(), ldk.address());
    alice.rpc("connect", json!({ "id": at })).unwrap();
    let params = json!({
        "id": ldk.id().to_string(),
        "amount": CHANNEL,
        "push_msat": PUSHED_MSAT,
        "announce": false,
    });
    alice.rpc("fundchannel", params).unwrap();
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.mine(6).unwrap();
    ldk.wait_for("LDK's channel is usable", |ldk| {
        Ok(ldk.is_usable(alice)?.then_some(()))
    })
    .unwrap();
    alice
        .wait_for_state(&ldk.id().to_string(), "CHANNELD_NORMAL")
        .unwrap();
    let invoice = ldk.invoice(40_000_000, "there").unwrap();
    assert_eq!(alice.pay(&invoice).unwrap()["status"], "complete");
    let back = alice.invoice(15_000_000, "back").unwrap();
    ldk.wait_paid(ldk.pay(&back.bolt11).unwrap()).unwrap();
    let channels = || alice.rpc("listpeerchannels", json!({})).unwrap()["channels"][0].clone();
    alice
        .wait_for("no HTLC is left", |_| {
            Ok((channels()["htlcs"] == json!([])).then_some(()))
        })
        .unwrap();
    let balance = channels()["to_us_msat"].as_u64().unwrap() / 1000;
    let channel_id = channels()["channel_id"].clone();
    let whole = alice.coins().unwrap() + balance;

    let alice = &mut network.nodes[0];
    alice.stop().unwrap();
    alice.lose_all_but(&["hsm_secret"]).unwrap();
    alice.set_options(Options {
        arguments: vec!["--rescan=-1".into()],
        ..Options::default()
    });
    alice.launch().unwrap();
    // It may hang up on a channel that we do not know yet.
    let _ = alice.rpc("connect", json!({ "id": at }));
    let stubs = alice
        .wait_for("LDK gives the backup back", |alice| {
            let reply = alice.rpc("restorefrompeer", json!({}))?;
            Ok(reply.get("stubs").cloned())
        })
        .unwrap();
    assert_eq!(stubs, json!([channel_id]));
    network.bitcoind.wait_for_mempool(1).unwrap();
    let alice = &network.nodes[0];
    network
        .mine_until("alice has what was hers", 30, &[alice], || {
            let coins = alice.coins()?;
            Ok((coins <= whole && coins + FEES >= whole).then_some(()))
        })
        .unwrap();
}
