//! H1, H2 and H3: what goes out is paid for, and what has paid for it does not go back too soon.

use tx::ledger::Delta;
use tx::signer::{NextLocal, Reply, Request, Ticket};
use wire::{ChannelDbid, HtlcId, PaymentHash, Preimage, Side};

use super::line::{IN, LEFT, Line, M, OUT, RIGHT, add, fail, fulfil, htlc, key};

/// The middle node is asked to offer this for HTLC 0 that came in.
fn forward(line: &mut Line, amount: u64, cltv_expiry: u32) -> Request {
    let ticket = line.ticket(0);
    line.request(OUT, RIGHT, &[add(0, amount, cltv_expiry)], &[ticket])
}

fn is_signed(reply: &Reply) -> bool {
    matches!(reply, Reply::SignedRemote { .. })
}

/// HTLC 0 came in and went out.
fn forwarded() -> Line {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let ticket = line.ticket(0);
    line.left_says(OUT, &[add(0, 49_000_000, 590)], &[ticket]);
    line
}

#[test]
fn h1_every_htlc_needs_its_own_ticket() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let ticket = line.ticket(0);
    let out = |id| add(id, 1_000_000, 590);
    for (deltas, tickets) in [
        (vec![out(0)], vec![]),
        (vec![out(0), out(1)], vec![ticket]),
        (vec![], vec![ticket]),
    ] {
        let request = line.request(OUT, RIGHT, &deltas, &tickets);
        assert_eq!(line.refused(OUT, LEFT, request), "H1");
    }
    // What the peer offers needs none.
    let theirs = [Delta::Add {
        key: key(Side::Remote, 0),
        htlc: htlc(1_000_000, 500),
    }];
    let request = line.request(OUT, RIGHT, &theirs, &[]);
    assert!(is_signed(&line.ask(OUT, LEFT, request)));
}

#[test]
fn h1_a_forward_without_its_incoming_htlc_is_refused() {
    let mut line = Line::new();
    let out = [add(0, 1_000_000, 590)];
    let own = line.dbid(OUT, LEFT);
    for channel in [line.dbid(IN, RIGHT), own, ChannelDbid(99)] {
        let id = HtlcId(0);
        let request = line.request(OUT, RIGHT, &out, &[Ticket::Forward { channel, id }]);
        assert_eq!(line.refused(OUT, LEFT, request), "H1");
    }
}

#[test]
fn h1_an_incoming_htlc_counts_when_it_is_committed_on_both_sides_for_good() {
    let mut line = Line::new();
    line.approve(LEFT, 50_000_000);
    let incoming = [add(0, 50_000_000, 600)];
    let check = |line: &mut Line, why| {
        let request = forward(line, 49_000_000, 590);
        assert_eq!(line.refused(OUT, LEFT, request), "H1", "{why}");
    };
    line.commit(IN, RIGHT, &incoming, &[Ticket::Payment]);
    check(&mut line, "in our commitment alone");
    let signatures = line.sign(IN, LEFT, &incoming, &[]);
    check(&mut line, "the peer may broadcast the one before");
    let secret = line.validate(IN, LEFT, &incoming, signatures);
    check(&mut line, "the secret is not here");
    line.revoke(IN, LEFT, secret);
    let request = forward(&mut line, 49_000_000, 590);
    assert!(is_signed(&line.ask(OUT, LEFT, request)));
}

#[test]
fn h1_an_htlc_that_only_the_peers_commitment_has_pays_for_nothing() {
    let mut line = Line::new();
    // Signed for the left end, which did not offer it: ours does not have it.
    let incoming = [add(0, 50_000_000, 600)];
    let signatures = line.sign(IN, LEFT, &incoming, &[]);
    line.approve(LEFT, 50_000_000);
    line.sign(IN, RIGHT, &incoming, &[Ticket::Payment]);
    let secret = line.validate(IN, LEFT, &incoming, signatures);
    line.revoke(IN, LEFT, secret);
    let request = forward(&mut line, 49_000_000, 590);
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
}

#[test]
fn h1_the_two_halves_have_one_hash() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let other = [Delta::Add {
        key: key(Side::Local, 0),
        htlc: tx::ledger::Htlc {
            payment_hash: PaymentHash([3; 32]),
            ..htlc(1_000_000, 500)
        },
    }];
    let ticket = line.ticket(0);
    let request = line.request(OUT, RIGHT, &other, &[ticket]);
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
}

#[test]
fn h1_no_more_goes_out_than_came_in() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let request = forward(&mut line, 50_000_001, 590);
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
    let request = forward(&mut line, 50_000_000, 590);
    assert!(
        is_signed(&line.ask(OUT, LEFT, request)),
        "a forward for nothing"
    );
}

#[test]
fn h1_the_outgoing_htlc_times_out_first() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    for expiry in [700, 600, 598] {
        let request = forward(&mut line, 49_000_000, expiry);
        assert_eq!(line.refused(OUT, LEFT, request), "H1");
    }
    let request = forward(&mut line, 49_000_000, 597);
    assert!(is_signed(&line.ask(OUT, LEFT, request)));
}

#[test]
fn h1_a_ticket_is_used_once() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let ticket = line.ticket(0);
    let twice = [add(0, 1_000_000, 590), add(1, 1_000_000, 590)];
    let request = line.request(OUT, RIGHT, &twice, &[ticket, ticket]);
    assert_eq!(line.refused(OUT, LEFT, request), "H1", "in one commitment");
    line.left_says(OUT, &twice[..1], &[ticket]);
    line.nodes[M].restart();
    let request = line.request(OUT, RIGHT, &twice[1..], &[ticket]);
    assert_eq!(line.refused(OUT, LEFT, request), "H1", "in a later one");
    // Not when the first has failed either: its incoming half is about to.
    line.right_says(OUT, &[fail(0)]);
    let request = line.request(OUT, RIGHT, &twice[1..], &[ticket]);
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
}

#[test]
fn h1_an_incoming_htlc_that_is_being_removed_pays_for_nothing() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    line.sign(IN, LEFT, &[fail(0)], &[]);
    let request = forward(&mut line, 49_000_000, 590);
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
}

#[test]
fn h1_a_forward_back_through_the_same_channel_does_not_take_its_incoming_half_along() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let back = Delta::Add {
        key: key(Side::Remote, 0),
        htlc: htlc(49_000_000, 590),
    };
    let ticket = line.ticket(0);
    let request = line.request(IN, LEFT, &[fail(0), back.clone()], &[ticket]);
    assert_eq!(line.refused(IN, RIGHT, request), "H1");
    let request = line.request(IN, LEFT, &[back], &[ticket]);
    assert!(is_signed(&line.ask(IN, RIGHT, request)));
}

#[test]
fn h1_our_own_commitment_takes_only_what_the_peers_has() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let out = add(0, 49_000_000, 590);
    // The right end signs for us what we have not offered.
    let (signature, htlc_signatures) = line.sign(OUT, LEFT, std::slice::from_ref(&out), &[]);
    let validate = |line: &Line, delta: &Delta| {
        Request::ValidateLocal(NextLocal {
            n: line.links[OUT].next[LEFT],
            deltas: vec![delta.clone()],
            signature,
            htlc_signatures: htlc_signatures.clone(),
        })
    };
    let request = validate(&line, &out);
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
    let ticket = line.ticket(0);
    let other = add(0, 48_000_000, 590);
    line.sign(OUT, RIGHT, std::slice::from_ref(&other), &[ticket]);
    let request = validate(&line, &out);
    assert_eq!(line.refused(OUT, LEFT, request), "H1", "another amount");
}

#[test]
fn h2_what_has_paid_is_not_failed_while_the_outgoing_htlc_can_be_claimed() {
    let mut line = forwarded();
    let check = |line: &mut Line, why| {
        let request = line.request(IN, LEFT, &[fail(0)], &[]);
        assert_eq!(line.refused(IN, RIGHT, request), "H2", "{why}");
    };
    check(&mut line, "it is everywhere");
    line.commit(OUT, LEFT, &[fail(0)], &[]);
    check(&mut line, "the peer's commitment has it");
    let signatures = line.sign(OUT, RIGHT, &[fail(0)], &[]);
    line.nodes[M].restart();
    check(&mut line, "the peer may broadcast the one before");
    let secret = line.validate(OUT, RIGHT, &[fail(0)], signatures);
    check(&mut line, "the secret is not here");
    line.revoke(OUT, RIGHT, secret);
    line.commit(IN, LEFT, &[fail(0)], &[]);
    assert_eq!(line.legs(), 1);
    line.commit(IN, RIGHT, &[fail(0)], &[]);
    assert_eq!(line.legs(), 0, "nothing is left of it");
}

#[test]
fn h2_it_does_not_leave_our_own_commitment_either() {
    let mut line = forwarded();
    let (signature, htlc_signatures) = line.sign(IN, RIGHT, &[fail(0)], &[]);
    let failed = Delta::Fail {
        key: key(Side::Remote, 0),
    };
    let request = Request::ValidateLocal(NextLocal {
        n: line.links[IN].next[RIGHT],
        deltas: vec![failed],
        signature,
        htlc_signatures,
    });
    assert_eq!(line.refused(IN, RIGHT, request), "H2");
}

#[test]
fn h2_what_has_paid_for_a_fulfilled_htlc_can_only_be_fulfilled() {
    for said_by_both in [false, true] {
        let mut line = forwarded();
        line.commit(OUT, LEFT, &[fulfil(0)], &[]);
        if said_by_both {
            line.commit(OUT, RIGHT, &[fulfil(0)], &[]);
        }
        line.nodes[M].hsm().compact().unwrap();
        line.nodes[M].restart();
        let request = line.request(IN, LEFT, &[fail(0)], &[]);
        assert_eq!(line.refused(IN, RIGHT, request), "H2");
        line.right_says(IN, &[fulfil(0)]);
        assert_eq!(line.legs(), 0, "nothing is left of it");
    }
}

#[test]
fn h2_an_htlc_that_paid_for_nothing_is_failed_freely() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    line.right_says(IN, &[fail(0)]);
}

#[test]
fn h2_after_a_force_close_the_outgoing_htlc_is_the_chains() {
    let mut line = forwarded();
    let out = line.dbid(OUT, LEFT);
    line.nodes[M].hsm().force_close(out).unwrap();
    let request = line.request(IN, LEFT, &[fail(0)], &[]);
    assert_eq!(line.refused(IN, RIGHT, request), "H2");
}

#[test]
fn h3_an_htlc_leaves_as_paid_only_with_its_preimage() {
    let mut line = forwarded();
    let wrong = Delta::Fulfil {
        key: key(Side::Local, 0),
        preimage: Preimage([8; 32]),
    };
    let request = line.request(OUT, RIGHT, std::slice::from_ref(&wrong), &[]);
    assert_eq!(line.refused(OUT, LEFT, request), "H3");
    let (signature, htlc_signatures) = line.sign(OUT, LEFT, &[], &[]);
    let request = Request::ValidateLocal(NextLocal {
        n: line.links[OUT].next[LEFT],
        deltas: vec![wrong],
        signature,
        htlc_signatures,
    });
    assert_eq!(line.refused(OUT, LEFT, request), "H3");
    line.right_says(OUT, &[]);
}

#[test]
fn a_repetition_needs_no_second_ticket_and_changes_nothing() {
    let mut line = Line::new();
    line.comes_in(0, 50_000_000, 600);
    let request = forward(&mut line, 49_000_000, 590);
    let first = line.ask(OUT, LEFT, request.clone());
    assert!(is_signed(&first));
    line.nodes[M].restart();
    let state = line.nodes[M].hsm().state.clone();
    assert_eq!(line.ask(OUT, LEFT, request), first);
    assert_eq!(line.nodes[M].hsm().state, state);
}
