//! One refusal for each rule, and that it changes nothing.

use bitcoin::ScriptBuf;
use secp256k1::ecdsa::Signature;
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::{CommitmentFormat, Setup};
use tx::signer::{CloseTerms, NextLocal, NextRemote, Reply, Request, RevocationSecret, Ticket};
use wire::{
    BlockDelta, ChannelDbid, CltvExpiry, CommitmentNumber, HtlcId, MilliSatoshi, Preimage, Satoshi,
    Side,
};

use super::fixture::{CLOSE_FEE, NO_CHANNEL, Node, Pair, open};
use crate::{OpenError, Rule};

const ANCHORS: CommitmentFormat = CommitmentFormat::AnchorsZeroFeeHtlc;
const PREIMAGE: Preimage = Preimage([9; 32]);

fn add(offerer: Side, id: u64, amount: u64) -> Delta {
    Delta::Add {
        key: key(offerer, id),
        htlc: Htlc {
            amount: MilliSatoshi(amount),
            payment_hash: PREIMAGE.payment_hash(),
            cltv_expiry: CltvExpiry(800_000),
        },
    }
}

fn key(offerer: Side, id: u64) -> HtlcKey {
    HtlcKey {
        offerer,
        id: HtlcId(id),
    }
}

/// With a ticket for each HTLC; whether a payment was approved is another matter.
fn sign(pair: &Pair, n: u64, deltas: Vec<Delta>) -> Request {
    let tickets = crate::flows::offers(&deltas).map(|_| Ticket::Payment);
    Request::SignRemote(NextRemote {
        n: CommitmentNumber(n),
        point: pair.b.next_point,
        tickets: tickets.collect(),
        deltas,
    })
}

fn nonsense() -> Signature {
    Signature::from_compact(&[0x11; 64]).unwrap()
}

fn validate(n: u64, deltas: Vec<Delta>, signature: Signature) -> Request {
    Request::ValidateLocal(NextLocal {
        n: CommitmentNumber(n),
        deltas,
        signature,
        htlc_signatures: vec![],
    })
}

#[test]
fn s1_terms_are_fixed_once() {
    let mut pair = Pair::funded(ANCHORS);
    let setup = pair.a.setup.clone();
    let len = pair.a.node.journal_len();
    pair.a.done(Request::Setup {
        setup: setup.clone(),
    });
    assert_eq!(pair.a.node.journal_len(), len, "a repetition was recorded");
    let changed = Setup {
        push: MilliSatoshi(0),
        ..setup
    };
    assert_eq!(pair.a.refused(Request::Setup { setup: changed }), "S1");
    let mut funding = pair.funding;
    pair.a.done(Request::SetFunding { funding });
    funding.outpoint.vout += 1;
    assert_eq!(pair.a.refused(Request::SetFunding { funding }), "S1");
}

#[test]
fn s1_terms_out_of_range_are_refused() {
    let mut pair = Pair::agreed(ANCHORS);
    let good = pair.a.setup.clone();
    let other = pair.b.new.clone();
    let wrong: [fn(&mut Setup, &hsm_messages::ctl::NewChannel); 12] = [
        |s, _| s.funding_value = Satoshi(0),
        |s, _| s.funding_value = Satoshi(u64::MAX),
        |s, _| s.push = MilliSatoshi(1_000_000_001),
        |s, _| s.feerate.0 = 0,
        |s, _| s.local.dust_limit = Satoshi(353),
        |s, _| s.remote.dust_limit = Satoshi(353),
        |s, _| s.remote.channel_reserve = Satoshi(1_000_001),
        |s, _| s.remote.max_accepted_htlcs = 484,
        |s, _| s.remote.to_self_delay = BlockDelta(2017),
        |s, _| s.local.to_self_delay = BlockDelta(0),
        |s, other| s.local.funding_pubkey = other.funding_pubkey,
        |s, other| s.local.basepoints = other.basepoints,
    ];
    for (at, change) in wrong.iter().enumerate() {
        let mut setup = good.clone();
        change(&mut setup, &other);
        assert_eq!(
            pair.a.refused(Request::Setup { setup }),
            "S1",
            "number {at}"
        );
    }
    let mut same = good.clone();
    same.remote.funding_pubkey = same.local.funding_pubkey;
    assert_eq!(pair.a.refused(Request::Setup { setup: same }), "S1");
    pair.a.done(Request::Setup { setup: good });
    let mut funding = pair.funding;
    funding.value = Satoshi(funding.value.0 - 1);
    assert_eq!(pair.a.refused(Request::SetFunding { funding }), "S1");
}

#[test]
fn s2_a_shutdown_script_that_is_not_ours_is_refused() {
    let mut pair = Pair::agreed(ANCHORS);
    let foreign = pair.b.new.shutdown_p2wpkh.clone();
    let mut setup = pair.a.setup.clone();
    setup.local.upfront_shutdown_script = Some(foreign.clone());
    assert_eq!(
        pair.a.refused(Request::Setup {
            setup: setup.clone()
        }),
        "S2"
    );
    setup.local.upfront_shutdown_script = Some(pair.a.new.shutdown_p2tr.clone());
    pair.a.done(Request::Setup { setup });

    let mut pair = Pair::open(ANCHORS);
    let close = |local_script: ScriptBuf| {
        Request::SignClose(CloseTerms {
            fee: CLOSE_FEE,
            local_script,
            remote_script: foreign.clone(),
        })
    };
    assert_eq!(pair.a.refused(close(foreign.clone())), "S2");
    // Any address that was handed out is ours, one that was not is not.
    let given = pair.a.node.hsm().get_address().unwrap();
    let next = pair.a.node.hsm().state.next_address;
    assert_eq!(given.index + 1, next);
    let not_given = pair.a.node.hsm().wallet.address(next).unwrap();
    assert_eq!(pair.a.refused(close(not_given.p2tr)), "S2");
    assert!(matches!(
        pair.a.ask(close(given.p2tr)),
        Reply::SignedClose { .. }
    ));
}

#[test]
fn s2_the_script_fixed_at_opening_is_the_one() {
    let mut pair = Pair::agreed(ANCHORS);
    let fixed = pair.a.new.shutdown_p2tr.clone();
    pair.a.setup.local.upfront_shutdown_script = Some(fixed.clone());
    pair.b.setup.remote.upfront_shutdown_script = Some(fixed);
    let funding = pair.funding;
    for end in [&mut pair.a, &mut pair.b] {
        let setup = end.setup.clone();
        end.done(Request::Setup { setup });
        end.done(Request::SetFunding { funding });
    }
    pair.commit(Side::Local, &[]);
    pair.commit(Side::Remote, &[]);
    // The other script of the same address is ours, but not what was fixed.
    let close = pair.sign_close(CLOSE_FEE);
    assert_eq!(pair.a.refused(close), "S2");
}

#[test]
fn c2_deltas_that_do_not_fit_are_refused() {
    let mut pair = Pair::open(ANCHORS);
    let wrong = [
        vec![add(Side::Local, 0, 700_000_001)],
        vec![add(Side::Remote, 0, 300_000_001)],
        vec![add(Side::Local, 0, 1000), add(Side::Local, 0, 1000)],
        vec![Delta::Fail {
            key: key(Side::Local, 0),
        }],
        vec![
            add(Side::Remote, 0, 1000),
            Delta::Fail {
                key: key(Side::Remote, 0),
            },
        ],
    ];
    for deltas in wrong {
        let request = sign(&pair, 1, deltas.clone());
        assert_eq!(pair.a.refused(request), "C2");
        assert_eq!(pair.a.refused(validate(1, deltas, nonsense())), "C2");
    }
    let mut pair = Pair::funded(ANCHORS);
    let feerate = pair.a.setup.feerate;
    for delta in [add(Side::Local, 0, 1000), Delta::Fee { feerate }] {
        let request = sign(&pair, 0, vec![delta]);
        assert_eq!(pair.a.refused(request), "C2");
    }
}

#[test]
fn c2_a_repetition_with_other_deltas_is_refused() {
    let mut pair = Pair::open(ANCHORS);
    let deltas = vec![add(Side::Local, 0, 50_000_000)];
    let point = pair.b.next_point;
    pair.commit(Side::Remote, &deltas);
    let again = |deltas| {
        Request::SignRemote(NextRemote {
            n: CommitmentNumber(1),
            point,
            deltas,
            tickets: vec![],
        })
    };
    assert!(matches!(
        pair.a.ask(again(deltas)),
        Reply::SignedRemote { .. }
    ));
    assert_eq!(pair.a.refused(again(vec![])), "C2");
    let deltas = vec![add(Side::Local, 0, 50_000_001)];
    assert_eq!(pair.a.refused(again(deltas)), "C2");
}

#[test]
fn c1_what_cannot_be_built_is_not_signed() {
    let mut pair = Pair::agreed(ANCHORS);
    // The opener cannot pay for the anchors.
    pair.a.setup.push = MilliSatoshi(999_900_000);
    let (setup, funding) = (pair.a.setup.clone(), pair.funding);
    pair.a.done(Request::Setup { setup });
    pair.a.done(Request::SetFunding { funding });
    let request = sign(&pair, 0, vec![]);
    assert_eq!(pair.a.refused(request), "C1");
}

#[test]
fn c4_the_peer_has_at_most_two_commitments_that_are_not_revoked() {
    let mut pair = Pair::open(ANCHORS);
    let (signature, htlcs) = pair.sign(Side::Remote, &[]);
    let secret = pair.validate(Side::Remote, &[], signature, htlcs);
    // Commitment 0 is not revoked at the signer.
    let request = sign(&pair, 2, vec![]);
    assert_eq!(pair.a.refused(request), "C4");
    pair.a.node.restart();
    pair.revoke(Side::Remote, secret);
    let request = sign(&pair, 2, vec![]);
    assert!(matches!(pair.a.ask(request), Reply::SignedRemote { .. }));
}

#[test]
fn c4_a_number_is_signed_with_one_point_alone() {
    let mut pair = Pair::open(ANCHORS);
    pair.sign(Side::Remote, &[]);
    let other = Request::SignRemote(NextRemote {
        n: CommitmentNumber(1),
        point: pair.a.next_point,
        deltas: vec![],
        tickets: vec![],
    });
    assert_eq!(pair.a.refused(other), "C4");
}

#[test]
fn c4_numbers_neither_skip_nor_go_back() {
    let mut pair = Pair::open(ANCHORS);
    pair.commit(Side::Remote, &[]);
    pair.commit(Side::Local, &[]);
    for n in [0, 3, u64::MAX] {
        let request = sign(&pair, n, vec![]);
        assert_eq!(pair.a.refused(request), "C4");
        assert_eq!(pair.a.refused(validate(n, vec![], nonsense())), "C4");
    }
}

#[test]
fn c4_a_secret_must_be_that_of_a_replaced_commitment() {
    let mut pair = Pair::open(ANCHORS);
    let wrong = RevocationSecret([3; 32]);
    let revoked = |n, secret| Request::RemoteRevoked {
        n: CommitmentNumber(n),
        secret,
    };
    assert_eq!(pair.a.refused(revoked(0, wrong)), "C4", "0 is the newest");
    let (signature, htlcs) = pair.sign(Side::Remote, &[]);
    assert_eq!(pair.a.refused(revoked(0, wrong)), "C4");
    assert_eq!(pair.a.refused(revoked(1, wrong)), "C4");
    assert_eq!(pair.a.refused(revoked(0, RevocationSecret([0; 32]))), "C4");
    let secret = pair.validate(Side::Remote, &[], signature, htlcs).unwrap();
    pair.a.done(revoked(0, secret));
    let len = pair.a.node.journal_len();
    pair.a.done(revoked(0, secret));
    assert_eq!(pair.a.node.journal_len(), len);
    assert_eq!(
        pair.a.refused(revoked(0, wrong)),
        "C4",
        "stored and different"
    );
}

#[test]
fn c4_no_second_commitment_before_both_first_ones() {
    let mut pair = Pair::funded(ANCHORS);
    pair.commit(Side::Remote, &[]);
    let request = sign(&pair, 1, vec![]);
    assert_eq!(pair.a.refused(request), "C4");
}

#[test]
fn c5_a_signature_that_does_not_verify_reveals_nothing() {
    let mut pair = Pair::open(ANCHORS);
    let deltas = vec![add(Side::Remote, 0, 50_000_000)];
    let (signature, htlcs) = pair.sign(Side::Local, &deltas);
    let with = |signature, htlc_signatures| {
        Request::ValidateLocal(NextLocal {
            n: CommitmentNumber(1),
            deltas: deltas.clone(),
            signature,
            htlc_signatures,
        })
    };
    assert_eq!(pair.a.refused(with(nonsense(), htlcs.clone())), "C5");
    assert_eq!(pair.a.refused(with(signature, vec![])), "C5");
    assert_eq!(pair.a.refused(with(signature, vec![signature])), "C5");
    assert_eq!(
        pair.a
            .refused(with(signature, [&htlcs[..], &htlcs[..]].concat())),
        "C5"
    );
    assert!(matches!(
        pair.a.ask(with(signature, htlcs)),
        Reply::ValidatedLocal { .. }
    ));
}

#[test]
fn c5_only_revoked_secrets_and_points_that_are_due_leave() {
    let mut pair = Pair::open(ANCHORS);
    let secret = |n| Request::RevokedSecret {
        n: CommitmentNumber(n),
    };
    let point = |n| Request::Point {
        n: CommitmentNumber(n),
    };
    assert_eq!(pair.a.refused(secret(0)), "C5");
    assert_eq!(pair.a.refused(point(2)), "C5");
    pair.commit(Side::Local, &[]);
    let Reply::RevokedSecret { secret: zero } = pair.a.ask(secret(0)) else {
        panic!("no secret");
    };
    assert_eq!(
        tx::keys::per_commitment_point(&zero).unwrap(),
        pair.a.new.first_points[0]
    );
    assert_eq!(pair.a.refused(secret(1)), "C5");
    assert_eq!(pair.a.refused(secret(u64::MAX)), "C5");
    assert_eq!(pair.a.refused(point(3)), "C5");
    assert_eq!(
        pair.a.ask(point(2)),
        Reply::Point {
            point: pair.a.next_point
        }
    );
}

#[test]
fn c6_after_force_close_no_state_is_signed() {
    let mut pair = Pair::open(ANCHORS);
    let channel = pair.a.new.channel;
    pair.a.node.hsm().force_close(channel).unwrap();
    pair.a.node.restart();
    let request = sign(&pair, 1, vec![]);
    assert_eq!(pair.a.refused(request), "D4");
    assert_eq!(pair.a.refused(validate(1, vec![], nonsense())), "D4");
    let close = pair.sign_close(CLOSE_FEE);
    assert_eq!(pair.a.refused(close), "D4");
}

#[test]
fn c6_without_a_validated_commitment_there_is_none_to_sign() {
    let mut pair = Pair::funded(ANCHORS);
    let channel = pair.a.new.channel;
    let refused = pair.a.node.hsm().force_close(channel).unwrap_err();
    assert_eq!(refused.rule(), Rule::C6);
}

#[test]
fn c6_closing_cannot_be_undone() {
    let mut pair = Pair::open(ANCHORS);
    let point = pair.b.next_point;
    pair.commit(Side::Remote, &[]);
    let close = pair.sign_close(CLOSE_FEE);
    pair.a.ask(close);
    pair.a.node.restart();
    let request = sign(&pair, 2, vec![]);
    assert_eq!(pair.a.refused(request), "C6");
    assert_eq!(pair.a.refused(validate(1, vec![], nonsense())), "C6");
    // What was signed before may be asked again, and our commitment is still ours to broadcast.
    let again = Request::SignRemote(NextRemote {
        n: CommitmentNumber(1),
        point,
        deltas: vec![],
        tickets: vec![],
    });
    assert!(matches!(pair.a.ask(again), Reply::SignedRemote { .. }));
    let channel = pair.a.new.channel;
    pair.a.node.hsm().force_close(channel).unwrap();
}

#[test]
fn d3_an_unknown_channel_is_refused() {
    let mut node = Node::new();
    assert_eq!(node.hsm().phase(NO_CHANNEL).unwrap_err().rule(), Rule::D3);
    assert_eq!(
        node.hsm().force_close(NO_CHANNEL).unwrap_err().rule(),
        Rule::D3
    );
    assert_eq!(node.hsm().forget(NO_CHANNEL).unwrap_err().rule(), Rule::D3);
    let reply = node
        .hsm()
        .chan(NO_CHANNEL, Request::EcdhBatch { points: vec![] });
    assert_eq!(reply.unwrap_err().rule(), Rule::D3);
}

#[test]
fn d4_what_is_not_for_a_phase_is_refused() {
    let mut pair = Pair::agreed(ANCHORS);
    let funding = pair.funding;
    let points = vec![pair.b.next_point];
    let close = pair.sign_close(CLOSE_FEE);
    let secret = RevocationSecret([1; 32]);
    let n = CommitmentNumber::ZERO;
    let not_in_stub = [
        Request::SetFunding { funding },
        sign(&pair, 0, vec![]),
        validate(0, vec![], nonsense()),
    ];
    let not_in_opening = [
        Request::EcdhBatch { points },
        close,
        Request::RevokedSecret { n },
        Request::RemoteRevoked { n, secret },
    ];
    for request in not_in_stub.iter().chain(&not_in_opening) {
        assert_eq!(pair.a.refused(request.clone()), "D4");
    }
    let setup = pair.a.setup.clone();
    pair.a.done(Request::Setup { setup });
    pair.a.done(Request::SetFunding { funding });
    for request in &not_in_opening {
        assert_eq!(pair.a.refused(request.clone()), "D4");
    }
}

#[test]
fn d4_a_channel_that_may_be_funded_is_not_forgotten() {
    // As opener from our commitment 0 on, as accepter from the peer's.
    let mut pair = Pair::funded(ANCHORS);
    let (a, b) = (pair.a.new.channel, pair.b.new.channel);
    assert_eq!(pair.a.node.hsm().channels()[0].channel, a);
    pair.commit(Side::Local, &[]);
    assert_eq!(pair.a.node.hsm().forget(a).unwrap_err().rule(), Rule::D4);
    assert_eq!(pair.b.node.hsm().forget(b).unwrap_err().rule(), Rule::D4);
    pair.commit(Side::Remote, &[]);
    assert_eq!(pair.a.node.hsm().forget(a).unwrap_err().rule(), Rule::D4);

    let mut pair = Pair::funded(ANCHORS);
    pair.commit(Side::Remote, &[]);
    for end in [&mut pair.a, &mut pair.b] {
        let channel = end.new.channel;
        end.node.hsm().forget(channel).unwrap();
        end.node.restart();
        assert_eq!(end.node.hsm().channels(), []);
        assert_eq!(end.node.hsm().phase(channel).unwrap_err().rule(), Rule::D3);
    }
}

#[test]
fn an_accepter_may_forget_a_channel_in_which_nothing_is_its_own() {
    let funded = |push: u64| {
        let mut pair = Pair::agreed(ANCHORS);
        let funding = pair.funding;
        for end in [&mut pair.a, &mut pair.b] {
            end.setup.push = MilliSatoshi(push);
            let setup = end.setup.clone();
            end.done(Request::Setup { setup });
            end.done(Request::SetFunding { funding });
        }
        pair.commit(Side::Local, &[]);
        pair.commit(Side::Remote, &[]);
        pair
    };
    let mut pair = funded(0);
    let b = pair.b.new.channel;
    pair.b.node.hsm().forget(b).unwrap();

    let mut pair = funded(1);
    let b = pair.b.new.channel;
    assert_eq!(pair.b.node.hsm().forget(b).unwrap_err().rule(), Rule::D4);

    // Later commitments may give it something.
    let mut pair = funded(0);
    pair.commit(Side::Local, &[]);
    let b = pair.b.new.channel;
    assert_eq!(pair.b.node.hsm().forget(b).unwrap_err().rule(), Rule::D4);

    // And so may those that this signer has lost.
    let mut pair = funded(0);
    let b = pair.b.new.channel;
    let n = CommitmentNumber(5);
    let secret = pair.b.node.hsm().channel_keys[&b].any_secret(n);
    pair.b.ask(Request::ReestablishProof { n, secret });
    assert_eq!(pair.b.node.hsm().forget(b).unwrap_err().rule(), Rule::D4);
}

#[test]
fn a_channels_number_is_never_used_again() {
    let mut node = Node::new();
    let id = node.hsm().node_id();
    let first = node.hsm().new_channel(id).unwrap();
    node.hsm().forget(first.channel).unwrap();
    node.restart();
    node.hsm().compact().unwrap();
    node.restart();
    let second = node.hsm().new_channel(id).unwrap();
    assert_eq!(second.channel, ChannelDbid(first.channel.0 + 1));
    assert_ne!(second.basepoints, first.basepoints);
}

#[test]
fn m1_no_mutual_close_while_anything_is_pending() {
    let mut pair = Pair::open(ANCHORS);
    let deltas = [add(Side::Local, 0, 50_000_000)];
    let close = pair.sign_close(CLOSE_FEE);
    pair.commit(Side::Remote, &deltas);
    assert_eq!(
        pair.a.refused(close.clone()),
        "M1",
        "in the peer's commitment"
    );
    pair.commit(Side::Local, &deltas);
    let fail = [Delta::Fail {
        key: key(Side::Local, 0),
    }];
    pair.commit(Side::Remote, &fail);
    assert_eq!(pair.a.refused(close.clone()), "M1", "still in ours");
    let (signature, htlcs) = pair.sign(Side::Local, &fail);
    pair.validate(Side::Local, &fail, signature, htlcs);
    // A peer's commitment that is not revoked may be broadcast.
    let (signature, htlcs) = pair.sign(Side::Remote, &[]);
    assert_eq!(pair.a.refused(close.clone()), "M1");
    let secret = pair.validate(Side::Remote, &[], signature, htlcs);
    pair.revoke(Side::Remote, secret);
    assert!(matches!(pair.a.ask(close), Reply::SignedClose { .. }));
}

#[test]
fn m1_no_mutual_close_while_the_two_commitments_differ() {
    let mut pair = Pair::open(ANCHORS);
    let added = [add(Side::Local, 0, 50_000_000)];
    let paid = [Delta::Fulfil {
        key: key(Side::Local, 0),
        preimage: PREIMAGE,
    }];
    let failed = [Delta::Fail {
        key: key(Side::Local, 0),
    }];
    pair.commit(Side::Remote, &added);
    pair.commit(Side::Local, &added);
    // No HTLC is left, but the two do not agree on where it went: signers that are of one mind.
    pair.commit(Side::Local, &failed);
    pair.commit(Side::Remote, &paid);
    let close = pair.sign_close(CLOSE_FEE);
    assert_eq!(pair.a.refused(close), "M1");
}

#[test]
fn m1_the_fee_is_capped_and_a_false_signature_completes_nothing() {
    let mut pair = Pair::open(ANCHORS);
    for fee in [Satoshi(700_001), Satoshi(699_999), Satoshi(u64::MAX)] {
        let close = pair.sign_close(fee);
        assert_eq!(pair.a.refused(close), "M1");
    }
    let complete = Request::CompleteClose {
        terms: CloseTerms {
            fee: CLOSE_FEE,
            local_script: pair.a.new.shutdown_p2tr.clone(),
            remote_script: pair.b.new.shutdown_p2tr.clone(),
        },
        signature: nonsense(),
    };
    assert_eq!(pair.a.refused(complete), "M1");
}

#[test]
fn b2_nothing_is_created_beside_something_old() {
    let missing = |name: &str| {
        let mut node = Node::new();
        node.hsm().sync().unwrap();
        let dir = node.dir;
        std::fs::remove_file(dir.path().join(name)).unwrap();
        dir
    };
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path(), false), Err(OpenError::NoSeed)));
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);

    let dir = missing("hsm_secret");
    assert!(matches!(open(dir.path(), false), Err(OpenError::NoSeed)));
    assert!(matches!(open(dir.path(), true), Err(OpenError::NoSeed)));

    let dir = missing("hsm-journal");
    assert!(matches!(open(dir.path(), false), Err(OpenError::NoJournal)));
    // A seed that was brought along, for a new node.
    assert!(open(dir.path(), true).is_ok());
}
