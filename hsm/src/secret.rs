//! Secrets in memory: wiped on drop, without Debug, Display or Clone.

use std::io;

use secp256k1::{PublicKey, SECP256K1, SecretKey};
use zeroize::Zeroize;

/// Bytes that nobody may see.
pub(crate) struct Secret<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Fills it with random bytes of the kernel's.
///
/// # Errors
/// There are none: nothing may be made without them.
pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    Ok(getrandom::getrandom(bytes)?)
}

/// A private key.
pub(crate) struct Key(SecretKey);

impl Key {
    pub(crate) fn new(key: SecretKey) -> Key {
        Key(key)
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.0
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.0.public_key(SECP256K1)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}
