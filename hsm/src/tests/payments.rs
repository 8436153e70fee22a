//! H1 and A1: payments that were approved.

use tx::signer::{Reply, Ticket};
use wire::{ChainHash, MilliSatoshi};

use super::fixture::{Node, payment};
use super::line::{LEFT, Line, M, OUT, PREIMAGE, RIGHT, add, fail, fulfil};
use crate::pay::MAX_BUDGETS;
use crate::{Payment, Rule, UnixTime};

fn hash() -> wire::PaymentHash {
    PREIMAGE.payment_hash()
}

/// Whether the middle node offers HTLC `id` of this amount to the right.
fn offers(line: &mut Line, id: u64, amount: u64) -> bool {
    let request = line.request(OUT, RIGHT, &[add(id, amount, 600)], &[Ticket::Payment]);
    match line.ask(OUT, LEFT, request) {
        Reply::SignedRemote { .. } => true,
        Reply::Refused { rule, .. } => {
            assert_eq!(rule, "H1");
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn h1_a_payment_that_nobody_approved_does_not_leave() {
    let mut line = Line::new();
    assert!(!offers(&mut line, 0, 1_000_000));
    line.approve(M, 999_999);
    assert!(!offers(&mut line, 0, 1_000_000));
    line.approve(M, 1_000_000);
    assert!(offers(&mut line, 0, 1_000_000));
}

#[test]
fn h1_parts_in_one_commitment_count_together() {
    let mut line = Line::new();
    line.approve(M, 1_500_000);
    let parts = [add(0, 1_000_000, 600), add(1, 600_000, 600)];
    let request = line.request(OUT, RIGHT, &parts, &[Ticket::Payment; 2]);
    assert_eq!(line.refused(OUT, LEFT, request), "H1");
}

#[test]
fn h1_an_attempt_is_free_again_when_nobody_can_claim_it() {
    let mut line = Line::new();
    line.approve(M, 1_000_000);
    line.left_says(OUT, &[add(0, 900_000, 600)], &[Ticket::Payment]);
    assert!(!offers(&mut line, 1, 900_000), "the first is under way");
    line.commit(OUT, LEFT, &[fail(0)], &[]);
    assert!(
        !offers(&mut line, 1, 900_000),
        "the peer's commitment has it"
    );
    line.commit(OUT, RIGHT, &[fail(0)], &[]);
    line.nodes[M].restart();
    assert_eq!(line.legs(), 0);
    assert!(offers(&mut line, 1, 900_000));
}

#[test]
fn h1_what_is_paid_stays_paid() {
    let mut line = Line::new();
    line.approve(M, 1_000_000);
    line.left_says(OUT, &[add(0, 900_000, 600)], &[Ticket::Payment]);
    line.commit(OUT, LEFT, &[fulfil(0)], &[]);
    assert!(!offers(&mut line, 1, 900_000));
    line.commit(OUT, RIGHT, &[fulfil(0)], &[]);
    assert_eq!(line.legs(), 0);
    for compact in [false, true] {
        if compact {
            line.nodes[M].hsm().compact().unwrap();
        }
        line.nodes[M].restart();
        // The same approval is no second one.
        line.approve(M, 1_000_000);
        assert!(!offers(&mut line, 1, 900_000));
    }
    assert!(offers(&mut line, 1, 100_000));
}

#[test]
fn a1_an_approval_binds_the_payee() {
    let mut node = Node::new();
    let first = payment(hash(), MilliSatoshi(1000));
    node.hsm().approve(&first).unwrap();
    let other = Payment {
        payee: node.hsm().node_id(),
        ..first
    };
    assert_eq!(node.hsm().approve(&other).unwrap_err().rule(), Rule::A1);
}

#[test]
fn a1_an_invoice_that_has_expired_is_not_approved() {
    let mut node = Node::new();
    let until = |end| Payment {
        expires: Some(UnixTime(end)),
        ..payment(hash(), MilliSatoshi(1000))
    };
    node.hsm().set_now(UnixTime(1001));
    let refused = node.hsm().approve(&until(1000)).unwrap_err();
    assert_eq!(refused.rule(), Rule::A1);
    node.hsm().approve(&until(1001)).unwrap();
    // What was approved a moment ago is under way.
    node.hsm().set_now(UnixTime(1100));
    node.hsm().approve(&until(1001)).unwrap();
    let more = Payment {
        max_fee: MilliSatoshi(1),
        ..until(1001)
    };
    assert_eq!(node.hsm().approve(&more).unwrap_err().rule(), Rule::A1);
}

#[test]
fn i1_an_invoice_of_another_chain_is_not_approved() {
    let mut node = Node::new();
    let other = Payment {
        chain_hash: ChainHash([1; 32]),
        ..payment(hash(), MilliSatoshi(1000))
    };
    assert_eq!(node.hsm().approve(&other).unwrap_err().rule(), Rule::I1);
}

#[test]
fn a1_the_same_approval_is_recorded_once_and_a_higher_one_raises_the_limit() {
    let mut node = Node::new();
    let first = payment(hash(), MilliSatoshi(1000));
    node.hsm().approve(&first).unwrap();
    let len = node.journal_len();
    node.hsm().approve(&first).unwrap();
    let less = payment(hash(), MilliSatoshi(10));
    node.hsm().approve(&less).unwrap();
    assert_eq!(node.journal_len(), len);
    let more = payment(hash(), MilliSatoshi(2000));
    node.hsm().approve(&more).unwrap();
    node.restart();
    let flow = node.hsm().state.flows.get(hash()).unwrap();
    assert_eq!(flow.budget.as_ref().unwrap().limit, MilliSatoshi(2000));
}

#[test]
fn a1_approvals_are_bounded_and_old_ones_make_room() {
    let mut node = Node::new();
    node.hsm().set_now(UnixTime(5000));
    let nth = |n: usize| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        payment(wire::PaymentHash(hash), MilliSatoshi(1000))
    };
    for n in 0..MAX_BUDGETS {
        node.hsm().approve(&nth(n)).unwrap();
    }
    let refused = node.hsm().approve(&nth(MAX_BUDGETS)).unwrap_err();
    assert_eq!(refused.rule(), Rule::A1);
    // Asked again, as before another attempt.
    node.hsm().approve(&nth(7)).unwrap();
    node.hsm().set_now(UnixTime(5000 + 1200));
    node.hsm().approve(&nth(MAX_BUDGETS)).unwrap();
    assert_eq!(node.hsm().state.flows.len(), 1);
    node.restart();
}
