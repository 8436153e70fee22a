//! Thefts by HTLCs: forwards that nothing pays for, and payments that nobody approved.

use std::time::Duration;

use hsm_messages::chan::{Reply, Request};
use hsm_messages::pay;
use invoice::{Bolt11Fields, DescriptionOrHash};
use secp256k1::{Message, SECP256K1, SecretKey};
use tx::ledger::Htlc;
use tx::signer::Ticket;
use wire::{
    BlockDelta, ChannelDbid, Feature, Features, HtlcId, MilliSatoshi, PaymentHash, PaymentSecret,
    Preimage, Side,
};

use crate::node::{bolt11, now};
use crate::world::{IN, OUT, PREIMAGE, SPARE, World, add, approve, ask_to_pay, fail, fulfil, htlc};

/// The thief wants this to go out of channel OUT, with such a ticket.
fn forward(world: &mut World, out: Htlc, ticket: Ticket) -> Request {
    world.sign_remote(OUT, &[add(Side::Local, 0, out)], &[ticket])
}

#[test]
fn a_forward_without_its_incoming_htlc_is_not_signed() {
    let mut world = World::new();
    let out = htlc(49_000_000, 590);
    let adds = [add(Side::Local, 0, out)];
    let request = world.sign_remote(OUT, &adds, &[]);
    world.refuses(OUT, request, "H1", "no ticket");
    let request = forward(&mut world, out, Ticket::Payment);
    world.refuses(OUT, request, "H1", "no payment was approved");
    let ids = [IN, OUT, SPARE].map(|link| world.links[link].ours.new.channel);
    for channel in ids.into_iter().chain([ChannelDbid(99)]) {
        let id = HtlcId(0);
        let request = forward(&mut world, out, Ticket::Forward { channel, id });
        world.refuses(OUT, request, "H1", "nothing came in");
    }
    // Nor do we take it into our own commitment, whatever the peer would sign.
    let request = world.validate_local(OUT, &adds);
    world.refuses(OUT, request, "H1", "in our own commitment");
    world.serves_honest_channels();
}

#[test]
fn a_forward_is_not_signed_before_its_incoming_htlc_is_there_for_good() {
    let mut world = World::new();
    approve(
        &mut world.peer,
        PREIMAGE.payment_hash(),
        MilliSatoshi(50_000_000),
    );
    let (incoming, out) = (
        add(Side::Remote, 0, htlc(50_000_000, 600)),
        htlc(49_000_000, 590),
    );
    let ticket = world.ticket(0);
    world.put_into_ours(IN, std::slice::from_ref(&incoming));
    let request = forward(&mut world, out, ticket);
    world.refuses(OUT, request, "H1", "the peer's commitment lacks it");
    let request = world.sign_remote(IN, std::slice::from_ref(&incoming), &[]);
    let Reply::SignedRemote { .. } = world.ask(IN, request) else {
        panic!("not signed");
    };
    let request = forward(&mut world, out, ticket);
    world.refuses(
        OUT,
        request,
        "H1",
        "the peer has not revoked the one without it",
    );
    world.put_into_theirs(IN, &[incoming], &[]);
    world.we_say(OUT, &[add(Side::Local, 0, out)], &[ticket]);
    world.serves_honest_channels();
}

#[test]
fn a_forward_does_not_take_more_than_came_in_or_later_or_twice() {
    let mut world = World::new();
    world.comes_in(0, 50_000_000, 600);
    let ticket = world.ticket(0);
    let other_hash = Htlc {
        payment_hash: PaymentHash([3; 32]),
        ..htlc(1_000_000, 590)
    };
    for (out, why) in [
        (htlc(50_000_001, 590), "more"),
        (htlc(u64::MAX / 4, 590), "much more: it is not even there"),
        (htlc(49_000_000, 600), "no time between the two"),
        (htlc(49_000_000, 598), "too little time"),
        (other_hash, "another hash"),
    ] {
        let rule = match out.amount > MilliSatoshi(800_000_000) {
            true => "C2",
            false => "H1",
        };
        let request = forward(&mut world, out, ticket);
        world.refuses(OUT, request, rule, why);
    }
    let half = |id| add(Side::Local, id, htlc(20_000_000, 590));
    let request = world.sign_remote(OUT, &[half(0), half(1)], &[ticket, ticket]);
    world.refuses(OUT, request, "H1", "one ticket for two");
    world.we_say(OUT, &[half(0)], &[ticket]);
    world.restart();
    let request = world.sign_remote(OUT, &[half(1)], &[ticket]);
    world.refuses(OUT, request, "H1", "used before");
    world.serves_honest_channels();
}

#[test]
fn the_incoming_htlc_is_not_dropped_before_the_outgoing_one() {
    let mut world = World::forwarded();
    let failed = [fail(Side::Remote, 0)];
    let drop_it = |world: &mut World, why| {
        let request = world.sign_remote(IN, &failed, &[]);
        world.refuses(IN, request, "H2", why);
        let request = world.validate_local(IN, &failed);
        world.refuses(IN, request, "H2", why);
    };
    drop_it(&mut world, "the peer can claim the outgoing one");
    world.restart();
    drop_it(&mut world, "nor after a crash");
    // The peer has claimed it: what it paid with is ours.
    world.put_into_ours(OUT, &[fulfil(Side::Local, 0, PREIMAGE)]);
    drop_it(&mut world, "it was claimed");
    world.put_into_theirs(OUT, &[fulfil(Side::Local, 0, PREIMAGE)], &[]);
    drop_it(&mut world, "it was claimed and is gone");
    world.we_say(IN, &[fulfil(Side::Remote, 0, PREIMAGE)], &[]);
    world.serves_honest_channels();
}

#[test]
fn a_payment_that_nobody_approved_does_not_leave() {
    let mut world = World::new();
    let out = htlc(40_000_000, 590);
    let request = forward(&mut world, out, Ticket::Payment);
    world.refuses(OUT, request, "H1", "no approval");
    let hash = PREIMAGE.payment_hash();
    approve(&mut world.victim, hash, MilliSatoshi(30_000_000));
    let request = forward(&mut world, out, Ticket::Payment);
    world.refuses(OUT, request, "H1", "more than was approved");
    let part = |id| add(Side::Local, id, htlc(20_000_000, 590));
    let request = world.sign_remote(OUT, &[part(0), part(1)], &[Ticket::Payment; 2]);
    world.refuses(OUT, request, "H1", "more in parts");
    world.we_say(OUT, &[part(0)], &[Ticket::Payment]);
    let request = world.sign_remote(OUT, &[part(1)], &[Ticket::Payment]);
    world.refuses(OUT, request, "H1", "more in parts, one after the other");
    world.they_say(OUT, &[fulfil(Side::Local, 0, PREIMAGE)]);
    world.restart();
    let request = world.sign_remote(OUT, &[part(1)], &[Ticket::Payment]);
    world.refuses(OUT, request, "H1", "it was paid");
    let other = Htlc {
        payment_hash: Preimage([8; 32]).payment_hash(),
        ..htlc(1_000, 590)
    };
    let request = world.sign_remote(OUT, &[add(Side::Local, 1, other)], &[Ticket::Payment]);
    world.refuses(OUT, request, "H1", "another hash");
    world.serves_honest_channels();
}

/// An invoice of the thief's own.
fn thiefs_invoice(network: bitcoin::Network) -> String {
    let fields = Bolt11Fields {
        network,
        amount: Some(MilliSatoshi(1_000_000)),
        payment_hash: PREIMAGE.payment_hash(),
        payment_secret: PaymentSecret([2; 32]),
        description: DescriptionOrHash::Description("loot".to_owned()),
        timestamp: now(),
        expiry: Duration::from_secs(3600),
        min_final_cltv: BlockDelta(18),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::of(&[Feature::VarOnionOptin, Feature::PaymentSecret], &[]),
        metadata: None,
    };
    let secret = SecretKey::from_slice(&[0x66; 32]).unwrap();
    let message = Message::from_digest(fields.signing_hash().unwrap());
    let signature = SECP256K1.sign_ecdsa_recoverable(&message, &secret);
    let (id, bytes) = signature.serialize_compact();
    fields.into_string(&bytes, id.to_i32() as u8).unwrap()
}

#[test]
fn a_payment_is_not_approved_by_a_bad_invoice() {
    let mut world = World::new();
    let hash = PREIMAGE.payment_hash();
    let amount = MilliSatoshi(1_000_000);
    let good = bolt11(hash, amount, now());
    let mut forged = good.clone();
    // The amount is in what the payee has signed.
    forged = forged.replacen("10u", "90u", 1);
    assert_ne!(forged, good);
    let checks = [
        (
            bolt11(hash, amount, now() - Duration::from_secs(3700)),
            "A1",
            "expired",
        ),
        (forged, "A1", "forged"),
        (String::new(), "A1", "none"),
        (
            thiefs_invoice(bitcoin::Network::Bitcoin),
            "I1",
            "of another chain",
        ),
    ];
    for (invoice, rule, why) in checks {
        let reply = ask_to_pay(&mut world.victim, invoice);
        world.was_refused(&reply, rule, why);
    }
    assert_eq!(ask_to_pay(&mut world.victim, good), pay::Reply::Approved);
    let reply = ask_to_pay(&mut world.victim, thiefs_invoice(bitcoin::Network::Regtest));
    world.was_refused(&reply, "A1", "another payee for the same hash");
    world.serves_honest_channels();
}
