//! From the bytes of the file to the state that they amount to. Changes nothing.

use wire::ChainHash;

use super::JournalError;
use super::format::{self, Begin, Chain, Parsed};
use super::heads::Heads;
use crate::record::Record;
use crate::secret::Secret;
use crate::state::{Misfit, State};

pub(crate) struct Replayed {
    pub(crate) state: State,
    pub(crate) heads: Heads,
    pub(super) chain: Chain,
    /// Bytes of header and records. What follows them is a torn tail.
    pub(crate) len: u64,
    /// Bytes of header and snapshot.
    pub(super) base: u64,
}

pub(crate) fn replay(
    bytes: &[u8],
    chain_hash: ChainHash,
    key: Secret<32>,
) -> Result<Replayed, JournalError> {
    let (begin, mut chain) = format::read_header(bytes, chain_hash, key)?;
    let mut heads = Heads::new(chain.head());
    let mut state = State::new();
    let (mut at, mut base) = (format::HEADER, format::HEADER);
    let mut in_snapshot = begin == Begin::Snapshot;
    loop {
        let start = at as u64;
        let damaged = |what| JournalError::Damaged { at: start, what };
        let record = match chain.parse(bytes, at).map_err(damaged)? {
            // It was whole before it got its name.
            Parsed::End | Parsed::Torn if in_snapshot => {
                return Err(damaged("the snapshot that it begins with is cut off"));
            }
            Parsed::End | Parsed::Torn => break,
            Parsed::Record { record, len } => {
                at = at.saturating_add(len);
                *record
            }
        };
        match record {
            Record::SnapshotHeads(snapshot) => {
                (heads, base, in_snapshot) = (snapshot, at, false);
            }
            record => {
                let counted = heads.push(&record, chain.head());
                counted
                    .and_then(|()| state.apply(record))
                    .map_err(|Misfit(what)| damaged(what))?;
            }
        }
    }
    Ok(Replayed {
        state,
        heads,
        chain,
        len: at as u64,
        base: base as u64,
    })
}
