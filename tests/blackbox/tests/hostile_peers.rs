//! Peers that send garbage, half a message, or nothing: it costs them their connection, and nobody else
//! anything.

use blackbox::node::settled;
use blackbox::raw_peer::RawPeer;
use blackbox::{Network, Node, until};
use rand::RngCore;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const CHANNEL: u64 = 1_000_000;
const LONG: Duration = Duration::from_secs(180);

fn dial(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", node.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    stream
}

/// Waits until the node has closed this connection.
fn closed(mut stream: TcpStream, what: &str) {
    blackbox::wait::until_within(
        LONG,
        &format!("the node hangs up on {what}"),
        || match stream.read(&mut [0; 1024]) {
            Ok(0) => Ok(Some(())),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(_) => Ok(Some(())),
        },
    )
    .unwrap();
}

/// Alice and Bob still trust each other and can pay.
fn unharmed(network: &Network, label: &str, processes: usize) {
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let invoice = bob.invoice(1_000, label).unwrap();
    alice.pay(&invoice.bolt11).unwrap();
    settled(alice, bob).unwrap();
    until("bob has the processes he had", || {
        Ok((bob.processes().len() == processes).then_some(()))
    })
    .unwrap();
}

#[test]
fn garbage_costs_only_its_own_connection() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let bob = &network.nodes[1];
    let processes = bob.processes().len();
    let connectd = bob.processes_in_role("connectd")[0].pid;
    for (round, length) in [1_usize, 49, 50, 51, 66, 4096, 100_000]
        .into_iter()
        .enumerate()
    {
        let mut garbage = vec![0; length];
        rand::thread_rng().fill_bytes(&mut garbage);
        let mut stream = dial(bob);
        // The node may hang up before it has all.
        let _ = stream.write_all(&garbage);
        if length >= 50 {
            closed(stream, "garbage");
        }
        unharmed(&network, &format!("garbage-{round}"), processes);
    }
    assert_eq!(
        bob.processes_in_role("connectd")[0].pid,
        connectd,
        "connectd is still the same process"
    );
}

#[test]
fn a_half_handshake_and_silence_are_hung_up_on() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let bob = &network.nodes[1];
    let processes = bob.processes().len();
    let silent = dial(bob);
    let mut half = dial(bob);
    half.write_all(&[0; 25]).unwrap();
    unharmed(&network, "meanwhile", processes);
    closed(silent, "silence");
    closed(half, "half a handshake");
    unharmed(&network, "afterwards", processes);
}

#[test]
fn hundreds_of_silent_connections_leave_room_for_real_peers() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let bob = &network.nodes[1];
    let processes = bob.processes().len();
    let crowd: Vec<Option<TcpStream>> = (0..300)
        .map(|_| TcpStream::connect(("127.0.0.1", bob.port())).ok())
        .collect();
    unharmed(&network, "in a crowd", processes);
    drop(crowd);
    unharmed(&network, "after the crowd", processes);
}

/// Connects as a stranger, says this after the greeting, and expects to be hung up on.
fn said(network: &Network, what: &str, message: &[u8]) {
    let bob = &network.nodes[1];
    let mut peer = RawPeer::connect_and_greet(bob).unwrap();
    // The node may hang up before it has all.
    let _ = peer.send(message);
    peer.until_hung_up(LONG)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn messages_that_no_peer_may_send_cost_only_their_connection() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let processes = network.nodes[1].processes().len();
    let mut longest = vec![0xc0, 0x00];
    longest.resize(65_535, 0x55);
    let cases: [(&str, &[u8]); 6] = [
        ("an unknown even message", &[0xc0, 0x00, 1, 2, 3]),
        ("an unknown even message of the greatest length", &longest),
        ("an empty message", &[]),
        ("half a type", &[0]),
        ("an open_channel that ends early", &[0, 32, 1, 2, 3, 4]),
        ("a ping that ends early", &[0, 18, 0]),
    ];
    for (number, (what, message)) in cases.into_iter().enumerate() {
        said(&network, what, message);
        unharmed(&network, &format!("said-{number}"), processes);
    }
}

#[test]
fn a_message_before_init_is_hung_up_on() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let processes = network.nodes[1].processes().len();
    let mut peer = RawPeer::connect(&network.nodes[1]).unwrap();
    peer.send(&[0, 18, 0, 4, 0, 0]).unwrap();
    let types = peer.until_hung_up(LONG).unwrap();
    assert!(
        !types.contains(&19),
        "it answered a ping before our init: {types:?}"
    );
    unharmed(&network, "afterwards", processes);
}

#[test]
fn an_unknown_odd_message_is_ignored_and_a_ping_is_answered() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let mut peer = RawPeer::connect_and_greet(&network.nodes[1]).unwrap();
    peer.send(&[0xc0, 0x01, 1, 2, 3]).unwrap();
    // BOLT 1: ping, which asks for 4 bytes, and its pong.
    peer.send(&[0, 18, 0, 4, 0, 0]).unwrap();
    loop {
        let message = peer.receive().unwrap().expect("it does not hang up");
        if message[..2] == [0, 19] {
            assert_eq!(message, [0, 19, 0, 4, 0, 0, 0, 0]);
            break;
        }
    }
}

#[test]
fn half_a_message_and_a_changed_one_cost_only_their_connection() {
    let (network, _) = Network::pair(CHANNEL).unwrap();
    let bob = &network.nodes[1];
    let processes = bob.processes().len();
    let mut half = RawPeer::connect_and_greet(bob).unwrap();
    let sealed = half.seal(&[0, 18, 0, 4, 0, 0]).unwrap();
    half.send_bytes(&sealed[..sealed.len() / 2]).unwrap();
    let mut changed = RawPeer::connect_and_greet(bob).unwrap();
    let mut sealed = changed.seal(&[0, 18, 0, 4, 0, 0]).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    changed.send_bytes(&sealed).unwrap();
    changed.until_hung_up(LONG).unwrap();
    unharmed(&network, "meanwhile", processes);
    drop(half);
    unharmed(&network, "afterwards", processes);
}
