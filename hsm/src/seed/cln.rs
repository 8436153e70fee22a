//! Core Lightning's encrypted `hsm_secret`: 73 bytes, the 32 of the seed as a [`secretstream`] under a key
//! that Argon2id gives with a fixed salt. Read and never written: ours binds the costs and salts each file.

use super::kdf::{self, Cost};
use super::{Passphrase, SeedError};
use crate::secret::Secret;
use crate::secretstream;

pub(super) const LEN: usize = secretstream::OVERHEAD + 32;
const SALT: [u8; 16] = *b"c-lightning\0\0\0\0\0";

/// The 32-byte seed in these bytes.
pub(super) fn open(bytes: &[u8], passphrase: &Passphrase) -> Result<Secret<32>, SeedError> {
    let key = kdf::key(passphrase, &SALT, Cost::USUAL)?;
    let opened = secretstream::open(&key, bytes).ok_or(SeedError::WrongPassphrase)?;
    let seed = opened.as_slice().try_into();
    Ok(Secret::new(
        seed.map_err(|_| SeedError::Length(bytes.len()))?,
    ))
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
    }
}
