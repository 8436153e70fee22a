//! What both sides of the handshake share (BOLT 8, Handshake State).

use std::fmt;

use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};
use secp256k1::ecdh::SharedSecret;
use secp256k1::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::NoiseError;
use crate::hkdf::hkdf;

/// A key; wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(32 bytes)")
    }
}

/// `ck` and `h`.
pub(super) struct Symmetric {
    pub(super) ck: Secret,
    pub(super) h: [u8; 32],
}

impl Symmetric {
    /// BOLT 8, Handshake State Initialization.
    pub(super) fn new(responder_static: &PublicKey) -> Symmetric {
        let ck: [u8; 32] = Sha256::digest(b"Noise_XK_secp256k1_ChaChaPoly_SHA256").into();
        let mut state = Symmetric {
            ck: Secret(ck),
            h: ck,
        };
        state.mix_hash(b"lightning");
        state.mix_hash(&responder_static.serialize());
        state
    }

    /// `h = SHA-256(h || data)`
    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.h = Sha256::new_with_prefix(self.h)
            .chain_update(data)
            .finalize()
            .into();
    }

    /// `ck, temp_k = HKDF(ck, shared)`; gives `temp_k`.
    pub(super) fn mix_key(&mut self, shared: &[u8; 32]) -> Result<Secret, NoiseError> {
        let (ck, temp_k) = derive(&self.ck, shared)?;
        self.ck = ck;
        Ok(temp_k)
    }

    /// `encryptWithAD(k, 0, h, zero)`, mixed into `h`.
    pub(super) fn tag(&mut self, k: &Secret) -> Result<[u8; 16], NoiseError> {
        let tag = seal(k, 0, &self.h, &mut [])?;
        self.mix_hash(&tag);
        Ok(tag)
    }

    /// Checks what [`Symmetric::tag`] makes, and mixes it into `h`.
    pub(super) fn check_tag(&mut self, k: &Secret, tag: &[u8; 16]) -> Result<(), NoiseError> {
        open(k, 0, &self.h, &mut [], tag)?;
        self.mix_hash(tag);
        Ok(())
    }

    /// The final keys: the initiator's sending key, then its receiving key.
    pub(super) fn split(&self) -> Result<(Secret, Secret), NoiseError> {
        derive(&self.ck, &[])
    }
}

/// An ephemeral private key; wiped on drop.
pub(super) struct Ephemeral(SecretKey);

impl Ephemeral {
    pub(super) fn new(key: SecretKey) -> Ephemeral {
        Ephemeral(key)
    }

    pub(super) fn public(&self) -> [u8; 33] {
        self.0.public_key(secp256k1::SECP256K1).serialize()
    }

    /// SHA-256 of the compressed shared point (BOLT 8, `ECDH`).
    pub(super) fn ecdh(&self, point: &PublicKey) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(SharedSecret::new(point, &self.0).secret_bytes())
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

/// BOLT 8, `HKDF(salt, ikm)`: 64 bytes without info.
pub(super) fn derive(salt: &Secret, ikm: &[u8]) -> Result<(Secret, Secret), NoiseError> {
    let mut okm = Zeroizing::new([[0; 32]; 2]);
    hkdf(&salt.0, ikm, &[], okm.as_flattened_mut()).map_err(|_| NoiseError::Length)?;
    let [first, second] = &*okm;
    Ok((Secret(*first), Secret(*second)))
}

/// BOLT 8, `encryptWithAD`: encrypts `text` in place and gives its tag.
pub(super) fn seal(k: &Secret, n: u64, ad: &[u8], text: &mut [u8]) -> Result<[u8; 16], NoiseError> {
    ChaCha20Poly1305::new(&k.0.into())
        .encrypt_in_place_detached(&nonce(n).into(), ad, text)
        .map(Into::into)
        .map_err(|_| NoiseError::Length)
}

/// BOLT 8, `decryptWithAD`: checks the tag and decrypts `text` in place.
pub(super) fn open(
    k: &Secret,
    n: u64,
    ad: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), NoiseError> {
    ChaCha20Poly1305::new(&k.0.into())
        .decrypt_in_place_detached(&nonce(n).into(), ad, text, tag.into())
        .map_err(|_| NoiseError::Mac)
}

/// 32 zero bits, then the number in little-endian.
fn nonce(n: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    if let Some(low) = nonce.last_chunk_mut() {
        *low = n.to_le_bytes();
    }
    nonce
}

/// An act with a public key in clear: version, key, tag.
pub(super) fn join_act(key: &[u8; 33], tag: &[u8; 16]) -> [u8; 50] {
    let mut act = [0; 50];
    for (to, from) in act.iter_mut().skip(1).zip(key.iter().chain(tag)) {
        *to = *from;
    }
    act
}

/// Takes apart what [`join_act`] made.
pub(super) fn split_act(act: &[u8; 50]) -> Result<(PublicKey, [u8; 16]), NoiseError> {
    let [version, rest @ ..] = act;
    check_version(*version)?;
    let (key, tag) = rest.split_first_chunk::<33>().ok_or(NoiseError::Length)?;
    let tag = tag.try_into().map_err(|_| NoiseError::Length)?;
    let key = PublicKey::from_slice(key).map_err(|_| NoiseError::PublicKey)?;
    Ok((key, tag))
}

/// BOLT 8, Handshake Versioning: any version but 0 must be rejected.
pub(super) fn check_version(version: u8) -> Result<(), NoiseError> {
    if version == 0 {
        Ok(())
    } else {
        Err(NoiseError::Version(version))
    }
}
