//! Transactions of ours that bitcoind does not take or has forgotten: nothing stays bound by one that nobody has, and
//! one that may be out is broadcast until a block has it.

use blackbox::{Network, Node, until};
use serde_json::{Value, json};

const FUNDED: u64 = 1_000_000;
/// In satoshi for 1,000 virtual bytes; the lowest feerate of Lightning is about a tenth.
const HIGH: u64 = 10_000;
/// Nobody's here (BIP 173's example): bitcoind's own wallet would keep what pays to it, and bring it back.
const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

fn list(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

fn finds_bitcoind_again(node: &Node) {
    node.wait_for("it has found bitcoind again", |node| {
        let info = node.rpc("getinfo", json!({}))?;
        let warned = ["warning_bitcoind_sync", "warning_lightningd_sync"];
        Ok(warned.iter().all(|name| info[name].is_null()).then_some(()))
    })
    .unwrap();
}

/// Out of this coin alone.
fn withdraw(network: &Network, coin: &str, satoshi: u64) -> Value {
    let params =
        json!({"destination": PAYEE, "satoshi": satoshi, "utxos": [coin], "feerate": "5000perkw"});
    network.nodes[0].rpc("withdraw", params).unwrap()
}

fn coin(node: &Node) -> String {
    let funds = node.rpc("listfunds", json!({})).unwrap();
    let (txid, output) = (&funds["outputs"][0]["txid"], &funds["outputs"][0]["output"]);
    format!("{}:{output}", txid.as_str().unwrap())
}

/// Those of ours that are in no block.
fn waiting(node: &Node) -> Vec<String> {
    let all = node.rpc("listtransactions", json!({})).unwrap();
    let all = all["transactions"].as_array().unwrap().clone();
    let waiting = all.iter().filter(|tx| tx["blockheight"] == 0);
    let hash = |tx: &Value| tx["hash"].as_str().unwrap().to_owned();
    waiting.map(hash).collect()
}

/// A withdrawal that bitcoind had, has forgotten and now refuses: it is given up.
fn discarded(network: &mut Network, coin: &str) -> Value {
    let sent = withdraw(network, coin, 100_000);
    let txid = sent["txid"].as_str().unwrap().to_owned();
    let discard = |network: &Network| network.nodes[0].rpc("txdiscard", json!([txid]));
    // Nothing is given up that bitcoind has.
    network.bitcoind.wait_for_mempool(1).unwrap();
    let error = discard(network).unwrap_err();
    assert_eq!(error.code(), Some(-1), "{error}");
    assert_eq!(waiting(&network.nodes[0]), [txid.as_str()]);
    network.bitcoind.restart_for_fees_from(HIGH * 10).unwrap();
    network.bitcoind.forget_mempool().unwrap();
    let alice = &network.nodes[0];
    alice
        .wait_for("it names the way out", |alice| {
            let way = format!("`lightning-cli txdiscard {txid}`");
            Ok(alice.log().contains(&way).then_some(()))
        })
        .unwrap();
    finds_bitcoind_again(alice);
    let given_up = discard(network).unwrap();
    assert_eq!(given_up["txid"], sent["txid"]);
    let unsigned = json!([given_up["unsigned_tx"], false]);
    let decoded = network.bitcoind.rpc("decoderawtransaction", unsigned);
    assert_eq!(decoded.unwrap()["txid"], sent["txid"]);
    assert_eq!(waiting(alice), Vec::<String>::new());
    let error = discard(network).unwrap_err();
    assert_eq!(error.code(), Some(-1), "{error}");
    network.bitcoind.restart_for_fees_from(1_000).unwrap();
    finds_bitcoind_again(&network.nodes[0]);
    sent
}

#[test]
fn a_withdrawal_that_is_refused_for_good_is_given_up_by_its_owner_and_its_coins_are_free() {
    let mut network = Network::start(&["alice"]).unwrap();
    network.nodes[0].fund(&network.bitcoind, FUNDED).unwrap();
    let funds = |network: &Network| network.nodes[0].rpc("listfunds", json!({})).unwrap();
    let before = funds(&network);
    let coin = coin(&network.nodes[0]);
    discarded(&mut network, &coin);
    assert_eq!(funds(&network), before);
    // So it is after a start, and nobody broadcasts it any more.
    network.nodes[0].restart().unwrap();
    network.mine(1).unwrap();
    assert_eq!(funds(&network), before);
    assert_eq!(network.bitcoind.mempool().unwrap(), Vec::<String>::new());
    // The signer signs another transaction with the same coin.
    let other = withdraw(&network, &coin, 200_000);
    let mempool = network.bitcoind.wait_for_mempool(1).unwrap();
    assert_eq!(other["txid"].as_str(), mempool.first().map(String::as_str));
}

#[test]
fn a_withdrawal_whose_coin_a_block_spends_otherwise_is_dropped_without_a_command() {
    let mut network = Network::start(&["alice"]).unwrap();
    network.nodes[0].fund(&network.bitcoind, FUNDED).unwrap();
    let coin = coin(&network.nodes[0]);
    let first = discarded(&mut network, &coin);
    let second = withdraw(&network, &coin, 200_000);
    network.bitcoind.wait_for_mempool(1).unwrap();
    // Somebody had kept the first one.
    let to = network.bitcoind.rpc("getnewaddress", json!([])).unwrap();
    let block = json!([to, [first["tx"]]]);
    network.bitcoind.rpc("generateblock", block).unwrap();
    network.sync().unwrap();
    let alice = &network.nodes[0];
    let dropped = format!("{} is given up", second["txid"].as_str().unwrap());
    alice
        .wait_for("it is dropped", |alice| {
            Ok(alice.log().contains(&dropped).then_some(()))
        })
        .unwrap();
    assert_eq!(waiting(alice), Vec::<String>::new());
    let outputs = alice.rpc("listfunds", json!({})).unwrap();
    let change = outputs["outputs"].as_array().unwrap();
    let of_first = |output: &&Value| output["txid"] == first["txid"];
    assert_eq!(change.iter().filter(of_first).count(), change.len());
    // Without that block it may be in another.
    network.bitcoind.reorganize(1).unwrap();
    alice
        .wait_for("it waits again", |alice| {
            let again = waiting(alice);
            Ok(again
                .iter()
                .any(|txid| second["txid"] == **txid)
                .then_some(()))
        })
        .unwrap();
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
        finds_bitcoind_again(node);
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
    finds_bitcoind_again(alice);
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
    let spends = |txid: &String| {
        let tx = network.bitcoind.transaction(txid).unwrap();
        let inputs = tx["vin"].as_array().unwrap();
        inputs
            .iter()
            .any(|input| before.iter().any(|one| input["txid"] == **one))
    };
    let child = before.iter().find(|txid| spends(txid)).unwrap().clone();
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
    // That it is refused says nothing: bitcoind lacks what it spends.
    let kept = alice.rpc("txdiscard", json!({"txid": child})).unwrap_err();
    assert!(kept.to_string().contains("that one comes first"), "{kept}");
    network.bitcoind.restart_for_fees_from(1_000).unwrap();
    back(&network);
    network.mine(1).unwrap();
    assert_eq!(network.bitcoind.mempool().unwrap(), Vec::<String>::new());
}

#[test]
fn a_withdrawal_in_a_block_that_never_was_is_broadcast_again() {
    let mut network = Network::start(&["alice"]).unwrap();
    network.nodes[0].fund(&network.bitcoind, FUNDED).unwrap();
    let coin = coin(&network.nodes[0]);
    let sent = withdraw(&network, &coin, 100_000);
    let txid = sent["txid"].as_str().unwrap().to_owned();
    network
        .die_within_a_block(0, |alice| Ok(waiting(alice).is_empty()))
        .unwrap();
    network.bitcoind.reorganize(1).unwrap();
    network.bitcoind.forget_mempool().unwrap();
    network.nodes[0].launch().unwrap();
    let again = network.bitcoind.wait_for_mempool(1).unwrap();
    assert_eq!(again, [txid]);
    assert_eq!(waiting(&network.nodes[0]), again);
}
