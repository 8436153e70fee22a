//! A socket that lightningd has minted: its role, for CHAN its channel, and nothing else that it may do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hsm::Hsm;
use hsm_files::audit::digest;
use hsm_messages::Role;
use hsm_messages::edges::{
    HsmBackup, HsmChan, HsmGossip, HsmInvoice, HsmNoise, HsmOnchain, HsmOperator, HsmPay, HsmRpc,
    HsmTip, HsmWallet,
};
use hsm_messages::hello;
use ipc_transport::blocking::LowerConn;
use ipc_transport::{Conn, Edge, Error, Limits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::ChannelDbid;

use crate::answer::Answer;
use crate::custody::Custody;
use crate::listed::{Reply, Request};
use crate::notes::{Asked, Notes};
use crate::{answer, operator};

/// Most requests of one socket in one round.
pub const TURN: usize = 16;
/// The longest request, and what may wait for an end that does not read, in bytes. The longest
/// honest ones are 966 changes and 483 signatures, below 200 kB.
pub const LIMITS: Limits = Limits {
    frame: 1 << 20,
    out: 1 << 20,
};

/// Who may ask what.
pub enum Port {
    Noise(LowerConn<HsmNoise>),
    Chan(ChannelDbid, LowerConn<HsmChan>),
    Onchain(ChannelDbid, LowerConn<HsmOnchain>),
    Wallet(LowerConn<HsmWallet>),
    Gossip(LowerConn<HsmGossip>),
    Invoice(LowerConn<HsmInvoice>),
    Rpc(LowerConn<HsmRpc>),
    Tip(LowerConn<HsmTip>),
    Operator(LowerConn<HsmOperator>),
    Pay(LowerConn<HsmPay>),
    Backup(LowerConn<HsmBackup>),
}

/// The same with the connection of whichever port it is.
macro_rules! on_each {
    ($port:expr, $conn:ident => $do:expr) => {
        match $port {
            Port::Noise($conn) => $do,
            Port::Chan(_, $conn) => $do,
            Port::Onchain(_, $conn) => $do,
            Port::Wallet($conn) => $do,
            Port::Gossip($conn) => $do,
            Port::Invoice($conn) => $do,
            Port::Rpc($conn) => $do,
            Port::Tip($conn) => $do,
            Port::Operator($conn) => $do,
            Port::Pay($conn) => $do,
            Port::Backup($conn) => $do,
        }
    };
}

/// A role with the channel that it is for, if it is for one: there is one socket for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    Node(Role),
    Channel(Role, ChannelDbid),
    /// One of the owner's connections, by its number.
    Operator(u64),
}

impl Seat {
    /// `None` where a role that needs a channel has none, or the other way round.
    pub fn new(role: Role, channel: Option<ChannelDbid>) -> Option<Seat> {
        let is_for_one = matches!(role, Role::Chan | Role::Onchain);
        match channel {
            Some(channel) => is_for_one.then_some(Seat::Channel(role, channel)),
            None => (!is_for_one).then_some(Seat::Node(role)),
        }
    }
}

/// Whether a socket may have more that was read and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Done,
    More,
}

impl Port {
    /// # Errors
    /// The other end is closed.
    pub fn new(seat: Seat, fd: OwnedFd) -> Result<Port, Error> {
        Ok(match seat {
            Seat::Channel(Role::Onchain, channel) => {
                Port::Onchain(channel, conn::<HsmOnchain>(fd)?)
            }
            Seat::Channel(_, channel) => Port::Chan(channel, conn::<HsmChan>(fd)?),
            Seat::Node(Role::Noise) => Port::Noise(conn::<HsmNoise>(fd)?),
            Seat::Node(Role::Wallet) => Port::Wallet(conn::<HsmWallet>(fd)?),
            Seat::Node(Role::Gossip) => Port::Gossip(conn::<HsmGossip>(fd)?),
            Seat::Node(Role::Invoice) => Port::Invoice(conn::<HsmInvoice>(fd)?),
            Seat::Node(Role::Rpc) => Port::Rpc(conn::<HsmRpc>(fd)?),
            Seat::Node(Role::Tip) => Port::Tip(conn::<HsmTip>(fd)?),
            Seat::Operator(_) => Port::Operator(conn_within::<HsmOperator>(fd, operator::LIMITS)?),
            Seat::Node(Role::Pay) => Port::Pay(conn::<HsmPay>(fd)?),
            Seat::Node(Role::Backup) => Port::Backup(conn::<HsmBackup>(fd)?),
            // Seat::new makes none.
            Seat::Node(Role::Chan | Role::Onchain) => return Err(Error::Closed),
        })
    }

    /// Answers what was asked, up to a turn's number, and notes it. The
    /// replies stay here until [`Port::flush`].
    ///
    /// # Errors
    /// The end is closed, at fault, or does not read.
    pub fn turn(&mut self, custody: &mut Custody, notes: &mut Notes) -> Result<Turn, Error> {
        match self {
            Port::Noise(conn) => turn(conn, None, custody, notes, with_keys(answer::noise)),
            Port::Chan(channel, conn) => {
                let dbid = *channel;
                let answer = with_keys(|hsm, request| hsm.chan(dbid, request));
                turn(conn, Some(dbid), custody, notes, answer)
            }
            Port::Onchain(channel, conn) => {
                let dbid = *channel;
                let answer = with_keys(|hsm, request| hsm.onchain(dbid, request));
                turn(conn, Some(dbid), custody, notes, answer)
            }
            Port::Wallet(conn) => turn(conn, None, custody, notes, with_keys(answer::wallet)),
            Port::Gossip(conn) => turn(conn, None, custody, notes, with_keys(answer::gossip)),
            Port::Invoice(conn) => turn(conn, None, custody, notes, with_keys(answer::invoice)),
            Port::Operator(conn) => turn(conn, None, custody, notes, |asking, request| {
                operator::answer(asking.custody, asking.notes, request, asking.fd)
            }),
            Port::Pay(conn) => turn(conn, None, custody, notes, with_keys(answer::pay)),
            Port::Rpc(conn) => turn(conn, None, custody, notes, with_keys(answer::rpc)),
            Port::Backup(conn) => turn(conn, None, custody, notes, with_keys(answer::backup)),
            Port::Tip(conn) => turn(conn, None, custody, notes, with_keys(answer::tip)),
        }
    }

    /// Writes what the socket takes. Says whether nothing is left.
    ///
    /// # Errors
    /// Closed.
    pub fn flush(&mut self) -> Result<bool, Error> {
        on_each!(self, conn => conn.flush_nonblocking())
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on_each!(self, conn => conn.as_fd())
    }
}

fn conn<E: Edge>(fd: OwnedFd) -> Result<LowerConn<E>, Error> {
    conn_within::<E>(fd, LIMITS)
}

fn conn_within<E: Edge>(fd: OwnedFd, limits: Limits) -> Result<LowerConn<E>, Error> {
    Conn::with_limits(fd, hello::<E>(), limits)
}

/// What a request is answered with.
struct Asking<'a> {
    custody: &'a mut Custody,
    notes: &'a Notes,
    /// A descriptor that came along.
    fd: &'a mut dyn FnMut() -> Result<OwnedFd, Error>,
}

/// Of a role that asks of the keys alone.
fn with_keys<Rx, Tx>(
    answer: impl Fn(&mut Hsm, Rx) -> Answer<Tx>,
) -> impl Fn(Asking<'_>, Rx) -> Answer<Tx> {
    move |asking, request| answer(asking.custody.open_hsm()?, request)
}

fn turn<Tx: Serialize + Reply, Rx: DeserializeOwned + Request>(
    conn: &mut Conn<Tx, Rx>,
    channel: Option<ChannelDbid>,
    custody: &mut Custody,
    notes: &mut Notes,
    answer: impl Fn(Asking<'_>, Rx) -> Answer<Tx>,
) -> Result<Turn, Error> {
    conn.fill()?;
    for _ in 0..TURN {
        let mut bytes = [0; 32];
        let Some(request) = conn.recv_buffered_seen(|request| bytes = digest(request))? else {
            return Ok(Turn::Done);
        };
        let channel = channel.or_else(|| request.channel());
        let asked = Asked::new(&request, channel, bytes);
        let allowed = asked.msg.check(Rx::ROLE, custody.hsm().as_deref(), channel);
        let asking = Asking {
            custody,
            notes,
            fd: &mut || conn.take_fd(),
        };
        let reply = match allowed.and_then(|()| answer(asking, request)) {
            Ok(reply) => reply,
            Err(refused) => Tx::refuse(answer::refused(Rx::ROLE.name(), channel, &refused)),
        };
        let mut bytes = [0; 32];
        let queued = conn.queue_seen(&reply, Vec::new(), |reply| bytes = digest(reply));
        notes.note(asked, reply.decision(), bytes);
        queued?;
    }
    Ok(Turn::More)
}
