//! For the tests of opening and closing: a signer with real keys, which builds, signs and verifies
//! real transactions, and a shell that runs the actions of one core.

use std::collections::VecDeque;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, ScriptBuf, Transaction, Txid, WPubkeyHash};
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tx::closing::{Closing, FinalBalances};
use tx::ledger::Ledger;
use tx::setup::{Basepoints, CommitmentFormat, Funding, Setup};
use tx::signer::{CloseTerms, NextLocal, NextRemote, Reply, Request};
use tx::{Commitment, TxError};
use wire::{
    BlockDelta, ChainHash, ChannelDbid, ChannelId, CommitmentNumber, FeeratePerKw, Message,
    MilliSatoshi, NodeId, Satoshi, ShortChannelId, Side,
};

use super::{Accepter, Opener, Step};
use crate::action::{
    Action, CloseFees, Event, Identity, Notice, OpenRequest, PeerFault, Persist, Policy,
};
use crate::closing::Negotiation;
use crate::state::Live;

pub(crate) fn secret(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

pub(crate) fn key(n: u8) -> PublicKey {
    secret(n).public_key(SECP256K1)
}

pub(crate) fn script(n: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([n; 20]))
}

/// The node whose keys count up from `seed`.
pub(crate) fn identity(seed: u8) -> Identity {
    Identity {
        dbid: ChannelDbid(u64::from(seed)),
        peer: NodeId(key(200 - seed)),
        chain_hash: ChainHash([6; 32]),
        funding_pubkey: key(seed),
        basepoints: Basepoints {
            revocation: key(seed + 1),
            payment: key(seed + 2),
            delayed_payment: key(seed + 3),
            htlc: key(seed + 4),
        },
        first_points: [key(seed + 5), key(seed + 6)],
        shutdown_script: script(seed),
        alias: ShortChannelId(u64::from(seed)),
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(6),
        max_to_self_delay: BlockDelta(2016),
        htlc_minimum: MilliSatoshi(0),
        max_htlc_value_in_flight: None,
        max_accepted_htlcs: 30,
        min_capacity: Satoshi(10_000),
        minimum_depth: 3,
        max_dust_exposure: MilliSatoshi(50_000_000),
        feerate_min: FeeratePerKw(253),
        feerate_max: FeeratePerKw(10_000),
        fulfil_deadline: BlockDelta(18),
        close_fees: CloseFees {
            ideal: FeeratePerKw(1000),
            min: FeeratePerKw(253),
            max: FeeratePerKw(5000),
        },
    }
}

pub(crate) fn request() -> OpenRequest {
    OpenRequest {
        temporary_channel_id: ChannelId([9; 32]),
        funding_value: Satoshi(1_000_000),
        push: MilliSatoshi(100_000_000),
        feerate: FeeratePerKw(1000),
        announce: true,
        format: CommitmentFormat::AnchorsZeroFeeHtlc,
        minimum_depth: None,
        reserve: None,
    }
}

pub(crate) fn outpoint() -> OutPoint {
    OutPoint {
        txid: Txid::from_byte_array([7; 32]),
        vout: 1,
    }
}

/// The same terms as the other side sees them.
pub(crate) fn mirrored(setup: &Setup) -> Setup {
    Setup {
        opener: setup.opener.other(),
        local: setup.remote.clone(),
        remote: setup.local.clone(),
        ..setup.clone()
    }
}

/// hsmd for one channel, up to commitment 0 and from the shutdown on.
pub(crate) struct Signer {
    seed: u8,
    pub(crate) setup: Option<Setup>,
    pub(crate) funding: Option<Funding>,
    pub(crate) asked: Vec<Request>,
}

impl Signer {
    pub(crate) fn new(seed: u8) -> Signer {
        Signer {
            seed,
            setup: None,
            funding: None,
            asked: vec![],
        }
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.asked.push(request.clone());
        self.answer(request).unwrap_or_else(|error| Reply::Refused {
            rule: "C1".to_owned(),
            reason: error.to_string(),
        })
    }

    fn answer(&mut self, request: Request) -> Result<Reply, TxError> {
        match request {
            Request::Setup { setup } => {
                assert_eq!(self.setup.replace(setup), None, "Setup once");
                Ok(Reply::Done)
            }
            Request::SetFunding { funding } => {
                assert_eq!(self.funding.replace(funding), None, "SetFunding once");
                assert_eq!(funding.value, self.setup().funding_value);
                Ok(Reply::Done)
            }
            Request::SignRemote(NextRemote {
                n,
                point,
                deltas,
                tickets,
            }) => {
                assert_eq!((n, deltas), (CommitmentNumber::ZERO, vec![]));
                assert_eq!(tickets, []);
                let commitment = self.commitment(Side::Remote, &point)?;
                let signature =
                    commitment.sign(self.setup(), &self.funding(), &secret(self.seed))?;
                Ok(Reply::SignedRemote {
                    signature,
                    htlc_signatures: vec![],
                })
            }
            Request::ValidateLocal(NextLocal {
                n,
                deltas,
                signature,
                htlc_signatures,
            }) => {
                assert_eq!((n, deltas), (CommitmentNumber::ZERO, vec![]));
                let [point, next_point] = identity(self.seed).first_points;
                let commitment = self.commitment(Side::Local, &point)?;
                commitment.verify(self.setup(), &self.funding(), &signature, &htlc_signatures)?;
                Ok(Reply::ValidatedLocal {
                    revoked_secret: None,
                    point,
                    next_point,
                })
            }
            Request::SignClose(terms) => {
                let closing = self.closing(&terms)?;
                let signature = closing.sign(self.setup(), &self.funding(), &secret(self.seed))?;
                Ok(Reply::SignedClose { signature })
            }
            Request::CompleteClose { terms, signature } => {
                let closing = self.closing(&terms)?;
                let (setup, funding) = (self.setup(), self.funding());
                closing.verify(setup, &funding, Side::Remote, &signature)?;
                let ours = closing.sign(setup, &funding, &secret(self.seed))?;
                let tx = closing.signed(setup, &ours, &signature);
                Ok(Reply::CompletedClose {
                    tx: bitcoin::consensus::serialize(&tx),
                })
            }
            Request::RemoteRevoked { .. }
            | Request::Point { .. }
            | Request::RevokedSecret { .. }
            | Request::ReestablishProof { .. }
            | Request::EcdhBatch { .. } => panic!("not while opening or closing: {request:?}"),
        }
    }

    fn setup(&self) -> &Setup {
        self.setup.as_ref().expect("no Setup before")
    }

    fn funding(&self) -> Funding {
        self.funding.expect("no SetFunding before")
    }

    fn commitment(&self, owner: Side, point: &PublicKey) -> Result<Commitment, TxError> {
        let setup = self.setup();
        let ledger = Ledger::opening(setup).unwrap();
        Commitment::build(
            setup,
            &self.funding(),
            owner,
            CommitmentNumber::ZERO,
            point,
            &ledger,
        )
    }

    fn closing(&self, terms: &CloseTerms) -> Result<Closing, TxError> {
        let setup = self.setup();
        let Ledger {
            to_local,
            to_remote,
            ..
        } = Ledger::opening(setup).unwrap();
        let balances = FinalBalances {
            to_local,
            to_remote,
        };
        Closing::build(
            setup,
            &self.funding(),
            balances,
            terms,
            setup.local.dust_limit,
        )
    }
}

/// What a [`Node`] can hold.
pub(crate) trait Core {
    fn hear(&mut self, event: Event) -> Result<Step, PeerFault>;
}

impl Core for Opener {
    fn hear(&mut self, event: Event) -> Result<Step, PeerFault> {
        self.handle(event)
    }
}

impl Core for Accepter {
    fn hear(&mut self, event: Event) -> Result<Step, PeerFault> {
        self.handle(event)
    }
}

pub(crate) struct Closer {
    pub(crate) live: Live,
    pub(crate) negotiation: Negotiation,
}

impl Core for Closer {
    fn hear(&mut self, event: Event) -> Result<Step, PeerFault> {
        self.negotiation
            .handle(&mut self.live, event)
            .map(Step::Continue)
    }
}

/// A core, its signer, and everything that it did.
pub(crate) struct Node<C> {
    pub(crate) core: C,
    pub(crate) signer: Signer,
    pub(crate) out: VecDeque<Message>,
    pub(crate) told: Vec<Notice>,
    pub(crate) stored: Vec<Persist>,
    /// State as of the last Persist has not been promised to the peer.
    fresh: bool,
    pub(crate) done: Option<Live>,
    pub(crate) failed: bool,
}

impl<C: Core> Node<C> {
    pub(crate) fn new(core: C, signer: Signer, actions: Vec<Action>) -> Node<C> {
        let (out, told, stored) = Default::default();
        let mut node = Node {
            core,
            signer,
            out,
            told,
            stored,
            fresh: false,
            done: None,
            failed: false,
        };
        node.run(actions).unwrap();
        node
    }

    pub(crate) fn handle(&mut self, event: Event) -> Result<(), PeerFault> {
        match self.core.hear(event)? {
            Step::Continue(actions) => self.run(actions),
            Step::Done(live, actions) => {
                self.done = Some(*live);
                self.run(actions)
            }
            Step::Failed(actions) => {
                self.failed = true;
                self.run(actions)
            }
        }
    }

    pub(crate) fn peer(&mut self, message: impl Into<Message>) -> Result<(), PeerFault> {
        self.handle(Event::Peer(message.into()))
    }

    fn run(&mut self, actions: Vec<Action>) -> Result<(), PeerFault> {
        let last = actions.len().saturating_sub(1);
        for (i, action) in actions.into_iter().enumerate() {
            match action {
                Action::Persist(persist) => {
                    self.stored.push(*persist);
                    self.fresh = true;
                }
                Action::Record(_) => panic!("nothing here may be stored late"),
                Action::AskSigner(request) => {
                    assert_eq!(i, last, "the question to the signer stands last");
                    let reply = self.signer.ask(request);
                    self.handle(Event::Signer(reply))?;
                }
                Action::Send(message) => {
                    let binds = matches!(
                        message,
                        Message::FundingCreated(_)
                            | Message::FundingSigned(_)
                            | Message::ClosingSigned(_)
                    );
                    let stored = std::mem::take(&mut self.fresh);
                    assert!(stored || !binds, "Persist stands before {}", message.name());
                    self.out.push_back(message);
                }
                Action::Tell(notice) => self.told.push(notice),
            }
        }
        Ok(())
    }

    /// The reason of the one OpeningFailed, which is the last that was told.
    pub(crate) fn failure(&self) -> &str {
        match self.told.as_slice() {
            [.., Notice::OpeningFailed { reason }] => reason,
            told => panic!("no OpeningFailed: {told:?}"),
        }
    }

    /// The closing transaction, if there is one.
    pub(crate) fn closed(&self) -> Option<Transaction> {
        self.told.iter().find_map(|notice| match notice {
            Notice::MutualClose { tx } => bitcoin::consensus::deserialize(tx).ok(),
            _ => None,
        })
    }
}

pub(crate) fn opener_with(policy: Policy, request: OpenRequest) -> Node<Opener> {
    let (core, actions) = Opener::start(identity(10), policy, request);
    Node::new(core, Signer::new(10), actions)
}

pub(crate) fn opener() -> Node<Opener> {
    opener_with(policy(), request())
}

/// What the opener says first.
pub(crate) fn open_channel() -> wire::OpenChannel {
    match opener().out.pop_front() {
        Some(Message::OpenChannel(message)) => message,
        other => panic!("no open_channel: {other:?}"),
    }
}

pub(crate) fn accepter_of(
    policy: Policy,
    open: wire::OpenChannel,
) -> Result<Node<Accepter>, PeerFault> {
    let (core, actions) = Accepter::start(identity(20), policy, open)?;
    Ok(Node::new(core, Signer::new(20), actions))
}

pub(crate) fn accepter() -> Node<Accepter> {
    accepter_of(policy(), open_channel()).unwrap()
}

/// The accepter's answer to [`open_channel`].
pub(crate) fn accept_channel() -> wire::AcceptChannel {
    match accepter().out.pop_front() {
        Some(Message::AcceptChannel(message)) => message,
        other => panic!("no accept_channel: {other:?}"),
    }
}

/// Carries everything that is on its way, until nothing is.
pub(crate) fn exchange<A: Core, B: Core>(
    a: &mut Node<A>,
    b: &mut Node<B>,
) -> Result<(), PeerFault> {
    loop {
        if let Some(message) = a.out.pop_front() {
            b.peer(message)?;
        } else if let Some(message) = b.out.pop_front() {
            a.peer(message)?;
        } else {
            return Ok(());
        }
    }
}
