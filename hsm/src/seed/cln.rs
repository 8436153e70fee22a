//! Core Lightning's encrypted `hsm_secret`: 73 bytes, the one message of a libsodium secretstream
//! (XChaCha20-Poly1305) under a key that Argon2id gives with a fixed salt. Read
//! and never written: ours binds the costs and salts each file.
//!
//! The stream's first 24 bytes make its key (HChaCha20 of the first 16) and the rest of its nonce
//! (the other 8, after a counter that begins at 1). Block 0 of the key stream gives Poly1305's key,
//! block 1 hides the message's tag, and the message follows from block 2.

use chacha20::cipher::consts::U10;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha20, hchacha};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::kdf::{self, Cost};
use super::{Passphrase, SeedError};
use crate::secret::Secret;

pub(super) const LEN: usize = HEADER + 1 + SECRET + MAC;
const SALT: [u8; 16] = *b"c-lightning\0\0\0\0\0";
const HEADER: usize = 24;
const SECRET: usize = 32;
const MAC: usize = 16;
const BLOCK: usize = 64;

/// The 32-byte seed in these bytes.
pub(super) fn open(bytes: &[u8], passphrase: &Passphrase) -> Result<Secret<SECRET>, SeedError> {
    let bytes = <&[u8; LEN]>::try_from(bytes).map_err(|_| SeedError::Length(bytes.len()))?;
    let (header, rest) = bytes.split_at(HEADER);
    let (hidden, mac) = rest.split_at(1 + SECRET);
    let key = kdf::key(passphrase, &SALT, Cost::USUAL)?;
    let stream = Stream::new(&key, header);
    if !bool::from(stream.mac(hidden).as_slice().ct_eq(mac)) {
        return Err(SeedError::WrongPassphrase);
    }
    let mut seed = Secret::new([0; SECRET]);
    for ((to, from), pad) in seed.iter_mut().zip(hidden.iter().skip(1)).zip(stream.pad()) {
        *to = from ^ pad;
    }
    Ok(seed)
}

/// The key stream of the first message.
struct Stream(Zeroizing<[u8; 2 * BLOCK + SECRET]>);

impl Stream {
    fn new(key: &Secret<32>, header: &[u8]) -> Stream {
        let (for_key, for_nonce) = header.split_at(16);
        let mut input = [0; 16];
        input.copy_from_slice(for_key);
        let mut subkey = hchacha::<U10>((&**key).into(), &input.into());
        let mut nonce = [0; 12];
        let counter = 1u32.to_le_bytes();
        for (to, from) in nonce.iter_mut().zip(counter.iter().chain(for_nonce)) {
            *to = *from;
        }
        let mut stream = Zeroizing::new([0; 2 * BLOCK + SECRET]);
        ChaCha20::new(&subkey, &nonce.into()).apply_keystream(&mut *stream);
        subkey.as_mut_slice().zeroize();
        Stream(stream)
    }

    fn mac_key(&self) -> &[u8] {
        self.0.get(..32).unwrap_or_default()
    }

    fn tag_block(&self) -> &[u8] {
        self.0.get(BLOCK..2 * BLOCK).unwrap_or_default()
    }

    /// What hides the message.
    fn pad(&self) -> &[u8] {
        self.0.get(2 * BLOCK..).unwrap_or_default()
    }

    /// Of the hidden tag and message: over the tag's whole block, the message, and the two lengths
    /// (of additional data, none here, and of block and message).
    fn mac(&self, hidden: &[u8]) -> [u8; MAC] {
        let (tag, message) = hidden.split_at(1);
        let rest_of_block = self.tag_block().get(1..).unwrap_or_default();
        let lengths = [0, (BLOCK + SECRET) as u64].map(u64::to_le_bytes).concat();
        let authenticated = [tag, rest_of_block, message, &lengths].concat();
        let mut key = [0; 32];
        key.copy_from_slice(self.mac_key());
        let tag = Poly1305::new(&key.into()).compute_unpadded(&authenticated);
        key.zeroize();
        tag.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::passphrase;
    use super::*;

    // Made with libsodium 1.0.20 (crypto_pwhash and crypto_secretstream_xchacha20poly1305), the calls
    // that Core Lightning makes: passphrase, seed, file.
    const FILES: [(&str, &str, &str); 2] = [
        (
            "reckless",
            "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
            "e383296bf464d055d477c428c13216b846f908ac3968e79ad306f91c2eda4bc4de111ef96982e11cba\
             e93fd955a78cd6bc95868c594733616850be9a2bd36e310218c656b2936f1bd3",
        ),
        (
            "correct horse \u{e9}",
            "1212121212121212121212121212121212121212121212121212121212121212",
            "49a0bfe1d93070136f64a834b184f783d0effcb6b958130c080e5841c514e669c5f0418c3531111357\
             7199248d881502e9428b12779891edf67245f6932245085e228c828b06ebb201",
        ),
    ];

    #[test]
    fn files_of_core_lightning_are_read() {
        for (word, seed, file) in FILES {
            let (word, file) = (passphrase(word), hex::decode(file).unwrap());
            let opened = open(&file, &word).unwrap();
            assert_eq!(hex::encode(&opened[..]), seed);
        }
    }

    #[test]
    fn a_wrong_passphrase_and_any_damage_are_noticed() {
        let (word, _, file) = FILES[0];
        let file = hex::decode(file).unwrap();
        assert!(open(&file, &passphrase("Reckless")).is_err());
        assert!(open(&file[1..], &passphrase(word)).is_err());
        // A key takes most of a second, and the whole stream depends on the header: the key once.
        let key = kdf::key(&passphrase(word), &SALT, Cost::USUAL).unwrap();
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            let (header, rest) = damaged.split_at(HEADER);
            let (hidden, mac) = rest.split_at(1 + SECRET);
            assert_ne!(Stream::new(&key, header).mac(hidden), mac, "byte {at}");
        }
    }
}
