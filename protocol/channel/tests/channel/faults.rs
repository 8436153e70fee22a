//! The peer breaks a rule: each requirement of BOLT 2 on a receiver of updates and commitments.

use channel::action::{Command, Event, PeerFault};
use channel::state::{HtlcState, Phase};
use tx::ledger::HtlcKey;
use tx::setup::CommitmentFormat::{self, AnchorsZeroFeeHtlc, StaticRemotekey};
use wire::{
    BlockHeight, ChannelId, CltvExpiry, CommitmentSigned, FeeratePerKw, HtlcId, Message,
    MilliSatoshi, PerCommitmentSecret, Preimage, RevokeAndAck, Side, UpdateAddHtlc, UpdateFailHtlc,
    UpdateFailMalformedHtlc, UpdateFee, UpdateFulfillHtlc,
};

use crate::fixture::{funding, htlc, key, onion, preimage};
use crate::signer::TestSigner;
use crate::world::{A, B, World};

fn channel_id() -> ChannelId {
    ChannelId::v1(&funding().outpoint)
}

pub fn add(id: u64, amount: u64) -> UpdateAddHtlc {
    UpdateAddHtlc {
        channel_id: channel_id(),
        id: HtlcId(id),
        amount_msat: MilliSatoshi(amount),
        payment_hash: preimage(id as u32).payment_hash(),
        cltv_expiry: CltvExpiry(500),
        onion_routing_packet: onion(),
        blinded_path: None,
    }
}

pub fn fulfil(id: u64, payment_preimage: Preimage) -> Message {
    let (channel_id, id) = (channel_id(), HtlcId(id));
    UpdateFulfillHtlc {
        channel_id,
        id,
        payment_preimage,
        attribution_data: None,
    }
    .into()
}

fn fail(id: u64) -> Message {
    let (channel_id, id) = (channel_id(), HtlcId(id));
    UpdateFailHtlc {
        channel_id,
        id,
        reason: vec![1; 292],
        attribution_data: None,
    }
    .into()
}

pub fn fee(feerate: u32) -> Message {
    let channel_id = channel_id();
    UpdateFee {
        channel_id,
        feerate_per_kw: FeeratePerKw(feerate),
    }
    .into()
}

fn warned(result: Result<(), PeerFault>, text: &str) {
    match result {
        Err(PeerFault::Warning(reason)) => {
            assert!(reason.contains(text), "{reason:?} lacks {text:?}");
        }
        other => panic!("{other:?} instead of a warning about {text:?}"),
    }
}

/// The message to the node is the peer's fault.
fn faulty(world: &mut World, node: usize, message: impl Into<Message>, text: &str) {
    let result = world.feed(node, Event::Peer(message.into()));
    warned(result, text);
}

fn fine(world: &mut World, node: usize, message: impl Into<Message>) {
    world.feed(node, Event::Peer(message.into())).unwrap();
}

fn ready() -> World {
    World::ready(AnchorsZeroFeeHtlc)
}

#[test]
fn htlc_of_nothing_or_below_our_minimum_is_the_peers_fault() {
    faulty(&mut ready(), B, add(0, 0), "minimum");
    faulty(&mut ready(), B, add(0, 999), "minimum");
    fine(&mut ready(), B, add(0, 1000));
}

#[test]
fn expiry_that_is_no_block_height_is_the_peers_fault() {
    let mut late = add(0, 1000);
    late.cltv_expiry = CltvExpiry(500_000_000);
    faulty(&mut ready(), B, late.clone(), "cltv_expiry");
    late.cltv_expiry = CltvExpiry(499_999_999);
    fine(&mut ready(), B, late);
}

#[test]
fn ids_that_do_not_count_up_by_one_are_the_peers_fault() {
    let mut world = ready();
    faulty(&mut world, B, add(1, 1000), "id 1, expected 0");
    fine(&mut world, B, add(0, 1000));
    faulty(&mut world, B, add(0, 1000), "id 0, expected 1");
}

#[test]
fn one_htlc_too_many_is_the_peers_fault() {
    let mut world = ready();
    for id in 0..12 {
        fine(&mut world, B, add(id, 1000));
    }
    faulty(&mut world, B, add(12, 1000), "more than 12 HTLCs");
}

#[test]
fn too_much_in_flight_is_the_peers_fault() {
    let mut world = World::with(AnchorsZeroFeeHtlc, |setup| {
        setup.remote.max_htlc_value_in_flight = MilliSatoshi(50_000_000);
    });
    fine(&mut world, B, add(0, 30_000_000));
    faulty(&mut world, B, add(1, 20_000_001), "in flight");
    fine(&mut world, B, add(1, 20_000_000));
}

#[test]
fn amount_beyond_the_accepters_reserve_is_its_fault() {
    // B has 400000 sat and has to keep 10000.
    faulty(&mut ready(), A, add(0, 390_000_001), "afford");
    fine(&mut ready(), A, add(0, 390_000_000));
}

#[test]
fn amount_that_leaves_the_opener_without_fee_or_anchors_is_its_fault() {
    // A has 600000 sat, keeps 10000 and pays 1000 sat/kW for a commitment with one HTLC.
    let most = |costs: u64| (600_000 - 10_000 - costs) * 1000;
    for (format, costs) in [
        (StaticRemotekey, 724 + 172),
        (AnchorsZeroFeeHtlc, 1124 + 172 + 660),
    ] {
        let mut world = World::ready(format);
        faulty(&mut world, B, add(0, most(costs) + 1), "afford");
        fine(&mut world, B, add(0, most(costs)));
    }
}

#[test]
fn amount_beyond_the_whole_balance_is_the_peers_fault() {
    faulty(&mut ready(), A, add(0, 400_000_001), "balance");
    faulty(&mut ready(), A, add(0, u64::MAX), "balance");
}

#[test]
fn updates_before_channel_ready_are_the_peers_fault() {
    for message in [
        add(0, 1000).into(),
        fulfil(0, preimage(0)),
        fail(0),
        fee(500),
    ] {
        let mut world = World::new(AnchorsZeroFeeHtlc);
        world.connect();
        world.settle();
        faulty(&mut world, B, message, "before channel_ready");
    }
}

#[test]
fn messages_before_channel_reestablish_are_the_peers_fault() {
    let mut world = ready();
    world.break_link();
    world.notice_break(B);
    world.feed(B, Event::Connected).unwrap();
    faulty(&mut world, B, add(0, 1000), "before channel_reestablish");
}

#[test]
fn adding_after_shutdown_is_the_peers_fault() {
    let mut world = ready();
    // An HTLC keeps the channel from closing.
    world.pay(B, 5_000_000);
    world.flush(B);
    world.quiet();
    world.shut_down(A);
    world.deliver(B);
    faulty(&mut world, B, add(0, 1000), "after shutdown");
}

#[test]
fn removing_an_unknown_htlc_is_the_peers_fault() {
    for message in [fulfil(0, preimage(0)), fail(0)] {
        faulty(&mut ready(), A, message, "unknown HTLC 0");
    }
    // The peer's own HTLC is not ours.
    let mut world = ready();
    fine(&mut world, A, add(0, 1000));
    faulty(&mut world, A, fail(0), "unknown HTLC 0");
}

#[test]
fn removing_an_htlc_before_it_is_irrevocable_is_the_peers_fault() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    let key = HtlcKey {
        offerer: Side::Local,
        id: HtlcId(0),
    };
    let mut seen = Vec::new();
    for step in 0..5 {
        let record = world.nodes[A]
            .channel
            .as_ref()
            .unwrap()
            .htlcs()
            .next()
            .unwrap()
            .1;
        seen.push(record.state);
        if step < 4 {
            let result = world.feed(A, Event::Peer(fulfil(0, preimage(0))));
            warned(result, "removal of HTLC 0 in");
        }
        match step {
            // commitment_signed and what answers it, message by message.
            0 => world.flush(A),
            1 => {
                world.deliver(B);
                world.deliver(B);
                world.flush(B);
                world.deliver(A);
            }
            2 => {
                world.deliver(A);
            }
            3 => world.flush(A),
            _ => {}
        }
    }
    use HtlcState::*;
    let walk = [
        SentAddHtlc,
        SentAddCommit,
        RcvdAddRevocation,
        RcvdAddAckCommit,
        SentAddAckRevocation,
    ];
    assert_eq!(seen, walk);
    assert_eq!(
        world.nodes[A]
            .channel
            .as_ref()
            .unwrap()
            .htlcs()
            .next()
            .unwrap()
            .0,
        &key
    );
    world.deliver(B);
    fine(&mut world, A, fulfil(0, preimage(0)));
    faulty(&mut world, A, fulfil(0, preimage(0)), "RcvdRemoveHtlc");
}

fn with_outgoing() -> World {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    world.quiet();
    world
}

#[test]
fn wrong_preimage_is_the_peers_fault() {
    faulty(
        &mut with_outgoing(),
        A,
        fulfil(0, preimage(1)),
        "wrong preimage",
    );
    fine(&mut with_outgoing(), A, fulfil(0, preimage(0)));
}

#[test]
fn malformed_without_badonion_is_the_peers_fault() {
    let malformed = |failure_code| UpdateFailMalformedHtlc {
        channel_id: channel_id(),
        id: HtlcId(0),
        sha256_of_onion: [0; 32],
        failure_code,
    };
    faulty(&mut with_outgoing(), A, malformed(0x4005), "BADONION");
    fine(&mut with_outgoing(), A, malformed(0xc005));
}

#[test]
fn update_fee_from_the_accepter_is_its_fault() {
    faulty(&mut ready(), A, fee(2000), "accepter");
}

#[test]
fn feerate_outside_our_bounds_is_the_peers_fault() {
    faulty(&mut ready(), B, fee(252), "not within");
    faulty(&mut ready(), B, fee(20_001), "not within");
    fine(&mut ready(), B, fee(253));
    fine(&mut ready(), B, fee(20_000));
}

fn poor_opener(format: CommitmentFormat) -> World {
    World::with(format, |setup| setup.push = MilliSatoshi(980_000_000))
}

#[test]
fn feerate_that_the_opener_cannot_pay_is_its_fault() {
    // 20000 sat: 724 weight for up to 27.6 sat/W, and more with the anchors.
    let mut world = poor_opener(AnchorsZeroFeeHtlc);
    faulty(&mut world, B, fee(17_300), "cannot afford a feerate");
    fine(&mut world, B, fee(17_000));
    fine(&mut poor_opener(StaticRemotekey), B, fee(20_000));
}

#[test]
fn feerate_that_trims_more_than_our_dust_limit_is_the_peers_fault() {
    let dusty = |format| {
        let mut world = World::ready(format);
        // Each is trimmed from 7.4 sat/W on, and not before.
        for id in 0..2 {
            fine(&mut world, B, add(id, 5_700_000));
        }
        world
    };
    faulty(
        &mut dusty(StaticRemotekey),
        B,
        fee(10_000),
        "trims too many",
    );
    fine(&mut dusty(StaticRemotekey), B, fee(5_000));
    fine(&mut dusty(AnchorsZeroFeeHtlc), B, fee(10_000));
}

fn commitment(world: &World, htlcs: usize) -> CommitmentSigned {
    let node = &world.nodes[B];
    let n = node.live().local_next.0;
    let setup = &node.live().setup;
    let (signature, _) = TestSigner::signatures(setup, n, node.signer.local_ledger());
    CommitmentSigned {
        channel_id: channel_id(),
        signature,
        htlc_signature: vec![signature; htlcs],
        funding_txid: None,
    }
}

#[test]
fn wrong_number_of_htlc_signatures_is_the_peers_fault() {
    let mut world = ready();
    fine(&mut world, B, add(0, 5_000_000));
    let (none, two) = (commitment(&world, 0), commitment(&world, 2));
    faulty(&mut world, B, none, "0 HTLC signatures for 1");
    faulty(&mut world, B, two, "2 HTLC signatures for 1");
    // A trimmed one has none.
    fine(&mut world, B, add(1, 1000));
    let two = commitment(&world, 2);
    faulty(&mut world, B, two, "2 HTLC signatures for 1");
}

#[test]
fn signature_on_another_commitment_is_the_peers_fault() {
    let mut world = ready();
    fine(&mut world, B, add(0, 5_000_000));
    let wrong = commitment(&world, 1);
    faulty(&mut world, B, wrong, "does not verify");
}

#[test]
fn second_commitment_before_our_revocation_is_the_peers_fault() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    world.deliver(B);
    world.deliver(B);
    let second = commitment(&world, 1);
    faulty(&mut world, B, second, "before our revoke_and_ack");
}

#[test]
fn commitment_without_changes_is_answered() {
    let mut world = ready();
    let empty = commitment(&world, 0);
    fine(&mut world, B, empty);
    world.flush(B);
    assert_eq!(world.wires[A].pop_front().unwrap().name(), "revoke_and_ack");
}

#[test]
fn commitment_for_another_funding_transaction_is_ignored() {
    let mut world = ready();
    let mut other = commitment(&world, 0);
    other.funding_txid = Some(bitcoin::hashes::Hash::from_byte_array([9; 32]));
    fine(&mut world, B, other);
    world.flush(B);
    assert!(world.wires[A].is_empty());
}

#[test]
fn revocation_that_nothing_awaits_is_the_peers_fault() {
    let revocation = RevokeAndAck {
        channel_id: channel_id(),
        per_commitment_secret: PerCommitmentSecret([1; 32]),
        next_per_commitment_point: key(3),
    };
    faulty(&mut ready(), B, revocation, "no commitment awaits");
}

#[test]
fn wrong_revocation_secret_fails_the_channel() {
    let mut world = ready();
    world.pay(A, 5_000_000);
    world.flush(A);
    let wrong = RevokeAndAck {
        channel_id: channel_id(),
        per_commitment_secret: PerCommitmentSecret(world.nodes[B].signer.secret(1).0),
        next_per_commitment_point: key(3),
    };
    let result = world.feed(A, Event::Peer(wrong.into()));
    assert!(
        matches!(result, Err(PeerFault::Error(text)) if text.contains("per_commitment_secret"))
    );
    // It stays failed, and the next connection hears the same.
    world.feed(A, Event::Disconnected).unwrap();
    assert!(matches!(
        world.feed(A, Event::Connected),
        Err(PeerFault::Error(_))
    ));
}

#[test]
fn closing_signed_before_the_shutdown_is_the_peers_fault() {
    let closing = wire::ClosingSigned {
        channel_id: channel_id(),
        fee_satoshis: wire::Satoshi(500),
        signature: TestSigner::signatures(
            &crate::fixture::setup(AnchorsZeroFeeHtlc),
            0,
            ready().nodes[A].signer.local_ledger(),
        )
        .0,
        fee_range: None,
    };
    faulty(&mut ready(), A, closing, "before the shutdown");
}

#[test]
fn unknown_even_message_is_the_peers_fault_and_an_odd_one_is_ignored() {
    faulty(
        &mut ready(),
        A,
        Message::Unknown {
            type_num: 40_000,
            data: vec![],
        },
        "unknown",
    );
    fine(
        &mut ready(),
        A,
        Message::Unknown {
            type_num: 40_001,
            data: vec![],
        },
    );
}

#[test]
fn fault_of_the_peer_leaves_the_channel_as_it_was() {
    let mut world = with_outgoing();
    faulty(&mut world, A, fulfil(0, preimage(1)), "wrong preimage");
    world.break_link();
    world.notice_break(A);
    world.notice_break(B);
    world.settle();
    world.check_agreement();
}

fn deadline(world: &mut World, node: usize, height: u32) -> Result<(), PeerFault> {
    world.feed(
        node,
        Event::Command(Command::Block {
            height: BlockHeight(height),
        }),
    )
}

#[test]
fn an_htlc_of_ours_past_its_expiry_fails_the_channel() {
    let mut world = with_outgoing();
    assert_eq!(htlc(0, 1).cltv_expiry, CltvExpiry(500));
    deadline(&mut world, A, 500).unwrap();
    let result = deadline(&mut world, A, 501);
    assert!(matches!(result, Err(PeerFault::Error(text)) if text.contains("deadline")));
}

#[test]
fn a_fulfilled_htlc_near_its_expiry_fails_the_channel() {
    let mut world = World::ready(AnchorsZeroFeeHtlc);
    world.pay(B, 5_000_000);
    world.flush(B);
    world.quiet();
    // A knows no preimage yet: the expiry is the payer's problem.
    deadline(&mut world, A, 490).unwrap();
    let (id, _) = world.nodes[A].undecided.pop_front().unwrap();
    let removal = channel::action::Removal::Fulfil {
        preimage: preimage(0),
    };
    world.command(A, Command::Remove { id, removal });
    deadline(&mut world, A, 481).unwrap();
    let result = deadline(&mut world, A, 482);
    assert!(matches!(result, Err(PeerFault::Error(text)) if text.contains("deadline")));
}

#[test]
fn closing_waits_for_the_revocation_that_we_owe() {
    let mut world = ready();
    let empty = commitment(&world, 0);
    fine(&mut world, B, empty);
    world.shut_down(A);
    world.deliver(B);
    let phase = |world: &World| world.nodes[B].live().phase.clone();
    assert!(matches!(phase(&world), Phase::ShuttingDown { .. }));
    world.flush(B);
    assert!(matches!(phase(&world), Phase::Closing { .. }));
}
