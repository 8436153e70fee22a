//! Thefts by what may leave: withdrawals, fees, payments and pushes above what the owner allows.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bitcoin::ScriptBuf;
use hsm_messages::edges::{HsmOperator, HsmWallet};
use hsm_messages::limits::Limit;
use hsm_messages::{Role, chan, hello, operator, wallet};
use ipc_transport::Conn;
use ipc_transport::blocking::UpperConn;
use secp256k1::{SECP256K1, SecretKey};
use wire::{MilliSatoshi, Satoshi, Side};

use crate::chain::{outpoint, spend, wallet};
use crate::link::setup;
use crate::node::{bolt11, now};
use crate::world::{OUT, PREIMAGE, World, approve, ask_to_pay};

fn thiefs_script() -> ScriptBuf {
    let secret = SecretKey::from_slice(&[0x66; 32]).unwrap();
    let key = secret.public_key(SECP256K1).x_only_public_key().0;
    ScriptBuf::new_p2tr(SECP256K1, key, None)
}

fn owner(world: &World) -> UpperConn<HsmOperator> {
    let stream = UnixStream::connect(world.victim.dir.path().join(operator::SOCKET)).unwrap();
    Conn::new(OwnedFd::from(stream), hello::<HsmOperator>()).unwrap()
}

fn set_limits(world: &World, sat: u64) {
    let mut owner = owner(world);
    let operator::Reply::Limits(overview) = owner.call(&operator::Request::Limits).unwrap() else {
        panic!("no limits");
    };
    let mut limits = overview.limits;
    limits.withdraw_per_day = Limit::Exactly(Satoshi(sat));
    limits.pay_per_day = Limit::Exactly(Satoshi(sat));
    let reply = owner
        .call(&operator::Request::SetLimits { limits })
        .unwrap();
    assert_eq!(reply, operator::Reply::Done);
}

fn signed(reply: &wallet::Reply) -> bool {
    matches!(reply, wallet::Reply::Signed { .. })
}

#[test]
fn a_withdrawal_to_the_thief_is_not_above_the_days_limit() {
    let mut world = World::new();
    let (mut conn, _) = wallet(&mut world);
    let script = thiefs_script();
    let one = spend(&[(1, 5_000_000)], &script, 4_999_000);
    let reply = conn.call(&one).unwrap();
    world.was_refused(&reply, "W4", "all at once");
    // Little by little: the million of a node whose owner has said nothing, and no more.
    let mut stolen = 0;
    let refused = (2..100).find_map(|n| {
        let reply = conn.call(&spend(&[(n, 100_000)], &script, 99_500)).unwrap();
        match signed(&reply) {
            true => {
                stolen += 100_000;
                None
            }
            false => Some(reply),
        }
    });
    world.was_refused(&refused.unwrap(), "W4", "many small ones");
    assert!(stolen <= 1_000_000, "{stolen}");
    world.restart();
    let mut conn = world.victim.mint::<HsmWallet>(Role::Wallet, None);
    let reply = conn
        .call(&spend(&[(100, 100_000)], &script, 99_500))
        .unwrap();
    world.was_refused(&reply, "W4", "forgotten in a crash");
    world.serves_honest_channels();
}

#[test]
fn a_withdrawal_to_the_thief_is_not_hidden_behind_invented_coins() {
    let mut world = World::new();
    set_limits(&world, 500_000);
    let (mut conn, _) = wallet(&mut world);
    let coin = wallet::SeenCoin {
        outpoint: outpoint(50),
        value: Satoshi(100_000_000_000),
        key: wallet::WalletKey {
            index: 3,
            kind: wallet::AddressKind::P2wpkh,
        },
    };
    let seen = wallet::Request::Seen { coins: vec![coin] };
    assert_eq!(conn.call(&seen).unwrap(), wallet::Reply::Seen);
    let reply = conn
        .call(&spend(&[(1, 600_000)], &thiefs_script(), 599_000))
        .unwrap();
    world.was_refused(&reply, "W4", "what the owner has set does not grow");
    world.serves_honest_channels();
}

#[test]
fn fees_are_not_burnt_by_a_withdrawal() {
    let mut world = World::new();
    let (mut conn, ours) = wallet(&mut world);
    let reply = conn
        .call(&spend(&[(1, 2_000_000)], &ours, 1_000_000))
        .unwrap();
    world.was_refused(&reply, "W2", "a million of fees, to our own address");
    let reply = conn.call(&spend(&[(2, 200_000)], &ours, 1_000)).unwrap();
    world.was_refused(&reply, "W2", "a feerate beyond all");
    world.serves_honest_channels();
}

#[test]
fn a_payment_above_the_days_limit_is_not_approved() {
    let mut world = World::new();
    let hash = PREIMAGE.payment_hash();
    let dear = bolt11(hash, MilliSatoshi(2_000_000_000), now());
    let reply = ask_to_pay(&mut world.victim, dear);
    world.was_refused(&reply, "A1", "all at once");
    // The pushes of two channels have taken 400,000 satoshi of the million.
    approve(&mut world.victim, hash, MilliSatoshi(500_000_000));
    let more = bolt11(hash, MilliSatoshi(700_000_000), now());
    let reply = ask_to_pay(&mut world.victim, more);
    world.was_refused(&reply, "A1", "more for the same hash");
    world.restart();
    let other = wire::Preimage([44; 32]).payment_hash();
    let reply = ask_to_pay(
        &mut world.victim,
        bolt11(other, MilliSatoshi(200_000_000), now()),
    );
    world.was_refused(&reply, "A1", "forgotten in a crash");
    world.serves_honest_channels();
}

#[test]
fn a_bad_split_does_not_give_the_balance_to_ones_own_peer_at_the_opening() {
    let mut world = World::new();
    let peer = world.ids[1];
    let new = world.victim.new_channel(peer);
    let mut terms = setup(Side::Local, &new, &world.links[OUT].theirs.new);
    terms.push = MilliSatoshi(900_000_000);
    let setup = chan::Request::Setup { setup: terms };
    let reply = world.victim.chan(new.channel).call(&setup).unwrap();
    world.was_refused(&reply, "A1", "a push above the day's limit");
    world.serves_honest_channels();
}
