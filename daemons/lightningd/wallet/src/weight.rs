//! Weights, in weight units, of what a wallet transaction is made of.

use bitcoin::Script;
use wire::{FeeratePerKw, Satoshi};

use crate::utxo::{CloseKey, KeyKind, KeyRef};

/// Heaviest transaction that nodes relay.
pub const MAX_STANDARD_WEIGHT: u64 = 400_000;
/// DER with a low s and the sighash byte. Low r saves one, which is the miner's.
pub(crate) const ECDSA_SIGNATURE: u64 = 72;
/// BIP 341 with the default sighash.
pub(crate) const SCHNORR_SIGNATURE: u64 = 64;
/// `<key> OP_CHECKSIGVERIFY 1 OP_CHECKSEQUENCEVERIFY` (BOLT 3, `to_remote` with anchors).
pub(crate) const ANCHOR_TO_REMOTE_SCRIPT: u64 = 1 + 33 + 1 + 1 + 1;
/// Outpoint, an empty script's length, sequence: 41 bytes outside the witness.
const INPUT_BASE: u64 = 41 * 4;
/// nVersion, nLockTime; segwit marker and flag.
const FIXED: u64 = 8 * 4 + 2;
const PUBKEY: u64 = 33;

/// Largest witness that spends a coin of this key, with its counts and lengths.
#[must_use]
pub fn witness(key: &KeyRef) -> u64 {
    match key {
        KeyRef::Wallet {
            kind: KeyKind::P2tr,
            ..
        } => 1 + 1 + SCHNORR_SIGNATURE,
        KeyRef::Wallet {
            kind: KeyKind::P2wpkh,
            ..
        }
        | KeyRef::Close(CloseKey { anchors: false, .. }) => 1 + 1 + ECDSA_SIGNATURE + 1 + PUBKEY,
        KeyRef::Close(CloseKey { anchors: true, .. }) => {
            1 + 1 + ECDSA_SIGNATURE + 1 + ANCHOR_TO_REMOTE_SCRIPT
        }
    }
}

/// An input with its witness.
#[must_use]
pub fn input(key: &KeyRef) -> u64 {
    INPUT_BASE + witness(key)
}

/// An output.
#[must_use]
pub fn output(script: &Script) -> u64 {
    let len = script.len() as u64;
    4 * (8 + varint(len) + len)
}

/// The whole transaction, from the number and summed weight of its inputs and outputs.
#[must_use]
pub fn transaction(inputs: u64, input_weight: u64, outputs: u64, output_weight: u64) -> u64 {
    FIXED + 4 * (varint(inputs) + varint(outputs)) + input_weight + output_weight
}

/// The fee for `weight`, rounded up so that the rate is never below what was asked for.
#[must_use]
pub fn fee(feerate: FeeratePerKw, weight: u64) -> Satoshi {
    Satoshi(weight.saturating_mul(u64::from(feerate.0)).div_ceil(1000))
}

/// The least an output with this script may hold, as nodes relay it.
#[must_use]
pub fn dust_limit(script: &Script) -> Satoshi {
    Satoshi(script.minimal_non_dust().to_sat())
}

fn varint(n: u64) -> u64 {
    match n {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
