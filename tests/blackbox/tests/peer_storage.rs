//! BOLT 1, Peer storage: what is kept for a peer with a channel, and what is made of what peers give back.

use blackbox::raw_peer::RawPeer;
use blackbox::{Bitcoind, Network, Node, Options};
use secp256k1::SecretKey;
use serde_json::json;
use std::fs;
use std::time::Duration;
use wire::messages::{PeerStorage, PeerStorageRetrieval};
use wire::{ChannelReestablish, Message};

const CHANNEL: u64 = 1_000_000;
const LONG: Duration = Duration::from_secs(180);

/// A node of this seed, and its node key, as Core Lightning derives it.
fn known(bitcoind: &Bitcoind, name: &str, seed: u8) -> (Node, SecretKey) {
    let mut node = Node::prepare(bitcoind, name, Options::default()).unwrap();
    fs::create_dir_all(node.network_dir()).unwrap();
    fs::write(node.network_dir().join("hsm_secret"), [seed; 32]).unwrap();
    node.launch().unwrap();
    let mut key = [0; 32];
    wire::hkdf::hkdf(&0u32.to_le_bytes(), &[seed; 32], b"nodeid", &mut key).unwrap();
    (node, SecretKey::from_slice(&key).unwrap())
}

/// Two nodes with a channel, of which the first is stopped, and its node key.
fn pair() -> (Network, SecretKey) {
    let bitcoind = Bitcoind::start().unwrap();
    let (alice, key) = known(&bitcoind, "alice", 7);
    let bob = Node::start(&bitcoind, "bob").unwrap();
    let nodes = vec![alice, bob];
    let mut network = Network { nodes, bitcoind };
    network.open(0, 1, CHANNEL, CHANNEL * 500).unwrap();
    network.nodes[0].stop().unwrap();
    (network, key)
}

fn storage(blob: &[u8]) -> Vec<u8> {
    let blob = blob.to_vec();
    Message::PeerStorage(PeerStorage { blob }).encode()
}

fn retrieval(blob: &[u8]) -> Vec<u8> {
    let blob = blob.to_vec();
    Message::PeerStorageRetrieval(PeerStorageRetrieval { blob }).encode()
}

/// What the node gives back on a new connection, all before it speaks of a channel.
fn given_back(node: &Node, key: &SecretKey) -> Vec<Vec<u8>> {
    let mut peer = RawPeer::greet_as(node, key).unwrap();
    let mut found = Vec::new();
    loop {
        let message = peer.receive().unwrap().expect("it does not hang up");
        match Message::decode(&message).unwrap() {
            Message::PeerStorageRetrieval(PeerStorageRetrieval { blob }) => found.push(blob),
            Message::ChannelReestablish(ChannelReestablish { .. }) => return found,
            _ => {}
        }
    }
}

/// Says it, and a ping whose pong shows that it was read; then waits until lightningd has it too.
fn says(peer: &mut RawPeer, message: &[u8]) {
    peer.send(message).unwrap();
    peer.send(&[0, 18, 0, 4, 0, 0]).unwrap();
    loop {
        let message = peer.receive().unwrap().expect("it does not hang up");
        if message[..2] == [0, 19] {
            return;
        }
    }
}

#[test]
fn the_last_blob_of_a_peer_with_a_channel_is_given_back_before_its_channel_speaks() {
    let (mut network, key) = pair();
    // What alice has sent when the channel was there, sealed.
    let file = network.nodes[0].network_dir().join("emergency.recover");
    let bob = &network.nodes[1];
    assert_eq!(given_back(bob, &key), [fs::read(file).unwrap()]);
    let longest = vec![3; 65_531];
    for blob in [&b"first"[..], &[], &longest, b"last"] {
        let mut peer = RawPeer::greet_as(bob, &key).unwrap();
        says(&mut peer, &storage(blob));
        bob.wait_for("it is kept", |bob| {
            Ok((given_back(bob, &key) == [blob]).then_some(()))
        })
        .unwrap();
    }
    // It outlives a stop, though a peer has one write a minute; and a crash from then on.
    network.nodes[1].restart().unwrap();
    assert_eq!(given_back(&network.nodes[1], &key), [b"last"]);
    network.nodes[1].kill_all().unwrap();
    network.nodes[1].launch().unwrap();
    assert_eq!(given_back(&network.nodes[1], &key), [b"last"]);
    // And a new connectd.
    for process in network.nodes[1].processes_in_role("connectd") {
        process.kill9();
    }
    network.nodes[1]
        .wait_for("it is given back again", |bob| {
            let mut peers = RawPeer::greet_as(bob, &key).into_iter();
            Ok(peers.next().map(drop))
        })
        .unwrap();
    assert_eq!(given_back(&network.nodes[1], &key), [b"last"]);
}

#[test]
fn nothing_is_kept_for_a_stranger_and_what_is_too_long_is_hung_up_on() {
    let (network, key) = pair();
    let bob = &network.nodes[1];
    let before = given_back(bob, &key);
    let stranger = SecretKey::from_slice(&[9; 32]).unwrap();
    let mut peer = RawPeer::greet_as(bob, &stranger).unwrap();
    says(&mut peer, &storage(b"mine"));
    drop(peer);
    let mut peer = RawPeer::greet_as(bob, &stranger).unwrap();
    peer.send(&[0, 18, 0, 4, 0, 0]).unwrap();
    loop {
        let message = peer.receive().unwrap().expect("it does not hang up");
        assert_ne!(message[..2], [0, 9], "it was kept");
        if message[..2] == [0, 19] {
            break;
        }
    }
    // A length beyond the message's end.
    for type_num in [7, 9] {
        let mut peer = RawPeer::greet_as(bob, &key).unwrap();
        let _ = peer.send(&[0, type_num, 0xff, 0xff, 1, 2, 3]);
        peer.until_hung_up(LONG).unwrap();
    }
    assert_eq!(given_back(bob, &key), before);
}

/// Channels that restorefrompeer brings back, once the node has heard what this peer says.
fn restored(node: &Node, said: &[&[u8]]) -> Vec<String> {
    let mut peers = Vec::new();
    for blob in said {
        let mut peer = RawPeer::connect_and_greet(node).unwrap();
        says(&mut peer, &retrieval(blob));
        // Once a connection.
        says(&mut peer, &retrieval(b"more"));
        peers.push(peer);
    }
    let reply = node
        .wait_for("a peer has given something back", |node| {
            let reply = node.rpc("restorefrompeer", json!({}))?;
            Ok(reply.get("stubs").is_some().then_some(reply))
        })
        .unwrap();
    serde_json::from_value(reply["stubs"].clone()).unwrap()
}

#[test]
fn of_what_peers_give_back_the_newest_that_is_ours_counts() {
    let (mut network, _) = pair();
    let folder = network.nodes[0].network_dir();
    let file = folder.join("emergency.recover");
    let older = fs::read(&file).unwrap();
    network.nodes[0].launch().unwrap();
    let ids = |node: &Node| {
        let listed = node.rpc("listpeerchannels", json!({})).unwrap();
        let all = listed["channels"].as_array().unwrap().clone();
        let ids = all
            .iter()
            .map(|channel| channel["channel_id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<String>>()
    };
    // A second channel, to another peer, at least a second later.
    std::thread::sleep(Duration::from_millis(1100));
    let carol = Node::start(&network.bitcoind, "carol").unwrap();
    network.nodes.push(carol);
    network.open(0, 2, CHANNEL, 0).unwrap();
    let both = ids(&network.nodes[0]);
    assert_eq!(both.len(), 2);
    // Nobody but who says it here has something to give back.
    for node in &mut network.nodes {
        node.stop().unwrap();
    }
    let newer = fs::read(&file).unwrap();
    let (mut stranger, _) = known(&network.bitcoind, "stranger", 8);
    stranger.stop().unwrap();
    let theirs = fs::read(stranger.network_dir().join("emergency.recover")).unwrap();
    let mut changed = newer.clone();
    *changed.last_mut().unwrap() ^= 1;
    // Whoever comes first and whatever else is said.
    let orders: [&[&[u8]]; 2] = [
        &[b"garbage", &theirs, &changed, &older, &newer],
        &[&newer, &older, &[], &newer[..20], &changed],
    ];
    for said in orders {
        network.nodes[0].lose_all_but(&["hsm_secret"]).unwrap();
        network.nodes[0].launch().unwrap();
        let alice = &network.nodes[0];
        let mut found = restored(alice, said);
        // Until the last of them was heard, an older one may have been the newest.
        alice
            .wait_for("both are recovered", |alice| {
                if found.len() < 2 {
                    let more = alice.rpc("restorefrompeer", json!({}))?;
                    found.extend(serde_json::from_value::<Vec<String>>(
                        more["stubs"].clone(),
                    )?);
                }
                Ok((found.len() == 2).then_some(()))
            })
            .unwrap();
        let mut expected = both.clone();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        network.nodes[0].stop().unwrap();
    }
}
