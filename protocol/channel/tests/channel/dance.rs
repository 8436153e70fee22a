//! The commitment dance action by action: what a payment costs, in which order things happen,
//! and what our own updates are refused for.

use channel::Channel;
use channel::action::{Action, AddRefusal, Command, Event, MAX_REASON, Notice, Removal};
use channel::state::{HtlcRecord, HtlcState, LastSent};
use tx::ledger::{Delta, HtlcKey};
use tx::setup::CommitmentFormat::{AnchorsZeroFeeHtlc, StaticRemotekey};
use tx::signer::{NextRemote, Request, Ticket};
use wire::{BlockHeight, CltvExpiry, FeeratePerKw, HtlcId, Message, MilliSatoshi, Satoshi, Side};

use crate::fixture::{htlc, is_forward, onion, origin, policy, preimage};
use crate::node::Node;
use crate::world::{A, B, World};

fn ready() -> World {
    World::ready(AnchorsZeroFeeHtlc)
}

fn core(world: &mut World, node: usize) -> &mut Channel {
    world.nodes[node].channel.as_mut().unwrap()
}

fn offer(i: u32, amount: u64) -> Event {
    let (origin, onion) = (origin(i), onion());
    Event::Command(Command::Add {
        origin,
        htlc: htlc(i, amount),
        onion,
    })
}

/// The refusal of an Add; `None` if it was taken.
fn refusal(world: &mut World, node: usize, event: Event) -> Option<AddRefusal> {
    let actions = core(world, node).handle(event).unwrap();
    match actions.as_slice() {
        [] => None,
        [Action::Tell(Notice::AddRefused { reason, .. })] => Some(reason.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_payment_costs_each_side_three_persists_and_the_payer_one_more_for_its_preimage() {
    let mut world = ready();
    // Number 0 fails, 1 is paid by us, 2 by somebody else through us.
    for (amount, expected) in [(1_000, [3, 3]), (5_000_000, [4, 3]), (6_000_000, [4, 3])] {
        let before = [A, B].map(|node| world.nodes[node].persists);
        world.pay(A, amount);
        world.settle();
        world.check_agreement();
        let after = [A, B].map(|node| world.nodes[node].persists);
        assert_eq!([after[A] - before[A], after[B] - before[B]], expected);
    }
    assert!(!is_forward(1) && is_forward(2));
}

#[test]
fn our_newest_commitment_is_handed_over_with_its_point_once() {
    let mut world = ready();
    let told = [world.nodes[A].points, world.nodes[B].points];
    let before = [A, B].map(|node| world.nodes[node].live().local_next.0);
    for amount in [1_000, 5_000_000] {
        world.pay(A, amount);
        world.settle();
    }
    for node in [A, B] {
        let live = world.nodes[node].live();
        assert_eq!(
            world.nodes[node].points - told[node],
            live.local_next.0 - before[node]
        );
        assert!(live.local_next.0 > before[node] + 3);
    }
}

#[test]
fn everything_that_queued_up_becomes_one_commitment() {
    let mut world = ready();
    for _ in 0..10 {
        world.pay(A, 3_000_000);
    }
    world.flush(A);
    let names: Vec<_> = world.wires[B].iter().map(Message::name).collect();
    assert_eq!(names[..10], ["update_add_htlc"; 10]);
    assert_eq!(names[10..], ["commitment_signed"]);
    let ids: Vec<u64> = world.wires[B]
        .iter()
        .filter_map(|m| match m {
            Message::UpdateAddHtlc(add) => Some(add.id.0),
            _ => None,
        })
        .collect();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
    // What comes now waits for the revocation.
    world.pay(A, 3_000_000);
    world.flush(A);
    assert_eq!(world.wires[B].len(), 11);
}

#[test]
fn a_commitment_is_persisted_its_updates_sent_and_then_it_is_signed() {
    let mut world = ready();
    core(&mut world, A).handle(offer(1, 5_000_000)).unwrap();
    let actions = core(&mut world, A).handle(Event::Flush).unwrap();
    let [
        Action::Persist(persist),
        Action::Send(Message::UpdateAddHtlc(_)),
        Action::AskSigner(request),
    ] = actions.as_slice()
    else {
        panic!("{actions:?}");
    };
    let key = HtlcKey {
        offerer: Side::Local,
        id: HtlcId(0),
    };
    assert_eq!(persist.live.remote_next.0, 2);
    assert!(persist.live.awaiting_revocation);
    assert_eq!(persist.live.last_sent, LastSent::Commitment);
    assert_eq!(persist.live.next_htlc_id, HtlcId(1));
    assert_eq!(persist.live.remote_view.to_local, MilliSatoshi(595_000_000));
    assert_eq!(persist.live.local_view.to_local, MilliSatoshi(600_000_000));
    let [(stored, Some(record))] = persist.htlcs.as_slice() else {
        panic!("{:?}", persist.htlcs)
    };
    assert_eq!((*stored, record.state), (key, HtlcState::SentAddCommit));
    assert_eq!(record.origin, Some(origin(1)));
    let Request::SignRemote(NextRemote {
        n,
        point,
        deltas,
        tickets,
    }) = request
    else {
        panic!("{request:?}")
    };
    assert_eq!(*tickets, [Ticket::Payment]);
    assert_eq!((n.0, *point), (1, world.nodes[B].signer.point(1)));
    assert_eq!(
        *deltas,
        [Delta::Add {
            key,
            htlc: htlc(1, 5_000_000)
        }]
    );
}

#[test]
fn a_revocation_and_the_next_commitment_share_one_persist() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    world.deliver(B);
    world.deliver(B);
    let actions = core(&mut world, B).handle(Event::Flush).unwrap();
    let [
        Action::Persist(persist),
        Action::Send(Message::RevokeAndAck(_)),
        Action::AskSigner(_),
    ] = actions.as_slice()
    else {
        panic!("{actions:?}");
    };
    assert_eq!(
        (persist.live.local_next.0, persist.live.remote_next.0),
        (2, 2)
    );
    assert_eq!(persist.live.last_sent, LastSent::Commitment);
    assert_eq!(persist.live.remote_next_htlc_id, HtlcId(1));
    let [(_, Some(record))] = persist.htlcs.as_slice() else {
        panic!("{:?}", persist.htlcs)
    };
    assert_eq!(record.state, HtlcState::SentAddAckCommit);
}

#[test]
fn removals_come_before_additions_and_the_feerate_comes_last() {
    let mut world = ready();
    world.pay(B, 9_000_000);
    world.flush(B);
    world.quiet();
    let (id, _) = world.nodes[A].undecided.pop_front().unwrap();
    let removal = Removal::Fulfil {
        preimage: preimage(0),
    };
    world.command(A, Command::Remove { id, removal });
    world.pay(A, 3_000_000);
    world.pay(A, 4_000_000);
    world.aim_feerate(3000);
    let actions = core(&mut world, A).handle(Event::Flush).unwrap();
    let Some(Action::AskSigner(Request::SignRemote(NextRemote { deltas, .. }))) = actions.last()
    else {
        panic!("{actions:?}");
    };
    let kinds: Vec<&str> = deltas
        .iter()
        .map(|delta| match delta {
            Delta::Add { .. } => "add",
            Delta::Fulfil { .. } => "fulfil",
            Delta::Fail { .. } => "fail",
            Delta::Fee {
                feerate: FeeratePerKw(3000),
            } => "fee",
            Delta::Fee { .. } => "another fee",
        })
        .collect();
    assert_eq!(kinds, ["fulfil", "add", "add", "fee"]);
}

#[test]
fn a_preimage_is_told_at_once_and_a_failure_when_it_is_irrevocable() {
    let mut world = ready();
    world.pay(A, 4_000_000); // fails
    world.pay(A, 5_000_000); // succeeds
    world.flush(A);
    world.quiet();
    while world.decide(B) {}
    world.flush(B);
    world.nodes[A].notices.clear();
    let told = |world: &World| -> Vec<u64> {
        let notices = world.nodes[A].notices.iter();
        notices
            .filter_map(|notice| match notice {
                Notice::Resolved { id, .. } => Some(id.0),
                _ => None,
            })
            .collect()
    };
    // update_fail_htlc and update_fulfill_htlc.
    world.deliver(A);
    world.deliver(A);
    assert_eq!(told(&world), [1]);
    // commitment_signed, our revocation and commitment, the peer's revocation.
    world.deliver(A);
    world.flush(A);
    world.deliver(B);
    world.deliver(B);
    world.flush(B);
    assert_eq!(told(&world), [1]);
    world.deliver(A);
    assert_eq!(told(&world), [1, 0]);
    world.settle();
    world.check_agreement();
}

#[test]
fn an_offer_before_channel_ready_or_without_the_peer_is_refused() {
    let mut world = World::new(AnchorsZeroFeeHtlc);
    assert_eq!(
        refusal(&mut world, A, offer(0, 1000)),
        Some(AddRefusal::NotReady)
    );
    let mut world = ready();
    world.break_link();
    world.notice_break(A);
    assert_eq!(
        refusal(&mut world, A, offer(0, 1000)),
        Some(AddRefusal::NotConnected)
    );
}

#[test]
fn an_offer_below_the_peers_minimum_is_refused() {
    let mut world = ready();
    for amount in [0, 999] {
        let minimum = AddRefusal::BelowMinimum(MilliSatoshi(amount), MilliSatoshi(1000));
        assert_eq!(refusal(&mut world, A, offer(0, amount)), Some(minimum));
    }
    assert_eq!(refusal(&mut world, A, offer(0, 1000)), None);
}

#[test]
fn an_offer_that_has_expired_or_expires_in_seconds_is_refused() {
    let mut world = ready();
    world.command(
        A,
        Command::Block {
            height: BlockHeight(400),
        },
    );
    let mut with_expiry = |expiry| {
        let mut htlc = htlc(0, 1000);
        htlc.cltv_expiry = CltvExpiry(expiry);
        let command = Command::Add {
            origin: origin(0),
            htlc,
            onion: onion(),
        };
        refusal(&mut world, A, Event::Command(command))
    };
    assert_eq!(with_expiry(400), Some(AddRefusal::BadExpiry));
    assert_eq!(with_expiry(500_000_000), Some(AddRefusal::BadExpiry));
    assert_eq!(with_expiry(401), None);
}

#[test]
fn of_a_long_error_as_much_is_kept_as_all_htlcs_may_have() {
    let mut world = ready();
    world.pay(A, 90_000_000);
    world.flush(A);
    world.quiet();
    let (id, _) = world.nodes[B].undecided.pop_back().unwrap();
    let reason = vec![7; 60_000];
    let removal = Removal::Fail { reason };
    world.command(B, Command::Remove { id, removal });
    world.flush(B);
    while world.deliver(A) {}
    world.flush(A);
    let mut stored = world.nodes[A].db.htlcs.values();
    let cut = Some(Removal::Fail {
        reason: vec![7; MAX_REASON],
    });
    assert_eq!(stored.next().unwrap().removal, cut);
}

/// Whoever has sent it to us would have to close its channel with us.
#[test]
fn an_offer_that_expires_while_it_waits_for_a_revocation_is_refused() {
    let mut world = ready();
    world.pay(A, 90_000_000);
    world.flush(A);
    let mut waits = htlc(1, 1000);
    waits.cltv_expiry = CltvExpiry(401);
    let command = Command::Add {
        origin: origin(1),
        htlc: waits,
        onion: onion(),
    };
    assert_eq!(refusal(&mut world, A, Event::Command(command)), None);
    let block = |height| {
        Event::Command(Command::Block {
            height: BlockHeight(height),
        })
    };
    assert_eq!(refusal(&mut world, A, block(400)), None);
    assert_eq!(
        refusal(&mut world, A, block(401)),
        Some(AddRefusal::BadExpiry)
    );
    world.settle();
    assert_eq!(world.nodes[A].live().next_htlc_id, HtlcId(1));
}

#[test]
fn more_offers_than_the_peer_takes_are_refused() {
    let mut world = ready();
    for i in 0..12 {
        assert_eq!(refusal(&mut world, A, offer(i, 1_000)), None);
    }
    assert_eq!(
        refusal(&mut world, A, offer(12, 1_000)),
        Some(AddRefusal::TooManyHtlcs(12))
    );
}

#[test]
fn more_value_than_the_peer_takes_in_flight_is_refused() {
    let limit = MilliSatoshi(50_000_000);
    let mut world = World::with(AnchorsZeroFeeHtlc, |setup| {
        setup.remote.max_htlc_value_in_flight = limit
    });
    assert_eq!(refusal(&mut world, A, offer(0, 50_000_000)), None);
    let refused = Some(AddRefusal::TooMuchInFlight(limit));
    assert_eq!(refusal(&mut world, A, offer(1, 1_000)), refused);
}

#[test]
fn an_offer_beyond_what_is_spendable_is_refused() {
    for (format, node) in [
        (AnchorsZeroFeeHtlc, A),
        (StaticRemotekey, A),
        (AnchorsZeroFeeHtlc, B),
    ] {
        let mut world = World::ready(format);
        let spendable = core(&mut world, node).spendable();
        assert!(spendable > MilliSatoshi(380_000_000));
        let more = spendable.0 + 1;
        let refused = AddRefusal::InsufficientCapacity(MilliSatoshi(more), spendable);
        assert_eq!(refusal(&mut world, node, offer(0, more)), Some(refused));
        assert_eq!(core(&mut world, 1 - node).receivable(), spendable);
        world.pay(node, spendable.0);
        world.settle();
        world.check_agreement();
    }
}

#[test]
fn offers_beyond_the_dust_limit_are_refused() {
    let mut world = ready();
    for i in 0..10 {
        assert_eq!(refusal(&mut world, A, offer(i, 500_000)), None);
    }
    let limit = policy().max_dust_exposure;
    assert_eq!(
        refusal(&mut world, A, offer(10, 500_000)),
        Some(AddRefusal::TooMuchDust(limit))
    );
    assert_eq!(refusal(&mut world, A, offer(10, 5_000_000)), None);
}

#[test]
fn an_incoming_htlc_beyond_our_dust_limit_is_marked() {
    let mut world = ready();
    world.nodes[B].crash(usize::MAX);
    world.nodes[B].policy.max_dust_exposure = MilliSatoshi(700_000);
    world.connect();
    world.settle();
    for amount in [500_000, 500_000, 5_000_000] {
        world.pay(A, amount);
        world.flush(A);
        world.quiet();
    }
    assert_eq!(marked(&mut world.nodes[B]), [false, true, false]);
    // After a restart each of them may have been forwarded: nothing that came since fails it.
    world.nodes[B].crash(usize::MAX);
    world.nodes[B].policy.max_dust_exposure = MilliSatoshi(0);
    world.connect();
    assert_eq!(marked(&mut world.nodes[B]), [false; 3]);
}

/// Of each HTLC that was locked in lately, whether it was beyond the dust limit.
fn marked(node: &mut Node) -> Vec<bool> {
    let notices = std::mem::take(&mut node.notices);
    let marked = notices.iter().filter_map(|notice| match notice {
        Notice::Locked {
            over_dust_limit, ..
        } => Some(*over_dust_limit),
        _ => None,
    });
    marked.collect()
}

#[test]
fn what_was_queued_is_checked_again_before_it_leaves() {
    // At this feerate each HTLC with an output costs the opener 3440 sat.
    let mut world = World::ready(StaticRemotekey);
    world.aim_feerate(20_000);
    world.flush(A);
    world.settle();
    assert_eq!(world.nodes[A].live().feerate.current, FeeratePerKw(20_000));
    world.pay(A, 1_000);
    world.flush(A);
    // While A awaits the revocation, it queues all it has, and then B offers many.
    let all = core(&mut world, A).spendable();
    let last = world.pay(A, all.0);
    for _ in 0..11 {
        world.pay(B, 16_000_000);
    }
    world.flush(B);
    while world.deliver(A) {}
    world.settle();
    world.check_agreement();
    assert!(!world.nodes[A].db.results[&last]);
    let refused = world.nodes[A].notices.iter().any(|notice| {
        matches!(
            notice,
            Notice::AddRefused {
                reason: AddRefusal::InsufficientCapacity(..),
                ..
            }
        )
    });
    assert!(refused);
}

#[test]
fn a_lost_connection_refuses_what_is_queued() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.break_link();
    world.notice_break(A);
    let last = world.nodes[A]
        .notices
        .iter()
        .rev()
        .find(|n| matches!(n, Notice::AddRefused { .. }));
    let expected = Notice::AddRefused {
        origin: origin(0),
        reason: AddRefusal::NotConnected,
    };
    assert_eq!(last, Some(&expected));
    // Its id is used again.
    world.notice_break(B);
    world.connect();
    world.settle();
    world.pay(A, 5_000_000);
    world.settle();
    world.check_agreement();
    assert_eq!(world.nodes[A].live().next_htlc_id, HtlcId(1));
}

#[test]
fn repeated_or_foreign_removals_are_ignored() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    world.quiet();
    let remove = |id, removal| {
        Event::Command(Command::Remove {
            id: HtlcId(id),
            removal,
        })
    };
    let good = Removal::Fulfil {
        preimage: preimage(0),
    };
    let bad = Removal::Fulfil {
        preimage: preimage(1),
    };
    for (id, removal) in [(1, good.clone()), (0, bad), (0, good.clone()), (0, good)] {
        assert_eq!(core(&mut world, B).handle(remove(id, removal)), Ok(vec![]));
    }
    assert_eq!(
        core(&mut world, A).handle(remove(0, Removal::Fail { reason: vec![] })),
        Ok(vec![])
    );
    let states: Vec<HtlcState> = core(&mut world, B).htlcs().map(|(_, r)| r.state).collect();
    assert_eq!(states, [HtlcState::SentRemoveHtlc]);
}

#[test]
fn a_removal_without_the_peer_is_recorded_and_sent_later() {
    let mut world = ready();
    world.pay(A, 1_000);
    world.pay(A, 5_000_000);
    world.flush(A);
    world.quiet();
    world.break_link();
    world.notice_break(B);
    let (id, _) = world.nodes[B].undecided.pop_back().unwrap();
    let removal = Removal::Fulfil {
        preimage: preimage(1),
    };
    let actions = core(&mut world, B)
        .handle(Event::Command(Command::Remove {
            id,
            removal: removal.clone(),
        }))
        .unwrap();
    let [Action::Record(persist)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    let [
        (
            _,
            Some(HtlcRecord {
                state: HtlcState::SentRemoveHtlc,
                removal: stored,
                ..
            }),
        ),
    ] = persist.htlcs.as_slice()
    else {
        panic!("{:?}", persist.htlcs)
    };
    assert_eq!(*stored, Some(removal));
    world.notice_break(A);
    world.settle();
    world.check_agreement();
}

#[test]
fn small_changes_of_the_feerate_are_not_worth_a_commitment() {
    let mut world = ready();
    for (aim, current) in [
        (1100, 1000),
        (900, 1000),
        (1125, 1125),
        (900, 900),
        (100, 253),
    ] {
        world.aim_feerate(aim);
        world.settle();
        assert_eq!(
            world.nodes[B].live().feerate.current,
            FeeratePerKw(current),
            "aim {aim}"
        );
    }
    world.check_agreement();
}

#[test]
fn the_accepter_never_changes_the_feerate() {
    let mut world = ready();
    world.command(
        B,
        Command::Feerate {
            feerate: FeeratePerKw(5000),
        },
    );
    world.settle();
    assert_eq!(world.nodes[B].live().feerate.current, FeeratePerKw(1000));
}

#[test]
fn the_opener_raises_the_feerate_only_as_far_as_it_can_pay() {
    // 30000 sat less 10000 of reserve and 660 for anchors: 17.2 sat/W for 1124 weight.
    let mut world = World::with(AnchorsZeroFeeHtlc, |setup| {
        setup.push = MilliSatoshi(970_000_000)
    });
    world.aim_feerate(20_000);
    world.settle();
    let feerate = world.nodes[B].live().feerate.current;
    assert!(
        feerate > FeeratePerKw(8000) && feerate < FeeratePerKw(17_300),
        "{feerate}"
    );
    let costs = Satoshi(660).saturating_add(feerate.fee(1124));
    assert!(costs < Satoshi(20_000));
}

#[test]
fn what_the_node_relays_goes_out_as_it_is() {
    let mut world = ready();
    let message = Message::Unknown {
        type_num: 40_001,
        data: vec![1, 2],
    };
    let relay = Event::Command(Command::Relay {
        message: message.clone(),
    });
    assert_eq!(
        core(&mut world, A).handle(relay),
        Ok(vec![Action::Send(message)])
    );
}
