//! Connections that come by themselves.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::crowd::{Crowd, Seat};
use crate::greet::{Met, greet};
use crate::handshake;
use crate::node::Node;

/// How many connections the system holds for us.
const BACKLOG: u32 = 1024;
/// How long to wait when the system has no room for one more.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on all of these.
///
/// # Errors
/// Which one is impossible, and what can be done.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    addresses
        .iter()
        .map(|address| {
            // Where both kinds are asked for, each has a socket of its own.
            let both = addresses.iter().any(SocketAddr::is_ipv4);
            bind_one(*address, both).map_err(|error| refusal(*address, &error))
        })
        .collect()
}

fn bind_one(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() && v6_only {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    // A connection of the process before may still linger on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn refusal(address: SocketAddr, error: &io::Error) -> String {
    let why = crate::dial::words(error);
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; choose another --addr or --bind-addr"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this host has that address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need rights that this process lacks",
        _ => "choose another --addr or --bind-addr",
    };
    format!("cannot listen on {address}: {why}: {advice}")
}

/// Accepts connections from when it may for as long as the node runs; the system holds those that come earlier.
pub async fn accept(node: Rc<Node>, listener: TcpListener) {
    node.open.wait().await;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => come_in(&node, stream, address),
            Err(error) => {
                // It is the connection's fault, or no descriptor is left; the next may do.
                tracing::debug!("accept: {error}");
                sleep(PAUSE).await;
            }
        }
        tokio::task::coop::consume_budget().await;
    }
}

fn come_in(node: &Rc<Node>, stream: TcpStream, address: SocketAddr) {
    let Some(seat) = Crowd::admit(&node.crowd, address.ip(), &node.limits) else {
        return tracing::debug!("too many connections from {}", address.ip());
    };
    let handshake = seat.handshake();
    let task = spawn_local(meet(Rc::clone(node), stream, address, seat));
    Crowd::begin(&node.crowd, handshake, task.abort_handle(), &node.limits);
}

async fn meet(node: Rc<Node>, mut stream: TcpStream, address: SocketAddr, seat: Seat) {
    let _ = stream.set_nodelay(true);
    let shake = handshake::respond(&mut stream, &node.hsm, node.id);
    let (peer, transport) = match timeout(node.limits.handshake_within, shake).await {
        Ok(Ok(met)) => met,
        Ok(Err(error)) => return tracing::debug!("handshake with {address}: {error}"),
        Err(_) => return tracing::debug!("handshake with {address}: timed out"),
    };
    if peer == node.id {
        return tracing::debug!("{address} says that it is this node");
    }
    let met = Met {
        stream,
        transport,
        peer,
        address,
        seat: Some(seat),
    };
    if let Err(error) = greet(&node, met).await {
        tracing::debug!(%peer, "init with {address}: {error}");
    }
}
