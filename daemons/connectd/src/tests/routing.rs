//! Whose message it is.

use ipc_messages::channeld_connectd::{ToChanneld, ToConnectd as FromChannel};
use ipc_messages::lightningd_connectd::{ToConnectd, ToLightningd};
use tokio::task::spawn_local;
use wire::{Body, ChannelId, Error, Warning};

use super::world::*;
use crate::limits::{LIMITS, Limits};

fn error(channel_id: ChannelId) -> Vec<u8> {
    Error {
        channel_id,
        data: b"no".to_vec(),
    }
    .to_bytes()
}

#[tokio::test]
async fn a_message_goes_to_the_socket_that_claimed_its_channel() {
    local(async {
        let (a, mut b) = two(LIMITS).await;
        let mut one = a.attach(b.id, &[1]).await;
        let mut two = a.attach(b.id, &[2, 3]).await;
        let mut far_one = b.attach(a.id, &[1]).await;
        let mut far_two = b.attach(a.id, &[2, 3]).await;
        for channel in [&mut one, &mut two, &mut far_one, &mut far_two] {
            assert_eq!(channel.connected().await, features());
        }
        for n in 0..100 {
            one.send(message(1, n)).await;
            two.send(message(2 + (n % 2) as u8, n)).await;
            far_one.send(message(1, n)).await;
        }
        for n in 0..100 {
            assert_eq!(far_one.message().await, message(1, n));
            assert_eq!(far_two.message().await, message(2 + (n % 2) as u8, n));
            assert_eq!(one.message().await, message(1, n));
        }
        // An error or warning is the channel's too.
        one.send(error(channel_id(1))).await;
        assert_eq!(far_one.message().await, error(channel_id(1)));
        // What is nobody's, or everybody's, is lightningd's.
        a.say(ToConnectd::Send {
            peer: b.id,
            data: message(9, 0),
        })
        .await;
        a.say(ToConnectd::Send {
            peer: b.id,
            data: error(ChannelId::ALL),
        })
        .await;
        let warning = Warning {
            channel_id: channel_id(9),
            data: vec![],
        }
        .to_bytes();
        a.say(ToConnectd::Send {
            peer: b.id,
            data: warning.clone(),
        })
        .await;
        for expected in [message(9, 0), error(ChannelId::ALL), warning] {
            assert_eq!(b.unclaimed().await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn claim_and_release_move_a_channel_and_keep_the_order() {
    local(async {
        let (a, mut b) = two(LIMITS).await;
        let mut near = a.attach(b.id, &[1, 2]).await;
        near.connected().await;
        near.send(message(2, 1)).await;
        assert_eq!(b.unclaimed().await, message(2, 1));
        let mut far = b.attach(a.id, &[1]).await;
        far.connected().await;
        far.to
            .send(&FromChannel::Claim {
                channel_id: channel_id(2),
            })
            .await
            .unwrap();
        // The answer to its own message comes after its claim was heard.
        far.send(message(1, 0)).await;
        near.message().await;
        near.send(message(2, 2)).await;
        assert_eq!(far.message().await, message(2, 2));
        far.to
            .send(&FromChannel::Release {
                channel_id: channel_id(2),
            })
            .await
            .unwrap();
        far.send(message(1, 0)).await;
        near.message().await;
        near.send(message(2, 3)).await;
        assert_eq!(b.unclaimed().await, message(2, 3));
    })
    .await;
}

#[tokio::test]
async fn a_channel_speaks_for_itself_only() {
    local(async {
        let (a, mut b) = two(LIMITS).await;
        let mut one = a.attach(b.id, &[1]).await;
        let mut two = a.attach(b.id, &[2]).await;
        one.connected().await;
        two.connected().await;
        let foreign = [
            message(2, 0),
            error(ChannelId::ALL),
            error(channel_id(2)),
            vec![0],
            vec![],
        ];
        for foreign in foreign {
            one.send(foreign).await;
        }
        one.send(message(1, 1)).await;
        assert_eq!(b.unclaimed().await, message(1, 1));
        // It may not claim another's id, nor everybody's, nor too many.
        let claim = |channel_id| FromChannel::Claim { channel_id };
        one.to.send(&claim(channel_id(2))).await.unwrap();
        assert!(one.from.recv().await.is_err(), "its socket is closed");
        let mut three = b.attach(a.id, &[3]).await;
        three.to.send(&claim(ChannelId::ALL)).await.unwrap();
        while three.from.recv().await.is_ok() {}
        let mut many = b.attach(a.id, &[4]).await;
        for n in 0..20 {
            let _ = many.to.send(&claim(channel_id(100 + n))).await;
        }
        while many.from.recv().await.is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_closes_with_a_channel_takes_the_connection_with_it() {
    local(async {
        let (mut a, mut b) = two(LIMITS).await;
        let mut quiet = a.attach(b.id, &[1]).await;
        let mut other = a.attach(b.id, &[2]).await;
        quiet.connected().await;
        other.connected().await;
        // One that has released its ids leaves quietly.
        quiet
            .to
            .send(&FromChannel::Release {
                channel_id: channel_id(1),
            })
            .await
            .unwrap();
        drop(quiet);
        a.say(ToConnectd::Ping {
            request: 5,
            peer: b.id,
            len: 0,
            pong_len: 3,
        })
        .await;
        assert_eq!(
            a.hear().await,
            ToLightningd::Pong {
                request: 5,
                len: Some(3)
            }
        );
        drop(other);
        assert_eq!(a.disconnected().await, "a channel's process ended");
        assert_eq!(b.disconnected().await, "peer closed connection");
    })
    .await;
}

#[tokio::test]
async fn a_new_socket_for_a_channel_replaces_the_old_one() {
    local(async {
        let (mut a, mut b) = two(LIMITS).await;
        let mut old = a.attach(b.id, &[1]).await;
        old.connected().await;
        let mut new = a.attach(b.id, &[1]).await;
        assert!(old.from.recv().await.is_err(), "the old one is closed");
        // The peer must reestablish.
        assert_eq!(a.disconnected().await, "a channel's process ended");
        b.disconnected().await;
        a.connect(2, b.id, b.address).await;
        a.connected().await;
        new.connected().await;
        new.send(message(1, 1)).await;
        assert_eq!(b.connected().await, (a.id, true, vec![]));
        assert_eq!(b.unclaimed().await, message(1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_closes_the_connection_is_heard_to_the_end() {
    local(async {
        let (mut a, mut b) = two(LIMITS).await;
        let mut one = a.attach(b.id, &[1]).await;
        one.connected().await;
        one.send(error(channel_id(1))).await;
        let reason = "the peer broke a rule".to_owned();
        let connection = one.connection;
        one.to
            .send(&FromChannel::Disconnect {
                connection,
                reason: reason.clone(),
            })
            .await
            .unwrap();
        assert_eq!(a.disconnected().await, reason);
        assert_eq!(one.hear().await, ToChanneld::Disconnected);
        assert_eq!(b.unclaimed().await, error(channel_id(1)));
        assert_eq!(b.disconnected().await, "peer closed connection");
    })
    .await;
}

#[tokio::test]
async fn gossip_and_what_may_be_ignored_is_and_a_channel_update_reaches_every_channel() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let mut channels = [a.attach(id(2), &[1]).await, a.attach(id(2), &[2]).await];
        let mut peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        for type_num in [
            256_u16, 257, 261, 262, 263, 264, 265, 513, 7, 9, 129, 32769, 65535,
        ] {
            peer.send(&[&type_num.to_be_bytes()[..], &[1; 100]].concat())
                .await;
        }
        let update = [&258_u16.to_be_bytes()[..], &[2; 136]].concat();
        peer.send(&update).await;
        peer.send(&message(9, 1)).await;
        assert_eq!(a.unclaimed().await, message(9, 1));
        for channel in &mut channels {
            channel.connected().await;
            assert_eq!(channel.message().await, update);
        }
    })
    .await;
}

#[tokio::test]
async fn pings_are_answered_each_with_what_it_asks_for() {
    local(async {
        let (mut a, b) = two(LIMITS).await;
        for (request, (len, pong_len, answer)) in [
            (0, 0, Some(0)),
            (100, 65531, Some(65531)),
            (65529, 1, Some(1)),
            (65530, 1, None),
            (0, 65532, Some(0)),
        ]
        .into_iter()
        .enumerate()
        {
            let request = request as u64;
            a.say(ToConnectd::Ping {
                request,
                peer: b.id,
                len,
                pong_len,
            })
            .await;
            assert_eq!(
                a.hear().await,
                ToLightningd::Pong {
                    request,
                    len: answer
                }
            );
        }
        a.say(ToConnectd::Ping {
            request: 9,
            peer: id(7),
            len: 0,
            pong_len: 0,
        })
        .await;
        assert_eq!(
            a.hear().await,
            ToLightningd::Pong {
                request: 9,
                len: None
            }
        );
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_does_not_read_holds_up_its_peer_and_loses_nothing() {
    local(async {
        let limits = Limits {
            channel_queue: 4 << 10,
            out_queue: 16 << 10,
            ..LIMITS
        };
        let (a, b) = two(limits).await;
        let mut near = a.attach(b.id, &[1]).await;
        let mut far = b.attach(a.id, &[1]).await;
        near.connected().await;
        far.connected().await;
        let count = 200_000;
        let connection = near.connection;
        let to = near.to.clone();
        let sent = std::rc::Rc::new(std::cell::Cell::new(0));
        let counter = std::rc::Rc::clone(&sent);
        let sender = spawn_local(async move {
            for n in 0..count {
                let data = message(1, n);
                to.send(&FromChannel::Send { connection, data })
                    .await
                    .unwrap();
                counter.set(n + 1);
            }
        });
        // It gets no further than what all the buffers on the way hold.
        let mut last = 0;
        loop {
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
            if sent.get() == last {
                break;
            }
            last = sent.get();
        }
        assert!(last < count, "something on the way holds all of it");
        for n in 0..count {
            assert_eq!(far.message().await, message(1, n));
        }
        sender.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_channel_missed_while_it_did_not_read_is_told_in_order_and_at_most_once() {
    local(async {
        let limits = Limits {
            channel_queue: 1 << 10,
            ..LIMITS
        };
        let mut a = TestNode::start(1, limits).await;
        let mut channel = a.attach(id(2), &[1]).await;
        // Fills the socket of the channel, which does not read.
        let mut peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        let big = [message(1, 0), vec![0; 60_000]].concat();
        for _ in 0..20 {
            peer.send(&big).await;
        }
        for _ in 0..5 {
            peer = RawPeer::greet(2, &a).await;
            a.disconnected().await;
            a.connected().await;
        }
        peer.send(&message(1, 7)).await;
        channel.connected().await;
        let (mut connections, mut open) = (1, true);
        loop {
            match channel.hear().await {
                ToChanneld::Message { data } if data == message(1, 7) => break,
                ToChanneld::Message { data } => assert!(open && data.len() == big.len()),
                ToChanneld::Disconnected => {
                    assert!(open);
                    open = false;
                }
                ToChanneld::Connected { .. } => {
                    assert!(!open);
                    (open, connections) = (true, connections + 1);
                }
            }
        }
        assert!(open && connections >= 2);
    })
    .await;
}

#[tokio::test]
async fn a_greeting_is_the_first_message_of_each_connection_until_it_is_taken_back() {
    local(async {
        let (mut a, b) = two(LIMITS).await;
        let peer = a.id;
        let greet = |data: Vec<u8>| ToConnectd::Greet { peer, data };
        b.say(greet(message(9, 7))).await;
        let mut far = b.attach(a.id, &[1]).await;
        far.connected().await;
        // Not on this connection, which there was before.
        far.send(message(1, 0)).await;
        assert_eq!(a.unclaimed().await, message(1, 0));
        for round in 1..3 {
            let reason = "again".to_owned();
            a.say(ToConnectd::Disconnect { peer: b.id, reason }).await;
            a.disconnected().await;
            assert_eq!(far.hear().await, ToChanneld::Disconnected);
            a.connect(round, b.id, b.address).await;
            a.connected().await;
            far.connected().await;
            far.send(message(1, 1)).await;
            assert_eq!(a.unclaimed().await, message(9, 7));
            assert_eq!(a.unclaimed().await, message(1, 1));
        }
        b.say(greet(vec![])).await;
        let reason = "last".to_owned();
        a.say(ToConnectd::Disconnect { peer: b.id, reason }).await;
        a.disconnected().await;
        assert_eq!(far.hear().await, ToChanneld::Disconnected);
        a.connect(9, b.id, b.address).await;
        a.connected().await;
        far.connected().await;
        far.send(message(1, 2)).await;
        assert_eq!(a.unclaimed().await, message(1, 2));
    })
    .await;
}
