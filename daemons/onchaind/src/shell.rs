//! The loop: hears lightningd, runs the core's actions in order, feeds results back.
//!
//! Persist and AskSigner wait for their answer on the spot; what arrives meanwhile stays in the
//! socket. Replies of hsmd are heard by the core once the actions that stand beside their questions
//! are done, in the order of the questions.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use ipc_messages::edges::{HsmOnchain, LightningdOnchaind};
use ipc_messages::hsm::onchain::{Reply, Request};
use ipc_messages::lightningd_onchaind::{ToLightningd, ToOnchaind};
use ipc_transport::blocking::{LowerConn, UpperConn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use onchain::action::{Action, Broadcast, Encoded, Event};
use onchain::{Onchain, State};

/// So many messages are handled before lightningd is told how far it got.
const TURN: usize = 256;

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

pub struct Shell {
    node: LowerConn<LightningdOnchaind>,
    hsm: UpperConn<HsmOnchain>,
    core: Onchain,
    /// What lightningd said while something else was waited for.
    waiting: VecDeque<ToOnchaind>,
    /// What hsmd said and the core has not heard.
    replies: VecDeque<Reply>,
    sequence: u64,
    /// Messages handled, and how many of them lightningd knows of.
    handled: u64,
    told: u64,
}

/// lightningd said Stop while something waited for the database.
#[derive(Debug, thiserror::Error)]
#[error("stopped by lightningd")]
struct Stopped;

impl Shell {
    pub fn new(
        node: LowerConn<LightningdOnchaind>,
        hsm: UpperConn<HsmOnchain>,
        core: Onchain,
    ) -> Shell {
        Shell {
            node,
            hsm,
            core,
            waiting: VecDeque::new(),
            replies: VecDeque::new(),
            sequence: 0,
            handled: 0,
            told: 0,
        }
    }

    /// Runs until lightningd says Stop or is gone.
    ///
    /// # Errors
    /// lightningd or hsmd sent a bad frame, or hsmd is gone.
    pub fn run(mut self, begin: Vec<Action>) -> anyhow::Result<()> {
        let done = self.begin(begin).and_then(|()| self.turns());
        match done {
            Err(error) if error.is::<Stopped>() => Ok(()),
            done => done,
        }
    }

    /// What the core wants at once; nothing is handled yet, and lightningd hears that.
    fn begin(&mut self, actions: Vec<Action>) -> anyhow::Result<()> {
        self.act(actions)?;
        self.node.send(&ToLightningd::Handled { messages: 0 })?;
        Ok(self.node.flush()?)
    }

    fn turns(&mut self) -> anyhow::Result<()> {
        loop {
            self.wait()?;
            if self.hear()? == Go::Stop {
                return Ok(());
            }
            if self.told < self.handled {
                self.told = self.handled;
                let messages = self.handled;
                self.node.send(&ToLightningd::Handled { messages })?;
            }
            self.node.flush()?;
        }
    }

    /// Sleeps until there is something to hear, unless it is here already: what came in one read with
    /// what was waited for is in no socket any more.
    fn wait(&mut self) -> anyhow::Result<()> {
        if let Some(message) = self.node.recv_buffered()? {
            self.waiting.push_back(message);
        }
        if !self.waiting.is_empty() {
            return Ok(());
        }
        let mut fds = [PollFd::new(self.node.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear(&mut self) -> anyhow::Result<Go> {
        for _ in 0..TURN {
            let message = match self.waiting.pop_front() {
                Some(message) => message,
                None => match self.node.try_recv() {
                    Ok(Some(message)) => message,
                    Ok(None) => return Ok(Go::On),
                    Err(error) if error.is_closed() => return Ok(Go::Stop),
                    Err(error) => return Err(error.into()),
                },
            };
            if self.node_said(message)? == Go::Stop {
                return Ok(Go::Stop);
            }
        }
        Ok(Go::On)
    }

    fn node_said(&mut self, message: ToOnchaind) -> anyhow::Result<Go> {
        let event = match message {
            ToOnchaind::Htlcs { .. } | ToOnchaind::Start(_) => {
                anyhow::bail!("lightningd says how to start twice")
            }
            ToOnchaind::Confirmed { tx, height } => {
                let Some(tx) = tx.decode() else {
                    anyhow::bail!("lightningd's transaction is none");
                };
                Event::Confirmed { tx, height }
            }
            ToOnchaind::Block { height } => Event::Block { height },
            ToOnchaind::Disconnected { from } => Event::Disconnected { from },
            ToOnchaind::Preimage { preimage } => Event::Preimage { preimage },
            ToOnchaind::Feerates(feerates) => Event::Feerates(feerates),
            ToOnchaind::Coins { claim, coins } => Event::Coins { claim, coins },
            ToOnchaind::Taken { txid } => Event::Taken { txid },
            ToOnchaind::Rejected {
                txid,
                reason,
                rival,
            } => Event::Rejected {
                txid,
                reason,
                rival: rival.as_ref().and_then(Encoded::decode),
            },
            ToOnchaind::Persisted { .. } => return Ok(Go::On),
            ToOnchaind::Stop => return Ok(Go::Stop),
        };
        let actions = self.core.handle(event);
        self.act(actions)?;
        self.handled += 1;
        Ok(Go::On)
    }

    /// Actions and everything that follows from them.
    fn act(&mut self, actions: Vec<Action>) -> anyhow::Result<()> {
        self.run_actions(actions)?;
        while let Some(reply) = self.replies.pop_front() {
            let actions = self.core.handle(Event::Signer(reply));
            self.run_actions(actions)?;
        }
        Ok(())
    }

    fn run_actions(&mut self, actions: Vec<Action>) -> anyhow::Result<()> {
        for action in actions {
            match action {
                Action::Persist(state) => self.persist(state)?,
                Action::Record(state) => self.hand_over(state, false)?,
                Action::AskSigner(request) => self.ask(&request)?,
                Action::Watch(outpoints) => self.node.send(&ToLightningd::Watch { outpoints })?,
                Action::Broadcast(Broadcast { tx, parent }) => {
                    let (tx, parent) = (Encoded::of(&tx), parent.as_ref().map(Encoded::of));
                    self.node.send(&ToLightningd::Broadcast { tx, parent })?;
                }
                Action::NeedCoins {
                    claim,
                    weight,
                    value,
                    feerate,
                    most,
                } => self.node.send(&ToLightningd::NeedCoins {
                    claim,
                    weight,
                    value,
                    feerate,
                    most,
                })?,
                Action::FreeCoins { claim } => {
                    self.node.send(&ToLightningd::FreeCoins { claim })?;
                }
                Action::Tell(notice) => {
                    self.node.send(&ToLightningd::Notice(Box::new(notice)))?;
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<()> {
        // The answer may take a synced write: what stands before it need not wait so long.
        self.node.flush()?;
        let reply = self.hsm.call(request)?;
        if let Reply::Refused { rule, reason } = &reply {
            let (rule, reason) = (rule.clone(), reason.clone());
            self.node.send(&ToLightningd::Refused { rule, reason })?;
        }
        self.replies.push_back(reply);
        Ok(())
    }

    fn hand_over(&mut self, state: Box<State>, wait: bool) -> anyhow::Result<()> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.node.send(&ToLightningd::Persist {
            sequence,
            wait,
            state,
        })?;
        Ok(())
    }

    /// Waits until it is durable. What else lightningd says meanwhile is kept in order.
    fn persist(&mut self, state: Box<State>) -> anyhow::Result<()> {
        self.hand_over(state, true)?;
        loop {
            match self.node.recv()? {
                ToOnchaind::Persisted { sequence } if sequence >= self.sequence => return Ok(()),
                ToOnchaind::Stop => return Err(Stopped.into()),
                other => self.waiting.push_back(other),
            }
        }
    }
}
