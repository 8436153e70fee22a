//! Secrets in memory: in pages of their own, wiped on drop, without Debug, Display or Clone.
//!
//! What computes with them leaves copies on the stack, where nothing wipes them: whoever is done
//! calls [`scrub_stack`].

mod memory;

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use secp256k1::{PublicKey, SECP256K1, SecretKey};
use zeroize::Zeroize;

use crate::uses::May;
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

/// A private key of kind `K`, for the uses of that kind alone (D2).
pub(crate) struct Key<K>(Kept<SecretKey>, PhantomData<K>);

impl<K> Key<K> {
    pub(crate) fn new(mut key: SecretKey) -> Key<K> {
        let kept = Key(Kept::new(key), PhantomData);
        key.non_secure_erase();
        kept
    }

    pub(crate) fn to<D>(&self, _use: D) -> &SecretKey
    where
        K: May<D>,
    {
        self.0.get()
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.0.get().public_key(SECP256K1)
    }
}

/// Overwrites the part of the stack that the functions called before have used.
#[inline(never)]
pub fn scrub_stack() {
    let mut below = [0xffu8; 64 << 10];
    below.zeroize();
}
