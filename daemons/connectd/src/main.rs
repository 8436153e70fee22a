//! connectd speaks with peers.
//!
//! Holds: the listening and the peers' TCP sockets, the keys of the encrypted connections (BOLT 8),
//! one socket for each channel, whose messages it passes on as they are. Talks to: lightningd, hsmd
//! (as NOISE: key steps of handshakes), each channel's channeld. Never: the node's key, the disk, a
//! name service (lightningd is asked), the chain backend's port, a channel's state, the meaning of a message that belongs to a channel.
//!
//! If it dies: every peer is disconnected, lightningd starts a new one and every channel gets a new
//! socket to it. Nothing is lost: what was under way is said again after channel_reestablish.
//!
//! A peer that sends garbage, too much or nothing at all costs its own connection and no other
//! (`limits` says what is too much). It ends when lightningd says Stop or closes the edge.

use std::process::ExitCode;

use ipc_messages::edges::{HsmNoise, LightningdConnectd};
use ipc_messages::hello;
use ipc_transport::aio::{LowerConn, UpperConn};
use limits::LIMITS;

mod backoff;
mod channels;
mod connection;
mod crowd;
mod dial;
mod frames;
mod greet;
mod handshake;
mod hsm;
mod init;
mod limits;
mod listen;
mod names;
mod node;
mod peer;
mod pings;
mod serve;
mod sort;
#[cfg(test)]
mod tests;
mod up;

fn main() -> ExitCode {
    subd::run(subd::Role::Connectd, run)
}

fn run(mut fds: subd::Fds) -> anyhow::Result<()> {
    let (lightningd, hsmd) = (fds.take("lightningd")?, fds.take("hsmd")?);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let lightningd =
                LowerConn::<LightningdConnectd>::new(lightningd, hello::<LightningdConnectd>())?;
            let hsmd = UpperConn::<HsmNoise>::new(hsmd, hello::<HsmNoise>())?;
            Ok(serve::serve(lightningd, hsmd, LIMITS).await?)
        })
}
