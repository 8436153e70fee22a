//! Thefts by what is signed of a channel: old states, secrets, balances, closes.

use bitcoin::{ScriptBuf, Transaction};
use hsm_messages::chan::{Reply, Request};
use hsm_messages::ctl;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tx::ledger::Delta;
use tx::signer::{CloseTerms, NextLocal, NextRemote, RevocationSecret, Ticket};
use wire::{CommitmentNumber, FeeratePerKw, MilliSatoshi, Preimage, Satoshi, Side};

use crate::link::{End as _, Next, PUSH, funding, setup};
use crate::world::{
    IN, Link, OUT, PREIMAGE, World, add, approve, fail, fulfil, htlc, some_signature,
};

fn foreign_point() -> PublicKey {
    let secret = SecretKey::from_slice(&[0x66; 32]).unwrap();
    secret.public_key(SECP256K1)
}

fn foreign_script() -> ScriptBuf {
    ScriptBuf::new_p2tr(SECP256K1, foreign_point().x_only_public_key().0, None)
}

/// We paid 50,000 satoshi to the peer in channel OUT: its older states are worth more to us.
fn after_a_payment() -> World {
    let mut world = World::new();
    pay(&mut world);
    world
}

fn pay(world: &mut World) {
    approve(
        &mut world.victim,
        PREIMAGE.payment_hash(),
        MilliSatoshi(50_000_000),
    );
    let paid = add(Side::Local, 0, htlc(50_000_000, 600));
    world.we_say(OUT, &[paid], &[Ticket::Payment]);
    world.they_say(OUT, &[fulfil(Side::Local, 0, PREIMAGE)]);
}

#[test]
fn a_revoked_commitment_is_not_what_force_close_gives() {
    let mut world = after_a_payment();
    let channel = world.links[OUT].ours.new.channel;
    let close = ctl::Request::ForceClose { channel };
    let mut txs = Vec::new();
    for _ in 0..2 {
        match world.victim.ctl.call(&close).unwrap() {
            ctl::Reply::ForceClose { tx } => txs.push(tx),
            other => panic!("no transaction: {other:?}"),
        }
        world.restart();
    }
    assert_eq!(txs[0], txs[1], "another one the second time");
    let tx: Transaction = bitcoin::consensus::deserialize(&txs[0]).unwrap();
    let (pushed, paid) = (PUSH.0 / 1000, 50_000);
    let to_peer = tx
        .output
        .iter()
        .find(|out| out.value.to_sat() == pushed + paid);
    assert!(to_peer.is_some(), "an older balance: {:?}", tx.output);
    let request = world.sign_remote(OUT, &[], &[]);
    world.refuses(
        OUT,
        request,
        "D4",
        "a newer state, after ours may be on chain",
    );
    world.serves_honest_channels();
}

#[test]
fn a_revoked_commitment_is_not_signed_again_for_the_peer() {
    let mut world = after_a_payment();
    let next = *world.links[OUT].theirs.next();
    let paid = add(Side::Local, 0, htlc(50_000_000, 600));
    for n in 0..next.n.0 - 1 {
        for deltas in [vec![], vec![paid.clone()]] {
            let request = Request::SignRemote(NextRemote {
                n: CommitmentNumber(n),
                point: next.point,
                tickets: deltas.iter().map(|_| Ticket::Payment).collect(),
                deltas,
            });
            world.refuses(OUT, request, "C4", "an old number");
        }
    }
    let request = Request::SignRemote(NextRemote {
        n: next.n.prev().unwrap(),
        point: next.point,
        deltas: vec![],
        tickets: vec![],
    });
    world.refuses(OUT, request, "C2", "the newest number with other contents");
    world.serves_honest_channels();
}

#[test]
fn a_revoked_commitment_does_not_become_ours_again() {
    let mut world = after_a_payment();
    let newest = world.links[OUT].ours.next().n.prev().unwrap();
    let validate = |n| {
        Request::ValidateLocal(NextLocal {
            n,
            deltas: vec![],
            signature: some_signature(),
            htlc_signatures: vec![],
        })
    };
    for n in 0..newest.0 {
        let request = validate(CommitmentNumber(n));
        world.refuses(OUT, request, "C4", "an old one of ours");
    }
    world.refuses(
        OUT,
        validate(newest),
        "C2",
        "the newest, with other contents",
    );
    world.serves_honest_channels();
}

#[test]
fn a_secret_is_not_given_before_its_commitment_is_replaced() {
    let mut world = after_a_payment();
    let next = world.links[OUT].ours.next().n;
    let newest = next.prev().unwrap();
    for n in [
        newest,
        next,
        CommitmentNumber(u64::MAX),
        CommitmentNumber((1 << 48) - 1),
    ] {
        let request = Request::RevokedSecret { n };
        world.refuses(OUT, request, "C5", "newest or to come");
    }
    // The newest of a channel in which nothing was revoked yet.
    let request = Request::RevokedSecret {
        n: CommitmentNumber::ZERO,
    };
    world.refuses(IN, request, "C5", "commitment 0");
    world.serves_honest_channels();
}

#[test]
fn a_secret_is_not_given_for_a_commitment_that_the_peer_did_not_sign() {
    let mut world = after_a_payment();
    let request = world.validate_local(OUT, &[]);
    world.refuses(OUT, request, "C5", "a signature of nobody");
    // The peer's own, on its own commitment.
    let request = world.sign_remote(OUT, &[], &[]);
    let Reply::SignedRemote { signature, .. } = world.ask(OUT, request) else {
        panic!("not signed");
    };
    let request = Request::ValidateLocal(NextLocal {
        n: world.links[OUT].ours.next().n,
        deltas: vec![],
        signature,
        htlc_signatures: vec![],
    });
    world.refuses(OUT, request, "C5", "a signature of ours");
    world.serves_honest_channels();
}

#[test]
fn a_secret_to_come_is_not_told_by_its_point_or_by_a_wrong_proof() {
    let mut world = after_a_payment();
    let next = world.links[OUT].ours.next().n;
    for n in [
        next.next().unwrap(),
        CommitmentNumber((1 << 48) - 1),
        CommitmentNumber(u64::MAX),
    ] {
        let request = Request::Point { n };
        world.refuses(OUT, request, "C5", "not even its point");
    }
    let proof = Request::ReestablishProof {
        n: next,
        secret: RevocationSecret([1; 32]),
    };
    let reply = world.ask(OUT, proof);
    assert_eq!(
        reply,
        Reply::Proof {
            proof: tx::signer::Proof::Wrong
        },
        "and the channel goes on"
    );
    world.we_say(OUT, &[], &[]);
    world.serves_honest_channels();
}

#[test]
fn two_live_commitments_of_the_peer_are_not_signed() {
    let mut world = after_a_payment();
    let request = world.sign_remote(OUT, &[], &[]);
    let Next { n, point } = *world.links[OUT].theirs.next();
    let signed = world.ask(OUT, request.clone());
    assert!(matches!(signed, Reply::SignedRemote { .. }), "{signed:?}");
    let other = |n, point| {
        Request::SignRemote(NextRemote {
            n,
            point,
            deltas: vec![],
            tickets: vec![],
        })
    };
    let after = n.next().unwrap();
    world.refuses(
        OUT,
        other(after, point),
        "C4",
        "the one before is not revoked",
    );
    world.refuses(OUT, other(after.next().unwrap(), point), "C4", "a gap");
    world.refuses(
        OUT,
        other(n, foreign_point()),
        "C4",
        "another point at one number",
    );
    let wrong = Request::RemoteRevoked {
        n: n.prev().unwrap(),
        secret: RevocationSecret([3; 32]),
    };
    world.refuses(OUT, wrong, "C4", "a secret that revokes nothing");
    let newest = Request::RemoteRevoked {
        n,
        secret: RevocationSecret([3; 32]),
    };
    world.refuses(OUT, newest, "C4", "the newest cannot be revoked");
    world.restart();
    world.refuses(OUT, other(after, point), "C4", "nor after a crash");
    assert_eq!(
        world.ask(OUT, request),
        signed,
        "the same question, another answer"
    );
    world.serves_honest_channels();
}

/// A theft by deltas, in both commitments of channel OUT.
fn deltas_are_refused(world: &mut World, deltas: &[Delta], rule: &str, why: &str) {
    let tickets = crate::link::payments(deltas);
    let request = world.sign_remote(OUT, deltas, &tickets);
    world.refuses(OUT, request, rule, why);
    let request = world.validate_local(OUT, deltas);
    world.refuses(OUT, request, rule, why);
}

#[test]
fn balance_is_not_moved_to_the_peer_without_an_htlc() {
    let mut world = World::new();
    let unknown = fulfil(Side::Local, 0, PREIMAGE);
    deltas_are_refused(&mut world, &[unknown], "C2", "an HTLC that is not there");
    let gone = fail(Side::Remote, 7);
    deltas_are_refused(&mut world, &[gone], "C2", "a failure of nothing");
    let all = add(Side::Local, 0, htlc(800_000_001, 600));
    deltas_are_refused(&mut world, &[all], "C2", "more than we have");
    for amount in [u64::MAX, 1 << 63] {
        let huge = add(Side::Local, 0, htlc(amount, 600));
        deltas_are_refused(&mut world, &[huge], "C2", "an amount that overflows");
        let theirs = add(Side::Remote, 0, htlc(amount, 600));
        deltas_are_refused(&mut world, &[theirs], "C2", "the peer's, more than it has");
    }
    // The balance at the time of the last commitment is no delta: there is no word for it, and the
    // terms cannot be said anew.
    let Link { ours, theirs } = &world.links[OUT];
    let mut terms = setup(Side::Local, &ours.new, &theirs.new);
    terms.push = MilliSatoshi(300_000_000);
    world.refuses(OUT, Request::Setup { setup: terms }, "S1", "a greater push");
    world.refuses(
        OUT,
        Request::SetFunding {
            funding: funding(8),
        },
        "S1",
        "another funding",
    );
    world.serves_honest_channels();
}

#[test]
fn balance_is_not_moved_by_an_htlc_that_comes_and_goes_at_once() {
    let mut world = World::new();
    approve(
        &mut world.victim,
        PREIMAGE.payment_hash(),
        MilliSatoshi(50_000_000),
    );
    let both = [
        add(Side::Local, 0, htlc(50_000_000, 600)),
        fulfil(Side::Local, 0, PREIMAGE),
    ];
    deltas_are_refused(&mut world, &both, "C2", "never in a commitment");
    let twice = [both[0].clone(), both[0].clone()];
    deltas_are_refused(&mut world, &twice, "C2", "one key for two");
    world.serves_honest_channels();
}

#[test]
fn balance_is_not_moved_by_an_htlc_without_its_preimage() {
    let mut world = World::new();
    approve(
        &mut world.victim,
        PREIMAGE.payment_hash(),
        MilliSatoshi(50_000_000),
    );
    let paid = add(Side::Local, 0, htlc(50_000_000, 600));
    world.we_say(OUT, &[paid], &[Ticket::Payment]);
    let wrong = fulfil(Side::Local, 0, Preimage([1; 32]));
    deltas_are_refused(&mut world, &[wrong], "H3", "a preimage of something else");
    world.serves_honest_channels();
}

#[test]
fn balance_is_not_burnt_by_a_feerate_or_below_the_reserve() {
    let mut world = World::new();
    let fee = |feerate| Delta::Fee {
        feerate: FeeratePerKw(feerate),
    };
    for feerate in [0, 1, 1_000_001, u32::MAX] {
        deltas_are_refused(&mut world, &[fee(feerate)], "C7", "a feerate out of bounds");
    }
    let request = world.sign_remote(OUT, &[fee(62_501)], &[]);
    world.refuses(OUT, request, "C7", "too great a step");
    let all = add(Side::Local, 0, htlc(795_000_000, 600));
    let request = world.sign_remote(OUT, &[all], &[Ticket::Payment]);
    world.refuses(OUT, request, "C3", "nothing is left for the fee");
    world.serves_honest_channels();
}

fn close(world: &World, link: usize, fee: u64, ours: Option<ScriptBuf>) -> Request {
    let Link { ours: end, theirs } = &world.links[link];
    Request::SignClose(CloseTerms {
        fee: Satoshi(fee),
        local_script: ours.unwrap_or_else(|| end.new.shutdown_p2tr.clone()),
        remote_script: theirs.new.shutdown_p2tr.clone(),
    })
}

#[test]
fn a_mutual_close_does_not_pay_a_foreign_script() {
    let mut world = World::new();
    let request = close(&world, OUT, 500, Some(foreign_script()));
    world.refuses(OUT, request, "S2", "the thief's");
    let theirs = world.links[OUT].theirs.new.shutdown_p2tr.clone();
    let request = close(&world, OUT, 500, Some(theirs.clone()));
    world.refuses(OUT, request, "S2", "the peer's");
    let request = close(&world, OUT, 500, Some(ScriptBuf::new()));
    world.refuses(OUT, request, "S2", "anybody's");
    let other = world.links[IN].ours.new.shutdown_p2tr.clone();
    let request = close(&world, OUT, 500, Some(other));
    world.refuses(OUT, request, "S2", "ours, but another one was fixed");
    let request = Request::CompleteClose {
        terms: CloseTerms {
            fee: Satoshi(500),
            local_script: foreign_script(),
            remote_script: theirs,
        },
        signature: some_signature(),
    };
    world.refuses(OUT, request, "S2", "the last step alone");
    world.serves_honest_channels();
}

#[test]
fn a_mutual_close_to_a_foreign_script_is_not_agreed_at_the_opening() {
    let mut world = World::new();
    let peer = world.ids[1];
    let new = world.victim.new_channel(peer);
    let mut chan = world.victim.chan(new.channel);
    let mut terms = setup(Side::Local, &new, &world.links[OUT].theirs.new);
    terms.local.upfront_shutdown_script = Some(foreign_script());
    let reply = chan.call(&Request::Setup { setup: terms }).unwrap();
    world.was_refused(&reply, "S2", "fixed for the end");
    world.serves_honest_channels();
}

#[test]
fn a_mutual_close_does_not_burn_our_balance_as_its_fee() {
    let mut world = World::new();
    for fee in [200_000, 799_999, 1_000_000, u64::MAX] {
        let request = close(&world, OUT, fee, None);
        world.refuses(OUT, request, "M1", "we have opened it: our fee");
    }
    for fee in [800_001, u64::MAX] {
        let request = close(&world, IN, fee, None);
        world.refuses(IN, request, "M1", "more than the peer, who pays it, has");
    }
    world.serves_honest_channels();
}

#[test]
fn a_mutual_close_does_not_leave_out_what_is_pending() {
    let mut world = World::new();
    world.comes_in(0, 50_000_000, 600);
    let request = close(&world, IN, 500, None);
    world.refuses(IN, request, "M1", "an HTLC to us is pending");
    // The peer's commitment gives it to us already, ours does not yet.
    let to_us = fulfil(Side::Remote, 0, PREIMAGE);
    world.put_into_theirs(IN, std::slice::from_ref(&to_us), &[]);
    let request = close(&world, IN, 500, None);
    world.refuses(IN, request, "M1", "the two commitments differ");
    world.put_into_ours(IN, &[to_us]);
    let request = close(&world, IN, 500, None);
    let Reply::SignedClose { .. } = world.ask(IN, request) else {
        panic!("it is settled now");
    };
    let request = world.sign_remote(IN, &[], &[]);
    world.refuses(IN, request, "C6", "a state after the close");
    world.serves_honest_channels();
}

#[test]
fn a_mutual_close_pays_the_newest_balance() {
    let mut world = World::new();
    world.comes_in(0, 50_000_000, 600);
    world.they_say_paid(IN);
    let (fee, Link { ours, theirs }) = (Satoshi(500), &mut world.links[IN]);
    let scripts = [&ours.new, &theirs.new].map(|new| new.shutdown_p2tr.clone());
    let Reply::SignedClose { signature } = theirs.ask(Request::SignClose(CloseTerms {
        fee,
        local_script: scripts[1].clone(),
        remote_script: scripts[0].clone(),
    })) else {
        panic!("not signed");
    };
    let complete = |fee| Request::CompleteClose {
        terms: CloseTerms {
            fee,
            local_script: scripts[0].clone(),
            remote_script: scripts[1].clone(),
        },
        signature,
    };
    world.refuses(IN, complete(Satoshi(501)), "M1", "signed with another fee");
    let Reply::CompletedClose { tx } = world.ask(IN, complete(fee)) else {
        panic!("not complete");
    };
    let tx: Transaction = bitcoin::consensus::deserialize(&tx).unwrap();
    let to_us = tx.output.iter().find(|out| out.script_pubkey == scripts[0]);
    let sat = to_us.map(|out| out.value.to_sat());
    assert_eq!(sat, Some(PUSH.0 / 1000 + 50_000), "an older balance");
    world.serves_honest_channels();
}

impl World {
    /// HTLC 0 of the peer is ours.
    fn they_say_paid(&mut self, link: usize) {
        self.we_say(link, &[fulfil(Side::Remote, 0, PREIMAGE)], &[]);
    }
}

#[test]
fn dust_is_not_siphoned_into_fees() {
    // HTLCs below the peer's limit have no output in its commitment: they are its miner's.
    let mut world = World::with(|terms| terms.remote.dust_limit = Satoshi(60_000));
    approve(
        &mut world.victim,
        PREIMAGE.payment_hash(),
        MilliSatoshi(500_000_000),
    );
    let dust = |count| -> Vec<Delta> {
        let add = |id| add(Side::Local, id, htlc(50_000_000, 600));
        (0..count).map(add).collect()
    };
    let tickets = [Ticket::Payment; 11];
    let request = world.sign_remote(OUT, &dust(11), &tickets);
    world.refuses(OUT, request, "C7", "550,000 satoshi at once");
    world.put_into_theirs(OUT, &dust(10), &tickets[..10]);
    let more = dust(11).split_off(10);
    let request = world.sign_remote(OUT, &more, &tickets[..1]);
    world.refuses(OUT, request, "C7", "one by one");
    world.serves_honest_channels();
}
