//! The peer proposes the channel and funds it.

use bitcoin::{OutPoint, ScriptBuf};
use secp256k1::PublicKey;
use tx::setup::{Funding, Setup};
use tx::signer::{NextLocal, NextRemote, Reply, Request};
use wire::{
    ChainHash, ChannelDbid, CommitmentNumber, FundingCreated, FundingSigned, Message, NodeId,
    OpenChannel, ShortChannelId, Side,
};

use super::{Heard, Step, cancelled, fault, hear, out_of_place, peer_left, require, terms};
use super::{not_ours_to_tell, unexpected};
use crate::action::{Action, Agreed, Event, Identity, Notice, PeerFault, Persist, Policy};
use crate::state::{Live, Phase};

/// The accepter's side, from open_channel to funding_signed.
pub struct Accepter {
    identity: Identity,
    open: OpenChannel,
    agreed: Agreed,
    /// The last that the peer warned of.
    warned: Option<String>,
    state: State,
}

/// What we wait for.
enum State {
    Created,
    /// The signer: Setup.
    SetUp(FundingCreated),
    /// The signer: SetFunding.
    FundingSet(Funding, secp256k1::ecdsa::Signature),
    /// The signer: ValidateLocal 0.
    Validated(Funding),
    /// The signer: SignRemote 0.
    Signature(Box<Live>),
    Nothing,
}

impl Accepter {
    /// Judges the proposal and accepts it.
    ///
    /// # Errors
    /// `Error`: what it proposes is against BOLT 2 or our policy.
    pub fn start(
        identity: Identity,
        policy: Policy,
        open: OpenChannel,
    ) -> Result<(Accepter, Vec<Action>), PeerFault> {
        require::open_channel(&identity, &policy, &open)?;
        // BOLT 2, open_channel, receiver: no channel_type, or none that suits us.
        let Some(channel_type) = &open.channel_type else {
            return Err(fault("open_channel without channel_type"));
        };
        let Some(format) = terms::format_of(channel_type) else {
            return Err(fault(format!(
                "channel_type {channel_type} is not supported"
            )));
        };
        let value = open.funding_satoshis;
        // BOLT 2, accept_channel, sender: our dust limit is not above the reserve that the peer
        // demands, and the reserve that we demand is not below the peer's dust limit.
        let dust = policy
            .dust_limit
            .min(open.channel_reserve_satoshis)
            .max(terms::MIN_DUST_LIMIT);
        let reserve = terms::usual_reserve(value, dust.max(open.dust_limit_satoshis));
        let setup = Setup {
            opener: Side::Remote,
            format,
            funding_value: value,
            push: open.push_msat,
            feerate: open.feerate_per_kw,
            local: terms::ours(&identity, &policy, value, dust, reserve),
            remote: terms::opener(&open),
        };
        require::setup(&policy, &setup)?;
        // BOLT 2, accept_channel, sender: depth 0 is for zeroconf channels, which we do not accept.
        let minimum_depth = policy.minimum_depth.max(1);
        let accept = terms::accept_channel(&identity, &open, minimum_depth, &setup.local);
        let agreed = Agreed {
            setup,
            minimum_depth,
            announce: terms::is_announced(&open),
        };
        let accepter = Accepter {
            identity,
            open,
            agreed,
            warned: None,
            state: State::Created,
        };
        Ok((accepter, vec![Action::Send(Message::AcceptChannel(accept))]))
    }

    /// What [`Accepter::start`] says of a proposal for which there are no keys of ours yet: the peer's stand in
    /// for them. Whoever is refused has cost nothing that stays.
    ///
    /// # Errors
    /// Those of [`Accepter::start`].
    pub fn judge(
        peer: NodeId,
        chain_hash: ChainHash,
        policy: Policy,
        open: &OpenChannel,
    ) -> Result<(), PeerFault> {
        let identity = Identity {
            dbid: ChannelDbid(0),
            peer,
            chain_hash,
            funding_pubkey: open.funding_pubkey,
            basepoints: terms::opener(open).basepoints,
            first_points: [open.first_per_commitment_point; 2],
            shutdown_script: ScriptBuf::new(),
            alias: ShortChannelId(0),
        };
        Accepter::start(identity, policy, open.clone()).map(drop)
    }

    /// # Errors
    /// `Error`: the peer broke a requirement, or the signer refused.
    pub fn handle(&mut self, event: Event) -> Result<Step, PeerFault> {
        if let State::Nothing = self.state {
            return Ok(Step::Failed(vec![]));
        }
        match event {
            Event::Connected | Event::Flush => Ok(Step::Continue(vec![])),
            Event::Disconnected => {
                self.state = State::Nothing;
                Ok(peer_left(self.warned.as_ref()))
            }
            Event::Command(command) => Ok(match hear(command) {
                Heard::Actions(actions) => Step::Continue(actions),
                // The peer funds.
                Heard::Funding(_) => Step::Continue(vec![]),
                Heard::GiveUp { reason } => {
                    self.state = State::Nothing;
                    cancelled(self.open.temporary_channel_id, reason)
                }
            }),
            Event::Peer(message) => self.message(message),
            Event::Signer(reply) => self.signer(reply),
        }
    }

    fn message(&mut self, message: Message) -> Result<Step, PeerFault> {
        match (std::mem::replace(&mut self.state, State::Nothing), message) {
            (State::Created, Message::FundingCreated(message)) => self.created(message),
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
            (State::SetUp(created), Reply::Done) => Ok(self.set_funding(&created)),
            (State::FundingSet(funding, signature), Reply::Done) => {
                Ok(self.validate(funding, signature))
            }
            (State::Validated(funding), Reply::ValidatedLocal { point, .. }) => {
                self.sign(funding, point)
            }
            (State::Signature(live), Reply::SignedRemote { signature, .. }) => {
                let channel_id = live.channel_id;
                let message = Message::FundingSigned(FundingSigned {
                    channel_id,
                    signature,
                });
                Ok(Step::Done(live, vec![Action::Send(message)]))
            }
            (State::Validated(_), reply) => Err(unexpected("funding_created", reply)),
            (_, reply) => Err(not_ours_to_tell(reply)),
        }
    }

    fn created(&mut self, message: FundingCreated) -> Result<Step, PeerFault> {
        // BOLT 2, funding_created: temporary_channel_id is that of open_channel.
        if message.temporary_channel_id != self.open.temporary_channel_id {
            return Err(fault("funding_created for another temporary_channel_id"));
        }
        self.state = State::SetUp(message);
        let setup = self.agreed.setup.clone();
        Ok(Step::Continue(vec![Action::AskSigner(Request::Setup {
            setup,
        })]))
    }

    fn set_funding(&mut self, created: &FundingCreated) -> Step {
        let vout = u32::from(created.funding_output_index);
        let funding = Funding {
            outpoint: OutPoint {
                txid: created.funding_txid,
                vout,
            },
            value: self.agreed.setup.funding_value,
        };
        self.state = State::FundingSet(funding, created.signature);
        Step::Continue(vec![Action::AskSigner(Request::SetFunding { funding })])
    }

    // BOLT 2, funding_created, recipient: an incorrect signature fails the channel; the signer
    // verifies it.
    fn validate(&mut self, funding: Funding, signature: secp256k1::ecdsa::Signature) -> Step {
        self.state = State::Validated(funding);
        let request = Request::ValidateLocal(NextLocal {
            n: CommitmentNumber::ZERO,
            deltas: vec![],
            signature,
            htlc_signatures: vec![],
        });
        Step::Continue(vec![Action::AskSigner(request)])
    }

    fn sign(&mut self, funding: Funding, local_point: PublicKey) -> Result<Step, PeerFault> {
        let point = self.open.first_per_commitment_point;
        let phase = Phase::AwaitingLockin {
            sent_ready: false,
            received_ready: false,
        };
        let live = Live::opened(&self.identity, self.agreed.clone(), funding, point, phase)
            .map_err(|error| fault(error.to_string()))?;
        let script = live.setup.funding_script_pubkey();
        let persist = Persist {
            live: live.clone(),
            htlcs: vec![],
            local_point: Some(local_point),
        };
        let request = Request::SignRemote(NextRemote {
            n: CommitmentNumber::ZERO,
            point,
            deltas: vec![],
            tickets: vec![],
        });
        self.state = State::Signature(Box::new(live));
        Ok(Step::Continue(vec![
            Action::Persist(Box::new(persist)),
            Action::Tell(Notice::WatchFunding { funding, script }),
            Action::AskSigner(request),
        ]))
    }
}
