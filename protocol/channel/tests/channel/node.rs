//! One node: a channel core, its shell's duties, a signer and a database that survive crashes.

use std::collections::{BTreeMap, VecDeque};

use channel::Channel;
use channel::action::{Action, Event, Notice, Origin, PeerFault, Persist, Policy, Removal};
use channel::state::{HtlcRecord, HtlcState, Live, Phase};
use tx::keys::per_commitment_point;
use tx::ledger::HtlcKey;
use tx::signer::{NextRemote, RevocationSecret};
use wire::{HtlcId, Message, Side};

use crate::fixture::{number, origin};
use crate::signer::TestSigner;

/// What is durable.
#[derive(Clone, Default)]
pub struct Database {
    pub live: Option<Live>,
    pub htlcs: BTreeMap<HtlcKey, HtlcRecord>,
    /// How our payments ended, by number.
    pub results: BTreeMap<u32, bool>,
    /// Those that were begun.
    pub attempts: Vec<u32>,
}

/// A write that the database's one writer has got, in order, and not synced yet.
enum Write {
    Channel(Box<Persist>),
    Result(u32, bool),
}

pub struct Node {
    pub seed: u8,
    pub policy: Policy,
    pub signer: TestSigner,
    pub db: Database,
    pending: VecDeque<Write>,
    /// `None`: crashed.
    pub channel: Option<Channel>,
    pub connected: bool,
    /// Crash after so many more actions, keeping so many of the pending writes.
    pub crash_in: Option<(u32, usize)>,
    pub outbox: Vec<Message>,
    /// Incoming HTLCs to decide on.
    pub undecided: VecDeque<(HtlcId, u32)>,
    pub notices: Vec<Notice>,
    pub persists: u32,
    /// How many points of ours were handed over.
    pub points: u64,
}

impl Database {
    fn write(&mut self, persist: Persist) {
        self.live = Some(persist.live);
        for (key, record) in persist.htlcs {
            match record {
                Some(record) => self.htlcs.insert(key, record),
                None => self.htlcs.remove(&key),
            };
        }
    }
}

impl Node {
    pub fn new(seed: u8, policy: Policy, signer: TestSigner) -> Node {
        Node {
            seed,
            policy,
            signer,
            db: Database::default(),
            pending: VecDeque::new(),
            channel: None,
            connected: false,
            crash_in: None,
            outbox: Vec::new(),
            undecided: VecDeque::new(),
            notices: Vec::new(),
            persists: 0,
            points: 0,
        }
    }

    pub fn live(&self) -> &Live {
        self.channel
            .as_ref()
            .and_then(Channel::live)
            .expect("a running channel")
    }

    /// Starts from the database.
    pub fn start(&mut self) {
        assert!(self.channel.is_none());
        self.reconcile();
        let Some(live) = self.db.live.clone() else {
            return;
        };
        let htlcs = self.db.htlcs.clone().into_iter().collect();
        let (channel, actions) = Channel::resume(live, htlcs, self.policy.clone());
        self.channel = Some(channel);
        self.run(actions).expect("resuming asks the peer nothing");
    }

    /// Starts from a database that is not the newest.
    pub fn start_without_checks(&mut self) {
        let htlcs = self.db.htlcs.clone().into_iter().collect();
        let live = self.db.live.clone().unwrap();
        self.channel = Some(Channel::resume(live, htlcs, self.policy.clone()).0);
    }

    /// The signer's reply to the request that ends the list.
    pub fn reply_to(&mut self, actions: &[Action]) -> tx::signer::Reply {
        let Some(Action::AskSigner(request)) = actions.last() else {
            panic!("{actions:?}")
        };
        self.signer.ask(request)
    }

    /// A payment without an end and without an HTLC never left: it has failed.
    fn reconcile(&mut self) {
        for i in self.db.attempts.clone() {
            let exists = self
                .db
                .htlcs
                .values()
                .any(|record| record.origin == Some(origin(i)));
            if !exists {
                self.db.results.entry(i).or_insert(false);
            }
        }
    }

    /// Feeds an event and everything that follows from it at once.
    pub fn feed(&mut self, event: Event) -> Result<(), PeerFault> {
        let Some(channel) = &mut self.channel else {
            return Ok(());
        };
        let actions = channel.handle(event)?;
        self.run(actions)
    }

    pub fn run(&mut self, actions: Vec<Action>) -> Result<(), PeerFault> {
        let last = actions.len().saturating_sub(1);
        for (at, action) in actions.into_iter().enumerate() {
            if self.crashes() {
                return Ok(());
            }
            match action {
                Action::Persist(persist) => {
                    self.check_point(&persist);
                    self.persists += 1;
                    self.pending.push_back(Write::Channel(persist));
                    self.sync(usize::MAX);
                }
                Action::Record(persist) => {
                    self.check_point(&persist);
                    self.pending.push_back(Write::Channel(persist));
                }
                Action::AskSigner(request) => {
                    assert_eq!(at, last, "AskSigner is not the last action");
                    if let tx::signer::Request::SignRemote(NextRemote { n, .. }) = &request
                        && n.0 > 0
                    {
                        let stored = self.db.live.as_ref().unwrap().remote_next;
                        assert_eq!(stored.prev(), Some(*n), "signed before it was stored");
                    }
                    let reply = self.signer.ask(&request);
                    self.check_known();
                    if self.crashes() {
                        return Ok(());
                    }
                    self.feed(Event::Signer(reply))?;
                }
                Action::Send(message) => {
                    self.check_stored(&message);
                    self.outbox.push(message);
                }
                Action::Tell(notice) => self.hear(notice),
            }
        }
        Ok(())
    }

    /// What is handed over with a point has our newest commitment, as the signer would publish it.
    fn check_point(&mut self, persist: &Persist) {
        let Some(point) = persist.local_point else {
            return;
        };
        let pending = self.pending.iter().filter_map(|write| match write {
            Write::Channel(before) => Some(&**before),
            Write::Result(..) => None,
        });
        let mut db = self.db.clone();
        for before in pending.chain([persist]) {
            db.write(before.clone());
        }
        let live = db.live.unwrap();
        let ledger = live.ledger(Side::Local, &db.htlcs);
        let told = live.local_next.prev().map(|n| (n, point, ledger));
        assert_eq!(told, self.signer.newest());
        self.points += 1;
    }

    /// Money rule 1: what binds us is durable before it leaves.
    fn check_stored(&self, message: &Message) {
        let live = || self.db.live.as_ref().expect("nothing is stored");
        match message {
            Message::CommitmentSigned(_) => {
                let signed = self.signer.newest_remote().unwrap();
                assert_eq!(live().remote_next.prev(), Some(signed), "commitment_signed");
            }
            Message::RevokeAndAck(m) => {
                let secret = RevocationSecret(m.per_commitment_secret.0);
                let newest = live().local_next.prev().unwrap();
                let revoked = self.signer.secret(newest.0 - 1);
                assert_eq!(
                    per_commitment_point(&secret),
                    per_commitment_point(&revoked)
                );
            }
            Message::ChannelReestablish(m) => {
                assert_eq!(live().local_next, m.next_commitment_number);
            }
            Message::UpdateFulfillHtlc(m) => {
                let record = &self.db.htlcs[&HtlcKey {
                    offerer: Side::Remote,
                    id: m.id,
                }];
                assert_eq!(record.state, HtlcState::SentRemoveCommit);
                let preimage = m.payment_preimage;
                assert_eq!(record.removal, Some(Removal::Fulfil { preimage }));
            }
            Message::UpdateAddHtlc(m) => {
                let record = &self.db.htlcs[&HtlcKey {
                    offerer: Side::Local,
                    id: m.id,
                }];
                assert_eq!(record.state, HtlcState::SentAddCommit);
            }
            Message::Shutdown(m) => match &live().phase {
                Phase::ShuttingDown { local, .. } => {
                    assert_eq!(local.as_ref(), Some(&m.scriptpubkey));
                }
                Phase::Closing { local, .. } => assert_eq!(*local, m.scriptpubkey),
                phase => panic!("shutdown in stored {phase:?}"),
            },
            Message::ClosingSigned(m) => match &live().phase {
                Phase::Closing { last_fee, .. } => assert_eq!(*last_fee, Some(m.fee_satoshis)),
                Phase::Closed { .. } => {}
                phase => panic!("closing_signed in stored {phase:?}"),
            },
            Message::FundingCreated(_) => assert_eq!(live().phase, Phase::Opening),
            Message::FundingSigned(_) => {
                assert!(matches!(live().phase, Phase::AwaitingLockin { .. }));
            }
            _ => {}
        }
    }

    /// Whenever it crashes: of an HTLC that the signer's newest commitment of ours lacks, because the peer
    /// fulfilled it, the preimage is durable: somebody is owed the incoming half, or it is all that proves our
    /// payment. What has come of a notice stands for it here.
    fn check_known(&self) {
        for i in self.signer.paid.iter().map(number) {
            assert_eq!(
                self.db.results.get(&i),
                Some(&true),
                "preimage {i} can be lost"
            );
        }
    }

    fn hear(&mut self, notice: Notice) {
        match &notice {
            Notice::Locked { id, htlc, .. } => {
                let i = (0..1000)
                    .find(|i| crate::fixture::htlc(*i, 0).payment_hash == htlc.payment_hash);
                let known = self.undecided.iter().any(|(known, _)| known == id);
                assert!(!known, "locked in twice");
                self.undecided
                    .push_back((*id, i.expect("a payment of the test")));
            }
            Notice::AddRefused { origin, .. } => self.end(*origin, false),
            Notice::Resolved {
                origin, removal, ..
            } => {
                self.end(*origin, matches!(removal, Removal::Fulfil { .. }));
            }
            Notice::MutualClose { .. }
            | Notice::NeedFunding { .. }
            | Notice::WatchFunding { .. }
            | Notice::FundingSigned { .. }
            | Notice::OpeningFailed { .. }
            | Notice::Ready { .. }
            | Notice::Active { .. }
            | Notice::PeerUpdate { .. }
            | Notice::ShuttingDown { .. }
            | Notice::WeAreStale => {}
        }
        self.notices.push(notice);
    }

    fn end(&mut self, origin: Origin, paid: bool) {
        let i = match origin {
            Origin::Payment { partid, .. } => partid,
            Origin::Forward { id, .. } => id.0,
        };
        self.pending.push_back(Write::Result(i as u32, paid));
    }

    /// Makes the first `count` pending writes durable.
    pub fn sync(&mut self, count: usize) {
        for _ in 0..count {
            match self.pending.pop_front() {
                None => return,
                Some(Write::Result(i, paid)) => {
                    let before = self.db.results.insert(i, paid);
                    assert!(
                        before.is_none_or(|before| before == paid),
                        "payment {i} ended twice"
                    );
                }
                Some(Write::Channel(persist)) => {
                    self.db.write(*persist);
                }
            }
        }
    }

    fn crashes(&mut self) -> bool {
        match &mut self.crash_in {
            None => self.channel.is_none(),
            Some((0, keep)) => {
                let keep = *keep;
                self.crash(keep);
                true
            }
            Some((left, _)) => {
                *left -= 1;
                false
            }
        }
    }

    /// Loses everything but what is durable and the first `keep` pending writes.
    pub fn crash(&mut self, keep: usize) {
        self.sync(keep);
        self.pending.clear();
        self.channel = None;
        self.connected = false;
        self.crash_in = None;
        self.undecided.clear();
    }
}
