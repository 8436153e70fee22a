//! A crash at every byte of every record, and every byte changed (rules B1 and B2): the journal comes to
//! exactly what was acknowledged or is refused. It never forgets a record that the database knows of, and
//! never takes one that was changed.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::Path;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, ScriptBuf, Txid};
use headers::RawHeader;
use hsm_messages::limits::Approvable;
use tempfile::TempDir;
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::CommitmentFormat;
use tx::signer::Request;
use tx::spends::Spender;
use wire::{
    BlockHeight, ChannelDbid, CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, NodeId, Preimage,
    Satoshi, ShortChannelId, Side,
};

use super::format::{self, HEADER, Parsed};
use super::*;
use crate::DEFAULT;
use crate::channel::{Channel, Progress, Stage};
use crate::invoices::{PreimageNumber, Source, Terms};
use crate::record::{Change, Spent};
use crate::spending::{Cause, Grant};
use crate::tests::fixture::{CHAIN, CLOSE_FEE, Pair, folder};
use crate::tip::Told;
use hsm_files::UnixTime;

const KEY: [u8; 32] = [7; 32];

/// What was acknowledged at one time.
#[derive(Clone)]
struct Point {
    len: usize,
    state: State,
    mark: Mark,
}

/// A journal and all that was acknowledged while it was written, from its header on.
struct Written {
    dir: TempDir,
    journal: Journal,
    state: State,
    points: Vec<Point>,
}

impl Written {
    fn new() -> Written {
        let dir = tempfile::tempdir().unwrap();
        Journal::create(&within(dir.path()), CHAIN, &Secret::new(KEY)).unwrap();
        let (journal, state) = open(dir.path(), Database::Absent).unwrap();
        let mut written = Written {
            dir,
            journal,
            state,
            points: Vec::new(),
        };
        written.acknowledge();
        written
    }

    fn acknowledge(&mut self) {
        self.journal.sync().unwrap();
        self.journal.settle().unwrap();
        self.points.push(Point {
            len: self.journal.len as usize,
            state: self.state.clone(),
            mark: self.journal.mark(),
        });
    }

    fn write(&mut self, record: Record) {
        self.journal.append(&record);
        self.state.apply(record).unwrap();
        self.acknowledge();
    }

    /// What was acknowledged before is all in the snapshot from now on.
    fn compact(&mut self) {
        let folder = within(self.dir.path());
        self.journal.compact(&folder, CHAIN, &self.state).unwrap();
        self.points.clear();
        self.acknowledge();
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.path().join(FILE)).unwrap()
    }

    /// What had been acknowledged when the file was so long.
    fn at(&self, len: usize) -> Option<&Point> {
        self.points.iter().rfind(|point| point.len <= len)
    }

    fn newest(&self) -> &Point {
        self.points.last().unwrap()
    }
}

fn within(dir: &Path) -> Folder {
    Folder::new(folder(dir))
}

fn open(dir: &Path, database: Database) -> Result<(Journal, State), JournalError> {
    Journal::open(&within(dir), CHAIN, Secret::new(KEY), database)
}

fn records_of(bytes: &[u8], key: [u8; 32]) -> Vec<Record> {
    let (_, mut chain) = format::read_header(bytes, CHAIN, Secret::new(key)).unwrap();
    let (mut records, mut at) = (Vec::new(), HEADER);
    while let Parsed::Record { record, len } = chain.parse(bytes, at).unwrap() {
        records.push(*record);
        at += len;
    }
    records
}

fn kind(record: &Record) -> &'static str {
    match record {
        Record::Address { .. } => "Address",
        Record::NewChannel { .. } => "NewChannel",
        Record::Channel { change, .. } => match change {
            Change::Setup(_) => "Setup",
            Change::Funding(_) => "Funding",
            Change::Remote { .. } => "Remote",
            Change::Local { .. } => "Local",
            Change::Revoked { .. } => "Revoked",
            Change::Close { .. } => "Close",
            Change::Onchain => "Onchain",
            Change::Stale => "Stale",
            Change::Shown => "Shown",
        },
        Record::Forget { .. } => "Forget",
        Record::Coins { .. } => "Coins",
        Record::SnapshotCounters { .. } => "SnapshotCounters",
        Record::SnapshotChannel { .. } => "SnapshotChannel",
        Record::Start { .. } => "Start",
        Record::SnapshotHeads(_) => "SnapshotHeads",
        Record::Approved { .. } => "Approved",
        Record::SnapshotFlow { .. } => "SnapshotFlow",
        Record::Spent(_) => "Spent",
        Record::Paid { .. } => "Paid",
        Record::PaymentEnded { .. } => "PaymentEnded",
        Record::Limits(_) => "Limits",
        Record::Allowed { .. } => "Allowed",
        Record::Disallowed { .. } => "Disallowed",
        Record::OperatorApproved { .. } => "OperatorApproved",
        Record::SnapshotCoins { .. } => "SnapshotCoins",
        Record::SnapshotSpending(_) => "SnapshotSpending",
        Record::Preimage { .. } => "Preimage",
        Record::Invoice { .. } => "Invoice",
        Record::DropInvoices { .. } => "DropInvoices",
        Record::Update { .. } => "Update",
        Record::SnapshotPreimages { .. } => "SnapshotPreimages",
        Record::SnapshotInvoices { .. } => "SnapshotInvoices",
        Record::Told(_, told) => match told {
            Told::Headers(_) => "Headers",
            Told::Closed(..) => "Closed",
            Told::Ended(..) => "Ended",
        },
        Record::SnapshotTip(_) => "SnapshotTip",
        Record::Recovery => "Recovery",
        Record::MnemonicShown => "MnemonicShown",
        Record::Copied { .. } => "Copied",
        Record::Recovered(..) => "Recovered",
    }
}

/// Whoever adds a kind of record adds it to [`kind`], here, and to [`every_kind`].
const KINDS: [&str; 42] = [
    "Address",
    "Allowed",
    "Approved",
    "Close",
    "Closed",
    "Coins",
    "Copied",
    "Disallowed",
    "DropInvoices",
    "Ended",
    "Forget",
    "Funding",
    "Headers",
    "Invoice",
    "Limits",
    "Local",
    "MnemonicShown",
    "NewChannel",
    "Onchain",
    "OperatorApproved",
    "Paid",
    "PaymentEnded",
    "Preimage",
    "Recovered",
    "Recovery",
    "Remote",
    "Revoked",
    "Setup",
    "Shown",
    "SnapshotChannel",
    "SnapshotCoins",
    "SnapshotCounters",
    "SnapshotFlow",
    "SnapshotHeads",
    "SnapshotInvoices",
    "SnapshotPreimages",
    "SnapshotSpending",
    "SnapshotTip",
    "Spent",
    "Stale",
    "Start",
    "Update",
];

/// The life of a channel, as a real signer recorded it.
fn life() -> Vec<Record> {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let preimage = Preimage([4; 32]);
    let key = HtlcKey {
        offerer: Side::Local,
        id: HtlcId(0),
    };
    let htlc = Htlc {
        amount: MilliSatoshi(20_000_000),
        payment_hash: preimage.payment_hash(),
        cltv_expiry: CltvExpiry(500),
    };
    let fee = Delta::Fee {
        feerate: FeeratePerKw(500),
    };
    for delta in [
        Delta::Add { key, htlc },
        Delta::Fulfil { key, preimage },
        fee,
    ] {
        pair.commit(Side::Remote, std::slice::from_ref(&delta));
        pair.commit(Side::Local, &[delta]);
    }
    let channel = pair.a.new.channel;
    pair.a.node.hsm().record(Record::Recovery);
    let last = pair
        .a
        .next
        .prev()
        .and_then(wire::CommitmentNumber::prev)
        .unwrap();
    let secret = pair.a.node.hsm().channel_keys[&channel].any_secret(last);
    pair.a.ask(Request::ReestablishProof { n: last, secret });
    let close = pair.sign_close(CLOSE_FEE);
    pair.a.ask(close);
    pair.a.node.hsm().force_close(channel).unwrap();
    let newest = pair.a.next.prev().unwrap();
    let secret = pair.a.node.hsm().channel_keys[&channel].any_secret(newest);
    let proof = Request::ReestablishProof { n: newest, secret };
    pair.a.ask(proof);
    pair.a.node.hsm().sync().unwrap();
    let key = *pair.a.node.hsm().node.journal;
    records_of(&fs::read(pair.a.node.journal()).unwrap(), key)
}

/// One that is dropped, one that stays, and one that nobody signed for.
fn invoices() -> impl Iterator<Item = Record> {
    let hash = |n: u64| Preimage([n as u8; 32]).payment_hash();
    let preimages = (0..3).map(move |n| Record::Preimage(PreimageNumber(n), hash(n)));
    let invoices = (0..2).map(move |n| {
        Record::Invoice(
            hash(n),
            Terms {
                amount: None,
                expires_at: UnixTime(n),
                hash: [n as u8; 32],
                source: Source::Derived(PreimageNumber(n)),
            },
        )
    });
    let drop = Record::DropInvoices(UnixTime(1));
    preimages.chain(invoices).chain([drop])
}

fn every_kind() -> Vec<Record> {
    let mut records = life();
    let peer = records.iter().find_map(|record| match record {
        Record::NewChannel { peer, .. } => Some(*peer),
        _other => None,
    });
    let peer = peer.unwrap();
    let coin = |n: u8| OutPoint {
        txid: Txid::from_byte_array([n; 32]),
        vout: u32::from(n),
    };
    records.extend([
        Record::Address(1),
        Record::NewChannel {
            dbid: ChannelDbid(2),
            peer,
            shutdown_index: 2,
        },
        Record::Forget(ChannelDbid(2)),
        Record::Coins((0..5).map(|n| (coin(n), Satoshi(u64::from(n)))).collect()),
    ]);
    records.extend(spending(coin(1), peer));
    let recovered = recovered(&records, peer);
    records.extend([Record::Start(2), recovered, Record::MnemonicShown]);
    records.extend(invoices());
    records.push(Record::Update(ChannelDbid(1), ShortChannelId(7), 1));
    records.extend(on_chain());
    records.push(Record::Copied(ChannelDbid(99), PreimageNumber(9)));
    records
}

/// With the terms of the channel that the records have.
fn recovered(records: &[Record], peer: wire::NodeId) -> Record {
    let changes = records.iter().filter_map(|record| match record {
        Record::Channel { change, .. } => Some(change),
        _other => None,
    });
    let setup = changes.clone().find_map(|change| match change {
        Change::Setup(setup) => Some(setup.clone()),
        _other => None,
    });
    let funding = changes.clone().find_map(|change| match change {
        Change::Funding(funding) => Some(*funding),
        _other => None,
    });
    let mut channel = Channel::new(peer, 3);
    channel.progress = Progress::funded(*setup.unwrap(), funding.unwrap(), Stage::Stale);
    Record::Recovered(ChannelDbid(70), Box::new(channel))
}

/// A block, and what it is said to hold.
fn on_chain() -> [Record; 3] {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let dbid = ChannelDbid(1);
    let told = [
        Told::Headers(vec![RawHeader::of(&genesis.header)]),
        Told::Closed(dbid, Spender::NoHtlcs),
        Told::Ended(dbid, vec![HtlcId(1)]),
    ];
    told.map(|told| Record::Told(BlockHeight(0), told))
}

/// What leaves, and what the operator says.
fn spending(coin: OutPoint, peer: NodeId) -> [Record; 8] {
    let at = UnixTime(1_800_000_000);
    let (script, cause) = (ScriptBuf::new(), Cause::Push(ChannelDbid(1)));
    let grant = Grant::Charge(MilliSatoshi(7000));
    let push = Approvable::Push {
        peer,
        amount: MilliSatoshi(1),
    };
    let spent = Spent {
        at,
        txid: Txid::from_byte_array([9; 32]),
        inputs: vec![(coin, Satoshi(1))],
        ours: Vec::new(),
        grant,
        coin,
    };
    [
        Record::Spent(Box::new(spent)),
        Record::Limits(DEFAULT),
        Record::Allowed(script.clone()),
        Record::Paid { at, cause, grant },
        Record::Disallowed(script),
        Record::OperatorApproved { at, what: push },
        Record::PaymentEnded {
            hash: Preimage([9; 32]).payment_hash(),
            unspent: MilliSatoshi(3000),
        },
        Record::Paid { at, cause, grant },
    ]
}

fn plain() -> Written {
    let mut written = Written::new();
    every_kind()
        .into_iter()
        .for_each(|record| written.write(record));
    written
}

fn compacted() -> Written {
    let mut written = plain();
    written.compact();
    written.write(Record::Start(3));
    written.write(Record::Address(4));
    written
}

fn replayed(bytes: &[u8]) -> Result<Replayed, JournalError> {
    replay(bytes, CHAIN, Secret::new(KEY))
}

/// It comes to exactly this, which a database that knows no more goes with, and one that knows more
/// does not.
fn assert_is(replayed: &Replayed, point: &Point, newest: &Point, what: &str) {
    assert_eq!(replayed.state, point.state, "{what}");
    assert_eq!(replayed.heads.newest(), point.mark, "{what}");
    let check = |mark| {
        replayed
            .heads
            .check(Database::Present { mark: Some(mark) }, 1)
    };
    assert!(check(point.mark).is_ok(), "{what}");
    if newest.mark != point.mark {
        let refused = check(newest.mark);
        assert!(matches!(refused, Err(JournalError::Older { .. })), "{what}");
    }
}

#[test]
fn the_journals_of_these_tests_hold_every_kind_of_record() {
    let (plain, compacted) = (plain().bytes(), compacted().bytes());
    let both = [plain, compacted].map(|bytes| records_of(&bytes, KEY));
    let kinds: BTreeSet<&str> = both.iter().flatten().map(kind).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
}

#[test]
fn b1_a_crash_at_every_byte_comes_to_what_was_acknowledged_or_is_refused() {
    for written in [plain(), compacted()] {
        let bytes = written.bytes();
        for len in 0..=bytes.len() {
            let what = format!("cut at {len}");
            match (replayed(&bytes[..len]), written.at(len)) {
                (Ok(replayed), Some(point)) => {
                    assert_eq!(replayed.len as usize, point.len, "{what}");
                    assert_is(&replayed, point, written.newest(), &what);
                }
                // Within the header or the snapshot, which were whole before they had their name.
                (Err(_), None) => {}
                (Ok(_), None) => panic!("{what}: accepted"),
                (Err(error), Some(_)) => panic!("{what}: {error}"),
            }
        }
    }
}

#[test]
fn b1_zeros_from_any_byte_on_come_to_what_was_acknowledged_or_are_refused() {
    for written in [plain(), compacted()] {
        let bytes = written.bytes();
        for len in 0..bytes.len() {
            for more in [0, 700] {
                let mut torn = bytes[..len].to_vec();
                torn.resize(bytes.len() + more, 0);
                // What was written may end with zeros too.
                let same = bytes.iter().zip(&torn).take_while(|(a, b)| a == b).count();
                let what = format!("zeros from {len} on, {more} more");
                match (replayed(&torn), written.at(same)) {
                    (Ok(replayed), Some(point)) => {
                        assert_is(&replayed, point, written.newest(), &what);
                    }
                    (Ok(_), None) => panic!("{what}: accepted"),
                    (Err(_), None) => {}
                    // A disk leaves whole sectors unwritten, which is no damage.
                    (Err(error), Some(_)) => assert!(len % 512 != 0, "{what}: {error}"),
                }
            }
        }
    }
}

#[test]
fn b1_a_byte_changed_anywhere_is_refused() {
    for written in [plain(), compacted()] {
        let mut bytes = written.bytes();
        for at in 0..bytes.len() {
            for flip in [1 << (at % 8), 0xff] {
                bytes[at] ^= flip;
                assert!(replayed(&bytes).is_err(), "byte {at} changed by {flip:#x}");
                bytes[at] ^= flip;
            }
        }
        assert!(replayed(&bytes).is_ok());
    }
}

#[test]
fn b1_a_hole_of_zeros_before_what_was_written_later_is_refused() {
    let bytes = plain().bytes();
    for at in (0..bytes.len() - 512).step_by(64) {
        let mut hole = bytes.clone();
        hole[at..at + 128].fill(0);
        assert!(replayed(&hole).is_err(), "zeros at {at}");
    }
}

#[test]
fn b1_a_torn_tail_is_cut_and_what_is_refused_is_left_alone() {
    let written = plain();
    let bytes = written.bytes();
    let before = written.at(bytes.len() - 1).unwrap().clone();
    drop(written.journal);
    let dir = written.dir;
    let file = dir.path().join(FILE);
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let newest = Database::Present {
        mark: Some(written.points.last().unwrap().mark),
    };
    assert!(open(dir.path(), newest).is_err());
    assert_eq!(fs::read(&file).unwrap(), &bytes[..bytes.len() - 1]);
    let (_, state) = open(
        dir.path(),
        Database::Present {
            mark: Some(before.mark),
        },
    )
    .unwrap();
    assert_eq!(state, before.state);
    assert_eq!(fs::read(&file).unwrap(), &bytes[..before.len]);
}

#[test]
fn b1_a_crash_at_any_step_of_a_compaction_loses_nothing() {
    let mut written = plain();
    let (old, newest) = (written.bytes(), written.newest().clone());
    written.compact();
    let new = written.bytes();
    drop(written.journal);
    let dir = written.dir;
    let (file, temporary) = (dir.path().join(FILE), dir.path().join(TEMPORARY));
    let database = Database::Present {
        mark: Some(newest.mark),
    };
    let comes_to_it = |what: &str| {
        let (journal, state) = open(dir.path(), database).unwrap();
        assert_eq!(
            (state, journal.mark()),
            (newest.state.clone(), newest.mark),
            "{what}"
        );
        assert!(!temporary.exists(), "{what}: its file is still there");
    };
    // Not renamed: whatever there is of the new file.
    fs::write(&file, &old).unwrap();
    for len in (0..new.len()).step_by(41).chain([new.len()]) {
        fs::write(&temporary, &new[..len]).unwrap();
        comes_to_it(&format!("{len} bytes of the new file"));
        assert_eq!(fs::read(&file).unwrap(), old);
    }
    // Renamed.
    fs::write(&file, &new).unwrap();
    comes_to_it("the new file");
    assert_eq!(fs::read(&file).unwrap(), new);
}

#[test]
fn b1_a_state_larger_than_any_message_is_compacted_too() {
    let mut written = plain();
    let coin = |n: u32| OutPoint {
        txid: Txid::from_byte_array([(n % 251) as u8; 32]),
        vout: n,
    };
    let coins = (0..150_000)
        .map(|n| (coin(n), Satoshi(21)))
        .collect::<Vec<_>>();
    for coins in coins.chunks(10_000) {
        written.write(Record::Coins(coins.to_vec()));
    }
    let newest = written.newest().clone();
    written.compact();
    assert!(written.journal.len > ipc_transport::MAX_FRAME as u64);
    drop(written.journal);
    let database = Database::Present {
        mark: Some(newest.mark),
    };
    let (journal, state) = open(written.dir.path(), database).unwrap();
    assert_eq!((state, journal.mark()), (newest.state, newest.mark));
}

#[test]
fn b1_after_a_failed_sync_nothing_is_written_or_synced_again() {
    let mut written = plain();
    // It takes all writes and cannot be synced.
    let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let null = Flock::lock(null, FlockArg::LockSharedNonblock)
        .map_err(|(_, e)| e)
        .unwrap();
    let good = std::mem::replace(&mut written.journal.file, null);
    let (before, mark) = (written.bytes(), written.journal.mark());
    written.journal.append(&Record::Address(4));
    let error = written.journal.sync().unwrap_err();
    assert!(
        matches!(error, JournalError::Io { doing: "sync", .. }),
        "{error}"
    );
    // The disk works again, and nobody asks it.
    written.journal.file = good;
    for _ in 0..2 {
        assert!(written.journal.sync().is_err());
        assert!(written.journal.settle().is_err());
    }
    let folder = within(written.dir.path());
    assert!(
        written
            .journal
            .compact(&folder, CHAIN, &written.state)
            .is_err()
    );
    assert_eq!(written.journal.mark(), mark, "what was not synced is named");
    assert_eq!(written.bytes(), before);
}

#[test]
fn b1_what_may_wait_is_not_named_before_it_is_durable() {
    let mut written = Written::new();
    for record in life() {
        let waits = record.may_wait();
        let before = written.journal.mark();
        written.journal.append(&record);
        written.state.apply(record).unwrap();
        written.journal.sync().unwrap();
        assert_eq!(written.journal.mark() == before, waits);
        written.journal.settle().unwrap();
        assert_ne!(written.journal.mark(), before);
    }
}

#[test]
fn b2_an_older_copy_of_the_journal_is_refused() {
    let mut written = plain();
    let old = written.bytes();
    written.write(Record::Address(4));
    let mark = written.journal.mark();
    let refused = |bytes: &[u8], mark| {
        let checked = replayed(bytes)
            .unwrap()
            .heads
            .check(Database::Present { mark: Some(mark) }, 1);
        matches!(checked, Err(JournalError::Older { .. }))
    };
    assert!(refused(&old, mark), "it is shorter");
    // It was put back and went on, to other records and to more of them.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), &old).unwrap();
    let point = written.at(old.len()).unwrap();
    let (mut journal, _) = open(
        dir.path(),
        Database::Present {
            mark: Some(point.mark),
        },
    )
    .unwrap();
    for epoch in [3, 4] {
        journal.append(&Record::Start(epoch));
        journal.sync().unwrap();
    }
    let other = fs::read(dir.path().join(FILE)).unwrap();
    assert!(
        refused(&other, mark),
        "it has another record at that number"
    );
    // Nor is a compacted one the same as the one before.
    written.compact();
    written.write(Record::Address(5));
    assert!(
        refused(&old, written.journal.mark()),
        "it was compacted since"
    );
}

#[test]
fn b2_a_database_that_missed_a_start_after_which_anything_happened_is_refused() {
    let mut written = plain();
    let mark = written.journal.mark();
    let check = |written: &Written, mark| {
        let replayed = replayed(&written.bytes()).unwrap();
        replayed
            .heads
            .check(Database::Present { mark: Some(mark) }, 1)
    };
    for epoch in [3, 4, 5] {
        written.write(Record::Start(epoch));
        assert!(check(&written, mark).is_ok(), "nothing happened since");
    }
    let started = written.journal.mark();
    written.write(Record::Address(4));
    for compact in [false, true] {
        if compact {
            written.compact();
        }
        let refused = check(&written, mark);
        assert!(matches!(refused, Err(JournalError::DatabaseOlder { .. })));
        assert!(check(&written, started).is_ok(), "it was under way");
    }
}

#[test]
fn b2_a_database_lags_by_what_can_be_under_way_and_no_more() {
    let mut written = plain();
    let mark = written.journal.mark();
    let mut refused_at = None;
    for n in 0..2100 {
        let record = Record::Address(4 + n);
        written.journal.append(&record);
        written.state.apply(record).unwrap();
        let checked = written
            .journal
            .heads
            .check(Database::Present { mark: Some(mark) }, 1);
        if checked.is_err() {
            refused_at = refused_at.or(Some(n + 1));
        }
    }
    assert_eq!(refused_at, Some(2048 + 4 + 1));
    // Compaction forgets none of the heads that count.
    written.compact();
    drop(written.journal);
    let near = written.points[0].mark;
    assert!(open(written.dir.path(), Database::Present { mark: Some(near) }).is_ok());
}
