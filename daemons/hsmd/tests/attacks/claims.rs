//! Thefts of what is claimed on chain: by foreign scripts, by fees, by parents that are none.

use bitcoin::{Amount, OutPoint, Transaction};
use hsm_messages::edges::HsmOnchain;
use hsm_messages::onchain::{Claim, ParentTx, Reply, Request};
use hsm_messages::{Role, ctl, wallet};
use ipc_transport::blocking::UpperConn;
use tx::claim::{CoinKind, FeeCoin, How, anchor_of};
use tx::script::to_remote_script_pubkey;
use tx::setup::{BackedUp, CommitmentFormat, Setup};
use tx::signer::NextRemote;
use wire::{ChannelDbid, CommitmentNumber, Satoshi, Side};

use crate::chain;
use crate::link::{funding, setup};
use crate::world::{OUT, Verdict, World};

/// Our socket of the spent channel OUT, the peer's commitment that spends it, and our terms.
fn spent(world: &mut World) -> (UpperConn<HsmOnchain>, Transaction, Setup) {
    let link = &world.links[OUT];
    let (ours, theirs) = (&link.ours.new, &link.theirs.new);
    let (channel, theirs_channel) = (ours.channel, theirs.channel);
    let terms = setup(Side::Local, ours, theirs);
    let conn = world
        .victim
        .mint::<HsmOnchain>(Role::Onchain, Some(channel));
    let request = ctl::Request::ForceClose {
        channel: theirs_channel,
    };
    let ctl::Reply::ForceClose { tx } = world.peer.ctl.call(&request).unwrap() else {
        panic!("not closed");
    };
    (conn, bitcoin::consensus::deserialize(&tx).unwrap(), terms)
}

fn to_remote(tx: &Transaction, terms: &Setup) -> u32 {
    let key = &terms.local.basepoints.payment;
    let script = to_remote_script_pubkey(CommitmentFormat::AnchorsZeroFeeHtlc, key);
    let at = tx.output.iter().position(|o| o.script_pubkey == script);
    at.unwrap() as u32
}

fn sweep(parent: &Transaction, vout: u32, how: How, fee: u64) -> Request {
    Request::Sweep {
        parents: vec![ParentTx::of(parent)],
        claims: vec![Claim {
            parent: 0,
            vout,
            how,
        }],
        fee: Satoshi(fee),
    }
}

/// A compromised lightningd says that a lost channel had this funding output and these terms.
#[test]
fn a_made_up_backup_gives_nothing_away() {
    let mut world = World::new();
    let (_, parent, terms) = spent(&mut world);
    let link = &world.links[OUT].ours.new;
    let (known, unknown) = (link.channel, ChannelDbid(link.channel.0 + 70));
    let thief = terms.remote.basepoints;
    let recover = |world: &mut World, channel| {
        let request = ctl::Request::RecoverChannel(ctl::LostChannel {
            channel,
            peer: world.ids[1],
            backup: BackedUp {
                funding: funding(OUT as u8 + 1),
                format: terms.format,
                opener: Side::Local,
                basepoints: thief,
                to_self_delay: terms.remote.to_self_delay,
            },
        });
        world.victim.ctl.call(&request).unwrap()
    };
    // The honest channel stays what it is.
    let reply = recover(&mut world, known);
    world.was_refused(&reply, "S1", "a known channel again");
    let ctl::Reply::NewChannel(new) = recover(&mut world, unknown) else {
        panic!("not recovered");
    };
    assert_ne!(new.funding_pubkey, terms.local.funding_pubkey);
    // The new one signs no commitment, and takes nothing of the honest one's.
    let mut chan = world.victim.chan(unknown);
    let sign = hsm_messages::chan::Request::SignRemote(NextRemote {
        n: CommitmentNumber::ZERO,
        point: thief.payment,
        deltas: vec![],
        tickets: vec![],
    });
    let reply = chan.call(&sign).unwrap();
    world.was_refused(&reply, "B3", "its commitment");
    let force = ctl::Request::ForceClose { channel: unknown };
    let reply = world.victim.ctl.call(&force).unwrap();
    world.was_refused(&reply, "B3", "its own commitment");
    let mut conn = world
        .victim
        .mint::<HsmOnchain>(Role::Onchain, Some(unknown));
    let other = sweep(&parent, to_remote(&parent, &terms), How::ToRemote, 100);
    let reply = conn.call(&other).unwrap();
    world.was_refused(&reply, "X1", "another channel's balance");
    world.restart();
    world.serves_honest_channels();
}

fn anchor(parent: &Transaction, fee: u64) -> Request {
    let coin = FeeCoin {
        outpoint: chain::outpoint(60),
        value: Satoshi(900_000),
        index: 3,
        kind: CoinKind::P2wpkh,
    };
    Request::Anchor {
        commitment: ParentTx::of(parent),
        coins: vec![coin],
        fee: Satoshi(fee),
    }
}

fn signed(reply: Reply) -> Transaction {
    match reply {
        Reply::Signed { tx } => bitcoin::consensus::deserialize(&tx).unwrap(),
        other => panic!("not signed: {other:?}"),
    }
}

impl Verdict for Reply {
    fn refused(&self) -> Option<(&str, &str)> {
        let Reply::Refused { rule, reason } = self else {
            return None;
        };
        Some((rule, reason))
    }
}

#[test]
fn a_penalty_or_a_sweep_pays_no_foreign_script() {
    let mut world = World::new();
    let (mut conn, theirs, terms) = spent(&mut world);
    let vout = to_remote(&theirs, &terms);
    // No word of a request says where it goes: the channel's own address, every time.
    let request = sweep(&theirs, vout, How::ToRemote, 500);
    let tx = signed(conn.call(&request).unwrap());
    let own = &world.links[OUT].ours.new.shutdown_p2tr;
    assert_eq!((tx.output.len(), &tx.output[0].script_pubkey), (1, own));
    // What is the peer's, or not yet a penalty.
    let n = CommitmentNumber(0);
    let wrong = [
        (0, How::Delayed { n }, "X1", "not ours"),
        (vout, How::Revoked { n }, "X3", "not revoked"),
    ];
    for (vout, how, rule, why) in wrong {
        let reply = conn.call(&sweep(&theirs, vout, how, 500)).unwrap();
        world.was_refused(&reply, rule, why);
    }
    // At the socket of another channel it is nobody's.
    let other = world.links[crate::world::IN].ours.new.channel;
    let mut other = world.victim.mint::<HsmOnchain>(Role::Onchain, Some(other));
    let reply = other.call(&request).unwrap();
    world.was_refused(&reply, "X1", "another channel's output");
    world.serves_honest_channels();
}

#[test]
fn fees_are_not_burnt_by_sweeps_and_anchors() {
    let mut world = World::new();
    let (mut conn, theirs, terms) = spent(&mut world);
    let (mut wallet, _) = chain::wallet(&mut world);
    let vout = to_remote(&theirs, &terms);
    let value = theirs.output[vout as usize].value.to_sat();
    for fee in [value / 2 + 1, value - 1_000] {
        let reply = conn
            .call(&sweep(&theirs, vout, How::ToRemote, fee))
            .unwrap();
        world.was_refused(&reply, "X2", "more than half of it");
        let reply = conn.call(&anchor(&theirs, fee + 1_000)).unwrap();
        world.was_refused(&reply, "X4", "more than half of what is at stake");
    }
    // Again and again: each time another transaction that spends the same anchor, so that one counts.
    for fee in [1_000, 50_000, 300_000] {
        let tx = signed(conn.call(&anchor(&theirs, fee)).unwrap());
        let anchor = anchor_of(&terms, &theirs).unwrap();
        assert_eq!(tx.input[0].previous_output, anchor);
    }
    // The coin's amount was said: the wallet's socket hears of it too.
    let key = wallet::WalletKey {
        index: 3,
        kind: wallet::AddressKind::P2wpkh,
    };
    let lie = wallet::SeenCoin {
        outpoint: chain::outpoint(60),
        value: Satoshi(9_000),
        key,
    };
    let reply = wallet.call(&wallet::Request::Seen { coins: vec![lie] });
    world.was_refused(&reply.unwrap(), "W3", "another amount");
    world.serves_honest_channels();
}

#[test]
fn a_parent_that_is_made_up_gets_nothing_that_spends() {
    let mut world = World::new();
    let (mut conn, theirs, terms) = spent(&mut world);
    let vout = to_remote(&theirs, &terms);
    let real = OutPoint {
        txid: theirs.compute_txid(),
        vout,
    };
    // A hundred times the value, and so a fee that would be all of the real output.
    let mut invented = theirs.clone();
    invented.output[vout as usize].value = Amount::from_sat(100_000_000);
    let tx = signed(
        conn.call(&sweep(&invented, vout, How::ToRemote, 400_000))
            .unwrap(),
    );
    assert_ne!(tx.input[0].previous_output, real, "it spends the real one");
    // Nor does an anchor's child hang on what does not spend the channel.
    let mut elsewhere = theirs.clone();
    elsewhere.input[0].previous_output = chain::outpoint(61);
    let reply = conn.call(&anchor(&elsewhere, 500)).unwrap();
    world.was_refused(&reply, "X4", "a commitment of nothing");
    world.serves_honest_channels();
}
