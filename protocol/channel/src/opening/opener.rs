//! We propose the channel and fund it.

use bitcoin::OutPoint;
use secp256k1::PublicKey;
use tx::setup::{Funding, Party, Setup};
use tx::signer::{NextLocal, NextRemote, Reply, Request};
use wire::{AcceptChannel, ChannelId, CommitmentNumber, FundingCreated, FundingSigned};
use wire::{Message, OpenChannel, Side};

use super::{Heard, Step, cancelled, fault, hear, out_of_place, peer_left, require, terms};
use super::{not_ours_to_tell, told, unexpected};
use crate::action::{Action, Agreed, Event, Identity, Notice, OpenRequest, PeerFault};
use crate::action::{Persist, Policy};
use crate::state::{Live, Phase};

/// The opener's side, from open_channel to funding_signed.
pub struct Opener {
    identity: Identity,
    policy: Policy,
    request: OpenRequest,
    ours: Party,
    open: OpenChannel,
    /// The last that the peer warned of.
    warned: Option<String>,
    state: State,
}

/// What we wait for.
enum State {
    Accept,
    /// The signer: Setup.
    SetUp(Terms),
    /// The node: FundingCreated.
    Funding(Terms),
    /// The signer: SetFunding.
    FundingSet(Terms, Funding),
    /// The signer: SignRemote 0.
    Signature(Box<Live>),
    Signed(Box<Live>),
    /// The signer: ValidateLocal 0.
    Validated(Box<Live>),
    Nothing,
}

/// What both sides agreed on.
struct Terms {
    agreed: Box<Agreed>,
    remote_point: PublicKey,
}

impl Opener {
    /// Proposes; a request that no peer could agree to ends at once with `OpeningFailed`.
    #[must_use]
    pub fn start(
        identity: Identity,
        policy: Policy,
        request: OpenRequest,
    ) -> (Opener, Vec<Action>) {
        let value = request.funding_value;
        let dust = policy.dust_limit.max(terms::MIN_DUST_LIMIT);
        let reserve = match request.reserve {
            // BOLT 2, open_channel, sender: the reserve is not below the dust limit.
            Some(reserve) => reserve.max(dust),
            None => terms::usual_reserve(value, dust),
        };
        let ours = terms::ours(&identity, &policy, value, dust, reserve);
        let open = terms::open_channel(&identity, &request, &ours);
        // A peer of our kind stands for the one that we do not know yet.
        let possible = require::setup(&policy, &setup(&request, &ours, ours.clone()));
        let (state, action) = match possible {
            Ok(()) => (
                State::Accept,
                Action::Send(Message::OpenChannel(open.clone())),
            ),
            Err(PeerFault::Warning(why) | PeerFault::Error(why)) => (State::Nothing, told(why)),
        };
        (
            Opener {
                identity,
                policy,
                request,
                ours,
                open,
                warned: None,
                state,
            },
            vec![action],
        )
    }

    /// # Errors
    /// `Error`: the peer broke a requirement, or the signer refused.
    pub fn handle(&mut self, event: Event) -> Result<Step, PeerFault> {
        if let State::Nothing = self.state {
            return Ok(Step::Failed(vec![]));
        }
        match event {
            Event::Connected | Event::Flush => Ok(Step::Continue(vec![])),
            Event::Disconnected => Ok(self.end(|opener| peer_left(opener.warned.as_ref()))),
            Event::Command(command) => match hear(command) {
                Heard::Actions(actions) => Ok(Step::Continue(actions)),
                Heard::GiveUp { reason } => Ok(self.give_up(reason)),
                Heard::Funding(outpoint) => Ok(self.fund(outpoint)),
            },
            Event::Peer(message) => self.message(message),
            Event::Signer(reply) => self.signer(reply),
        }
    }

    fn end(&mut self, how: impl FnOnce(&Opener) -> Step) -> Step {
        let step = how(self);
        self.state = State::Nothing;
        step
    }

    fn give_up(&mut self, reason: String) -> Step {
        self.end(|opener| cancelled(opener.channel_id(), reason))
    }

    /// BOLT 1, error: before funding_created the temporary id names the channel.
    fn channel_id(&self) -> ChannelId {
        match &self.state {
            State::Signed(live) | State::Validated(live) => live.channel_id,
            State::Accept
            | State::SetUp(_)
            | State::Funding(_)
            | State::FundingSet(..)
            | State::Signature(_)
            | State::Nothing => self.request.temporary_channel_id,
        }
    }

    fn message(&mut self, message: Message) -> Result<Step, PeerFault> {
        match (std::mem::replace(&mut self.state, State::Nothing), message) {
            (State::Accept, Message::AcceptChannel(message)) => self.accepted(&message),
            (State::Signed(live), Message::FundingSigned(message)) => self.signed(live, &message),
            (state, message) => {
                let step = out_of_place(&message, &mut self.warned)?;
                if let Step::Continue(_) = step {
                    self.state = state;
                }
                Ok(step)
            }
        }
    }

    fn signer(&mut self, reply: Reply) -> Result<Step, PeerFault> {
        match (std::mem::replace(&mut self.state, State::Nothing), reply) {
            (State::SetUp(terms), Reply::Done) => Ok(self.need_funding(terms)),
            (State::FundingSet(terms, funding), Reply::Done) => self.sign(terms, funding),
            (State::Signature(live), Reply::SignedRemote { signature, .. }) => {
                Ok(self.created(live, signature))
            }
            (State::Validated(live), Reply::ValidatedLocal { point, .. }) => Ok(done(live, point)),
            (State::Validated(_), reply) => Err(unexpected("funding_signed", reply)),
            (_, reply) => Err(not_ours_to_tell(reply)),
        }
    }

    fn accepted(&mut self, message: &AcceptChannel) -> Result<Step, PeerFault> {
        require::accept_channel(&self.policy, &self.open, message)?;
        let setup = setup(&self.request, &self.ours, terms::accepter(message));
        require::setup(&self.policy, &setup)?;
        // BOLT 2, channel_ready: the opener trusts itself and may choose; but unconfirmed channels
        // need a channel type that we do not propose.
        let minimum_depth = self
            .request
            .minimum_depth
            .unwrap_or(message.minimum_depth)
            .max(1);
        let announce = self.request.announce;
        let ask = Action::AskSigner(Request::Setup {
            setup: setup.clone(),
        });
        self.state = State::SetUp(Terms {
            agreed: Box::new(Agreed {
                setup,
                minimum_depth,
                announce,
            }),
            remote_point: message.first_per_commitment_point,
        });
        Ok(Step::Continue(vec![ask]))
    }

    fn need_funding(&mut self, terms: Terms) -> Step {
        let script = terms.agreed.setup.funding_script_pubkey();
        let value = terms.agreed.setup.funding_value;
        self.state = State::Funding(terms);
        Step::Continue(vec![Action::Tell(Notice::NeedFunding { script, value })])
    }

    fn fund(&mut self, outpoint: OutPoint) -> Step {
        match std::mem::replace(&mut self.state, State::Nothing) {
            // BOLT 2, funding_created: the index has two bytes.
            State::Funding(_) if u16::try_from(outpoint.vout).is_err() => {
                let reason = "the funding output's index does not fit into two bytes";
                cancelled(self.request.temporary_channel_id, reason.to_owned())
            }
            State::Funding(terms) => {
                let funding = Funding {
                    outpoint,
                    value: terms.agreed.setup.funding_value,
                };
                self.state = State::FundingSet(terms, funding);
                Step::Continue(vec![Action::AskSigner(Request::SetFunding { funding })])
            }
            // Nobody asked for it.
            state => {
                self.state = state;
                Step::Continue(vec![])
            }
        }
    }

    fn sign(&mut self, terms: Terms, funding: Funding) -> Result<Step, PeerFault> {
        let Terms {
            agreed,
            remote_point,
        } = terms;
        let live = Live::opened(
            &self.identity,
            *agreed,
            funding,
            remote_point,
            Phase::Opening,
        )
        .map_err(|error| fault(error.to_string()))?;
        let persist = Persist {
            live: live.clone(),
            htlcs: vec![],
            local_point: None,
        };
        let request = Request::SignRemote(NextRemote {
            n: CommitmentNumber::ZERO,
            point: remote_point,
            deltas: vec![],
            tickets: vec![],
        });
        self.state = State::Signature(Box::new(live));
        Ok(Step::Continue(vec![
            Action::Persist(Box::new(persist)),
            Action::AskSigner(request),
        ]))
    }

    fn created(&mut self, live: Box<Live>, signature: secp256k1::ecdsa::Signature) -> Step {
        let outpoint = live.funding.outpoint;
        let message = Message::FundingCreated(FundingCreated {
            temporary_channel_id: self.request.temporary_channel_id,
            funding_txid: outpoint.txid,
            // `fund` saw that it fits.
            funding_output_index: u16::try_from(outpoint.vout).unwrap_or(u16::MAX),
            signature,
        });
        self.state = State::Signed(live);
        Step::Continue(vec![Action::Send(message)])
    }

    fn signed(&mut self, live: Box<Live>, message: &FundingSigned) -> Result<Step, PeerFault> {
        // BOLT 2, funding_signed: channel_id follows from the funding output.
        if message.channel_id != live.channel_id {
            return Err(fault("funding_signed for another channel_id"));
        }
        // BOLT 2, funding_signed, recipient: an incorrect signature fails the channel; the signer
        // verifies it, and only then is the funding transaction let go.
        let request = Request::ValidateLocal(NextLocal {
            n: CommitmentNumber::ZERO,
            deltas: vec![],
            signature: message.signature,
            htlc_signatures: vec![],
        });
        self.state = State::Validated(live);
        Ok(Step::Continue(vec![Action::AskSigner(request)]))
    }
}

fn done(mut live: Box<Live>, local_point: PublicKey) -> Step {
    live.phase = Phase::AwaitingLockin {
        sent_ready: false,
        received_ready: false,
    };
    let persist = Persist {
        live: (*live).clone(),
        htlcs: vec![],
        local_point: Some(local_point),
    };
    let signed = Notice::FundingSigned {
        funding: live.funding,
        script: live.setup.funding_script_pubkey(),
    };
    Step::Done(
        live,
        vec![Action::Persist(Box::new(persist)), Action::Tell(signed)],
    )
}

fn setup(request: &OpenRequest, ours: &Party, remote: Party) -> Setup {
    Setup {
        opener: Side::Local,
        format: request.format,
        funding_value: request.funding_value,
        push: request.push,
        feerate: request.feerate,
        local: ours.clone(),
        remote,
    }
}
