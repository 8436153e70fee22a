//! How far the journal has come, and whether the database belongs to it (rule B2).
//!
//! Records are numbered from 1 on; those of a snapshot are not, so that the newest number and its
//! head outlive a compaction. lightningd keeps a [`Mark`] in each batch of the database and gives it
//! back at the next start. Only what is durable here gets into a mark, so a mark that the journal
//! does not know means that the journal is an older copy, always. The other way round the database
//! may lag, but only by what was under way in a crash:
//! - lightningd writes down the mark of a start before it asks for anything else: the database knows
//!   of the newest start after which anything was recorded;
//! - within that start it lags by no more than [`in_flight`] records.

use std::collections::VecDeque;

use hsm_messages::ctl::Database;
use hsm_messages::mark::Mark;
use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::record::Record;
use crate::state::Misfit;

/// Newest heads that are remembered. Nothing further back is ever accepted.
const KEPT: u64 = 8192;
/// Records of one channel that the database need not know of: between two batches of a channel there
/// is at most a commitment of the peer, its revocation, one of ours, and one step of a close.
const PER_CHANNEL: u64 = 4;
/// The same of lightningd's own sockets and the operator's: each has at most 256 requests under way, and
/// what lightningd then writes without waiting may be a second late.
const OF_THE_NODE: u64 = 2048;

/// The newest heads, and the starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Heads {
    /// Number of the last start; 0 before the first.
    epoch: u64,
    /// Number of that start's record.
    started: u64,
    /// Number of the newest start's record after which anything else was recorded.
    used: u64,
    /// Number that the first of `heads` belongs to.
    first: u64,
    heads: VecDeque<[u8; 32]>,
}

/// Most records that a database may lag behind by, with so many channels.
fn in_flight(channels: usize) -> u64 {
    let channels = u64::try_from(channels).unwrap_or(u64::MAX);
    OF_THE_NODE
        .saturating_add(channels.saturating_mul(PER_CHANNEL))
        .min(KEPT)
}

impl Heads {
    /// A journal without records, with the head after its header.
    pub(super) fn new(head: [u8; 32]) -> Heads {
        Heads {
            epoch: 0,
            started: 0,
            used: 0,
            first: 0,
            heads: VecDeque::from([head]),
        }
    }

    /// Counts a record, with the head after it.
    pub(super) fn push(&mut self, record: &Record, head: [u8; 32]) -> Result<(), Misfit> {
        self.heads.push_back(head);
        if self.heads.len() as u64 > KEPT {
            self.heads.pop_front();
            self.first = self.first.saturating_add(1);
        }
        if let Record::Start(epoch) = record {
            if *epoch != self.next_epoch() {
                return Err(Misfit("starts are not numbered in order"));
            }
            (self.epoch, self.started) = (*epoch, self.sequence());
        } else {
            self.used = self.started;
        }
        Ok(())
    }

    pub(super) fn next_epoch(&self) -> u64 {
        self.epoch.saturating_add(1)
    }

    /// Number of the newest record.
    fn sequence(&self) -> u64 {
        let after = self.first.saturating_add(self.heads.len() as u64);
        after.saturating_sub(1)
    }

    pub(crate) fn newest(&self) -> Mark {
        Mark {
            epoch: self.epoch,
            sequence: self.sequence(),
            head: self.heads.back().copied().unwrap_or_default(),
        }
    }

    /// B2: whether this journal and that database are of the same moment.
    pub(super) fn check(&self, database: Database, channels: usize) -> Result<(), JournalError> {
        let mark = database.mark();
        let (epoch, sequence) = mark.map_or((0, 0), |mark| (mark.epoch, mark.sequence));
        let newest = self.newest();
        let journal = newest.sequence;
        let older = JournalError::Older {
            epoch,
            sequence,
            journal,
        };
        if sequence > journal {
            return Err(older);
        }
        let behind = match database == Database::Absent {
            true => JournalError::NoDatabase { journal },
            false => JournalError::DatabaseOlder {
                epoch,
                sequence,
                journal_epoch: newest.epoch,
                journal,
            },
        };
        let restored = database.is_put_back();
        let at = usize::try_from(sequence.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        let Some(head) = self.heads.get(at) else {
            return if restored { Ok(()) } else { Err(behind) };
        };
        if mark.is_some_and(|mark| mark.head != *head) {
            return Err(older);
        }
        let lag = journal.saturating_sub(sequence);
        match sequence < self.used || lag > in_flight(channels) {
            true if !restored => Err(behind),
            true | false => Ok(()),
        }
    }
}
