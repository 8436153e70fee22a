//! From the descriptors to a running core.

use std::time::Duration;

use channel::action::{Action, Notice};
use channel::channel::Channel;
use ipc_messages::channeld_connectd::{Connection, ToChanneld as ToShell};
use ipc_messages::edges::{ConnectdChanneld, HsmChan, LightningdChanneld};
use ipc_messages::hello;
use ipc_messages::lightningd_channeld::{Begin, Start, ToChanneld, ToLightningd};
use ipc_transport::blocking::{LowerConn, UpperConn};
use wire::{ChannelId, Message};

use crate::shell::Shell;

/// connectd says at once whether the peer is connected; this long it may take to say it.
const CONNECTED: Duration = Duration::from_secs(10);

/// Runs until lightningd says Stop or is gone.
///
/// # Errors
/// A bad frame of lightningd or hsmd, or the loss of either.
pub fn serve(mut fds: subd::Fds) -> anyhow::Result<()> {
    let mut node = LowerConn::<LightningdChanneld>::new(
        fds.take("lightningd")?,
        hello::<LightningdChanneld>(),
    )?;
    let hsm = UpperConn::<HsmChan>::new(fds.take("hsmd")?, hello::<HsmChan>())?;
    let mut peer =
        LowerConn::<ConnectdChanneld>::new(fds.take("connectd")?, hello::<ConnectdChanneld>())?;
    let start = match node.recv() {
        Ok(ToChanneld::Start(start)) => *start,
        Ok(_) => anyhow::bail!("lightningd's first message is not Start"),
        Err(error) if error.is_closed() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let height = start.height;
    // An opening speaks first, so it needs its connection; a stored channel waits for one.
    let connection = match start.how {
        Begin::Open { .. } | Begin::Accept { .. } => match connection(&mut peer) {
            Some(connection) => Some(connection),
            None => return gone(&mut node),
        },
        Begin::Resume { .. } => None,
    };
    let (core, claimed, actions) = begin(start)?;
    let mut shell = Shell::new(node, hsm, peer, core, claimed, connection);
    shell.run(actions, height)
}

/// The peer's connection, if it still is connected.
fn connection(peer: &mut LowerConn<ConnectdChanneld>) -> Option<Connection> {
    match peer.recv_timeout(CONNECTED) {
        Ok(Some(ToShell::Connected {
            connection,
            features: _,
        })) => Some(connection),
        Ok(Some(ToShell::Disconnected | ToShell::Message { .. }) | None) | Err(_) => None,
    }
}

fn gone(node: &mut LowerConn<LightningdChanneld>) -> anyhow::Result<()> {
    let reason = "the peer is not connected any more".to_owned();
    node.send(&ToLightningd::Notice(Box::new(Notice::OpeningFailed {
        reason,
    })))?;
    node.flush()?;
    // lightningd says Stop, or closes.
    while !matches!(node.recv(), Ok(ToChanneld::Stop) | Err(_)) {}
    Ok(())
}

fn begin(start: Start) -> anyhow::Result<(Core, ChannelId, Vec<Action>)> {
    Ok(match start.how {
        Begin::Open { identity, request } => {
            let temporary = request.temporary_channel_id;
            let (core, actions) = Channel::open(identity, start.policy, request);
            (Core::Channel(Box::new(core)), temporary, actions)
        }
        Begin::Accept {
            identity,
            open_channel,
        } => {
            let Message::OpenChannel(open) = *open_channel else {
                anyhow::bail!("lightningd's Accept carries no open_channel");
            };
            let temporary = open.temporary_channel_id;
            match Channel::accept(identity, start.policy, open) {
                Ok((core, actions)) => (Core::Channel(Box::new(core)), temporary, actions),
                Err(fault) => (Core::Refused(fault), temporary, Vec::new()),
            }
        }
        Begin::Resume { live, htlcs } => {
            let id = live.channel_id;
            let (core, actions) = Channel::resume(*live, htlcs, start.policy);
            (Core::Channel(Box::new(core)), id, actions)
        }
    })
}

/// The core, or why there will be none.
pub enum Core {
    Channel(Box<Channel>),
    /// The peer's open_channel was wrong.
    Refused(channel::action::PeerFault),
}
