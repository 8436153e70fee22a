//! shutdown both ways, until no HTLC is left (BOLT 2, Closing Initiation).

use bitcoin::ScriptBuf;
use wire::{Message, Shutdown};

use super::{Asked, Link, Outcome, Running, warning};
use crate::action::{Action, CloseFees, Event, Notice};
use crate::closing::Negotiation;
use crate::state::Phase;

impl Running {
    /// We begin, or answer if the peer has begun already.
    pub(super) fn shut_down(
        &mut self,
        script: ScriptBuf,
        fees: CloseFees,
        wished: bool,
    ) -> Vec<Action> {
        let remote = match &mut self.live.phase {
            Phase::AwaitingLockin { .. } | Phase::Normal => None,
            Phase::ShuttingDown {
                local: None,
                remote,
                ..
            } => remote.take(),
            // The script stays as it was told. Fees are negotiated by the newest wish from the next
            // connection on, if they are negotiated already.
            Phase::ShuttingDown { fees: known, .. } | Phase::Closing { fees: known, .. } => {
                if !wished || *known == fees {
                    return vec![];
                }
                *known = fees;
                return vec![Action::Persist(self.persist())];
            }
            Phase::Opening | Phase::Closed { .. } | Phase::Onchain => return vec![],
        };
        // BOLT 2, shutdown, sender: a script that was fixed at opening stays.
        let script = self.fixed_script().unwrap_or(script);
        self.live.shutdown_script = script.clone();
        self.live.phase = Phase::ShuttingDown {
            local: Some(script),
            remote,
            fees,
        };
        // BOLT 2, shutdown, sender: no update_add_htlc after it.
        let mut actions = self.refuse_queued();
        actions.push(Action::Persist(self.persist()));
        actions.extend(self.our_shutdown().map(Action::Send));
        actions.push(Action::Tell(Notice::ShuttingDown { by_us: true }));
        actions
    }

    pub(super) fn peer_shuts_down(&mut self, script: ScriptBuf) -> Outcome {
        // BOLT 2, shutdown, receiver: only scripts that relay (option_shutdown_anysegwit is ours).
        if !tx::closing::is_valid_shutdown_script(&script, true) {
            return Err(warning("shutdown with a script that is not allowed"));
        }
        let fixed = self.live.setup.remote.upfront_shutdown_script.as_ref();
        // BOLT 2, shutdown, receiver: another script than the one fixed at opening.
        if fixed.is_some_and(|fixed| !fixed.is_empty() && *fixed != script) {
            return Err(warning("shutdown with another script than at opening"));
        }
        // BOLT 2, shutdown, sender: not while updates are pending on the receiver's commitment.
        if self.next_in != self.live.remote_next_htlc_id {
            return Err(warning("shutdown with uncommitted HTLCs"));
        }
        let (local, known, fees) = match &self.live.phase {
            Phase::AwaitingLockin { .. } | Phase::Normal => (None, None, self.policy.close_fees),
            Phase::ShuttingDown {
                local,
                remote,
                fees,
            } => (local.clone(), remote.clone(), *fees),
            Phase::Closing {
                local,
                remote,
                fees,
                ..
            } => (Some(local.clone()), Some(remote.clone()), *fees),
            Phase::Opening | Phase::Closed { .. } | Phase::Onchain => return Ok(vec![]),
        };
        if let Some(known) = known {
            // BOLT 2, shutdown: once, and again after a reconnection; it does not change.
            return match known == script {
                true => Ok(vec![]),
                false => Err(warning("shutdown with another script than before")),
            };
        }
        let begins = local.is_none();
        let ours = local
            .or_else(|| self.fixed_script())
            .unwrap_or_else(|| self.live.shutdown_script.clone());
        self.live.shutdown_script = ours.clone();
        self.live.phase = Phase::ShuttingDown {
            local: Some(ours),
            remote: Some(script),
            fees,
        };
        let mut actions = self.refuse_queued();
        actions.push(Action::Persist(self.persist()));
        if begins {
            // BOLT 2, shutdown, receiver: it is answered once no update of ours is outstanding;
            // ours leave only together with their commitment_signed, so none is.
            actions.extend(self.our_shutdown().map(Action::Send));
            actions.push(Action::Tell(Notice::ShuttingDown { by_us: false }));
        }
        Ok(actions)
    }

    fn fixed_script(&self) -> Option<ScriptBuf> {
        let fixed = self.live.setup.local.upfront_shutdown_script.clone();
        fixed.filter(|script| !script.is_empty())
    }

    /// Our shutdown message, if it is due and the peer can hear it.
    pub(super) fn our_shutdown(&self) -> Option<Message> {
        let local = match &self.live.phase {
            Phase::ShuttingDown { local, .. } => local.as_ref()?,
            Phase::Closing { local, .. } => local,
            Phase::Opening
            | Phase::AwaitingLockin { .. }
            | Phase::Normal
            | Phase::Closed { .. }
            | Phase::Onchain => return None,
        };
        (self.link == Link::Up).then(|| {
            let channel_id = self.live.channel_id;
            Message::Shutdown(Shutdown {
                channel_id,
                scriptpubkey: local.clone(),
            })
        })
    }

    /// Starts the negotiation as soon as both have said shutdown and nothing is pending.
    pub(super) fn begin_closing(&mut self) -> Outcome {
        if self.link != Link::Up || self.asked.is_some() || self.closing.is_some() {
            return Ok(vec![]);
        }
        let mut actions = Vec::new();
        match &self.live.phase {
            Phase::ShuttingDown {
                local: Some(local),
                remote: Some(remote),
                fees,
            } if self.is_clean() => {
                let (local, remote, fees) = (local.clone(), remote.clone(), *fees);
                self.live.phase = Phase::Closing {
                    local,
                    remote,
                    fees,
                    last_fee: None,
                };
                actions.push(Action::Record(self.persist()));
            }
            // After a reconnection.
            Phase::Closing { .. } => {}
            Phase::Opening
            | Phase::AwaitingLockin { .. }
            | Phase::Normal
            | Phase::ShuttingDown { .. }
            | Phase::Closed { .. }
            | Phase::Onchain => return Ok(vec![]),
        }
        let (negotiation, started) = Negotiation::start(&mut self.live)?;
        self.closing = Some(negotiation);
        actions.extend(self.note_closing(started));
        Ok(actions)
    }

    // BOLT 2, closing_signed: no HTLC in either commitment, no revocation owed by either side, and
    // all updates in both commitments.
    fn is_clean(&self) -> bool {
        self.htlcs.is_empty()
            && self.live.feerate.pending.is_empty()
            && self.owed.is_none()
            && !self.live.awaiting_revocation
    }

    pub(super) fn closing_signed(&mut self, message: Message) -> Outcome {
        if !matches!(self.live.phase, Phase::Closing { .. }) {
            return Err(warning("closing_signed before the shutdown is complete"));
        }
        self.closing_event(Event::Peer(message))
    }

    pub(super) fn closing_event(&mut self, event: Event) -> Outcome {
        let Some(negotiation) = &mut self.closing else {
            return Err(warning("closing_signed without a negotiation"));
        };
        let actions = negotiation.handle(&mut self.live, event)?;
        Ok(self.note_closing(actions))
    }

    fn note_closing(&mut self, actions: Vec<Action>) -> Vec<Action> {
        if let Some(Action::AskSigner(_)) = actions.last() {
            self.asked = Some(Asked::Closing);
        }
        actions
    }
}
