//! The two key operations of a hop inside a blinded path (BOLT 4, Route Blinding and Onion Decryption).
//! `blinding_secret` is in both the ECDH of the path key with our node key.

use secp256k1::{PublicKey, SECP256K1, Scalar};

use crate::SharedSecret;
use crate::keys::{self, Purpose};

/// The packet's ephemeral key as the sender meant it for our blinded node id: with it and our
/// plain node key ECDH gives the shared secret. `None` only by a 2^-128 accident.
#[must_use]
pub fn tweak_ephemeral_key(
    ephemeral_key: &PublicKey,
    blinding_secret: &SharedSecret,
) -> Option<PublicKey> {
    let tweak = keys::derive(Purpose::BlindedNodeId, blinding_secret.as_bytes());
    ephemeral_key
        .mul_tweak(SECP256K1, &Scalar::from_be_bytes(*tweak).ok()?)
        .ok()
}

/// The path key that goes with the forwarded HTLC, unless our `encrypted_recipient_data` names
/// another. `None` only by a 2^-128 accident.
#[must_use]
pub fn next_path_key(path_key: &PublicKey, blinding_secret: &SharedSecret) -> Option<PublicKey> {
    let factor = keys::blinding_factor(path_key, blinding_secret.as_bytes())?;
    path_key.mul_tweak(SECP256K1, &factor).ok()
}
