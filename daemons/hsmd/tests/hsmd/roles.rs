//! Each role's answers, judged by who would receive them.

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{OutPoint, Txid};
use hsm_messages::edges::{HsmInvoice, HsmNoise, HsmPay, HsmRpc, HsmWallet};
use hsm_messages::{Role, invoice as invoice_role, noise, rpc, wallet};
use invoice::{Bolt11Fields, DescriptionOrHash};
use ipc_transport::blocking::UpperConn;
use secp256k1::ecdh::SharedSecret;
use secp256k1::{Message, SECP256K1, SecretKey};
use wire::noise::{Initiator, KeyStep, Responder};
use wire::{
    BlockDelta, Feature, Features, MilliSatoshi, NodeId, PaymentHash, PaymentSecret, Satoshi,
};

use crate::node::{Node, bolt11, now};

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

pub fn fields(network: bitcoin::Network, payment_hash: PaymentHash) -> Bolt11Fields {
    Bolt11Fields {
        network,
        amount: Some(MilliSatoshi(50_000_000)),
        payment_hash,
        payment_secret: PaymentSecret([2; 32]),
        description: DescriptionOrHash::Description("tea".to_owned()),
        timestamp: Duration::from_secs(1_700_000_000),
        expiry: Duration::from_secs(1 << 30),
        min_final_cltv: BlockDelta(18),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::of(&[Feature::VarOnionOptin, Feature::PaymentSecret], &[]),
        metadata: None,
    }
}

pub fn new_preimage(conn: &mut UpperConn<HsmInvoice>) -> PaymentHash {
    match conn.call(&invoice_role::Request::NewPreimage).unwrap() {
        invoice_role::Reply::NewPreimage { payment_hash } => payment_hash,
        other => panic!("no hash: {other:?}"),
    }
}

/// The rule that an invoice request breaks.
pub fn invoice_refused(
    conn: &mut UpperConn<HsmInvoice>,
    request: &invoice_role::Request,
) -> String {
    match conn.call(request).unwrap() {
        invoice_role::Reply::Refused(refused) => refused.rule,
        other => panic!("answered: {other:?}"),
    }
}

#[test]
fn an_invoice_names_the_node_that_signed_it() {
    use invoice_role::{PreimageHolder, Reply, Request};
    let mut node = Node::new();
    let node_id = node.kill_and_restart().node_id;
    let mut conn = node.mint::<HsmInvoice>(Role::Invoice, None);
    let hash = new_preimage(&mut conn);
    let ours = fields(bitcoin::Network::Regtest, hash);
    let ask = |fields: &Bolt11Fields, holder| Request::SignBolt11 {
        fields: Box::new(fields.clone()),
        holder,
    };
    let request = ask(&ours, PreimageHolder::Hsmd);
    let first = conn.call(&request).unwrap();
    let Reply::Signed {
        signature,
        recovery_id,
    } = first.clone()
    else {
        panic!("not signed: {first:?}");
    };
    let text = ours.clone().into_string(&signature, recovery_id).unwrap();
    let parsed = invoice::parse(&text).unwrap();
    assert_eq!(parsed.payee, node_id);

    node.kill_and_restart();
    let mut conn = node.mint::<HsmInvoice>(Role::Invoice, None);
    assert_eq!(conn.call(&request).unwrap(), first, "another answer");
    assert_ne!(new_preimage(&mut conn), hash, "a preimage came again");
    let foreign = PaymentHash([1; 32]);
    let wrong = [
        ask(
            &fields(bitcoin::Network::Bitcoin, foreign),
            PreimageHolder::Lightningd,
        ),
        ask(
            &fields(bitcoin::Network::Regtest, foreign),
            PreimageHolder::Hsmd,
        ),
        ask(
            &Bolt11Fields {
                amount: Some(MilliSatoshi(1)),
                ..ours
            },
            PreimageHolder::Hsmd,
        ),
    ];
    for request in wrong {
        assert_eq!(invoice_refused(&mut conn, &request), "I1");
    }
    let release = Request::Release { payment_hash: hash };
    assert_eq!(invoice_refused(&mut conn, &release), "H4");
}

#[test]
fn k1_noise_gives_no_onions_shared_secret() {
    let mut node = Node::new();
    let node_id = node.kill_and_restart().node_id;
    let mut conn = node.mint::<HsmNoise>(Role::Noise, None);
    let ephemeral = secret(0x31);
    let shared = SharedSecret::new(&node_id.0, &ephemeral).secret_bytes();
    let point = ephemeral.public_key(SECP256K1);
    let zero = wire::noise::Secret([0; 32]);
    let steps = [
        KeyStep::InitiatorAct3 {
            ck: zero.clone(),
            point,
        },
        KeyStep::ResponderAct1 {
            ck: zero,
            h: [0; 32],
            point,
            tag: [0; 16],
        },
    ];
    for step in steps {
        match conn.call(&noise::Request::Step { step }).unwrap() {
            noise::Reply::Step { keys } => {
                assert!(keys.ck.0 != shared && keys.temp_key.0 != shared);
            }
            noise::Reply::BadAct => {}
        }
    }
}

#[test]
fn a1_only_a_valid_invoice_that_has_not_expired_is_approved_and_no_more_than_it_asks_for() {
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
    let (more, part) = (MilliSatoshi(amount.0 + 1), MilliSatoshi(amount.0 - 1));
    assert_eq!(ask(&good, more), "A1", "more than it asks for");
    assert_eq!(ask(&old, amount), "A1", "expired");
    assert_eq!(ask(&good[..good.len() - 1], amount), "A1");
    assert_eq!(ask("", amount), "A1");
    assert_eq!(ask(&good, part), "approved");
    assert_eq!(ask(&good, amount), "approved");
    assert_eq!(ask(&good, amount), "approved");
}

#[test]
fn r2_a_users_secret_is_its_own_and_the_same_each_time() {
    let mut node = Node::new();
    let ask = |node: &mut Node, info: &[u8]| {
        let mut conn = node.mint::<HsmRpc>(Role::Rpc, None);
        let request = rpc::Request::MakeSecret {
            name: rpc::SecretName(info.to_vec()),
        };
        match conn.call(&request).unwrap() {
            rpc::Reply::Secret { secret } => Some(secret),
            rpc::Reply::Refused(refused) if refused.rule == "R2" => None,
            other => panic!("{other:?}"),
        }
    };
    let secret = ask(&mut node, b"scb secret").unwrap();
    assert_ne!(ask(&mut node, b"nodeid").unwrap(), secret);
    assert_eq!(ask(&mut node, &[7; 70_000]), None);
    node.kill_and_restart();
    assert_eq!(ask(&mut node, b"scb secret"), Some(secret));
    let file = std::fs::read(node.dir.path().join("hsm_secret")).unwrap();
    assert_ne!(file, secret);
}

#[test]
fn a_signed_text_is_the_nodes() {
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    let mut node = Node::new();
    let node_id = node.kill_and_restart().node_id;
    let mut conn = node.mint::<HsmRpc>(Role::Rpc, None);
    let message = "this is a test!".to_owned();
    let reply = conn.call(&rpc::Request::SignMessage { message }).unwrap();
    let rpc::Reply::Signed {
        signature,
        recovery_id,
    } = reply
    else {
        panic!("not signed: {reply:?}");
    };
    let id = RecoveryId::from_i32(recovery_id.into()).unwrap();
    let signature = RecoverableSignature::from_compact(&signature, id).unwrap();
    let hash = sha256d::Hash::hash(b"Lightning Signed Message:this is a test!");
    let message = Message::from_digest(hash.to_byte_array());
    let key = SECP256K1.recover_ecdsa(&message, &signature).unwrap();
    assert_eq!(key, node_id.0);
    let message = "a".repeat(65_536);
    match conn.call(&rpc::Request::SignMessage { message }).unwrap() {
        rpc::Reply::Refused(refused) => assert_eq!(refused.rule, "D2"),
        other => panic!("{other:?}"),
    }
}
