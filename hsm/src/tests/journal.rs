//! What a crash or a disk may do to the journal.

use std::fs;
use std::path::Path;

use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::CommitmentFormat;
use wire::{ChainHash, CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, PaymentHash, Side};

use super::fixture::{CHAIN, Node, Pair, folder, open};
use crate::journal::{Journal, JournalError, replay};
use crate::secret::Secret;
use crate::state::State;
use crate::{Hsm, OpenError};
use hsm_files::folder::Folder;
use hsm_messages::ctl::Database;
use hsm_messages::mark::Mark;

/// A journal with one of nearly everything, and the lengths and states after its last two records.
struct Written {
    bytes: Vec<u8>,
    key: [u8; 32],
    before: (usize, State),
    after: (usize, State),
}

fn written() -> Written {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let add = Delta::Add {
        key: HtlcKey {
            offerer: Side::Local,
            id: HtlcId(0),
        },
        htlc: Htlc {
            amount: MilliSatoshi(20_000_000),
            payment_hash: PaymentHash([4; 32]),
            cltv_expiry: CltvExpiry(500),
        },
    };
    pair.commit(Side::Remote, std::slice::from_ref(&add));
    pair.commit(Side::Local, &[add]);
    let node = &mut pair.a.node;
    let before = (node.journal_len() as usize, node.hsm().state.clone());
    let fee = Delta::Fee {
        feerate: FeeratePerKw(500),
    };
    pair.sign(Side::Remote, &[fee]);
    let node = &mut pair.a.node;
    let after = (node.journal_len() as usize, node.hsm().state.clone());
    let key = *node.hsm().node.journal;
    let bytes = fs::read(node.journal()).unwrap();
    assert_eq!(bytes.len(), after.0);
    Written {
        bytes,
        key,
        before,
        after,
    }
}

fn read(dir: &Path, bytes: &[u8], key: [u8; 32]) -> Result<State, JournalError> {
    fs::write(dir.join("hsm-journal"), bytes).unwrap();
    let folder = Folder::new(folder(dir));
    let database = Database::Present {
        mark: newest(bytes, key),
    };
    Journal::open(&folder, CHAIN, Secret::new(key), database).map(|(_, state)| state)
}

/// What a database would know of it: all that is there.
fn newest(bytes: &[u8], key: [u8; 32]) -> Option<Mark> {
    let replayed = replay(bytes, CHAIN, Secret::new(key)).ok()?;
    Some(replayed.heads.newest())
}

#[test]
fn a_crash_at_every_byte_of_the_last_record_gives_the_state_before_it() {
    let written = written();
    let dir = tempfile::tempdir().unwrap();
    let (start, end) = (written.before.0, written.after.0);
    for len in start..end {
        let state = read(dir.path(), &written.bytes[..len], written.key).unwrap();
        assert_eq!(state, written.before.1, "cut at {len}");
        let left = fs::read(dir.path().join("hsm-journal")).unwrap();
        assert_eq!(left, &written.bytes[..start], "the tail is still there");
    }
    let state = read(dir.path(), &written.bytes, written.key).unwrap();
    assert_eq!(state, written.after.1);
}

#[test]
fn space_that_was_allocated_and_not_written_is_a_torn_tail() {
    let written = written();
    let dir = tempfile::tempdir().unwrap();
    let mut zeros = written.bytes.clone();
    zeros.extend([0; 5000]);
    assert_eq!(
        read(dir.path(), &zeros, written.key).unwrap(),
        written.after.1
    );
    // The last record's payload came to the disk and its tag did not.
    let mut no_tag = written.bytes.clone();
    let len = no_tag.len();
    no_tag[len - 32..].fill(0);
    assert_eq!(
        read(dir.path(), &no_tag, written.key).unwrap(),
        written.before.1
    );
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let written = written();
    let dir = tempfile::tempdir().unwrap();
    for at in 0..written.bytes.len() {
        let mut bytes = written.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = read(dir.path(), &bytes, written.key).expect_err(&format!("byte {at}"));
        assert!(
            matches!(
                error,
                JournalError::Damaged { .. } | JournalError::NotAJournal | JournalError::OtherSeed
            ),
            "byte {at}: {error}"
        );
        // What is refused is left as it is.
        assert_eq!(fs::read(dir.path().join("hsm-journal")).unwrap(), bytes);
    }
}

#[test]
fn bytes_taken_out_put_in_or_appended_are_refused() {
    let written = written();
    let dir = tempfile::tempdir().unwrap();
    for at in [104, 200, 400, written.before.0 - 1] {
        let mut bytes = written.bytes.clone();
        bytes.remove(at);
        assert!(
            read(dir.path(), &bytes, written.key).is_err(),
            "without byte {at}"
        );
        bytes = written.bytes.clone();
        bytes.insert(at, 7);
        assert!(
            read(dir.path(), &bytes, written.key).is_err(),
            "with a byte more at {at}"
        );
    }
    let mut bytes = written.bytes.clone();
    bytes.extend([7; 100]);
    assert!(read(dir.path(), &bytes, written.key).is_err());
    // The last record a second time.
    let mut bytes = written.bytes.clone();
    bytes.extend_from_slice(&written.bytes[written.before.0..]);
    assert!(read(dir.path(), &bytes, written.key).is_err());
}

#[test]
fn another_seed_another_chain_and_no_journal_at_all_are_told_apart() {
    let written = written();
    let dir = tempfile::tempdir().unwrap();
    let other = read(dir.path(), &written.bytes, [1; 32]);
    assert!(matches!(other, Err(JournalError::OtherSeed)));
    let none = read(dir.path(), b"", written.key);
    assert!(matches!(none, Err(JournalError::NotAJournal)));
    let mut node = Node::new();
    node.hsm().sync().unwrap();
    let dir = node.dir.path().to_owned();
    let keep = drop_hsm(node);
    let other = Hsm::open(
        folder(&dir),
        ChainHash([9; 32]),
        Database::Present { mark: None },
    )
    .map(drop);
    assert!(matches!(
        other,
        Err(OpenError::Journal(JournalError::OtherChain))
    ));
    drop(keep);
}

#[test]
fn a_second_signer_on_the_same_journal_is_refused() {
    let node = Node::new();
    let second = open(node.dir.path(), false);
    assert!(matches!(
        second,
        Err(OpenError::Journal(JournalError::InUse))
    ));
}

#[test]
fn b2_a_database_that_was_lost_is_noticed() {
    let pair = Pair::funded(CommitmentFormat::AnchorsZeroFeeHtlc);
    let keep = drop_hsm(pair.a.node);
    let again = open(keep.path(), true);
    assert!(matches!(
        again,
        Err(OpenError::Journal(JournalError::NoDatabase { .. }))
    ));
    assert!(open(keep.path(), false).is_ok());
}

#[test]
fn a_compacted_journal_gives_the_same_state_and_goes_on() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    for _ in 0..40 {
        pair.commit(Side::Remote, &[]);
        pair.commit(Side::Local, &[]);
    }
    let long = pair.a.node.journal_len();
    let state = pair.a.node.hsm().state.clone();
    // What an interrupted attempt left is in nobody's way.
    fs::write(pair.a.node.dir.path().join("hsm-journal.new"), b"rubbish").unwrap();
    pair.a.node.hsm().compact().unwrap();
    assert!(pair.a.node.journal_len() < long / 2);
    assert_eq!(pair.a.node.hsm().state, state);
    pair.a.node.restart();
    pair.commit(Side::Remote, &[]);
    pair.commit(Side::Local, &[]);
    pair.a.node.restart();
    assert!(
        open(pair.a.node.dir.path(), false).is_err(),
        "the new file is locked too"
    );
}

#[test]
fn only_the_peers_secrets_may_wait_for_the_disk() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    assert!(pair.a.node.hsm().is_settled());
    pair.commit(Side::Remote, &[]);
    assert!(!pair.a.node.hsm().is_settled(), "after the peer's secret");
    assert!(pair.b.node.hsm().is_settled(), "after our own commitment");
    // It is in the file, so that kill -9 does not lose it.
    pair.a.node.restart();
    pair.commit(Side::Remote, &[]);
    let syncs = pair.a.node.hsm().syncs();
    pair.a.node.hsm().settle().unwrap();
    assert!(pair.a.node.hsm().is_settled());
    assert_eq!(pair.a.node.hsm().syncs(), syncs + 1);
    // The next commitment takes it along.
    pair.commit(Side::Remote, &[]);
    pair.sign(Side::Remote, &[]);
    assert!(pair.a.node.hsm().is_settled());
}

#[test]
fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::new();
    let mode = |name| {
        let metadata = fs::metadata(node.dir.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("hsm_secret"), mode("hsm-journal")), (0o400, 0o600));
}

#[test]
fn a_record_is_a_delta_and_not_a_ledger() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let adds: Vec<Delta> = (0..400)
        .map(|id| Delta::Add {
            key: HtlcKey {
                offerer: Side::Local,
                id: HtlcId(id),
            },
            htlc: Htlc {
                amount: MilliSatoshi(1_000_000),
                payment_hash: PaymentHash([4; 32]),
                cltv_expiry: CltvExpiry(500),
            },
        })
        .collect();
    pair.commit(Side::Remote, &adds);
    let before = pair.a.node.journal_len();
    pair.commit(Side::Remote, &[]);
    let grown = pair.a.node.journal_len() - before;
    assert!(
        grown < 300,
        "{grown} bytes for a commitment without changes"
    );
}

/// Ends the signer and keeps its folder.
fn drop_hsm(node: Node) -> tempfile::TempDir {
    node.dir
}
