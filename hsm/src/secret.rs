//! Secrets in memory: in pages of their own, wiped on drop, without Debug, Display or Clone.
//!
//! What computes with them leaves copies on the stack, where nothing wipes them: whoever is done
//! calls [`scrub_stack`].

mod memory;

use std::io;
use std::ops::{Deref, DerefMut};

use secp256k1::{PublicKey, SECP256K1, SecretKey};
use zeroize::Zeroize;

use memory::Kept;
pub use memory::{Memory, memory};

/// Bytes that nobody may see. At most 256.
pub struct Secret<const N: usize>(Kept<[u8; N]>);

impl<const N: usize> Secret<N> {
    pub(crate) fn new(mut bytes: [u8; N]) -> Secret<N> {
        let secret = Secret(Kept::new(bytes));
        bytes.zeroize();
        secret
    }
}

impl<const N: usize> Deref for Secret<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        self.0.get()
    }
}

impl<const N: usize> DerefMut for Secret<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        self.0.get_mut()
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
pub(crate) struct Key(Kept<SecretKey>);

impl Key {
    pub(crate) fn new(mut key: SecretKey) -> Key {
        let kept = Key(Kept::new(key));
        key.non_secure_erase();
        kept
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        self.0.get()
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.secret().public_key(SECP256K1)
    }
}

/// Overwrites the part of the stack that the functions called before have used.
#[inline(never)]
pub fn scrub_stack() {
    let mut below = [0xffu8; 64 << 10];
    below.zeroize();
}
