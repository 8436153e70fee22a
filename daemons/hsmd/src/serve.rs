//! The loop: requests of all sockets, one sync, replies.

use ipc_messages::edges::HsmCtl;
use ipc_messages::hello;
use ipc_messages::hsm::ctl;
use ipc_transport::blocking::LowerConn;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::clients::{Clients, Token};
use crate::ctl::{Ctl, Said};

/// Sockets looked at in one round.
const EVENTS: usize = 256;
/// CTL's own token; clients count from 1.
const CTL: Token = Token(0);

/// Runs until CTL says Stop or closes.
///
/// # Errors
/// CTL broke, seed or journal cannot be used, or the journal's disk failed: nothing leaves after that.
pub fn serve(mut fds: subd::Fds) -> anyhow::Result<()> {
    let conn = LowerConn::<HsmCtl>::new(fds.take("lightningd")?, hello::<HsmCtl>())?;
    let folder = fds.take("folder")?;
    let Some((mut ctl, mut hsm)) = Ctl::init(conn, folder)? else { return Ok(()) };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(ctl.fd(), EpollEvent::new(EpollFlags::EPOLLIN, CTL.0))?;
    let mut clients = Clients::new(epoll);
    let (mut requests, mut rounds) = (0_u64, 0_u64);
    let mut events = [EpollEvent::empty(); EVENTS];
    loop {
        let ready = clients.wait(&mut events)?;
        let mut stop = false;
        for event in events.iter().take(ready) {
            match Token(event.data()) {
                CTL => match ctl.hear(&mut hsm, &mut clients)? {
                    Said::Requests(count) => requests += count,
                    Said::Stop => stop = true,
                },
                token => requests += clients.hear(token, event.events(), &mut hsm),
            }
        }
        requests += clients.hear_left_over(&mut hsm);
        // Not one reply may leave before this: it may tell of what is not durable yet.
        rounds += u64::from(hsm.sync()?);
        ctl.flush()?;
        clients.flush();
        if stop {
            tracing::info!("hsmd: {requests} requests in {rounds} synced writes");
            return Ok(());
        }
    }
}

/// Whether a reply refuses.
pub fn refused(refused: &hsm::Refused) -> ipc_messages::hsm::Refused {
    ipc_messages::hsm::Refused { rule: refused.rule().to_string(), reason: refused.to_string() }
}

/// The reply to a CTL request that broke a rule.
pub fn ctl_refused(why: &hsm::Refused) -> ctl::Reply {
    ctl::Reply::Refused(refused(why))
}
