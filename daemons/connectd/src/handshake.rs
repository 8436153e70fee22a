//! The handshake of BOLT 8 over TCP. The step that needs the node's key is hsmd's.

use std::io;

use rand::RngCore;
use secp256k1::SecretKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::NodeId;
use wire::noise::{
    ACT_ONE_LEN, ACT_THREE_LEN, ACT_TWO_LEN, Initiator, NoiseError, Responder, Transport,
};
use zeroize::Zeroizing;

use crate::hsm::{Hsm, NoKeys};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("{}", crate::dial::words(.0))]
    Io(#[from] io::Error),
    /// The words of Core Lightning: an initiator that names another key is hung up on.
    #[error("peer closed connection (wrong key?)")]
    Closed,
    #[error("{0}")]
    Noise(#[from] NoiseError),
    #[error("{0}")]
    NoKeys(#[from] NoKeys),
}

/// Begins a connection to `remote`.
///
/// # Errors
/// The connection is of no use any more.
pub async fn initiate(
    stream: &mut TcpStream,
    hsm: &Hsm,
    ours: NodeId,
    remote: NodeId,
) -> Result<Transport, HandshakeError> {
    let (initiator, act_one) = Initiator::new(ephemeral(), remote.0)?;
    stream.write_all(&act_one).await?;
    let act_two = read::<ACT_TWO_LEN>(stream).await?;
    let (initiator, step) = initiator.act2(&act_two)?;
    let keys = hsm.step(step).await?;
    let (act_three, transport) = initiator.finish(keys, ours.0)?;
    stream.write_all(&act_three).await?;
    Ok(transport)
}

/// Answers whoever has connected, and finds out who it is.
///
/// # Errors
/// The connection is of no use any more.
pub async fn respond(
    stream: &mut TcpStream,
    hsm: &Hsm,
    ours: NodeId,
) -> Result<(NodeId, Transport), HandshakeError> {
    let act_one = read::<ACT_ONE_LEN>(stream).await?;
    let (responder, step) = Responder::new(ephemeral(), ours.0).act1(&act_one)?;
    let keys = hsm.step(step).await?;
    let (act_two, responder) = responder.finish(keys)?;
    stream.write_all(&act_two).await?;
    let act_three = read::<ACT_THREE_LEN>(stream).await?;
    Ok(responder.act3(&act_three)?)
}

async fn read<const LEN: usize>(stream: &mut TcpStream) -> Result<[u8; LEN], HandshakeError> {
    let mut act = [0; LEN];
    match stream.read_exact(&mut act).await {
        Ok(_) => Ok(act),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            Err(HandshakeError::Closed)
        }
        Err(error) => Err(error.into()),
    }
}

/// A key for one handshake.
fn ephemeral() -> SecretKey {
    let mut bytes = Zeroizing::new([0; 32]);
    loop {
        rand::thread_rng().fill_bytes(bytes.as_mut());
        // Fails for about one in 2^128.
        if let Ok(key) = SecretKey::from_slice(bytes.as_ref()) {
            return key;
        }
    }
}
