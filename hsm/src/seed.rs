//! `hsm_secret`, in Core Lightning's formats: 32 bytes as they are, or 32 zero bytes and a BIP 39
//! mnemonic without passphrase. New ones are of the first kind.
//!
//! Not here yet: the encrypted formats, which are told apart and refused.

use std::io;

use bip39::Mnemonic;
use zeroize::Zeroizing;

use crate::folder::Folder;
use crate::secret::{Secret, fill_random};

pub(crate) const FILE: &str = "hsm_secret";
const TEMPORARY: &str = "hsm_secret.new";
const PLAIN: usize = 32;
const ENCRYPTED: usize = 73;
/// Marks a mnemonic; all zero without a passphrase.
const HASH: usize = 32;
/// Longest file that is looked at, in bytes: 24 words need far less.
const MAX: u64 = 1024;

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
    #[error("{FILE} is a mnemonic with a passphrase, which is not supported yet")]
    Passphrase,
    #[error("{FILE} holds no valid BIP 39 mnemonic: restore it from a backup")]
    Mnemonic,
}

/// What all keys derive from.
pub(crate) enum Seed {
    Plain(Secret<PLAIN>),
    /// BIP 39's seed, of which Core Lightning uses the first half for everything but the wallet.
    Mnemonic(Secret<64>),
}

impl Seed {
    /// The file's seed; `None` if there is no file.
    pub(crate) fn read(folder: &Folder) -> Result<Option<Seed>, SeedError> {
        let read = folder.read(FILE, MAX);
        let bytes = read.map_err(|error| SeedError::Io {
            doing: "read",
            error,
        })?;
        bytes.map(|bytes| Seed::parse(&bytes)).transpose()
    }

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

    pub(crate) fn parse(bytes: &[u8]) -> Result<Seed, SeedError> {
        if let Ok(plain) = <[u8; PLAIN]>::try_from(bytes) {
            return Ok(Seed::Plain(Secret(plain)));
        }
        if bytes.len() == ENCRYPTED {
            return Err(SeedError::Encrypted);
        }
        let Some((hash, words)) = bytes.split_at_checked(HASH) else {
            return Err(SeedError::Length(bytes.len()));
        };
        if hash.iter().any(|byte| *byte != 0) {
            return Err(SeedError::Passphrase);
        }
        let words = std::str::from_utf8(words).map_err(|_| SeedError::Mnemonic)?;
        let mnemonic = Mnemonic::parse_normalized(words).map_err(|_| SeedError::Mnemonic)?;
        Ok(Seed::Mnemonic(Secret(mnemonic.to_seed_normalized(""))))
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

    #[test]
    fn a_file_of_no_known_format_is_refused_by_what_it_is() {
        let refused = |bytes: &[u8]| match Seed::parse(bytes) {
            Ok(_) => panic!("taken"),
            Err(error) => error,
        };
        assert!(matches!(refused(&[]), SeedError::Length(0)));
        assert!(matches!(refused(&[1; 31]), SeedError::Length(31)));
        assert!(matches!(refused(&[1; 73]), SeedError::Encrypted));
        assert!(matches!(refused(&[1; 100]), SeedError::Passphrase));
        assert!(matches!(refused(&[0; 100]), SeedError::Mnemonic));
    }
}
