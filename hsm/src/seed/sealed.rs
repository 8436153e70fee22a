//! Our own encrypted `hsm_secret`: any seed under a passphrase.
//!
//! ```text
//!     16 bytes   magic with the format's version
//!      4 + 4     Argon2id's memory in KiB and passes, little-endian
//!     16         its salt
//!     24         nonce
//!     the rest   XChaCha20-Poly1305 of the seed, with all before as additional data
//! ```
//!
//! Within: one byte that says what it is, and then the 32 bytes, or the words, or (of words with a
//! BIP 39 passphrase of their own) the 64 bytes of BIP 39's seed and the words.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::kdf::{self, Cost};
use super::{Origin, Passphrase, SeedError};
use crate::secret::{Secret, fill_random};

pub(super) const MAGIC: [u8; 16] = *b"bulkhead seed 1\n";
const NONCE: usize = 24;
const TAG: usize = 16;
const HEADER: usize = MAGIC.len() + 4 + 4 + 16 + NONCE;

const PLAIN: u8 = 0;
const WORDS: u8 = 1;
const WORDS_WITH_PASSPHRASE: u8 = 2;

/// The file's first bytes, of which all but the magic are chosen when it is sealed.
struct Header {
    cost: Cost,
    salt: [u8; 16],
    nonce: [u8; NONCE],
}

impl Header {
    fn random(cost: Cost) -> Result<Header, SeedError> {
        let (mut salt, mut nonce) = ([0; 16], [0; NONCE]);
        for bytes in [&mut salt[..], &mut nonce] {
            fill_random(bytes).map_err(super::doing("draw random bytes for"))?;
        }
        Ok(Header { cost, salt, nonce })
    }

    fn write(&self) -> Vec<u8> {
        let cost = [self.cost.memory, self.cost.passes].map(u32::to_le_bytes);
        [&MAGIC[..], cost.as_flattened(), &self.salt, &self.nonce].concat()
    }

    /// The costs are looked at before anything is allocated for them.
    fn read(header: &[u8]) -> Result<Header, SeedError> {
        let mut rest = header.get(MAGIC.len()..).unwrap_or_default();
        let mut number = || take(&mut rest).map(u32::from_le_bytes);
        let cost = Cost::new(number()?, number()?).ok_or(SeedError::Damaged("its cost"))?;
        let (salt, nonce) = (take(&mut rest)?, take(&mut rest)?);
        Ok(Header { cost, salt, nonce })
    }

    fn cipher(&self, passphrase: &Passphrase) -> Result<XChaCha20Poly1305, SeedError> {
        let key = kdf::key(passphrase, &self.salt, self.cost)?;
        Ok(XChaCha20Poly1305::new((&*key).into()))
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], SeedError> {
    let (first, rest) = from
        .split_first_chunk()
        .ok_or(SeedError::Damaged("too short"))?;
    *from = rest;
    Ok(*first)
}

pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

pub(super) fn seal(
    origin: &Origin,
    passphrase: &Passphrase,
    cost: Cost,
) -> Result<Vec<u8>, SeedError> {
    let header = Header::random(cost)?;
    let aad = header.write();
    let mut sealed = within(origin);
    let tag = header
        .cipher(passphrase)?
        .encrypt_in_place_detached(&header.nonce.into(), &aad, &mut sealed)
        .map_err(|_| SeedError::Memory)?;
    Ok([&aad[..], &sealed, &tag].concat())
}

pub(super) fn open(bytes: &[u8], passphrase: &Passphrase) -> Result<Origin, SeedError> {
    let short = SeedError::Damaged("too short");
    let Some((aad, sealed)) = bytes.split_at_checked(HEADER) else {
        return Err(short);
    };
    let Some((sealed, tag)) = sealed.split_last_chunk::<TAG>() else {
        return Err(short);
    };
    let header = Header::read(aad)?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    // Of a wrong passphrase and of a damaged file no cipher can tell which it is.
    header
        .cipher(passphrase)?
        .decrypt_in_place_detached(&header.nonce.into(), aad, &mut opened, tag.into())
        .map_err(|_| SeedError::WrongPassphrase)?;
    origin(&opened)
}

fn within(origin: &Origin) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(match origin {
        Origin::Plain(seed) => [&[PLAIN], &seed[..]].concat(),
        Origin::Words(words) => [&[WORDS], words.as_bytes()].concat(),
        Origin::WordsWithPassphrase { words, seed } => {
            [&[WORDS_WITH_PASSPHRASE], &seed[..], words.as_bytes()].concat()
        }
    })
}

fn origin(within: &[u8]) -> Result<Origin, SeedError> {
    let damaged = SeedError::Damaged("what was sealed is no seed");
    let Some((kind, rest)) = within.split_first() else {
        return Err(damaged);
    };
    match (*kind, rest.split_first_chunk::<64>()) {
        (PLAIN, _) => Origin::plain(rest),
        (WORDS, _) => Origin::words(rest),
        (WORDS_WITH_PASSPHRASE, Some((seed, words))) => Ok(Origin::WordsWithPassphrase {
            words: super::checked(words)?,
            seed: Secret::new(*seed),
        }),
        (_, _) => Err(damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{WORDS, passphrase};
    use super::*;

    fn origins() -> [Origin; 3] {
        let words = Origin::words(WORDS.as_bytes()).unwrap();
        let with = Origin::words_with_passphrase(WORDS.as_bytes(), &passphrase("bip 39")).unwrap();
        [Origin::plain(&[7; 32]).unwrap(), words, with]
    }

    fn seal_cheaply(origin: &Origin) -> Vec<u8> {
        seal(origin, &passphrase("open"), Cost::LEAST).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_alone() {
        for origin in origins() {
            let file = seal_cheaply(&origin);
            assert!(is_sealed(&file));
            let opened = open(&file, &passphrase("open")).unwrap();
            assert_eq!(*within(&opened), *within(&origin));
            assert!(*opened.seed().whole() == *origin.seed().whole());
            for wrong in ["", "Open", "open "] {
                let error = open(&file, &passphrase(wrong)).err().unwrap();
                assert!(matches!(error, SeedError::WrongPassphrase), "{error}");
            }
        }
    }

    #[test]
    fn nothing_of_the_seed_is_seen_and_no_two_files_are_alike() {
        for origin in origins() {
            let (one, other) = (seal_cheaply(&origin), seal_cheaply(&origin));
            assert_ne!(one[HEADER - NONCE..], other[HEADER - NONCE..]);
            let plain = within(&origin);
            for bytes in plain[1..].windows(8) {
                assert!(!one.windows(8).any(|window| window == bytes));
            }
        }
    }

    #[test]
    fn a_change_of_any_byte_and_any_cut_is_noticed() {
        let file = seal_cheaply(&origins()[0]);
        // The magic says that it is sealed at all.
        for at in MAGIC.len()..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged, &passphrase("open")).is_err(), "byte {at}");
        }
        for len in MAGIC.len()..file.len() {
            assert!(open(&file[..len], &passphrase("open")).is_err(), "{len}");
        }
    }

    #[test]
    fn a_hostile_cost_is_refused_before_anything_is_allocated() {
        let mut file = seal_cheaply(&origins()[0]);
        for (memory, passes) in [(u32::MAX, 3), (1 << 21, 3), (256 << 10, u32::MAX), (8, 1)] {
            file[16..20].copy_from_slice(&u32::to_le_bytes(memory));
            file[20..24].copy_from_slice(&u32::to_le_bytes(passes));
            let error = open(&file, &passphrase("open")).err().unwrap();
            assert!(matches!(error, SeedError::Damaged("its cost")), "{error}");
        }
    }
}
