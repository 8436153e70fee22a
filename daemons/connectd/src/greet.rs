//! From the end of the handshake to the peer's connection: init each way.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;
use wire::NodeId;
use wire::noise::{NoiseError, Transport};

use crate::connection::{self, warning};
use crate::crowd::Seat;
use crate::dial::words;
use crate::frames::{Incoming, Outgoing};
use crate::init::{self, Unfit};
use crate::node::{Arrival, NoPlace, Node};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    #[error("{}", words(.0))]
    Io(#[from] io::Error),
    #[error("peer closed connection")]
    Closed,
    #[error("{0}")]
    Noise(#[from] NoiseError),
    #[error("{0}")]
    Unfit(#[from] Unfit),
    #[error("init took too long")]
    Timeout,
    #[error("too many peers")]
    Full,
}

/// Both sides know each other.
pub struct Met {
    pub stream: TcpStream,
    pub transport: Transport,
    pub peer: NodeId,
    pub address: SocketAddr,
    /// Its place, if it came by itself.
    pub seat: Option<Seat>,
}

/// Exchanges init; then the connection runs by itself, or another with this peer stays.
///
/// # Errors
/// It is closed; the peer is told why if it is at fault.
pub async fn greet(node: &Rc<Node>, met: Met) -> Result<(), GreetError> {
    let Met {
        mut stream,
        transport,
        peer,
        address,
        seat,
    } = met;
    let (encryptor, decryptor) = transport.split();
    let (mut out, mut incoming) = (Outgoing::new(encryptor), Incoming::new(decryptor));
    let within = node.limits.init_within;
    let greeted = timeout(
        within,
        exchange(
            node,
            &stream,
            &mut out,
            &mut incoming,
            address,
            seat.is_some(),
        ),
    );
    let features = match greeted.await.unwrap_or(Err(GreetError::Timeout)) {
        Ok(features) => features,
        Err(error) => {
            if let GreetError::Unfit(unfit) = &error {
                tracing::warn!(%peer, "{unfit}; closing the connection");
                part(node, out, &mut stream, &unfit.to_string()).await;
            }
            return Err(error);
        }
    };
    if let Some(seat) = &seat {
        seat.greeted();
    }
    let features = features.as_bytes().to_vec();
    match node.enter(Arrival {
        peer,
        address,
        inbound: seat.is_some(),
        features,
        out,
    }) {
        Ok(conn) => {
            spawn_local(connection::run(
                Rc::clone(node),
                conn,
                stream,
                incoming,
                seat,
            ));
            Ok(())
        }
        Err(NoPlace::Tie) => Ok(()),
        Err(NoPlace::Full(out)) => {
            part(node, *out, &mut stream, "too many peers").await;
            Err(GreetError::Full)
        }
    }
}

async fn exchange(
    node: &Node,
    stream: &TcpStream,
    out: &mut Outgoing,
    incoming: &mut Incoming,
    address: SocketAddr,
    inbound: bool,
) -> Result<wire::Features, GreetError> {
    // BOLT 1, init, sender: it is the first message of every connection.
    out.push(&init::ours(&node.ours, inbound.then_some(address)))?;
    while !out.write(stream)? {
        stream.writable().await?;
    }
    loop {
        if let Some(first) = incoming.pop()? {
            return Ok(init::check(&node.ours, first)?);
        }
        if incoming.fill(stream).await? == 0 {
            return Err(GreetError::Closed);
        }
    }
}

/// Says why and closes.
async fn part(node: &Node, mut out: Outgoing, stream: &mut TcpStream, why: &str) {
    if out.push(&warning(why)).is_ok() {
        let _ = timeout(
            node.limits.flush_within,
            connection::flush(|stream| out.write(stream), stream),
        )
        .await;
    }
}
