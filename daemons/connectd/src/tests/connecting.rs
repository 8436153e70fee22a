//! Connections come, go, and come again.

use std::time::Duration;

use ipc_messages::channeld_connectd::ToChanneld;
use ipc_messages::lightningd_connectd::{ToConnectd, ToLightningd};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio::time::timeout;
use wire::features::{Feature, Features};
use wire::{Body, ChainHash, ChannelId, Warning};

use super::world::*;
use crate::limits::{LIMITS, Limits};

#[tokio::test]
async fn two_nodes_connect_and_learn_each_others_features() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let more = Features::of(
            &[Feature::StaticRemotekey],
            &[Feature::Anchors, Feature::Keysend],
        );
        let theirs = more.as_bytes().to_vec();
        let mut b = TestNode::start_as(2, LIMITS, |start| start.features = theirs.clone()).await;
        a.connect(7, b.id, b.address).await;
        let expected = ToLightningd::Connected {
            peer: b.id,
            address: b.address,
            inbound: false,
            features: theirs,
            requests: vec![7],
        };
        assert_eq!(a.hear().await, expected);
        match b.hear().await {
            ToLightningd::Connected {
                peer,
                inbound: true,
                features: seen,
                requests,
                ..
            } => {
                assert_eq!((peer, requests), (a.id, vec![]));
                assert_eq!(seen, features().as_bytes());
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_connected_is_connected_at_once() {
    local(async {
        let (mut a, mut b) = two(LIMITS).await;
        a.connect(2, b.id, "192.0.2.1:1").await;
        assert_eq!(a.connected().await, (b.id, false, vec![2]));
        b.connect(3, a.id, "192.0.2.1:1").await;
        assert_eq!(b.connected().await, (a.id, true, vec![3]));
    })
    .await;
}

#[tokio::test]
async fn every_address_is_tried_in_order_and_each_failure_has_a_line() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let mut b = TestNode::start(2, LIMITS).await;
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let wrong = id(3);
        let addresses = vec![
            free.to_string(),
            b.address.to_string(),
            "example.onion:1".to_owned(),
        ];
        a.say(ToConnectd::Connect {
            request: 1,
            peer: wrong,
            addresses,
        })
        .await;
        let expected = vec![
            format!("{free}: Connection establishment: Connection refused"),
            format!(
                "{}: Cryptographic handshake: peer closed connection (wrong key?)",
                b.address
            ),
            "example.onion:1: Tor is not supported".to_owned(),
        ];
        assert_eq!(a.failed().await, (1, expected));
        let name = format!("localhost:{}", b.address.port());
        let addresses = vec![free.to_string(), name];
        a.say(ToConnectd::Connect {
            request: 2,
            peer: b.id,
            addresses,
        })
        .await;
        assert_eq!(a.connected().await, (b.id, false, vec![2]));
        assert_eq!(b.connected().await, (a.id, true, vec![]));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_said_at_once() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        a.say(ToConnectd::Connect {
            request: 1,
            peer: id(2),
            addresses: vec![],
        })
        .await;
        let no_address = "Unable to connect, no address known for peer".to_owned();
        assert_eq!(a.failed().await, (1, vec![no_address]));
        a.connect(2, a.id, a.address).await;
        assert_eq!(
            a.failed().await,
            (2, vec!["cannot connect to this node itself".to_owned()])
        );
        let mut offline = TestNode::start_as(3, LIMITS, |start| start.online = false).await;
        offline.connect(3, a.id, a.address).await;
        assert_eq!(
            offline.failed().await,
            (3, vec!["the node is offline".to_owned()])
        );
    })
    .await;
}

#[tokio::test]
async fn two_who_cannot_talk_do_not_connect() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let b = TestNode::start_as(2, LIMITS, |start| start.chain_hash = ChainHash([7; 32])).await;
        a.connect(1, b.id, b.address).await;
        let line = format!("{}: Exchanging init messages: no common chain", b.address);
        assert_eq!(a.failed().await, (1, vec![line]));
        let strict = Features::of(&[Feature::Zeroconf, Feature::ScidAlias], &[]);
        let c = TestNode::start_as(3, LIMITS, |start| {
            start.features = strict.as_bytes().to_vec();
        })
        .await;
        a.connect(2, c.id, c.address).await;
        let why = "Exchanging init messages: feature bit 46 is required, which we do not know";
        assert_eq!(a.failed().await, (2, vec![format!("{}: {why}", c.address)]));
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_with_advice() {
    local(async {
        let (ours, theirs) = ipc_transport::pair().unwrap();
        let a = TestNode::start(1, LIMITS).await;
        drop((ours, theirs));
        let refused = crate::listen::bind(&[a.address]).unwrap_err();
        assert!(refused.contains(&a.address.to_string()), "{refused}");
        assert!(
            refused.contains("Address already in use: another process"),
            "{refused}"
        );
    })
    .await;
}

/// Reads what connectd says of a peer until it has nothing more to say: a ping went both ways.
async fn settle(node: &mut TestNode, peer: wire::NodeId) -> bool {
    let mut inbound = None;
    loop {
        node.say(ToConnectd::Ping {
            request: 99,
            peer,
            len: 1,
            pong_len: 1,
        })
        .await;
        loop {
            match node.hear().await {
                ToLightningd::Connected { inbound: way, .. } => inbound = Some(way),
                ToLightningd::Pong { len: Some(1), .. } => return inbound.unwrap(),
                ToLightningd::Pong { .. } => break,
                ToLightningd::Disconnected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_that_connect_at_the_same_time_keep_the_same_connection() {
    local(async {
        for _ in 0..10 {
            let mut a = TestNode::start(1, LIMITS).await;
            let mut b = TestNode::start(2, LIMITS).await;
            a.connect(1, b.id, b.address).await;
            b.connect(1, a.id, a.address).await;
            let (a_is, b_is) = (settle(&mut a, b.id).await, settle(&mut b, a.id).await);
            assert_ne!(a_is, b_is, "one of them has it from the other");
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let mut channel = a.attach(id(2), &[1]).await;
        let mut old = RawPeer::greet(2, &a).await;
        assert_eq!(a.connected().await, (id(2), true, vec![]));
        channel.connected().await;
        let first = channel.connection;
        let mut new = RawPeer::greet(2, &a).await;
        assert_eq!(a.disconnected().await, "replaced by a newer connection");
        assert_eq!(a.connected().await, (id(2), true, vec![]));
        assert_eq!(channel.hear().await, ToChanneld::Disconnected);
        channel.connected().await;
        assert_ne!(channel.connection, first);
        assert!(old.until_hung_up().await.is_empty());
        // What was meant for the old one is not said on the new one.
        let late = TestChannel {
            connection: first,
            ..channel
        };
        late.send(message(1, 1)).await;
        let current = TestChannel {
            connection: new_number(first),
            ..late
        };
        current.send(message(1, 2)).await;
        assert_eq!(new.receive().await, Some(message(1, 2)));
    })
    .await;
}

fn new_number(
    old: ipc_messages::channeld_connectd::Connection,
) -> ipc_messages::channeld_connectd::Connection {
    ipc_messages::channeld_connectd::Connection(old.0 + 1)
}

#[tokio::test]
async fn what_is_said_before_a_disconnect_still_arrives() {
    local(async {
        let mut a = TestNode::start(1, LIMITS).await;
        let mut peer = RawPeer::greet(2, &a).await;
        a.connected().await;
        // Unread bytes of the peer's must not make the system throw ours away.
        for n in 0..100 {
            peer.send(&message(9, n)).await;
        }
        let warning = Warning {
            channel_id: ChannelId::ALL,
            data: b"bye".to_vec(),
        }
        .to_bytes();
        a.say(ToConnectd::Send {
            peer: id(2),
            data: warning.clone(),
        })
        .await;
        a.say(ToConnectd::Disconnect {
            peer: id(2),
            reason: "asked to".to_owned(),
        })
        .await;
        assert_eq!(peer.receive().await, Some(warning));
        assert_eq!(peer.receive().await, None);
    })
    .await;
}

#[tokio::test]
async fn stop_says_what_waits_and_ends() {
    local(async {
        let (mut a, mut b) = two(LIMITS).await;
        a.say(ToConnectd::Send {
            peer: b.id,
            data: message(9, 1),
        })
        .await;
        a.say(ToConnectd::Stop).await;
        assert_eq!(b.unclaimed().await, message(9, 1));
        assert_eq!(b.disconnected().await, "peer closed connection");
        a.task.await.unwrap().unwrap();
        assert_eq!(a.from.recv().await.unwrap(), {
            let reason = "the node stops".to_owned();
            ToLightningd::Disconnected { peer: b.id, reason }
        });
        // The closed edge does the same.
        let TestNode { to, from, task, .. } = b;
        drop((to, from));
        task.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn nobody_is_let_in_or_dialled_before_it_opens() {
    local(async {
        let mut a = TestNode::start_shut(1, LIMITS, |_| {}).await;
        let mut b = TestNode::start(2, LIMITS).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        a.connect(1, id(3), listener.local_addr().unwrap()).await;
        b.connect(2, a.id, a.address).await;
        let mut channel = a.attach(b.id, &[1]).await;
        let quiet = Duration::from_millis(50);
        assert!(timeout(quiet, listener.accept()).await.is_err());
        assert!(timeout(quiet, b.hear()).await.is_err());
        a.say(ToConnectd::Open).await;
        let _dialled = listener.accept().await.unwrap();
        assert_eq!(b.connected().await, (a.id, false, vec![2]));
        b.say(ToConnectd::Send {
            peer: a.id,
            data: message(1, 5),
        })
        .await;
        assert_eq!(a.connected().await, (b.id, true, vec![]));
        channel.connected().await;
        assert_eq!(channel.message().await, message(1, 5));
    })
    .await;
}

#[tokio::test]
async fn the_loss_of_hsmd_and_nonsense_of_lightningd_end_it_with_an_error() {
    local(async {
        let a = TestNode::start(1, LIMITS).await;
        a.say(ToConnectd::Attach {
            peer: id(2),
            channel_ids: vec![],
        })
        .await;
        let error = a.task.await.unwrap().unwrap_err();
        assert!(
            error.to_string().contains("lacks a file descriptor"),
            "{error}"
        );
        let b = TestNode::start(2, LIMITS).await;
        b.hsmd.abort();
        let error = b.task.await.unwrap().unwrap_err().to_string();
        assert_eq!(error, "hsmd's edge: the other end closed the edge");
    })
    .await;
}

#[tokio::test]
async fn a_kept_peer_is_dialled_again_after_growing_pauses() {
    local(async {
        let limits = Limits {
            backoff_min: Duration::from_millis(4),
            backoff_max: Duration::from_millis(64),
            ..LIMITS
        };
        let mut a = TestNode::start(1, limits).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = vec![listener.local_addr().unwrap().to_string()];
        a.say(ToConnectd::Keep {
            peer: id(2),
            addresses,
            keep: true,
        })
        .await;
        let mut last: Option<Instant> = None;
        for expected in [0.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0] {
            drop(listener.accept().await.unwrap());
            let pause = last.map_or(0.0, |last| last.elapsed().as_secs_f64() * 1000.0);
            // A little less, since it is counted from when we saw the last.
            assert!(pause >= 0.7 * expected - 2.0, "{pause} for {expected}");
            last = Some(Instant::now());
        }
        a.say(ToConnectd::Keep {
            peer: id(2),
            addresses: vec![],
            keep: false,
        })
        .await;
        a.say(ToConnectd::Ping {
            request: 1,
            peer: id(2),
            len: 0,
            pong_len: 0,
        })
        .await;
        assert_eq!(
            a.hear().await,
            ToLightningd::Pong {
                request: 1,
                len: None
            }
        );
        // One may be under way.
        let two_more = async {
            drop(listener.accept().await.unwrap());
            listener.accept().await.unwrap()
        };
        let more = tokio::time::timeout(Duration::from_millis(300), two_more).await;
        assert!(more.is_err(), "it goes on");
    })
    .await;
}

#[tokio::test]
async fn a_kept_peer_comes_back_by_itself_and_its_channels_are_told() {
    local(async {
        let limits = Limits {
            backoff_min: Duration::from_millis(10),
            ..LIMITS
        };
        let (mut a, mut b) = two(limits).await;
        let addresses = vec![b.address.to_string()];
        a.say(ToConnectd::Keep {
            peer: b.id,
            addresses,
            keep: true,
        })
        .await;
        let mut channel = a.attach(b.id, &[1]).await;
        channel.connected().await;
        for _ in 0..5 {
            b.say(ToConnectd::Disconnect {
                peer: a.id,
                reason: "for a while".to_owned(),
            })
            .await;
            assert_eq!(b.disconnected().await, "for a while");
            assert_eq!(a.disconnected().await, "peer closed connection");
            assert_eq!(channel.hear().await, ToChanneld::Disconnected);
            assert_eq!(a.connected().await, (b.id, false, vec![]));
            assert_eq!(b.connected().await, (a.id, true, vec![]));
            assert_eq!(channel.connected().await, features());
        }
    })
    .await;
}

#[tokio::test]
async fn keep_said_of_a_connected_peer_begins_the_pauses_anew() {
    local(async {
        let limits = Limits {
            backoff_min: Duration::from_millis(5),
            ..LIMITS
        };
        let (mut a, mut b) = two(limits).await;
        let addresses = vec![b.address.to_string()];
        // Doubled so often, the last pause alone would be five minutes.
        for _ in 0..18 {
            let (peer, addresses, keep) = (b.id, addresses.clone(), true);
            a.say(ToConnectd::Keep {
                peer,
                addresses,
                keep,
            })
            .await;
            let (peer, reason) = (b.id, "again".to_owned());
            a.say(ToConnectd::Disconnect { peer, reason }).await;
            assert_eq!(a.disconnected().await, "again");
            b.disconnected().await;
            a.connected().await;
            b.connected().await;
        }
    })
    .await;
}
