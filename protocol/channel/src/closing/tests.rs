//! Negotiations between two nodes with real signatures, and answers to single messages.

use bitcoin::Transaction;
use proptest::prelude::*;
use tx::closing::closing_fee;
use tx::setup::{Funding, Party, Setup};
use tx::signer::{CloseTerms, Request};
use wire::{ClosingSigned, FeeRange, FeeratePerKw, Message, MilliSatoshi, Satoshi, Side};

use super::Negotiation;
use crate::action::{Agreed, CloseFees, Event, PeerFault};
use crate::opening::fixture::{
    self, Closer, Node, Signer, identity, key, mirrored, outpoint, script,
};
use crate::state::{Live, Phase};

const VALUE: Satoshi = Satoshi(1_000_000);

fn fees(min: u32, ideal: u32, max: u32) -> CloseFees {
    CloseFees {
        ideal: FeeratePerKw(ideal),
        min: FeeratePerKw(min),
        max: FeeratePerKw(max),
    }
}

/// Of the closing transaction between nodes 10 and 20.
fn fee(feerate: u32) -> Satoshi {
    closing_fee(FeeratePerKw(feerate), &script(10), &script(20))
}

fn party(seed: u8) -> Party {
    let identity = identity(seed);
    Party {
        funding_pubkey: identity.funding_pubkey,
        basepoints: identity.basepoints,
        dust_limit: Satoshi(546),
        to_self_delay: wire::BlockDelta(6),
        channel_reserve: Satoshi(10_000),
        htlc_minimum: MilliSatoshi(0),
        max_htlc_value_in_flight: MilliSatoshi(u64::MAX),
        max_accepted_htlcs: 483,
        upfront_shutdown_script: None,
    }
}

/// As node 10 sees it, which opens.
fn setup(push: MilliSatoshi) -> Setup {
    Setup {
        opener: Side::Local,
        format: fixture::request().format,
        funding_value: VALUE,
        push,
        feerate: FeeratePerKw(253),
        local: party(10),
        remote: party(20),
    }
}

fn live(seed: u8, setup: &Setup, fees: CloseFees) -> Live {
    let funding = Funding {
        outpoint: outpoint(),
        value: VALUE,
    };
    let agreed = Agreed {
        setup: setup.clone(),
        minimum_depth: 1,
        announce: false,
    };
    let phase = Phase::Closing {
        local: script(seed),
        remote: script(30 - seed),
        fees,
        last_fee: None,
    };
    Live::opened(&identity(seed), agreed, funding, key(99), phase).unwrap()
}

fn closer(seed: u8, setup: &Setup, fees: CloseFees) -> Node<Closer> {
    restarted(seed, live(seed, setup, fees))
}

fn restarted(seed: u8, mut live: Live) -> Node<Closer> {
    let mut signer = Signer::new(seed);
    signer.setup = Some(live.setup.clone());
    signer.funding = Some(live.funding);
    let (negotiation, actions) = Negotiation::start(&mut live).unwrap();
    Node::new(Closer { live, negotiation }, signer, actions)
}

/// The opener with these fees, and the accepter with those.
fn both(push: MilliSatoshi, ours: CloseFees, theirs: CloseFees) -> (Node<Closer>, Node<Closer>) {
    let setup = setup(push);
    (
        closer(10, &setup, ours),
        closer(20, &mirrored(&setup), theirs),
    )
}

fn half(ours: CloseFees, theirs: CloseFees) -> (Node<Closer>, Node<Closer>) {
    both(MilliSatoshi(500_000_000), ours, theirs)
}

/// Carries messages as `change` leaves them; the number of messages, or the first fault.
fn negotiate(
    a: &mut Node<Closer>,
    b: &mut Node<Closer>,
    mut change: impl FnMut(Side, &mut ClosingSigned),
) -> Result<usize, PeerFault> {
    for count in 0..100 {
        let (from, message) = match a.out.pop_front() {
            Some(message) => (Side::Local, message),
            None => match b.out.pop_front() {
                Some(message) => (Side::Remote, message),
                None => return Ok(count),
            },
        };
        let Message::ClosingSigned(mut message) = message else {
            panic!("{message:?}")
        };
        change(from, &mut message);
        match from {
            Side::Local => b.peer(message)?,
            Side::Remote => a.peer(message)?,
        }
    }
    panic!("no end");
}

fn as_it_is(_: Side, _: &mut ClosingSigned) {}

fn without_range(_: Side, message: &mut ClosingSigned) {
    message.fee_range = None;
}

fn paid(tx: &Transaction) -> Satoshi {
    let out: u64 = tx.output.iter().map(|out| out.value.to_sat()).sum();
    VALUE.checked_sub(Satoshi(out)).unwrap()
}

/// Both have the same transaction; its fee.
fn agreed(a: &Node<Closer>, b: &Node<Closer>) -> Satoshi {
    let tx = a.closed().expect("the opener has none");
    assert_eq!(b.closed().as_ref(), Some(&tx));
    for node in [a, b] {
        let tx = bitcoin::consensus::serialize(&tx);
        assert_eq!(node.core.live.phase, Phase::Closed { tx });
        assert_eq!(node.stored.last().unwrap().live, node.core.live);
    }
    paid(&tx)
}

fn said(node: &mut Node<Closer>) -> ClosingSigned {
    match node.out.pop_front() {
        Some(Message::ClosingSigned(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn warned(result: Result<(), PeerFault>) -> String {
    match result {
        Err(PeerFault::Warning(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn failed(result: Result<(), PeerFault>) -> String {
    match result {
        Err(PeerFault::Error(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_opener_begins_with_its_ideal_fee_and_its_range_and_the_accepter_waits() {
    let (mut a, b) = half(fees(253, 1000, 5000), fees(253, 1000, 5000));
    assert!(b.out.is_empty() && b.signer.asked.is_empty());
    let message = said(&mut a);
    assert_eq!(message.fee_satoshis, fee(1000));
    let range = FeeRange {
        min_fee_satoshis: fee(253),
        max_fee_satoshis: fee(5000),
    };
    assert_eq!(message.fee_range, Some(range));
    let Phase::Closing { last_fee, .. } = &a.stored[0].live.phase else {
        panic!()
    };
    assert_eq!(*last_fee, Some(fee(1000)));
}

#[test]
fn a_fee_in_both_ranges_is_agreed_with_two_messages() {
    let (mut a, mut b) = half(fees(253, 1000, 5000), fees(253, 2000, 3000));
    assert_eq!(negotiate(&mut a, &mut b, as_it_is), Ok(2));
    assert_eq!(agreed(&a, &b), fee(1000));
}

#[test]
fn the_accepter_answers_a_fee_below_its_minimum_from_the_overlap_and_the_opener_repeats_it() {
    let (mut a, mut b) = half(fees(253, 300, 5000), fees(1000, 2000, 3000));
    assert_eq!(negotiate(&mut a, &mut b, as_it_is), Ok(3));
    assert_eq!(agreed(&a, &b), fee(2000));
}

#[test]
fn the_accepter_has_no_maximum_for_what_the_opener_pays() {
    let (mut a, mut b) = half(fees(10_000, 10_000, 20_000), fees(253, 253, 253));
    assert_eq!(negotiate(&mut a, &mut b, as_it_is), Ok(2));
    assert_eq!(agreed(&a, &b), fee(10_000));
}

#[test]
fn the_accepters_range_reaches_as_far_as_the_openers() {
    let (mut a, mut b) = half(fees(253, 300, 9000), fees(1000, 2000, 3000));
    b.peer(said(&mut a)).unwrap();
    let range = FeeRange {
        min_fee_satoshis: fee(1000),
        max_fee_satoshis: fee(9000),
    };
    assert_eq!(said(&mut b).fee_range, Some(range));
}

#[test]
fn ranges_with_nothing_in_common_are_worth_a_warning() {
    let (mut a, mut b) = half(fees(253, 300, 999), fees(1000, 2000, 3000));
    assert!(warned(b.peer(said(&mut a))).contains("nothing in common"));
    // The other way round: a peer that opened, with a range that ends below our minimum.
    let (mut a, mut b) = half(fees(1000, 1000, 5000), fees(253, 253, 300));
    b.peer(said(&mut a)).unwrap();
    let mut answer = said(&mut b);
    answer.fee_satoshis = fee(300);
    answer.fee_range = Some(FeeRange {
        min_fee_satoshis: fee(253),
        max_fee_satoshis: fee(300),
    });
    assert!(warned(a.peer(answer)).contains("nothing in common"));
    assert_eq!(a.closed(), None);
}

#[test]
fn a_fee_outside_of_overlapping_ranges_fails_the_openers_channel() {
    let (mut a, mut b) = half(fees(253, 300, 5000), fees(1000, 2000, 3000));
    b.peer(said(&mut a)).unwrap();
    let mut answer = said(&mut b);
    answer.fee_satoshis.0 = fee(5000).0 + 1;
    assert!(failed(a.peer(answer)).contains("not in both"));
}

#[test]
fn an_opener_that_does_not_repeat_the_accepters_fee_fails_the_channel() {
    let (mut a, mut b) = half(fees(253, 300, 5000), fees(1000, 2000, 3000));
    let mut first = said(&mut a);
    b.peer(first.clone()).unwrap();
    first.fee_satoshis = fee(1500);
    assert!(failed(b.peer(first)).contains("instead of"));
}

#[test]
fn a_signature_on_another_transaction_fails_the_channel() {
    let (mut a, mut b) = half(fees(253, 1000, 5000), fees(253, 1000, 5000));
    let mut message = said(&mut a);
    message.fee_satoshis.0 += 1;
    assert!(failed(b.peer(message)).contains("does not verify"));
    assert!(b.out.is_empty() && b.closed().is_none());
    assert!(matches!(b.core.live.phase, Phase::Closing { .. }));
}

#[test]
fn the_fee_is_never_above_the_openers_balance() {
    // The opener has 1500 sat, which is less than its minimum.
    let push = MilliSatoshi(998_500_000);
    for (ours, theirs) in [
        (fees(3000, 5000, 9000), fees(253, 1000, 5000)),
        (fees(253, 5000, 9000), fees(253, 300, 9000)),
        (fees(253, 300, 9000), fees(9000, 9000, 9000)),
    ] {
        let (mut a, mut b) = both(push, ours, theirs);
        negotiate(&mut a, &mut b, as_it_is).unwrap();
        assert!(agreed(&a, &b) <= Satoshi(1500));
        let (mut a, mut b) = both(push, ours, theirs);
        negotiate(&mut a, &mut b, without_range).unwrap();
        assert!(agreed(&a, &b) <= Satoshi(1500));
    }
}

#[test]
fn without_ranges_both_go_towards_each_other() {
    let (mut a, mut b) = half(fees(253, 300, 2600), fees(2500, 9000, 9000));
    let mut named = vec![];
    let note = |side, message: &mut ClosingSigned| {
        message.fee_range = None;
        named.push((side, message.fee_satoshis));
    };
    negotiate(&mut a, &mut b, note).unwrap();
    let between = agreed(&a, &b);
    assert!(fee(2500) <= between && between <= fee(2600));
    assert!(named.len() > 3, "{named:?}");
    // Each lies between the two before it, but for the last, which repeats the one before.
    for window in named[..named.len() - 1].windows(3) {
        let [one, two, three] = [window[0].1, window[1].1, window[2].1];
        assert!(one.min(two) < three && three < one.max(two), "{named:?}");
    }
}

#[test]
fn without_ranges_a_step_backwards_is_worth_a_warning() {
    let (mut a, mut b) = half(fees(253, 300, 2600), fees(2500, 9000, 9000));
    let mut first = said(&mut a);
    first.fee_range = None;
    b.peer(first.clone()).unwrap();
    let mut back = first;
    back.fee_satoshis = fee(299);
    assert!(warned(b.peer(back)).contains("not between"));
}

#[test]
fn a_new_connection_starts_from_the_beginning() {
    let (mut a, mut b) = half(fees(253, 300, 5000), fees(1000, 2000, 3000));
    b.peer(said(&mut a)).unwrap();
    // The answer is lost with the connection.
    let (a, b) = (a.stored.pop().unwrap().live, b.stored.pop().unwrap().live);
    let (mut a, mut b) = (restarted(10, a), restarted(20, b));
    assert_eq!(a.signer.asked.len(), 1);
    assert_eq!(negotiate(&mut a, &mut b, as_it_is), Ok(3));
    assert_eq!(agreed(&a, &b), fee(2000));
}

#[test]
fn a_closed_channel_hears_nothing_more() {
    let (mut a, mut b) = half(fees(253, 1000, 5000), fees(253, 1000, 5000));
    let first = said(&mut a);
    b.peer(first.clone()).unwrap();
    let asked = b.signer.asked.len();
    b.peer(first).unwrap();
    b.handle(Event::Flush).unwrap();
    assert_eq!(b.signer.asked.len(), asked);
}

#[test]
fn the_transaction_is_told_before_the_closed_state_is_stored() {
    use crate::action::{Action, Notice};
    let (mut a, b) = half(fees(253, 1000, 5000), fees(253, 1000, 5000));
    let mut b = b.core;
    let message = said(&mut a);
    let signature = message.signature;
    b.negotiation
        .handle(&mut b.live, Event::Peer(message.into()))
        .unwrap();
    let signed = tx::signer::Reply::SignedClose { signature };
    let asked = b
        .negotiation
        .handle(&mut b.live, Event::Signer(signed))
        .unwrap();
    assert!(matches!(
        asked[..],
        [Action::AskSigner(Request::CompleteClose { .. })]
    ));
    let completed = tx::signer::Reply::CompletedClose { tx: vec![1] };
    let actions = b
        .negotiation
        .handle(&mut b.live, Event::Signer(completed))
        .unwrap();
    let [
        Action::Tell(Notice::MutualClose { tx }),
        Action::Persist(persist),
        Action::Send(_),
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    let closed = Phase::Closed { tx: vec![1] };
    assert_eq!((tx, &persist.live.phase), (&vec![1], &closed));
}

#[test]
fn a_negotiation_needs_both_shutdowns() {
    let mut live = live(10, &setup(MilliSatoshi(0)), fees(253, 253, 253));
    live.phase = Phase::Normal;
    assert!(Negotiation::start(&mut live).is_err());
}

prop_compose! {
    fn any_fees()(mut rates in [253u32..=20_000, 253u32..=20_000, 253u32..=20_000]) -> CloseFees {
        rates.sort_unstable();
        let [min, ideal, max] = rates;
        fees(min, ideal, max)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn two_sides_agree_exactly_if_the_opener_can_reach_the_accepters_minimum(
        ours in any_fees(),
        theirs in any_fees(),
        push in 1_000_000u64..=1_000_000_000,
        // An accepter names none if it is old; an opener too, but then it does not read the
        // accepter's either.
        (opener_says_range, accepter_says_range) in
            prop_oneof![Just((true, true)), Just((true, false)), Just((false, false))],
    ) {
        let (mut a, mut b) = both(MilliSatoshi(push), ours, theirs);
        let strip = |side, message: &mut ClosingSigned| {
            let kept = match side {
                Side::Local => opener_says_range,
                Side::Remote => accepter_says_range,
            };
            if !kept {
                message.fee_range = None;
            }
        };
        let result = negotiate(&mut a, &mut b, strip);
        let balance = MilliSatoshi(VALUE.0 * 1000 - push).to_sat_floor();
        let of = |rate| closing_fee(rate, &script(10), &script(20)).min(balance);
        let (low, high) = (of(theirs.min), of(ours.max));
        if low <= high {
            prop_assert!(result.is_ok(), "{:?}", result);
            let tx = a.closed().unwrap();
            let paid = agreed(&a, &b);
            // Dust of the opener and fractions of a satoshi go to the miners too.
            prop_assert!(paid >= low.max(of(ours.min)) && paid.0 <= high.0 + 546, "{}", paid);
            let get = |script| tx.output.iter().find(|out| out.script_pubkey == script);
            let accepter = get(script(20)).unwrap().value.to_sat();
            prop_assert_eq!(accepter, push / 1000);
            if let Some(opener) = get(script(10)) {
                let rest = balance.0 - opener.value.to_sat();
                prop_assert!(low.0 <= rest && rest <= high.0);
            }
        } else {
            prop_assert!(matches!(result, Err(PeerFault::Warning(_))), "{:?}", result);
            prop_assert!(a.closed().is_none() && b.closed().is_none());
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_peer_names_we_sign_no_fee_above_the_openers_balance_or_below_our_minimum(
        push in 0u64..=1_000_000_000,
        we_open: bool,
        named in proptest::collection::vec(
            (0u64..=30_000, proptest::option::of((0u64..=30_000, 0u64..=30_000))),
            1..6,
        ),
    ) {
        let (a, b) = both(MilliSatoshi(push), fees(300, 1000, 9000), fees(300, 1000, 9000));
        let mut node = if we_open { a } else { b };
        let signature = fixture::secret(10).sign_ecdsa(secp256k1::Message::from_digest([1; 32]));
        for (fee, range) in named {
            let fee_range = range.map(|(min, max)| FeeRange {
                min_fee_satoshis: Satoshi(min),
                max_fee_satoshis: Satoshi(max),
            });
            let channel_id = node.core.live.channel_id;
            let fee_satoshis = Satoshi(fee);
            if node.peer(ClosingSigned { channel_id, fee_satoshis, signature, fee_range }).is_err() {
                break;
            }
        }
        let balance = MilliSatoshi(VALUE.0 * 1000 - push).to_sat_floor();
        let most = if we_open { fee(9000).min(balance) } else { balance };
        for request in &node.signer.asked {
            let Request::SignClose(CloseTerms { fee: signed, .. }) = request else { continue };
            prop_assert!(*signed >= fee(300).min(balance) && *signed <= most, "{}", signed);
        }
        prop_assert_eq!(node.closed(), None);
    }
}
