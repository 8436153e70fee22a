//! B3: a peer that has a later secret than this signer has given.

use tx::setup::CommitmentFormat;
use tx::signer::{NextLocal, NextRemote, Proof, Reply, Request, RevocationSecret};
use wire::{CommitmentNumber, Side};

use super::fixture::{CLOSE_FEE, Pair};
use crate::Rule;

const ANCHORS: CommitmentFormat = CommitmentFormat::AnchorsZeroFeeHtlc;

fn proof(n: u64, secret: RevocationSecret) -> Request {
    Request::ReestablishProof {
        n: CommitmentNumber(n),
        secret,
    }
}

/// `a`'s secret, from what only its keys know.
fn secret(pair: &mut Pair, n: u64) -> RevocationSecret {
    let channel = pair.a.new.channel;
    let hsm = pair.a.node.hsm();
    hsm.channel_keys[&channel].any_secret(CommitmentNumber(n))
}

fn says(pair: &mut Pair, n: u64, secret: RevocationSecret) -> Proof {
    match pair.a.ask(proof(n, secret)) {
        Reply::Proof { proof } => proof,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_that_was_given_and_one_that_is_not_ours_change_nothing() {
    let mut pair = Pair::open(ANCHORS);
    pair.commit(Side::Local, &[]);
    let given = secret(&mut pair, 0);
    let len = pair.a.node.journal_len();
    assert_eq!(says(&mut pair, 0, given), Proof::Revoked);
    for n in [0, 1, 2, 7, 1 << 47] {
        let wrong = RevocationSecret([7; 32]);
        assert_eq!(says(&mut pair, n, wrong), Proof::Wrong);
    }
    assert_eq!(pair.a.node.journal_len(), len);
    pair.commit(Side::Local, &[]);
}

#[test]
fn b3_our_commitment_is_never_signed_again() {
    // The newest one's secret was given by a later copy of this signer, or one far ahead.
    for n in [1, 5] {
        let mut pair = Pair::open(ANCHORS);
        pair.commit(Side::Local, &[]);
        let later = secret(&mut pair, n);
        assert_eq!(says(&mut pair, n, later), Proof::Stale);
        pair.a.node.hsm().compact().unwrap();
        pair.a.node.restart();
        assert_eq!(says(&mut pair, n, later), Proof::Stale);
        let channel = pair.a.new.channel;
        let refused = pair.a.node.hsm().force_close(channel).unwrap_err();
        assert_eq!(refused.rule(), Rule::B3);
        let sign = Request::SignRemote(NextRemote {
            n: pair.b.next,
            point: pair.b.next_point,
            deltas: vec![],
            tickets: vec![],
        });
        assert_eq!(pair.a.refused(sign), "B3");
        let (signature, htlc_signatures) = pair.sign(Side::Local, &[]);
        let validate = Request::ValidateLocal(NextLocal {
            n: pair.a.next,
            deltas: vec![],
            signature,
            htlc_signatures,
        });
        assert_eq!(pair.a.refused(validate), "B3");
        let close = pair.sign_close(CLOSE_FEE);
        assert_eq!(pair.a.refused(close), "B3");
    }
}

#[test]
fn b3_holds_after_a_force_close_too() {
    let mut pair = Pair::open(ANCHORS);
    let channel = pair.a.new.channel;
    pair.a.node.hsm().force_close(channel).unwrap();
    let later = secret(&mut pair, 0);
    assert_eq!(says(&mut pair, 0, later), Proof::Stale);
    let refused = pair.a.node.hsm().force_close(channel).unwrap_err();
    assert_eq!(refused.rule(), Rule::B3);
}

#[test]
fn onions_are_opened_after_a_force_close() {
    let mut pair = Pair::open(ANCHORS);
    let channel = pair.a.new.channel;
    pair.a.node.hsm().force_close(channel).unwrap();
    let points = vec![pair.b.next_point];
    let reply = pair.a.ask(Request::EcdhBatch { points });
    assert!(matches!(reply, Reply::SharedSecrets { secrets } if secrets.len() == 1));
}
