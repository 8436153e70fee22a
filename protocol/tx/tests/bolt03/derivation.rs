//! BOLT 3, Appendices D and E: secrets, their storage, and keys.

use tx::error::KeyError;
use tx::keys;
use tx::signer::RevocationSecret;
use tx::{Shachain, ShachainError};
use wire::CommitmentNumber;

use crate::fixture::{bytes32, list, number, public, secret, shared, text, vectors};

const FIRST_INDEX: u64 = (1 << 48) - 1;

fn generates(seed: &str, index: u64, output: &str) {
    let n = CommitmentNumber(FIRST_INDEX - index);
    let secret = keys::per_commitment_secret(&bytes32(seed), n).unwrap();
    assert_eq!(secret.0, bytes32(output));
}

#[test]
fn per_commitment_secrets_are_those_of_bolt_3() {
    let file = vectors("secrets.json");
    for row in list(&file, "generation") {
        generates(
            row[0].as_str().unwrap(),
            row[1].as_u64().unwrap(),
            row[2].as_str().unwrap(),
        );
    }
    if let Some(file) = shared("per-commitment-secret-generation.json") {
        for row in list(&file, "vectors") {
            generates(text(row, "seed"), number(row, "index"), text(row, "output"));
        }
    }
    let beyond = CommitmentNumber(1 << 48);
    let refused = keys::per_commitment_secret(&[1; 32], beyond);
    assert_eq!(refused, Err(KeyError::NumberOutOfRange(beyond)));
}

#[test]
fn secrets_that_do_not_come_from_one_seed_are_refused_where_bolt_3_says() {
    let file = vectors("secrets.json");
    let rows = list(&file, "storage");
    assert_eq!(rows.len(), 9);
    for row in rows {
        let refused_at = row["refused_at"].as_u64();
        let mut chain = Shachain::new();
        for (n, secret) in (0..).zip(list(row, "secrets")) {
            let secret = RevocationSecret(bytes32(secret.as_str().unwrap()));
            let result = chain.insert(CommitmentNumber(n), secret);
            let refused = Err(ShachainError::Inconsistent(CommitmentNumber(n)));
            let expected = if refused_at == Some(n) {
                refused
            } else {
                Ok(())
            };
            assert_eq!(result, expected, "{} at {n}", row["name"]);
        }
    }
    if let Some(file) = shared("per-commitment-secret-storage.json") {
        for row in list(&file, "vectors") {
            let mut chain = Shachain::new();
            for insert in list(row, "inserts") {
                let n = CommitmentNumber(FIRST_INDEX - number(insert, "index"));
                let secret = RevocationSecret(bytes32(text(insert, "secret")));
                assert_eq!(
                    chain.insert(n, secret).is_ok(),
                    insert["ok"].as_bool().unwrap()
                );
            }
        }
    }
}

fn chain_of(count: u64) -> Shachain {
    let mut chain = Shachain::new();
    for n in (0..count).map(CommitmentNumber) {
        let secret = keys::per_commitment_secret(&[3; 32], n).unwrap();
        chain.insert(n, secret).unwrap();
    }
    chain
}

#[test]
fn every_stored_secret_comes_back_and_no_later_one() {
    let chain = chain_of(1000);
    assert_eq!(chain.next(), CommitmentNumber(1000));
    for n in (0..1000).map(CommitmentNumber) {
        assert_eq!(chain.get(n), keys::per_commitment_secret(&[3; 32], n).ok());
    }
    for n in [1000, 1001, 1 << 40, FIRST_INDEX, FIRST_INDEX + 1, u64::MAX] {
        assert_eq!(chain.get(CommitmentNumber(n)), None);
    }
}

#[test]
fn a_stored_secret_may_be_repeated_but_not_changed_or_skipped() {
    let mut chain = chain_of(5);
    let before = chain.clone();
    let secret = |n| keys::per_commitment_secret(&[3; 32], CommitmentNumber(n)).unwrap();
    for n in 0..5 {
        assert_eq!(chain.insert(CommitmentNumber(n), secret(n)), Ok(()));
        let n = CommitmentNumber(n);
        let changed = chain.insert(n, RevocationSecret([8; 32]));
        assert_eq!(changed, Err(ShachainError::Inconsistent(n)));
    }
    let (got, expected) = (CommitmentNumber(6), CommitmentNumber(5));
    let skipped = chain.insert(got, secret(6));
    assert_eq!(skipped, Err(ShachainError::OutOfOrder { got, expected }));
    assert_eq!(chain, before);
}

#[test]
fn stored_secrets_survive_serialization_and_damage_is_found() {
    let chain = chain_of(300);
    let json = serde_json::to_value(&chain).unwrap();
    let entries = json.as_array().unwrap();
    assert!(entries.len() <= 49);
    assert_eq!(
        serde_json::from_value::<Shachain>(json.clone()).unwrap(),
        chain
    );

    let mut swapped = entries.clone();
    swapped.swap(0, 1);
    assert!(serde_json::from_value::<Shachain>(swapped.into()).is_err());
    let many = vec![entries[0].clone(); 50];
    assert!(serde_json::from_value::<Shachain>(many.into()).is_err());
    assert!(!format!("{chain:?}").contains("[3, 3"));
}

#[test]
fn keys_are_derived_as_bolt_3_says() {
    let files = [Some(vectors("keys.json")), shared("key-derivation.json")];
    for file in files.iter().flatten() {
        let base_secret = secret(file, "base_secret");
        let base = public(file, "base_point");
        let point = public(file, "per_commitment_point");
        let per_commitment = RevocationSecret(bytes32(text(file, "per_commitment_secret")));
        assert_eq!(keys::per_commitment_point(&per_commitment), Ok(point));
        assert_eq!(
            keys::derive_pubkey(&base, &point),
            Ok(public(file, "localpubkey"))
        );
        let privkey = keys::derive_privkey(&base_secret, &point);
        assert_eq!(privkey, Ok(secret(file, "localprivkey")));
        let revocation = keys::derive_revocation_pubkey(&base, &point);
        assert_eq!(revocation, Ok(public(file, "revocationpubkey")));
        let revocation = keys::derive_revocation_privkey(&base_secret, &per_commitment);
        assert_eq!(revocation, Ok(secret(file, "revocationprivkey")));
    }
}

#[test]
fn a_secret_that_is_no_private_key_is_refused() {
    let none = keys::per_commitment_point(&RevocationSecret([0; 32]));
    assert_eq!(none, Err(KeyError::OffCurve));
}
