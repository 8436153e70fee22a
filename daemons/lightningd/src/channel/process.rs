//! This channel's channeld: started, fed with sockets, started again when it dies.

use std::os::fd::OwnedFd;
use std::time::Duration;

use channel::action::{AddRefusal, CloseFees, Policy};
use futures::StreamExt;
use ipc_messages::edges::LightningdChanneld;
use ipc_messages::hsm::Role as HsmRole;
use ipc_messages::lightningd_channeld::{Begin, Start, ToChanneld, ToLightningd};
use ipc_transport::aio::{Receiver, Sender};
use subd::Role;
use tokio::time::Instant;
use wire::{BlockDelta, FeeratePerKw, Satoshi};

use super::commitment::Newest;
use super::{Channel, Stage};
use crate::feerates;
use crate::hsm::{HsmError, mint_for};
use crate::node::{Node, Stop};
use crate::peers::Awaited;

/// A channeld that dies so often without getting anywhere is started after [`LONG_PAUSE`] only.
const MAX_DEATHS: u32 = 10;
/// No longer: nobody but channeld watches the deadlines of HTLCs.
const LONG_PAUSE: Duration = Duration::from_secs(30);
/// A channeld that lived for so long did not die of how it was started.
const LIVED: Duration = Duration::from_secs(600);

/// Smallest dust limit that both P2WSH and P2TR outputs allow (BOLT 3, Dust Limits: 354 for unknown segwit).
const DUST_LIMIT: Satoshi = Satoshi(546);

/// Longest delay on our own outputs that we accept: two weeks.
const MAX_TO_SELF_DELAY: BlockDelta = BlockDelta(2016);

/// Both directions of the edge.
pub struct Link {
    pub to: Sender<ToChanneld>,
    pub from: Receiver<ToLightningd>,
    pub process: crate::subdaemons::Process,
}

impl Link {
    /// The next word of channeld; never, if there is none.
    pub async fn hear(link: &mut Option<Link>) -> Result<ToLightningd, ipc_transport::Error> {
        match link {
            Some(link) => link.from.recv().await,
            None => std::future::pending().await,
        }
    }
}

impl Channel {
    pub(super) async fn launch(&mut self) {
        if let Err(error) = self.try_launch().await {
            let why = format!(
                "channeld of channel {} cannot be started: {error}",
                self.dbid
            );
            self.node.stop(Stop::Fatal(why));
        }
    }

    async fn try_launch(&mut self) -> anyhow::Result<()> {
        let how = match (&self.stage, self.begin.take()) {
            (Stage::Open(record, htlcs), _) => Begin::Resume {
                live: Box::new(record.live.clone()),
                htlcs: htlcs
                    .iter()
                    .map(|(key, record)| (*key, record.clone()))
                    .collect(),
            },
            (Stage::Opening(_), Some(begin)) => begin,
            (Stage::Opening(_), None) => return Ok(()),
        };
        // First of all: what the peer says meanwhile waits in the socket.
        let ours = match self.socket.take() {
            Some(ours) => ours,
            None => self.attach()?,
        };
        let turn = self.node.subdaemons.turn().await;
        if self.node.is_stopping() {
            return Ok(());
        }
        let hsm = self.mint(HsmRole::Chan).await?;
        let crate::subdaemons::Link { process, to, from } =
            self.node.subdaemons.launch::<LightningdChanneld>(
                Role::Channeld,
                vec![("hsmd", hsm), ("connectd", ours)],
            )?;
        drop(turn);
        let start = Start {
            policy: policy(&self.node),
            height: self.node.chain.height(),
            how,
        };
        to.send(&ToChanneld::Start(Box::new(start))).await?;
        self.link = Some(Link { to, from, process });
        self.launched = Some(Instant::now());
        if self.is_on_chain() {
            self.fail_channeld().await;
        } else if self.shows_nothing() {
            // The peer has nothing to prove that it is ahead with, so it is asked to close as it is.
            let reason = super::close::ASK_TO_CLOSE.to_owned();
            self.send(ToChanneld::Fail { reason }).await;
        } else {
            self.close_again().await;
        }
        Ok(())
    }

    /// It died too often to be started at once.
    pub(super) async fn relaunch(&mut self) {
        self.relaunch = None;
        if self.link.is_none() && !self.is_spent() {
            self.launch().await;
            self.resume_duties();
        }
    }

    /// A socket to hsmd for a process of this channel. hsmd says with it what our newest commitment is.
    pub(super) async fn mint(&mut self, role: HsmRole) -> Result<OwnedFd, HsmError> {
        let (socket, newest) = mint_for(&self.node.hsm.ctl, role, self.dbid).await?;
        // What channeld has said since is of what is persisted; hsmd may be one ahead.
        if self.newest.is_none() {
            self.newest = newest.map(|told| Newest::new(told.n, told.point));
            self.publish();
        }
        Ok(socket)
    }

    /// channeld is gone. What it had persisted is all that counts.
    pub(super) async fn died(&mut self, why: &str) {
        let why = match self.link.take() {
            Some(mut link) => format!("{}: {why}", link.process.ended().await),
            None => why.to_owned(),
        };
        self.active = false;
        self.give_up_offers().await;
        self.publish();
        if self.node.is_stopping() || self.over {
            return;
        }
        if self.is_opening() {
            return self.opening_failed(format!("channeld died: {why}")).await;
        }
        if self.launched.is_some_and(|at| at.elapsed() > LIVED) {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        if self.deaths > MAX_DEATHS {
            tracing::error!(
                "channeld dies again and again ({why}); started again in {} seconds",
                LONG_PAUSE.as_secs()
            );
            self.relaunch = Some(Instant::now() + LONG_PAUSE);
            return;
        }
        tracing::warn!("channeld died ({why}); starting it again");
        // The peer must not go on with a channel whose state we have just forgotten: it is
        // disconnected by the closed socket. A short and growing pause keeps a loop harmless.
        tokio::time::sleep(Duration::from_millis(50 << self.deaths.min(7))).await;
        self.launch().await;
        self.resume_duties();
    }

    /// channeld is gone. What it handed over is the state that whoever comes after it goes on from and
    /// tells the peer of: it has to be durable first. Its sequence numbers mean nothing any more. What it
    /// was to offer and no Persist holds, never left.
    pub(super) async fn give_up_offers(&mut self) {
        while let Some((_, done)) = self.commits.next().await {
            if let Err(error) = done {
                self.node.database_failed(&error);
            }
        }
        for origin in std::mem::take(&mut self.offered) {
            self.add_refused(origin, AddRefusal::NotConnected);
        }
    }

    /// A socket between channeld and connectd: its end of it is on the way to connectd.
    pub(super) fn attach(&self) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = ipc_transport::pair()?;
        (self.node.peers).attach(self.peer, self.claims.clone(), theirs);
        Ok(ours)
    }

    pub(super) async fn new_peer_socket(&mut self, awaited: Awaited) {
        if self.link.is_none() {
            return;
        }
        let Ok(ours) = self.attach() else {
            let why = "no file descriptors are left".to_owned();
            return self.node.stop(Stop::Fatal(why));
        };
        drop(awaited);
        self.keep_connected();
        if let Some(link) = &self.link {
            let _ = link
                .to
                .send_with_fds(&ToChanneld::NewPeerSocket, vec![ours])
                .await;
        }
    }
}

/// What the options ask of every channel.
#[must_use]
pub fn policy(node: &Node) -> Policy {
    let options = &node.options;
    let rates = feerates::estimates(node);
    Policy {
        dust_limit: DUST_LIMIT,
        to_self_delay: options.channels.watchtime,
        max_to_self_delay: MAX_TO_SELF_DELAY,
        htlc_minimum: options.channels.htlc_minimum,
        max_htlc_value_in_flight: None,
        max_accepted_htlcs: options.channels.max_concurrent_htlcs,
        min_capacity: options.channels.min_capacity,
        minimum_depth: u32::from(options.channels.funding_confirms.0),
        max_dust_exposure: options.channels.max_dust_htlc_exposure,
        feerate_min: if options.channels.ignore_fee_limits {
            FeeratePerKw::FLOOR
        } else {
            rates.min_acceptable().max(FeeratePerKw::FLOOR)
        },
        feerate_max: if options.channels.ignore_fee_limits {
            FeeratePerKw(u32::MAX)
        } else {
            rates.max_acceptable(feerates::MAX_MULTIPLIER)
        },
        fulfil_deadline: fulfil_deadline(options.channels.cltv_delta, options.channels.cltv_final),
        close_fees: close_fees(node),
    }
}

/// Half of what a forward has left, as in CLN; but less than what an HTLC for ourselves has left at
/// least, so that none is past it when it arrives.
fn fulfil_deadline(cltv_delta: BlockDelta, cltv_final: BlockDelta) -> BlockDelta {
    BlockDelta(cltv_delta.0.div_ceil(2).min(cltv_final.0.saturating_sub(1)))
}

/// Fees for the mutual close that we would pay or accept.
pub(super) fn close_fees(node: &Node) -> CloseFees {
    let rates = feerates::estimates(node);
    let ideal = rates
        .for_purpose(lightningd_wallet::Purpose::MutualClose)
        .unwrap_or(FeeratePerKw::FLOOR)
        .max(FeeratePerKw::FLOOR);
    // The peer may pick the top of our range: no more than a close without it would cost.
    let max = rates
        .for_purpose(lightningd_wallet::Purpose::UnilateralClose)
        .unwrap_or(ideal)
        .max(ideal);
    CloseFees {
        ideal,
        min: FeeratePerKw::FLOOR,
        max,
    }
}
