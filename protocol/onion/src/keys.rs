//! Derived keys, the pseudo-random byte stream and MACs (BOLT 4, Key Generation).

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use hmac::{Hmac, Mac};
use secp256k1::{PublicKey, Scalar};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a key is derived for. The name is the HMAC key of the derivation.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Stream over the hop payloads.
    Rho,
    /// MAC of the packet.
    Mu,
    /// MAC of a returned error.
    Um,
    /// Stream over a returned error.
    Ammag,
    /// Initial contents of the packet.
    Pad,
    /// Tweak of a node's key in a blinded path.
    BlindedNodeId,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Purpose::Rho => b"rho",
            Purpose::Mu => b"mu",
            Purpose::Um => b"um",
            Purpose::Ammag => b"ammag",
            Purpose::Pad => b"pad",
            Purpose::BlindedNodeId => b"blinded_node_id",
        }
    }
}

pub(crate) fn derive(purpose: Purpose, secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(
        mac(purpose.name(), &[secret])
            .finalize()
            .into_bytes()
            .into(),
    )
}

/// Xors `bytes` with the stream of `key`, starting `skip` bytes into the stream.
pub(crate) fn xor_stream(key: &[u8; 32], skip: usize, bytes: &mut [u8]) {
    let mut stream = ChaCha20::new(key.into(), &[0; 12].into());
    stream.seek(skip);
    stream.apply_keystream(bytes);
}

/// Unfinished, so that the caller chooses between taking the tag and comparing in constant time.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // An HMAC takes a key of any length; the error type is there for other MACs.
    let mut mac = match <Hmac<Sha256> as Mac>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(impossible) => unreachable!("HMAC refused a key: {impossible}"),
    };
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// SHA-256 of key and secret, by which the key is multiplied for the next hop.
/// `None` has a probability of 2^-128.
pub(crate) fn blinding_factor(key: &PublicKey, secret: &[u8; 32]) -> Option<Scalar> {
    let hash = Sha256::new()
        .chain_update(key.serialize())
        .chain_update(secret)
        .finalize();
    Scalar::from_be_bytes(hash.into()).ok()
}
