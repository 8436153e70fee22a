//! Thefts of what is on chain, and of what the node key signs.

use bitcoin::hashes::{Hash, sha256, sha256d};
use bitcoin::{OutPoint, ScriptBuf, Txid};
use hsm_messages::edges::{HsmGossip, HsmWallet};
use hsm_messages::{Role, gossip, wallet};
use ipc_transport::blocking::UpperConn;
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, SECP256K1};
use wire::{
    BlockDelta, Body, ChainHash, ChannelUpdate, MilliSatoshi, Satoshi, ShortChannelId, Side,
};

use crate::link::{VALUE, setup};
use crate::node::CHAIN;
use crate::world::{OUT, World};

pub type Wallet = UpperConn<HsmWallet>;

pub fn wallet(world: &mut World) -> (Wallet, ScriptBuf) {
    let mut conn = world.victim.mint::<HsmWallet>(Role::Wallet, None);
    match conn.call(&wallet::Request::GetAddress).unwrap() {
        wallet::Reply::Address { p2wpkh, .. } => (conn, p2wpkh),
        other => panic!("no address: {other:?}"),
    }
}

pub fn outpoint(n: u8) -> OutPoint {
    OutPoint {
        txid: Txid::from_byte_array([n; 32]),
        vout: 0,
    }
}

/// Coins by number and value; the last index that was given has them.
pub fn spend(coins: &[(u8, u64)], to: &ScriptBuf, value: u64) -> wallet::Request {
    let input = |(n, value): &(u8, u64)| wallet::SpendInput {
        outpoint: outpoint(*n),
        value: Satoshi(*value),
        sequence: 0xffff_fffd,
        key: wallet::WalletKey {
            index: 3,
            kind: wallet::AddressKind::P2wpkh,
        },
    };
    let output = wallet::SpendOutput {
        value: Satoshi(value),
        script: to.clone(),
    };
    wallet::Request::Sign {
        spend: wallet::Spend {
            locktime: 0,
            inputs: coins.iter().map(input).collect(),
            outputs: vec![output],
        },
    }
}

#[test]
fn a_coins_amount_is_not_lied_about_over_several_calls() {
    let mut world = World::new();
    let (mut conn, ours) = wallet(&mut world);
    // A P2WPKH signature commits to its own input's amount alone: two calls, each with one true and
    // one small amount, would give two signatures whose transaction pays the rest as its fee.
    let first = spend(&[(1, 50_000), (2, 1_000)], &ours, 50_500);
    let signed = conn.call(&first).unwrap();
    assert!(matches!(signed, wallet::Reply::Signed { .. }), "{signed:?}");
    let second = spend(&[(1, 1_000), (2, 50_000)], &ours, 50_500);
    let reply = conn.call(&second).unwrap();
    world.was_refused(&reply, "W3", "the other way round");
    world.restart();
    let mut conn = world.victim.mint::<HsmWallet>(Role::Wallet, None);
    let reply = conn.call(&second).unwrap();
    world.was_refused(&reply, "W3", "after a crash");
    let reply = conn
        .call(&spend(&[(3, 1_000), (3, 1_000)], &ours, 1_500))
        .unwrap();
    world.was_refused(&reply, "W3", "one coin twice");
    let reply = conn.call(&spend(&[(3, 1_000)], &ours, 1_001)).unwrap();
    world.was_refused(&reply, "W2", "more than there is");
    world.serves_honest_channels();
}

#[test]
fn a_channel_is_not_funded_before_it_can_be_closed() {
    let mut world = World::new();
    let (mut conn, _) = wallet(&mut world);
    let peer = world.ids[1];
    let new = world.victim.new_channel(peer);
    let mut chan = world.victim.chan(new.channel);
    let terms = setup(Side::Local, &new, &world.links[OUT].theirs.new);
    let script = terms.funding_script_pubkey();
    let setup = hsm_messages::chan::Request::Setup { setup: terms };
    assert_eq!(chan.call(&setup).unwrap(), hsm_messages::chan::Reply::Done);
    let request = spend(&[(1, VALUE.0 + 1_000)], &script, VALUE.0);
    let reply = conn.call(&request).unwrap();
    world.was_refused(&reply, "W6", "the peer would hold our coins to ransom");
    world.serves_honest_channels();
}

/// An honest update of ours of channel OUT.
fn facts(world: &World) -> gossip::ChannelUpdateFacts {
    let [ours, theirs] = world.ids.map(|id| id.0.serialize());
    gossip::ChannelUpdateFacts {
        chain_hash: CHAIN,
        scid: ShortChannelId::new(100, 2, 1).unwrap(),
        message_flags: 1,
        channel_flags: u8::from(ours > theirs),
        cltv_expiry_delta: BlockDelta(34),
        htlc_minimum: MilliSatoshi(1),
        fee_base: MilliSatoshi(1000),
        fee_proportional_millionths: 10,
        htlc_maximum: MilliSatoshi(5_000_000),
    }
}

fn sign_update(world: &mut World, update: gossip::ChannelUpdateFacts) -> gossip::Reply {
    let mut conn = world.victim.mint::<HsmGossip>(Role::Gossip, None);
    let channel = world.links[OUT].ours.new.channel;
    let request = gossip::Request::SignChannelUpdate { channel, update };
    conn.call(&request).unwrap()
}

#[test]
fn gossip_does_not_fake_another_chain_the_peers_direction_or_a_fee_that_is_none() {
    let mut world = World::new();
    type Change = fn(&mut gossip::ChannelUpdateFacts);
    let wrong: [(&str, Change); 6] = [
        ("G1", |f| f.chain_hash = ChainHash([1; 32])),
        ("G1", |f| f.channel_flags ^= 1),
        ("G3", |f| f.fee_base = MilliSatoshi(VALUE.0 * 1000 + 1)),
        ("G3", |f| f.fee_proportional_millionths = 10_000_001),
        ("G3", |f| f.cltv_expiry_delta = BlockDelta(2017)),
        ("G3", |f| f.htlc_maximum = MilliSatoshi(VALUE.0 * 1000 + 1)),
    ];
    for (rule, change) in wrong {
        let mut update = facts(&world);
        change(&mut update);
        let reply = sign_update(&mut world, update);
        world.was_refused(&reply, rule, "not ours to say");
    }
    world.serves_honest_channels();
}

/// What is signed of an update, without the digest.
fn signed_bytes(
    facts: gossip::ChannelUpdateFacts,
    timestamp: u32,
    signature: Signature,
) -> Vec<u8> {
    let update = ChannelUpdate {
        signature,
        chain_hash: facts.chain_hash,
        short_channel_id: facts.scid,
        timestamp,
        message_flags: facts.message_flags,
        channel_flags: facts.channel_flags,
        cltv_expiry_delta: facts.cltv_expiry_delta,
        htlc_minimum_msat: facts.htlc_minimum,
        fee_base_msat: 1000,
        fee_proportional_millionths: facts.fee_proportional_millionths,
        htlc_maximum_msat: facts.htlc_maximum,
        rest: vec![],
    };
    update.to_bytes()[ChannelUpdate::SIGNED_FROM..].to_vec()
}

#[test]
fn one_domains_signature_is_none_in_another() {
    let mut world = World::new();
    let facts = facts(&world);
    let reply = sign_update(&mut world, facts.clone());
    let gossip::Reply::Signed {
        timestamp,
        signature,
    } = reply
    else {
        panic!("not signed: {reply:?}");
    };
    let bytes = signed_bytes(facts, timestamp, signature);
    let node_id = world.ids[0].0;
    let verifies = |digest| {
        let message = Message::from_digest(digest);
        SECP256K1
            .verify_ecdsa(&message, &signature, &node_id)
            .is_ok()
    };
    assert!(
        verifies(sha256d::Hash::hash(&bytes).to_byte_array()),
        "the control"
    );
    // BOLT 11 and BOLT 12 sign one SHA-256, of other beginnings; a message has a prefix.
    assert!(
        !verifies(sha256::Hash::hash(&bytes).to_byte_array()),
        "an invoice"
    );
    let invoice = [b"lnbcrt".as_slice(), &bytes].concat();
    assert!(
        !verifies(sha256::Hash::hash(&invoice).to_byte_array()),
        "an invoice"
    );
    let text = [b"Lightning Signed Message:".as_slice(), &bytes].concat();
    assert!(
        !verifies(sha256d::Hash::hash(&text).to_byte_array()),
        "a message"
    );
    world.serves_honest_channels();
}
