//! C3 and C7: reserves and bounds of a new commitment.

use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::{CommitmentFormat, Setup};
use tx::signer::{NextLocal, NextRemote, Reply, Request, Ticket};
use wire::{
    CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, Preimage, Satoshi, Side,
};

use super::fixture::Pair;

const ANCHORS: CommitmentFormat = CommitmentFormat::AnchorsZeroFeeHtlc;

fn add(offerer: Side, id: u64, amount: u64) -> Delta {
    Delta::Add {
        key: HtlcKey {
            offerer,
            id: HtlcId(id),
        },
        htlc: Htlc {
            amount: MilliSatoshi(amount),
            payment_hash: Preimage([9; 32]).payment_hash(),
            cltv_expiry: CltvExpiry(800_000),
        },
    }
}

fn fee(feerate: u32) -> Delta {
    Delta::Fee {
        feerate: FeeratePerKw(feerate),
    }
}

/// `a` is asked to sign `b`'s next commitment; what it adds was approved. `None`: it signs.
fn refused(pair: &mut Pair, deltas: Vec<Delta>) -> Option<String> {
    let tickets: Vec<Ticket> = pair.a.pay(&deltas);
    let request = Request::SignRemote(NextRemote {
        n: pair.b.next,
        point: pair.b.next_point,
        deltas,
        tickets,
    });
    match pair.a.ask(request) {
        Reply::SignedRemote { .. } => None,
        Reply::Refused { rule, .. } => Some(rule),
        other => panic!("{other:?}"),
    }
}

/// `a` is asked to validate its own next commitment. C5 comes last: everything else was in order.
fn invalid(pair: &mut Pair, deltas: Vec<Delta>) -> String {
    let signature = secp256k1::ecdsa::Signature::from_compact(&[0x11; 64]).unwrap();
    let n: CommitmentNumber = pair.a.next;
    pair.a.refused(Request::ValidateLocal(NextLocal {
        n,
        deltas,
        signature,
        htlc_signatures: vec![],
    }))
}

fn open(change: impl Fn(&mut Setup)) -> Pair {
    let mut pair = Pair::agreed(ANCHORS);
    change(&mut pair.a.setup);
    let funding = pair.funding;
    pair.b.setup = Setup {
        opener: Side::Remote,
        local: pair.a.setup.remote.clone(),
        remote: pair.a.setup.local.clone(),
        ..pair.a.setup.clone()
    };
    for end in [&mut pair.a, &mut pair.b] {
        let setup = end.setup.clone();
        end.done(Request::Setup { setup });
        end.done(Request::SetFunding { funding });
    }
    pair.commit(Side::Local, &[]);
    pair.commit(Side::Remote, &[]);
    pair
}

fn c7() -> Option<String> {
    Some("C7".to_owned())
}

#[test]
fn c3_an_htlc_that_goes_below_the_reserve_is_refused() {
    // Of 700,000 and 300,000 sat each side keeps 10,000.
    for (side, most) in [(Side::Local, 690_000_000), (Side::Remote, 290_000_000)] {
        let mut pair = Pair::open(ANCHORS);
        let deltas = vec![add(side, 0, most + 1)];
        assert_eq!(refused(&mut pair, deltas), Some("C3".to_owned()));
        assert_eq!(refused(&mut pair, vec![add(side, 0, most)]), None);
    }
    let mut pair = Pair::open(ANCHORS);
    let theirs = |amount| vec![add(Side::Remote, 0, amount)];
    assert_eq!(invalid(&mut pair, theirs(290_000_001)), "C3");
    assert_eq!(invalid(&mut pair, theirs(290_000_000)), "C5");
}

#[test]
fn c3_what_one_side_adds_may_bring_the_opener_below_its_reserve() {
    let mut pair = open(|setup| setup.push = MilliSatoshi(989_000_000));
    // 11,000 sat, of which one HTLC of the peer takes fee, and then so much that less is left.
    pair.commit(Side::Local, &[fee(8000)]);
    let theirs = [add(Side::Remote, 0, 50_000_000)];
    assert_eq!(invalid(&mut pair, theirs.to_vec()), "C5");
}

#[test]
fn c7_more_htlcs_than_a_commitment_holds_are_refused() {
    let mut pair = Pair::open(ANCHORS);
    let adds = |count| (0..count).map(|id| add(Side::Remote, id, 1000)).collect();
    assert_eq!(refused(&mut pair, adds(484)), c7());
    assert_eq!(refused(&mut pair, adds(483)), None);
}

#[test]
fn c7_no_more_htlcs_than_the_taker_accepts() {
    let mut pair = open(|setup| {
        setup.local.max_accepted_htlcs = 3;
        setup.remote.max_accepted_htlcs = 2;
    });
    let adds = |side, count| (0..count).map(|id| add(side, id, 2_000_000)).collect();
    assert_eq!(invalid(&mut pair, adds(Side::Remote, 4)), "C7");
    assert_eq!(invalid(&mut pair, adds(Side::Remote, 3)), "C5");
    assert_eq!(refused(&mut pair, adds(Side::Local, 3)), c7());
    assert_eq!(refused(&mut pair, adds(Side::Local, 2)), None);
}

#[test]
fn c7_no_more_value_in_flight_than_the_taker_accepts() {
    let mut pair = open(|setup| {
        setup.local.max_htlc_value_in_flight = MilliSatoshi(7_000_000);
        setup.remote.max_htlc_value_in_flight = MilliSatoshi(5_000_000);
    });
    assert_eq!(
        invalid(&mut pair, vec![add(Side::Remote, 0, 7_000_001)]),
        "C7"
    );
    assert_eq!(
        invalid(&mut pair, vec![add(Side::Remote, 0, 7_000_000)]),
        "C5"
    );
    assert_eq!(
        refused(&mut pair, vec![add(Side::Local, 0, 5_000_001)]),
        c7()
    );
    assert_eq!(
        refused(&mut pair, vec![add(Side::Local, 0, 5_000_000)]),
        None
    );
}

#[test]
fn c7_an_expiry_that_is_no_block_height_is_refused() {
    for side in [Side::Local, Side::Remote] {
        let mut pair = Pair::open(ANCHORS);
        let mut delta = add(side, 0, 5_000_000);
        if let Delta::Add { htlc, .. } = &mut delta {
            htlc.cltv_expiry = CltvExpiry(500_000_000);
        }
        assert_eq!(refused(&mut pair, vec![delta]), c7());
    }
}

#[test]
fn c7_a_feerate_out_of_range_or_too_high_a_step_is_refused() {
    // `a` has opened: its update_fee comes first into the commitment of `b`.
    for wrong in [0, 252, 62_501, u32::MAX] {
        let mut pair = Pair::open(ANCHORS);
        assert_eq!(refused(&mut pair, vec![fee(wrong)]), c7(), "{wrong}");
    }
    let mut pair = Pair::open(ANCHORS);
    for feerate in [253, 7_500, 62_500, 625_000, 253] {
        pair.commit(Side::Remote, &[fee(feerate)]);
        pair.commit(Side::Local, &[fee(feerate)]);
    }
    // Into the other one two steps may come at once, but nothing out of range.
    let mut pair = Pair::open(ANCHORS);
    pair.commit(Side::Remote, &[fee(60_000)]);
    pair.commit(Side::Remote, &[fee(600_000)]);
    assert_eq!(invalid(&mut pair, vec![fee(1_000_001)]), "C7");
    pair.commit(Side::Local, &[fee(600_000)]);
}

#[test]
fn c7_dust_of_ours_is_capped() {
    let dusty = |setup: &mut Setup| {
        // The most that can be trimmed is 500,000 sat, or a tenth of the channel.
        for party in [&mut setup.local, &mut setup.remote] {
            (party.dust_limit, party.channel_reserve) = (Satoshi(200_000), Satoshi(0));
        }
        setup.push = MilliSatoshi(0);
    };
    let dust = |side, count| (0..count).map(|id| add(side, id, 100_000_000)).collect();
    let mut pair = open(dusty);
    assert_eq!(refused(&mut pair, dust(Side::Local, 6)), c7());
    assert_eq!(refused(&mut pair, dust(Side::Local, 5)), None);
    // In our own commitment too, where another limit trims.
    let mut pair = open(|setup| {
        dusty(setup);
        setup.remote.dust_limit = Satoshi(546);
    });
    pair.commit(Side::Remote, &dust(Side::Local, 6));
    assert_eq!(invalid(&mut pair, dust(Side::Local, 6)), "C7");
}
