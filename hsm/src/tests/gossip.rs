//! G1-G3: updates of our channels, in bounds, with timestamps that only rise.

use bitcoin::hashes::{Hash, sha256d};
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, SECP256K1};
use tx::setup::CommitmentFormat;
use wire::{BlockDelta, Body, ChainHash, ChannelDbid, ChannelUpdate, MilliSatoshi, ShortChannelId};

use super::fixture::{CHAIN, NO_CHANNEL, Pair, VALUE};
use crate::{Refused, Rule, UnixTime};

const NOW: UnixTime = UnixTime(1_700_000_000);

fn update(pair: &mut Pair) -> ChannelUpdate {
    let (us, peer) = (pair.a.node.hsm().node_id(), pair.b.node.hsm().node_id());
    ChannelUpdate {
        signature: Signature::from_compact(&[0; 64]).unwrap(),
        chain_hash: CHAIN,
        short_channel_id: ShortChannelId(7),
        timestamp: 0,
        message_flags: 0b11,
        channel_flags: u8::from(us.0.serialize() > peer.0.serialize()),
        cltv_expiry_delta: BlockDelta(34),
        htlc_minimum_msat: MilliSatoshi(1),
        fee_base_msat: 1000,
        fee_proportional_millionths: 1,
        htlc_maximum_msat: VALUE.to_msat().unwrap(),
        rest: vec![],
    }
}

fn open() -> (Pair, ChannelUpdate) {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    pair.a.node.hsm().set_now(NOW);
    let update = update(&mut pair);
    (pair, update)
}

fn sign(pair: &mut Pair, update: &ChannelUpdate) -> Result<ChannelUpdate, Refused> {
    let channel = pair.a.new.channel;
    let hsm = pair.a.node.hsm();
    hsm.sign_channel_update(channel, update.clone())
}

fn refused(pair: &mut Pair, channel: ChannelDbid, update: ChannelUpdate) -> Rule {
    let before = pair.a.node.hsm().state.clone();
    let result = pair.a.node.hsm().sign_channel_update(channel, update);
    assert_eq!(
        pair.a.node.hsm().state,
        before,
        "a refusal changed something"
    );
    result.unwrap_err().rule()
}

#[test]
fn an_update_of_ours_verifies_as_the_network_does() {
    let (mut pair, update) = open();
    let signed = sign(&mut pair, &update).unwrap();
    assert_eq!(signed.timestamp, 1_700_000_000);
    // BOLT 7, channel_update: over the double SHA-256 of everything after the signature.
    let hash = sha256d::Hash::hash(&signed.to_bytes()[66..]);
    let message = Message::from_digest(hash.to_byte_array());
    let key = pair.a.node.hsm().node_id().0;
    SECP256K1
        .verify_ecdsa(&message, &signed.signature, &key)
        .unwrap();
}

#[test]
fn g1_an_update_is_for_a_channel_of_ours_that_is_open() {
    let (mut pair, update) = open();
    assert_eq!(refused(&mut pair, NO_CHANNEL, update.clone()), Rule::D3);
    let channel = pair.a.new.channel;
    pair.a.node.hsm().force_close(channel).unwrap();
    assert_eq!(refused(&mut pair, channel, update), Rule::D4);
    let mut pair = Pair::funded(CommitmentFormat::AnchorsZeroFeeHtlc);
    let (channel, update) = (pair.a.new.channel, self::update(&mut pair));
    assert_eq!(refused(&mut pair, channel, update), Rule::D4);
}

#[test]
fn g1_chain_direction_and_flags_are_the_channels() {
    let (mut pair, update) = open();
    let channel = pair.a.new.channel;
    let wrong: [fn(&mut ChannelUpdate); 6] = [
        |u| u.chain_hash = ChainHash([1; 32]),
        |u| u.channel_flags ^= 1,
        |u| u.channel_flags |= 4,
        |u| u.message_flags = 0b10,
        |u| u.message_flags = 0b111,
        |u| u.rest = vec![0],
    ];
    for (at, change) in wrong.iter().enumerate() {
        let mut update = update.clone();
        change(&mut update);
        assert_eq!(refused(&mut pair, channel, update), Rule::G1, "number {at}");
    }
    let disabled = ChannelUpdate {
        channel_flags: update.channel_flags | 2,
        ..update
    };
    sign(&mut pair, &disabled).unwrap();
}

#[test]
fn g1_a_channel_has_a_bounded_number_of_names() {
    let (mut pair, update) = open();
    let named = |name| ChannelUpdate {
        short_channel_id: ShortChannelId(name),
        ..update.clone()
    };
    for name in 0..64 {
        pair.a.node.hsm().set_now(UnixTime(NOW.0 + name * 100));
        sign(&mut pair, &named(name)).unwrap();
    }
    pair.a.node.restart();
    pair.a.node.hsm().set_now(UnixTime(NOW.0 + 64 * 100));
    let channel = pair.a.new.channel;
    assert_eq!(refused(&mut pair, channel, named(64)), Rule::G1);
    sign(&mut pair, &named(0)).unwrap();
}

#[test]
fn g2_timestamps_rise_through_restarts_and_clocks_that_go_back() {
    let (mut pair, update) = open();
    let mut last = 0;
    // Asked for any, it takes its own.
    let asked = ChannelUpdate {
        timestamp: u32::MAX,
        ..update
    };
    for now in [NOW.0, NOW.0, NOW.0 + 100, NOW.0, 0, NOW.0 + 100] {
        pair.a.node.hsm().set_now(UnixTime(now));
        let signed = sign(&mut pair, &asked).unwrap();
        assert!(signed.timestamp > last);
        assert!(u64::from(signed.timestamp) <= NOW.0 + 105, "in the future");
        last = signed.timestamp;
        pair.a.node.restart();
        pair.a.node.hsm().compact().unwrap();
        pair.a.node.restart();
    }
}

#[test]
fn g2_there_is_no_timestamp_after_the_last() {
    let (mut pair, update) = open();
    pair.a.node.hsm().set_now(UnixTime(u64::MAX));
    assert_eq!(sign(&mut pair, &update).unwrap().timestamp, u32::MAX);
    let channel = pair.a.new.channel;
    assert_eq!(refused(&mut pair, channel, update), Rule::G2);
}

#[test]
fn g3_fees_and_limits_are_in_bounds() {
    let (mut pair, update) = open();
    let channel = pair.a.new.channel;
    let wrong: [fn(&mut ChannelUpdate); 5] = [
        |u| u.htlc_minimum_msat = MilliSatoshi(u.htlc_maximum_msat.0 + 1),
        |u| u.htlc_maximum_msat = MilliSatoshi(u.htlc_maximum_msat.0 + 1),
        |u| u.fee_base_msat = 1_000_000_001,
        |u| u.fee_proportional_millionths = 10_000_001,
        |u| u.cltv_expiry_delta = BlockDelta(2017),
    ];
    for (at, change) in wrong.iter().enumerate() {
        let mut update = update.clone();
        change(&mut update);
        assert_eq!(refused(&mut pair, channel, update), Rule::G3, "number {at}");
    }
    let extreme = ChannelUpdate {
        fee_base_msat: 1_000_000_000,
        fee_proportional_millionths: 10_000_000,
        cltv_expiry_delta: BlockDelta(2016),
        ..update
    };
    sign(&mut pair, &extreme).unwrap();
}

#[test]
fn g3_updates_of_a_channel_are_few() {
    let (mut pair, update) = open();
    for _ in 0..60 {
        sign(&mut pair, &update).unwrap();
    }
    let channel = pair.a.new.channel;
    assert_eq!(refused(&mut pair, channel, update.clone()), Rule::G3);
    pair.a.node.hsm().set_now(UnixTime(NOW.0 + 30));
    sign(&mut pair, &update).unwrap();
    assert_eq!(refused(&mut pair, channel, update), Rule::G3);
}

#[test]
fn an_update_does_not_wait_for_the_disk() {
    let (mut pair, update) = open();
    pair.a.node.hsm().sync().unwrap();
    let before = pair.a.node.hsm().syncs();
    sign(&mut pair, &update).unwrap();
    pair.a.node.hsm().sync().unwrap();
    assert_eq!(pair.a.node.hsm().syncs(), before);
    assert!(!pair.a.node.hsm().is_settled());
}
