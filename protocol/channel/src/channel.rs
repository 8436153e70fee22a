//! One channel from open_channel to the mutual close: which part of its life hears an event.

use tx::ledger::HtlcKey;
use wire::{MilliSatoshi, Side};

use crate::action::{
    Action, AddRefusal, Command, Event, Identity, Notice, OpenRequest, PeerFault, Policy,
};
use crate::opening::{Accepter, Opener, Step};
use crate::running::Running;
use crate::state::{HtlcRecord, Live, Phase};

/// A channel's core. Event in, actions out; see the crate's documentation for the contract.
pub struct Channel {
    stage: Stage,
    policy: Policy,
}

enum Stage {
    Opening(Box<Opener>),
    Accepting(Box<Accepter>),
    Running(Box<Running>),
    /// The opening ended without a channel.
    Ended,
    /// The peer, or a deadline, made the channel fail: on each connection it is told so again.
    Failed(Option<Box<Running>>, String),
}

impl Channel {
    /// fundchannel: we propose a channel.
    #[must_use]
    pub fn open(
        identity: Identity,
        policy: Policy,
        request: OpenRequest,
    ) -> (Channel, Vec<Action>) {
        let (opener, actions) = Opener::start(identity, policy.clone(), request);
        (
            Channel {
                stage: Stage::Opening(Box::new(opener)),
                policy,
            },
            actions,
        )
    }

    /// The peer proposes a channel.
    ///
    /// # Errors
    /// What it proposes is against BOLT 2 or our policy.
    pub fn accept(
        identity: Identity,
        policy: Policy,
        open: wire::OpenChannel,
    ) -> Result<(Channel, Vec<Action>), PeerFault> {
        let (accepter, actions) = Accepter::start(identity, policy.clone(), open)?;
        Ok((
            Channel {
                stage: Stage::Accepting(Box::new(accepter)),
                policy,
            },
            actions,
        ))
    }

    /// Goes on from what the last durable [`crate::action::Persist`] or Record left.
    ///
    /// What is due again after a restart is in the actions: `Locked` for each incoming HTLC
    /// without a decision, `Resolved` for each outgoing one that was fulfilled.
    #[must_use]
    pub fn resume(
        live: Live,
        htlcs: Vec<(HtlcKey, HtlcRecord)>,
        policy: Policy,
    ) -> (Channel, Vec<Action>) {
        // BOLT 2, Message Retransmission, funder: without a funding transaction on its way the
        // channel is not remembered.
        if live.phase == Phase::Opening {
            let reason = "stopped before the peer had signed".to_owned();
            let told = vec![Action::Tell(Notice::OpeningFailed { reason })];
            return (
                Channel {
                    stage: Stage::Ended,
                    policy,
                },
                told,
            );
        }
        let (running, actions) = Running::resume(live, htlcs, policy.clone());
        (
            Channel {
                stage: Stage::Running(Box::new(running)),
                policy,
            },
            actions,
        )
    }

    /// # Errors
    /// The peer is at fault, or a deadline has passed that only the chain can keep. After
    /// `Warning` the shell disconnects and the channel stays; after `Error` it must be closed on chain.
    pub fn handle(&mut self, event: Event) -> Result<Vec<Action>, PeerFault> {
        let result = match &mut self.stage {
            Stage::Opening(opener) => opener.handle(event).map(|step| self.advance(step)),
            Stage::Accepting(accepter) => accepter.handle(event).map(|step| self.advance(step)),
            Stage::Running(running) => running.handle(event),
            Stage::Ended => Ok(Vec::new()),
            // BOLT 2, Message Retransmission, on reconnection: a failed channel repeats its error
            // and hears nothing else.
            Stage::Failed(_, reason) if event == Event::Connected => {
                Err(PeerFault::Error(reason.clone()))
            }
            Stage::Failed(running, _) => Ok(hear_failed(running.as_deref_mut(), event)),
        };
        if let Err(PeerFault::Error(reason)) = &result {
            self.fail(reason.clone());
        }
        result
    }

    /// State and HTLCs, once the opening is done. What they show may not be stored yet.
    #[must_use]
    pub fn live(&self) -> Option<&Live> {
        self.running().map(Running::live)
    }

    /// HTLCs of a running channel.
    pub fn htlcs(&self) -> impl Iterator<Item = (&HtlcKey, &HtlcRecord)> {
        self.running().into_iter().flat_map(Running::htlcs)
    }

    /// What we could offer in one HTLC now, other limits than balance, reserve and fee apart
    /// (`spendable_msat` of listpeerchannels). 0 before the channel runs.
    #[must_use]
    pub fn spendable(&self) -> MilliSatoshi {
        self.running()
            .map(|running| running.spendable(Side::Local))
            .unwrap_or_default()
    }

    /// The same for the peer (`receivable_msat`).
    #[must_use]
    pub fn receivable(&self) -> MilliSatoshi {
        self.running()
            .map(|running| running.spendable(Side::Remote))
            .unwrap_or_default()
    }

    fn running(&self) -> Option<&Running> {
        match &self.stage {
            Stage::Running(running) => Some(running),
            Stage::Failed(running, _) => running.as_deref(),
            Stage::Opening(_) | Stage::Accepting(_) | Stage::Ended => None,
        }
    }

    fn advance(&mut self, step: Step) -> Vec<Action> {
        match step {
            Step::Continue(actions) => actions,
            Step::Done(live, actions) => {
                let running = Running::opened(*live, self.policy.clone());
                self.stage = Stage::Running(Box::new(running));
                actions
            }
            Step::Failed(actions) => {
                self.stage = Stage::Ended;
                actions
            }
        }
    }

    /// The node gave the channel up: from now on each connection hears this error and nothing else.
    pub fn fail(&mut self, reason: String) {
        let running = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Opening(_) | Stage::Accepting(_) | Stage::Ended => return,
            Stage::Running(running) => Some(running),
            Stage::Failed(running, _) => running,
        };
        self.stage = Stage::Failed(running, reason);
    }
}

/// A failed channel only cleans up what was queued.
fn hear_failed(running: Option<&mut Running>, event: Event) -> Vec<Action> {
    match event {
        Event::Disconnected => running.map(Running::disconnected).unwrap_or_default(),
        Event::Command(Command::Add { origin, .. }) => {
            let reason = AddRefusal::ShuttingDown;
            vec![Action::Tell(Notice::AddRefused { origin, reason })]
        }
        Event::Command(Command::FundingSpent) => {
            running.map(Running::funding_spent).unwrap_or_default()
        }
        Event::Connected | Event::Peer(_) | Event::Command(_) | Event::Signer(_) | Event::Flush => {
            Vec::new()
        }
    }
}
