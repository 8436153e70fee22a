//! How far RocksDB's manifest is known to be durable.
//!
//! The manifest names the tables that are the database. RocksDB only appends to it, and takes one that ends early
//! for one whose last record was being written in a crash: it starts with the tables that the rest still names, and
//! those that the lost records named are deleted. So the length that was durable is kept beside it
//! ([`crate::watermark`]) with a hash of all bytes up to there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bitcoin::hashes::{Hash, HashEngine, sha256};

use crate::error::DbError;
use crate::watermark::Watermark;

/// The bytes of a manifest that are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seal {
    /// Of the manifest: each has a higher one than those before it.
    pub number: u64,
    /// Bytes.
    pub len: u64,
    /// SHA-256 of them.
    pub hash: [u8; 32],
}

/// The manifest in use, and how far it is sealed.
pub(crate) struct Manifest {
    folder: PathBuf,
    number: u64,
    file: File,
    len: u64,
    engine: sha256::HashEngine,
}

impl Manifest {
    /// The one that `CURRENT` names; nothing of it is sealed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn current(folder: &Path) -> io::Result<Manifest> {
        let current = fs::read(folder.join("CURRENT"))?;
        let number = number(&current)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "CURRENT names no manifest"))?;
        Ok(Manifest {
            folder: folder.into(),
            number,
            file: File::open(folder.join(name(number)))?,
            len: 0,
            engine: sha256::HashEngine::default(),
        })
    }

    /// Seals what has been written since the last time, in the one in use now. Without anything new it costs one
    /// call.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn follow(&mut self, watermark: &Watermark) -> io::Result<()> {
        let seen = self.file.metadata()?;
        if seen.nlink() == 0 {
            *self = Manifest::current(&self.folder)?;
        } else if seen.len() == self.len {
            return Ok(());
        }
        // RocksDB syncs it too, but maybe not yet: nothing is sealed that a power cut could take.
        self.read()?;
        self.file.sync_data()?;
        watermark.seal(&Seal {
            number: self.number,
            len: self.len,
            hash: sha256::Hash::from_engine(self.engine.clone()).to_byte_array(),
        })
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        (&self.file).read_to_end(&mut bytes)?;
        self.engine.input(&bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}

fn name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

fn number(current: &[u8]) -> Option<u64> {
    let name = std::str::from_utf8(current).ok()?.strip_suffix('\n')?;
    let digits = name.strip_prefix("MANIFEST-")?;
    let whole = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| whole)
}

/// `CURRENT` names a manifest that is there. RocksDB says the same less clearly.
pub(crate) fn check(path: &Path) -> Result<(), DbError> {
    let lacks = |file: &str| DbError::MissingFile {
        path: path.into(),
        file: file.into(),
    };
    let current = match fs::read(path.join("CURRENT")) {
        Ok(current) => current,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(lacks("CURRENT")),
        Err(e) => return Err(DbError::io("read", &path.join("CURRENT"), e)),
    };
    let Some(number) = number(&current) else {
        return Err(damaged(path, "CURRENT does not name a manifest".into()));
    };
    let file = path.join(name(number));
    match file.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(lacks(&name(number))),
        Err(e) => Err(DbError::io("read", &file, e)),
    }
}

/// The manifest in use begins with what was sealed, or is newer.
pub(crate) fn check_seal(path: &Path, watermark: &Watermark) -> Result<(), DbError> {
    let Some(sealed) = watermark.sealed(path)? else {
        return Ok(());
    };
    let unreadable = |e| DbError::io("read the manifest of", path, e);
    let current = Manifest::current(path).map_err(unreadable)?;
    let shown = name(current.number);
    if current.number != sealed.number {
        let newer = current.number > sealed.number;
        let older = || format!("{shown} is older than {}", name(sealed.number));
        return newer.then_some(()).ok_or_else(|| damaged(path, older()));
    }
    let mut bytes = Vec::new();
    let mut durable = (&current.file).take(sealed.len);
    durable.read_to_end(&mut bytes).map_err(unreadable)?;
    if (bytes.len() as u64) < sealed.len {
        let (found, sealed) = (bytes.len(), sealed.len);
        let detail = format!("{shown} has {found} bytes, but {sealed} were durable");
        return Err(damaged(path, detail));
    }
    match sha256::Hash::hash(&bytes).to_byte_array() == sealed.hash {
        true => Ok(()),
        false => Err(damaged(path, format!("{shown} is not what was written"))),
    }
}

fn damaged(path: &Path, detail: String) -> DbError {
    DbError::Damaged {
        path: path.into(),
        detail,
    }
}
