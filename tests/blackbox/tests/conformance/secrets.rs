//! makesecret, signmessage and checkmessage: what hsmd does for users by name.

use super::interface::{Interface, refusal, refused};
use blackbox::{Bitcoind, Network, Node, Options};
use serde_json::json;

const INVALID_PARAMS: i64 = -32602;

// Core Lightning 090f4b0e6981d458b07a8e95d3eccf5a7c0b9542, tests/test_misc.py, test_makesecret: what
// its node `lightning-1` answers, whose mnemonic its test framework makes from that name.
#[test]
fn makesecret_gives_what_core_lightning_gives_for_the_same_seed() {
    const SECRET: &str = "498a16a6c6b82b7280de7f5b0afa0478b29d3a1cbe52c376249cf46abb6c03da";
    let words =
        "hockey enroll sure trip track rescue original plate abandon abandon abandon account";
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::prepare(&bitcoind, "alice", Options::default()).unwrap();
    std::fs::create_dir_all(node.network_dir()).unwrap();
    let file = [&[0; 32], words.as_bytes()].concat();
    std::fs::write(node.network_dir().join("hsm_secret"), file).unwrap();
    node.launch().unwrap();
    let tables = Interface::load();
    for params in [
        json!(["73636220736563726574"]),
        json!({"hex": "73636220736563726574"}),
        json!({"string": "scb secret"}),
        json!([null, "scb secret"]),
    ] {
        let reply = tables.ask(&node, "makesecret", params);
        assert_eq!(reply, json!({ "secret": SECRET }));
    }
    for other in ["73636220736563726575", "736362207365637265", ""] {
        let reply = tables.ask(&node, "makesecret", json!([other]));
        assert_ne!(reply["secret"], SECRET);
    }
    for wrong in [json!([]), json!(["00", "text"]), json!(["xyz"])] {
        refused(&node, "makesecret", wrong, INVALID_PARAMS);
    }
    let long = "00".repeat(65_536);
    refused(&node, "makesecret", json!([long]), -1);
}

// Core Lightning's tests/test_misc.py, test_signmessage: what other people's nodes have signed.
const SIGNED: [[&str; 3]; 3] = [
    [
        "is this compatible?",
        "rbgfioj114mh48d8egqx8o9qxqw4fmhe8jbeeabdioxnjk8z3t1ma1hu1fiswpakgucwwzwo6ofycffbsqusqdimugbh41n1g698hr9t",
        "02b80cabdf82638aac86948e4c06e82064f547768dcef977677b9ea931ea75bab5",
    ],
    [
        "hi",
        "rnrphcjswusbacjnmmmrynh9pqip7sy5cx695h6mfu64iac6qmcmsd8xnsyczwmpqp9shqkth3h4jmkgyqu5z47jfn1q7gpxtaqpx4xg",
        "02de60d194e1ca5947b59fe8e2efd6aadeabfb67f2e89e13ae1a799c1e08e4a43b",
    ],
    [
        "hi",
        "ry8bbsopmduhxy3dr5d9ekfeabdpimfx95kagdem7914wtca79jwamtbw4rxh69hg7n6x9ty8cqk33knbxaqftgxsfsaeprxkn1k48p3",
        "022b8ece90ee891cbcdac0c1cc6af46b73c47212d8defbce80265ac81a6b794931",
    ],
];

#[test]
fn checkmessage_reads_what_other_nodes_signed() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    for [message, zbase, key] in SIGNED {
        let reply = tables.ask(&node, "checkmessage", json!([message, zbase, key]));
        assert_eq!(reply, json!({"verified": true, "pubkey": key}));
        let changed = format!("{message}modified");
        let reply = node.rpc("checkmessage", json!([changed, zbase, key]));
        assert_eq!(reply.unwrap()["verified"], false);
        let unknown = refusal(&node, "checkmessage", json!([message, zbase]));
        assert_eq!(unknown.code, 1301);
        assert_eq!(unknown.message, "pubkey not found in the graph");
        assert_eq!(unknown.data, json!({ "claimed_key": key }));
    }
    let [message, zbase, _] = SIGNED[0];
    for (wrong, text) in [
        ("wrong zbase format", "zbase is not valid zbase32"),
        (&zbase[..96], "zbase is too short"),
        (&format!("{zbase}yyyyyyyy"), "zbase is too long"),
        (&format!("y{}", &zbase[1..]), "cannot parse zbase signature"),
    ] {
        let params = json!([message, wrong]);
        let said = refused(&node, "checkmessage", params, INVALID_PARAMS);
        assert_eq!(said, text);
    }
}

#[test]
fn what_a_node_signs_is_checked_by_another() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let tables = Interface::load();
    let id = alice.id().unwrap();
    for message in ["this is a test!", "", "Grüße"] {
        let signed = tables.ask(alice, "signmessage", json!({ "message": message }));
        let params = json!({"message": message, "zbase": signed["zbase"], "pubkey": id});
        let reply = tables.ask(bob, "checkmessage", params);
        assert_eq!(reply, json!({"verified": true, "pubkey": id}));
        let params = json!([message, signed["zbase"]]);
        let ours = tables.ask(alice, "checkmessage", params);
        assert_eq!(ours["pubkey"], json!(id));
    }
    let long = "a".repeat(65_536);
    refused(alice, "signmessage", json!([long]), INVALID_PARAMS);
}
