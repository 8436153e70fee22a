//! Wallet transactions: signatures that the chain takes, and rules W2, W3 and W6.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::key::TapTweak;
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use secp256k1::{Message, PublicKey, SECP256K1, XOnlyPublicKey};
use tx::setup::{CommitmentFormat, Funding};
use tx::signer::{Reply, Request};
use wire::{CommitmentNumber, Satoshi, Side};

use super::fixture::{Node, Pair, VALUE};
use crate::{Address, Coin, Refused, Rule};
use hsm_messages::wallet::{AddressKind, WalletKey};

pub fn outpoint(n: u8) -> OutPoint {
    OutPoint {
        txid: Txid::from_byte_array([n; 32]),
        vout: u32::from(n),
    }
}

pub fn spend(coins: &[u8], outputs: Vec<TxOut>) -> Transaction {
    let input = |n: &u8| TxIn {
        previous_output: outpoint(*n),
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(100),
        input: coins.iter().map(input).collect(),
        output: outputs,
    }
}

pub fn output(value: u64, script_pubkey: &ScriptBuf) -> TxOut {
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: script_pubkey.clone(),
    }
}

pub fn coin(value: u64, index: u32, kind: AddressKind) -> Coin {
    Coin {
        value: Satoshi(value),
        key: WalletKey { index, kind },
    }
}

pub fn addresses(node: &mut Node) -> Vec<Address> {
    (0..3).map(|_| node.hsm().get_address().unwrap()).collect()
}

#[test]
fn addresses_are_never_given_twice_even_after_a_restart() {
    let mut node = Node::new();
    let first = addresses(&mut node);
    node.restart();
    let second = addresses(&mut node);
    let indices: Vec<u32> = first
        .iter()
        .chain(&second)
        .map(|address| address.index)
        .collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5]);
    let id = node.hsm().node_id();
    let new = node.hsm().new_channel(id).unwrap();
    assert_eq!(new.shutdown_index, 6, "channels share the numbers");
    assert_eq!(node.hsm().state.next_address, 7);
}

#[test]
fn both_kinds_of_coins_are_spent_in_one_transaction() {
    let mut node = Node::new();
    let ours = addresses(&mut node);
    let to = &ours[2].p2tr;
    let tx = spend(&[1, 2], vec![output(140_000, to), output(9_000, to)]);
    let coins = [
        coin(100_000, 0, AddressKind::P2wpkh),
        coin(50_000, 1, AddressKind::P2tr),
    ];
    let witnesses = node.hsm().sign_spend(&tx, &coins).unwrap();
    let spent = [
        output(100_000, &ours[0].p2wpkh),
        output(50_000, &ours[1].p2tr),
    ];
    let mut hashes = SighashCache::new(&tx);

    let wpkh = witnesses[0].to_vec();
    let hash = hashes
        .p2wpkh_signature_hash(
            0,
            &spent[0].script_pubkey,
            spent[0].value,
            EcdsaSighashType::All,
        )
        .unwrap();
    let signature = bitcoin::ecdsa::Signature::from_slice(&wpkh[0]).unwrap();
    let key = PublicKey::from_slice(&wpkh[1]).unwrap();
    let message = Message::from_digest(hash.to_byte_array());
    SECP256K1
        .verify_ecdsa(&message, &signature.signature, &key)
        .unwrap();
    let key_hash = bitcoin::CompressedPublicKey(key).wpubkey_hash();
    assert_eq!(ScriptBuf::new_p2wpkh(&key_hash), ours[0].p2wpkh);
    assert!(wpkh[0].len() <= 71);

    let tr = witnesses[1].to_vec();
    let hash = hashes
        .taproot_key_spend_signature_hash(1, &Prevouts::All(&spent), TapSighashType::Default)
        .unwrap();
    let signature = bitcoin::taproot::Signature::from_slice(&tr[0]).unwrap();
    let key = XOnlyPublicKey::from_slice(&ours[1].p2tr.as_bytes()[2..]).unwrap();
    let message = Message::from_digest(hash.to_byte_array());
    SECP256K1
        .verify_schnorr(&signature.signature, &message, &key)
        .unwrap();
    assert_eq!(tr[0].len(), 64);
    let _ = key.dangerous_assume_tweaked();

    // The same again is the same again.
    assert_eq!(node.hsm().sign_spend(&tx, &coins).unwrap(), witnesses);
    node.restart();
    assert_eq!(node.hsm().sign_spend(&tx, &coins).unwrap(), witnesses);
}

#[test]
fn w3_a_coin_whose_amount_changes_between_requests_is_refused() {
    let mut node = Node::new();
    let ours = addresses(&mut node);
    let tx = spend(&[1, 2], vec![output(1000, &ours[0].p2tr)]);
    let kind = AddressKind::P2wpkh;
    let told = [coin(2000, 0, kind), coin(50_000, 1, kind)];
    node.hsm().sign_spend(&tx, &told).unwrap();
    node.restart();
    // The lie: the other amount is true now, so that each signature verifies in one of the two.
    let lie = [coin(50_000, 0, kind), coin(50_000, 1, kind)];
    let refused = node.hsm().sign_spend(&tx, &lie).unwrap_err();
    assert_eq!(refused, Refused::CoinChanged(outpoint(1)));
    assert_eq!(refused.rule(), Rule::W3);
}

#[test]
fn w3_a_coin_that_comes_twice_or_has_no_address_is_refused() {
    let mut node = Node::new();
    let ours = addresses(&mut node);
    let kind = AddressKind::P2tr;
    let to = || vec![output(1000, &ours[0].p2tr)];
    let twice = [coin(2000, 0, kind), coin(2000, 0, kind)];
    let refused = node
        .hsm()
        .sign_spend(&spend(&[1, 1], to()), &twice)
        .unwrap_err();
    assert_eq!(refused.rule(), Rule::W3);
    let refused = node
        .hsm()
        .sign_spend(&spend(&[1], to()), &[coin(2000, 3, kind)])
        .unwrap_err();
    assert_eq!(refused, Refused::NoAddress(3));
}

#[test]
fn w2_outputs_above_inputs_are_refused() {
    let mut node = Node::new();
    let ours = addresses(&mut node);
    let kind = AddressKind::P2tr;
    let mut refused = |coins: &[Coin], inputs: &[u8], outputs: &[u64]| {
        let outputs = outputs
            .iter()
            .map(|value| output(*value, &ours[0].p2tr))
            .collect();
        node.hsm()
            .sign_spend(&spend(inputs, outputs), coins)
            .unwrap_err()
            .rule()
    };
    let one = [coin(2000, 0, kind)];
    assert_eq!(refused(&one, &[1], &[2001]), Rule::W2);
    assert_eq!(refused(&one, &[1], &[1000, 1001]), Rule::W2);
    assert_eq!(refused(&one, &[1], &[u64::MAX, 2]), Rule::W2);
    assert_eq!(refused(&one, &[1], &[]), Rule::W2);
    assert_eq!(refused(&one, &[1, 2], &[1000]), Rule::W2);
    assert_eq!(refused(&[], &[], &[0]), Rule::W2);
}

#[test]
fn w6_a_channel_is_funded_only_once_our_commitment_0_is_verified() {
    let mut pair = Pair::agreed(CommitmentFormat::AnchorsZeroFeeHtlc);
    let setup = pair.a.setup.clone();
    pair.a.done(Request::Setup { setup });
    let setup = pair.b.setup.clone();
    pair.b.done(Request::Setup { setup });
    pair.a.node.hsm().get_address().unwrap();
    let script = pair.a.setup.funding_script_pubkey();
    let tx = spend(&[1], vec![output(VALUE.0, &script)]);
    let coins = [coin(VALUE.0 + 500, 1, AddressKind::P2tr)];
    let refused = pair.a.node.hsm().sign_spend(&tx, &coins).unwrap_err();
    assert_eq!(refused.rule(), Rule::W6);

    let outpoint = OutPoint {
        txid: tx.compute_txid(),
        vout: 0,
    };
    let funding = Funding {
        outpoint,
        value: VALUE,
    };
    pair.funding = funding;
    pair.a.done(Request::SetFunding { funding });
    pair.b.done(Request::SetFunding { funding });
    pair.commit(Side::Remote, &[]);
    let refused = pair.a.node.hsm().sign_spend(&tx, &coins).unwrap_err();
    assert_eq!(
        refused.rule(),
        Rule::W6,
        "our commitment 0 is not there yet"
    );
    pair.commit(Side::Local, &[]);
    pair.a.node.hsm().sign_spend(&tx, &coins).unwrap();

    // Another transaction to the same script would have no commitment.
    let other = spend(&[2], vec![output(VALUE.0, &script)]);
    let refused = pair.a.node.hsm().sign_spend(&other, &coins).unwrap_err();
    assert_eq!(refused.rule(), Rule::W6);
    let n = CommitmentNumber(2);
    assert!(matches!(
        pair.a.ask(Request::Point { n }),
        Reply::Refused { .. }
    ));
}
