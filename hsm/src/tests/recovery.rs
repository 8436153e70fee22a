//! B2: a database that was put back, confirmed by the operator: channels wait for their peers.

use std::collections::BTreeSet;
use std::fs;

use hsm_messages::ctl::Database;
use hsm_messages::mark::Mark;
use tx::setup::CommitmentFormat;
use tx::signer::{NextLocal, NextRemote, Proof, Reply, Request, RevocationSecret};
use wire::{ChannelDbid, CommitmentNumber, Side};

use super::fixture::{CHAIN, CLOSE_FEE, Node, Pair, folder, open};
use crate::refused::Phase;
use crate::state::{LONGEST_SKIP, RUN, State};
use crate::{Hsm, JournalError, OpenError, Opened, Rule};

/// What opening beside a database comes to.
fn opened(node: &mut Node, database: Database) -> Result<Opened, OpenError> {
    let dir = node.stop();
    Hsm::open(folder(dir), CHAIN, database)
}

/// The signer after a confirmed recovery, in the place of the one before.
fn recover(node: &mut Node, mark: Mark) {
    recover_beside(node, Database::Restored { mark: Some(mark) });
}

fn recover_beside(node: &mut Node, database: Database) {
    match opened(node, database).unwrap() {
        Opened::Unconfirmed(unconfirmed) => node.go_on(unconfirmed.confirm().unwrap()),
        Opened::Unlocked(_) | Opened::Locked(_) | Opened::Inspected(_) => {
            panic!("nobody was asked")
        }
    }
}

/// A pair whose `a` was put back from a backup with its journal: its newest commitment there is 3.
fn put_back() -> Pair {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    for _ in 0..3 {
        pair.commit(Side::Local, &[]);
        pair.commit(Side::Remote, &[]);
    }
    let mark = Some(pair.a.node.hsm().mark());
    recover_beside(&mut pair.a.node, Database::Copied { mark });
    pair
}

/// A pair whose `a` was recovered: its newest commitment is 3.
fn recovered() -> Pair {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let mark = pair.a.node.hsm().mark();
    for _ in 0..3 {
        pair.commit(Side::Local, &[]);
        pair.commit(Side::Remote, &[]);
    }
    recover(&mut pair.a.node, mark);
    pair
}

fn secret(pair: &mut Pair, n: u64) -> RevocationSecret {
    let channel = pair.a.new.channel;
    let keys = pair
        .a
        .node
        .hsm()
        .node
        .channel(&pair.b.node.hsm().node_id(), channel);
    keys.unwrap().any_secret(CommitmentNumber(n))
}

/// The peer shows our secret of commitment `n`.
fn shows(pair: &mut Pair, n: u64) -> Proof {
    let secret = secret(pair, n);
    let n = CommitmentNumber(n);
    match pair.a.ask(Request::ReestablishProof { n, secret }) {
        Reply::Proof { proof } => proof,
        other => panic!("{other:?}"),
    }
}

fn phase(pair: &mut Pair) -> Phase {
    let channel = pair.a.new.channel;
    pair.a.node.hsm().phase(channel).unwrap()
}

/// All that binds us is refused by this rule.
fn signs_nothing(pair: &mut Pair, rule: &str) {
    let sign = Request::SignRemote(NextRemote {
        n: pair.b.next,
        point: pair.b.next_point,
        deltas: vec![],
        tickets: vec![],
    });
    assert_eq!(pair.a.refused(sign), rule);
    let point = pair.a.next_point;
    let (n, next) = (pair.a.next, pair.b.next);
    let (signature, htlc_signatures) = pair.sign(Side::Local, &[]);
    let validate = Request::ValidateLocal(NextLocal {
        n,
        deltas: vec![],
        signature,
        htlc_signatures,
    });
    assert_eq!(pair.a.refused(validate), rule);
    assert_eq!((pair.a.next_point, pair.b.next), (point, next));
    let close = pair.sign_close(CLOSE_FEE);
    assert_eq!(pair.a.refused(close), rule);
}

fn force_close_refused(pair: &mut Pair) -> Option<Rule> {
    let channel = pair.a.new.channel;
    let refused = pair.a.node.hsm().force_close(channel);
    refused.err().map(|refused| refused.rule())
}

#[test]
fn b2_an_older_database_is_opened_beside_only_when_the_operator_has_confirmed_it() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let node = &mut pair.a.node;
    let mark = node.hsm().mark();
    node.restart();
    node.hsm().get_address().unwrap();
    let before = node.journal_len();
    let older = opened(node, Database::Present { mark: Some(mark) });
    assert!(matches!(
        older,
        Err(OpenError::Journal(JournalError::DatabaseOlder { .. }))
    ));
    for mark in [Some(mark), None] {
        let waits = Hsm::open(folder(node.dir.path()), CHAIN, Database::Restored { mark });
        assert!(matches!(waits.unwrap(), Opened::Unconfirmed(_)));
        assert_eq!(fs::metadata(node.journal()).unwrap().len(), before);
    }
    recover(node, mark);
    // What lightningd stamps its database with then is taken as ever.
    node.restart();
}

#[test]
fn b2_an_older_journal_is_refused_whatever_the_operator_confirms() {
    let mut node = Node::new();
    let newest = node.hsm().mark();
    let mark = Some(Mark {
        sequence: newest.sequence + 1,
        ..newest
    });
    let other = Some(Mark {
        head: [1; 32],
        ..newest
    });
    node.stop();
    for mark in [mark, other] {
        let database = Database::Restored { mark };
        let Ok(Opened::Unconfirmed(waits)) = Hsm::open(folder(node.dir.path()), CHAIN, database)
        else {
            panic!("nobody was asked");
        };
        assert!(matches!(
            waits.confirm(),
            Err(OpenError::Journal(JournalError::Older { .. }))
        ));
    }
}

#[test]
fn b2_after_a_recovery_nothing_is_signed_until_the_peer_shows_the_newest_state() {
    let mut pair = recovered();
    assert_eq!(phase(&mut pair), Phase::Recovering);
    signs_nothing(&mut pair, "B2");
    // Nor does it give a secret that could then be shown to it.
    let n = CommitmentNumber(2);
    assert_eq!(pair.a.refused(Request::RevokedSecret { n }), "B2");
    assert_eq!(force_close_refused(&mut pair), Some(Rule::B2));
    // It outlives a restart and a compaction, and a secret from long ago shows nothing.
    assert_eq!(shows(&mut pair, 0), Proof::Revoked);
    pair.a.node.restart();
    pair.a.node.hsm().compact().unwrap();
    pair.a.node.restart();
    signs_nothing(&mut pair, "B2");
    // The secret before our newest commitment is all that there is.
    assert_eq!(shows(&mut pair, 2), Proof::Revoked);
    assert_eq!(phase(&mut pair), Phase::Active);
    pair.a.node.restart();
    assert_eq!(phase(&mut pair), Phase::Active);
    assert_eq!(force_close_refused(&mut pair), None);
}

#[test]
fn b2_the_newest_state_is_shown_too_by_a_peer_that_lacks_our_last_revocation() {
    let mut pair = recovered();
    assert_eq!(shows(&mut pair, 1), Proof::Revoked);
    assert_eq!(phase(&mut pair), Phase::Active);
}

#[test]
fn b3_after_a_recovery_a_later_secret_ends_the_channel_for_us() {
    let mut pair = recovered();
    assert_eq!(shows(&mut pair, 3), Proof::Stale);
    signs_nothing(&mut pair, "B3");
    assert_eq!(shows(&mut pair, 2), Proof::Revoked);
    assert_eq!(force_close_refused(&mut pair), Some(Rule::B3));
}

#[test]
fn b2_a_channel_whose_peer_never_comes_back_is_ended_by_the_operator_with_our_newest_commitment() {
    let mut pair = recovered();
    let channel = pair.a.new.channel;
    pair.a.node.hsm().end_recovery(channel).unwrap();
    assert_eq!(phase(&mut pair), Phase::Onchain);
    let tx = pair.a.node.hsm().force_close(channel).unwrap();
    assert_eq!(tx.input[0].previous_output, pair.funding.outpoint);
    let sign = Request::SignRemote(NextRemote {
        n: pair.b.next,
        point: pair.b.next_point,
        deltas: vec![],
        tickets: vec![],
    });
    assert_eq!(pair.a.refused(sign), "D4");
    // And only a channel that waits.
    let refused = pair.a.node.hsm().end_recovery(channel).unwrap_err();
    assert_eq!(refused.rule(), Rule::D4);
}

#[test]
fn a_channel_that_has_revoked_nothing_and_one_that_is_closing_stay_as_they_are() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let mark = pair.a.node.hsm().mark();
    recover(&mut pair.a.node, mark);
    assert_eq!(phase(&mut pair), Phase::Active);
    pair.commit(Side::Local, &[]);
    pair.commit(Side::Remote, &[]);
    let close = pair.sign_close(CLOSE_FEE);
    pair.a.ask(close);
    recover(&mut pair.a.node, mark);
    assert_eq!(phase(&mut pair), Phase::Closing);
}

#[test]
fn b2_of_a_backup_nothing_is_signed_until_the_peer_shows_that_it_is_the_newest() {
    let mut pair = put_back();
    assert_eq!(phase(&mut pair), Phase::Recovering);
    signs_nothing(&mut pair, "B2");
    assert_eq!(force_close_refused(&mut pair), Some(Rule::B2));
    assert_eq!(shows(&mut pair, 2), Proof::Revoked);
    assert_eq!(phase(&mut pair), Phase::Active);
    let mut pair = put_back();
    assert_eq!(shows(&mut pair, 3), Proof::Stale);
    signs_nothing(&mut pair, "B3");
    assert_eq!(force_close_refused(&mut pair), Some(Rule::B3));
}

#[test]
fn b2_no_word_of_the_operators_makes_a_backups_state_the_newest() {
    let mut pair = put_back();
    let channel = pair.a.new.channel;
    for _ in 0..2 {
        let refused = pair.a.node.hsm().end_recovery(channel).unwrap_err();
        assert_eq!(refused.rule(), Rule::B2);
        assert_eq!(force_close_refused(&mut pair), Some(Rule::B2));
        pair.a.node.hsm().compact().unwrap();
        pair.a.node.restart();
    }
    // Nor does a recovery of the database that is confirmed later.
    let mark = pair.a.node.hsm().mark();
    recover(&mut pair.a.node, mark);
    let refused = pair.a.node.hsm().end_recovery(channel).unwrap_err();
    assert_eq!(refused.rule(), Rule::B2);
}

#[test]
fn b2_a_channel_of_a_backup_waits_for_its_peer_even_if_it_has_revoked_nothing_there() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let mark = Some(pair.a.node.hsm().mark());
    recover_beside(&mut pair.a.node, Database::Copied { mark });
    assert_eq!(phase(&mut pair), Phase::Recovering);
    assert_eq!(force_close_refused(&mut pair), Some(Rule::B2));
    assert_eq!(shows(&mut pair, 0), Proof::Stale);
    assert_eq!(force_close_refused(&mut pair), Some(Rule::B3));
}

#[test]
fn b2_no_number_comes_again_that_may_have_been_given_out_since_a_backup() {
    let mut node = Node::new();
    let peer = node.hsm().node_id();
    let unfunded = node.hsm().new_channel(peer).unwrap().channel;
    let before = node.hsm().new_preimage().unwrap();
    node.hsm().sync().unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["hsm_secret", "hsm-journal"] {
        fs::copy(node.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let mark = Some(node.hsm().mark());
    // What the node goes on to give out.
    let mut channels = vec![unfunded];
    let mut hashes = vec![before];
    for _ in 0..50 {
        channels.push(node.hsm().new_channel(peer).unwrap().channel);
        hashes.push(node.hsm().new_preimage().unwrap());
        node.hsm().sync().unwrap();
    }
    let database = Database::Copied { mark };
    let Ok(Opened::Unconfirmed(waits)) = Hsm::open(folder(copy.path()), CHAIN, database) else {
        panic!("nobody was asked");
    };
    let mut hsm = waits.confirm().unwrap();
    hsm.set_now(node.hsm().now());
    // What was begun there may have got a funding output since.
    assert_eq!(hsm.phase(unfunded).unwrap_err().rule(), Rule::D3);
    for _ in 0..50 {
        let channel = hsm.new_channel(peer).unwrap().channel;
        assert!(!channels.contains(&channel), "{channel}");
        let hash = hsm.new_preimage().unwrap();
        assert!(!hashes.contains(&hash), "{hash}");
    }
}

#[test]
fn b2_a_new_journal_gives_out_no_number_of_one_that_was_lost() {
    let mut node = Node::new();
    let peer = node.hsm().node_id();
    let mut channels = BTreeSet::new();
    let mut hashes = BTreeSet::new();
    for lives in 1..=3 {
        for _ in 0..50 {
            channels.insert(node.hsm().new_channel(peer).unwrap().channel);
            hashes.insert(node.hsm().new_preimage().unwrap());
            node.restart();
        }
        assert_eq!((channels.len(), hashes.len()), (50 * lives, 50 * lives));
        let dir = node.stop().to_owned();
        fs::remove_file(dir.join("hsm-journal")).unwrap();
        node.go_on(open(&dir, true).unwrap());
    }
}

#[test]
fn b2_each_life_begins_whole_runs_further_on_and_no_further_than_the_owners_tool_looks() {
    let mut state = State::new();
    state.next_dbid = ChannelDbid(3);
    let mut runs = 0;
    for _ in 0..1000 {
        let copied = state.copied().unwrap();
        state.apply(copied).unwrap();
        let ChannelDbid(next) = state.next_dbid;
        assert_eq!(next % RUN, 3);
        let skipped = next / RUN - runs;
        assert!((1..=LONGEST_SKIP).contains(&skipped), "{skipped}");
        runs = next / RUN;
    }
}

#[test]
fn who_only_inspects_changes_nothing_and_hears_what_an_opening_would_come_to() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    pair.commit(Side::Local, &[]);
    let (channels, node_id) = (pair.a.node.hsm().channels(), pair.a.node.hsm().node_id());
    let node = &mut pair.a.node;
    let older = node.hsm().mark();
    node.restart();
    node.hsm().get_address().unwrap();
    node.hsm().sync().unwrap();
    let newest = node.hsm().mark();
    let before = fs::read(node.journal()).unwrap();
    node.stop();
    for (mark, fits) in [(newest, true), (older, false)] {
        let mark = Some(mark);
        let database = Database::Inspected { mark };
        let opened = Hsm::open(folder(node.dir.path()), CHAIN, database).unwrap();
        let Opened::Inspected(found) = opened else {
            panic!("it was opened");
        };
        assert_eq!(found.node_id, node_id);
        assert_eq!(found.journal.unwrap(), channels);
        assert_eq!(found.moment.is_none(), fits, "{:?}", found.moment);
    }
    assert!(fs::read(node.journal()).unwrap() == before);
    assert_eq!(fs::read_dir(node.dir.path()).unwrap().count(), 2);
}
