//! Thefts by old copies: the signer made to forget what it has signed.

use std::fs;

use hsm_messages::chan::{Reply, Request};
use hsm_messages::{ctl, operator};
use tx::signer::Proof;

use crate::link::End as _;
use crate::node::{connect, init, init_with};
use crate::world::{OUT, SPARE, World};

#[test]
fn an_old_signer_state_is_not_signed_with() {
    let mut world = World::new();
    let journal = world.victim.dir.path().join("hsm-journal");
    let old = fs::read(&journal).unwrap();
    world.we_say(OUT, &[], &[]);
    let mark = world.victim.mark();
    world.victim.child.kill().unwrap();
    world.victim.child.wait().unwrap();
    let new = fs::read(&journal).unwrap();
    fs::write(&journal, old).unwrap();
    world.victim.kill_and_start();
    let database = ctl::Database::Present { mark };
    let reply = world.victim.ctl.call(&init_with(database)).unwrap();
    world.was_refused(&reply, "B2", "an older journal");
    // What is asked then has no keys to be answered with.
    let channel = world.links[OUT].ours.new.channel;
    let close = ctl::Request::ForceClose { channel };
    let reply = world.victim.ctl.call(&close).unwrap();
    world.was_refused(&reply, "D4", "an old commitment");
    let reply = world.victim.ctl.call(&init(true)).unwrap();
    world.was_refused(&reply, "B2", "as if there were no database");
    // The newest is put back.
    world.victim.child.kill().unwrap();
    world.victim.child.wait().unwrap();
    fs::write(&journal, new).unwrap();
    world.victim.kill_and_start();
    world.victim.init(database);
    world.links_again();
    world.serves_honest_channels();
}

#[test]
fn an_old_signer_state_is_found_out_by_the_peers_proof() {
    // Journal and database put back together: hsmd cannot know, but the peer has a later secret.
    let mut world = World::new();
    let journal = world.victim.dir.path().join("hsm-journal");
    let (old, mark) = (fs::read(&journal).unwrap(), world.victim.mark());
    world.we_say(OUT, &[], &[]);
    world.we_say(OUT, &[], &[]);
    let n = world.links[OUT]
        .ours
        .next()
        .n
        .prev()
        .unwrap()
        .prev()
        .unwrap();
    let Reply::RevokedSecret { secret } = world.ask(OUT, Request::RevokedSecret { n }) else {
        panic!("it is revoked");
    };
    world.victim.child.kill().unwrap();
    world.victim.child.wait().unwrap();
    fs::write(&journal, old).unwrap();
    world.victim.kill_and_start();
    world.victim.init(ctl::Database::Present { mark });
    world.links_again();
    let proof = world.ask(OUT, Request::ReestablishProof { n, secret });
    let stale = Proof::Stale;
    assert_eq!(proof, Reply::Proof { proof: stale });
    let channel = world.links[OUT].ours.new.channel;
    for _ in 0..2 {
        let close = ctl::Request::ForceClose { channel };
        let reply = world.victim.ctl.call(&close).unwrap();
        world.was_refused(&reply, "B3", "our old commitment");
        let request = world.sign_remote(OUT, &[], &[]);
        world.refuses(OUT, request, "B3", "the peer's");
        world.restart();
    }
    world.serves_honest_channels();
}

#[test]
fn an_old_database_is_not_gone_on_with() {
    let mut world = World::new();
    let mark = world.victim.mark();
    world.restart();
    world.we_say(OUT, &[], &[]);
    let newest = world.victim.mark();
    world.victim.kill_and_start();
    let reply = world
        .victim
        .ctl
        .call(&init_with(ctl::Database::Present { mark }));
    world.was_refused(&reply.unwrap(), "B2", "an older database");
    let none = ctl::Database::Present { mark: None };
    let reply = world.victim.ctl.call(&init_with(none)).unwrap();
    world.was_refused(&reply, "B2", "one that was never written to");
    world.victim.init(ctl::Database::Present { mark: newest });
    world.links_again();
    world.serves_honest_channels();
}

#[test]
fn an_old_database_that_the_owner_has_confirmed_gives_no_signature_before_the_peers_proof() {
    let mut world = World::new();
    let mark = world.victim.mark();
    world.restart();
    for link in [OUT, SPARE, OUT] {
        world.we_say(link, &[], &[]);
    }
    let newest = world.links[OUT].ours.next().n.prev().unwrap();
    let n = newest.prev().unwrap();
    let Reply::RevokedSecret { secret } = world.ask(OUT, Request::RevokedSecret { n }) else {
        panic!("it is revoked");
    };
    world.victim.kill_and_start();
    // To say that it was put back opens nothing: that is the owner's to confirm.
    let restored = init_with(ctl::Database::Restored { mark });
    let reply = world.victim.ctl.call(&restored).unwrap();
    assert_eq!(reply, ctl::Reply::Unconfirmed);
    let channel = world.links[OUT].ours.new.channel;
    let close = ctl::Request::ForceClose { channel };
    let reply = world.victim.ctl.call(&close).unwrap();
    world.was_refused(&reply, "D4", "before the owner has confirmed");
    world.victim.ctl.send(&ctl::Request::Unlocked).unwrap();
    world.victim.ctl.flush().unwrap();
    let mut owner = connect(world.victim.dir.path());
    let done = owner.call(&operator::Request::ConfirmRecovery).unwrap();
    assert_eq!(done, operator::Reply::Done);
    assert!(matches!(
        world.victim.ctl.recv().unwrap(),
        ctl::Reply::Init(_)
    ));
    world.victim.marks = Some(world.victim.ctl.take_fd().unwrap().into());
    for again in [false, true] {
        if again {
            world.restart();
        } else {
            world.links_again();
        }
        let reply = world.victim.ctl.call(&close).unwrap();
        world.was_refused(&reply, "B2", "our commitment");
        let request = world.sign_remote(OUT, &[], &[]);
        world.refuses(OUT, request, "B2", "the peer's");
        let request = world.validate_local(OUT, &[]);
        world.refuses(OUT, request, "B2", "our next");
        world.refuses(OUT, Request::RevokedSecret { n }, "B2", "a proof");
    }
    // The peer's proof, and for another channel the owner's word.
    let reply = world.ask(OUT, Request::ReestablishProof { n, secret });
    let proof = Proof::Revoked;
    assert_eq!(reply, Reply::Proof { proof });
    world.we_say(OUT, &[], &[]);
    let mut owner = connect(world.victim.dir.path());
    for (link, ended) in [(SPARE, true), (OUT, false)] {
        let channel = world.links[link].ours.new.channel;
        let reply = owner.call(&operator::Request::EndRecovery { channel });
        assert_eq!(reply.unwrap() == operator::Reply::Done, ended);
        let close = world.victim.ctl.call(&ctl::Request::ForceClose { channel });
        assert!(matches!(close.unwrap(), ctl::Reply::ForceClose { .. }));
    }
}

impl World {
    /// New sockets for the channels of a process that was started again.
    fn links_again(&mut self) {
        for link in &mut self.links {
            link.ours.chan = self.victim.chan(link.ours.new.channel);
        }
    }
}
