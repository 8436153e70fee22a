//! The books of nodes through whole lives: every account holds what there really is, and what the nodes
//! earned and spent adds up to all of it.

use std::collections::BTreeMap;

use blackbox::node::settled;
use blackbox::{Network, Node, Options, until};
use serde_json::{Value, json};

const CHANNEL: u64 = 1_000_000;

fn list(node: &Node, method: &str, params: Value, member: &str) -> Vec<Value> {
    let reply = node.rpc(method, params).unwrap();
    reply[member].as_array().unwrap().clone()
}

fn msat(value: &Value) -> i128 {
    i128::from(value.as_u64().unwrap())
}

fn net(events: &[Value]) -> i128 {
    let of = |event: &Value| msat(&event["credit_msat"]) - msat(&event["debit_msat"]);
    events.iter().map(of).sum()
}

/// What is in each account, as bkpr-listbalances has it.
fn balances(node: &Node) -> BTreeMap<String, i128> {
    let accounts = list(node, "bkpr-listbalances", json!({}), "accounts");
    let balance = |account: &Value| account["balances"][0]["balance_msat"].as_u64().unwrap_or(0);
    let named = accounts.iter().map(|account| {
        let name = account["account"].as_str().unwrap().to_owned();
        (name, i128::from(balance(account)))
    });
    named.collect()
}

/// Each account's events make its balance; the wallet's is what its confirmed coins are; a channel's, what
/// is ours in it, or nothing once it is resolved; income less expenses is all of it.
fn audit(node: &Node) {
    let accounts = balances(node);
    for (account, balance) in &accounts {
        let mut events = list(
            node,
            "bkpr-listaccountevents",
            json!({"account": account}),
            "events",
        );
        events.retain(|event| event["type"] != "onchain_fee");
        assert_eq!(net(&events), *balance, "{account}: {events:#?}");
    }
    let confirmed = i128::from(node.onchain_msat(true).unwrap());
    let coins = list(node, "listfunds", json!({"spent": true}), "outputs");
    // What is spent by a transaction that is in no block is still in the books.
    assert!(
        coins.iter().all(|coin| coin["status"] != "unconfirmed"),
        "{coins:#?}"
    );
    assert_eq!(accounts["wallet"], confirmed, "{}", node.name());
    for channel in list(node, "listpeerchannels", json!({}), "channels") {
        let id = channel["channel_id"].as_str().unwrap();
        if channel["state"] == "CHANNELD_NORMAL" {
            assert_eq!(accounts[id], msat(&channel["to_us_msat"]), "{channel:#}");
        }
    }
    for account in list(node, "bkpr-listbalances", json!({}), "accounts") {
        if account["account_resolved"] == true {
            assert_eq!(account["balances"][0]["balance_msat"], 0, "{account:#}");
        }
    }
    let income = list(node, "bkpr-listincome", json!({}), "income_events");
    let all: i128 = accounts.values().sum();
    assert_eq!(
        net(&income),
        all,
        "{}: {income:#?} {accounts:#?}",
        node.name()
    );
}

/// Mines until the channel's account is resolved in the node's books.
fn resolve(network: &Network, node: &Node, channel_id: &str, blocks: u32, nodes: &[&Node]) {
    let what = format!("{channel_id} is resolved");
    let is =
        |account: &Value| account["account"] == channel_id && account["account_resolved"] == true;
    network
        .mine_until(&what, blocks, nodes, || {
            let accounts = node.rpc("bkpr-listbalances", json!({}))?["accounts"].clone();
            Ok(accounts.as_array().unwrap().iter().any(is).then_some(()))
        })
        .unwrap();
    // What took the last outputs brought coins.
    network.bitcoind.mine(1).unwrap();
    let height = network.bitcoind.height().unwrap();
    nodes
        .iter()
        .for_each(|node| node.wait_for_height(height).unwrap());
}

fn tags(node: &Node, account: &str) -> Vec<String> {
    let events = list(
        node,
        "bkpr-listaccountevents",
        json!({"account": account}),
        "events",
    );
    let tag = |event: &Value| event["tag"].as_str().unwrap().to_owned();
    events.iter().map(tag).collect()
}

fn has_all(tags: &[String], wanted: &[&str]) {
    for wanted in wanted {
        assert!(tags.iter().any(|tag| tag == wanted), "{wanted} in {tags:?}");
    }
}

fn withdraw(network: &Network, node: &Node, satoshi: Value) {
    let address = network.bitcoind.rpc("getnewaddress", json!([])).unwrap();
    node.rpc("withdraw", json!([address, satoshi])).unwrap();
    network.mine(1).unwrap();
}

#[test]
fn the_books_balance_from_the_opening_to_the_mutual_close_and_after_a_restart() {
    let (mut network, channel) = Network::pair(CHANNEL).unwrap();
    let id = channel.channel_id;
    network.sync().unwrap();
    {
        let [alice, bob] = &network.nodes[..] else {
            panic!("two nodes")
        };
        for (from, to, label) in [(alice, bob, "there"), (bob, alice, "back")] {
            let invoice = to.invoice(12_345_678, label).unwrap();
            from.pay(&invoice.bolt11).unwrap();
        }
        settled(alice, bob).unwrap();
        network.nodes.iter().for_each(audit);
        has_all(
            &tags(alice, &id),
            &["channel_open", "pushed", "invoice", "onchain_fee"],
        );
        has_all(&tags(bob, &id), &["channel_open", "pushed", "invoice"]);
        let income = list(bob, "bkpr-listincome", json!({}), "income_events");
        assert!(
            income
                .iter()
                .any(|i| i["description"] == "there" && i["tag"] == "invoice")
        );
        alice.close(bob).unwrap();
        network.bitcoind.wait_for_mempool(1).unwrap();
        network.mine(1).unwrap();
        resolve(&network, alice, &id, 3, &[alice, bob]);
        resolve(&network, bob, &id, 3, &[alice, bob]);
        network.nodes.iter().for_each(audit);
        has_all(&tags(alice, &id), &["channel_close", "onchain_fee"]);
        has_all(&tags(alice, "external"), &["to_them"]);
    }
    let before: Vec<Value> = network.nodes.iter().map(events).collect();
    for node in &mut network.nodes {
        node.restart().unwrap();
    }
    network.mine(100).unwrap();
    for node in &network.nodes {
        node.wait_for("the channel is forgotten", |node| {
            Ok(list(node, "listpeerchannels", json!({}), "channels")
                .is_empty()
                .then_some(()))
        })
        .unwrap();
    }
    // What is over stays listed, each event once and with its time.
    let after: Vec<Value> = network.nodes.iter().map(events).collect();
    assert_eq!(before, after);
    let alice = &network.nodes[0];
    withdraw(&network, alice, json!(200_000));
    audit(alice);
    withdraw(&network, alice, json!("all"));
    audit(alice);
    assert_eq!(alice.onchain_msat(false).unwrap(), 0);
    inspect(alice, &id);
}

fn events(node: &Node) -> Value {
    node.rpc("bkpr-listaccountevents", json!({})).unwrap()
}

/// The funding transaction and the close, with what each of them cost.
fn inspect(node: &Node, id: &str) {
    let txs = list(node, "bkpr-inspect", json!([id]), "txs");
    let [funding, close] = &txs[..] else {
        panic!("{txs:#?}")
    };
    assert!(funding["fees_paid_msat"].as_u64() > Some(0), "{funding:#}");
    assert_eq!(funding["outputs"][0]["output_tag"], "channel_open");
    assert_eq!(funding["outputs"][0]["spending_txid"], close["txid"]);
    let outputs = close["outputs"].as_array().unwrap();
    assert!(
        outputs.iter().any(|output| output["account"] == "wallet"),
        "{close:#}"
    );
    assert!(
        outputs
            .iter()
            .any(|output| output["output_tag"] == "to_them"),
        "{close:#}"
    );
}

struct Held {
    network: Network,
    ids: [String; 3],
    channels: [String; 2],
}

impl Held {
    fn nodes(&self) -> [&Node; 3] {
        let [alice, bob, carol] = &self.network.nodes[..] else {
            panic!("three nodes")
        };
        [alice, bob, carol]
    }
}

/// Alice has paid Carol through Bob once; a second payment is held by Carol, who is frozen.
fn held() -> Held {
    let network = Network::start(&["alice", "bob", "carol"]).unwrap();
    let one = network.open(0, 1, CHANNEL, CHANNEL * 500).unwrap();
    let two = network.open(1, 2, CHANNEL, CHANNEL * 500).unwrap();
    network.sync().unwrap();
    let [alice, bob, carol] = &network.nodes[..] else {
        panic!("three nodes")
    };
    // For the HTLC transactions.
    for node in [alice, bob] {
        node.fund(&network.bitcoind, 500_000).unwrap();
    }
    network.sync().unwrap();
    let ids = [alice, bob, carol].map(|node| node.id().unwrap());
    let hint = carol.channels_with(&ids[1]).unwrap()[0]
        .short_channel_id
        .clone()
        .unwrap();
    let invoice = |label: &str| {
        let params = json!({
            "amount_msat": 100_000_123, "label": label, "description": label,
            "cltv": 30, "exposeprivatechannels": [hint],
        });
        carol.rpc("invoice", params).unwrap()["bolt11"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (first, second) = (invoice("first"), invoice("second"));
    alice.pay(&first).unwrap();
    settled(alice, bob).unwrap();
    settled(bob, carol).unwrap();
    network.nodes.iter().for_each(audit);
    has_all(&tags(bob, &one.channel_id), &["routed"]);
    carol.freeze();
    drop(alice.begin_to_pay(&second));
    until("bob has offered it to carol", || {
        let with = |peer: &str| anyhow::Ok(bob.channels_with(peer)?[0].htlcs);
        Ok((with(&ids[2])? == 1 && with(&ids[0])? == 1).then_some(()))
    })
    .unwrap();
    Held {
        channels: [one.channel_id, two.channel_id],
        network,
        ids,
    }
}

#[test]
fn the_books_balance_when_an_htlc_ends_on_chain_by_its_preimage() {
    let held = held();
    let [alice, bob, carol] = held.nodes();
    // By preimage: Bob closes with Alice, who is frozen, and claims when Carol settles.
    alice.freeze();
    bob.close_unilaterally(&held.ids[0]).unwrap();
    held.network.bitcoind.wait_for_mempool(1).unwrap();
    held.network.bitcoind.mine(1).unwrap();
    bob.wait_for_state(&held.ids[0], "ONCHAIN").unwrap();
    let status = bob.status_with(&held.ids[0]).unwrap();
    assert!(
        status[0].contains("output to claim, waiting for block"),
        "{status:?}"
    );
    carol.thaw();
    settled(bob, carol).unwrap();
    held.network.bitcoind.wait_for_mempool(1).unwrap();
    alice.thaw();
    resolve(
        &held.network,
        bob,
        &held.channels[0],
        40,
        &[alice, bob, carol],
    );
    resolve(
        &held.network,
        alice,
        &held.channels[0],
        20,
        &[alice, bob, carol],
    );
    has_all(
        &tags(bob, &held.channels[0]),
        &[
            "channel_close",
            "delayed_to_us",
            "htlc_fulfill",
            "htlc_tx",
            "to_wallet",
            "onchain_fee",
        ],
    );
    has_all(
        &tags(alice, "external"),
        &["htlc_fulfill", "anchor", "to_them"],
    );
    held.network.nodes.iter().for_each(audit);
}

#[test]
fn the_books_balance_when_an_htlc_of_ours_times_out_on_chain() {
    let held = held();
    let [alice, bob, _] = held.nodes();
    let bitcoind = &held.network.bitcoind;
    let listed = list(
        alice,
        "listpeerchannels",
        json!({"id": held.ids[1]}),
        "channels",
    );
    let expiry = listed[0]["htlcs"][0]["expiry"].as_u64().unwrap();
    bob.freeze();
    alice.close_unilaterally(&held.ids[1]).unwrap();
    bitcoind.wait_for_mempool(1).unwrap();
    let left = expiry - bitcoind.height().unwrap();
    bitcoind.mine(u32::try_from(left).unwrap()).unwrap();
    alice.wait_for_height(expiry).unwrap();
    resolve(&held.network, alice, &held.channels[0], 30, &[alice]);
    has_all(
        &tags(alice, &held.channels[0]),
        &[
            "channel_close",
            "delayed_to_us",
            "htlc_timeout",
            "htlc_tx",
            "to_wallet",
        ],
    );
    audit(alice);
}

#[test]
fn the_books_balance_when_a_revoked_commitment_is_punished() {
    let (mut network, channel) = Network::pair(CHANNEL).unwrap();
    let ids = [0, 1].map(|n: usize| network.nodes[n].id().unwrap());
    let old = network.nodes[0].lightning_dir().join("old");
    network.nodes[0].stop().unwrap();
    network.nodes[0].copy_folder_to(&old).unwrap();
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    let invoice = network.nodes[1].invoice(200_000_000, "revokes").unwrap();
    network.nodes[0].pay(&invoice.bolt11).unwrap();
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    network.nodes[1].freeze();
    network.nodes[0].kill_all().unwrap();
    network.nodes[0].put_back_folder(&old).unwrap();
    network.nodes[0].launch().unwrap();
    network.nodes[0].close_unilaterally(&ids[1]).unwrap();
    network.bitcoind.wait_for_mempool(1).unwrap();
    network.nodes[0].kill_all().unwrap();
    network.bitcoind.mine(1).unwrap();
    let bob = &network.nodes[1];
    bob.thaw();
    bob.wait_for_state(&ids[0], "ONCHAIN").unwrap();
    resolve(&network, bob, &channel.channel_id, 20, &[bob]);
    has_all(
        &tags(bob, &channel.channel_id),
        &["channel_close", "penalty", "to_wallet"],
    );
    let income = list(bob, "bkpr-listincome", json!({}), "income_events");
    assert!(
        income.iter().any(|event| event["tag"] == "penalty_adj"),
        "{income:#?}"
    );
    audit(bob);
}

#[test]
fn a_reorganization_takes_the_events_of_its_blocks_back_and_they_come_again_once() {
    let network = Network::start_with(&["alice", "bob"], &Options::default()).unwrap();
    network.open(0, 1, CHANNEL, 100_000_000).unwrap();
    network.sync().unwrap();
    let alice = &network.nodes[0];
    network.nodes.iter().for_each(audit);
    let count = |node: &Node| list(node, "bkpr-listaccountevents", json!({}), "events").len();
    let before = count(alice);
    let address = network.bitcoind.rpc("getnewaddress", json!([])).unwrap();
    let sent = alice.rpc("withdraw", json!([address, 50_000])).unwrap();
    network.mine(1).unwrap();
    audit(alice);
    let mined = |node: &Node| {
        let all = list(node, "listtransactions", json!({}), "transactions");
        let of = all.iter().find(|tx| tx["hash"] == sent["txid"]).unwrap();
        of["blockheight"].as_u64().unwrap()
    };
    assert!(mined(alice) > 0);
    let with = count(alice);
    assert!(with > before);
    network.bitcoind.reorganize(1).unwrap();
    network.sync().unwrap();
    assert_eq!(
        count(alice),
        before,
        "what was taken out is not in the books"
    );
    assert_eq!(mined(alice), 0);
    network.mine(1).unwrap();
    assert_eq!(count(alice), with);
    assert_eq!(mined(alice), network.bitcoind.height().unwrap());
    network.nodes.iter().for_each(audit);
}
