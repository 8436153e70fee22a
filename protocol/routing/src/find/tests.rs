use proptest::prelude::*;
use secp256k1::{SECP256K1, SecretKey};
use wire::{BlockHeight, CltvExpiry};

use super::*;
use crate::HopInstructions;

fn node(n: u8) -> NodeId {
    NodeId(
        SecretKey::from_slice(&[n; 32])
            .unwrap()
            .public_key(SECP256K1),
    )
}

const PEER: u8 = 1;
const PAYEE: u8 = 2;

fn channel(peer: u8, scid: u64) -> LocalChannel {
    LocalChannel {
        peer: node(peer),
        scid: ShortChannelId(scid),
        spendable: MilliSatoshi(10_000_000),
        htlc_minimum: MilliSatoshi(1),
        htlc_maximum: MilliSatoshi(10_000_000),
        capacity: MilliSatoshi(20_000_000),
    }
}

fn hint(from: u8, scid: u64, base: u64, ppm: u32, delta: u16) -> HintHop {
    HintHop {
        node: node(from),
        scid: ShortChannelId(scid),
        fee_base: MilliSatoshi(base),
        fee_ppm: ppm,
        cltv_delta: BlockDelta(delta),
    }
}

fn request(destination: u8) -> RouteRequest {
    RouteRequest {
        channels: vec![channel(PEER, 11)],
        destination: node(destination),
        amount: MilliSatoshi(1_000_000),
        final_cltv_delta: BlockDelta(18),
        route_hints: vec![],
        max_fee: MilliSatoshi(50_000),
        max_total_delay: BlockDelta(2016),
        excluded: vec![],
    }
}

fn find(request: &RouteRequest) -> Result<Route, NoRoute> {
    Router::new().find(request)
}

/// BOLT 7, Routing Example: the first HTLC's amount and expiry, and what the onion says.
fn check_example(route: &Route, amount: u64, expiry: u32, onion: &[(u8, Option<u64>)]) {
    let height = BlockHeight(700_000);
    assert_eq!(route.amount_sent, MilliSatoshi(amount));
    assert_eq!(route.cltv_expiry(height), CltvExpiry(700_000 + expiry));
    assert_eq!(route.fee.0, amount - 4_999_999);
    assert_eq!(route.amount_delivered(), MilliSatoshi(4_999_999));
    // In this example all hops are told the same amount and expiry.
    let expected: Vec<_> = onion
        .iter()
        .map(|(reader, scid)| HopInstructions {
            node: node(*reader),
            amt_to_forward: MilliSatoshi(4_999_999),
            outgoing_cltv_value: CltvExpiry(700_060),
            short_channel_id: scid.map(ShortChannelId),
        })
        .collect();
    assert_eq!(route.instructions(height), expected);
}

#[test]
fn the_routing_example_of_bolt_7() {
    // lightning/bolts a3772650d8ebc06acf457fcadf97968ebfc4dfff, BOLT 7, Routing Example: the final
    // delta is 18 and 42 of a shadow route. Nodes B, D and C are 2, 4 and 3 here.
    let example = |channels, route_hints| RouteRequest {
        channels,
        route_hints,
        destination: node(3),
        amount: MilliSatoshi(4_999_999),
        final_cltv_delta: BlockDelta(60),
        ..request(3)
    };
    let route = find(&example(vec![channel(3, 23)], vec![])).unwrap();
    check_example(&route, 4_999_999, 60, &[(3, None)]);

    let by_b = vec![vec![hint(2, 23, 200, 2000, 20)]];
    let route = find(&example(vec![channel(2, 12)], by_b.clone())).unwrap();
    check_example(&route, 5_010_198, 80, &[(2, Some(23)), (3, None)]);

    let by_d = vec![vec![hint(4, 43, 400, 4000, 40)]];
    let route = find(&example(vec![channel(4, 14)], by_d.clone())).unwrap();
    check_example(&route, 5_020_398, 100, &[(4, Some(43)), (3, None)]);

    let both = example(vec![channel(4, 14), channel(2, 12)], [by_d, by_b].concat());
    assert_eq!(find(&both).unwrap().amount_sent, MilliSatoshi(5_010_198));
}

#[test]
fn fees_of_several_hops_are_paid_on_fees() {
    let mut request = request(PAYEE);
    request.route_hints = vec![vec![
        hint(PEER, 5, 1000, 100_000, 10),
        hint(3, 6, 1, 10_000, 7),
    ]];
    request.max_fee = MilliSatoshi(1_000_000);
    let route = find(&request).unwrap();
    // Node 3 takes 1 + 10000 of 1000000; the peer 1000 and a tenth of 1010001, rounded down.
    let hop = |n, scid, amount, delay| RouteHop {
        node: node(n),
        scid: ShortChannelId(scid),
        amount: MilliSatoshi(amount),
        delay: BlockDelta(delay),
    };
    let expected = [
        hop(PEER, 11, 1_010_001 + 1000 + 101_000, 35),
        hop(3, 5, 1_010_001, 25),
        hop(PAYEE, 6, 1_000_000, 18),
    ];
    assert_eq!(route.hops, expected);
    assert_eq!(route.first_channel, ShortChannelId(11));
    assert_eq!(
        (route.fee, route.total_delay),
        (MilliSatoshi(112_001), BlockDelta(35))
    );
}

#[test]
fn a_hint_is_joined_where_it_passes_a_peer() {
    let mut request = request(PAYEE);
    request.route_hints = vec![vec![hint(9, 4, 7, 7, 7), hint(PEER, 5, 1, 0, 6)]];
    let route = find(&request).unwrap();
    assert_eq!(route.hops.len(), 2);
    assert_eq!(route.fee, MilliSatoshi(1));
}

#[test]
fn a_direct_channel_is_preferred_to_a_hint() {
    let mut request = request(PAYEE);
    request.channels.push(channel(PAYEE, 12));
    request.route_hints = vec![vec![hint(PEER, 5, 1, 0, 6)]];
    assert_eq!(find(&request).unwrap().first_channel, ShortChannelId(12));
    request.excluded = vec![ShortChannelId(12)];
    assert_eq!(find(&request).unwrap().first_channel, ShortChannelId(11));
}

#[test]
fn the_channel_that_fits_best_is_used() {
    let mut request = request(PEER);
    let tight = LocalChannel {
        spendable: MilliSatoshi(1_000_000),
        ..channel(PEER, 12)
    };
    let too_tight = LocalChannel {
        spendable: MilliSatoshi(999_999),
        ..channel(PEER, 13)
    };
    request.channels.extend([tight, too_tight]);
    assert_eq!(find(&request).unwrap().first_channel, ShortChannelId(12));
}

#[test]
fn without_a_way_the_closest_reason_is_given() {
    let only = |change: fn(&mut RouteRequest)| {
        let mut request = request(PEER);
        change(&mut request);
        find(&request).unwrap_err()
    };
    let needed = MilliSatoshi(1_000_000);
    assert_eq!(only(|r| r.amount = MilliSatoshi(0)), NoRoute::ZeroAmount);
    assert_eq!(only(|r| r.channels.clear()), NoRoute::NoChannels);
    assert_eq!(only(|r| r.destination = node(PAYEE)), NoRoute::Unreachable);
    assert_eq!(
        only(|r| r.excluded = vec![ShortChannelId(11)]),
        NoRoute::Excluded
    );
    assert_eq!(
        only(|r| r.channels[0].spendable = MilliSatoshi(999_999)),
        NoRoute::NotEnough {
            needed,
            spendable: MilliSatoshi(999_999)
        }
    );
    assert_eq!(
        only(|r| r.channels[0].htlc_maximum = MilliSatoshi(999_999)),
        NoRoute::AboveMaximum {
            needed,
            maximum: MilliSatoshi(999_999)
        }
    );
    assert_eq!(
        only(|r| r.channels[0].htlc_minimum = MilliSatoshi(1_000_001)),
        NoRoute::BelowMinimum {
            amount: needed,
            minimum: MilliSatoshi(1_000_001)
        }
    );
    assert_eq!(
        only(|r| r.max_total_delay = BlockDelta(17)),
        NoRoute::TooSlow {
            delay: BlockDelta(18),
            maximum: BlockDelta(17)
        }
    );
    let mut expensive = request(PAYEE);
    expensive.max_fee = MilliSatoshi(9);
    expensive.route_hints = vec![
        vec![hint(PEER, 5, 70, 0, 6)],
        vec![hint(PEER, 6, 10, 0, 6)],
        vec![],
    ];
    let (fee, maximum) = (MilliSatoshi(10), MilliSatoshi(9));
    assert_eq!(
        find(&expensive),
        Err(NoRoute::TooExpensive { fee, maximum })
    );
}

#[test]
fn of_several_too_small_channels_the_largest_is_named() {
    let mut request = request(PEER);
    let spendable = [400_000, 600_000, 500_000].map(MilliSatoshi);
    request.channels = spendable
        .into_iter()
        .zip(11..)
        .map(|(spendable, scid)| LocalChannel {
            spendable,
            ..channel(PEER, scid)
        })
        .collect();
    let expected =
        "the most that can be sent there at once is 600000msat, and 1000000msat are needed";
    assert_eq!(find(&request).unwrap_err().to_string(), expected);
}

#[test]
fn an_excluded_channel_of_a_hint_is_not_used() {
    let mut request = request(PAYEE);
    request.route_hints = vec![vec![hint(PEER, 5, 1, 0, 6)], vec![hint(PEER, 6, 2, 0, 6)]];
    request.excluded = vec![ShortChannelId(5)];
    assert_eq!(find(&request).unwrap().hops[1].scid, ShortChannelId(6));
}

#[test]
fn absurd_hints_are_no_way() {
    for absurd in [hint(PEER, 5, u64::MAX, 0, 0), hint(PEER, 5, 0, 0, u16::MAX)] {
        let mut request = request(PAYEE);
        request.route_hints = vec![vec![absurd]];
        assert_eq!(find(&request), Err(NoRoute::Overflow));
    }
    let mut request = request(PAYEE);
    request.amount = MilliSatoshi(u64::MAX);
    request.route_hints = vec![vec![hint(PEER, 5, 0, u32::MAX, 0)]];
    assert_eq!(find(&request), Err(NoRoute::Overflow));
}

#[test]
fn requests_and_routes_cross_a_process_border() {
    let mut request = request(PAYEE);
    request.route_hints = vec![vec![hint(PEER, 5, 1, 0, 6)]];
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(
        serde_json::from_str::<RouteRequest>(&text).unwrap(),
        request
    );
    let route = find(&request).unwrap();
    let text = serde_json::to_string(&route).unwrap();
    assert_eq!(serde_json::from_str::<Route>(&text).unwrap(), route);
}

proptest! {
    #[test]
    fn a_route_keeps_every_limit_and_every_hop_gets_its_fee(
        amount in 1u64..20_000_000,
        hints in prop::collection::vec(
            prop::collection::vec((1u8..6, 1u64..50, 0u64..5000, 0u32..20_000, 0u16..200), 0..4),
            0..4,
        ),
        spendable in prop::collection::vec((1u8..6, 1u64..20_000_000), 1..5),
        max_fee in 0u64..20_000,
        max_delay in 18u16..400,
    ) {
        let request = RouteRequest {
            channels: spendable.iter().zip(100..).map(|((peer, spendable), scid)| LocalChannel {
                spendable: MilliSatoshi(*spendable),
                ..channel(*peer, scid)
            }).collect(),
            amount: MilliSatoshi(amount),
            route_hints: hints.iter().map(|hops| hops.iter()
                .map(|&(from, scid, base, ppm, delta)| hint(from, scid, base, ppm, delta)).collect()
            ).collect(),
            max_fee: MilliSatoshi(max_fee),
            max_total_delay: BlockDelta(max_delay),
            ..request(6)
        };
        let Ok(route) = find(&request) else { return Ok(()) };
        prop_assert_eq!(Route::from_hops(route.hops.clone()), Ok(route.clone()));
        let first = request.channels.iter().find(|c| c.scid == route.first_channel).unwrap();
        prop_assert!(route.amount_sent <= first.spendable && route.fee <= request.max_fee);
        prop_assert!(route.total_delay <= request.max_total_delay);
        prop_assert_eq!(route.hops[0].node, first.peer);
        let last = route.hops.last().unwrap();
        prop_assert_eq!((last.node, last.amount, last.delay),
            (request.destination, request.amount, request.final_cltv_delta));
        for pair in route.hops.windows(2) {
            let (incoming, outgoing) = (&pair[0], &pair[1]);
            let fits = |hint: &HintHop| {
                let fee = hint.fee_base.0 + outgoing.amount.0 * u64::from(hint.fee_ppm) / 1_000_000;
                hint.node == incoming.node && hint.scid == outgoing.scid
                    && incoming.amount.0 == outgoing.amount.0 + fee
                    && incoming.delay.0 == outgoing.delay.0 + hint.cltv_delta.0
            };
            prop_assert!(request.route_hints.iter().flatten().any(fits));
        }
    }
}
