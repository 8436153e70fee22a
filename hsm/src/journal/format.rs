//! The bytes of the journal.
//!
//! ```text
//! header  "bulkhsm1" | chain hash 32 | before 32 | tag 32
//! record  length 4, little endian | check 8 | payload | tag 32
//! ```
//! `before` is random in a first journal, and in a compacted one the head of the journal that it
//! replaces. The head after the header is SHA-256 of its first 72 bytes, and after a record
//! SHA-256(head before | length | payload). A tag is HMAC-SHA256 over "tag" and the head after; a
//! check is the first 8 bytes of HMAC-SHA256 over "len", the head before and the length: a length
//! that a disk has spoilt is not believed.

use hmac::{Hmac, Mac};
use ipc_transport::codec::{self, EncodeError};
use sha2::{Digest, Sha256};
use wire::ChainHash;
use zeroize::Zeroizing;

use super::JournalError;
use crate::record::Record;
use crate::secret::Secret;

const MAGIC: &[u8; 8] = b"bulkhsm1";
const SIGNED_HEADER: usize = 8 + 32 + 32;
const TAG: usize = 32;
pub(super) const HEADER: usize = SIGNED_HEADER + TAG;
const LENGTH: usize = 4;
const CHECK: usize = 8;
const HEAD: usize = LENGTH + CHECK;

/// Where a journal has come to.
pub(super) struct Chain {
    head: [u8; 32],
    key: Secret<32>,
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
    chain_hash: ChainHash,
    before: [u8; 32],
    key: &Secret<32>,
) -> (Vec<u8>, Chain) {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&chain_hash.0);
    bytes.extend_from_slice(&before);
    let chain = Chain {
        head: Sha256::digest(&bytes).into(),
        key: Secret(key.0),
    };
    let tag = chain.tag();
    bytes.extend_from_slice(&tag);
    (bytes, chain)
}

pub(super) fn read_header(
    bytes: &[u8],
    chain_hash: ChainHash,
    key: Secret<32>,
) -> Result<Chain, JournalError> {
    let header = bytes.get(..HEADER).ok_or(JournalError::NotAJournal)?;
    let (signed, tag) = header
        .split_at_checked(SIGNED_HEADER)
        .ok_or(JournalError::NotAJournal)?;
    if signed.get(..8) != Some(MAGIC) {
        return Err(JournalError::NotAJournal);
    }
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
    Ok(chain)
}

impl Chain {
    /// Header and chain of the journal that replaces this one.
    pub(super) fn successor(&self, chain_hash: ChainHash) -> (Vec<u8>, Chain) {
        header(chain_hash, self.head, &self.key)
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

    /// What stands at the beginning of `rest`, which goes to the end of the file.
    pub(super) fn parse(&mut self, rest: &[u8]) -> Result<Parsed, &'static str> {
        if rest.is_empty() {
            return Ok(Parsed::End);
        }
        let Some((head, body)) = rest.split_at_checked(HEAD) else {
            return Ok(Parsed::Torn);
        };
        let (length, check) = head.split_at_checked(LENGTH).ok_or("no length")?;
        let length = <[u8; LENGTH]>::try_from(length).map_err(|_| "no length")?;
        if check != self.check(length) {
            return match rest.iter().all(|byte| *byte == 0) {
                true => Ok(Parsed::Torn),
                false => Err("the length of a record is not what was written"),
            };
        }
        let len = u32::from_le_bytes(length) as usize;
        let Some((payload, after)) = body.split_at_checked(len) else {
            return Ok(Parsed::Torn);
        };
        let Some((tag, after)) = after.split_at_checked(TAG) else {
            return Ok(Parsed::Torn);
        };
        let before = self.head;
        self.advance(length, payload);
        if !self.has_tag(tag) {
            self.head = before;
            return match tag.iter().chain(after).all(|byte| *byte == 0) {
                true => Ok(Parsed::Torn),
                false => Err("a record is not what was written"),
            };
        }
        let record = codec::decode(payload).map_err(|_| "a record of an unknown kind")?;
        Ok(Parsed::Record {
            record: Box::new(record),
            len: HEAD.saturating_add(len).saturating_add(TAG),
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

    fn mac(&self, domain: &[u8]) -> Hmac<Sha256> {
        // HMAC fills a shorter key with zeros to a block of the hash.
        let mut block = Zeroizing::new([0; 64]);
        for (to, from) in block.iter_mut().zip(&self.key.0) {
            *to = *from;
        }
        let mut mac = <Hmac<Sha256> as Mac>::new((&*block).into());
        mac.update(domain);
        mac.update(&self.head);
        mac
    }

    fn tag(&self) -> [u8; TAG] {
        self.mac(b"tag").finalize().into_bytes().into()
    }

    fn has_tag(&self, tag: &[u8]) -> bool {
        self.mac(b"tag").verify_slice(tag).is_ok()
    }

    fn check(&self, length: [u8; LENGTH]) -> [u8; CHECK] {
        let mac = self
            .mac(b"len")
            .chain_update(length)
            .finalize()
            .into_bytes();
        let mut check = [0; CHECK];
        for (to, from) in check.iter_mut().zip(mac) {
            *to = from;
        }
        check
    }
}
