//! channel_ready, channel_reestablish, restarts and the way to the mutual close.

use channel::Channel;
use channel::action::{Action, AddRefusal, Command, Event, Identity, Notice, PeerFault, Removal};
use channel::backup::ChannelBackup;
use channel::state::{HtlcState, Phase};
use tx::setup::CommitmentFormat::AnchorsZeroFeeHtlc;
use tx::signer::{Reply, Request};
use wire::{
    ChannelReestablish, CommitmentNumber, HtlcId, Message, MilliSatoshi, NetAddress,
    PerCommitmentSecret, ShortChannelId, Shutdown, Side,
};

use crate::fixture::{key, policy, preimage, script};
use crate::world::{A, B, World};

fn ready() -> World {
    World::ready(AnchorsZeroFeeHtlc)
}

/// A connection that stands still before any channel_reestablish arrives.
fn reconnect(world: &mut World) {
    world.break_link();
    world.notice_break(A);
    world.notice_break(B);
    world.connect();
}

fn names(world: &World, node: usize) -> Vec<&'static str> {
    world.wires[node].iter().map(Message::name).collect()
}

fn said(world: &World, node: usize) -> ChannelReestablish {
    match world.wires[node].front() {
        Some(Message::ChannelReestablish(message)) => message.clone(),
        other => panic!("{other:?}"),
    }
}

fn numbers(message: &ChannelReestablish) -> (u64, u64) {
    (
        message.next_commitment_number.0,
        message.next_revocation_number.0,
    )
}

#[test]
fn channel_ready_waits_for_the_depth_and_carries_the_alias() {
    let mut world = World::new(AnchorsZeroFeeHtlc);
    world.connect();
    world.settle();
    world.command(
        A,
        Command::FundingDepth {
            depth: 2,
            scid: None,
        },
    );
    assert!(world.wires[B].is_empty());
    let scid = Some(ShortChannelId(77));
    world.command(A, Command::FundingDepth { depth: 3, scid });
    let Some(Message::ChannelReady(message)) = world.wires[B].front() else {
        panic!()
    };
    assert_eq!(
        message.second_per_commitment_point,
        world.nodes[A].signer.point(1)
    );
    assert_eq!(
        message.short_channel_id,
        Some(world.nodes[A].live().local_alias)
    );
    // Once only.
    world.command(A, Command::FundingDepth { depth: 4, scid });
    assert_eq!(world.wires[B].len(), 1);
    world.settle();
    let waits = Phase::AwaitingLockin {
        sent_ready: false,
        received_ready: true,
    };
    assert_eq!(world.nodes[B].live().phase, waits);
    assert_eq!(world.nodes[A].live().scid, scid);
    world.command(B, Command::FundingDepth { depth: 3, scid });
    world.settle();
    for node in [A, B] {
        assert_eq!(world.nodes[node].live().phase, Phase::Normal);
        let peer_alias = Some(world.nodes[1 - node].live().local_alias);
        assert!(
            world.nodes[node]
                .notices
                .contains(&Notice::Ready { peer_alias })
        );
    }
}

#[test]
fn a_depth_reached_without_the_peer_is_told_at_the_next_connection() {
    let mut world = World::new(AnchorsZeroFeeHtlc);
    world.deepen();
    world.connect();
    world.settle();
    assert_eq!(world.nodes[A].live().phase, Phase::Normal);
    assert_eq!(world.nodes[B].live().phase, Phase::Normal);
}

#[test]
fn channel_ready_goes_again_until_the_first_commitment() {
    let mut world = ready();
    reconnect(&mut world);
    world.deliver(A);
    assert_eq!(names(&world, B), ["channel_reestablish", "channel_ready"]);
    world.settle();
    world.pay(A, 5_000_000);
    world.settle();
    reconnect(&mut world);
    world.deliver(A);
    assert_eq!(names(&world, B), ["channel_reestablish"]);
    world.settle();
    world.check_agreement();
}

#[test]
fn a_redundant_channel_ready_changes_nothing_but_the_alias() {
    let mut world = ready();
    let before = world.nodes[A].live().clone();
    let message = wire::ChannelReady {
        channel_id: before.channel_id,
        second_per_commitment_point: key(9),
        short_channel_id: Some(ShortChannelId(5)),
    };
    world.feed(A, Event::Peer(message.into())).unwrap();
    let mut expected = before;
    expected.remote_alias = Some(ShortChannelId(5));
    assert_eq!(*world.nodes[A].live(), expected);
}

#[test]
fn numbers_and_secret_of_reestablish_are_those_of_bolt_2() {
    let mut world = ready();
    reconnect(&mut world);
    assert_eq!(numbers(&said(&world, B)), (1, 0));
    assert_eq!(
        said(&world, B).your_last_per_commitment_secret,
        PerCommitmentSecret([0; 32])
    );
    world.settle();
    world.pay(A, 5_000_000);
    world.flush(A);
    // A's commitment_signed is lost: B expects 1 still, A the revocation of 0.
    reconnect(&mut world);
    assert_eq!(
        (numbers(&said(&world, B)), numbers(&said(&world, A))),
        ((1, 0), (1, 0))
    );
    world.settle();
    reconnect(&mut world);
    let (to_b, to_a) = (said(&world, B), said(&world, A));
    assert_eq!(numbers(&to_b).0, world.nodes[B].live().remote_next.0);
    assert_eq!(numbers(&to_a).1, world.nodes[A].live().local_next.0 - 1);
    let last = world.nodes[B].live().remote_next.0 - 2;
    let secret = world.nodes[A].signer.secret(last);
    assert_eq!(
        to_a.your_last_per_commitment_secret,
        PerCommitmentSecret(secret.0)
    );
    world.settle();
    world.check_agreement();
}

#[test]
fn a_lost_commitment_goes_again_with_its_updates_in_the_same_bytes() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.pay(A, 1_000);
    world.flush(A);
    let first: Vec<Message> = world.wires[B].iter().cloned().collect();
    reconnect(&mut world);
    world.deliver(A);
    // channel_reestablish and channel_ready come before.
    let again: Vec<Message> = world.wires[B].iter().skip(2).cloned().collect();
    assert_eq!(again, first);
    world.settle();
    world.check_agreement();
}

#[test]
fn a_lost_revocation_goes_again_after_a_restart() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    world.deliver(B);
    world.deliver(B);
    world.flush(B);
    assert_eq!(names(&world, A), ["revoke_and_ack", "commitment_signed"]);
    let first: Vec<Message> = world.wires[A].iter().cloned().collect();
    world.nodes[B].crash(0);
    reconnect(&mut world);
    world.deliver(B);
    let again: Vec<Message> = world.wires[A].iter().skip(1).cloned().collect();
    assert_eq!(again, first);
    world.settle();
    world.check_agreement();
}

#[test]
fn commitment_and_revocation_go_again_in_the_order_in_which_they_went() {
    let mut world = ready();
    // Both commit at once: B's commitment_signed leaves before its revoke_and_ack.
    world.pay(A, 5_000_000);
    world.pay(B, 4_000_000);
    world.flush(A);
    world.flush(B);
    world.deliver(B);
    world.deliver(B);
    world.flush(B);
    assert_eq!(
        names(&world, A),
        ["update_add_htlc", "commitment_signed", "revoke_and_ack"]
    );
    reconnect(&mut world);
    world.deliver(B);
    let again = ["update_add_htlc", "commitment_signed", "revoke_and_ack"];
    assert_eq!(names(&world, A)[1..], again);
    world.settle();
    world.check_agreement();
}

/// Feeds A a channel_reestablish of B's with changes.
fn altered(change: impl Fn(&World, &mut ChannelReestablish)) -> (World, Result<(), PeerFault>) {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.settle();
    reconnect(&mut world);
    let mut message = said(&world, A);
    change(&world, &mut message);
    let result = world.feed(A, Event::Peer(message.into()));
    (world, result)
}

fn fails(result: Result<(), PeerFault>, text: &str) {
    assert!(
        matches!(&result, Err(PeerFault::Error(e)) if e.contains(text)),
        "{result:?}"
    );
}

#[test]
fn a_peer_that_is_behind_fails_the_channel() {
    let (_, result) = altered(|_, m| m.next_commitment_number.0 -= 1);
    fails(result, "next_commitment_number");
    let (_, result) = altered(|world, m| {
        m.next_revocation_number.0 -= 2;
        let n = m.next_revocation_number.0;
        let secret = n
            .checked_sub(1)
            .map_or([0; 32], |n| world.nodes[A].signer.secret(n).0);
        m.your_last_per_commitment_secret = PerCommitmentSecret(secret);
    });
    fails(result, "next_revocation_number");
}

#[test]
fn a_peer_that_is_ahead_without_proof_fails_the_channel() {
    let (_, result) = altered(|_, m| m.next_commitment_number.0 += 1);
    fails(result, "next_commitment_number");
    let (world, result) = altered(|_, m| m.next_revocation_number.0 += 1);
    fails(result, "your_last_per_commitment_secret is wrong");
    assert!(!world.nodes[A].notices.contains(&Notice::WeAreStale));
    let (_, result) = altered(|_, m| m.next_commitment_number = CommitmentNumber(0));
    fails(result, "next_commitment_number is 0");
    let (_, result) =
        altered(|_, m| m.your_last_per_commitment_secret = PerCommitmentSecret([5; 32]));
    fails(result, "your_last_per_commitment_secret is wrong");
}

/// A has paid twice, its database is from between the two, and B proves the second.
fn proved_old(signer_too: bool) {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.settle();
    let old = &world.nodes[A];
    let (live, htlcs, signer) = (
        old.db.live.clone(),
        old.db.htlcs.clone(),
        old.signer.clone(),
    );
    world.pay(A, 5_000_000);
    world.settle();
    world.nodes[A].crash(0);
    world.nodes[A].db.live = live;
    world.nodes[A].db.htlcs = htlcs;
    if signer_too {
        world.nodes[A].signer = signer;
    }
    // The payment's end is not what this is about.
    world.nodes[A].start_without_checks();
    let actions = world.nodes[A]
        .channel
        .as_mut()
        .unwrap()
        .handle(Event::Connected)
        .unwrap();
    assert!(matches!(actions.as_slice(), [Action::AskSigner(_)]));
    world.nodes[A].connected = true;
    let reply = world.nodes[A].reply_to(&actions);
    world.nodes[A]
        .channel
        .as_mut()
        .unwrap()
        .handle(Event::Signer(reply))
        .unwrap();
    let theirs = ChannelReestablish {
        channel_id: world.nodes[A].live().channel_id,
        next_commitment_number: world.nodes[B].live().local_next,
        next_revocation_number: CommitmentNumber(world.nodes[B].live().remote_next.0 - 1),
        your_last_per_commitment_secret: PerCommitmentSecret(
            world.nodes[B].live().last_remote_secret.unwrap().0,
        ),
        my_current_per_commitment_point: key(1),
        next_funding: None,
        my_current_funding_locked: None,
    };
    let core = world.nodes[A].channel.as_mut().unwrap();
    let asked = core.handle(Event::Peer(theirs.into())).unwrap();
    let reply = world.nodes[A].reply_to(&asked);
    let core = world.nodes[A].channel.as_mut().unwrap();
    let actions = core.handle(Event::Signer(reply)).unwrap();
    assert!(matches!(
        actions.as_slice(),
        [
            Action::Tell(Notice::WeAreStale),
            Action::Send(Message::Error(_))
        ]
    ));
    // Nothing is done any more.
    assert_eq!(core.handle(Event::Flush), Ok(vec![]));
    assert_eq!(
        core.handle(Event::Peer(crate::faults::add(9, 9).into())),
        Ok(vec![])
    );
}

#[test]
fn a_peer_that_proves_that_our_database_is_old_makes_us_stale() {
    proved_old(false);
}

#[test]
fn a_peer_that_proves_that_database_and_signer_are_old_makes_us_stale() {
    proved_old(true);
}

#[test]
fn a_second_reestablish_is_the_peers_fault() {
    let mut world = ready();
    reconnect(&mut world);
    let message = said(&world, A);
    world.settle();
    let result = world.feed(A, Event::Peer(message.into()));
    assert!(matches!(result, Err(PeerFault::Warning(_))));
}

#[test]
fn uncommitted_updates_of_the_peer_are_forgotten_with_the_connection() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.settle();
    world
        .feed(B, Event::Peer(crate::faults::add(1, 7_000_000).into()))
        .unwrap();
    world
        .feed(B, Event::Peer(crate::faults::fee(2_000)))
        .unwrap();
    assert_eq!(world.nodes[B].channel.as_ref().unwrap().htlcs().count(), 1);
    reconnect(&mut world);
    assert_eq!(world.nodes[B].channel.as_ref().unwrap().htlcs().count(), 0);
    world.settle();
    world.check_agreement();
}

/// Our commitment without it is valid and the one with it not yet revoked to the peer when the channel is stored for
/// another reason: the HTLC is gone there.
#[test]
fn what_is_over_in_what_is_stored_is_counted_there() {
    let mut world = ready();
    for _ in 0..2 {
        world.pay(A, 90_000_000);
    }
    world.flush(A);
    world.quiet();
    for _ in 0..2 {
        assert!(world.decide(B)); // the first fails, the second is fulfilled
    }
    world.flush(B);
    while world.deliver(A) {}
    world.flush(A);
    assert!(world.deliver(B)); // revoke_and_ack
    world.pay(B, 7_000_000);
    world.flush(B);
    assert!(world.deliver(B)); // commitment_signed, which B now owes a revocation for
    while world.deliver(A) {}
    world.flush(A);
    assert!(world.deliver(B)); // revoke_and_ack
    world.nodes[B].crash(usize::MAX);
    assert!(
        world.nodes[B]
            .db
            .htlcs
            .keys()
            .all(|key| key.offerer == Side::Local)
    );
    let counted = world.nodes[B].db.live.as_ref().unwrap().fulfilled_in;
    assert_eq!(
        (counted.count, counted.amount),
        (1, MilliSatoshi(90_000_000))
    );
    world.settle();
    world.check_agreement();
}

#[test]
fn a_restart_tells_undecided_htlcs_and_preimages_again() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.pay(A, 6_000_000);
    world.flush(A);
    world.quiet();
    // B decides on the second one; A has the preimage and has committed to the removal.
    let (id, _) = world.nodes[B].undecided.pop_back().unwrap();
    let removal = Removal::Fulfil {
        preimage: preimage(1),
    };
    world.command(
        B,
        Command::Remove {
            id,
            removal: removal.clone(),
        },
    );
    world.flush(B);
    while world.deliver(A) {}
    world.flush(A);
    for node in [A, B] {
        world.nodes[node].crash(usize::MAX);
        world.nodes[node].notices.clear();
        world.nodes[node].start();
    }
    let [Notice::Locked { id, .. }] = world.nodes[B].notices.as_slice() else {
        panic!()
    };
    assert_eq!(*id, HtlcId(0));
    let [
        Notice::Resolved {
            id, removal: told, ..
        },
    ] = world.nodes[A].notices.as_slice()
    else {
        panic!();
    };
    assert_eq!((*id, told), (HtlcId(1), &removal));
    world.settle();
    world.check_agreement();
}

#[test]
fn a_restart_gives_the_signer_the_newest_secret_before_it_tells_of_htlcs() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    world.quiet();
    world.nodes[B].crash(usize::MAX);
    let db = &world.nodes[B].db;
    let htlcs = db.htlcs.clone().into_iter().collect();
    let live = db.live.clone().unwrap();
    let secret = live.last_remote_secret.unwrap();
    let (mut channel, actions) = Channel::resume(live, htlcs, policy());
    // hsmd counts the HTLC for irrevocable with this secret, and gives its preimage then.
    let [Action::AskSigner(Request::RemoteRevoked { secret: told, .. })] = actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert_eq!(*told, secret);
    let actions = channel.handle(Event::Signer(Reply::Done)).unwrap();
    let [Action::Tell(Notice::Locked { id, .. })] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(*id, HtlcId(0));
}

#[test]
fn a_restart_before_the_depth_names_the_funding_again() {
    let world = World::new(AnchorsZeroFeeHtlc);
    // The fixture starts from the database.
    assert!(matches!(
        world.nodes[A].notices.as_slice(),
        [Notice::FundingSigned { .. }]
    ));
    assert!(matches!(
        world.nodes[B].notices.as_slice(),
        [Notice::WatchFunding { .. }]
    ));
}

#[test]
fn a_restart_tells_the_closing_transaction_again() {
    let world = World::new(AnchorsZeroFeeHtlc);
    let mut live = world.nodes[A].live().clone();
    live.phase = Phase::Closed { tx: vec![1, 2, 3] };
    let (mut channel, actions) = Channel::resume(live, vec![], policy());
    assert_eq!(
        actions,
        [Action::Tell(Notice::MutualClose { tx: vec![1, 2, 3] })]
    );
    assert_eq!(channel.handle(Event::Connected), Ok(vec![]));
}

#[test]
fn a_stored_opening_without_the_peers_signature_is_forgotten() {
    let world = World::new(AnchorsZeroFeeHtlc);
    let mut live = world.nodes[A].live().clone();
    live.phase = Phase::Opening;
    let (mut channel, actions) = Channel::resume(live, vec![], policy());
    assert!(matches!(
        actions.as_slice(),
        [Action::Tell(Notice::OpeningFailed { .. })]
    ));
    assert_eq!(channel.handle(Event::Connected), Ok(vec![]));
}

#[test]
fn a_spent_funding_output_ends_all_talk() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.command(A, Command::FundingSpent);
    assert_eq!(world.nodes[A].live().phase, Phase::Onchain);
    world.flush(A);
    reconnect(&mut world);
    assert!(world.wires[B].is_empty());
    world.pay(A, 5_000_000);
    let refused = world.nodes[A]
        .notices
        .iter()
        .filter(|n| matches!(n, Notice::AddRefused { .. }));
    assert_eq!(refused.count(), 2);
}

/// What is left of node A's channel in a backup.
fn recovered(world: &World) -> Channel {
    let live = world.nodes[A].live();
    let address = NetAddress::Ipv4 {
        addr: std::net::Ipv4Addr::LOCALHOST,
        port: 9735,
    };
    let backup = ChannelBackup::decode(&ChannelBackup::of(live, address).encode()).unwrap();
    let identity = Identity {
        dbid: live.dbid,
        peer: live.peer,
        chain_hash: wire::ChainHash([0; 32]),
        funding_pubkey: live.setup.local.funding_pubkey,
        basepoints: live.setup.local.basepoints,
        first_points: [live.setup.local.funding_pubkey; 2],
        shutdown_script: script(1),
        alias: ShortChannelId(1),
    };
    let (channel, actions) = Channel::resume(backup.live(&identity), vec![], policy());
    assert_eq!(actions, []);
    channel
}

#[test]
fn a_channel_from_a_backup_says_nothing_but_that_its_peer_has_to_close() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.settle();
    let mut channel = recovered(&world);
    let funding_pubkey = world.nodes[A].live().setup.local.funding_pubkey;
    for _ in 0..2 {
        let n = CommitmentNumber::ZERO;
        let ask = vec![Action::AskSigner(Request::Point { n })];
        assert_eq!(channel.handle(Event::Connected), Ok(ask));
        let point = Reply::Point {
            point: funding_pubkey,
        };
        let said = channel.handle(Event::Signer(point)).unwrap();
        let [
            Action::Send(Message::ChannelReestablish(reestablish)),
            Action::Send(Message::Error(error)),
        ] = &said[..]
        else {
            panic!("{said:?}")
        };
        assert_eq!(numbers(reestablish), (0, 0));
        assert!(error.text().contains("please close"));
        // Whatever the peer says, and whoever asks for something.
        let channel_id = world.nodes[A].live().channel_id;
        assert_eq!(
            (reestablish.channel_id, error.channel_id),
            (channel_id, channel_id)
        );
        assert_eq!(channel.handle(close(&world, script(1))), Ok(vec![]));
        let theirs = Event::Peer(Message::ChannelReestablish(reestablish.clone()));
        assert_eq!(channel.handle(theirs), Ok(vec![]));
        assert_eq!(channel.handle(Event::Flush), Ok(vec![]));
        assert_eq!(channel.handle(Event::Disconnected), Ok(vec![]));
    }
}

fn close(world: &World, script: bitcoin::ScriptBuf) -> Event {
    let channel_id = world.nodes[A].live().channel_id;
    Event::Peer(
        Shutdown {
            channel_id,
            scriptpubkey: script,
        }
        .into(),
    )
}

fn warned(result: Result<(), PeerFault>, text: &str) {
    assert!(
        matches!(&result, Err(PeerFault::Warning(e)) if e.contains(text)),
        "{result:?}"
    );
}

#[test]
fn shutdown_to_a_strange_script_is_the_peers_fault() {
    let mut world = ready();
    let strange = close(&world, bitcoin::ScriptBuf::from_bytes(vec![0x51]));
    warned(world.feed(A, strange), "not allowed");
}

#[test]
fn shutdown_to_another_script_than_agreed_is_the_peers_fault() {
    let mut world = World::with(AnchorsZeroFeeHtlc, |setup| {
        setup.remote.upfront_shutdown_script = Some(script(7));
    });
    let other = close(&world, script(8));
    warned(world.feed(A, other), "than at opening");
    // One that changes its mind.
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    world.quiet();
    let (first, second) = (close(&world, script(7)), close(&world, script(8)));
    world.feed(A, first.clone()).unwrap();
    world.feed(A, first).unwrap();
    warned(world.feed(A, second), "than before");
}

#[test]
fn shutdown_with_uncommitted_htlcs_is_the_peers_fault() {
    let mut world = ready();
    world
        .feed(A, Event::Peer(crate::faults::add(0, 5_000_000).into()))
        .unwrap();
    let early = close(&world, script(7));
    warned(world.feed(A, early), "uncommitted");
}

#[test]
fn a_script_fixed_at_opening_stays() {
    let mut world = World::with(AnchorsZeroFeeHtlc, |setup| {
        setup.local.upfront_shutdown_script = Some(script(7));
    });
    world.shut_down(A);
    let Some(Message::Shutdown(message)) = world.wires[B].front() else {
        panic!()
    };
    assert_eq!(message.scriptpubkey, script(7));
    // Whoever looks for our output in the closing transaction looks for what was said.
    assert_eq!(world.nodes[A].live().shutdown_script, script(7));
}

#[test]
fn shutdown_refuses_offers_and_lets_htlcs_run_out() {
    let mut world = ready();
    world.pay(A, 1_000);
    world.pay(A, 5_000_000);
    world.flush(A);
    world.quiet();
    let queued = world.pay(B, 4_000_000);
    world.shut_down(A);
    world.deliver(B);
    let late = world.pay(B, 4_000_000);
    for i in [queued, late] {
        world.nodes[B].sync(usize::MAX);
        assert!(!world.nodes[B].db.results[&i]);
    }
    let reason = AddRefusal::ShuttingDown;
    let refused = Notice::AddRefused {
        origin: crate::fixture::origin(late),
        reason,
    };
    assert!(world.nodes[B].notices.contains(&refused));
    assert!(
        world.nodes[A]
            .notices
            .contains(&Notice::ShuttingDown { by_us: true })
    );
    assert!(
        world.nodes[B]
            .notices
            .contains(&Notice::ShuttingDown { by_us: false })
    );
    for node in [A, B] {
        assert!(matches!(
            world.nodes[node].live().phase,
            Phase::ShuttingDown { .. }
        ));
    }
    let states: Vec<HtlcState> = world.nodes[A]
        .channel
        .as_ref()
        .unwrap()
        .htlcs()
        .map(|(_, r)| r.state)
        .collect();
    assert_eq!(states, [HtlcState::SentAddAckRevocation; 2]);
    world.settle();
    for node in [A, B] {
        let phase = &world.nodes[node].live().phase;
        assert!(
            matches!(phase, Phase::Closed { .. }),
            "{phase:?} {:?}",
            world.log
        );
    }
    assert_eq!(world.closes(A), world.closes(B));
    assert_eq!(world.balance(B).0, 405_000_000);
}

#[test]
fn shutdown_goes_again_after_a_reconnection() {
    let mut world = ready();
    world.pay(B, 5_000_000);
    world.flush(B);
    world.quiet();
    world.shut_down(A);
    reconnect(&mut world);
    world.deliver(A);
    assert_eq!(names(&world, B).last(), Some(&"shutdown"));
    world.settle();
    assert!(matches!(world.nodes[B].live().phase, Phase::Closed { .. }));
}

#[test]
fn a_shutdown_before_channel_ready_closes_too() {
    let mut world = World::new(AnchorsZeroFeeHtlc);
    world.connect();
    world.settle();
    world.shut_down(B);
    world.settle();
    for node in [A, B] {
        assert!(matches!(
            world.nodes[node].live().phase,
            Phase::Closed { .. }
        ));
    }
}
