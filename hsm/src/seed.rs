//! `hsm_secret`: Core Lightning's formats and one of our own.
//!
//! Core Lightning's: 32 bytes as they are; 73 encrypted bytes (`cln`); 32 zero bytes and a BIP 39
//! mnemonic; or a hash and a mnemonic that needs its BIP 39 passphrase. Ours (`sealed`) holds any of
//! these under a passphrase. New seeds are twelve words, in Core Lightning's format, so that it can
//! read them too.

mod cln;
mod kdf;
mod sealed;

use std::io;

use bip39::Mnemonic;
use hsm_messages::operator::SeedFormat;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::{Secret, fill_random};
use hsm_files::folder::{Folder, read_whole};
use kdf::Cost;

pub(crate) const FILE: &str = "hsm_secret";
const TEMPORARY: &str = "hsm_secret.new";
/// Of a new file; Core Lightning's.
pub(crate) const MODE: u32 = 0o400;
const PLAIN: usize = 32;
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
    #[error("{FILE} is damaged ({0}): restore it from a backup")]
    Damaged(&'static str),
    #[error("{FILE} needs a passphrase")]
    Locked,
    #[error("the passphrase is not that of {FILE}, or the file is damaged")]
    WrongPassphrase,
    #[error("there is not enough memory for the passphrase of {FILE}")]
    Memory,
    #[error("{FILE} holds no valid BIP 39 mnemonic: restore it from a backup")]
    Mnemonic,
    #[error("{FILE} is there already: nothing was changed")]
    Exists,
}

impl SeedError {
    pub fn no_folder(error: io::Error) -> SeedError {
        doing("open the folder of")(error)
    }
}

fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> SeedError {
    move |error| SeedError::Io { doing, error }
}

/// The seed file as it lies on the disk.
pub struct StoredSeed {
    bytes: Zeroizing<Vec<u8>>,
    format: SeedFormat,
    /// Permission bits.
    mode: u32,
}

impl StoredSeed {
    /// `None` if there is no file.
    pub(crate) fn read(folder: &Folder) -> Result<Option<StoredSeed>, SeedError> {
        let read = folder.read(FILE, MAX).map_err(doing("read"))?;
        Ok(read.map(|(bytes, mode)| StoredSeed {
            format: StoredSeed::format_of(&bytes),
            bytes,
            mode,
        }))
    }

    #[must_use]
    pub fn format(&self) -> SeedFormat {
        self.format
    }

    /// Permission bits.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    fn format_of(bytes: &[u8]) -> SeedFormat {
        match (bytes.len(), bytes.split_at_checked(HASH)) {
            _ if sealed::is_sealed(bytes) => SeedFormat::Sealed,
            (PLAIN, _) => SeedFormat::Plain,
            (cln::LEN, _) => SeedFormat::Encrypted,
            (_, None) => SeedFormat::Unknown,
            (_, Some((hash, _))) if hash.iter().all(|byte| *byte == 0) => SeedFormat::Mnemonic,
            (_, Some(_)) => SeedFormat::MnemonicWithPassphrase,
        }
    }

    /// What is in it, as far as it needs no passphrase.
    ///
    /// # Errors
    /// [`SeedError::Locked`]: it does. It is damaged.
    pub fn open(&self) -> Result<Origin, SeedError> {
        match self.format {
            SeedFormat::Plain => Origin::plain(&self.bytes),
            SeedFormat::Mnemonic => Origin::words(self.words()),
            SeedFormat::MnemonicWithPassphrase | SeedFormat::Encrypted | SeedFormat::Sealed => {
                Err(SeedError::Locked)
            }
            SeedFormat::Unknown => Err(SeedError::Length(self.bytes.len())),
        }
    }

    /// What is in it, with the passphrase that it needs.
    ///
    /// # Errors
    /// The passphrase is another, or it is damaged.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<Origin, SeedError> {
        match self.format {
            SeedFormat::Plain | SeedFormat::Mnemonic | SeedFormat::Unknown => self.open(),
            SeedFormat::Encrypted => Ok(Origin::Plain(cln::open(&self.bytes, passphrase)?)),
            SeedFormat::Sealed => sealed::open(&self.bytes, passphrase),
            SeedFormat::MnemonicWithPassphrase => {
                let origin = Origin::words_with_passphrase(self.words(), passphrase)?;
                match self.bytes.starts_with(&origin.seed().hash()) {
                    true => Ok(origin),
                    false => Err(SeedError::WrongPassphrase),
                }
            }
        }
    }

    fn words(&self) -> &[u8] {
        self.bytes.get(HASH..).unwrap_or_default()
    }
}

/// What the owner types; wiped on drop.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The longest, in bytes.
    pub const MAX: usize = 1024;

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

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What a seed file says, whatever hides it.
pub enum Origin {
    Plain(PlainSeed),
    Words(Words),
    /// With what BIP 39 makes of the words and their passphrase, which is kept nowhere.
    WordsWithPassphrase {
        words: Words,
        seed: Bip39Seed,
    },
}

/// 32 random bytes.
pub type PlainSeed = Secret<PLAIN>;
/// What BIP 39 makes of words.
pub type Bip39Seed = Secret<64>;
/// A valid BIP 39 mnemonic.
pub type Words = Zeroizing<String>;

impl Origin {
    /// Twelve new words.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn generate() -> Result<Origin, SeedError> {
        let mut entropy = Zeroizing::new([0; 16]);
        fill_random(&mut *entropy).map_err(doing("draw random bytes for"))?;
        let words = Mnemonic::from_entropy(&*entropy).map_err(|_| SeedError::Mnemonic)?;
        Ok(Origin::Words(Zeroizing::new(words.to_string())))
    }

    fn plain(bytes: &[u8]) -> Result<Origin, SeedError> {
        let plain = <[u8; PLAIN]>::try_from(bytes);
        let plain = plain.map_err(|_| SeedError::Length(bytes.len()))?;
        Ok(Origin::Plain(Secret::new(plain)))
    }

    /// Words in the normal form of BIP 39.
    ///
    /// # Errors
    /// They are no mnemonic.
    pub fn words(words: &[u8]) -> Result<Origin, SeedError> {
        Ok(Origin::Words(checked(words)?))
    }

    fn words_with_passphrase(words: &[u8], passphrase: &Passphrase) -> Result<Origin, SeedError> {
        let words = checked(words)?;
        let seed = Secret::new(mnemonic(&words)?.to_seed_normalized(&passphrase.0));
        Ok(Origin::WordsWithPassphrase { words, seed })
    }

    /// The words, if it was made of words.
    #[must_use]
    pub fn mnemonic(&self) -> Option<&str> {
        match self {
            Origin::Plain(_) => None,
            Origin::Words(words) | Origin::WordsWithPassphrase { words, .. } => Some(words),
        }
    }

    pub(crate) fn seed(&self) -> Seed {
        match self {
            Origin::Plain(seed) => Seed::Plain(Secret::new(**seed)),
            Origin::Words(words) => {
                // Valid, as whoever made it has checked.
                let seed = mnemonic(words).map(|words| words.to_seed_normalized(""));
                Seed::Mnemonic(Secret::new(seed.unwrap_or([0; 64])))
            }
            Origin::WordsWithPassphrase { seed, .. } => Seed::Mnemonic(Secret::new(**seed)),
        }
    }

    /// The file without a passphrase of ours, as Core Lightning has it.
    #[must_use]
    pub fn open_file(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Origin::Plain(seed) => seed.to_vec(),
            Origin::Words(words) => [&[0; HASH], words.as_bytes()].concat(),
            Origin::WordsWithPassphrase { words, .. } => {
                [&self.seed().hash()[..], words.as_bytes()].concat()
            }
        })
    }

    /// The file under a passphrase.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn sealed_file(&self, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, SeedError> {
        Ok(Zeroizing::new(sealed::seal(self, passphrase, Cost::USUAL)?))
    }
}

/// Text that is a mnemonic.
fn checked(words: &[u8]) -> Result<Words, SeedError> {
    let words = std::str::from_utf8(words).map_err(|_| SeedError::Mnemonic)?;
    mnemonic(words)?;
    Ok(Zeroizing::new(words.to_owned()))
}

fn mnemonic(words: &str) -> Result<Mnemonic, SeedError> {
    Mnemonic::parse_normalized(words).map_err(|_| SeedError::Mnemonic)
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
        let origin = Origin::generate()?;
        folder
            .create_whole(FILE, TEMPORARY, MODE, &origin.open_file())
            .map_err(doing("create"))?;
        Ok(origin.seed())
    }

    /// The seed in these bytes of a file.
    #[cfg(test)]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Seed, SeedError> {
        Ok(StoredSeed::of(bytes).open()?.seed())
    }

    /// What the wallet derives from: all of it.
    pub(crate) fn whole(&self) -> &[u8] {
        match self {
            Seed::Plain(seed) => &seed[..],
            Seed::Mnemonic(seed) => &seed[..],
        }
    }

    /// What the node key and the channels derive from.
    pub(crate) fn first_half(&self) -> Secret<32> {
        let mut half = Secret::new([0; 32]);
        for (to, from) in half.iter_mut().zip(self.whole()) {
            *to = *from;
        }
        half
    }

    fn hash(&self) -> [u8; HASH] {
        Sha256::digest(self.whole()).into()
    }
}

/// Replaces the seed file at once and durably, or makes it where there is none: at no moment is there
/// no whole file.
pub(crate) fn replace(folder: &Folder, bytes: &[u8], mode: u32) -> Result<(), SeedError> {
    folder
        .create_whole(FILE, TEMPORARY, mode, bytes)
        .map_err(doing("replace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const WORDS: &str =
        "legal winner thank year wave sausage worth useful legal winner thank yellow";

    impl StoredSeed {
        pub(crate) fn of(bytes: &[u8]) -> StoredSeed {
            StoredSeed {
                format: StoredSeed::format_of(bytes),
                bytes: Zeroizing::new(bytes.to_vec()),
                mode: 0o600,
            }
        }
    }

    pub(super) fn passphrase(text: &str) -> Passphrase {
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
        assert!(matches!(refused(&[1; 73]), SeedError::Locked));
        assert!(matches!(refused(&[1; 100]), SeedError::Locked));
        assert!(matches!(refused(&[0; 100]), SeedError::Mnemonic));
        assert!(matches!(refused(&sealed::MAGIC), SeedError::Locked));
    }

    #[test]
    fn words_with_a_passphrase_open_with_that_passphrase_alone() {
        let mnemonic = Mnemonic::parse_normalized(WORDS).unwrap();
        let seed = mnemonic.to_seed_normalized("correct horse");
        let file = [&Sha256::digest(seed)[..], WORDS.as_bytes()].concat();
        let stored = StoredSeed::of(&file);
        assert_eq!(stored.format, SeedFormat::MnemonicWithPassphrase);
        let opened = stored.unlock(&passphrase("correct horse")).unwrap();
        assert!(*opened.seed().whole() == seed && *opened.open_file() == file);
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            let error = stored.unlock(&passphrase(wrong)).err().unwrap();
            assert!(matches!(error, SeedError::WrongPassphrase), "{error}");
        }
    }

    #[test]
    fn new_seeds_are_twelve_words_and_no_two_are_alike() {
        let (one, other) = (Origin::generate().unwrap(), Origin::generate().unwrap());
        assert_eq!(one.mnemonic().unwrap().split(' ').count(), 12);
        assert!(one.mnemonic() != other.mnemonic());
        let file = one.open_file();
        let again = StoredSeed::of(&file);
        assert_eq!(again.format, SeedFormat::Mnemonic);
        assert!(*again.open().unwrap().seed().whole() == *one.seed().whole());
    }
}
