//! A socket that lightningd has minted: its role, for CHAN its channel, and nothing else that it may do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hsm::Hsm;
use hsm::msgs::Asks;
use hsm_messages::Role;
use hsm_messages::edges::{
    HsmBackup, HsmChan, HsmGossip, HsmInvoice, HsmNoise, HsmOnchain, HsmOperator, HsmPay, HsmRpc,
    HsmTip, HsmWallet,
};
use hsm_messages::hello;
use ipc_transport::blocking::LowerConn;
use ipc_transport::{Conn, Edge, Error, Limits};
use wire::ChannelDbid;

use crate::answer::Answer;
use crate::custody::Custody;
use crate::listed::{Reply, Request};
use crate::notes::{self, Notes};
use crate::{answer, operator};

/// Most requests of one socket in one round.
pub const TURN: usize = 16;
/// The longest request, and what may wait for an end that does not read, in bytes. The longest
/// honest ones are 966 changes and 483 signatures, below 200 kB.
pub const LIMITS: Limits = Limits {
    frame: 1 << 20,
    out: 1 << 20,
};

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

/// A socket, whatever its role.
pub trait Port: AsFd {
    /// Answers what was asked, up to a turn's number, and notes it. The
    /// replies stay here until [`Port::flush`].
    ///
    /// # Errors
    /// The end is closed, at fault, or does not read.
    fn turn(&mut self, custody: &mut Custody, notes: &mut Notes) -> Result<Turn, Error>;

    /// Writes what the socket takes. Says whether nothing is left.
    ///
    /// # Errors
    /// Closed.
    fn flush(&mut self) -> Result<bool, Error>;
}

/// Who may ask what: the role of the seat, with its answers.
///
/// # Errors
/// The other end is closed.
pub fn port(seat: Seat, fd: OwnedFd) -> Result<Box<dyn Port>, Error> {
    match seat {
        Seat::Channel(Role::Onchain, dbid) => {
            let answer = with_keys(move |hsm, request| hsm.onchain(dbid, request));
            socket::<HsmOnchain, _>(fd, Some(dbid), LIMITS, answer)
        }
        Seat::Channel(_, dbid) => {
            let answer = with_keys(move |hsm, request| hsm.chan(dbid, request));
            socket::<HsmChan, _>(fd, Some(dbid), LIMITS, answer)
        }
        Seat::Node(role) => match role {
            Role::Noise => socket::<HsmNoise, _>(fd, None, LIMITS, with_keys(answer::noise)),
            Role::Wallet => socket::<HsmWallet, _>(fd, None, LIMITS, with_keys(answer::wallet)),
            Role::Gossip => socket::<HsmGossip, _>(fd, None, LIMITS, with_keys(answer::gossip)),
            Role::Invoice => socket::<HsmInvoice, _>(fd, None, LIMITS, with_keys(answer::invoice)),
            Role::Rpc => socket::<HsmRpc, _>(fd, None, LIMITS, with_keys(answer::rpc)),
            Role::Tip => socket::<HsmTip, _>(fd, None, LIMITS, with_keys(answer::tip)),
            Role::Pay => socket::<HsmPay, _>(fd, None, LIMITS, with_keys(answer::pay)),
            Role::Backup => socket::<HsmBackup, _>(fd, None, LIMITS, with_keys(answer::backup)),
            // Seat::new makes none.
            Role::Chan | Role::Onchain => Err(Error::Closed),
        },
        Seat::Operator(_) => socket::<HsmOperator, _>(fd, None, operator::LIMITS, operator::answer),
    }
}

/// What a request is answered with.
pub struct Asking<'a> {
    pub custody: &'a mut Custody,
    pub notes: &'a Notes,
    /// A descriptor that came along.
    pub fd: &'a mut dyn FnMut() -> Result<OwnedFd, Error>,
}

/// Of a role that asks of the keys alone.
fn with_keys<Rx, Tx>(
    answer: impl Fn(&mut Hsm, Rx) -> Answer<Tx>,
) -> impl Fn(Asking<'_>, Rx) -> Answer<Tx> {
    move |asking, request| answer(asking.custody.open_hsm()?, request)
}

struct Socket<E: Edge, A> {
    conn: LowerConn<E>,
    channel: Option<ChannelDbid>,
    answer: A,
}

fn socket<E, A>(
    fd: OwnedFd,
    channel: Option<ChannelDbid>,
    limits: Limits,
    answer: A,
) -> Result<Box<dyn Port>, Error>
where
    E: Edge<Down: Request, Up: Reply> + 'static,
    A: Fn(Asking<'_>, E::Down) -> Answer<E::Up> + 'static,
{
    Ok(Box::new(Socket::<E, A> {
        conn: Conn::with_limits(fd, hello::<E>(), limits)?,
        channel,
        answer,
    }))
}

impl<E: Edge, A> AsFd for Socket<E, A> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.conn.as_fd()
    }
}

impl<E, A> Port for Socket<E, A>
where
    E: Edge<Down: Request, Up: Reply>,
    A: Fn(Asking<'_>, E::Down) -> Answer<E::Up>,
{
    fn flush(&mut self) -> Result<bool, Error> {
        self.conn.flush_nonblocking()
    }

    fn turn(&mut self, custody: &mut Custody, notes: &mut Notes) -> Result<Turn, Error> {
        let conn = &mut self.conn;
        conn.fill()?;
        for _ in 0..TURN {
            let Some((request, asked)) = notes::next(conn, self.channel)? else {
                return Ok(Turn::Done);
            };
            let (role, channel) = (<E::Down>::ROLE, asked.channel);
            let allowed = asked.msg.check(role, custody.hsm().as_deref(), channel);
            let asking = Asking {
                custody,
                notes,
                fd: &mut || conn.take_fd(),
            };
            let reply = match allowed.and_then(|()| (self.answer)(asking, request)) {
                Ok(reply) => reply,
                Err(refused) => Reply::refuse(answer::refused(role.name(), channel, &refused)),
            };
            notes.reply(conn, asked, &reply, Vec::new())?;
        }
        Ok(Turn::More)
    }
}
