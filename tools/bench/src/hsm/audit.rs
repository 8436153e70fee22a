//! What hsmd's audit log takes of its time: a line for each request, and one write for each round, by the
//! code that hsmd runs, on its own.

use std::fs::File;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::Result;
use hsm_files::UnixTime;
use hsm_files::audit::{AuditLog, Decision, Entry, digest};
use wire::ChannelDbid;

use super::Row;

/// Lengths of a request and a reply that are usual, in bytes: a commitment with one HTLC.
const REQUEST: [u8; 300] = [1; 300];
const REPLY: [u8; 150] = [2; 150];

/// So many lines in each round.
pub fn lines(place: &Path, at_once: usize, rounds: usize) -> Result<Row> {
    let folder = tempfile::tempdir_in(place)?;
    let now = UnixTime::from(SystemTime::now());
    let mut log = AuditLog::open(File::open(folder.path())?.into(), now)?;
    let mut row = Row::new("audit log alone, a line", at_once);
    for _ in 0..rounds {
        let begun = Instant::now();
        for _ in 0..at_once {
            log.note(&Entry {
                role: "CHAN",
                channel: Some(ChannelDbid(1)),
                message: "SignRemote",
                count: 1,
                request: digest(&REQUEST),
                decision: Decision::Ok,
                reply: digest(&REPLY),
            });
        }
        log.write()?;
        let took = begun.elapsed();
        row.latencies.extend(vec![took; at_once]);
        row.took += took;
    }
    Ok(row.done())
}
