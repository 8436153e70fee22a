//! The loop: what is ready is answered, one sync, then the replies go.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use hsm::msgs::Asks;
use hsm::{JournalError, Rule, UnixTime};
use hsm_files::audit::{AuditError, Decision};
use hsm_messages::edges::HsmCtl;
use hsm_messages::hello;
use hsm_messages::{Role, ctl};
use ipc_transport::blocking::LowerConn;
use ipc_transport::{Conn, Error};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use wire::ChannelDbid;

use crate::answer::{self, Answer};
use crate::custody::{Custody, Signer};
use crate::notes::{self, Asked, Notes};
use crate::operator::{self, CONNECTIONS, ListenError, Listener};
use crate::port::{self, LIMITS, Port, Seat, Turn};

/// CTL's number, and that of the socket that the owner connects to; the others count from 2.
const CTL: u64 = 0;
const LISTENER: u64 = 1;
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
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("cannot wait for requests: {0}")]
    Epoll(#[from] Errno),
    #[error("cannot tell how far the journal is: {0}")]
    Marks(#[from] io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot read its own program: {0}")]
    Program(io::Error),
}

/// Answers until lightningd says Stop or closes its end.
///
/// # Errors
/// What the journal should hold cannot be made durable; lightningd is at fault.
pub fn serve(lightningd: OwnedFd, listener: Listener, custody: Custody) -> Result<(), ServeError> {
    let mut server = Server::new(lightningd, listener, custody)?;
    while server.round()? == Then::GoOn {}
    server.settle()?;
    server.notes.finish()?;
    let syncs = server.custody.hsm().map_or(0, |hsm| hsm.syncs());
    let secrets = server.custody.hsm().map_or(0, |hsm| hsm.shared_secrets());
    tracing::info!(
        "hsmd: {} requests in {syncs} synced writes; {secrets} onions opened",
        server.notes.answered
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
    listener: Listener,
    custody: Custody,
    /// lightningd has asked to be told when the owner has done what the signer waits for.
    asked_unlocked: Option<(Asked, Discriminant<Signer>)>,
    ports: HashMap<u64, Seated>,
    by_seat: HashMap<Seat, u64>,
    last: u64,
    /// Have requests that were read and had no turn.
    waiting: BTreeSet<u64>,
    /// Since when something that was written waits for the disk.
    unsettled: Option<Instant>,
    notes: Notes,
    /// What this process is has been said in the log.
    said: bool,
}

struct Seated {
    port: Box<dyn Port>,
    seat: Seat,
    /// What epoll is asked to tell.
    interest: EpollFlags,
}

impl Server {
    fn new(
        lightningd: OwnedFd,
        listener: Listener,
        custody: Custody,
    ) -> Result<Server, ServeError> {
        let ctl = Conn::with_limits(lightningd, hello::<HsmCtl>(), LIMITS)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&ctl, EpollEvent::new(EpollFlags::EPOLLIN, CTL))?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Server {
            epoll,
            ctl,
            listener,
            custody,
            asked_unlocked: None,
            ports: HashMap::new(),
            by_seat: HashMap::new(),
            last: LISTENER,
            waiting: BTreeSet::new(),
            unsettled: None,
            notes: Notes::default(),
            said: false,
        })
    }

    fn round(&mut self) -> Result<Then, ServeError> {
        let mut ready = self.wait()?;
        let now = UnixTime::from(SystemTime::now());
        self.custody.set_now(now);
        self.notes.set_now(now);
        let mut then = Then::GoOn;
        for id in &ready {
            match *id {
                CTL => then = self.ctl_turn()?,
                LISTENER => self.accept(),
                id => self.port_turn(id),
            }
        }
        if self.tell_unlocked()? {
            ready.insert(CTL);
        }
        // Whatever was answered may tell of a change: nothing goes out before all are durable, but
        // for those that may wait a little.
        if let Some(hsm) = self.custody.hsm() {
            hsm.sync()?;
        }
        self.custody.write_mark()?;
        self.notes.write()?;
        hsm::scrub_stack();
        for id in ready {
            match id {
                CTL => self.flush_ctl()?,
                LISTENER => {}
                id => self.flush_port(id),
            }
        }
        self.settle_in_time()?;
        // Once, while lightningd has something else to do.
        if !self.said && !matches!(self.custody.signer, Signer::NotStarted) {
            self.said = true;
            operator::say_status(&mut self.custody);
        }
        Ok(then)
    }

    fn settle_in_time(&mut self) -> Result<(), ServeError> {
        match self.custody.hsm().is_none_or(|hsm| hsm.is_settled()) {
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
        if let Some(hsm) = self.custody.hsm() {
            hsm.settle()?;
        }
        Ok(self.custody.write_mark()?)
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
        let Some(seated) = self.ports.get_mut(&id) else {
            return;
        };
        match seated.port.turn(&mut self.custody, &mut self.notes) {
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
            let (request, asked) = match notes::next(&mut self.ctl, None) {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(Then::GoOn),
                Err(error) if error.is_closed() => return Ok(Then::End),
                Err(error) => return Err(error.into()),
            };
            let waits = matches!(request, ctl::Request::Unlocked) && self.custody.signer.waits();
            match self.answer_ctl(request) {
                Ok(_) if waits => {
                    self.asked_unlocked = Some((asked, discriminant(&self.custody.signer)));
                }
                Ok(Some(reply)) => self.reply_ctl(asked, &reply)?,
                Ok(None) => {
                    self.notes.note(asked, Decision::Ok, [0; 32]);
                    return Ok(Then::End);
                }
                Err(error) => {
                    let refused = answer::refused("CTL", asked.channel, &error);
                    self.reply_ctl(asked, &ctl::Reply::Refused(refused))?;
                }
            }
        }
        self.waiting.insert(CTL);
        Ok(Then::GoOn)
    }

    /// With who we are goes the block for marks.
    fn reply_ctl(&mut self, asked: Asked, reply: &ctl::Reply) -> Result<(), ServeError> {
        let fds = match (reply, &self.custody.signer) {
            (ctl::Reply::Init(_), Signer::Open(open)) => vec![open.marks.share()?],
            (_, _) => Vec::new(),
        };
        Ok(self.notes.reply(&mut self.ctl, asked, reply, fds)?)
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

    /// `None`: there is none to come.
    fn answer_ctl(&mut self, request: ctl::Request) -> Answer<Option<ctl::Reply>> {
        let (hsm, channel) = (self.custody.hsm(), request.channel());
        request
            .msg()
            .check(ctl::Request::ROLE, hsm.as_deref(), channel)?;
        Ok(Some(match request {
            ctl::Request::Stop => return Ok(None),
            ctl::Request::Unlocked => init_reply(&self.custody.signer),
            ctl::Request::Init {
                chain_hash,
                database,
            } => {
                if self.custody.signer.waits() {
                    return Err(hsm::Refused::AlreadyOpen("Init"));
                }
                let folder = self.custody.folder().map_err(AuditError::from);
                // Who only looks does not even write a line of the log.
                let noted = match matches!(database, ctl::Database::Inspected { .. }) {
                    true => Ok(()),
                    false => folder.and_then(|folder| self.notes.open(folder)),
                };
                match noted {
                    Ok(()) => self.custody.open(chain_hash, database),
                    Err(error) => self.custody.signer = Signer::Failed(error.to_string()),
                }
                init_reply(&self.custody.signer)
            }
            ctl::Request::NewChannel { peer } => {
                ctl::Reply::NewChannel(self.custody.open_hsm()?.new_channel(peer)?)
            }
            ctl::Request::RecoverChannel(lost) => {
                ctl::Reply::NewChannel(self.custody.open_hsm()?.recover_channel(&lost)?)
            }
            ctl::Request::Mint { role, channel } => self.mint(role, channel)?,
            ctl::Request::ForceClose { channel } => ctl::Reply::ForceClose {
                tx: bitcoin::consensus::serialize(&self.custody.open_hsm()?.force_close(channel)?),
            },
            ctl::Request::Forget { channel } => {
                self.custody.open_hsm()?.forget(channel)?;
                for role in [Role::Chan, Role::Onchain] {
                    let seat = self.by_seat.get(&Seat::Channel(role, channel)).copied();
                    if let Some(id) = seat {
                        self.remove(id);
                    }
                }
                ctl::Reply::Forgotten
            }
        }))
    }

    /// Answers the request Unlocked as soon as it can be. Says whether it did.
    fn tell_unlocked(&mut self) -> Result<bool, ServeError> {
        let now = discriminant(&self.custody.signer);
        let Some((asked, _)) = self.asked_unlocked.take_if(|(_, then)| *then != now) else {
            return Ok(false);
        };
        self.reply_ctl(asked, &init_reply(&self.custody.signer))?;
        Ok(true)
    }

    fn accept(&mut self) {
        while let Some(connection) = self.listener.accept() {
            let of_owner = |seated: &&Seated| matches!(seated.seat, Seat::Operator(_));
            if self.ports.values().filter(of_owner).count() >= CONNECTIONS {
                tracing::warn!("the owner has {CONNECTIONS} connections; one more is not taken");
                continue;
            }
            let seat = Seat::Operator(self.last.saturating_add(1));
            if let Err(error) = self.seat(seat, connection) {
                tracing::debug!("a connection of the owner: {error}");
            }
        }
    }

    fn mint(&mut self, role: Role, channel: Option<ChannelDbid>) -> Answer<ctl::Reply> {
        let unusable = |error: &dyn ToString| hsm::Refused::NoSocket(error.to_string());
        let seat = Seat::new(role, channel).ok_or(hsm::Refused::NoSeat)?;
        let hsm = self.custody.open_hsm()?;
        let newest = channel.map(|dbid| hsm.newest_point(dbid));
        let newest = newest.transpose()?.flatten();
        let fd = self.ctl.take_fd().map_err(|error| unusable(&error))?;
        // The older socket first: there is never more than one.
        if let Some(old) = self.by_seat.get(&seat).copied() {
            self.remove(old);
        }
        let seated = self.seat(seat, fd).map_err(|error| unusable(&error));
        seated.map(|()| ctl::Reply::Minted { newest })
    }

    fn seat(&mut self, seat: Seat, fd: OwnedFd) -> Result<(), ServeError> {
        let port = port::port(seat, fd)?;
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

fn init_reply(signer: &Signer) -> ctl::Reply {
    let refused = |rule, why: &str| answer::refused_by("CTL", rule, why.to_owned());
    match signer {
        Signer::NotStarted => ctl::Reply::Refused(refused(Rule::D4, "no Init")),
        Signer::Locked(_) => ctl::Reply::Locked,
        Signer::Unconfirmed(_) => ctl::Reply::Unconfirmed,
        Signer::Open(open) => ctl::Reply::Init(open.hsm.init()),
        Signer::Inspected(inspected) => ctl::Reply::Inspected(inspected.clone()),
        Signer::Failed(why) => ctl::Reply::Refused(refused(Rule::B2, why)),
    }
}
