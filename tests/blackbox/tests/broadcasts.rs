//! Transactions of ours that bitcoind does not take or has forgotten: nothing stays bound by one that nobody has, and
//! one that may be out is broadcast until a block has it.

use blackbox::{Network, until};
use serde_json::{Value, json};

const FUNDED: u64 = 1_000_000;
/// In satoshi for 1,000 virtual bytes; the lowest feerate of Lightning is about a tenth.
const HIGH: u64 = 10_000;

fn list(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

#[test]
fn a_funding_transaction_that_is_refused_leaves_nothing() {
    let mut network = Network::start(&["alice", "bob"]).unwrap();
    network.nodes[0].fund(&network.bitcoind, FUNDED).unwrap();
    network.bitcoind.restart_for_fees_from(HIGH).unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let funds = alice.rpc("listfunds", json!({})).unwrap();
    alice.connect(bob).unwrap();
    for node in [alice, bob] {
        node.wait_for("it has found bitcoind again", |node| {
            let info = node.rpc("getinfo", json!({}))?;
            let warned = ["warning_bitcoind_sync", "warning_lightningd_sync"];
            Ok(warned.iter().all(|name| info[name].is_null()).then_some(()))
        })
        .unwrap();
    }
    let params = json!({"id": bob.id().unwrap(), "amount": 500_000, "feerate": "253perkw"});
    let refused = alice.rpc("fundchannel", params).unwrap_err();
    assert_eq!(refused.code(), Some(303), "{refused}");
    for node in [alice, bob] {
        node.wait_for("no channel is left", |node| {
            let channels = node.rpc("listpeerchannels", json!({}))?;
            Ok((list(&channels["channels"]) == 0).then_some(()))
        })
        .unwrap();
    }
    assert_eq!(alice.rpc("listfunds", json!({})).unwrap(), funds);
    // And so it is after a start: the coins go into a channel that pays enough.
    network.nodes[0].restart().unwrap();
    network.sync().unwrap();
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    assert_eq!(alice.rpc("listfunds", json!({})).unwrap(), funds);
    alice.connect(bob).unwrap();
    let params = json!({"id": bob.id().unwrap(), "amount": "all", "feerate": "5000perkw"});
    alice.rpc("fundchannel", params).unwrap();
    network.bitcoind.wait_for_mempool(1).unwrap();
}

#[test]
fn what_bitcoind_forgets_is_broadcast_again_with_its_parents_and_without_a_restart() {
    let mut network = Network::start(&["alice"]).unwrap();
    network.nodes[0].fund(&network.bitcoind, FUNDED).unwrap();
    let withdraw = |network: &Network, satoshi: u64| {
        let address = network.bitcoind.rpc("getnewaddress", json!([])).unwrap();
        let params = json!({"destination": address, "satoshi": satoshi, "minconf": 0, "feerate": "5000perkw"});
        network.nodes[0].rpc("withdraw", params).unwrap();
    };
    // Each spends the change of the one before.
    for satoshi in [100_000, 50_000, 25_000] {
        withdraw(&network, satoshi);
    }
    let mut before = network.bitcoind.wait_for_mempool(3).unwrap();
    before.sort();
    let back = |network: &Network| {
        until("all are in the mempool again", || {
            let mut now = network.bitcoind.mempool()?;
            now.sort();
            Ok((now == before).then_some(()))
        })
        .unwrap();
    };
    network.bitcoind.forget_mempool().unwrap();
    back(&network);

    // What it refuses for a while is taken later.
    network.bitcoind.restart_for_fees_from(HIGH * 10).unwrap();
    network.bitcoind.forget_mempool().unwrap();
    let alice = &network.nodes[0];
    alice
        .wait_for("it says so", |alice| {
            Ok(alice
                .log()
                .contains("tried again with each block")
                .then_some(()))
        })
        .unwrap();
    assert_eq!(network.bitcoind.mempool().unwrap(), Vec::<String>::new());
    network.bitcoind.restart_for_fees_from(1_000).unwrap();
    back(&network);
    network.mine(1).unwrap();
    assert_eq!(network.bitcoind.mempool().unwrap(), Vec::<String>::new());
}
