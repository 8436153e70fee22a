//! A channel with a funding output: updates, commitments, reestablishment, shutdown (BOLT 2).
//!
//! What is where:
//! - `ledgers`: what the next commitment of each side holds, and the deltas that lead there
//! - `commit`: commitment_signed and revoke_and_ack, both ways
//! - `receive`: the peer's updates; `offer`: ours; `deadline`: when only the chain helps
//! - `withdraw`: what hsmd does not sign
//! - `ready`: channel_ready; `reestablish`: after each connection; `shutdown`: to the mutual close
//!
//! Invariants:
//! - An update of ours leaves right before the commitment_signed that contains it, never earlier.
//! - State moves in memory as the messages do. What is stored is [`Running::persist`]'s projection:
//!   as if every validated commitment were revoked and all uncommitted updates forgotten.
//! - hsmd is never ahead of the database with a signature on the peer's commitment: Persist
//!   stands before SignRemote. It may be ahead with a validated commitment of ours or a
//!   revocation of the peer's: both come again at reestablish and hsmd takes the repetition.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use secp256k1::PublicKey;
use tx::ledger::{HtlcKey, Ledger};
use tx::signer::{Reply, Request, RevocationSecret};
use wire::{BlockHeight, FeeratePerKw, HtlcId, Message, Side};

use crate::action::{Action, Command, Event, Notice, Origin, PeerFault, Persist, Policy, Removal};
use crate::closing::Negotiation;
use crate::progress::Step;
use crate::state::{Balances, FeerateState, HtlcRecord, HtlcState, Live, Phase};

mod commit;
mod deadline;
mod ledgers;
mod offer;
mod ready;
mod receive;
mod reestablish;
mod shutdown;
mod withdraw;

/// See the module.
pub(crate) struct Running {
    live: Live,
    policy: Policy,
    htlcs: BTreeMap<HtlcKey, HtlcRecord>,
    /// HTLCs that changed since they were last handed to the database.
    dirty: BTreeSet<HtlcKey>,
    /// Our newest commitment and the newest that we signed for the peer.
    local: Ledger,
    remote: Ledger,
    /// Our point of our newest commitment, until it is handed to the database's side.
    local_point: Option<PublicKey>,
    link: Link,
    /// What the outstanding request to the signer was for.
    asked: Option<Asked>,
    /// Our previous commitment is revoked at hsmd; the peer is to be told at the next flush.
    owed: Option<OwedRevocation>,
    /// The next ids, counting updates that no commitment holds yet.
    next_out: HtlcId,
    next_in: HtlcId,
    /// The peer's updates or a feerate came after our queued additions were checked.
    recheck: bool,
    /// Opener: the feerate to aim at.
    target: Option<FeeratePerKw>,
    height: Option<BlockHeight>,
    /// The funding transaction has its minimum depth.
    deep: bool,
    closing: Option<Negotiation>,
    /// What the peer still needs again after channel_reestablish.
    resend: VecDeque<reestablish::Resend>,
    /// Whose HTLCs hsmd did not sign; told when the connection is gone.
    withdrawn: Vec<Origin>,
}

/// The connection, as far as this channel is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// Our channel_reestablish is out, the peer's is not here.
    Reestablishing,
    Up,
    /// A commitment was withdrawn: nothing is said or heard until the next connection.
    Ending,
    /// The peer proved that our state is old: nothing may be done any more.
    Stale,
}

/// What the signer is busy with.
enum Asked {
    /// Knows the peer's newest secret, whatever a loss of power left it.
    RepeatedRevocation,
    /// A point for channel_reestablish.
    ReestablishPoint,
    /// Whether the secret in the peer's channel_reestablish is ours, and of which age.
    Proof(Box<wire::ChannelReestablish>),
    /// Our point 1 for channel_ready.
    ReadyPoint,
    /// For a revoke_and_ack that is sent again.
    ResendSecret,
    ResendPoint(RevocationSecret),
    /// The signatures for the newest commitment of the peer.
    Signature,
    /// Validates our next commitment, which has this ledger.
    Validation(Box<Ledger>),
    /// Stores the secret of the peer's previous commitment.
    Revocation {
        secret: RevocationSecret,
        next_point: PublicKey,
    },
    /// Whatever the closing negotiation needs.
    Closing,
}

/// A revoke_and_ack that has not left yet.
struct OwedRevocation {
    secret: RevocationSecret,
    next_point: PublicKey,
}

type Outcome = Result<Vec<Action>, PeerFault>;

impl Running {
    /// Right after the opening, on the same connection.
    pub(crate) fn opened(live: Live, policy: Policy) -> Running {
        let mut running = Running::new(live, BTreeMap::new(), policy);
        running.link = Link::Up;
        running
    }

    pub(crate) fn resume(
        live: Live,
        htlcs: Vec<(HtlcKey, HtlcRecord)>,
        policy: Policy,
    ) -> (Running, Vec<Action>) {
        let mut running = Running::new(live, htlcs.into_iter().collect(), policy);
        let actions = running.resumed();
        (running, actions)
    }

    fn new(live: Live, htlcs: BTreeMap<HtlcKey, HtlcRecord>, policy: Policy) -> Running {
        Running {
            local: live.ledger(Side::Local, &htlcs),
            remote: live.ledger(Side::Remote, &htlcs),
            local_point: None,
            dirty: BTreeSet::new(),
            link: Link::Down,
            asked: None,
            owed: None,
            next_out: live.next_htlc_id,
            next_in: live.remote_next_htlc_id,
            recheck: false,
            target: None,
            height: None,
            deep: live.scid.is_some(),
            closing: None,
            resend: VecDeque::new(),
            withdrawn: Vec::new(),
            live,
            policy,
            htlcs,
        }
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    pub(crate) fn htlcs(&self) -> impl Iterator<Item = (&HtlcKey, &HtlcRecord)> {
        self.htlcs.iter()
    }

    pub(crate) fn handle(&mut self, event: Event) -> Outcome {
        if matches!(self.live.phase, Phase::Closed { .. } | Phase::Onchain)
            || self.link == Link::Stale
        {
            return self.handle_at_the_end(event);
        }
        let mut actions = match event {
            Event::Connected => self.connected(),
            Event::Disconnected => self.disconnected(),
            Event::Peer(message) => self.message(message)?,
            Event::Command(command) => self.command(command)?,
            Event::Signer(reply) => self.signer(reply)?,
            Event::Flush => self.flush()?,
        };
        actions.extend(self.begin_closing()?);
        Ok(actions)
    }

    /// Nothing is negotiated any more.
    fn handle_at_the_end(&mut self, event: Event) -> Outcome {
        match event {
            Event::Disconnected if self.link == Link::Stale => {
                self.link = Link::Down;
                Ok(vec![])
            }
            Event::Connected if self.live.is_recovered() => Ok(self.connected()),
            Event::Signer(reply) if self.live.is_recovered() && self.asked.take().is_some() => {
                self.ask_to_close(reply)
            }
            Event::Disconnected if self.live.is_recovered() => Ok(self.disconnected()),
            Event::Command(Command::FundingSpent) => Ok(self.funding_spent()),
            Event::Command(Command::Add { origin, .. }) => {
                Ok(vec![Action::Tell(Notice::AddRefused {
                    origin,
                    reason: crate::action::AddRefusal::ShuttingDown,
                })])
            }
            Event::Connected
            | Event::Disconnected
            | Event::Peer(_)
            | Event::Command(_)
            | Event::Signer(_)
            | Event::Flush => Ok(vec![]),
        }
    }

    fn command(&mut self, command: Command) -> Outcome {
        match command {
            Command::Add {
                origin,
                htlc,
                onion,
            } => Ok(self.add(origin, htlc, onion)),
            Command::Remove { id, removal } => Ok(self.remove(id, removal)),
            Command::Feerate { feerate } => {
                self.target = Some(feerate);
                Ok(vec![])
            }
            Command::Block { height } => self.block(height),
            Command::FundingDepth { depth, scid } => Ok(self.funding_depth(depth, scid)),
            Command::Shutdown {
                script,
                fees,
                wished,
            } => Ok(self.shut_down(script, fees, wished)),
            Command::FundingSpent => Ok(self.funding_spent()),
            Command::Relay { message } => Ok(match self.link {
                Link::Up => vec![Action::Send(message)],
                Link::Down | Link::Reestablishing | Link::Ending | Link::Stale => vec![],
            }),
            // The opening is over.
            Command::FundingCreated { .. } | Command::CancelOpening { .. } => Ok(vec![]),
        }
    }

    fn message(&mut self, message: Message) -> Outcome {
        if self.link == Link::Ending {
            return Ok(vec![]);
        }
        // channel_update and the like do not depend on the channel's state (BOLT 2, Message
        // Retransmission), and errors are the node's to judge.
        if let Message::ChannelUpdate(_)
        | Message::AnnouncementSignatures(_)
        | Message::Error(_)
        | Message::Warning(_) = message
        {
            return Ok(vec![Action::Tell(Notice::PeerUpdate { message })]);
        }
        if let Message::ChannelReestablish(message) = message {
            return self.reestablish(message);
        }
        // BOLT 2, Message Retransmission: on a new connection channel_reestablish comes first.
        if self.link != Link::Up {
            return Err(warning(format!(
                "{} before channel_reestablish",
                message.name()
            )));
        }
        match message {
            Message::UpdateAddHtlc(m) => self.peer_adds(m),
            Message::UpdateFulfillHtlc(m) => self.peer_fulfils(&m),
            Message::UpdateFailHtlc(m) => self.peer_fails(m),
            Message::UpdateFailMalformedHtlc(m) => self.peer_fails_malformed(&m),
            Message::UpdateFee(m) => self.peer_changes_feerate(&m),
            Message::CommitmentSigned(m) => self.commitment_signed(m),
            Message::RevokeAndAck(m) => self.revoke_and_ack(&m),
            Message::ChannelReady(m) => self.peer_ready(&m),
            Message::Shutdown(m) => self.peer_shuts_down(m.scriptpubkey),
            Message::ClosingSigned(_) => self.closing_signed(message),
            // BOLT 1: odd messages may be ignored, even ones must be understood.
            other if other.is_even() => {
                Err(warning(format!("{} in a running channel", other.name())))
            }
            _ => Ok(vec![]),
        }
    }

    fn signer(&mut self, reply: Reply) -> Outcome {
        let Some(asked) = self.asked.take() else {
            return Err(warning("signer replied, but nothing was asked"));
        };
        match asked {
            // If it was refused, so will be the next commitment. What is undecided is told all the same.
            Asked::RepeatedRevocation => Ok(self.told_again()),
            Asked::ReestablishPoint => Ok(self.send_reestablish(point(reply)?)),
            Asked::Proof(message) => self.proof(&message, reply),
            Asked::ReadyPoint => self.send_ready(point(reply)?),
            Asked::ResendSecret => self.resend_secret(reply),
            Asked::ResendPoint(secret) => self.resend_revocation(secret, point(reply)?),
            Asked::Signature => self.signed(reply),
            Asked::Validation(ledger) => self.validated(*ledger, reply),
            Asked::Revocation { secret, next_point } => self.revoked(secret, next_point, reply),
            Asked::Closing => self.closing_event(Event::Signer(reply)),
        }
    }

    /// Asks the signer; the last action of its list.
    fn ask(&mut self, asked: Asked, request: Request) -> Action {
        self.asked = Some(asked);
        Action::AskSigner(request)
    }

    pub(crate) fn disconnected(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        // The next channel_reestablish acknowledges the commitment that we owe a revocation for:
        // from then on it is as good as sent, so it has to be durable now.
        if self.owed.take().is_some() {
            self.advance(Step::SentRevocation);
            actions.push(Action::Persist(self.persist()));
        }
        if self.link == Link::Ending {
            actions.push(Action::Record(self.persist()));
            actions.extend(self.refuse_withdrawn());
        }
        actions.extend(self.forget_uncommitted());
        if let Link::Up | Link::Ending = self.link {
            actions.push(Action::Tell(Notice::Active { active: false }));
        }
        self.link = Link::Down;
        self.asked = None;
        self.closing = None;
        self.resend.clear();
        actions
    }

    /// BOLT 2, Message Retransmission, on disconnection: updates in no commitment are undone,
    /// the peer's because they must be, ours because they never left.
    fn forget_uncommitted(&mut self) -> Vec<Action> {
        let mut refused = Vec::new();
        self.htlcs.retain(|_, record| match record.state {
            HtlcState::RcvdAddHtlc => false,
            HtlcState::SentAddHtlc => {
                refused.extend(record.origin.map(|origin| {
                    let reason = crate::action::AddRefusal::NotConnected;
                    Action::Tell(Notice::AddRefused { origin, reason })
                }));
                false
            }
            HtlcState::RcvdRemoveHtlc => {
                record.state = HtlcState::SentAddAckRevocation;
                record.removal = None;
                true
            }
            _ => true,
        });
        self.next_out = self.live.next_htlc_id;
        self.next_in = self.live.remote_next_htlc_id;
        self.live
            .feerate
            .pending
            .retain(|(_, state)| state.entered_by() != Step::Update);
        refused
    }

    pub(crate) fn funding_spent(&mut self) -> Vec<Action> {
        if self.live.phase == Phase::Onchain {
            return vec![];
        }
        self.live.phase = Phase::Onchain;
        let mut actions = vec![Action::Record(self.persist())];
        actions.extend(self.refuse_withdrawn());
        actions.extend(self.forget_uncommitted());
        actions
    }

    /// What is to be stored now: see the invariants of the module.
    fn persist(&mut self) -> Box<Persist> {
        let mut live = self.live.clone();
        live.feerate = live.feerate.stored();
        // As far as what is stored goes they are over: here too, then.
        for (key, record) in self
            .htlcs
            .iter()
            .filter(|(_, r)| r.state.is_stored_as_over())
        {
            live.tally(key, record);
        }
        let htlcs = std::mem::take(&mut self.dirty)
            .into_iter()
            .filter_map(|key| Some((key, self.stored(&key)?)))
            .collect();
        Box::new(Persist {
            live,
            htlcs,
            local_point: self.local_point.take(),
        })
    }

    /// The record to be stored under `key`, `Some(None)` if none is to be left, `None` if nothing
    /// is to be written.
    fn stored(&self, key: &HtlcKey) -> Option<Option<HtlcRecord>> {
        let Some(record) = self.htlcs.get(key) else {
            return Some(None);
        };
        let Some(state) = record.state.stored() else {
            return record.state.is_stored_as_over().then_some(None);
        };
        let mut record = HtlcRecord {
            state,
            ..record.clone()
        };
        if !state.is_removal() {
            // The peer may still take back what it said without a commitment.
            record.removal = None;
        }
        Some(Some(record))
    }

    /// Moves every update that `step` moves; settled HTLCs leave.
    fn advance(&mut self, step: Step) -> Moved {
        let mut moved = Moved::default();
        for (key, record) in &mut self.htlcs {
            if let Some(state) = record.state.after(step) {
                record.state = state;
                self.dirty.insert(*key);
                moved.keys.push(*key);
            }
        }
        self.live.feerate.advance(step);
        for key in &moved.keys {
            let settled = |record: &HtlcRecord| record.state.next().is_none();
            if self.htlcs.get(key).is_some_and(settled)
                && let Some(record) = self.htlcs.remove(key)
            {
                self.live.tally(key, &record);
                moved.settled.push((*key, record));
            }
        }
        moved
    }

    /// The live state's balances follow the ledgers.
    fn note_balances(&mut self) {
        let of = |l: &Ledger| Balances {
            to_local: l.to_local,
            to_remote: l.to_remote,
        };
        self.live.local_view = of(&self.local);
        self.live.remote_view = of(&self.remote);
    }
}

/// What a step did.
#[derive(Default)]
struct Moved {
    keys: Vec<HtlcKey>,
    settled: Vec<(HtlcKey, HtlcRecord)>,
}

impl Live {
    /// What `owner`'s newest commitment holds. `htlcs`: all of the channel's.
    #[must_use]
    pub fn ledger(&self, owner: Side, htlcs: &BTreeMap<HtlcKey, HtlcRecord>) -> Ledger {
        let (balances, is_in): (_, fn(HtlcState) -> bool) = match owner {
            Side::Local => (self.local_view, HtlcState::in_local),
            Side::Remote => (self.remote_view, HtlcState::in_remote),
        };
        let held = htlcs.iter().filter(|(_, record)| is_in(record.state));
        Ledger {
            to_local: balances.to_local,
            to_remote: balances.to_remote,
            feerate: self.feerate.newest(is_in),
            htlcs: held.map(|(key, record)| (*key, record.htlc)).collect(),
        }
    }

    fn tally(&mut self, key: &HtlcKey, record: &HtlcRecord) {
        if let Some(Removal::Fulfil { .. }) = record.removal {
            let tally = match key.offerer {
                Side::Local => &mut self.fulfilled_out,
                Side::Remote => &mut self.fulfilled_in,
            };
            tally.count = tally.count.saturating_add(1);
            tally.amount = tally.amount.saturating_add(record.htlc.amount);
        }
    }
}

impl FeerateState {
    /// The feerate of the commitment that `is_in` describes.
    fn newest(&self, is_in: fn(HtlcState) -> bool) -> FeeratePerKw {
        let newest = self.pending.iter().rev().find(|(_, state)| is_in(*state));
        newest.map_or(self.current, |(feerate, _)| *feerate)
    }

    fn advance(&mut self, step: Step) {
        for (_, state) in &mut self.pending {
            if let Some(next) = state.after(step) {
                *state = next;
            }
        }
        self.merge();
    }

    /// As before our newest commitment_signed: a change of ours waits, the peer's is not acknowledged.
    fn withdraw(&mut self) {
        for (_, state) in &mut self.pending {
            *state = state.before(Step::SentCommit).unwrap_or(*state);
        }
        self.merge();
    }

    fn stored(&self) -> FeerateState {
        let pending = self.pending.iter();
        let stored = pending.filter_map(|(feerate, state)| Some((*feerate, state.stored()?)));
        let mut stored = FeerateState {
            current: self.current,
            pending: stored.collect(),
        };
        stored.merge();
        stored
    }

    /// One that has arrived is in force; of several that have come as far, the last counts.
    fn merge(&mut self) {
        let mut merged: Vec<(FeeratePerKw, HtlcState)> = Vec::new();
        for (feerate, state) in self.pending.drain(..) {
            if state.is_added() {
                self.current = feerate;
                merged.clear();
                continue;
            }
            merged.retain(|(_, earlier)| *earlier != state);
            merged.push((feerate, state));
        }
        self.pending = merged;
    }

    fn push(&mut self, feerate: FeeratePerKw, state: HtlcState) {
        self.pending.push((feerate, state));
        self.merge();
    }
}

/// BOLT 1 warning, then disconnect.
fn warning(text: impl Into<String>) -> PeerFault {
    PeerFault::Warning(text.into())
}

/// A reply that does not fit the request: hsmd refused (its rule is in the text), or a bug.
fn unexpected(reply: Reply) -> PeerFault {
    match reply {
        Reply::Refused { rule, reason } => warning(format!("signer refused ({rule}): {reason}")),
        _ => warning("signer gave a reply of another kind"),
    }
}

fn point(reply: Reply) -> Result<PublicKey, PeerFault> {
    match reply {
        Reply::Point { point } => Ok(point),
        other => Err(unexpected(other)),
    }
}
