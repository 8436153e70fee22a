//! Every reply as the interface tables have it, in every state that a node and a channel go through.

use super::interface::{Interface, bolt11, refused, states};
use blackbox::{Bitcoind, Network, Node, until};
use serde_json::{Value, json};

#[test]
fn a_fresh_nodes_replies_are_as_in_the_table() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let ask = |method: &str, params| tables.ask(&node, method, params);
    let info = ask("getinfo", json!({}));
    assert_eq!(info["alias"], "alice");
    assert_eq!(info["color"], info["id"].as_str().unwrap()[..6]);
    assert_eq!(info["network"], "regtest");
    assert_eq!(
        info["binding"],
        json!([{"type": "ipv4", "address": "127.0.0.1", "port": node.port()}])
    );
    assert_eq!(info["lightning-dir"], node.network_dir().to_str().unwrap());
    for count in ["num_peers", "num_active_channels", "fees_collected_msat"] {
        assert_eq!(info[count], 0, "{count}");
    }
    for (method, member) in [
        ("listpeers", "peers"),
        ("listpeerchannels", "channels"),
        ("listclosedchannels", "closedchannels"),
        ("listforwards", "forwards"),
        ("listinvoices", "invoices"),
        ("listpays", "pays"),
        ("listsendpays", "payments"),
        ("listtransactions", "transactions"),
        ("bkpr-listaccountevents", "events"),
        ("bkpr-listincome", "income_events"),
        ("bkpr-channelsapy", "channels_apy"),
    ] {
        assert_eq!(ask(method, json!({})), json!({member: []}), "{method}");
    }
    assert_eq!(
        ask("listfunds", json!({})),
        json!({"outputs": [], "channels": []})
    );
    assert_eq!(
        ask("bkpr-listbalances", json!({})),
        json!({"accounts": [{"account": "wallet", "balances": []}]})
    );
    ask("listconfigs", json!({}));
    for level in ["broken", "unusual", "info", "debug", "trace", "io"] {
        ask("getlog", json!([level]));
    }
    let reply = node.rpc("stop", json!({})).unwrap();
    tables.check("stop", &reply);
    assert_eq!(reply, json!({"result": "Shutdown complete"}));
    assert!(node.wait_for_end().unwrap().success());
}

#[test]
fn help_lists_every_command_and_explains_each() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let all = tables.ask(&node, "help", json!({}));
    let entries = all["help"].as_array().unwrap();
    let commands = lightningd_rpc::commands::ALL;
    assert_eq!(entries.len(), commands.len());
    for command in commands {
        let usage = format!("{} {}", command.name, command.usage());
        let listed = |entry: &&Value| entry["command"].as_str() == Some(usage.as_str());
        assert!(entries.iter().any(|e| listed(&e)), "{usage:?}");
        let one = tables.ask(&node, "help", json!([command.name]));
        assert_eq!(one["help"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn newaddr_gives_the_kinds_asked_for() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let kinds = |params| {
        let reply = tables.ask(&node, "newaddr", params);
        let mut kinds: Vec<String> = reply.as_object().unwrap().keys().cloned().collect();
        kinds.sort_unstable();
        for (kind, prefix) in [("bech32", "bcrt1q"), ("p2tr", "bcrt1p")] {
            if let Some(address) = reply[kind].as_str() {
                assert!(address.starts_with(prefix), "{address}");
            }
        }
        kinds
    };
    assert_eq!(kinds(json!([])), ["p2tr"]);
    assert_eq!(kinds(json!(["bech32"])), ["bech32"]);
    assert_eq!(kinds(json!({"addresstype": "p2tr"})), ["p2tr"]);
    assert_eq!(kinds(json!(["all"])), ["bech32", "p2tr"]);
}

#[test]
fn feerates_on_a_chain_without_estimates_say_so_in_both_styles() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let floor = |style: &str| {
        let reply = tables.ask(&node, "feerates", json!([style]));
        assert!(reply["warning_missing_feerates"].is_string(), "{reply}");
        assert_eq!(reply[style]["estimates"], json!([]));
        reply[style]["floor"].as_u64().unwrap()
    };
    let perkw = floor("perkw");
    assert!(perkw >= 253);
    assert_eq!(floor("perkb"), perkw * 4);
}

#[test]
fn money_on_the_chain_is_shown_from_its_arrival_to_its_spending() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    node.fund(&bitcoind, 1_000_000).unwrap();
    let funds = tables.ask(&node, "listfunds", json!({}));
    let output = &funds["outputs"][0];
    assert_eq!(output["amount_msat"], 1_000_000_000);
    assert_eq!(output["status"], "confirmed");
    assert_eq!(output["reserved"], false);
    let coin = format!("{}:{}", output["txid"].as_str().unwrap(), output["output"]);
    let address = tables.ask(&node, "newaddr", json!([]))["p2tr"].clone();
    let sent = tables.ask(
        &node,
        "withdraw",
        json!({"destination": address, "satoshi": 400_000, "feerate": "1000perkb", "utxos": [coin]}),
    );
    let shown = tables.ask(&node, "listfunds", json!({}));
    let outputs = shown["outputs"].as_array().unwrap();
    assert!(
        outputs.iter().all(|o| o["status"] == "unconfirmed"),
        "{shown}"
    );
    assert!(outputs.iter().all(|o| o["txid"] == sent["txid"]), "{shown}");
    let spent = tables.ask(&node, "listfunds", json!({"spent": true}));
    let gone = |o: &Value| o["status"] == "spent" && o["txid"] == output["txid"];
    assert!(
        spent["outputs"].as_array().unwrap().iter().any(gone),
        "{spent}"
    );
    bitcoind.mine(1).unwrap();
    node.wait_for("the withdrawal confirms", |node| {
        Ok((node.onchain_msat(true)? > 999_000_000).then_some(()))
    })
    .unwrap();
    let all = json!({"destination": address, "satoshi": "all", "feerate": "slow"});
    let swept = tables.ask(&node, "withdraw", all);
    assert!(
        bitcoind
            .mempool()
            .unwrap()
            .contains(&swept["txid"].as_str().unwrap().to_owned())
    );
    let left = tables.ask(&node, "listfunds", json!({}));
    assert_eq!(left["outputs"].as_array().unwrap().len(), 1, "{left}");
}

/// All that lists something, for both sides.
fn ask_lists(tables: &Interface, network: &Network) {
    for node in &network.nodes {
        for method in ["getinfo", "listfunds", "listpeers", "listpeerchannels"] {
            tables.ask(node, method, json!({}));
        }
        tables.ask(node, "listpeers", json!({"level": "debug"}));
        for method in [
            "listclosedchannels",
            "listpays",
            "listsendpays",
            "listinvoices",
            "listtransactions",
            "bkpr-listaccountevents",
            "bkpr-listbalances",
            "bkpr-listincome",
            "bkpr-channelsapy",
        ] {
            tables.ask(node, method, json!({}));
        }
        tables.ask(node, "bkpr-report", json!(["{tag}"]));
        tables.ask(node, "bkpr-dumpincomecsv", json!(["koinly", "income.csv"]));
    }
}

#[test]
fn a_channels_life_is_shown_as_in_the_table_from_connect_to_close() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let tables = Interface::load();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    alice.fund(&network.bitcoind, 1_000_000).unwrap();
    connect_and_ping(&tables, alice, bob);
    let opened = tables.ask(
        alice,
        "fundchannel",
        json!({"id": bob.id().unwrap(), "amount": "500000sat", "push_msat": "100000sat", "feerate": "253perkw"}),
    );
    assert_eq!(states(alice), ["CHANNELD_AWAITING_LOCKIN"]);
    ask_lists(&tables, &network);
    let info = alice.rpc("getinfo", json!({})).unwrap();
    assert_eq!(
        (&info["num_pending_channels"], &info["num_peers"]),
        (&json!(1), &json!(1))
    );
    network.mine(6).unwrap();
    alice.wait_for_normal(bob).unwrap();
    bob.wait_for_normal(alice).unwrap();
    ask_lists(&tables, &network);
    let info = bob.rpc("getinfo", json!({})).unwrap();
    assert_eq!(info["num_active_channels"], 1);
    select_channel(&tables, alice, &opened["channel_id"]);
    pay_both_ways(&tables, alice, bob);
    ask_lists(&tables, &network);
    close_and_bury(&tables, &network, &opened["channel_id"]);
}

fn connect_and_ping(tables: &Interface, alice: &Node, bob: &Node) {
    let id = bob.id().unwrap();
    let at = format!("{id}@127.0.0.1:{}", bob.port());
    let connected = tables.ask(alice, "connect", json!([at]));
    assert_eq!(connected["direction"], "out");
    assert_eq!(connected["id"], id);
    let again = tables.ask(alice, "connect", json!({"id": id}));
    assert_eq!(again, connected);
    for (params, length) in [
        (json!([id]), 132),
        (json!([id, 0, 0]), 4),
        (json!({"id": id, "len": 1000, "pongbytes": 2000}), 2004),
        (json!([id, 1, 65535]), 0),
    ] {
        assert_eq!(tables.ask(alice, "ping", params)["totlen"], length);
    }
    assert_eq!(tables.ask(alice, "disconnect", json!([id])), json!({}));
    let gone = until("the connection is gone", || {
        let peers = alice.rpc("listpeers", json!([id]))?;
        Ok((peers["peers"] == json!([])).then_some(()))
    });
    gone.unwrap();
    // By the address that it was reached at before.
    tables.ask(alice, "connect", json!([id]));
}

/// Each of its three names finds the channel.
fn select_channel(tables: &Interface, node: &Node, channel_id: &Value) {
    let all = tables.ask(node, "listpeerchannels", json!({}));
    let channel = &all["channels"][0];
    assert_eq!(&channel["channel_id"], channel_id);
    for by in [
        json!({"id": channel["peer_id"]}),
        json!({"short_channel_id": channel["short_channel_id"]}),
        json!({"channel_id": channel_id}),
    ] {
        let found = tables.ask(node, "listpeerchannels", by);
        assert_eq!(found["channels"].as_array().unwrap().len(), 1);
    }
    let none = tables.ask(
        node,
        "listpeerchannels",
        json!({"channel_id": "00".repeat(32)}),
    );
    assert_eq!(none, json!({"channels": []}));
}

fn pay_both_ways(tables: &Interface, alice: &Node, bob: &Node) {
    for (from, to, label) in [(alice, bob, "there"), (bob, alice, "back")] {
        let text = bolt11(to, json!(12_345), label);
        let paid = tables.ask(from, "pay", json!([text]));
        assert_eq!(paid["amount_msat"], 12_345);
        assert_eq!(paid["destination"], to.id().unwrap());
        let again = tables.ask(from, "pay", json!({"bolt11": text}));
        assert_eq!(again["payment_preimage"], paid["payment_preimage"]);
        let waited = tables.ask(to, "waitinvoice", json!([label]));
        assert_eq!(waited["payment_preimage"], paid["payment_preimage"]);
        let hash = &paid["payment_hash"];
        for params in [
            json!([text]),
            json!({"payment_hash": hash}),
            json!({"status": "complete"}),
        ] {
            let listed = tables.ask(from, "listpays", params.clone());
            assert_eq!(listed["pays"][0]["preimage"], paid["payment_preimage"]);
            assert!(listed["pays"][0]["number_of_parts"].is_null());
            let parts = tables.ask(from, "listsendpays", params);
            assert_eq!(&parts["payments"][0]["payment_hash"], hash);
            assert!(parts["payments"][0]["partid"].is_null());
        }
        for status in ["pending", "failed"] {
            let none = tables.ask(from, "listpays", json!({"status": status}));
            assert_eq!(none, json!({"pays": []}));
        }
    }
}

/// Its events and costs stay, and so do its transactions.
fn books_of_a_closed_channel(tables: &Interface, node: &Node, id: &Value, close: &str) {
    let events = tables.ask(node, "bkpr-listaccountevents", json!([id]));
    let events = events["events"].as_array().unwrap();
    let tagged = |tag: &str| events.iter().find(|event| event["tag"] == tag);
    assert_eq!(tagged("channel_open").unwrap()["credit_msat"], 500_000_000);
    assert_eq!(tagged("pushed").unwrap()["debit_msat"], 100_000_000);
    assert_eq!(tagged("channel_close").unwrap()["debit_msat"], 400_000_000);
    assert_eq!(tagged("channel_close").unwrap()["txid"], close);
    let paid = events
        .iter()
        .find(|event| event["tag"] == "invoice")
        .unwrap();
    let by_payment = json!({"payment_id": paid["payment_id"]});
    let found = tables.ask(node, "bkpr-listaccountevents", by_payment);
    assert_eq!(found["events"][0]["tag"], "invoice");
    let external = tables.ask(node, "bkpr-listaccountevents", json!(["external"]));
    assert!(
        external["events"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["origin"].is_string())
    );
    let accounts = tables.ask(node, "bkpr-listbalances", json!({}));
    let account = &accounts["accounts"][1];
    assert_eq!(&account["account"], id);
    assert_eq!(account["account_resolved"], true);
    let txs = tables.ask(node, "bkpr-inspect", json!({"account": id}));
    assert_eq!(txs["txs"].as_array().unwrap().len(), 2, "{txs:#}");
    let all = tables.ask(node, "listtransactions", json!({}));
    let hashes = all["transactions"].as_array().unwrap();
    assert!(hashes.iter().any(|tx| tx["hash"] == close));
    let none = json!({"start_time": 4_000_000_000_u32});
    assert_eq!(
        tables.ask(node, "bkpr-listincome", none),
        json!({"income_events": []})
    );
    let unknown = "00".repeat(32);
    for (method, params, code) in [
        ("bkpr-inspect", json!(["wallet"]), -3),
        ("bkpr-inspect", json!([unknown]), -3),
        ("bkpr-listaccountevents", json!([unknown]), -32602),
        ("bkpr-listaccountevents", json!([id, unknown]), -32602),
        (
            "bkpr-listaccountevents",
            json!({"payment_id": "00"}),
            -32602,
        ),
    ] {
        refused(node, method, params, code);
    }
}

fn close_and_bury(tables: &Interface, network: &Network, channel_id: &Value) {
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let closed = tables.ask(alice, "close", json!([channel_id]));
    assert_eq!(closed["type"], "mutual");
    assert_eq!(closed["txids"].as_array().unwrap().len(), 1);
    let txid = closed["txids"][0].as_str().unwrap().to_owned();
    network.bitcoind.wait_for_mempool(1).unwrap();
    assert!(network.bitcoind.mempool().unwrap().contains(&txid));
    ask_lists(tables, network);
    network.mine(1).unwrap();
    alice
        .wait_for("the close is seen", |node| {
            Ok((states(node) == ["ONCHAIN"]).then_some(()))
        })
        .unwrap();
    ask_lists(tables, network);
    network.mine(100).unwrap();
    for node in [alice, bob] {
        node.wait_for("the channel is forgotten", |node| {
            Ok(states(node).is_empty().then_some(()))
        })
        .unwrap();
    }
    let all = tables.ask(alice, "listclosedchannels", json!({}));
    let channel = &all["closedchannels"][0];
    assert_eq!(&channel["channel_id"], channel_id);
    assert_eq!(
        (&channel["opener"], &channel["closer"]),
        (&json!("local"), &json!("local"))
    );
    assert_eq!(channel["close_cause"], "user");
    assert_eq!(channel["total_msat"], 500_000_000);
    assert_eq!(channel["final_to_us_msat"], 400_000_000);
    let by_peer = json!({"id": bob.id().unwrap()});
    assert_eq!(tables.ask(alice, "listclosedchannels", by_peer), all);
    let by_other = json!({"id": alice.id().unwrap()});
    let none = tables.ask(alice, "listclosedchannels", by_other);
    assert_eq!(none, json!({"closedchannels": []}));
    assert_eq!(channel["last_commitment_txid"], closed["txids"][0]);
    assert!(channel["last_commitment_fee_msat"].as_u64() > Some(0));
    books_of_a_closed_channel(tables, alice, channel_id, &txid);
    let theirs = tables.ask(bob, "listclosedchannels", json!({}));
    assert_eq!(theirs["closedchannels"][0]["closer"], "remote");
    ask_lists(tables, network);
}
