//! Starting subdaemons and wiring their edges.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bitcoin::BlockHash;
use ipc_messages::edges::{LightningdChaind, LightningdConnectd, LightningdPayd};
use ipc_messages::hello;
use ipc_messages::lightningd_chaind::{Begin, Login, Start as ChaindStart, ToChaind};
use ipc_messages::lightningd_connectd::{Start as ConnectdStart, ToConnectd};
use ipc_transport::Edge;
use ipc_transport::aio::{AsyncConn, Receiver, Sender};
use lightningd_options::{Options, Rescan};
use subd::{Child, Connect, Exit, Grant, LOG, Mode, Role, Spawn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wire::BlockHeight;

use crate::logbook::LogBook;
use crate::node::Node;
use crate::sandbox::{Line, Roll, Running};

/// Who lived so long was not started in vain.
const LIVED: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A running subdaemon; killed when dropped.
pub struct Process {
    child: Child,
    line: Line,
}

/// An edge to a subdaemon, and its process.
pub struct Link<E: Edge> {
    pub to: Sender<E::Down>,
    pub from: Receiver<E::Up>,
    pub process: Process,
}

/// chaind's link.
pub mod chaind {
    pub type Link = super::Link<ipc_messages::edges::LightningdChaind>;
}
/// connectd's link.
pub mod connectd {
    pub type Link = super::Link<ipc_messages::edges::LightningdConnectd>;
}
/// payd's link.
pub mod payd {
    pub type Link = super::Link<ipc_messages::edges::LightningdPayd>;
}

/// Pauses before a subdaemon is started again: none at first, then longer and longer as long as it
/// does not live for a while.
#[derive(Debug, Default)]
pub struct Restarts {
    last: Option<Instant>,
    pause: Duration,
}

impl Restarts {
    /// Waits as long as is due now.
    pub async fn pause(&mut self) {
        if self.last.is_some_and(|last| last.elapsed() < LIVED) {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        } else {
            self.pause = Duration::ZERO;
        }
        tokio::time::sleep(self.pause).await;
        self.last = Some(Instant::now());
    }
}

/// Knows where the programs are, and who runs.
#[derive(Clone)]
pub struct Launcher {
    programs: PathBuf,
    log: LogBook,
    mode: Mode,
    roll: Roll,
    turns: Arc<Semaphore>,
}

/// So many channels' processes are started at a time: this process does nothing else while one is made,
/// and with many channels whoever asks something at the start would wait for all of them.
const AT_A_TIME: usize = 4;

/// The TCP ports of a subdaemon.
struct Ports {
    connect: Connect,
    bind: Vec<u16>,
}

impl Ports {
    const NONE: Ports = Ports {
        connect: Connect::Nowhere,
        bind: Vec::new(),
    };
}

impl Process {
    /// How it ended; waits a moment for it. One that broke out of its policy is reported here.
    pub async fn ended(&mut self) -> String {
        for _ in 0..50 {
            if let Ok(Some(exit)) = self.child.try_wait() {
                if exit == Exit::Signal(nix::sys::signal::Signal::SIGSYS as i32) {
                    tracing::error!("{} (pid {}) {exit}", self.child.role(), self.child.pid());
                }
                return match self.line.failure() {
                    Some(why) => format!("did not start: {why}"),
                    None => exit.to_string(),
                };
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        "did not end by itself and was killed".to_owned()
    }
}

impl Launcher {
    /// The programs lie beside our own.
    ///
    /// # Errors
    /// Our own path cannot be found.
    pub fn new(log: LogBook, mode: Mode) -> anyhow::Result<Launcher> {
        let own = std::env::current_exe().context("cannot find this program's own path")?;
        let programs = own.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Launcher {
            programs,
            log,
            mode,
            roll: Roll::default(),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        })
    }

    /// Waits for a channel's turn to start its process; the turn lasts as long as the answer is held.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.clone().acquire_owned().await.ok()
    }

    /// How much of the sandbox is insisted on.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The subdaemons that run now.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        self.roll.all()
    }

    fn spawn(
        &self,
        role: Role,
        mut fds: Vec<(&'static str, OwnedFd)>,
        ports: Ports,
    ) -> anyhow::Result<Process> {
        let (ours, theirs) = ipc_transport::pair()?;
        fds.push((LOG, theirs));
        let program = self.programs.join(role.name());
        let mut child = subd::spawn(Spawn {
            program: &program,
            role,
            fds,
            log_level: self.log.wanted(),
            grant: Grant {
                mode: self.mode,
                connect: ports.connect,
                bind: ports.bind,
            },
        })
        .with_context(|| format!("{} belongs beside lightningd", program.display()))?;
        self.log.listen(role.name().to_owned(), ours)?;
        let line = self.roll.add(role, child.pid(), child.take_report());
        Ok(Process { child, line })
    }

    /// Starts a subdaemon with its edge to us (named `lightningd`) and the descriptors given, and
    /// without network.
    ///
    /// # Errors
    /// The program is missing or the system refuses.
    pub fn launch<E: Edge>(
        &self,
        role: Role,
        fds: Vec<(&'static str, OwnedFd)>,
    ) -> anyhow::Result<Link<E>>
    where
        E::Down: Send + Sync + 'static,
        E::Up: Send + 'static,
    {
        self.launch_with_ports(role, fds, Ports::NONE)
    }

    fn launch_with_ports<E: Edge>(
        &self,
        role: Role,
        mut fds: Vec<(&'static str, OwnedFd)>,
        ports: Ports,
    ) -> anyhow::Result<Link<E>>
    where
        E::Down: Send + Sync + 'static,
        E::Up: Send + 'static,
    {
        let (ours, theirs) = ipc_transport::pair()?;
        fds.push(("lightningd", theirs));
        let process = self.spawn(role, fds, ports)?;
        let conn = AsyncConn::<E::Down, E::Up>::new(ours, hello::<E>())?;
        let (to, from) = conn.split();
        Ok(Link { to, from, process })
    }

    /// hsmd: its CTL socket, and the folder that holds the seed and the journal.
    ///
    /// # Errors
    /// As [`Launcher::launch`].
    pub fn hsmd(&self, folder: OwnedFd) -> anyhow::Result<(OwnedFd, Process)> {
        let (ours, theirs) = ipc_transport::pair()?;
        let fds = vec![("lightningd", theirs), ("folder", folder)];
        let process = self.spawn(Role::Hsmd, fds, Ports::NONE)?;
        Ok((ours, process))
    }

    /// # Errors
    /// As [`Launcher::launch`].
    pub async fn chaind(
        &self,
        options: &Options,
        known: Vec<(BlockHeight, BlockHash)>,
    ) -> anyhow::Result<chaind::Link> {
        let bitcoind = &options.bitcoind;
        let ports = Ports {
            connect: Connect::Only(bitcoind.port),
            bind: Vec::new(),
        };
        let link = self.launch_with_ports::<LightningdChaind>(Role::Chaind, Vec::new(), ports)?;
        let start = ChaindStart {
            host: bitcoind.connect.clone(),
            port: bitcoind.port,
            login: match (&bitcoind.user, &bitcoind.password) {
                (Some(user), Some(_)) => Login::User { user: user.clone() },
                (Some(_) | None, _) => Login::CookieFile {
                    path: bitcoind.cookie_file(options.network).display().to_string(),
                },
            },
            chain: options.network.bitcoin().to_core_arg().to_owned(),
            known,
            begin: match options.rescan {
                Rescan::Blocks(blocks) => Begin::Below(blocks),
                Rescan::From(height) => Begin::At(height),
            },
            timeout: bitcoind.request_timeout.as_secs(),
            retry: bitcoind.retry_timeout.as_secs(),
        };
        link.to.send(&ToChaind::Start(Box::new(start))).await?;
        Ok(link)
    }

    /// # Errors
    /// As [`Launcher::launch`].
    #[allow(clippy::unused_async)] // the other starters wait for their first message to be taken
    pub async fn payd(&self) -> anyhow::Result<payd::Link> {
        self.launch::<LightningdPayd>(Role::Payd, Vec::new())
    }

    /// connectd, not yet told to start ([`start_connectd`]): locking itself in takes it longer than all else, so it
    /// can be made before hsmd, which is to get the end of its socket that comes along (role NOISE).
    ///
    /// # Errors
    /// As [`Launcher::launch`].
    pub fn connectd(
        &self,
        options: &Options,
        listen: &[SocketAddr],
    ) -> anyhow::Result<(connectd::Link, OwnedFd)> {
        let (noise, of_hsmd) = ipc_transport::pair()?;
        let ports = Ports {
            connect: Connect::AllBut(options.bitcoind.port),
            bind: (listen.iter().map(SocketAddr::port).collect::<BTreeSet<_>>())
                .into_iter()
                .collect(),
        };
        let fds = vec![("hsmd", noise)];
        let link = self.launch_with_ports::<LightningdConnectd>(Role::Connectd, fds, ports)?;
        Ok((link, of_hsmd))
    }
}

/// Has connectd listen, and reach out.
///
/// # Errors
/// It has ended.
pub async fn start_connectd(
    link: &connectd::Link,
    node: &Node,
    listen: Vec<SocketAddr>,
) -> anyhow::Result<()> {
    let start = ConnectdStart {
        node_id: node.id,
        chain_hash: node.chain_hash,
        features: crate::features::init(),
        listen,
        online: !node.options.connections.offline,
    };
    Ok(link.to.send(&ToConnectd::Start(start)).await?)
}
