//! Keys of one commitment, from basepoints and a per-commitment point (BOLT 3, Key Derivation).
//!
//! The private halves are here too, because they are the same arithmetic; only hsmd calls them.

use bitcoin::hashes::{Hash, HashEngine, sha256};
use secp256k1::{PublicKey, SECP256K1, Scalar, SecretKey};
use wire::{CommitmentNumber, Side};

use crate::error::KeyError;
use crate::setup::Setup;
use crate::signer::RevocationSecret;

/// BOLT 3's first index; it counts down from there while we count up from 0.
pub(crate) const FIRST_INDEX: u64 = (1 << 48) - 1;

/// Public keys in one commitment transaction, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitmentKeys {
    /// Takes everything once the owner has revoked (BOLT 3, `revocationpubkey`).
    pub revocation: PublicKey,
    /// The owner's delayed key (`local_delayedpubkey`).
    pub delayed: PublicKey,
    /// The owner's HTLC key (`local_htlcpubkey`).
    pub owner_htlc: PublicKey,
    /// The other side's HTLC key (`remote_htlcpubkey`).
    pub other_htlc: PublicKey,
    /// The other side's balance (`remotepubkey`): its payment basepoint as it is.
    pub to_remote: PublicKey,
}

impl CommitmentKeys {
    /// Keys of the commitment of `owner` whose per-commitment point is `point`.
    ///
    /// # Errors
    /// `OffCurve`, by no chance that matters.
    pub fn derive(
        setup: &Setup,
        owner: Side,
        point: &PublicKey,
    ) -> Result<CommitmentKeys, KeyError> {
        let own = &setup.party(owner).basepoints;
        let other = &setup.party(owner.other()).basepoints;
        Ok(CommitmentKeys {
            revocation: derive_revocation_pubkey(&other.revocation, point)?,
            delayed: derive_pubkey(&own.delayed_payment, point)?,
            owner_htlc: derive_pubkey(&own.htlc, point)?,
            other_htlc: derive_pubkey(&other.htlc, point)?,
            to_remote: other.payment,
        })
    }
}

/// `base + SHA256(point || base) * G`.
///
/// # Errors
/// `OffCurve`, by no chance that matters.
pub fn derive_pubkey(base: &PublicKey, point: &PublicKey) -> Result<PublicKey, KeyError> {
    base.add_exp_tweak(SECP256K1, &tweak(point, base)?)
        .map_err(|_| KeyError::OffCurve)
}

/// The private key of [`derive_pubkey`].
///
/// # Errors
/// As [`derive_pubkey`].
pub fn derive_privkey(base_secret: &SecretKey, point: &PublicKey) -> Result<SecretKey, KeyError> {
    let base = base_secret.public_key(SECP256K1);
    base_secret
        .add_tweak(&tweak(point, &base)?)
        .map_err(|_| KeyError::OffCurve)
}

/// Blinds the revocation basepoint of the side that punishes with the owner's `point`, so that
/// neither side alone knows the private key.
///
/// # Errors
/// `OffCurve`, by no chance that matters.
pub fn derive_revocation_pubkey(
    revocation_base: &PublicKey,
    point: &PublicKey,
) -> Result<PublicKey, KeyError> {
    let base = revocation_base
        .mul_tweak(SECP256K1, &tweak(revocation_base, point)?)
        .map_err(|_| KeyError::OffCurve)?;
    let point = point
        .mul_tweak(SECP256K1, &tweak(point, revocation_base)?)
        .map_err(|_| KeyError::OffCurve)?;
    base.combine(&point).map_err(|_| KeyError::OffCurve)
}

/// The private key of [`derive_revocation_pubkey`], once the owner has revealed its secret.
///
/// # Errors
/// `OffCurve` where the secret is no private key.
pub fn derive_revocation_privkey(
    base_secret: &SecretKey,
    per_commitment_secret: &RevocationSecret,
) -> Result<SecretKey, KeyError> {
    let secret = secret_key(per_commitment_secret)?;
    let base_point = base_secret.public_key(SECP256K1);
    let point = secret.public_key(SECP256K1);
    let base = base_secret
        .mul_tweak(&tweak(&base_point, &point)?)
        .map_err(|_| KeyError::OffCurve)?;
    let secret = secret
        .mul_tweak(&tweak(&point, &base_point)?)
        .map_err(|_| KeyError::OffCurve)?;
    base.add_tweak(&Scalar::from(secret))
        .map_err(|_| KeyError::OffCurve)
}

/// The secret of our commitment `n` (BOLT 3, Per-commitment Secret Requirements).
///
/// # Errors
/// `NumberOutOfRange` past 2^48-1.
pub fn per_commitment_secret(
    seed: &[u8; 32],
    n: CommitmentNumber,
) -> Result<RevocationSecret, KeyError> {
    Ok(RevocationSecret(derive_secret(*seed, 48, index(n)?)))
}

/// The point that belongs to a per-commitment secret.
///
/// # Errors
/// `OffCurve` where the secret is no private key.
pub fn per_commitment_point(secret: &RevocationSecret) -> Result<PublicKey, KeyError> {
    Ok(secret_key(secret)?.public_key(SECP256K1))
}

/// BOLT 3's index of commitment `n`.
pub(crate) fn index(n: CommitmentNumber) -> Result<u64, KeyError> {
    FIRST_INDEX
        .checked_sub(n.0)
        .ok_or(KeyError::NumberOutOfRange(n))
}

/// BOLT 3's derive_secret: from the secret of an index whose bits from `bits` up are those of `index`.
pub(crate) fn derive_secret(base: [u8; 32], bits: u32, index: u64) -> [u8; 32] {
    let mut secret = base;
    for bit in (0..bits).rev().filter(|bit| index >> bit & 1 == 1) {
        if let Some(byte) = secret.get_mut(bit as usize / 8) {
            *byte ^= 1 << (bit % 8);
        }
        secret = sha256::Hash::hash(&secret).to_byte_array();
    }
    secret
}

fn secret_key(secret: &RevocationSecret) -> Result<SecretKey, KeyError> {
    SecretKey::from_slice(&secret.0).map_err(|_| KeyError::OffCurve)
}

/// SHA256(first || second) as a scalar.
fn tweak(first: &PublicKey, second: &PublicKey) -> Result<Scalar, KeyError> {
    let mut engine = sha256::Hash::engine();
    engine.input(&first.serialize());
    engine.input(&second.serialize());
    let hash = sha256::Hash::from_engine(engine).to_byte_array();
    Scalar::from_be_bytes(hash).map_err(|_| KeyError::OffCurve)
}
