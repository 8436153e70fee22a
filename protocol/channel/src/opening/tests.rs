//! Each requirement by a mutation of messages that are right otherwise; and whole openings.

use bitcoin::{OutPoint, ScriptBuf};
use proptest::prelude::*;
use secp256k1::ecdsa::Signature;
use tx::setup::CommitmentFormat;
use tx::signer::Request;
use wire::features::Features;
use wire::{
    AcceptChannel, BlockDelta, ChainHash, ChannelId, FeeratePerKw, Message, MilliSatoshi,
    OpenChannel, Satoshi,
};

use super::fixture::*;
use super::require::{MAX_DUST_LIMIT, MAX_MINIMUM_DEPTH};
use super::{Accepter, Opener};
use crate::action::{AddRefusal, Command, Event, Notice, OpenRequest, Origin, PeerFault, Policy};
use crate::state::Phase;

fn refusal<T>(result: Result<T, PeerFault>) -> String {
    match result {
        Err(PeerFault::Error(text)) => text,
        Err(PeerFault::Warning(text)) => panic!("only a warning: {text}"),
        Ok(_) => panic!("not refused"),
    }
}

fn features(bits: &[u32]) -> Option<Features> {
    Some(bits.iter().copied().collect())
}

/// Each row is a test: open_channel with this change is refused, for this reason.
macro_rules! open_channel_is_refused {
    ($($name:ident: |$m:ident| $change:expr => $reason:literal;)*) => {$(
        #[test]
        fn $name() {
            let mut $m: OpenChannel = open_channel();
            assert!(accepter_of(policy(), $m.clone()).is_ok());
            $change;
            let reason = refusal(accepter_of(policy(), $m));
            assert!(reason.contains($reason), "{reason}");
        }
    )*};
}

open_channel_is_refused! {
    a_chain_that_is_not_ours_is_refused: |m| m.chain_hash = ChainHash([1; 32]) => "chain_hash";
    a_temporary_channel_id_of_zeroes_is_refused:
        |m| m.temporary_channel_id = ChannelId::ALL => "temporary_channel_id";
    a_channel_below_our_minimum_is_refused:
        |m| (m.funding_satoshis, m.push_msat) = (Satoshi(14_000), MilliSatoshi(0)) => "capacity";
    more_funding_than_there_is_is_refused:
        |m| m.funding_satoshis = Satoshi(u64::MAX) => "more than there is";
    a_push_above_the_funding_is_refused:
        |m| m.push_msat = MilliSatoshi(1_000_000_001) => "push_msat";
    a_to_self_delay_above_our_maximum_is_refused:
        |m| m.to_self_delay = BlockDelta(2017) => "to_self_delay";
    more_than_483_accepted_htlcs_are_refused: |m| m.max_accepted_htlcs = 484 => "max_accepted_htlcs";
    no_accepted_htlcs_at_all_are_refused: |m| m.max_accepted_htlcs = 0 => "max_accepted_htlcs";
    a_feerate_too_low_is_refused: |m| m.feerate_per_kw = FeeratePerKw(252) => "is below 253";
    a_feerate_too_high_is_refused: |m| m.feerate_per_kw = FeeratePerKw(10_001) => "is above 10000";
    a_dust_limit_below_354_is_refused: |m| m.dust_limit_satoshis = Satoshi(353) => "below 354sat";
    a_dust_limit_far_above_dust_is_refused:
        |m| m.dust_limit_satoshis = MAX_DUST_LIMIT.saturating_add(Satoshi(1)) => "above 1092sat";
    a_dust_limit_above_the_reserve_is_refused:
        |m| m.channel_reserve_satoshis = Satoshi(545) => "above channel_reserve_satoshis";
    an_opener_who_cannot_pay_the_first_fee_is_refused:
        |m| m.push_msat = MilliSatoshi(1_000_000_000 - 1_783_000) => "cannot pay 1784sat";
    two_amounts_below_the_reserve_are_refused:
        |m| m.channel_reserve_satoshis = Satoshi(900_000) => "neither side";
    a_reserve_that_leaves_no_capacity_is_refused:
        |m| (m.channel_reserve_satoshis, m.push_msat) = (Satoshi(990_000), MilliSatoshi(0))
        => "channel_reserve_satoshis";
    a_minimum_htlc_above_the_capacity_is_refused:
        |m| m.htlc_minimum_msat = MilliSatoshi(990_000_000) => "htlc_minimum_msat";
    too_little_in_flight_is_refused:
        |m| m.max_htlc_value_in_flight_msat = MilliSatoshi(9_999_999)
        => "max_htlc_value_in_flight_msat";
    an_open_without_channel_type_is_refused: |m| m.channel_type = None => "without channel_type";
    an_alias_only_channel_is_refused: |m| m.channel_type = features(&[12, 46]) => "not supported";
    a_zeroconf_channel_is_refused: |m| m.channel_type = features(&[12, 22, 50]) => "not supported";
    anchors_that_pay_fees_are_refused: |m| m.channel_type = features(&[12, 20]) => "not supported";
    an_optional_bit_is_no_channel_type: |m| m.channel_type = features(&[13]) => "not supported";
    an_upfront_script_of_another_form_is_refused:
        |m| m.upfront_shutdown_script = Some(ScriptBuf::from_bytes(vec![0x6a]))
        => "upfront_shutdown_script";
}

/// Each row is a test: open_channel with this change is still good.
macro_rules! open_channel_is_taken {
    ($($name:ident: |$m:ident| $change:expr;)*) => {$(
        #[test]
        fn $name() {
            let mut $m: OpenChannel = open_channel();
            $change;
            accepter_of(policy(), $m).map(drop).unwrap();
        }
    )*};
}

open_channel_is_taken! {
    undefined_channel_flags_are_ignored: |m| m.channel_flags = 0xff;
    an_open_without_upfront_script_is_taken: |m| m.upfront_shutdown_script = None;
    an_upfront_script_of_witness_version_1_is_taken:
        |m| m.upfront_shutdown_script = Some(ScriptBuf::from_bytes([&[0x51, 32][..], &[1; 32]].concat()));
    the_smallest_dust_limit_is_taken: |m| m.dust_limit_satoshis = Satoshi(354);
    the_largest_dust_limit_is_taken: |m| m.dust_limit_satoshis = MAX_DUST_LIMIT;
    the_largest_to_self_delay_is_taken: |m| m.to_self_delay = BlockDelta(2016);
    exactly_483_htlcs_are_taken: |m| m.max_accepted_htlcs = 483;
    a_feerate_on_the_edge_is_taken: |m| m.feerate_per_kw = FeeratePerKw(10_000);
    a_channel_of_ten_bitcoin_is_taken: |m| m.funding_satoshis = Satoshi(1_000_000_000);
    an_opener_who_can_just_pay_the_first_fee_is_taken:
        |m| m.push_msat = MilliSatoshi(1_000_000_000 - 1_784_000);
    a_push_of_nothing_is_taken: |m| m.push_msat = MilliSatoshi(0);
    an_unlimited_amount_in_flight_is_taken:
        |m| m.max_htlc_value_in_flight_msat = MilliSatoshi(u64::MAX);
}

/// Each row is a test: accept_channel with this change is refused, for this reason.
macro_rules! accept_channel_is_refused {
    ($($name:ident: |$m:ident| $change:expr => $reason:literal;)*) => {$(
        #[test]
        fn $name() {
            let mut $m: AcceptChannel = accept_channel();
            opener().peer($m.clone()).unwrap();
            $change;
            let mut opener = opener();
            let reason = refusal(opener.peer($m));
            assert!(reason.contains($reason), "{reason}");
            assert!(opener.signer.asked.is_empty() && opener.stored.is_empty());
        }
    )*};
}

accept_channel_is_refused! {
    an_accept_for_another_channel_is_refused:
        |m| m.temporary_channel_id = ChannelId([8; 32]) => "temporary_channel_id";
    an_accept_without_channel_type_is_refused: |m| m.channel_type = None => "without channel_type";
    an_accept_with_another_channel_type_is_refused:
        |m| m.channel_type = features(&[12]) => "not the one that was proposed";
    a_depth_that_nobody_waits_for_is_refused:
        |m| m.minimum_depth = MAX_MINIMUM_DEPTH + 1 => "minimum_depth";
    an_accept_whose_reserve_is_dust_to_us_is_refused:
        |m| (m.dust_limit_satoshis, m.channel_reserve_satoshis) = (Satoshi(354), Satoshi(545))
        => "below the dust_limit_satoshis 546sat";
    an_accept_whose_delay_is_too_long_is_refused:
        |m| m.to_self_delay = BlockDelta(2017) => "to_self_delay";
    an_accept_of_more_than_483_htlcs_is_refused:
        |m| m.max_accepted_htlcs = 484 => "max_accepted_htlcs";
    an_accept_with_dust_below_354_is_refused:
        |m| m.dust_limit_satoshis = Satoshi(353) => "dust_limit_satoshis";
    an_accept_with_dust_above_its_reserve_is_refused:
        |m| (m.dust_limit_satoshis, m.channel_reserve_satoshis) = (Satoshi(700), Satoshi(699))
        => "above channel_reserve_satoshis";
    an_accept_whose_reserve_takes_everything_is_refused:
        |m| m.channel_reserve_satoshis = Satoshi(900_000) => "neither side";
    an_accept_with_too_high_a_minimum_is_refused:
        |m| m.htlc_minimum_msat = MilliSatoshi(990_000_000) => "htlc_minimum_msat";
    an_accept_with_too_little_in_flight_is_refused:
        |m| m.max_htlc_value_in_flight_msat = MilliSatoshi(1) => "max_htlc_value_in_flight_msat";
    an_accept_with_a_bad_upfront_script_is_refused:
        |m| m.upfront_shutdown_script = Some(ScriptBuf::from_bytes(vec![1; 22]))
        => "upfront_shutdown_script";
}

#[test]
fn a_peers_dust_above_our_reserve_is_refused() {
    // 1% of it is less than the dust limit, so the reserve is 546.
    let request = OpenRequest {
        funding_value: Satoshi(50_000),
        push: MilliSatoshi(0),
        ..request()
    };
    let mut opener = opener_with(policy(), request);
    let mut message = accept_channel();
    message.dust_limit_satoshis = Satoshi(547);
    let reason = refusal(opener.peer(message));
    assert!(
        reason.contains("below the dust_limit_satoshis 547sat"),
        "{reason}"
    );
}

#[test]
fn a_proposal_says_what_the_request_and_the_policy_want() {
    let open = open_channel();
    assert_eq!(open.channel_type, features(&[12, 22]));
    assert_eq!(open.upfront_shutdown_script, Some(ScriptBuf::new()));
    assert_eq!(
        (open.channel_flags, open.channel_reserve_satoshis),
        (1, Satoshi(10_000))
    );
    assert_eq!(
        open.first_per_commitment_point,
        identity(10).first_points[0]
    );
    assert_eq!(
        open.max_htlc_value_in_flight_msat,
        MilliSatoshi(1_000_000_000)
    );
    let asked = OpenRequest {
        announce: false,
        format: CommitmentFormat::StaticRemotekey,
        reserve: Some(Satoshi(1)),
        ..request()
    };
    let Some(Message::OpenChannel(open)) = opener_with(policy(), asked).out.pop_front() else {
        panic!("no open_channel")
    };
    assert_eq!(open.channel_type, features(&[12]));
    // BOLT 2: never below our dust limit, whatever was asked for.
    assert_eq!(
        (open.channel_flags, open.channel_reserve_satoshis),
        (0, Satoshi(546))
    );
}

#[test]
fn an_accepter_keeps_its_dust_limit_within_the_openers_reserve() {
    let mut open = open_channel();
    (open.dust_limit_satoshis, open.channel_reserve_satoshis) = (Satoshi(354), Satoshi(400));
    let mut node = accepter_of(policy(), open).unwrap();
    let Some(Message::AcceptChannel(accept)) = node.out.pop_front() else {
        panic!()
    };
    assert_eq!(accept.dust_limit_satoshis, Satoshi(400));

    let mut open = open_channel();
    (open.dust_limit_satoshis, open.funding_satoshis) = (Satoshi(1000), Satoshi(50_000));
    open.push_msat = MilliSatoshi(0);
    let mut node = accepter_of(policy(), open).unwrap();
    let Some(Message::AcceptChannel(accept)) = node.out.pop_front() else {
        panic!()
    };
    assert_eq!(accept.channel_reserve_satoshis, Satoshi(1000));
}

#[test]
fn an_impossible_request_fails_at_once_and_says_nothing_to_the_peer() {
    for request in [
        OpenRequest {
            push: MilliSatoshi(1_000_000_001),
            ..request()
        },
        OpenRequest {
            push: MilliSatoshi(999_000_000),
            ..request()
        },
        OpenRequest {
            funding_value: Satoshi(1000),
            push: MilliSatoshi(0),
            ..request()
        },
        OpenRequest {
            reserve: Some(Satoshi(999_999)),
            ..request()
        },
    ] {
        let mut node = opener_with(policy(), request.clone());
        assert!(
            node.out.is_empty() && !node.failure().is_empty(),
            "{request:?}"
        );
        node.handle(Event::Disconnected).unwrap();
        assert!(node.failed && node.told.len() == 1);
    }
}

#[test]
fn the_openers_depth_is_the_peers_unless_the_request_names_one() {
    for (asked, agreed) in [(None, 3), (Some(6), 6), (Some(0), 1)] {
        let request = OpenRequest {
            minimum_depth: asked,
            ..request()
        };
        let (mut a, mut b) = (opener_with(policy(), request), accepter());
        open(&mut a, &mut b);
        assert_eq!(a.done.unwrap().minimum_depth, agreed);
    }
}

/// From accept_channel to funding_signed; `a`'s open_channel is what `b` began with.
fn open(a: &mut Node<Opener>, b: &mut Node<Accepter>) {
    a.out.clear();
    exchange(a, b).unwrap();
    let script = match a.told.as_slice() {
        [Notice::NeedFunding { script, .. }] => script.clone(),
        told => panic!("{told:?}"),
    };
    assert!(script.is_p2wsh());
    a.handle(Event::Command(Command::FundingCreated {
        outpoint: outpoint(),
    }))
    .unwrap();
    exchange(a, b).unwrap();
}

#[test]
fn an_opening_asks_and_stores_in_the_order_that_is_promised() {
    let (mut a, mut b) = (opener(), accepter());
    open(&mut a, &mut b);
    let names = |asked: &[Request]| {
        let name = |request: &Request| match request {
            Request::Setup { .. } => "Setup",
            Request::SetFunding { .. } => "SetFunding",
            Request::SignRemote { .. } => "SignRemote",
            Request::ValidateLocal { .. } => "ValidateLocal",
            _ => "?",
        };
        asked.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&a.signer.asked),
        ["Setup", "SetFunding", "SignRemote", "ValidateLocal"]
    );
    assert_eq!(
        names(&b.signer.asked),
        ["Setup", "SetFunding", "ValidateLocal", "SignRemote"]
    );
    let awaiting = Phase::AwaitingLockin {
        sent_ready: false,
        received_ready: false,
    };
    let phases: Vec<_> = a.stored.iter().map(|p| p.live.phase.clone()).collect();
    assert_eq!(phases, [Phase::Opening, awaiting.clone()]);
    let (la, lb) = (a.done.unwrap(), b.done.unwrap());
    assert_eq!((&a.stored[1].live, &b.stored[0].live), (&la, &lb));
    assert_eq!(
        (b.stored.len(), &la.phase, &lb.phase),
        (1, &awaiting, &awaiting)
    );
    assert_eq!(la.channel_id, ChannelId::v1(&outpoint()));
    let script = la.setup.funding_script_pubkey();
    let signed = Notice::FundingSigned {
        funding: la.funding,
        script: script.clone(),
    };
    assert_eq!(a.told[1..], [signed]);
    assert_eq!(
        b.told,
        [Notice::WatchFunding {
            funding: lb.funding,
            script
        }]
    );
    assert_eq!(la.remote_current_point, identity(20).first_points[0]);
    assert_eq!(lb.remote_current_point, identity(10).first_points[0]);
}

/// The opener, waiting for funding_signed, and what it sent.
fn opener_that_created() -> (Node<Opener>, Message) {
    let mut a = opener();
    a.out.clear();
    a.peer(accept_channel()).unwrap();
    a.handle(Event::Command(Command::FundingCreated {
        outpoint: outpoint(),
    }))
    .unwrap();
    let created = a.out.pop_front().unwrap();
    (a, created)
}

#[test]
fn a_funding_created_with_a_bad_signature_fails_the_opening() {
    let (_, created) = opener_that_created();
    let Message::FundingCreated(mut created) = created else {
        panic!("{created:?}")
    };
    created.funding_output_index = 2;
    let mut b = accepter();
    let reason = refusal(b.peer(created));
    assert!(
        reason.starts_with("funding_created") && reason.contains("verify"),
        "{reason}"
    );
    assert!(b.stored.is_empty() && b.told.is_empty());
}

#[test]
fn a_funding_created_for_another_channel_fails_the_opening() {
    let (_, created) = opener_that_created();
    let Message::FundingCreated(mut created) = created else {
        panic!("{created:?}")
    };
    created.temporary_channel_id = ChannelId([8; 32]);
    assert!(refusal(accepter().peer(created)).contains("temporary_channel_id"));
}

#[test]
fn a_funding_signed_with_a_bad_signature_never_lets_the_funding_go() {
    let (mut a, _) = opener_that_created();
    let signature = Signature::from_compact(&[1; 64]).unwrap();
    let channel_id = ChannelId::v1(&outpoint());
    let reason = refusal(a.peer(wire::FundingSigned {
        channel_id,
        signature,
    }));
    assert!(
        reason.starts_with("funding_signed") && reason.contains("verify"),
        "{reason}"
    );
    assert!(
        a.told
            .iter()
            .all(|notice| !matches!(notice, Notice::FundingSigned { .. }))
    );
    assert_eq!(a.stored.len(), 1);
}

#[test]
fn a_funding_signed_for_another_channel_fails_the_opening() {
    let (mut a, created) = opener_that_created();
    let mut b = accepter();
    b.out.clear();
    b.peer(created).unwrap();
    let Some(Message::FundingSigned(mut signed)) = b.out.pop_front() else {
        panic!()
    };
    signed.channel_id = request().temporary_channel_id;
    assert!(refusal(a.peer(signed)).contains("channel_id"));
}

#[test]
fn a_message_out_of_its_turn_fails_the_opening() {
    let (_, created) = opener_that_created();
    assert!(refusal(opener().peer(created.clone())).contains("funding_created has no place"));
    assert!(refusal(accepter().peer(open_channel())).contains("open_channel has no place"));
    let (mut a, _) = opener_that_created();
    assert!(refusal(a.peer(accept_channel())).contains("accept_channel has no place"));
}

#[test]
fn an_unknown_odd_message_is_ignored_and_an_unknown_even_one_is_not() {
    let unknown = |type_num| Message::Unknown {
        type_num,
        data: vec![],
    };
    let mut b = accepter();
    b.peer(unknown(32_769)).unwrap();
    let (_, created) = opener_that_created();
    b.peer(created).unwrap();
    assert!(b.done.is_some());
    refusal(accepter().peer(unknown(32_768)));
}

#[test]
fn an_error_of_the_peer_ends_the_opening_with_its_text() {
    let error = wire::Error {
        channel_id: ChannelId([9; 32]),
        data: b"too small".to_vec(),
    };
    let (mut a, mut b) = (opener(), accepter());
    a.peer(error.clone()).unwrap();
    b.peer(error.clone()).unwrap();
    assert!(a.failed && a.failure().contains("too small"));
    assert!(b.failed && b.failure().contains("too small"));
    let (mut a, _) = opener_that_created();
    a.peer(error).unwrap();
    assert!(a.failed && a.failure().contains("too small"));
}

#[test]
fn a_disconnect_before_the_end_fails_the_opening_on_either_side() {
    let mut waiting = opener();
    waiting.peer(accept_channel()).unwrap();
    for mut a in [opener(), waiting, opener_that_created().0] {
        let warning = wire::Warning {
            channel_id: ChannelId([9; 32]),
            data: b"busy".to_vec(),
        };
        a.peer(warning).unwrap();
        a.handle(Event::Disconnected).unwrap();
        assert!(a.failed && a.failure().ends_with("busy"), "{}", a.failure());
    }
    let mut b = accepter();
    b.handle(Event::Disconnected).unwrap();
    assert!(b.failed && b.failure() == "the peer disconnected");
    assert!(b.signer.asked.is_empty());
}

#[test]
fn a_cancelled_opening_tells_the_peer_by_the_id_that_it_knows() {
    let cancel = || {
        Event::Command(Command::CancelOpening {
            reason: "enough".to_owned(),
        })
    };
    let (a, created) = (opener(), opener_that_created().0);
    for (mut node, id) in [
        (a, ChannelId([9; 32])),
        (created, ChannelId::v1(&outpoint())),
    ] {
        node.handle(cancel()).unwrap();
        let Some(Message::Error(error)) = node.out.pop_back() else {
            panic!("no error")
        };
        assert_eq!((error.channel_id, error.text()), (id, "enough".to_owned()));
        assert!(node.failed && node.failure() == "enough");
        // It is over: a late answer finds nobody.
        let (sent, told) = (node.out.len(), node.told.len());
        node.peer(accept_channel()).unwrap();
        assert_eq!((node.out.len(), node.told.len()), (sent, told));
    }
    let mut b = accepter();
    b.handle(cancel()).unwrap();
    assert!(b.failed && b.failure() == "enough");
}

#[test]
fn funding_that_cannot_be_named_is_not_proposed() {
    let mut a = opener();
    a.peer(accept_channel()).unwrap();
    let outpoint = OutPoint {
        vout: 65_536,
        ..outpoint()
    };
    a.handle(Event::Command(Command::FundingCreated { outpoint }))
        .unwrap();
    assert!(a.failed && a.failure().contains("two bytes"));
    assert!(a.stored.is_empty());
}

#[test]
fn funding_that_nobody_asked_for_is_ignored() {
    let created = || {
        Event::Command(Command::FundingCreated {
            outpoint: outpoint(),
        })
    };
    let mut a = opener();
    a.handle(created()).unwrap();
    assert!(a.signer.asked.is_empty());
    a.peer(accept_channel()).unwrap();
    a.handle(created()).unwrap();
    let asked = a.signer.asked.len();
    a.handle(created()).unwrap();
    assert_eq!((a.signer.asked.len(), a.failed), (asked, false));
    let mut b = accepter();
    b.handle(created()).unwrap();
    assert!(b.signer.asked.is_empty() && !b.failed);
}

#[test]
fn an_htlc_offered_while_opening_is_refused() {
    let htlc = tx::ledger::Htlc {
        amount: MilliSatoshi(1),
        payment_hash: wire::PaymentHash([0; 32]),
        cltv_expiry: wire::CltvExpiry(1),
    };
    let origin = Origin::Forward {
        channel: wire::ChannelDbid(1),
        id: wire::HtlcId(2),
    };
    let onion = wire::OnionPacket(Box::new([0; 1366]));
    let mut b = accepter();
    b.handle(Event::Command(Command::Add {
        origin,
        htlc,
        onion,
    }))
    .unwrap();
    assert_eq!(
        b.told,
        [Notice::AddRefused {
            origin,
            reason: AddRefusal::NotReady
        }]
    );
}

#[test]
fn an_upfront_script_of_the_peer_is_kept() {
    let mut open = open_channel();
    open.upfront_shutdown_script = Some(script(77));
    let mut b = accepter_of(policy(), open).unwrap();
    let (_, created) = opener_that_created();
    b.peer(created).unwrap();
    let setup = b.done.unwrap().setup;
    assert_eq!(setup.remote.upfront_shutdown_script, Some(script(77)));
    assert_eq!(setup.local.upfront_shutdown_script, None);
}

prop_compose! {
    fn any_policy()(
        dust in 354u64..=546,
        delay in 1u16..=2016,
        minimum in 0u64..=10_000,
        in_flight in proptest::option::of(20_000_000u64..=u64::MAX),
        htlcs in 1u16..=1000,
        depth in 0u32..=MAX_MINIMUM_DEPTH,
    ) -> Policy {
        Policy {
            dust_limit: Satoshi(dust),
            to_self_delay: BlockDelta(delay),
            htlc_minimum: MilliSatoshi(minimum),
            max_htlc_value_in_flight: in_flight.map(MilliSatoshi),
            max_accepted_htlcs: htlcs,
            minimum_depth: depth,
            ..policy()
        }
    }
}

prop_compose! {
    fn any_request()(
        value in 100_000u64..=wire::MAX_SATOSHI,
        push in 0u64..=500,
        feerate in 253u32..=10_000,
        announce: bool,
        anchors: bool,
    ) -> OpenRequest {
        use CommitmentFormat::{AnchorsZeroFeeHtlc, StaticRemotekey};
        OpenRequest {
            funding_value: Satoshi(value),
            // Thousandths of the value.
            push: MilliSatoshi(value * push + push),
            feerate: FeeratePerKw(feerate),
            announce,
            format: if anchors { AnchorsZeroFeeHtlc } else { StaticRemotekey },
            ..request()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_sides_agree_on_every_opening_that_is_possible(
        ours in any_policy(),
        theirs in any_policy(),
        request in any_request(),
    ) {
        let mut a = opener_with(ours.clone(), request.clone());
        let Some(Message::OpenChannel(message)) = a.out.pop_front() else {
            panic!("{:?}", a.told)
        };
        let mut b = accepter_of(theirs.clone(), message).unwrap();
        open(&mut a, &mut b);
        let (a, b) = (a.done.unwrap(), b.done.unwrap());
        prop_assert_eq!(&mirrored(&a.setup), &b.setup);
        prop_assert_eq!((a.channel_id, a.funding), (b.channel_id, b.funding));
        prop_assert_eq!((a.announce, a.minimum_depth), (b.announce, b.minimum_depth));
        prop_assert_eq!(a.announce, request.announce);
        prop_assert_eq!(a.setup.format, request.format);
        let total = a.local_view.to_local.0 + a.local_view.to_remote.0;
        prop_assert_eq!(total, request.funding_value.0 * 1000);
        prop_assert_eq!(a.local_view.to_remote, request.push);
        prop_assert_eq!(a.local_view.to_local, b.local_view.to_remote);
        for party in [&a.setup.local, &a.setup.remote] {
            prop_assert!(party.max_accepted_htlcs <= 483);
            prop_assert!(party.channel_reserve >= a.setup.local.dust_limit);
            prop_assert!(party.channel_reserve >= a.setup.remote.dust_limit);
        }
    }
}

/// Small, close to a limit, or anything.
fn any_amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..2_000,
        0u64..2_000_000,
        0u64..2_000_000_000,
        any::<u64>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_the_peer_proposes_is_refused_or_leaves_a_channel_that_can_be_used(
        [funding, push, reserve, minimum, in_flight] in
            [any_amount(), any_amount(), any_amount(), any_amount(), any_amount()],
        dust in 0u64..1500,
        feerate in 200u32..12_000,
        delay in 0u16..3000,
        htlcs in 0u16..600,
    ) {
        let message = OpenChannel {
            funding_satoshis: Satoshi(funding),
            push_msat: MilliSatoshi(push),
            dust_limit_satoshis: Satoshi(dust),
            channel_reserve_satoshis: Satoshi(reserve),
            htlc_minimum_msat: MilliSatoshi(minimum),
            max_htlc_value_in_flight_msat: MilliSatoshi(in_flight),
            feerate_per_kw: FeeratePerKw(feerate),
            to_self_delay: BlockDelta(delay),
            max_accepted_htlcs: htlcs,
            ..open_channel()
        };
        let Ok(mut b) = accepter_of(policy(), message) else { return Ok(()) };
        let Some(Message::AcceptChannel(accept)) = b.out.pop_front() else { panic!() };
        prop_assert!(u128::from(push) <= u128::from(funding) * 1000);
        let fee = u64::from(feerate) * 1124 / 1000 + 660;
        let opener = (u128::from(funding) * 1000 - u128::from(push)) / 1000;
        prop_assert!(opener >= u128::from(fee));
        prop_assert!((354..=1092).contains(&dust) && dust <= reserve);
        prop_assert!(accept.dust_limit_satoshis.0 <= reserve);
        prop_assert!(accept.channel_reserve_satoshis.0 >= dust);
        prop_assert!(reserve + accept.channel_reserve_satoshis.0 + fee + 10_000 <= funding);
        prop_assert!((253..=10_000).contains(&feerate) && delay <= 2016);
        prop_assert!((1..=483).contains(&htlcs));
    }
}

#[test]
fn what_our_owner_does_not_allow_is_not_told_to_the_peer() {
    let refused = |rule: &str| tx::signer::Reply::Refused {
        rule: rule.to_owned(),
        reason: "7sat is left".to_owned(),
    };
    let text = format!("{:?}", super::not_ours_to_tell(refused("A1")));
    assert!(text.contains("A1") && !text.contains("7sat"), "{text}");
}
