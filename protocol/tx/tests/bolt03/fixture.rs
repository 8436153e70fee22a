//! Vector files and a channel with boring defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction};
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use serde_json::Value;
use tx::ledger::{Htlc, HtlcKey, Ledger};
use tx::setup::{Basepoints, CommitmentFormat, Funding, Party, Setup};
use wire::{BlockDelta, CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, Preimage, Satoshi, Side};

/// A file of ours under tests/vectors/bolt03.
pub fn vectors(name: &str) -> Value {
    let path = root().join("tests/vectors/bolt03").join(name);
    read(&path).unwrap_or_else(|| panic!("{} is missing", path.display()))
}

/// A whole vector file, where the folder of them lies beside the repository.
pub fn shared(name: &str) -> Option<Value> {
    read(&root().join("../shared/vectors/bolt03").join(name))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &std::path::Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text {key} in {value}"))
}

pub fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {key} in {value}"))
}

pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key} in {value}"))
}

pub fn bytes32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

pub fn public(value: &Value, key: &str) -> PublicKey {
    text(value, key).parse().unwrap()
}

pub fn secret(value: &Value, key: &str) -> SecretKey {
    SecretKey::from_slice(&bytes32(text(value, key))).unwrap()
}

pub fn transaction(hex: &str) -> Transaction {
    deserialize_hex(hex).unwrap()
}

/// Key number `n` of whoever needs one.
pub fn some_secret(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

pub fn some_public(n: u8) -> PublicKey {
    some_secret(n).public_key(SECP256K1)
}

pub const LOCAL_FUNDING: u8 = 1;
pub const REMOTE_FUNDING: u8 = 2;
pub const LOCAL_HTLC: u8 = 14;
pub const REMOTE_HTLC: u8 = 24;

fn party(funding: u8, base: u8) -> Party {
    Party {
        funding_pubkey: some_public(funding),
        basepoints: Basepoints {
            revocation: some_public(base + 1),
            payment: some_public(base + 2),
            delayed_payment: some_public(base + 3),
            htlc: some_public(base + 4),
        },
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        channel_reserve: Satoshi(10_000),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: MilliSatoshi(u64::MAX),
        max_accepted_htlcs: 483,
        upfront_shutdown_script: None,
    }
}

/// A channel of 1,000,000 sat that we opened.
pub fn setup(format: CommitmentFormat) -> Setup {
    Setup {
        opener: Side::Local,
        format,
        funding_value: Satoshi(1_000_000),
        push: MilliSatoshi(0),
        feerate: FeeratePerKw(1000),
        local: party(LOCAL_FUNDING, 10),
        remote: party(REMOTE_FUNDING, 20),
    }
}

pub fn funding(setup: &Setup) -> Funding {
    let txid = "8984484a580b825b9972d7adb15050b3ab624ccd731946b3eeddb92f4e7ef6be";
    Funding {
        outpoint: OutPoint {
            txid: txid.parse().unwrap(),
            vout: 0,
        },
        value: setup.funding_value,
    }
}

pub fn htlc(offerer: Side, id: u64, amount: u64) -> (HtlcKey, Htlc) {
    let htlc = Htlc {
        amount: MilliSatoshi(amount),
        payment_hash: Preimage([id as u8; 32]).payment_hash(),
        cltv_expiry: CltvExpiry(500 + id as u32),
    };
    (
        HtlcKey {
            offerer,
            id: HtlcId(id),
        },
        htlc,
    )
}

/// The same channel seen from the peer.
pub fn mirrored(setup: &Setup, ledger: &Ledger) -> (Setup, Ledger) {
    let (local, remote) = (setup.remote.clone(), setup.local.clone());
    let turned = |key: &HtlcKey| HtlcKey {
        offerer: key.offerer.other(),
        id: key.id,
    };
    let htlcs: BTreeMap<_, _> = ledger.htlcs.iter().map(|(k, h)| (turned(k), *h)).collect();
    (
        Setup {
            opener: setup.opener.other(),
            local,
            remote,
            ..setup.clone()
        },
        Ledger {
            to_local: ledger.to_remote,
            to_remote: ledger.to_local,
            feerate: ledger.feerate,
            htlcs,
        },
    )
}
