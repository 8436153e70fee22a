//! Legacy closing negotiation (BOLT 2, closing_signed): the fee of the mutual close.
//!
//! How it plugs in: when no HTLC is left, or a reestablish in `Phase::Closing` is done, the
//! channel makes a [`Negotiation`] (kept in memory only: BOLT 2 restarts it on each connection)
//! and hands it `Event::Peer(ClosingSigned)` and the replies to its own `AskSigner`s, nothing else.
//! It reads scripts and fee bounds from `Phase::Closing`, writes `last_fee` there (Persist stands
//! before each `Send(closing_signed)`), and ends with `live.phase = Phase::Closed { tx }` and
//! `[Tell(MutualClose), Persist, (Send(closing_signed))]`.
//!
//! MutualClose comes before the Persist of `Phase::Closed`, and the phase keeps the transaction, to be
//! told again after a restart: no crash leaves a closed channel without its closing transaction.
//!
//! Fees are for the whole transaction and never above the opener's balance, which pays them. The
//! accepter pays nothing: it has no maximum of its own (BOLT 2, rationale).
//!
//! Not here: `option_simple_close`; and the choice between the two variants of the transaction
//! (a signer may leave out its own output if it is dust): hsmd builds what it signs and verifies.

mod fee;
#[cfg(test)]
mod tests;

use bitcoin::ScriptBuf;
use secp256k1::ecdsa::Signature;
use tx::signer::{CloseTerms, Reply, Request};
use wire::{ClosingSigned, FeeRange, Message, Satoshi};

use crate::action::{Action, Event, Notice, PeerFault, Persist};
use crate::state::{Live, Phase};
use fee::{Answer, Fees};

/// One negotiation, on one connection.
pub struct Negotiation {
    fees: Fees,
    local_script: ScriptBuf,
    remote_script: ScriptBuf,
    state: State,
}

/// What it waits for.
enum State {
    /// The peer's closing_signed.
    Peer,
    /// The signer: SignClose for a fee that the peer did not name.
    Proposal {
        fee: Satoshi,
        range: FeeRange,
    },
    /// The signer: SignClose for the fee that the peer named.
    Agreement {
        fee: Satoshi,
        range: FeeRange,
        theirs: Signature,
    },
    /// The signer: CompleteClose. `reply` is still to be sent.
    Completion {
        reply: Option<ClosingSigned>,
    },
    Nothing,
}

type Outcome = Result<Vec<Action>, PeerFault>;

impl Negotiation {
    /// The opener begins (`AskSigner(SignClose)`), the accepter waits (no action).
    ///
    /// # Errors
    /// `Warning` if the channel is not in `Phase::Closing`.
    pub fn start(live: &mut Live) -> Result<(Negotiation, Vec<Action>), PeerFault> {
        let Phase::Closing {
            local,
            remote,
            fees,
            ..
        } = &live.phase
        else {
            return Err(PeerFault::Warning(
                "the shutdown is not complete".to_owned(),
            ));
        };
        let mut negotiation = Negotiation {
            fees: Fees::new(live, local, remote, *fees),
            local_script: local.clone(),
            remote_script: remote.clone(),
            state: State::Peer,
        };
        // BOLT 2, closing_signed: the opener proposes first.
        let actions = match negotiation.fees.first() {
            Some((fee, range)) => negotiation.propose(fee, range),
            None => vec![],
        };
        Ok((negotiation, actions))
    }

    /// # Errors
    /// `Warning`: no fee can be found on this connection; `Error`: the peer signed badly, or
    /// leaves the fee ranges that both have named.
    pub fn handle(&mut self, live: &mut Live, event: Event) -> Outcome {
        match event {
            Event::Peer(Message::ClosingSigned(message)) => self.receive(&message),
            Event::Signer(reply) => self.signer(live, reply),
            Event::Peer(other) => Err(PeerFault::Warning(format!(
                "{} while closing",
                other.name()
            ))),
            Event::Connected | Event::Disconnected | Event::Command(_) | Event::Flush => Ok(vec![]),
        }
    }

    fn receive(&mut self, message: &ClosingSigned) -> Outcome {
        let State::Peer = self.state else {
            return match self.state {
                State::Nothing => Ok(vec![]),
                State::Peer
                | State::Proposal { .. }
                | State::Agreement { .. }
                | State::Completion { .. } => {
                    Err(PeerFault::Warning("closing_signed out of turn".to_owned()))
                }
            };
        };
        let theirs = message.signature;
        match self.fees.hear(message.fee_satoshis, message.fee_range)? {
            Answer::Complete(fee) => Ok(vec![self.complete(fee, theirs, None)]),
            Answer::Agree(fee, range) => {
                self.state = State::Agreement { fee, range, theirs };
                Ok(vec![self.sign_close(fee)])
            }
            Answer::Propose(fee, range) => Ok(self.propose(fee, range)),
        }
    }

    fn signer(&mut self, live: &mut Live, reply: Reply) -> Outcome {
        match (std::mem::replace(&mut self.state, State::Nothing), reply) {
            (State::Proposal { fee, range }, Reply::SignedClose { signature }) => {
                self.state = State::Peer;
                self.fees.sent(fee);
                note_fee(live, fee);
                let message = closing_signed(live, fee, range, signature);
                Ok(vec![
                    persist(live),
                    Action::Send(Message::ClosingSigned(message)),
                ])
            }
            (State::Agreement { fee, range, theirs }, Reply::SignedClose { signature }) => {
                let reply = closing_signed(live, fee, range, signature);
                Ok(vec![self.complete(fee, theirs, Some(reply))])
            }
            (State::Completion { reply }, Reply::CompletedClose { tx }) => {
                live.phase = Phase::Closed { tx: tx.clone() };
                let mut actions = vec![Action::Tell(Notice::MutualClose { tx }), persist(live)];
                actions.extend(reply.map(|reply| Action::Send(Message::ClosingSigned(reply))));
                Ok(actions)
            }
            // BOLT 2, closing_signed, receiver: a signature that does not fit the transaction.
            (State::Completion { .. }, Reply::Refused { rule, reason }) => {
                let text = format!("closing_signed: refused by the signer ({rule}): {reason}");
                Err(PeerFault::Error(text))
            }
            // Not the peer's doing, so the channel stays.
            (_, Reply::Refused { rule, reason }) => Err(PeerFault::Warning(format!(
                "signer refused ({rule}): {reason}"
            ))),
            _ => Err(PeerFault::Warning(
                "the signer's reply does not fit".to_owned(),
            )),
        }
    }

    fn propose(&mut self, fee: Satoshi, range: FeeRange) -> Vec<Action> {
        self.state = State::Proposal { fee, range };
        vec![self.sign_close(fee)]
    }

    fn sign_close(&self, fee: Satoshi) -> Action {
        Action::AskSigner(Request::SignClose(self.terms(fee)))
    }

    fn terms(&self, fee: Satoshi) -> CloseTerms {
        CloseTerms {
            fee,
            local_script: self.local_script.clone(),
            remote_script: self.remote_script.clone(),
        }
    }

    fn complete(
        &mut self,
        fee: Satoshi,
        signature: Signature,
        reply: Option<ClosingSigned>,
    ) -> Action {
        self.state = State::Completion { reply };
        let terms = self.terms(fee);
        Action::AskSigner(Request::CompleteClose { terms, signature })
    }
}

fn closing_signed(
    live: &Live,
    fee_satoshis: Satoshi,
    range: FeeRange,
    signature: Signature,
) -> ClosingSigned {
    let channel_id = live.channel_id;
    ClosingSigned {
        channel_id,
        fee_satoshis,
        signature,
        fee_range: Some(range),
    }
}

fn note_fee(live: &mut Live, fee: Satoshi) {
    if let Phase::Closing { last_fee, .. } = &mut live.phase {
        *last_fee = Some(fee);
    }
}

fn persist(live: &Live) -> Action {
    Action::Persist(Box::new(Persist {
        live: live.clone(),
        htlcs: vec![],
        local_point: None,
    }))
}
