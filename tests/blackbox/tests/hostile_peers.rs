//! Peers that send garbage, half a message, or nothing: it costs them their connection, and nobody else
//! anything.

use blackbox::node::settled;
use blackbox::{Network, Node, until};
use rand::RngCore;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const CHANNEL: u64 = 1_000_000;

fn dial(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", node.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    stream
}

/// Waits until the node has closed this connection.
fn closed(mut stream: TcpStream, what: &str) {
    let limit = Duration::from_secs(180);
    blackbox::wait::until_within(
        limit,
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
