//! Openings as part of a whole life: what is left after a crash or a lost connection at any point.

use channel::Channel;
use channel::action::{Command, Event, Notice, OpenRequest};
use channel::state::Phase;
use tx::setup::CommitmentFormat::{self, AnchorsZeroFeeHtlc, StaticRemotekey};
use wire::{ChannelId, FeeratePerKw, Message, MilliSatoshi, Satoshi};

use crate::fixture::{funding, identity, policy};
use crate::node::Node;
use crate::signer::TestSigner;
use crate::world::{A, B, World};

fn request(format: CommitmentFormat) -> OpenRequest {
    OpenRequest {
        temporary_channel_id: ChannelId([0x77; 32]),
        funding_value: Satoshi(1_000_000),
        push: MilliSatoshi(400_000_000),
        feerate: FeeratePerKw(1000),
        announce: true,
        format,
        minimum_depth: None,
        reserve: None,
    }
}

fn node(seed: u8) -> Node {
    Node::new(seed, policy(), TestSigner::new(seed))
}

/// Two nodes without a channel, connected; A proposes.
fn begin(format: CommitmentFormat, crash: impl Fn(&mut World)) -> World {
    let mut world = World::of([node(0x10), node(0x20)]);
    world.link_up();
    crash(&mut world);
    let identity = identity(0x10, &world.nodes[A].signer);
    let (channel, actions) = Channel::open(identity, policy(), request(format));
    world.begin(A, channel, actions);
    world
}

/// Goes on until nothing moves; the opener's wallet is quick.
fn go_on(world: &mut World) {
    loop {
        let message = world.wires[B].front().cloned();
        if let Some(Message::OpenChannel(open)) = message {
            world.wires[B].pop_front();
            let identity = identity(0x20, &world.nodes[B].signer);
            let (channel, actions) = Channel::accept(identity, policy(), open).unwrap();
            world.begin(B, channel, actions);
            continue;
        }
        let funded = world.nodes[A]
            .notices
            .iter()
            .position(|n| matches!(n, Notice::NeedFunding { .. }));
        if let Some(at) = funded
            && world.nodes[A].channel.is_some()
        {
            world.nodes[A].notices.remove(at);
            world.command(
                A,
                Command::FundingCreated {
                    outpoint: funding().outpoint,
                },
            );
            continue;
        }
        if !world.deliver(A) && !world.deliver(B) {
            return;
        }
    }
}

fn told(world: &World, node: usize, wanted: impl Fn(&Notice) -> bool) -> bool {
    world.nodes[node].notices.iter().any(wanted)
}

#[test]
fn a_channel_opens_pays_and_closes() {
    for format in [StaticRemotekey, AnchorsZeroFeeHtlc] {
        let mut world = begin(format, |_| {});
        go_on(&mut world);
        for node in [A, B] {
            assert!(matches!(
                world.nodes[node].live().phase,
                Phase::AwaitingLockin { .. }
            ));
            assert_eq!(
                world.nodes[node].live().channel_id,
                ChannelId::v1(&funding().outpoint)
            );
        }
        assert!(told(&world, A, |n| matches!(
            n,
            Notice::FundingSigned { .. }
        )));
        assert!(told(&world, B, |n| matches!(
            n,
            Notice::WatchFunding { .. }
        )));
        // On the same connection, without a reestablish.
        world.deepen();
        world.settle();
        for _ in 0..4 {
            world.pay(A, 5_000_000);
            world.pay(B, 6_000_000);
        }
        world.settle();
        world.check_agreement();
        world.shut_down(B);
        world.settle();
        assert_eq!(world.closes(A).len(), 1);
        assert_eq!(world.closes(A), world.closes(B));
        let names: Vec<_> = world.log.iter().map(|(_, name)| *name).collect();
        assert!(!names.contains(&"channel_reestablish"));
    }
}

/// After whatever happened to the opening, the nodes meet again.
fn aftermath(mut world: World) -> (bool, bool) {
    // The opener has no channel that it may have funded, unless the accepter has it too.
    let stored = |node: &Node| match node.db.live.as_ref().map(|live| &live.phase) {
        None | Some(Phase::Opening) => false,
        Some(_) => true,
    };
    let (a, b) = (stored(&world.nodes[A]), stored(&world.nodes[B]));
    assert!(
        !a || b,
        "the opener may have funded what the accepter does not know"
    );
    if told(&world, A, |n| matches!(n, Notice::FundingSigned { .. })) {
        assert!(a);
    }
    if a && b {
        world.break_link();
        for node in [A, B] {
            world.nodes[node].crash(0);
        }
        world.connect();
        world.deepen();
        world.settle();
        // Told now at the latest.
        assert!(told(&world, A, |n| matches!(
            n,
            Notice::FundingSigned { .. }
        )));
        world.pay(A, 1_000);
        world.pay(A, 5_000_000);
        world.settle();
        world.check_agreement();
    }
    (a, b)
}

#[test]
fn a_crash_after_any_action_of_an_opening_leaves_no_funding_without_a_channel() {
    let mut seen = Vec::new();
    for node in [A, B] {
        for actions in 0..18 {
            let mut world = begin(AnchorsZeroFeeHtlc, |world| {
                world.nodes[node].crash_in = Some((actions, 0));
            });
            go_on(&mut world);
            seen.push(aftermath(world));
        }
    }
    for outcome in [(false, false), (false, true), (true, true)] {
        assert!(seen.contains(&outcome), "never {outcome:?}");
    }
}

#[test]
fn a_lost_connection_during_an_opening_leaves_no_funding_without_a_channel() {
    let mut seen = Vec::new();
    for messages in 0..6 {
        let mut world = begin(AnchorsZeroFeeHtlc, |_| {});
        world.lose_after(messages);
        go_on(&mut world);
        world.notice_break(A);
        world.notice_break(B);
        let failed = |n: &Notice| matches!(n, Notice::OpeningFailed { .. });
        let ended = [told(&world, A, failed), told(&world, B, failed)];
        let outcome = aftermath(world);
        assert_eq!(ended[A], !outcome.0, "after {messages} messages");
        assert!(!ended[B] || !outcome.1);
        seen.push(outcome);
    }
    for outcome in [(false, false), (false, true), (true, true)] {
        assert!(seen.contains(&outcome), "never {outcome:?}: {seen:?}");
    }
}

#[test]
fn a_cancelled_opening_tells_the_peer() {
    let mut world = begin(AnchorsZeroFeeHtlc, |_| {});
    world.command(
        A,
        Command::CancelOpening {
            reason: "no coins".to_owned(),
        },
    );
    assert!(told(&world, A, |n| matches!(
        n,
        Notice::OpeningFailed { .. }
    )));
    assert_eq!(world.wires[B].back().map(Message::name), Some("error"));
    // Over and done with.
    world.feed(A, Event::Flush).unwrap();
    assert!(world.nodes[A].channel.as_ref().unwrap().live().is_none());
}
