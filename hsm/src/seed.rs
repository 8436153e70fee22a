//! `hsm_secret`, in Core Lightning's formats: 32 bytes as they are, or 32 zero bytes and a BIP 39
//! mnemonic without passphrase, or a hash and a mnemonic with one. New ones are of the first kind.
//!
//! Not here yet: the encrypted formats, which are told apart and refused.

use std::io;

use bip39::Mnemonic;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::folder::{Folder, read_whole};
use crate::secret::{Secret, fill_random};

pub(crate) const FILE: &str = "hsm_secret";
const TEMPORARY: &str = "hsm_secret.new";
const PLAIN: usize = 32;
const ENCRYPTED: usize = 73;
/// Before a mnemonic: SHA-256 of its BIP 39 seed, or all zero without a passphrase. In bytes.
const HASH: usize = 32;
/// Longest file that is looked at, in bytes: 24 words need far less.
const MAX: usize = 1024;

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("cannot {doing} {FILE}: {error}")]
    Io {
        doing: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("{FILE} is {0} bytes long, which is none of its formats: restore it from a backup")]
    Length(usize),
    #[error("{FILE} is encrypted, which is not supported yet: decrypt it with hsmtool first")]
    Encrypted,
    #[error("{FILE} needs a passphrase")]
    Locked,
    #[error("the passphrase is not that of {FILE}")]
    WrongPassphrase,
    #[error("{FILE} holds no valid BIP 39 mnemonic: restore it from a backup")]
    Mnemonic,
}

/// What the seed file is, by its length and first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedFormat {
    /// 32 bytes as they are.
    Plain,
    /// Words without a passphrase.
    Mnemonic,
    /// Words that need their BIP 39 passphrase.
    MnemonicWithPassphrase,
    /// Core Lightning's 73 bytes.
    Encrypted,
    /// None of these.
    Unknown,
}

/// The seed file as it lies on the disk.
pub(crate) struct StoredSeed {
    bytes: Zeroizing<Vec<u8>>,
    pub(crate) format: SeedFormat,
    /// Permission bits.
    pub(crate) mode: u32,
}

impl StoredSeed {
    /// `None` if there is no file.
    pub(crate) fn read(folder: &Folder) -> Result<Option<StoredSeed>, SeedError> {
        let read = folder.read(FILE, MAX).map_err(|error| SeedError::Io {
            doing: "read",
            error,
        })?;
        Ok(read.map(|(bytes, mode)| StoredSeed {
            format: StoredSeed::format(&bytes),
            bytes,
            mode,
        }))
    }

    fn format(bytes: &[u8]) -> SeedFormat {
        match (bytes.len(), bytes.split_at_checked(HASH)) {
            (PLAIN, _) => SeedFormat::Plain,
            (ENCRYPTED, _) => SeedFormat::Encrypted,
            (_, None) => SeedFormat::Unknown,
            (_, Some((hash, _))) if hash.iter().all(|byte| *byte == 0) => SeedFormat::Mnemonic,
            (_, Some(_)) => SeedFormat::MnemonicWithPassphrase,
        }
    }

    /// The seed in it, as far as it needs no passphrase.
    pub(crate) fn open(&self) -> Result<Seed, SeedError> {
        match self.format {
            SeedFormat::Plain => Seed::plain(&self.bytes),
            SeedFormat::Mnemonic => Ok(Seed::of_words(&self.words()?, "")),
            SeedFormat::MnemonicWithPassphrase => Err(SeedError::Locked),
            SeedFormat::Encrypted => Err(SeedError::Encrypted),
            SeedFormat::Unknown => Err(SeedError::Length(self.bytes.len())),
        }
    }

    /// The seed in it, with the passphrase that it needs.
    pub(crate) fn unlock(&self, passphrase: &Passphrase) -> Result<Seed, SeedError> {
        match self.format {
            SeedFormat::Plain
            | SeedFormat::Mnemonic
            | SeedFormat::Encrypted
            | SeedFormat::Unknown => self.open(),
            SeedFormat::MnemonicWithPassphrase => {
                let seed = Seed::of_words(&self.words()?, &passphrase.0);
                match self.bytes.starts_with(&Sha256::digest(seed.whole())) {
                    true => Ok(seed),
                    false => Err(SeedError::WrongPassphrase),
                }
            }
        }
    }

    fn words(&self) -> Result<Mnemonic, SeedError> {
        let words = self.bytes.get(HASH..).unwrap_or_default();
        let words = std::str::from_utf8(words).map_err(|_| SeedError::Mnemonic)?;
        Mnemonic::parse_normalized(words).map_err(|_| SeedError::Mnemonic)
    }
}

/// What the owner types; wiped on drop.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// What is to be read, to its end. `None` if it is not text or too long: no seed has such a one.
    ///
    /// # Errors
    /// It cannot be read, or would have to be waited for.
    pub fn read(from: impl io::Read) -> io::Result<Option<Passphrase>> {
        let bytes = read_whole(from, Self::MAX.saturating_add(1))?;
        Ok(match std::str::from_utf8(&bytes) {
            Ok(text) if text.len() <= Self::MAX => {
                Some(Passphrase(Zeroizing::new(text.to_owned())))
            }
            Ok(_) | Err(_) => None,
        })
    }

    /// The longest, in bytes.
    pub const MAX: usize = 1024;
}

/// What all keys derive from.
pub(crate) enum Seed {
    Plain(Secret<PLAIN>),
    /// BIP 39's seed, of which Core Lightning uses the first half for everything but the wallet.
    Mnemonic(Secret<64>),
}

impl Seed {
    /// A new file with a new seed, durably.
    pub(crate) fn create(folder: &Folder) -> Result<Seed, SeedError> {
        let doing = |doing| move |error| SeedError::Io { doing, error };
        let mut seed = Secret([0; PLAIN]);
        fill_random(&mut seed.0).map_err(doing("draw random bytes for"))?;
        folder
            .create_whole(FILE, TEMPORARY, 0o400, &seed.0)
            .map_err(doing("create"))?;
        Ok(Seed::Plain(seed))
    }

    fn plain(bytes: &[u8]) -> Result<Seed, SeedError> {
        let plain = <[u8; PLAIN]>::try_from(bytes);
        let plain = plain.map_err(|_| SeedError::Length(bytes.len()))?;
        Ok(Seed::Plain(Secret(plain)))
    }

    fn of_words(words: &Mnemonic, passphrase: &str) -> Seed {
        Seed::Mnemonic(Secret(words.to_seed_normalized(passphrase)))
    }

    /// The seed in these bytes of a file.
    #[cfg(test)]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Seed, SeedError> {
        StoredSeed::of(bytes).open()
    }

    /// What the wallet derives from: all of it.
    pub(crate) fn whole(&self) -> &[u8] {
        match self {
            Seed::Plain(seed) => &seed.0,
            Seed::Mnemonic(seed) => &seed.0,
        }
    }

    /// What the node key and the channels derive from.
    pub(crate) fn first_half(&self) -> Zeroizing<[u8; 32]> {
        let mut half = Zeroizing::new([0; 32]);
        for (to, from) in half.iter_mut().zip(self.whole()) {
            *to = *from;
        }
        half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl StoredSeed {
        pub(crate) fn of(bytes: &[u8]) -> StoredSeed {
            StoredSeed {
                format: StoredSeed::format(bytes),
                bytes: Zeroizing::new(bytes.to_vec()),
                mode: 0o600,
            }
        }
    }

    pub(crate) fn passphrase(text: &str) -> Passphrase {
        Passphrase::read(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_file_of_no_known_format_is_refused_by_what_it_is() {
        let refused = |bytes: &[u8]| match StoredSeed::of(bytes).open() {
            Ok(_) => panic!("taken"),
            Err(error) => error,
        };
        assert!(matches!(refused(&[]), SeedError::Length(0)));
        assert!(matches!(refused(&[1; 31]), SeedError::Length(31)));
        assert!(matches!(refused(&[1; 73]), SeedError::Encrypted));
        assert!(matches!(refused(&[1; 100]), SeedError::Locked));
        assert!(matches!(refused(&[0; 100]), SeedError::Mnemonic));
    }

    #[test]
    fn words_with_a_passphrase_open_with_that_passphrase_alone() {
        let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
        let mnemonic = Mnemonic::parse_normalized(words).unwrap();
        let seed = mnemonic.to_seed_normalized("correct horse");
        let file = [&Sha256::digest(seed)[..], words.as_bytes()].concat();
        let stored = StoredSeed::of(&file);
        assert_eq!(stored.format, SeedFormat::MnemonicWithPassphrase);
        let opened = stored.unlock(&passphrase("correct horse")).unwrap();
        assert_eq!(opened.whole(), seed);
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            let error = stored.unlock(&passphrase(wrong)).err().unwrap();
            assert!(matches!(error, SeedError::WrongPassphrase), "{error}");
        }
    }
}
