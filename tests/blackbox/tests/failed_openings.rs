//! Openings that come to nothing, at each point until the peer's signature is there: the opener knows
//! of no channel afterwards, its coins are free, and it starts again as if nothing had been. And what an accepter
//! makes of a channel that its opener has given up.

#[path = "failed_openings/opener.rs"]
mod opener;

use bitcoin::hashes::Hash;
use bitcoin::{Address, Network as Chain, OutPoint, ScriptBuf, Txid};
use blackbox::node::Options;
use blackbox::raw_peer::RawPeer;
use blackbox::{Bitcoind, Client, Network, Node, RpcError};
use opener::Opener;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use serde_json::{Value, json};
use std::thread::JoinHandle;
use wire::{
    AcceptChannel, BlockDelta, ChannelId, Error, FundingCreated, FundingSigned, Message,
    MilliSatoshi, OpenChannel, Satoshi,
};

const FUNDED: u64 = 500_000;
const CHANNEL: u64 = 400_000;

/// A node that opens a channel with a peer that we are.
struct Opening {
    bitcoind: Bitcoind,
    alice: Node,
    peer: RawPeer,
    result: JoinHandle<Result<Value, RpcError>>,
}

fn opening() -> Opening {
    let bitcoind = Bitcoind::start().unwrap();
    let alice = Node::start(&bitcoind, "alice").unwrap();
    alice.fund(&bitcoind, FUNDED).unwrap();
    let peer = RawPeer::connect_and_greet(&alice).unwrap();
    let result = fundchannel(alice.client(), peer.id);
    Opening {
        bitcoind,
        alice,
        peer,
        result,
    }
}

fn fundchannel(client: Client, id: PublicKey) -> JoinHandle<Result<Value, RpcError>> {
    // The handshake may be over here before the node has heard of it.
    blackbox::until("the node counts the peer as connected", || {
        let peers = client.call("listpeers", json!([id.to_string()]))?;
        Ok((peers["peers"][0]["connected"] == true).then_some(()))
    })
    .unwrap();
    let params = json!({"id": id.to_string(), "amount": CHANNEL});
    std::thread::spawn(move || client.call("fundchannel", params))
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_slice(&[number; 32]).unwrap()
}

fn key(number: u8) -> PublicKey {
    secret(number).public_key(SECP256K1)
}

/// What an accepter would say.
fn accept(open: &OpenChannel) -> Message {
    Message::AcceptChannel(AcceptChannel {
        temporary_channel_id: open.temporary_channel_id,
        dust_limit_satoshis: Satoshi(546),
        max_htlc_value_in_flight_msat: MilliSatoshi(CHANNEL * 1000),
        channel_reserve_satoshis: Satoshi(4_000),
        htlc_minimum_msat: MilliSatoshi(0),
        minimum_depth: 1,
        to_self_delay: BlockDelta(6),
        max_accepted_htlcs: 30,
        funding_pubkey: key(1),
        revocation_basepoint: key(2),
        payment_basepoint: key(3),
        delayed_payment_basepoint: key(4),
        htlc_basepoint: key(5),
        first_per_commitment_point: key(6),
        upfront_shutdown_script: Some(Default::default()),
        channel_type: open.channel_type.clone(),
    })
}

fn open_channel(peer: &mut RawPeer) -> OpenChannel {
    let open = peer.receive_until(|message| match message {
        Message::OpenChannel(open) => Some(open),
        _ => None,
    });
    open.unwrap()
}

/// Plays the accepter until alice has signed for us; the channel's id.
fn funding_created(peer: &mut RawPeer) -> (FundingCreated, ChannelId) {
    let open = open_channel(peer);
    peer.send(&accept(&open).encode()).unwrap();
    let created = peer.receive_until(|message| match message {
        Message::FundingCreated(created) => Some(created),
        _ => None,
    });
    let created = created.unwrap();
    // BOLT 2, Definition of channel_id.
    let mut id: [u8; 32] = *created.funding_txid.as_ref();
    let [high, low] = created.funding_output_index.to_be_bytes();
    id[30] ^= high;
    id[31] ^= low;
    (created, ChannelId(id))
}

fn error(channel_id: ChannelId) -> Vec<u8> {
    let data = b"no, thanks".to_vec();
    Message::Error(Error { channel_id, data }).encode()
}

impl Opening {
    /// `fundchannel` failed with these words, and nothing is left of it, now and after a restart.
    fn came_to_nothing(mut self, words: &str) {
        let failed = self.result.join().unwrap().unwrap_err().to_string();
        assert!(failed.contains(words), "{failed}");
        drop(self.peer);
        nothing_is_left(&self.alice);
        self.alice.restart().unwrap();
        nothing_is_left(&self.alice);
        let bob = Node::start(&self.bitcoind, "bob").unwrap();
        self.alice.connect(&bob).unwrap();
        self.alice
            .open_channel(&self.bitcoind, &bob, CHANNEL, 0)
            .unwrap();
    }
}

fn nothing_is_left(alice: &Node) {
    alice
        .wait_for("it knows of no channel", |alice| {
            let channels = alice.rpc("listpeerchannels", json!({}))?;
            Ok((channels["channels"] == json!([])).then_some(()))
        })
        .unwrap();
    let funds = alice.rpc("listfunds", json!({})).unwrap();
    assert_eq!(funds["channels"], json!([]));
    let outputs = funds["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 1, "{funds}");
    assert_eq!(outputs[0]["reserved"], false, "{funds}");
    assert_eq!(outputs[0]["amount_msat"], FUNDED * 1000);
}

#[test]
fn a_peer_that_refuses_at_once() {
    let mut opening = opening();
    let open = open_channel(&mut opening.peer);
    let error = error(open.temporary_channel_id);
    opening.peer.send(&error).unwrap();
    opening.came_to_nothing("no, thanks");
}

#[test]
fn a_peer_that_refuses_when_it_could_already_close() {
    let mut opening = opening();
    let (_, id) = funding_created(&mut opening.peer);
    opening.peer.send(&error(id)).unwrap();
    opening.came_to_nothing("no, thanks");
}

#[test]
fn a_peer_that_leaves_without_signing() {
    let mut opening = opening();
    funding_created(&mut opening.peer);
    // Its connection ends; alice must not wait for it.
    let gone = RawPeer::connect(&opening.alice).unwrap();
    drop(std::mem::replace(&mut opening.peer, gone));
    opening.came_to_nothing("disconnected");
}

#[test]
fn a_peer_that_signs_something_else() {
    let mut opening = opening();
    let (created, channel_id) = funding_created(&mut opening.peer);
    let signed = FundingSigned {
        channel_id,
        signature: created.signature,
    };
    opening
        .peer
        .send(&Message::FundingSigned(signed).encode())
        .unwrap();
    opening.came_to_nothing("signature");
}

#[test]
fn a_node_that_dies_while_the_peer_hesitates() {
    let mut opening = opening();
    funding_created(&mut opening.peer);
    opening.alice.kill_all().unwrap();
    opening.alice.launch().unwrap();
    assert!(opening.result.join().unwrap().is_err());
    opening
        .alice
        .wait_for("it knows of no channel", |alice| {
            let channels = alice.rpc("listpeerchannels", json!({}))?;
            Ok((channels["channels"] == json!([])).then_some(()))
        })
        .unwrap();
    let funds = opening.alice.rpc("listfunds", json!({})).unwrap();
    assert_eq!(funds["outputs"][0]["amount_msat"], FUNDED * 1000);
    assert_eq!(funds["channels"], json!([]));
}

#[test]
fn an_accepter_forgets_a_channel_that_is_never_funded() {
    never_funded(|_, _| {});
}

#[test]
fn an_accepter_forgets_a_channel_that_is_shut_down_and_never_funded() {
    never_funded(|alice, bob| {
        alice.close(bob).unwrap();
        bob.wait_for("both have closed it", |bob| {
            Ok((states(bob) == ["CLOSINGD_COMPLETE"]).then_some(()))
        })
        .unwrap();
    });
}

#[test]
fn an_open_channel_that_is_refused_leaves_nothing() {
    let bitcoind = Bitcoind::start().unwrap();
    let bob = bob_with(&bitcoind, "--min-capacity-sat=5000000");
    let alice = Node::start(&bitcoind, "alice").unwrap();
    alice.fund(&bitcoind, FUNDED).unwrap();
    let journal = bob.network_dir().join("hsm-journal");
    bob.wait_for("it knows the newest block", |bob| {
        let height = bob.rpc("getinfo", json!({}))?["blockheight"].as_u64();
        Ok((height == Some(bitcoind.height()?)).then_some(()))
    })
    .unwrap();
    let before = std::fs::read(&journal).unwrap();
    for _ in 0..3 {
        alice.connect(&bob).unwrap();
        let params = json!({"id": bob.id().unwrap(), "amount": CHANNEL});
        let refused = alice.rpc("fundchannel", params).unwrap_err();
        assert!(refused.to_string().contains("5000000"), "{refused}");
    }
    assert!(std::fs::read(&journal).unwrap() == before, "keys were made");
}

/// `then`: what becomes of it before the blocks come.
fn never_funded(then: impl Fn(&Node, &Node)) {
    let mut network = Network::start(&["alice", "bob"]).unwrap();
    let alice = &network.nodes[0];
    alice.fund(&network.bitcoind, FUNDED).unwrap();
    // Both count from the same block.
    network.sync().unwrap();
    alice.connect(&network.nodes[1]).unwrap();
    let params = json!({"id": network.nodes[1].id().unwrap(), "amount": CHANNEL});
    let opened = alice.rpc("fundchannel", params).unwrap();
    // No miner takes the funding transaction.
    let bitcoind = &network.bitcoind;
    bitcoind.wait_for_mempool(1).unwrap();
    let unwanted = json!([opened["txid"], 0, -100_000_000]);
    bitcoind.rpc("prioritisetransaction", unwanted).unwrap();
    then(alice, &network.nodes[1]);
    let known = |bob: &Node| -> usize {
        let channels = bob.rpc("listpeerchannels", json!({})).unwrap();
        channels["channels"].as_array().unwrap().len()
    };
    // BOLT 2: the accepter forgets it after 2016 blocks, no earlier.
    bitcoind.mine(2015).unwrap();
    network.sync().unwrap();
    let bob = &network.nodes[1];
    assert_eq!(known(bob), 1);
    bitcoind.mine(1).unwrap();
    bob.wait_for("the channel is forgotten", |bob| {
        Ok((known(bob) == 0).then_some(()))
    })
    .unwrap();
    let bob = &mut network.nodes[1];
    bob.restart().unwrap();
    assert_eq!(known(bob), 0);
    assert!(!bob.log().contains("hsm-journal keeps channel"));
}

fn bob_with(bitcoind: &Bitcoind, argument: &str) -> Node {
    let options = Options {
        arguments: vec![argument.to_owned()],
        ..Options::default()
    };
    Node::start_with(bitcoind, "bob", options).unwrap()
}

/// An accepter, whose channels need three confirmations, and a peer that opens.
fn accepting() -> (Bitcoind, Node, Opener) {
    let bitcoind = Bitcoind::start().unwrap();
    let bob = bob_with(&bitcoind, "--funding-confirms=3");
    let opener = Opener::of(&bob);
    (bitcoind, bob, opener)
}

/// An output that never will be.
fn unfunded(_: &ScriptBuf) -> OutPoint {
    OutPoint {
        txid: Txid::from_byte_array(rand::random()),
        vout: 0,
    }
}

/// An output of a transaction in the mempool.
fn funded(bitcoind: &Bitcoind, script: &ScriptBuf) -> OutPoint {
    let address = Address::from_script(script, Chain::Regtest).unwrap();
    let txid = bitcoind.fund(&address.to_string(), CHANNEL).unwrap();
    let tx = bitcoind.transaction(&txid).unwrap();
    let outputs = tx["vout"].as_array().unwrap();
    let ours = |output: &Value| output["scriptPubKey"]["hex"] == script.to_hex_string();
    let txid = txid.parse().unwrap();
    let vout = outputs.iter().position(ours).unwrap().try_into().unwrap();
    OutPoint { txid, vout }
}

fn states(node: &Node) -> Vec<String> {
    let channels = node.rpc("listpeerchannels", json!({})).unwrap();
    let all = channels["channels"].as_array().unwrap().iter();
    all.map(|channel| channel["state"].as_str().unwrap().to_owned())
        .collect()
}

fn forgotten(node: &Node) {
    node.wait_for("the channel is forgotten", |node| {
        Ok(states(node).is_empty().then_some(()))
    })
    .unwrap();
}

fn closed_unilaterally(node: &Node) {
    node.wait_for("the channel is closed", |node| {
        Ok((states(node) == ["AWAITING_UNILATERAL"]).then_some(()))
    })
    .unwrap();
}

#[test]
fn an_accepter_forgets_what_its_opener_gives_up() {
    let (_bitcoind, mut bob, mut opener) = accepting();
    // More often than a peer may have channels that are pending.
    for round in 0..12 {
        let channel = opener.open(MilliSatoshi(0), unfunded);
        assert_eq!(states(&bob), ["CHANNELD_AWAITING_LOCKIN"]);
        let named = if round % 2 == 0 {
            channel
        } else {
            ChannelId::ALL
        };
        opener.peer.send(&error(named)).unwrap();
        forgotten(&bob);
    }
    bob.restart().unwrap();
    assert!(states(&bob).is_empty());
    let closed = bob.rpc("listclosedchannels", json!({})).unwrap();
    assert_eq!(closed["closedchannels"], json!([]));
    let log = bob.log();
    assert_eq!(log.matches("never funded and").count(), 12);
    assert!(!log.contains("hsm-journal keeps channel"));
}

#[test]
fn an_accepter_closes_what_it_was_given_something_in() {
    let (_bitcoind, bob, mut opener) = accepting();
    let channel = opener.open(MilliSatoshi(1_000), unfunded);
    opener.peer.send(&error(channel)).unwrap();
    closed_unilaterally(&bob);
}

#[test]
fn an_accepter_closes_what_was_in_a_block() {
    let (bitcoind, bob, mut opener) = accepting();
    let channel = opener.open(MilliSatoshi(0), |script| funded(&bitcoind, script));
    let txid = bitcoind.wait_for_mempool(1).unwrap().remove(0);
    let block = bitcoind.mine(1).unwrap().remove(0);
    bob.wait_for("the channel is confirmed", |bob| {
        let channels = bob.rpc("listpeerchannels", json!({}))?;
        let scid = &channels["channels"][0]["short_channel_id"];
        Ok(scid.is_string().then_some(()))
    })
    .unwrap();
    // Now it is in no block, and no miner takes it.
    bitcoind.rpc("invalidateblock", json!([block])).unwrap();
    let unwanted = json!([txid, 0, -100_000_000]);
    bitcoind.rpc("prioritisetransaction", unwanted).unwrap();
    bitcoind.mine(2).unwrap();
    bob.wait_for_height(bitcoind.height().unwrap()).unwrap();
    opener.peer.send(&error(channel)).unwrap();
    closed_unilaterally(&bob);
    bitcoind.wait_for_mempool(2).unwrap();
}

#[test]
fn an_accepter_that_does_not_know_the_newest_block_waits_for_it() {
    let (mut bitcoind, bob, mut opener) = accepting();
    let channel = opener.open(MilliSatoshi(0), unfunded);
    bitcoind.stop().unwrap();
    bob.wait_for("it misses bitcoind", |bob| {
        let info = bob.rpc("getinfo", json!({}))?;
        Ok(info["warning_bitcoind_sync"].is_string().then_some(()))
    })
    .unwrap();
    opener.peer.send(&error(channel)).unwrap();
    closed_unilaterally(&bob);
    bitcoind.restart().unwrap();
    forgotten(&bob);
}
