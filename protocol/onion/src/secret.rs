//! The secret that the origin of an onion shares with one hop.

use std::fmt;

use secp256k1::ecdh;
use secp256k1::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// SHA-256 of the compressed ECDH point of an ephemeral key and a node key (BOLT 4, Shared Secret).
///
/// Whoever knows it reads this hop's payload and can forge errors in its name, so it never prints
/// and is wiped when dropped. It can be serialized because a payment attempt outlives the process.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// Of a secret computed elsewhere, by whoever holds the node key.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> SharedSecret {
        SharedSecret(bytes)
    }

    /// By ECDH of our `secret` with their `public` key.
    #[must_use]
    pub fn ecdh(public: &PublicKey, secret: &SecretKey) -> SharedSecret {
        SharedSecret(ecdh::SharedSecret::new(public, secret).secret_bytes())
    }

    /// The 32 bytes, for key derivation and storage.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SharedSecret {
    /// Looks at all bytes, wherever they differ.
    fn eq(&self, other: &SharedSecret) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .fold(0, |differences, (a, b)| differences | (a ^ b))
            == 0
    }
}

impl Eq for SharedSecret {}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(32 bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_secret_never_prints() {
        assert_eq!(
            format!("{:?}", SharedSecret::from_bytes([0xab; 32])),
            "SharedSecret(32 bytes)"
        );
    }

    #[test]
    fn a_shared_secret_survives_storage() {
        let secret = SharedSecret::from_bytes([7; 32]);
        let stored = serde_json::to_string(&secret).unwrap();
        assert_eq!(
            serde_json::from_str::<SharedSecret>(&stored).unwrap(),
            secret
        );
    }

    #[test]
    fn secrets_that_differ_in_one_bit_are_not_equal() {
        let mut other = [7; 32];
        other[31] = 6;
        assert_ne!(
            SharedSecret::from_bytes([7; 32]),
            SharedSecret::from_bytes(other)
        );
    }
}
