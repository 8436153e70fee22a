use bitcoin::hashes::Hash;
use bitcoin::key::TapTweak;
use bitcoin::opcodes::all::{OP_CHECKSIGVERIFY, OP_CSV};
use bitcoin::script::Builder;
use bitcoin::{OutPoint, Txid};
use rand::SeedableRng;
use rand::rngs::StdRng;
use secp256k1::{Keypair, SecretKey};
use wire::{BlockHeight, ChannelId, FeeratePerKw, NodeId, Satoshi};

use super::*;
use crate::build::{ChangeTo, Inputs, Policy, Recipient, build_withdraw};
use crate::set::UtxoSet;
use crate::utxo::Status;

fn secret(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

fn key(n: u8) -> CompressedPublicKey {
    CompressedPublicKey(secret(n).public_key(SECP256K1))
}

fn to_remote_script() -> ScriptBuf {
    Builder::new()
        .push_slice(key(3).to_bytes())
        .push_opcode(OP_CHECKSIGVERIFY)
        .push_int(1)
        .push_opcode(OP_CSV)
        .into_script()
}

fn coin(vout: u32, key: KeyRef, script: ScriptBuf) -> Utxo {
    Utxo {
        outpoint: OutPoint {
            txid: Txid::from_byte_array([7; 32]),
            vout,
        },
        value: Satoshi(100_000),
        script,
        key,
        status: Status::Confirmed {
            height: BlockHeight(900),
        },
        ours: false,
        coinbase: false,
        reserved_until: None,
    }
}

/// A transaction that spends one coin of each kind, and a good witness for each.
fn signed() -> (UnsignedTx, Vec<Witness>) {
    let internal = Keypair::from_secret_key(SECP256K1, &secret(1));
    let tweaked = internal.tap_tweak(SECP256K1, None).to_keypair();
    let close = CloseKey {
        channel: ChannelId([1; 32]),
        peer: NodeId(key(4).0),
        anchors: true,
    };
    let p2tr = ScriptBuf::new_p2tr(SECP256K1, internal.x_only_public_key().0, None);
    let p2wpkh = ScriptBuf::new_p2wpkh(&key(2).wpubkey_hash());
    let wallet = |index, kind| KeyRef::Wallet { index, kind };
    let set = UtxoSet::restore(
        BlockHeight(1000),
        [
            coin(0, wallet(0, KeyKind::P2tr), p2tr.clone()),
            coin(1, wallet(1, KeyKind::P2wpkh), p2wpkh.clone()),
            coin(2, KeyRef::Close(close), to_remote_script().to_p2wsh()),
        ],
    );
    let policy = Policy {
        feerate: FeeratePerKw(253),
        inputs: Inputs::Any { minconf: 1 },
        change: ChangeTo {
            script: p2tr,
            key: wallet(9, KeyKind::P2tr),
        },
        emergency_reserve: Satoshi::ZERO,
    };
    let all = Recipient {
        script: p2wpkh,
        amount: crate::amount::Amount::All,
    };
    let unsigned = build_withdraw(&set, &[all], &policy, &mut StdRng::seed_from_u64(1)).unwrap();
    let witnesses = (0..3)
        .map(|input| witness(&unsigned, input, &tweaked))
        .collect();
    (unsigned, witnesses)
}

fn witness(unsigned: &UnsignedTx, input: usize, tweaked: &Keypair) -> Witness {
    let prevouts: Vec<TxOut> = unsigned.inputs.iter().map(prevout).collect();
    let mut cache = SighashCache::new(&unsigned.tx);
    let coin = &unsigned.inputs[input];
    let value = Amount::from_sat(coin.value.0);
    let all = EcdsaSighashType::All;
    let ecdsa = |hash: Message, n: u8| ecdsa::Signature::sighash_all(secret(n).sign_ecdsa(hash));
    match &coin.key {
        KeyRef::Wallet {
            kind: KeyKind::P2tr,
            ..
        } => {
            let prevouts = Prevouts::All(&prevouts);
            let hash = cache
                .taproot_key_spend_signature_hash(input, &prevouts, TapSighashType::Default)
                .unwrap();
            let signature = SECP256K1.sign_schnorr_no_aux_rand(&Message::from(hash), tweaked);
            Witness::from_slice(&[signature.serialize().as_slice()])
        }
        KeyRef::Wallet {
            kind: KeyKind::P2wpkh,
            ..
        } => {
            let hash = cache
                .p2wpkh_signature_hash(input, &coin.script, value, all)
                .unwrap();
            Witness::p2wpkh(&ecdsa(Message::from(hash), 2), &key(2).0)
        }
        KeyRef::Close(_) => {
            let script = to_remote_script();
            let hash = cache
                .p2wsh_signature_hash(input, &script, value, all)
                .unwrap();
            let signature = ecdsa(Message::from(hash), 3).to_vec();
            Witness::from_slice(&[signature.as_slice(), script.as_bytes()])
        }
    }
}

#[test]
fn good_witnesses_make_the_transaction_and_fit_its_weight() {
    let (unsigned, witnesses) = signed();
    let tx = unsigned.attach(witnesses).unwrap();
    assert_eq!(tx.compute_txid(), unsigned.tx.compute_txid());
    assert!(tx.weight().to_wu() <= unsigned.signed_weight());
    assert!(tx.weight().to_wu() + 6 >= unsigned.signed_weight());
}

#[test]
fn every_flipped_bit_of_a_witness_is_noticed() {
    let (unsigned, witnesses) = signed();
    for input in 0..3 {
        let elements = witnesses[input].to_vec();
        for (element, bytes) in elements.iter().enumerate() {
            for byte in 0..bytes.len() {
                let mut broken = elements.clone();
                broken[element][byte] ^= 1;
                let mut all = witnesses.clone();
                all[input] = Witness::from_slice(&broken);
                assert!(
                    unsigned.attach(all).is_err(),
                    "input {input} {element} byte {byte}"
                );
            }
        }
    }
}

#[test]
fn a_missing_or_swapped_witness_is_refused() {
    let (unsigned, mut witnesses) = signed();
    witnesses.swap(0, 1);
    assert!(matches!(
        unsigned.attach(witnesses.clone()),
        Err(AttachError::WrongShape { .. } | AttachError::WrongSignature { .. })
    ));
    witnesses.pop();
    assert_eq!(
        unsigned.attach(witnesses),
        Err(AttachError::WrongNumber {
            given: 2,
            inputs: 3
        })
    );
}
