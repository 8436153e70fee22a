//! The edge to lightningd, and who runs beside whom: one thread, and on it who listens to
//! lightningd (and never waits for anything else, so that lightningd can always be heard), who
//! follows the chain, who broadcasts, and who notices new blocks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ipc_messages::edges::LightningdChaind;
use ipc_messages::hello;
use ipc_messages::lightningd_chaind::{NO_ROOM, NotTaken, Start, ToChaind, ToLightningd};
use ipc_transport::aio::{LowerConn, Receiver, Sender};
use tokio::sync::{Notify, mpsc, watch};

use crate::broadcast::{self, Item, Queue};
use crate::http::{Backend, Http};
use crate::locate::Locator;
use crate::rpc::Rpc;
use crate::session::Follower;
use crate::tip;
use crate::watch::{Change, Search};

/// lightningd gets the last answers within this time, or not at all.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// chaind cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Fd(#[from] subd::MissingFd),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("the edge to lightningd: {0}")]
    Edge(#[from] ipc_transport::Error),
    #[error("lightningd's first message is not Start, or a later one is")]
    Start,
}

/// What all tasks need.
pub struct Common {
    pub up: Sender<ToLightningd>,
    pub regtest: bool,
    /// The follower should look at the chain.
    pub wake: Notify,
    /// The backend may have been restarted since it was last said to be synced, and have lost its mempool.
    interrupted: Cell<bool>,
    backend: Rc<Backend>,
    timeout: Duration,
    ready: watch::Sender<bool>,
}

impl Common {
    fn new(up: Sender<ToLightningd>, start: &Start) -> Common {
        let backend = Backend {
            host: start.host.clone(),
            port: start.port,
            login: start.login.clone(),
            locator: Rc::new(Locator::new(up.clone())),
        };
        Common {
            up,
            regtest: start.chain == "regtest",
            wake: Notify::new(),
            interrupted: Cell::new(false),
            backend: Rc::new(backend),
            timeout: Duration::from_secs(start.timeout.max(1)),
            ready: watch::Sender::new(false),
        }
    }

    /// A connection for one who asks.
    pub fn rpc(&self) -> Rpc {
        Rpc::new(Http::new(self.backend.clone()), self.timeout)
    }

    /// What lightningd says about where the backend is.
    pub fn locator(&self) -> &Locator {
        &self.backend.locator
    }

    /// The backend broke off. It may be back before anybody has asked it for anything.
    pub fn interrupted(&self) {
        self.interrupted.set(true);
    }

    /// Whether it has, since this was last asked.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.take()
    }

    /// Whether the backend answers and is the one that it should be.
    pub fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }

    /// Waits for that.
    pub async fn ready(&self) {
        // The sender lives as long as this.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }
}

/// Runs until lightningd says Stop or is gone.
///
/// # Errors
/// A bad frame, or the edge broke.
pub fn serve(mut fds: subd::Fds) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let socket = fds.take("lightningd")?;
    let served = runtime.block_on(async {
        let conn = LowerConn::<LightningdChaind>::new(socket, hello::<LightningdChaind>())?;
        let (up, down) = conn.split();
        let served = run(up.clone(), down).await;
        let _ = tokio::time::timeout(LAST_WORDS, up.flush()).await;
        served
    });
    match served {
        Err(ServeError::Edge(error)) if error.is_closed() => Ok(()),
        served => served,
    }
}

async fn run(up: Sender<ToLightningd>, mut down: Receiver<ToChaind>) -> Result<(), ServeError> {
    let start = match down.recv().await? {
        ToChaind::Start(start) => start,
        ToChaind::Stop => return Ok(()),
        ToChaind::Located { .. }
        | ToChaind::Watch { .. }
        | ToChaind::Search { .. }
        | ToChaind::Unwatch { .. }
        | ToChaind::Headers { .. }
        | ToChaind::Broadcast { .. } => return Err(ServeError::Start),
    };
    let common = Rc::new(Common::new(up.clone(), &start));
    let queue = Rc::new(Queue::default());
    let (changes, changed) = mpsc::unbounded_channel();
    let (refuse, refused) = mpsc::unbounded_channel();
    let follower = Follower::new(common.clone(), *start, changed);
    tokio::select! {
        heard = listen(down, &common, changes, &queue, refuse) => heard,
        error = follower.run() => Err(error.into()),
        error = broadcast::run(common.clone(), queue.clone()) => Err(error.into()),
        error = say_refused(up, refused) => Err(error.into()),
        never = tip::run(common.clone()) => match never {},
    }
}

/// Hears lightningd. Waits for nobody else.
async fn listen(
    mut down: Receiver<ToChaind>,
    common: &Common,
    changes: mpsc::UnboundedSender<Change>,
    queue: &Queue,
    refuse: mpsc::UnboundedSender<u64>,
) -> Result<(), ServeError> {
    loop {
        match down.recv().await? {
            ToChaind::Start(_) => return Err(ServeError::Start),
            ToChaind::Located { request, location } => {
                common.locator().located(request, location);
            }
            ToChaind::Watch {
                outpoints,
                scripts,
                more,
            } => {
                let _ = changes.send(Change::Watch {
                    outpoints,
                    scripts,
                    more,
                });
            }
            ToChaind::Search {
                request,
                outpoints,
                scripts,
                since,
                partly,
            } => {
                let _ = changes.send(Change::Search(Search {
                    request,
                    outpoints,
                    scripts,
                    since,
                    partly,
                }));
            }
            ToChaind::Headers { request, from } => {
                let _ = changes.send(Change::Headers { request, from });
            }
            ToChaind::Unwatch { outpoints } => {
                let _ = changes.send(Change::Unwatch { outpoints });
            }
            ToChaind::Broadcast {
                request,
                tx,
                parent,
                allow_high_fees,
            } => {
                if let Err(request) = queue.push(Item {
                    request,
                    tx,
                    parent,
                    allow_high_fees,
                }) {
                    let _ = refuse.send(request);
                }
            }
            ToChaind::Stop => return Ok(()),
        }
    }
}

/// Answers the broadcasts for which there was no room.
async fn say_refused(
    up: Sender<ToLightningd>,
    mut refused: mpsc::UnboundedReceiver<u64>,
) -> ipc_transport::Error {
    while let Some(request) = refused.recv().await {
        let error = Some(NotTaken {
            why: NO_ROOM.to_owned(),
            refused: true,
            rival: None,
        });
        if let Err(error) = up.send(&ToLightningd::Broadcast { request, error }).await {
            return error;
        }
    }
    std::future::pending().await
}
