//! The number of the last batch that is known to be durable, in a small file beside RocksDB's.
//!
//! It is what tells a log that ends early because its last batch was never acknowledged from one
//! that lost acknowledged batches: RocksDB stops reading its write-ahead log at the first bad
//! record and would start without the rest. The number is written after each sync of the log, and
//! not synced itself: it survives a crash of the process at once and a power cut once the system
//! has written it back (within half a minute). So it is never ahead of the log, and a start is
//! never refused without cause.
//!
//! Two slots, written in turn, each the number and its complement. After them, twice, what is durable of the
//! manifest ([`crate::manifest`]), synced whenever it changes; a file of an older version ends before. The file
//! is locked while the database is open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use bitcoin::hashes::{Hash, sha256};

use crate::error::DbError;
use crate::manifest::Seal;

pub(crate) const FILE: &str = "ACKNOWLEDGED";
const SLOTS: [u64; 2] = [0, 512];
const SEALS: [u64; 2] = [1024, 1536];

#[derive(Debug)]
pub(crate) struct Watermark {
    file: Flock<File>,
    next: usize,
}

impl Watermark {
    /// Makes the file, durably, with number 0.
    pub fn create(folder: &Path) -> Result<(), DbError> {
        let fail = |e| DbError::io("create", &folder.join(FILE), e);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(folder.join(FILE))
            .map_err(fail)?;
        for slot in SLOTS {
            file.write_all_at(&encode(0), slot).map_err(fail)?;
        }
        file.sync_all().map_err(fail)
    }

    /// Locks the file without reading it.
    pub fn lock(folder: &Path) -> Result<Watermark, DbError> {
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.join(FILE));
        let file = open.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => DbError::MissingFile {
                path: folder.into(),
                file: FILE.into(),
            },
            _ => DbError::io("open", &folder.join(FILE), e),
        })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Watermark { file, next: 0 }),
            Err((_, Errno::EWOULDBLOCK)) => Err(DbError::InUse {
                path: folder.into(),
            }),
            Err((_, e)) => Err(DbError::io("lock", &folder.join(FILE), e)),
        }
    }

    /// The number.
    pub fn read(&self, folder: &Path) -> Result<u64, DbError> {
        let slot = |offset| {
            let mut bytes = [0; 16];
            self.file.read_exact_at(&mut bytes, offset).ok()?;
            decode(bytes)
        };
        let newest = SLOTS.into_iter().filter_map(slot).max();
        newest.ok_or_else(|| DbError::Watermark {
            path: folder.into(),
            detail: "neither of its numbers is whole".into(),
        })
    }

    /// Writes a number, not durably.
    pub fn write(&mut self, number: u64) -> std::io::Result<()> {
        self.next = 1 - self.next;
        self.file.write_all_at(&encode(number), SLOTS[self.next])
    }

    /// What is durable of the manifest; `None` if an older version wrote the file.
    pub fn sealed(&self, folder: &Path) -> Result<Option<Seal>, DbError> {
        let read = |e| DbError::io("read", &folder.join(FILE), e);
        if self.file.metadata().map_err(read)?.len() <= SEALS[0] {
            return Ok(None);
        }
        let slot = |offset| {
            let mut bytes = [0; SEAL];
            self.file.read_exact_at(&mut bytes, offset).ok()?;
            decode_seal(&bytes)
        };
        let newest = SEALS.into_iter().filter_map(slot).max();
        newest.map(Some).ok_or_else(|| DbError::Watermark {
            path: folder.into(),
            detail: "neither of its seals is whole".into(),
        })
    }

    /// Writes what is durable of the manifest, durably.
    pub fn seal(&self, seal: &Seal) -> std::io::Result<()> {
        for slot in SEALS {
            self.file.write_all_at(&encode_seal(seal), slot)?;
            self.sync()?;
        }
        Ok(())
    }

    /// Forgets the numbers, durably: the owner has accepted that commits are lost.
    pub fn reset(&self, number: u64) -> std::io::Result<()> {
        for slot in SLOTS {
            self.file.write_all_at(&encode(number), slot)?;
        }
        self.file.sync_all()
    }

    /// Makes the number durable.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(number: u64) -> [u8; 16] {
    (u128::from(number) << 64 | u128::from(!number)).to_be_bytes()
}

fn decode(bytes: [u8; 16]) -> Option<u64> {
    let both = u128::from_be_bytes(bytes);
    let (number, complement) = ((both >> 64) as u64, both as u64);
    (number == !complement).then_some(number)
}

/// Number, length and hash, and a hash of the three.
const SEAL: usize = 80;

fn encode_seal(seal: &Seal) -> [u8; SEAL] {
    let mut bytes = [0; SEAL];
    bytes[..8].copy_from_slice(&seal.number.to_be_bytes());
    bytes[8..16].copy_from_slice(&seal.len.to_be_bytes());
    bytes[16..48].copy_from_slice(&seal.hash);
    let whole = sha256::Hash::hash(&bytes[..48]);
    bytes[48..].copy_from_slice(whole.as_byte_array());
    bytes
}

fn decode_seal(bytes: &[u8; SEAL]) -> Option<Seal> {
    let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    let seal = Seal {
        number: word(0)?,
        len: word(8)?,
        hash: bytes[16..48].try_into().ok()?,
    };
    (encode_seal(&seal) == *bytes).then_some(seal)
}
