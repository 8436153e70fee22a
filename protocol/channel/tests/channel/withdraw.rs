//! What hsmd does not sign: a commitment that nobody got is taken back, and the channel goes on.

use channel::action::{AddRefusal, Notice};
use tx::setup::CommitmentFormat::{AnchorsZeroFeeHtlc, StaticRemotekey};

use crate::fixture::origin;
use crate::world::{A, B, World};

/// The payment is told to have been refused, once it is written that it never left.
fn is_refused(world: &mut World, node: usize, i: u32) -> bool {
    let (origin, reason) = (origin(i), AddRefusal::NotSigned);
    let told = Notice::AddRefused { origin, reason };
    let node = &mut world.nodes[node];
    node.sync(usize::MAX);
    node.notices.contains(&told) && node.db.htlcs.values().all(|r| r.origin != Some(origin))
}

#[test]
fn an_htlc_that_hsmd_does_not_sign_never_left_and_the_channel_goes_on() {
    for format in [StaticRemotekey, AnchorsZeroFeeHtlc] {
        for rule in ["C3", "C7", "H1", "H2", "T1"] {
            let mut world = World::ready(format);
            world.nodes[A].signer.refuse = Some(rule);
            let refused = world.pay(A, 5_000_000);
            world.flush(A);
            world.notice_break(A);
            assert!(is_refused(&mut world, A, refused), "{rule}");
            let paid = world.pay(B, 4_000_000);
            world.settle();
            let paid_later = world.pay(A, 6_000_000);
            world.settle();
            world.check_agreement();
            assert!(!world.nodes[A].db.results[&refused]);
            assert!(world.nodes[A].db.results[&paid_later]);
            assert!(!world.nodes[B].db.results[&paid], "the link was down");
        }
    }
}

#[test]
fn one_that_was_stored_before_a_crash_and_is_no_more_signed_after_it_is_taken_back() {
    let mut world = World::ready(AnchorsZeroFeeHtlc);
    world.pay(A, 1_000);
    world.settle();
    // Its Persist, its message, and then nothing.
    world.nodes[A].crash_in = Some((2, 0));
    let refused = world.pay(A, 5_000_000);
    world.flush(A);
    assert!(world.nodes[A].channel.is_none());
    assert_eq!(world.nodes[A].db.htlcs.len(), 1);
    world.nodes[A].signer.refuse = Some("C7");
    world.connect();
    while world.deliver(A) || world.deliver(B) {}
    world.notice_break(A);
    assert!(is_refused(&mut world, A, refused));
    let paid = world.pay(A, 1_000);
    world.settle();
    world.check_agreement();
    assert!(!world.nodes[A].db.results[&paid], "the link was down");
}

#[test]
fn a_removal_that_stood_beside_it_is_in_the_next_commitment() {
    let mut world = World::ready(AnchorsZeroFeeHtlc);
    world.pay(B, 1_000);
    let paid = world.pay(B, 5_000_000);
    world.flush(B);
    world.quiet();
    while world.decide(A) {}
    let refused = world.pay(A, 6_000_000);
    world.nodes[A].signer.refuse = Some("H1");
    world.settle();
    world.check_agreement();
    assert!(is_refused(&mut world, A, refused));
    assert!(world.nodes[B].db.results[&paid]);
}

#[test]
fn a_feerate_that_hsmd_does_not_sign_is_forgotten() {
    let mut world = World::ready(StaticRemotekey);
    world.pay(A, 1_000);
    world.settle();
    world.aim_feerate(5_000);
    world.nodes[A].signer.refuse = Some("C7");
    world.pay(A, 5_000_000);
    world.settle();
    world.check_agreement();
    assert_eq!(world.nodes[A].live().feerate.current.0, 1_000);
}

#[test]
fn what_the_peer_says_until_the_connection_is_gone_is_not_heard() {
    let mut world = World::ready(AnchorsZeroFeeHtlc);
    world.pay(B, 1_000);
    world.pay(B, 5_000_000);
    world.flush(B);
    let said = std::mem::take(&mut world.wires[A]);
    world.nodes[A].signer.refuse = Some("H1");
    let refused = world.pay(A, 6_000_000);
    world.flush(A);
    for message in said {
        let heard = world.feed(A, channel::action::Event::Peer(message));
        assert_eq!(heard, Ok(()));
    }
    world.flush(A);
    world.notice_break(A);
    assert!(is_refused(&mut world, A, refused));
    world.settle();
    world.check_agreement();
}

#[test]
fn a_refusal_for_another_reason_leaves_the_commitment_to_be_signed() {
    let mut world = World::ready(AnchorsZeroFeeHtlc);
    world.pay(A, 1_000);
    world.settle();
    world.nodes[A].signer.refuse = Some("B2");
    let paid = world.pay(A, 5_000_000);
    world.settle();
    world.check_agreement();
    assert!(world.nodes[A].db.results[&paid]);
}
