//! Witnesses that spend the outputs of BOLT 3's transactions, signatures given.

use bitcoin::sighash::EcdsaSighashType;
use bitcoin::{Script, Transaction, Witness};
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use wire::Preimage;

use crate::setup::Setup;

/// Spends the funding output: commitment and closing transactions.
#[must_use]
pub fn funding(setup: &Setup, local: &Signature, remote: &Signature) -> Witness {
    let local_first =
        setup.local.funding_pubkey.serialize() < setup.remote.funding_pubkey.serialize();
    let (first, second) = if local_first {
        (local, remote)
    } else {
        (remote, local)
    };
    let mut witness = Witness::new();
    witness.push([]);
    push(&mut witness, first, EcdsaSighashType::All);
    push(&mut witness, second, EcdsaSighashType::All);
    witness.push(setup.funding_script());
    witness
}

/// Spends an HTLC output in an HTLC transaction; `preimage` is empty for HTLC-timeout.
#[must_use]
pub(crate) fn htlc_tx(
    owner: &Signature,
    other: &Signature,
    other_type: EcdsaSighashType,
    preimage: &[u8],
    script: &Script,
) -> Witness {
    let mut witness = Witness::new();
    witness.push([]);
    push(&mut witness, other, other_type);
    push(&mut witness, owner, EcdsaSighashType::All);
    witness.push(preimage);
    witness.push(script);
    witness
}

/// The owner spends to_local, or the output of an HTLC transaction, after the delay
/// (`nSequence` = to_self_delay).
#[must_use]
pub fn to_local(delayed: &Signature, script: &Script) -> Witness {
    signed(delayed, &[&[]], script)
}

/// The other side spends a revoked to_local, or the output of a revoked HTLC transaction.
#[must_use]
pub fn to_local_penalty(revocation: &Signature, script: &Script) -> Witness {
    signed(revocation, &[&[1]], script)
}

/// The other side spends to_remote of a commitment with anchors (`nSequence` = 1).
#[must_use]
pub fn to_remote_anchors(signature: &Signature, script: &Script) -> Witness {
    signed(signature, &[], script)
}

/// The other side spends to_remote of a commitment without anchors.
#[must_use]
pub(crate) fn p2wpkh(signature: &Signature, key: &PublicKey) -> Witness {
    let mut witness = Witness::new();
    push(&mut witness, signature, EcdsaSighashType::All);
    witness.push(key.serialize());
    witness
}

/// A side spends its own anchor.
#[must_use]
pub fn anchor(signature: &Signature, script: &Script) -> Witness {
    signed(signature, &[], script)
}

/// The other side takes an HTLC that the owner offered, with the preimage
/// (`nSequence` = 1 with anchors).
#[must_use]
pub fn htlc_preimage(other_htlc: &Signature, preimage: &Preimage, script: &Script) -> Witness {
    signed(other_htlc, &[&preimage.0], script)
}

/// The other side takes back an HTLC that it offered, after its expiry (`nLockTime` = cltv_expiry;
/// `nSequence` = 1 with anchors).
#[must_use]
pub fn htlc_timeout(other_htlc: &Signature, script: &Script) -> Witness {
    signed(other_htlc, &[&[]], script)
}

/// The other side takes an HTLC output of a revoked commitment.
#[must_use]
pub fn htlc_penalty(revocation: &Signature, key: &PublicKey, script: &Script) -> Witness {
    signed(revocation, &[&key.serialize()], script)
}

/// The same transaction with `witness` on its only input.
pub(crate) fn complete(tx: &Transaction, witness: &Witness) -> Transaction {
    let mut tx = tx.clone();
    for input in &mut tx.input {
        input.witness = witness.clone();
    }
    tx
}

fn signed(signature: &Signature, middle: &[&[u8]], script: &Script) -> Witness {
    let mut witness = Witness::new();
    push(&mut witness, signature, EcdsaSighashType::All);
    for element in middle {
        witness.push(element);
    }
    witness.push(script);
    witness
}

fn push(witness: &mut Witness, signature: &Signature, sighash_type: EcdsaSighashType) {
    let signature = bitcoin::ecdsa::Signature {
        signature: *signature,
        sighash_type,
    };
    witness.push_ecdsa_signature(&signature);
}
