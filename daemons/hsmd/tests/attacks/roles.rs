//! Thefts by asking on the wrong socket, and by what the node key is good for.

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use hsm_messages::chan::{Reply, Request};
use hsm_messages::edges::{HsmChan, HsmNoise, HsmOperator, HsmWallet};
use hsm_messages::{Role, chan, ctl, hello, noise, operator, wallet};
use ipc_transport::{Conn, Edge, pair};
use secp256k1::ecdh::SharedSecret;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::noise::{KeyStep, Responder};
use wire::{ChannelDbid, CommitmentNumber};

use crate::node::Node;
use crate::world::{IN, OUT, World};

/// A socket of one role, at which somebody greets as `Said` and asks this. Whether there is an answer.
fn answered<Said: Edge, Asked: Serialize, Answer: DeserializeOwned>(
    victim: &mut Node,
    role: Role,
    channel: Option<ChannelDbid>,
    request: &Asked,
) -> bool {
    let (ours, theirs) = pair().unwrap();
    let mint = ctl::Request::Mint { role, channel };
    victim.ctl.send_with_fd(&mint, theirs).unwrap();
    let reply = victim.ctl.recv().unwrap();
    assert!(matches!(reply, ctl::Reply::Minted { .. }), "{reply:?}");
    Conn::<Asked, Answer>::new(ours, hello::<Said>())
        .and_then(|mut conn| conn.call(request))
        .is_ok()
}

#[test]
fn a_socket_of_one_role_is_not_good_for_another() {
    let mut world = World::new();
    let channel = world.links[OUT].ours.new.channel;
    let address = wallet::Request::GetAddress;
    let as_wallet = |victim: &mut Node, role, channel| {
        answered::<HsmWallet, _, wallet::Reply>(victim, role, channel, &address)
    };
    assert!(
        as_wallet(&mut world.victim, Role::Wallet, None),
        "the honest one"
    );
    assert!(
        !as_wallet(&mut world.victim, Role::Chan, Some(channel)),
        "channeld's"
    );
    assert!(
        !as_wallet(&mut world.victim, Role::Onchain, Some(channel)),
        "onchaind's"
    );
    for role in [
        Role::Noise,
        Role::Gossip,
        Role::Invoice,
        Role::Pay,
        Role::Rpc,
        Role::Tip,
        Role::Backup,
    ] {
        assert!(!as_wallet(&mut world.victim, role, None), "{role:?}");
    }
    // It greets as what it is, and its bytes are of another role.
    let victim = &mut world.victim;
    let bytes = answered::<HsmChan, _, chan::Reply>(victim, Role::Chan, Some(channel), &address);
    assert!(!bytes, "a wallet's request among a channel's");
    let point = Request::Point {
        n: CommitmentNumber(1),
    };
    let bytes = answered::<HsmWallet, _, wallet::Reply>(victim, Role::Wallet, None, &point);
    assert!(!bytes, "a channel's request among the wallet's");
    let addresses = world.links.len() as u32 + 1;
    assert_eq!(
        world.victim.kill_and_restart().next_address,
        addresses,
        "one was given"
    );
    world.restart();
    world.serves_honest_channels();
}

#[test]
fn a_socket_of_one_role_is_not_good_for_what_the_owner_may_ask() {
    let mut world = World::new();
    let status = operator::Request::Status;
    let channel = Some(world.links[OUT].ours.new.channel);
    let roles = [
        Role::Noise,
        Role::Wallet,
        Role::Gossip,
        Role::Invoice,
        Role::Pay,
        Role::Rpc,
        Role::Tip,
        Role::Backup,
    ];
    let all = roles.map(|role| (role, None));
    let of_one = [(Role::Chan, channel), (Role::Onchain, channel)];
    for (role, channel) in all.into_iter().chain(of_one) {
        let as_owner =
            answered::<HsmOperator, _, operator::Reply>(&mut world.victim, role, channel, &status);
        assert!(!as_owner, "{role:?}");
    }
    // CTL hands out no socket of the owner's: there is no word for it.
    world.restart();
    world.serves_honest_channels();
}

#[test]
fn a_socket_of_one_channel_is_not_good_for_another() {
    let mut world = World::new();
    for (role, channel) in [
        (Role::Chan, Some(ChannelDbid(99))),
        (Role::Chan, None),
        (Role::Onchain, None),
        (Role::Onchain, Some(ChannelDbid(99))),
        (Role::Wallet, Some(world.links[OUT].ours.new.channel)),
    ] {
        let (_ours, theirs) = pair().unwrap();
        let mint = ctl::Request::Mint { role, channel };
        world.victim.ctl.send_with_fd(&mint, theirs).unwrap();
        let reply = world.victim.ctl.recv().unwrap();
        world.was_refused(&reply, "D3", "a socket for nothing, or for too much");
    }
    // The peer's commitment in OUT, asked for at the socket of IN: it is IN's number and keys.
    let request = world.sign_remote(OUT, &[], &[]);
    let (at_out, at_in) = (world.ask(OUT, request.clone()), world.ask(IN, request));
    assert!(matches!(at_out, Reply::SignedRemote { .. }), "{at_out:?}");
    assert_ne!(at_out, at_in, "one channel's on the other's socket");
    // There is one socket for a channel: who asks for a second one closes the first.
    let channel = world.links[OUT].ours.new.channel;
    let mut second = world.victim.chan(channel);
    let point = Request::Point {
        n: CommitmentNumber(1),
    };
    second.call(&point).unwrap();
    assert!(
        world.links[OUT].ours.chan.call(&point).is_err(),
        "two speak for one channel"
    );
    world.serves_honest_channels();
}

fn secret(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

/// Everything that BOLT 4 derives from an onion's shared secret, and the secret itself.
fn onion_keys(shared: &[u8; 32]) -> Vec<[u8; 32]> {
    let labels = ["rho", "mu", "um", "pad", "ammag", "ammagext"];
    let derive = |label: &str| {
        let mut engine = HmacEngine::<sha256::Hash>::new(label.as_bytes());
        engine.input(shared);
        Hmac::from_engine(engine).to_byte_array()
    };
    labels.into_iter().map(derive).chain([*shared]).collect()
}

#[test]
fn ecdh_of_a_handshake_does_not_open_an_onion() {
    let mut world = World::new();
    let node_id = world.ids[0];
    let mut noise = world.victim.mint::<HsmNoise>(Role::Noise, None);
    let ephemeral = secret(0x31);
    let point: PublicKey = ephemeral.public_key(SECP256K1);
    let shared = SharedSecret::new(&node_id.0, &ephemeral).secret_bytes();
    let keys = onion_keys(&shared);
    // Chaining keys that make BOLT 8's derivation begin as BOLT 4's do.
    for label in ["", "rho", "mu", "um", "ammag"] {
        let mut ck = [0; 32];
        ck[..label.len()].copy_from_slice(label.as_bytes());
        let step = KeyStep::InitiatorAct3 {
            ck: wire::noise::Secret(ck),
            point,
        };
        match noise.call(&noise::Request::Step { step }).unwrap() {
            noise::Reply::Step { keys: reply } => {
                for got in [&reply.ck, &reply.temp_key] {
                    let leak = keys.contains(&got.0);
                    assert!(!leak, "an onion's key, by {label:?}");
                }
            }
            noise::Reply::BadAct => panic!("no key step"),
        }
    }
    // As a responder it takes an act that somebody made who knows the secret already.
    let (_, act1) = wire::noise::Initiator::new(ephemeral, world.ids[1].0).unwrap();
    let (_, step) = Responder::new(secret(2), node_id.0).act1(&act1).unwrap();
    let reply = noise.call(&noise::Request::Step { step }).unwrap();
    world.was_refused(&reply, "K1", "made for somebody else");
    world.serves_honest_channels();
}

#[test]
fn ecdh_of_onions_is_for_channels_that_are_open_and_in_small_batches() {
    let mut world = World::new();
    let point = secret(0x31).public_key(SECP256K1);
    let batch = |points: usize| Request::EcdhBatch {
        points: vec![point; points],
    };
    world.refuses(OUT, batch(65), "K2", "too many at once");
    let peer = world.ids[1];
    let new = world.victim.new_channel(peer);
    let reply = world.victim.chan(new.channel).call(&batch(1)).unwrap();
    world.was_refused(&reply, "D4", "a channel that is not open has no onions");
    world.serves_honest_channels();
}
