//! Whether the database and hsm-journal are of the same moment (rule B2).
//!
//! hsmd says how far its journal is durable in a block of memory that it shares with us. Each batch of the
//! database takes that along, and the next start gives it back to hsmd, which refuses to sign if the
//! journal does not have that record, or has gone on further than a crash explains. The numbers of each
//! channel's commitments are compared here besides: they tell an older database of the same start too.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context, bail};
use channel::state::Live;
use ipc_messages::hsm::ctl;
use ipc_messages::hsm::mark::Mark;
use lightningd_db::{Batch, Db, Found};
use wire::CommitmentNumber;

/// What the database last saw of hsmd's journal (rule B2).
///
/// # Errors
/// That is no mark.
pub fn database(found: Option<&Found>) -> anyhow::Result<ctl::Database> {
    let Some(found) = found else {
        return Ok(ctl::Database::Absent);
    };
    let mark = mark(found.stamp())?;
    Ok(ctl::Database::Present { mark })
}

/// The mark that the database's last batch is stamped with.
///
/// # Errors
/// That is no mark.
pub fn mark(stamp: Option<&[u8]>) -> anyhow::Result<Option<Mark>> {
    let read = |stamp| Mark::from_block(stamp).context("the database's stamp is no mark");
    stamp.map(read).transpose()
}

/// From now on each batch says how far hsmd's journal was, and the database knows of this start of
/// hsmd's before anything is asked that hsmd records.
///
/// # Errors
/// The database cannot be written.
pub async fn stamp(db: &Db, marks: Arc<File>) -> anyhow::Result<()> {
    db.stamp_with(Box::new(move || match Mark::read(&marks) {
        Ok(mark) => mark.map(|mark| mark.to_block().to_vec()),
        Err(error) => {
            tracing::warn!("hsmd's mark cannot be read: {error}");
            None
        }
    }));
    Ok(db.commit(Batch::new()).await?)
}

/// The numbers of a channel's commitments in the database and in hsm-journal. hsmd signs the peer's
/// commitment n only after the database has it, and the database has ours only after hsmd verified it:
/// each may be one behind in that order (ADR 4), and no other way.
///
/// # Errors
/// One of them is an older copy: which, and what to do.
pub fn compare(live: &Live, known: &[ctl::Known]) -> anyhow::Result<()> {
    let dbid = live.dbid;
    let Some(known) = known.iter().find(|known| known.channel == dbid) else {
        bail!(
            "the database has channel {dbid}, but hsm-journal does not know it: the journal is \
             an older copy or belongs to another node. Put back the newest hsm-journal from a \
             backup; do not go on with this one"
        );
    };
    let (local, remote) = (live.local_next, live.remote_next);
    let (hsm_local, hsm_remote) = (next(known.local), next(known.remote));
    match fits(local, remote, *known) {
        Fits::Yes => Ok(()),
        Fits::DatabaseOlder => bail!(
            "the database has commitments {local} and {remote} of channel {dbid} next, but \
             hsm-journal {hsm_local} and {hsm_remote}: the database is an older copy, and its state \
             of the channel is revoked. Put back the newest folder db, the one of the same moment as \
             hsm-journal; do not go on with this one. If that is lost, start the node with \
             --await-recovery and run lightning-hsmtool confirm-recovery"
        ),
        Fits::JournalOlder => bail!(
            "the database has commitments {local} and {remote} of channel {dbid} next, but \
             hsm-journal only {hsm_local} and {hsm_remote}: the journal is an older copy. Put back \
             the newest hsm-journal from a backup; do not go on with this one"
        ),
    }
}

/// Whether hsmd has gone on with the channel since this state of it.
#[must_use]
pub fn is_older(live: &Live, known: &[ctl::Known]) -> bool {
    let known = known.iter().find(|known| known.channel == live.dbid);
    known
        .is_some_and(|known| fits(live.local_next, live.remote_next, *known) == Fits::DatabaseOlder)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    Yes,
    DatabaseOlder,
    JournalOlder,
}

fn next(newest: Option<CommitmentNumber>) -> u64 {
    newest.map_or(0, |n| n.0.saturating_add(1))
}

/// The numbers of the next commitments in the database, ours and the peer's, and what hsmd knows.
fn fits(local: CommitmentNumber, remote: CommitmentNumber, known: ctl::Known) -> Fits {
    let (hsm_local, hsm_remote) = (next(known.local), next(known.remote));
    if hsm_local > local.0.saturating_add(1) || hsm_remote > remote.0 {
        return Fits::DatabaseOlder;
    }
    // The database counts both commitments 0 from its first record of the channel on.
    if hsm_local.max(1) < local.0 || hsm_remote.saturating_add(1) < remote.0 {
        return Fits::JournalOlder;
    }
    Fits::Yes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(local: u64, remote: u64) -> ctl::Known {
        let newest = |next: u64| next.checked_sub(1).map(CommitmentNumber);
        ctl::Known {
            channel: wire::ChannelDbid(1),
            local: newest(local),
            remote: newest(remote),
        }
    }

    fn accepted(local: u64, remote: u64, known: ctl::Known) -> bool {
        fits(CommitmentNumber(local), CommitmentNumber(remote), known) == Fits::Yes
    }

    #[test]
    fn b2_one_commitment_is_under_way_and_no_more() {
        // hsmd verified ours, and the database does not know yet; the database has the peer's, and hsmd
        // did not sign it yet.
        for (local, remote) in [(7, 7), (8, 7), (7, 6), (8, 6)] {
            assert!(accepted(7, 7, known(local, remote)), "{local} {remote}");
        }
        for (local, remote) in [(9, 7), (7, 8), (8, 8), (6, 7), (7, 5), (6, 6), (9, 9)] {
            assert!(!accepted(7, 7, known(local, remote)), "{local} {remote}");
        }
    }

    #[test]
    fn b2_an_opening_that_a_crash_ended_is_no_older_copy() {
        for (local, remote) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)] {
            assert!(accepted(1, 1, known(local, remote)), "{local} {remote}");
        }
    }
}
