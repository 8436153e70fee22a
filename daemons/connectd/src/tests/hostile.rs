//! Peers that send garbage, too much, or nothing: each costs its own connection and no other.

use std::time::Duration;

use ipc_messages::lightningd_connectd::ToConnectd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use wire::{Body, Pong};

use super::world::*;
use crate::limits::{LIMITS, Limits, Rate};

const WARNING: u16 = 1;
const PONG: u16 = 19;

async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 1024];
    while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
}

/// An honest peer still gets an answer on the connection that it had.
async fn unharmed(peer: &mut RawPeer) {
    peer.send(&[0, 18, 0, 4, 0, 0]).await;
    assert_eq!(peer.receive().await.unwrap()[..2], PONG.to_be_bytes());
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_costs_its_own_connection() {
    local(async {
        let a = TestNode::start(1, LIMITS).await;
        let mut honest = RawPeer::greet(2, &a).await;
        let mut http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        http.resize(100, b' ');
        let mut version = vec![1];
        version.resize(50, 2);
        let mut point = vec![0, 2];
        point.resize(50, 0xff);
        let mut tag = vec![0];
        tag.extend(id(3).0.serialize());
        tag.resize(50, 0);
        for garbage in [http, version, point, tag, vec![0; 100_000]] {
            let mut stream = TcpStream::connect(a.address).await.unwrap();
            let _ = stream.write_all(&garbage).await;
            closed(&mut stream).await;
            unharmed(&mut honest).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_first_message_that_is_not_a_proper_init_is_warned_of_and_hung_up_on() {
    local(async {
        let a = TestNode::start(1, LIMITS).await;
        let mut honest = RawPeer::greet(2, &a).await;
        let firsts: [(&str, &[u8]); 5] = [
            ("nothing", &[]),
            ("half a type", &[0]),
            ("a ping", &[0, 18, 0, 4, 0, 0]),
            ("half an init", &[0, 16, 0]),
            (
                "an init that requires bit 100",
                &[0, 16, 0, 0, 0, 13, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
        ];
        for (what, first) in firsts {
            let mut peer = RawPeer::connect(3, &a).await;
            peer.send(first).await;
            assert_eq!(peer.until_hung_up().await, [16, WARNING], "{what}");
            unharmed(&mut honest).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_no_peer_may_say_is_warned_of_and_hung_up_on() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let mut honest = RawPeer::greet(2, &a).await;
        a.connected().await;
        let mut longest = vec![0xc0, 0];
        longest.resize(65535, 5);
        let said: [(&str, Vec<u8>); 10] = [
            ("nothing", vec![]),
            ("half a type", vec![0]),
            ("an unknown even type", vec![0xc0, 0, 1]),
            ("the longest unknown even message", longest),
            ("a type whose feature we lack", unknown_even()),
            (
                "a channel's message without a whole id",
                vec![0, 136, 1, 2, 3],
            ),
            (
                "an open_channel without a whole id",
                [vec![0, 32], vec![1; 40]].concat(),
            ),
            ("a ping that ends early", vec![0, 18, 0]),
            (
                "a pong that nobody asked for",
                Pong { ignored: vec![] }.to_bytes(),
            ),
            ("init again", vec![0, 16, 0, 0, 0, 0]),
        ];
        for (what, message) in said {
            let mut peer = RawPeer::greet(3, &a).await;
            assert_eq!(a.connected().await.0, id(3));
            peer.send(&message).await;
            assert_eq!(peer.until_hung_up().await, [WARNING], "{what}");
            a.disconnected().await;
            unharmed(&mut honest).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_message_is_hung_up_on_and_half_a_message_is_waited_for() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let mut honest = RawPeer::greet(2, &a).await;
        a.connected().await;
        for at in [0, 17, 18, 25, 39] {
            let mut peer = RawPeer::greet(3, &a).await;
            a.connected().await;
            let mut sealed = peer.seal(&[0, 18, 0, 4, 0, 0]);
            sealed[at] ^= 1;
            peer.stream.write_all(&sealed).await.unwrap();
            assert!(peer.until_hung_up().await.is_empty());
            assert_eq!(a.disconnected().await, "bad message: authentication failed");
        }
        let mut half = RawPeer::greet(3, &a).await;
        a.connected().await;
        for byte in half.seal(&[0, 18, 0, 4, 0, 0]) {
            half.stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(half.receive().await.unwrap()[..2], PONG.to_be_bytes());
        half.stream.write_all(&[1; 10]).await.unwrap();
        drop(half);
        assert_eq!(a.disconnected().await, "peer closed connection");
        unharmed(&mut honest).await;
    })
    .await;
}

#[tokio::test]
async fn silence_before_init_is_hung_up_on() {
    local(async {
        let short = Duration::from_millis(50);
        let a = TestNode::start(
            1,
            Limits {
                handshake_within: short,
                ..LIMITS
            },
        )
        .await;
        let begun = Instant::now();
        let mut silent = TcpStream::connect(a.address).await.unwrap();
        closed(&mut silent).await;
        assert!(begun.elapsed() >= short);
        let mut half = TcpStream::connect(a.address).await.unwrap();
        half.write_all(&[0; 25]).await.unwrap();
        closed(&mut half).await;
        let b = TestNode::start(
            2,
            Limits {
                init_within: short,
                ..LIMITS
            },
        )
        .await;
        let mut shaken = RawPeer::connect(3, &b).await;
        assert_eq!(shaken.until_hung_up().await, [16]);
    })
    .await;
}

#[tokio::test]
async fn a_quiet_peer_that_answers_pings_stays() {
    local(async {
        let quiet = Duration::from_millis(10);
        let mut a = TestNode::start(
            1,
            Limits {
                ping_after: quiet,
                ..LIMITS
            },
        )
        .await;
        let mut peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        for _ in 0..10 {
            let begun = Instant::now();
            assert_eq!(peer.receive().await.unwrap(), [0, 18, 0, 0, 0, 0]);
            assert!(begun.elapsed() >= quiet.mul_f64(0.8));
            peer.send(&Pong { ignored: vec![] }.to_bytes()).await;
        }
        peer.send(&message(9, 1)).await;
        assert_eq!(a.unclaimed().await, message(9, 1));
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up() {
    local(async {
        let quiet = Duration::from_millis(10);
        let limits = Limits {
            ping_after: quiet,
            pong_within: quiet,
            ..LIMITS
        };
        let mut a = TestNode::start(1, limits).await;
        let mut peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        assert_eq!(peer.until_hung_up().await, [18]);
        assert_eq!(a.disconnected().await, "it did not answer a ping");
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_at_a_bounded_rate() {
    local(async {
        let limits = Limits {
            pings: Rate {
                burst: 10,
                per_second: 100,
            },
            ..LIMITS
        };
        let a = TestNode::start(1, limits).await;
        let mut peer = RawPeer::greet(2, &a).await;
        let begun = Instant::now();
        for _ in 0..30 {
            peer.send(&[0, 18, 0, 4, 0, 0]).await;
        }
        for _ in 0..30 {
            assert_eq!(peer.receive().await.unwrap()[..2], PONG.to_be_bytes());
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(190),
            "{:?}",
            begun.elapsed()
        );
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off_and_costs_no_more_than_its_queue() {
    local(async {
        let limits = Limits {
            stalled_after: Duration::from_millis(100),
            ..LIMITS
        };
        let mut a = TestNode::start(1, limits).await;
        let mut channel = a.attach(id(2), &[1]).await;
        let peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        channel.connected().await;
        // More than the system holds, the queue and the channel's socket together: it stops.
        let big = [message(1, 0), vec![0; 60_000]].concat();
        let send = async {
            loop {
                channel.send(big.clone()).await;
            }
        };
        tokio::select! {
            () = send => {}
            why = a.disconnected() => assert_eq!(why, "it does not read what we write"),
        }
        drop(peer);
    })
    .await;
}

#[tokio::test]
async fn messages_of_lightningd_to_a_peer_that_does_not_read_cut_it_off() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let _peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        let big = [message(1, 0), vec![0; 60_000]].concat();
        for _ in 0..1000 {
            a.say(ToConnectd::Send {
                peer: id(2),
                data: big.clone(),
            })
            .await;
        }
        assert_eq!(a.disconnected().await, "it does not read what we write");
    })
    .await;
}

#[tokio::test]
async fn a_crowd_of_silent_connections_makes_room_for_who_shakes_hands() {
    local(async {
        let limits = Limits {
            handshakes: 8,
            ..LIMITS
        };
        let mut a = TestNode::start(1, limits).await;
        let mut crowd = Vec::new();
        for _ in 0..20 {
            crowd.push(TcpStream::connect(a.address).await.unwrap());
        }
        let mut honest = RawPeer::greet(2, &a).await;
        assert_eq!(a.connected().await.0, id(2));
        for stream in &mut crowd[..12] {
            closed(stream).await;
        }
        // One of the last is still waited for.
        let last = crowd.last_mut().unwrap();
        let still = timeout(Duration::from_millis(50), last.read(&mut [0; 1])).await;
        assert!(still.is_err(), "{still:?}");
        unharmed(&mut honest).await;
    })
    .await;
}

#[tokio::test]
async fn strangers_have_only_so_many_places_and_peers_with_channels_come_in_anyhow() {
    local(async {
        let limits = Limits {
            strangers: 2,
            ..LIMITS
        };
        let mut a = TestNode::start(1, limits).await;
        let mut strangers = Vec::new();
        for of in [11, 12] {
            strangers.push(RawPeer::greet(of, &a).await);
            assert_eq!(a.connected().await.0, id(of));
        }
        let mut one_more = RawPeer::greet(13, &a).await;
        assert_eq!(one_more.until_hung_up().await, [WARNING]);
        let _channel = a.attach(id(14), &[1]).await;
        let _known = RawPeer::greet(14, &a).await;
        assert_eq!(a.connected().await.0, id(14));
        drop(strangers.pop());
        a.disconnected().await;
        let _next = RawPeer::greet(13, &a).await;
        assert_eq!(a.connected().await.0, id(13));
    })
    .await;
}

#[tokio::test]
async fn messages_for_lightningd_come_at_a_bounded_rate_and_in_order() {
    local(async {
        let unclaimed = Rate {
            burst: 10,
            per_second: 100,
        };
        let limits = Limits {
            unclaimed,
            unclaimed_queue: 4,
            ..LIMITS
        };
        let mut a = TestNode::start(1, limits).await;
        let mut peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        let begun = Instant::now();
        for n in 0..60 {
            peer.send(&message(9, n)).await;
        }
        for n in 0..60 {
            assert_eq!(a.unclaimed().await, message(9, n));
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(490),
            "{:?}",
            begun.elapsed()
        );
    })
    .await;
}
