//! The sockets that CTL minted: who is behind each, and their turns.
//!
//! A bad frame, or replies that nobody reads, cost that socket alone.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};

use hsm::Hsm;
use ipc_messages::edges::{HsmChan, HsmGossip, HsmInvoice, HsmNoise, HsmWallet};
use ipc_messages::hello;
use ipc_messages::hsm::Role;
use ipc_transport::blocking::LowerConn;
use ipc_transport::{Edge, Error};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use wire::ChannelDbid;

use crate::roles;

/// Requests of one socket that are taken in one round; the rest waits for the next.
const TURN: usize = 16;

/// Names a socket to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

enum Client {
    Noise(LowerConn<HsmNoise>),
    Chan(ChannelDbid, LowerConn<HsmChan>),
    Wallet(LowerConn<HsmWallet>),
    Gossip(LowerConn<HsmGossip>),
    Invoice(LowerConn<HsmInvoice>),
}

pub struct Clients {
    epoll: Epoll,
    clients: HashMap<Token, Client>,
    names: HashMap<(Role, Option<ChannelDbid>), Token>,
    next: u64,
    /// Sockets with requests that were read but had no turn yet.
    left_over: BTreeSet<Token>,
    /// Sockets with replies to be written.
    unwritten: BTreeSet<Token>,
}

impl Clients {
    pub fn new(epoll: Epoll) -> Clients {
        Clients {
            epoll,
            clients: HashMap::new(),
            names: HashMap::new(),
            next: 1,
            left_over: BTreeSet::new(),
            unwritten: BTreeSet::new(),
        }
    }

    /// Sleeps until a socket has something; not at all while requests are left over.
    ///
    /// # Errors
    /// The system refused.
    pub fn wait(&self, events: &mut [EpollEvent]) -> anyhow::Result<usize> {
        let timeout =
            if self.left_over.is_empty() { EpollTimeout::NONE } else { EpollTimeout::ZERO };
        match self.epoll.wait(events, timeout) {
            Ok(ready) => Ok(ready),
            Err(Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// A new socket; an older one of the same role and channel is closed.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn add(
        &mut self,
        role: Role,
        channel: Option<ChannelDbid>,
        socket: OwnedFd,
    ) -> anyhow::Result<()> {
        let client = match (role, channel) {
            (Role::Noise, _) => Client::Noise(conn::<HsmNoise>(socket)?),
            (Role::Wallet, _) => Client::Wallet(conn::<HsmWallet>(socket)?),
            (Role::Gossip, _) => Client::Gossip(conn::<HsmGossip>(socket)?),
            (Role::Invoice, _) => Client::Invoice(conn::<HsmInvoice>(socket)?),
            (Role::Chan, Some(dbid)) => Client::Chan(dbid, conn::<HsmChan>(socket)?),
            (Role::Chan, None) => anyhow::bail!("the role Chan needs a channel"),
        };
        self.close(role, channel);
        let token = Token(self.next);
        self.next += 1;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token.0);
        client.with_fd(|fd| self.epoll.add(fd, event))?;
        self.clients.insert(token, client);
        self.names.insert((role, channel), token);
        self.unwritten.insert(token);
        Ok(())
    }

    pub fn close(&mut self, role: Role, channel: Option<ChannelDbid>) {
        if let Some(token) = self.names.get(&(role, channel)) {
            self.drop_client(*token, "replaced");
        }
    }

    fn drop_client(&mut self, token: Token, why: &str) {
        tracing::debug!("a socket ends: {why}");
        if let Some(client) = self.clients.remove(&token) {
            let _ = client.with_fd(|fd| self.epoll.delete(fd));
        }
        self.names.retain(|_, named| *named != token);
        self.left_over.remove(&token);
        self.unwritten.remove(&token);
    }

    /// Reads a socket that is ready and answers its turn of requests. How many it were.
    pub fn hear(&mut self, token: Token, events: EpollFlags, hsm: &mut Hsm) -> u64 {
        if events.contains(EpollFlags::EPOLLOUT) {
            self.unwritten.insert(token);
        }
        self.turn(token, true, hsm)
    }

    /// Gives those a turn whose requests were read before.
    pub fn hear_left_over(&mut self, hsm: &mut Hsm) -> u64 {
        let tokens: Vec<Token> = self.left_over.iter().copied().collect();
        tokens.into_iter().map(|token| self.turn(token, false, hsm)).sum()
    }

    fn turn(&mut self, token: Token, read: bool, hsm: &mut Hsm) -> u64 {
        let Some(client) = self.clients.get_mut(&token) else { return 0 };
        match client.turn(read, hsm) {
            Ok(turn) => {
                if turn.answered > 0 {
                    self.unwritten.insert(token);
                }
                if turn.more {
                    self.left_over.insert(token);
                } else {
                    self.left_over.remove(&token);
                }
                turn.answered
            }
            Err(error) => {
                self.drop_client(token, &error.to_string());
                0
            }
        }
    }

    /// Lets the replies go, as far as the sockets take them; the rest when they are ready again.
    pub fn flush(&mut self) {
        for token in std::mem::take(&mut self.unwritten) {
            let Some(client) = self.clients.get_mut(&token) else { continue };
            match client.flush() {
                Ok(done) => {
                    let mut flags = EpollFlags::EPOLLIN;
                    flags.set(EpollFlags::EPOLLOUT, !done);
                    let mut event = EpollEvent::new(flags, token.0);
                    let _ = client.with_fd(|fd| self.epoll.modify(fd, &mut event));
                }
                Err(error) => self.drop_client(token, &error.to_string()),
            }
        }
    }
}

fn conn<E: Edge>(socket: OwnedFd) -> Result<LowerConn<E>, Error> {
    LowerConn::<E>::new(socket, hello::<E>())
}

/// What a turn came to.
struct Turn {
    answered: u64,
    /// Requests may be left that were read already.
    more: bool,
}

fn turn<E: Edge>(
    conn: &mut LowerConn<E>,
    read: bool,
    mut answer: impl FnMut(E::Down) -> E::Up,
) -> Result<Turn, Error> {
    if read {
        conn.fill()?;
    }
    for answered in 0..TURN as u64 {
        match conn.recv_buffered()? {
            Some(request) => conn.queue(&answer(request))?,
            None => return Ok(Turn { answered, more: false }),
        }
    }
    Ok(Turn { answered: TURN as u64, more: true })
}

impl Client {
    /// Rule D3: who asks is the socket's variant; a role can ask only what its enum has.
    fn turn(&mut self, read: bool, hsm: &mut Hsm) -> Result<Turn, Error> {
        match self {
            Client::Noise(conn) => turn::<HsmNoise>(conn, read, |request| roles::noise(hsm, request)),
            Client::Chan(dbid, conn) => turn::<HsmChan>(conn, read, |request| hsm.chan(*dbid, request)),
            Client::Wallet(conn) => turn::<HsmWallet>(conn, read, |request| roles::wallet(hsm, request)),
            Client::Gossip(conn) => turn::<HsmGossip>(conn, read, |request| roles::gossip(hsm, request)),
            Client::Invoice(conn) => turn::<HsmInvoice>(conn, read, |request| roles::invoice(hsm, request)),
        }
    }

    fn flush(&mut self) -> Result<bool, Error> {
        match self {
            Client::Noise(conn) => conn.flush_nonblocking(),
            Client::Chan(_, conn) => conn.flush_nonblocking(),
            Client::Wallet(conn) => conn.flush_nonblocking(),
            Client::Gossip(conn) => conn.flush_nonblocking(),
            Client::Invoice(conn) => conn.flush_nonblocking(),
        }
    }

    fn with_fd<T>(&self, f: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> T) -> T {
        match self {
            Client::Noise(conn) => f(conn.as_fd()),
            Client::Chan(_, conn) => f(conn.as_fd()),
            Client::Wallet(conn) => f(conn.as_fd()),
            Client::Gossip(conn) => f(conn.as_fd()),
            Client::Invoice(conn) => f(conn.as_fd()),
        }
    }
}
