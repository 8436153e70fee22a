//! Requests and replies whatever the command: ids, unknown commands, filters, notifications.

use super::interface::{refusal, refused};
use blackbox::rpc::Connection;
use blackbox::{Bitcoind, Network, Node};
use serde_json::{Value, json};

fn connection(node: &Node) -> Connection {
    node.client().connect("test").unwrap()
}

fn say(connection: &mut Connection, request: &str) -> Value {
    connection.send_raw(request.as_bytes()).unwrap();
    connection.read("test").unwrap()
}

#[test]
fn ids_come_back_as_they_were_sent() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let mut connection = connection(&node);
    for id in [
        "1",
        "-7",
        "1.50",
        "18446744073709551616",
        "\"x\"",
        "\"cli:getinfo#1/a \\\"b\\\" \\u00e9\"",
        "\"\"",
        "null",
    ] {
        let request = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"getlog\",\"params\":[\"broken\"]}}"
        );
        let reply = say(&mut connection, &request);
        let sent: Value = serde_json::from_str(id).unwrap();
        assert_eq!(reply["id"], sent, "{reply}");
        assert_eq!(reply["jsonrpc"], "2.0");
        assert!(reply["result"].is_object(), "{reply}");
    }
}

#[test]
fn malformed_requests_have_cln_s_codes_and_the_connection_goes_on() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let mut connection = connection(&node);
    for (request, code, id) in [
        (r#"{"jsonrpc":"2.0","id":3,"params":[]}"#, -32600, json!(3)),
        (
            r#"{"jsonrpc":"2.0","id":"4","method":"getinfo"}"#,
            -32600,
            json!("4"),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"getinfo","params":[]}"#,
            -32600,
            Value::Null,
        ),
        (
            r#"{"jsonrpc":"2.0","id":6,"method":"nonesuch","params":[]}"#,
            -32601,
            json!(6),
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"getinfo","params":"x"}"#,
            -32602,
            json!(7),
        ),
        // What does not even say that it is JSON-RPC ends the connection.
        (
            r#"{"id":5,"method":"getinfo","params":[]}"#,
            -32600,
            Value::Null,
        ),
    ] {
        let reply = say(&mut connection, request);
        assert_eq!(reply["error"]["code"], code, "{request}: {reply}");
        assert_eq!(reply["id"], id, "{request}: {reply}");
        assert!(reply["error"]["message"].is_string());
    }
    let message = refused(&node, "nonesuch", json!([]), -32601);
    assert_eq!(message, "Unknown command 'nonesuch'");
}

#[test]
fn a_batch_in_an_array_is_refused() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let reply = say(
        &mut connection(&node),
        r#"[{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[]}]"#,
    );
    assert_eq!(reply["error"]["code"], -32600);
    assert_eq!(reply["id"], Value::Null);
}

#[test]
fn requests_may_be_sent_without_waiting_for_replies() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let mut connection = connection(&node);
    let all: String = (0..200)
        .map(|n| {
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{n},\"method\":\"newaddr\",\"params\":{{}}}}")
        })
        .collect();
    connection.send_raw(all.as_bytes()).unwrap();
    let mut seen: Vec<u64> = (0..200)
        .map(|_| connection.read("newaddr").unwrap())
        .map(|reply| {
            assert!(reply["result"]["p2tr"].is_string(), "{reply}");
            reply["id"].as_u64().unwrap()
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<u64>>());
}

#[test]
fn a_filter_leaves_of_a_reply_what_it_names() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let mut connection = connection(&node);
    let mut filtered = |method: &str, filter: Value| {
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": method, "params": {}, "filter": filter,
        });
        say(&mut connection, &request.to_string())
    };
    let id = node.id().unwrap();
    let reply = filtered(
        "getinfo",
        json!({"id": true, "our_features": {"init": true}}),
    );
    assert_eq!(reply["result"]["id"], id);
    assert_eq!(reply["result"].as_object().unwrap().len(), 2, "{reply}");
    let features = reply["result"]["our_features"].as_object().unwrap();
    assert_eq!(features.len(), 1, "{reply}");
    let reply = filtered("getinfo", json!({"binding": [{"port": true}]}));
    assert_eq!(
        reply["result"],
        json!({"binding": [{"port": node.port()}]}),
        "{reply}"
    );
    let reply = filtered("getinfo", json!("id"));
    assert_eq!(reply["error"]["code"], -32602);
    let reply = filtered("nonesuch", json!({"id": true}));
    assert_eq!(reply["error"]["code"], -32601);
}

/// Everything that comes until the reply, the reply last.
fn until_reply(connection: &mut Connection, method: &str, params: Value) -> Vec<Value> {
    let request = json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params});
    connection.send_raw(request.to_string().as_bytes()).unwrap();
    let mut said = Vec::new();
    loop {
        said.push(connection.read(method).unwrap());
        if said.last().unwrap()["id"] == method {
            return said;
        }
    }
}

#[test]
fn notifications_tell_who_enabled_them_how_opening_and_closing_go() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    let [alice, bob] = network.nodes.as_slice() else {
        unreachable!()
    };
    alice.fund(&network.bitcoind, 2_000_000).unwrap();
    alice.connect(bob).unwrap();
    let (mut quiet, mut told) = (connection(alice), connection(alice));
    let enabled = told.call("notifications", json!({"enable": true})).unwrap();
    assert_eq!(enabled, json!({}));
    let open = json!({"id": bob.id().unwrap(), "amount": 300_000});
    let said = until_reply(&mut told, "fundchannel", open.clone());
    let (reply, before) = said.split_last().unwrap();
    assert!(reply["result"]["txid"].is_string(), "{reply}");
    let progress: Vec<u64> = before
        .iter()
        .filter(|n| n["method"] == "progress")
        .map(|n| {
            assert_eq!(n["params"]["id"], "fundchannel");
            assert!(n["id"].is_null(), "a notification has no id: {n}");
            assert!(n["params"]["num"].as_u64() < n["params"]["total"].as_u64());
            n["params"]["num"].as_u64().unwrap()
        })
        .collect();
    assert!(progress.len() > 1 && progress.is_sorted(), "{before:?}");
    assert_eq!(until_reply(&mut quiet, "fundchannel", open).len(), 1);
    close_while_offline(&network, &mut told, reply["result"]["channel_id"].clone());
}

fn close_while_offline(network: &Network, told: &mut Connection, channel: Value) {
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    network.mine(6).unwrap();
    alice.wait_for_normal(bob).unwrap();
    let bob_id = bob.id().unwrap();
    let refused = refusal(alice, "disconnect", json!({"id": bob_id}));
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            -1,
            "Peer has (at least one) channel in state CHANNELD_NORMAL"
        )
    );
    for process in bob.processes() {
        process.kill9();
    }
    alice
        .wait_for("bob is gone", |node| {
            let peers = node.rpc("listpeers", json!({"id": bob_id}))?;
            Ok((peers["peers"][0]["connected"] == false).then_some(()))
        })
        .unwrap();
    let said = until_reply(
        told,
        "close",
        json!({"id": channel, "unilateraltimeout": 1}),
    );
    let (reply, before) = said.split_last().unwrap();
    assert_eq!(reply["result"]["type"], "unilateral", "{reply}");
    let messages: Vec<&str> = before
        .iter()
        .filter(|n| n["method"] == "message" && n["params"]["level"] == "info")
        .filter_map(|n| n["params"]["message"].as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "peer is offline, will negotiate once they reconnect (1 seconds before unilateral close).",
            "Timed out, forcing close."
        ]
    );
}
