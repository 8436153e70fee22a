//! The bytes of the journal.
//!
//! ```text
//! header  "bulkhsm1" or "bulksnap" | chain hash 32 | before 32 | tag 32
//! record  length 4, little endian | check 8 | payload | tag 32
//! ```
//! A first journal ("bulkhsm1") begins with nothing and its `before` is random; a compacted one
//! ("bulksnap") begins with a snapshot, and `before` is the head of the journal that it replaces. The head after the header is SHA-256 of its first 72 bytes, and after a record
//! SHA-256(head before | length | payload). A tag is HMAC-SHA256 over "tag" and the head after; a
//! check is the first 8 bytes of HMAC-SHA256 over "len", the head before and the length: a length
//! that a disk has spoilt is not believed.

use bitcoin::hashes::cmp::fixed_time_eq;
use ipc_transport::codec::{self, EncodeError};
use sha2::{Digest, Sha256};
use wire::ChainHash;
use wire::hkdf::hmac;

use super::JournalError;
use crate::record::Record;
use crate::secret::Secret;

const SIGNED_HEADER: usize = 8 + 32 + 32;
const TAG: usize = 32;
pub(super) const HEADER: usize = SIGNED_HEADER + TAG;
const LENGTH: usize = 4;
const CHECK: usize = 8;
const HEAD: usize = LENGTH + CHECK;
/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Where a journal has come to.
pub(super) struct Chain {
    head: [u8; 32],
    key: Secret<32>,
}

/// What a journal's records come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Nothing,
    Snapshot,
}

impl Begin {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Begin::Nothing => b"bulkhsm1",
            Begin::Snapshot => b"bulksnap",
        }
    }
}

/// What stands at a place of the file.
pub(super) enum Parsed {
    End,
    /// Nobody has heard of what was to be written here.
    Torn,
    Record {
        record: Box<Record>,
        len: usize,
    },
}

pub(super) fn header(
    begin: Begin,
    chain_hash: ChainHash,
    before: [u8; 32],
    key: &Secret<32>,
) -> (Vec<u8>, Chain) {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(begin.magic());
    bytes.extend_from_slice(&chain_hash.0);
    bytes.extend_from_slice(&before);
    let chain = Chain {
        head: Sha256::digest(&bytes).into(),
        key: Secret::new(**key),
    };
    let tag = chain.tag();
    bytes.extend_from_slice(&tag);
    (bytes, chain)
}

pub(super) fn read_header(
    bytes: &[u8],
    chain_hash: ChainHash,
    key: Secret<32>,
) -> Result<(Begin, Chain), JournalError> {
    let header = bytes.get(..HEADER).ok_or(JournalError::NotAJournal)?;
    let (signed, tag) = header
        .split_at_checked(SIGNED_HEADER)
        .ok_or(JournalError::NotAJournal)?;
    let begin = [Begin::Nothing, Begin::Snapshot]
        .into_iter()
        .find(|begin| signed.starts_with(begin.magic()))
        .ok_or(JournalError::NotAJournal)?;
    let chain = Chain {
        head: Sha256::digest(signed).into(),
        key,
    };
    if !chain.has_tag(tag) {
        return Err(JournalError::OtherSeed);
    }
    if signed.get(8..40) != Some(&chain_hash.0) {
        return Err(JournalError::OtherChain);
    }
    Ok((begin, chain))
}

/// Genesis hash of the chain that a journal says it is for.
pub(crate) fn chain_of(bytes: &[u8]) -> Result<[u8; 32], JournalError> {
    let (_, rest) = bytes.split_at_checked(8).ok_or(JournalError::NotAJournal)?;
    let chain = rest.first_chunk().ok_or(JournalError::NotAJournal)?;
    Ok(*chain)
}

impl Chain {
    /// Header and chain of the journal that replaces this one.
    pub(super) fn successor(&self, chain_hash: ChainHash) -> (Vec<u8>, Chain) {
        header(Begin::Snapshot, chain_hash, self.head, &self.key)
    }

    /// Appends the record's bytes to `out`, and goes on to the head after it.
    pub(super) fn append(&mut self, record: &Record, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        let len = match codec::encode_into(record, out) {
            Ok(len) => len,
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        // encode_into keeps within a frame's limit, which is far below 2^32.
        let length = (len as u32).to_le_bytes();
        let check = self.check(length);
        if let Some(head) = out.get_mut(start..start.saturating_add(HEAD)) {
            for (to, from) in head.iter_mut().zip(length.iter().chain(&check)) {
                *to = *from;
            }
        }
        let payload = out.get(start.saturating_add(HEAD)..).unwrap_or_default();
        self.advance(length, payload);
        let tag = self.tag();
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Head after the last record.
    pub(super) fn head(&self) -> [u8; 32] {
        self.head
    }

    /// What stands at byte `at` of the file.
    pub(super) fn parse(&mut self, file: &[u8], at: usize) -> Result<Parsed, &'static str> {
        let rest = file.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Parsed::End);
        }
        let Some((head, body)) = rest.split_at_checked(HEAD) else {
            return Ok(Parsed::Torn);
        };
        let (length, check) = head.split_at_checked(LENGTH).ok_or("no length")?;
        let length = <[u8; LENGTH]>::try_from(length).map_err(|_| "no length")?;
        if check != self.check(length) {
            return match is_torn(file, at, at.saturating_add(HEAD)) {
                true => Ok(Parsed::Torn),
                false => Err("the length of a record is not what was written"),
            };
        }
        let len = u32::from_le_bytes(length) as usize;
        let Some((payload, after)) = body.split_at_checked(len) else {
            return Ok(Parsed::Torn);
        };
        let Some(tag) = after.get(..TAG) else {
            return Ok(Parsed::Torn);
        };
        let before = self.head;
        self.advance(length, payload);
        let tag_at = at.saturating_add(HEAD).saturating_add(len);
        let end = tag_at.saturating_add(TAG);
        if !self.has_tag(tag) {
            self.head = before;
            return match is_torn(file, tag_at, end) {
                true => Ok(Parsed::Torn),
                false => Err("a record is not what was written"),
            };
        }
        let record = codec::decode(payload).map_err(|_| "a record of an unknown kind")?;
        Ok(Parsed::Record {
            record: Box::new(record),
            len: end.saturating_sub(at),
        })
    }

    fn advance(&mut self, length: [u8; LENGTH], payload: &[u8]) {
        let hash = Sha256::new_with_prefix(self.head);
        self.head = hash
            .chain_update(length)
            .chain_update(payload)
            .finalize()
            .into();
    }

    fn mac(&self, domain: &[u8], rest: &[u8]) -> [u8; TAG] {
        *hmac(&*self.key, &[domain, &self.head, rest])
    }

    fn tag(&self) -> [u8; TAG] {
        self.mac(b"tag", &[])
    }

    fn has_tag(&self, tag: &[u8]) -> bool {
        tag.len() == TAG && fixed_time_eq(tag, &self.tag())
    }

    fn check(&self, length: [u8; LENGTH]) -> [u8; CHECK] {
        let mut check = [0; CHECK];
        for (to, from) in check.iter_mut().zip(self.mac(b"len", &length)) {
            *to = from;
        }
        check
    }
}

/// Whether a record that does not verify was never written to its end: from `seal` on, or from one of
/// the disk's sectors within it on, there are zeros to the end of the file.
fn is_torn(file: &[u8], seal: usize, end: usize) -> bool {
    let zeros = file.iter().rev().take_while(|byte| **byte == 0).count();
    let zeros_from = file.len().saturating_sub(zeros);
    let sector = zeros_from.checked_next_multiple_of(SECTOR);
    zeros_from <= seal || sector.is_some_and(|sector| sector < end.min(file.len()))
}
