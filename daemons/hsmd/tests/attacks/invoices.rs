//! Thefts of what we are owed: preimages of our invoices.

use std::time::Duration;

use hsm_messages::Role;
use hsm_messages::edges::HsmInvoice;
use hsm_messages::invoice::{PreimageHolder, Reply, Request};
use invoice::{Bolt11Fields, DescriptionOrHash};
use tx::ledger::{Delta, Htlc};
use wire::{BlockDelta, Feature, Features, MilliSatoshi, PaymentHash, PaymentSecret, Side};

use crate::node::now;
use crate::world::{IN, World, add, approve, fulfil, htlc};

const AMOUNT: MilliSatoshi = MilliSatoshi(50_000_000);

fn ask(world: &mut World, request: &Request) -> Reply {
    let mut conn = world.victim.mint::<HsmInvoice>(Role::Invoice, None);
    conn.call(request).unwrap()
}

/// The hash of an invoice of ours.
fn owed(world: &mut World) -> PaymentHash {
    let Reply::NewPreimage { payment_hash } = ask(world, &Request::NewPreimage) else {
        panic!("no hash");
    };
    let fields = Bolt11Fields {
        network: bitcoin::Network::Regtest,
        amount: Some(AMOUNT),
        payment_hash,
        payment_secret: PaymentSecret([2; 32]),
        description: DescriptionOrHash::Description("bread".to_owned()),
        timestamp: now(),
        expiry: Duration::from_secs(3600),
        min_final_cltv: BlockDelta(18),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::of(&[Feature::VarOnionOptin, Feature::PaymentSecret], &[]),
        metadata: None,
    };
    let request = Request::SignBolt11 {
        fields: Box::new(fields),
        holder: PreimageHolder::Hsmd,
    };
    let reply = ask(world, &request);
    assert!(matches!(reply, Reply::Signed { .. }), "{reply:?}");
    payment_hash
}

fn incoming(id: u64, amount: u64, payment_hash: PaymentHash) -> Delta {
    let htlc = Htlc {
        payment_hash,
        ..htlc(amount, 600)
    };
    add(Side::Remote, id, htlc)
}

#[test]
fn our_preimages_are_not_given_away_before_they_are_paid_for() {
    let mut world = World::new();
    let payment_hash = owed(&mut world);
    let release = Request::Release { payment_hash };
    let refused = |world: &mut World, why| {
        let reply = ask(world, &release);
        world.was_refused(&reply, "H4", why);
    };
    refused(&mut world, "nothing came");
    approve(&mut world.peer, payment_hash, AMOUNT);
    world.they_say(IN, &[incoming(0, 49_999_999, payment_hash)]);
    refused(&mut world, "less than the invoice");
    world.we_say(IN, &[crate::world::fail(Side::Remote, 0)], &[]);
    let whole = [incoming(1, AMOUNT.0, payment_hash)];
    world.put_into_ours(IN, &whole);
    refused(&mut world, "in our commitment alone");
    world.restart();
    refused(&mut world, "nor after a crash");
    world.put_into_theirs(IN, &whole, &[]);
    let Reply::Released { preimage } = ask(&mut world, &release) else {
        panic!("it is paid for");
    };
    world.we_say(IN, &[fulfil(Side::Remote, 1, preimage)], &[]);
    world.serves_honest_channels();
}

#[test]
fn our_preimages_are_not_given_for_hashes_that_are_not_ours() {
    let mut world = World::new();
    let payment_hash = PaymentHash([3; 32]);
    let reply = ask(&mut world, &Request::Release { payment_hash });
    world.was_refused(&reply, "H4", "no invoice of ours");
    world.serves_honest_channels();
}
