//! The loop: what is ready is answered, one sync, then the replies go.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use hsm::{Hsm, JournalError, Rule, UnixTime};
use hsm_messages::edges::HsmCtl;
use hsm_messages::hello;
use hsm_messages::{Role, ctl};
use ipc_transport::blocking::LowerConn;
use ipc_transport::{Conn, Error};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use wire::{ChainHash, ChannelDbid};

use crate::answer;
use crate::listed::{Reply, Request};
use crate::marks::{self, Marks};
use crate::port::{LIMITS, Port, Seat, Turn};

/// CTL's number; the others count from 1.
const CTL: u64 = 0;
/// Most sockets in one round. Those that had no turn come first in the next.
const ROUND: usize = 64;
/// How long what may wait for the disk does, while there is something else to do.
const SETTLE: Duration = Duration::from_millis(50);
/// Most requests of CTL in one round.
const CTL_TURN: usize = 16;

/// Why hsmd ends before it is asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Fd(#[from] subd::MissingFd),
    #[error("the edge to lightningd: {0}")]
    Ctl(#[from] Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot wait for requests: {0}")]
    Epoll(#[from] Errno),
    #[error("cannot tell how far the journal is: {0}")]
    Marks(#[from] io::Error),
}

/// Answers until lightningd says Stop or closes its end.
///
/// # Errors
/// What the journal should hold cannot be made durable; lightningd is at fault.
pub fn serve(lightningd: OwnedFd, folder: OwnedFd) -> Result<(), ServeError> {
    let mut server = Server::new(lightningd, folder)?;
    while server.round()? == Then::GoOn {}
    server.settle()?;
    let syncs = server.hsm.as_ref().map_or(0, Hsm::syncs);
    tracing::info!(
        "hsmd: {} requests in {syncs} synced writes",
        server.answered
    );
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

struct Server {
    epoll: Epoll,
    ctl: LowerConn<HsmCtl>,
    folder: OwnedFd,
    /// From Init on.
    hsm: Option<Hsm>,
    marks: Option<Marks>,
    ports: HashMap<u64, Seated>,
    by_seat: HashMap<Seat, u64>,
    last: u64,
    /// Have requests that were read and had no turn.
    waiting: BTreeSet<u64>,
    /// Since when something that was written waits for the disk.
    unsettled: Option<Instant>,
    /// How many requests there were.
    answered: u64,
}

struct Seated {
    port: Port,
    seat: Seat,
    /// What epoll is asked to tell.
    interest: EpollFlags,
}

impl Server {
    fn new(lightningd: OwnedFd, folder: OwnedFd) -> Result<Server, ServeError> {
        let ctl = Conn::with_limits(lightningd, hello::<HsmCtl>(), LIMITS)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&ctl, EpollEvent::new(EpollFlags::EPOLLIN, CTL))?;
        Ok(Server {
            epoll,
            ctl,
            folder,
            hsm: None,
            marks: None,
            ports: HashMap::new(),
            by_seat: HashMap::new(),
            last: CTL,
            waiting: BTreeSet::new(),
            unsettled: None,
            answered: 0,
        })
    }

    fn round(&mut self) -> Result<Then, ServeError> {
        let ready = self.wait()?;
        if let Some(hsm) = &mut self.hsm {
            hsm.set_now(UnixTime::from(SystemTime::now()));
        }
        let mut then = Then::GoOn;
        for id in &ready {
            match *id {
                CTL => then = self.ctl_turn()?,
                id => self.port_turn(id),
            }
        }
        // Whatever was answered may tell of a change: nothing goes out before all are durable, but
        // for those that may wait a little.
        if let Some(hsm) = &mut self.hsm {
            hsm.sync()?;
        }
        self.write_mark()?;
        for id in ready {
            match id {
                CTL => self.flush_ctl()?,
                id => self.flush_port(id),
            }
        }
        self.settle_in_time()?;
        Ok(then)
    }

    fn settle_in_time(&mut self) -> Result<(), ServeError> {
        match self.hsm.as_ref().is_none_or(Hsm::is_settled) {
            true => self.unsettled = None,
            false => {
                let since = *self.unsettled.get_or_insert_with(Instant::now);
                if since.elapsed() >= SETTLE {
                    self.settle()?;
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), ServeError> {
        self.unsettled = None;
        if let Some(hsm) = &mut self.hsm {
            hsm.settle()?;
        }
        self.write_mark()
    }

    /// Before a reply leaves, so that a batch that holds what came of it names its record too.
    fn write_mark(&mut self) -> Result<(), ServeError> {
        match (&mut self.marks, &self.hsm) {
            (Some(marks), Some(hsm)) => Ok(marks.write(hsm.mark())?),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// The sockets of this round.
    fn wait(&mut self) -> Result<BTreeSet<u64>, ServeError> {
        let timeout = match (self.waiting.is_empty(), self.unsettled) {
            (false, _) => EpollTimeout::ZERO,
            (true, None) => EpollTimeout::NONE,
            (true, Some(since)) => {
                // Rounded up: not before it is due.
                let left = SETTLE.saturating_sub(since.elapsed()) + Duration::from_millis(1);
                EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO)
            }
        };
        let mut events = [EpollEvent::empty(); ROUND];
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let mut ready = std::mem::take(&mut self.waiting);
        ready.extend(events.iter().take(count).map(EpollEvent::data));
        Ok(ready)
    }

    fn port_turn(&mut self, id: u64) {
        let (Some(seated), Some(hsm)) = (self.ports.get_mut(&id), &mut self.hsm) else {
            return;
        };
        match seated.port.turn(hsm, &mut self.answered) {
            Ok(Turn::Done) => {}
            Ok(Turn::More) => drop(self.waiting.insert(id)),
            Err(error) => self.close(id, &error),
        }
    }

    fn flush_port(&mut self, id: u64) {
        let Some(seated) = self.ports.get_mut(&id) else {
            return;
        };
        let interest = match seated.port.flush() {
            Ok(true) => EpollFlags::EPOLLIN,
            Ok(false) => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Err(error) => return self.close(id, &error),
        };
        if interest != seated.interest {
            seated.interest = interest;
            let mut event = EpollEvent::new(interest, id);
            if let Err(error) = self.epoll.modify(&seated.port, &mut event) {
                tracing::warn!("socket of {:?}: {error}", seated.seat);
                self.remove(id);
            }
        }
    }

    fn close(&mut self, id: u64, error: &Error) {
        if let Some(seat) = self.remove(id)
            && !error.is_closed()
        {
            tracing::warn!("closing the socket of {seat:?}: {error}");
        }
    }

    /// Its descriptor is closed with it, and epoll forgets it.
    fn remove(&mut self, id: u64) -> Option<Seat> {
        self.waiting.remove(&id);
        let seat = self.ports.remove(&id)?.seat;
        if self.by_seat.get(&seat) == Some(&id) {
            self.by_seat.remove(&seat);
        }
        Some(seat)
    }

    fn ctl_turn(&mut self) -> Result<Then, ServeError> {
        self.ctl.fill()?;
        for _ in 0..CTL_TURN {
            let request = match self.ctl.recv_buffered() {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(Then::GoOn),
                Err(error) if error.is_closed() => return Ok(Then::End),
                Err(error) => return Err(error.into()),
            };
            self.answered += 1;
            match self.answer_ctl(request) {
                Some(reply) => {
                    let fds = match (&reply, &self.marks) {
                        (ctl::Reply::Init(_), Some(marks)) => vec![marks.share()?],
                        (_, _) => Vec::new(),
                    };
                    self.ctl.queue_with_fds(&reply, fds)?;
                }
                None => return Ok(Then::End),
            }
        }
        self.waiting.insert(CTL);
        Ok(Then::GoOn)
    }

    fn flush_ctl(&mut self) -> Result<(), ServeError> {
        let interest = match self.ctl.flush_nonblocking() {
            Ok(true) => EpollFlags::EPOLLIN,
            Ok(false) => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            // What it sent before it went is answered first; then reading says that it went.
            Err(error) if error.is_closed() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        Ok(self
            .epoll
            .modify(&self.ctl, &mut EpollEvent::new(interest, CTL))?)
    }

    /// `None` for Stop.
    fn answer_ctl(&mut self, request: ctl::Request) -> Option<ctl::Reply> {
        let (hsm, channel) = (self.hsm.as_ref(), request.channel());
        if let Err(refused) = request.msg().check(ctl::Request::ROLE, hsm, channel) {
            return Some(ctl::Reply::refuse(answer::refused("lightningd", &refused)));
        }
        let reply = match (request, &mut self.hsm) {
            (ctl::Request::Stop, _) => return None,
            (
                ctl::Request::Init {
                    chain_hash,
                    database,
                },
                None,
            ) => self.init(chain_hash, database),
            (ctl::Request::Init { .. }, Some(_)) => out_of_order("a second Init"),
            (ctl::Request::NewChannel { peer }, Some(hsm)) => answer::new_channel(hsm, peer),
            (ctl::Request::Mint { role, channel }, Some(_)) => self.mint(role, channel),
            (ctl::Request::ForceClose { channel }, Some(hsm)) => answer::force_close(hsm, channel),
            (ctl::Request::Forget { channel }, Some(hsm)) => {
                let reply = answer::forget(hsm, channel);
                if let (ctl::Reply::Forgotten, Some(id)) =
                    (&reply, self.by_seat.get(&Seat::Channel(channel)).copied())
                {
                    self.remove(id);
                }
                reply
            }
            (
                ctl::Request::NewChannel { .. }
                | ctl::Request::Mint { .. }
                | ctl::Request::ForceClose { .. }
                | ctl::Request::Forget { .. },
                None,
            ) => out_of_order("a request before Init"),
        };
        Some(reply)
    }

    fn init(&mut self, chain_hash: ChainHash, database: ctl::Database) -> ctl::Reply {
        let folder = match self.folder.try_clone() {
            Ok(folder) => folder,
            Err(error) => return cannot_open(&format!("cannot use the folder: {error}")),
        };
        let hsm = match Hsm::open(folder, chain_hash, marks::database(database)) {
            Ok(hsm) => hsm,
            Err(error) => return cannot_open(&error.to_string()),
        };
        match Marks::new(hsm.mark()) {
            Ok(marks) => self.marks = Some(marks),
            Err(error) => return cannot_open(&format!("cannot make a memfd: {error}")),
        }
        let hsm = self.hsm.insert(hsm);
        hsm.set_now(UnixTime::from(SystemTime::now()));
        let known = |known: hsm::Known| ctl::Known {
            channel: known.channel,
            local: known.local,
            remote: known.remote,
        };
        ctl::Reply::Init(ctl::Init {
            node_id: hsm.node_id(),
            channels: hsm.channels().into_iter().map(known).collect(),
            next_address: hsm.next_address(),
        })
    }

    fn mint(&mut self, role: Role, channel: Option<ChannelDbid>) -> ctl::Reply {
        let wrong = |reason: &str| {
            let refused = answer::refused_by("lightningd", Rule::D3, reason.to_owned());
            ctl::Reply::Refused(refused)
        };
        let Some(seat) = Seat::new(role, channel) else {
            return wrong("CHAN is for one channel, and no other role is");
        };
        let known = channel
            .zip(self.hsm.as_ref())
            .map(|(dbid, hsm)| hsm.check_channel(dbid));
        if let Some(Err(error)) = known {
            return ctl::Reply::Refused(answer::refused("lightningd", &error));
        }
        let Ok(fd) = self.ctl.take_fd() else {
            return wrong("no socket came with Mint");
        };
        // The older socket first: there is never more than one.
        if let Some(old) = self.by_seat.get(&seat).copied() {
            self.remove(old);
        }
        match self.seat(seat, fd) {
            Ok(()) => ctl::Reply::Minted,
            Err(error) => wrong(&format!("the socket cannot be used: {error}")),
        }
    }

    fn seat(&mut self, seat: Seat, fd: OwnedFd) -> Result<(), ServeError> {
        let port = Port::new(seat, fd)?;
        self.last += 1;
        let (id, interest) = (self.last, EpollFlags::EPOLLIN);
        self.epoll.add(&port, EpollEvent::new(interest, id))?;
        self.by_seat.insert(seat, id);
        let seated = Seated {
            port,
            seat,
            interest,
        };
        self.ports.insert(id, seated);
        // What the first write did not take.
        self.flush_port(id);
        Ok(())
    }
}

fn out_of_order(what: &str) -> ctl::Reply {
    ctl::Reply::Refused(answer::refused_by("lightningd", Rule::D4, what.to_owned()))
}

fn cannot_open(why: &str) -> ctl::Reply {
    ctl::Reply::Refused(answer::refused_by("lightningd", Rule::B2, why.to_owned()))
}
