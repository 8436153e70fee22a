//! Each role's answers, judged by who would receive them.

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{OutPoint, Txid};
use hsm_messages::edges::{HsmGossip, HsmInvoice, HsmNoise, HsmPay, HsmWallet};
use hsm_messages::{Role, gossip, noise, wallet};
use invoice::{Bolt11Fields, DescriptionOrHash};
use secp256k1::{Message, SECP256K1, SecretKey};
use wire::noise::{Initiator, Responder};
use wire::{
    BlockDelta, Body, ChainHash, ChannelUpdate, Feature, Features, MilliSatoshi, NodeId,
    PaymentHash, PaymentSecret, Satoshi, ShortChannelId,
};

use crate::node::{CHAIN, Node, bolt11, now};

fn secret(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

#[test]
fn k1_an_act_that_is_not_genuine_gets_no_keys() {
    let mut node = Node::new();
    let id = node.kill_and_restart().node_id;
    let mut noise = node.mint::<HsmNoise>(Role::Noise, None);
    // Made for somebody else.
    let other = NodeId(secret(3).public_key(SECP256K1));
    let (_, act1) = Initiator::new(secret(1), other.0).unwrap();
    let (_, step) = Responder::new(secret(2), id.0).act1(&act1).unwrap();
    let reply = noise.call(&noise::Request::Step { step }).unwrap();
    assert_eq!(reply, noise::Reply::BadAct);
}

#[test]
fn two_nodes_shake_hands_without_their_keys() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (id_a, id_b) = (a.kill_and_restart().node_id, b.kill_and_restart().node_id);
    let mut step = {
        let mut noise_a = a.mint::<HsmNoise>(Role::Noise, None);
        let mut noise_b = b.mint::<HsmNoise>(Role::Noise, None);
        move |of_a: bool, step| {
            let noise = if of_a { &mut noise_a } else { &mut noise_b };
            match noise.call(&noise::Request::Step { step }).unwrap() {
                noise::Reply::Step { keys } => Some(keys),
                noise::Reply::BadAct => None,
            }
        }
    };
    let (initiator, act1) = Initiator::new(secret(1), id_b.0).unwrap();
    let (responder, key_step) = Responder::new(secret(2), id_b.0).act1(&act1).unwrap();
    let (act2, responder) = responder.finish(step(false, key_step).unwrap()).unwrap();
    let (initiator, key_step) = initiator.act2(&act2).unwrap();
    let (act3, _) = initiator
        .finish(step(true, key_step).unwrap(), id_a.0)
        .unwrap();
    let (id, _) = responder.act3(&act3).unwrap();
    assert_eq!(id, id_a);
}

#[test]
fn the_wallet_signs_what_it_is_told_in_facts() {
    let mut node = Node::new();
    let mut conn = node.mint::<HsmWallet>(Role::Wallet, None);
    let wallet::Reply::Address { index, p2tr, .. } =
        conn.call(&wallet::Request::GetAddress).unwrap()
    else {
        panic!("no address");
    };
    assert_eq!(index, 0);
    let input = |n: u8, value, kind| wallet::SpendInput {
        outpoint: OutPoint {
            txid: Txid::from_byte_array([n; 32]),
            vout: 0,
        },
        value: Satoshi(value),
        sequence: 0xffff_fffd,
        key: wallet::WalletKey { index, kind },
    };
    let spend = |value| wallet::Spend {
        locktime: 100,
        inputs: vec![
            input(1, 5000, wallet::AddressKind::P2tr),
            input(2, 6000, wallet::AddressKind::P2wpkh),
        ],
        outputs: vec![wallet::SpendOutput {
            value: Satoshi(value),
            script: p2tr.clone(),
        }],
    };
    match conn
        .call(&wallet::Request::Sign {
            spend: spend(10_000),
        })
        .unwrap()
    {
        wallet::Reply::Signed { witnesses } => {
            let items: Vec<usize> = witnesses.iter().map(Vec::len).collect();
            assert_eq!(items, [1, 2]);
            assert_eq!(witnesses[0][0].len(), 64);
        }
        other => panic!("{other:?}"),
    }
    match conn
        .call(&wallet::Request::Sign {
            spend: spend(12_000),
        })
        .unwrap()
    {
        wallet::Reply::Refused(refused) => assert_eq!(refused.rule, "W2"),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.kill_and_restart().next_address, 1);
}

#[test]
fn an_invoice_names_the_node_that_signed_it() {
    use hsm_messages::invoice::{Reply, Request};
    let mut node = Node::new();
    let node_id = node.kill_and_restart().node_id;
    let mut conn = node.mint::<HsmInvoice>(Role::Invoice, None);
    let fields = |network| Bolt11Fields {
        network,
        amount: Some(MilliSatoshi(1000)),
        payment_hash: PaymentHash([1; 32]),
        payment_secret: PaymentSecret([2; 32]),
        description: DescriptionOrHash::Description("tea".to_owned()),
        timestamp: Duration::from_secs(1_700_000_000),
        expiry: Duration::from_secs(3600),
        min_final_cltv: BlockDelta(18),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::of(&[Feature::VarOnionOptin, Feature::PaymentSecret], &[]),
        metadata: None,
    };
    let ours = fields(bitcoin::Network::Regtest);
    let request = Request::SignBolt11 {
        fields: Box::new(ours.clone()),
    };
    let Reply::Signed {
        signature,
        recovery_id,
    } = conn.call(&request).unwrap()
    else {
        panic!("not signed");
    };
    let text = ours.into_string(&signature, recovery_id).unwrap();
    let parsed = invoice::parse(&text).unwrap();
    assert_eq!(parsed.payee, node_id);

    let request = Request::SignBolt11 {
        fields: Box::new(fields(bitcoin::Network::Bitcoin)),
    };
    match conn.call(&request).unwrap() {
        Reply::Refused(refused) => assert_eq!(refused.rule, "I1"),
        Reply::Signed { .. } => panic!("signed for another chain"),
    }
}

#[test]
fn a_channel_update_verifies_as_the_network_does() {
    let mut node = Node::new();
    let node_id = node.kill_and_restart().node_id;
    let mut conn = node.mint::<HsmGossip>(Role::Gossip, None);
    let facts = gossip::ChannelUpdateFacts {
        chain_hash: CHAIN,
        scid: ShortChannelId::new(100, 2, 1).unwrap(),
        timestamp: 7,
        message_flags: 1,
        channel_flags: 2,
        cltv_expiry_delta: BlockDelta(34),
        htlc_minimum: MilliSatoshi(1),
        fee_base: MilliSatoshi(1000),
        fee_proportional_millionths: 10,
        htlc_maximum: MilliSatoshi(5_000_000),
    };
    let ask = |update: gossip::ChannelUpdateFacts| gossip::Request::SignChannelUpdate { update };
    let gossip::Reply::Signed { signature } = conn.call(&ask(facts.clone())).unwrap() else {
        panic!("not signed");
    };
    let update = ChannelUpdate {
        signature,
        chain_hash: facts.chain_hash,
        short_channel_id: facts.scid,
        timestamp: facts.timestamp,
        message_flags: facts.message_flags,
        channel_flags: facts.channel_flags,
        cltv_expiry_delta: facts.cltv_expiry_delta,
        htlc_minimum_msat: facts.htlc_minimum,
        fee_base_msat: 1000,
        fee_proportional_millionths: 10,
        htlc_maximum_msat: facts.htlc_maximum,
        rest: vec![],
    };
    let hash = sha256d::Hash::hash(&update.to_bytes()[ChannelUpdate::SIGNED_FROM..]);
    let message = Message::from_digest(hash.to_byte_array());
    SECP256K1
        .verify_ecdsa(&message, &signature, &node_id.0)
        .unwrap();

    let wrong = [
        gossip::ChannelUpdateFacts {
            chain_hash: ChainHash([1; 32]),
            ..facts.clone()
        },
        gossip::ChannelUpdateFacts {
            fee_base: MilliSatoshi(1 << 32),
            ..facts
        },
    ];
    for update in wrong {
        match conn.call(&ask(update)).unwrap() {
            gossip::Reply::Refused(refused) => assert_eq!(refused.rule, "G1"),
            gossip::Reply::Signed { .. } => panic!("signed"),
        }
    }
}

#[test]
fn only_a_valid_invoice_of_this_chain_that_has_not_expired_is_approved() {
    use hsm_messages::pay::{Reply, Request};
    let mut node = Node::new();
    let mut conn = node.mint::<HsmPay>(Role::Pay, None);
    let (hash, amount) = (PaymentHash([1; 32]), MilliSatoshi(5_000));
    let mut ask = |invoice: &str, amount| {
        let request = Request::ApproveBolt11 {
            invoice: invoice.to_owned(),
            amount,
            max_fee: MilliSatoshi(10),
        };
        match conn.call(&request).unwrap() {
            Reply::Approved => "approved".to_owned(),
            Reply::Refused(refused) => refused.rule,
        }
    };
    let good = bolt11(hash, amount, now());
    let old = bolt11(hash, amount, now() - Duration::from_secs(3605));
    assert_eq!(ask(&good, Some(amount)), "A1", "two amounts");
    assert_eq!(ask(&old, None), "A1", "expired");
    assert_eq!(ask(&good[..good.len() - 1], None), "A1");
    assert_eq!(ask("", None), "A1");
    assert_eq!(ask(&good, None), "approved");
    assert_eq!(ask(&good, None), "approved");
}
