//! An honest hsmd, the victim, with three channels to a peer that is another hsmd. Everything around
//! the victim may be the thief's: who asks is a compromised lightningd or channeld, over the sockets
//! that such a process holds, and the peer is in league with it.

use std::fs;

use hsm_messages::chan::{Reply, Request};
use hsm_messages::ctl::NewChannel;
use hsm_messages::edges::{HsmChan, HsmPay};
use hsm_messages::{Role, ctl, gossip, invoice, noise, operator, pay, tip, wallet};
use ipc_transport::blocking::UpperConn;
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, SECP256K1, SecretKey};
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::Setup;
use tx::signer::{NextLocal, NextRemote, Ticket};
use wire::{CltvExpiry, HtlcId, MilliSatoshi, NodeId, PaymentHash, Preimage, Side};

use crate::link::{self, End as _, Next, commit, funding, payments, setup};
use crate::node::{Node, bolt11, now};

/// The channels. The peer has opened the first; what comes in there goes out by the second.
pub const IN: usize = 0;
pub const OUT: usize = 1;
/// No attack touches this one: the honest payment after each takes it.
pub const SPARE: usize = 2;

/// Everything that is forwarded has this.
pub const PREIMAGE: Preimage = Preimage([9; 32]);

pub struct World {
    pub victim: Node,
    pub peer: Node,
    pub ids: [NodeId; 2],
    pub links: [Link; 3],
    /// Honest payments so far.
    paid: u8,
}

/// A channel, by its ends.
pub struct Link {
    pub ours: End,
    pub theirs: End,
}

pub struct End {
    pub chan: UpperConn<HsmChan>,
    pub new: NewChannel,
    next: Next,
}

impl link::End for End {
    fn ask(&mut self, request: Request) -> Reply {
        self.chan.call(&request).unwrap()
    }

    fn next(&mut self) -> &mut Next {
        &mut self.next
    }
}

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    /// With other terms of the channel OUT, as the victim has them; the peer gets the same.
    pub fn with(change: impl Fn(&mut Setup)) -> World {
        let (mut victim, mut peer) = (Node::new(), Node::new());
        let ids = [&mut victim, &mut peer].map(|node| node.kill_and_restart().node_id);
        let links = [IN, OUT, SPARE].map(|at| {
            let mut ours = End::new(&mut victim, ids[1]);
            let mut theirs = End::new(&mut peer, ids[0]);
            let opener = match at {
                IN => Side::Remote,
                _ => Side::Local,
            };
            let mut terms = setup(opener, &ours.new, &theirs.new);
            if at == OUT {
                change(&mut terms);
            }
            let mirrored = Setup {
                opener: opener.other(),
                local: terms.remote.clone(),
                remote: terms.local.clone(),
                ..terms.clone()
            };
            let funding = funding(at as u8 + 1);
            link::open(&mut ours, &mut theirs, [terms, mirrored], funding);
            Link { ours, theirs }
        });
        World {
            victim,
            peer,
            ids,
            links,
            paid: 0,
        }
    }

    /// The victim's socket of this channel, which the thief holds.
    pub fn ask(&mut self, link: usize, request: Request) -> Reply {
        self.links[link].ours.ask(request)
    }

    /// kill -9 and a new start, which the thief can bring about too.
    pub fn restart(&mut self) {
        self.victim.kill_and_restart();
        for link in &mut self.links {
            link.ours.chan = self.victim.chan(link.ours.new.channel);
        }
    }

    /// A request to sign the peer's next commitment of this channel.
    pub fn sign_remote(&mut self, link: usize, deltas: &[Delta], tickets: &[Ticket]) -> Request {
        let next = *self.links[link].theirs.next();
        Request::SignRemote(NextRemote {
            n: next.n,
            point: next.point,
            deltas: deltas.to_vec(),
            tickets: tickets.to_vec(),
        })
    }

    /// A request to take our next commitment. The rules about its deltas come before the signature.
    pub fn validate_local(&mut self, link: usize, deltas: &[Delta]) -> Request {
        Request::ValidateLocal(NextLocal {
            n: self.links[link].ours.next().n,
            deltas: deltas.to_vec(),
            signature: some_signature(),
            htlc_signatures: vec![],
        })
    }

    /// Our side says it: into the peer's commitment, then into ours.
    pub fn we_say(&mut self, link: usize, deltas: &[Delta], tickets: &[Ticket]) {
        self.put_into_theirs(link, deltas, tickets);
        self.put_into_ours(link, deltas);
    }

    /// The peer says it: into our commitment, then into its own.
    pub fn they_say(&mut self, link: usize, deltas: &[Delta]) {
        self.put_into_ours(link, deltas);
        self.put_into_theirs(link, deltas, &[]);
    }

    pub fn put_into_theirs(&mut self, link: usize, deltas: &[Delta], tickets: &[Ticket]) {
        let Link { ours, theirs } = &mut self.links[link];
        commit(theirs, ours, [&mirrored(deltas), deltas], tickets);
    }

    pub fn put_into_ours(&mut self, link: usize, deltas: &[Delta]) {
        let Link { ours, theirs } = &mut self.links[link];
        let as_peer = mirrored(deltas);
        commit(ours, theirs, [deltas, &as_peer], &payments(&as_peer));
    }

    /// A payment of the peer comes in, for good.
    pub fn comes_in(&mut self, id: u64, amount: u64, cltv_expiry: u32) {
        let hash = PREIMAGE.payment_hash();
        approve(&mut self.peer, hash, MilliSatoshi(amount * 2));
        let add = add(Side::Remote, id, htlc(amount, cltv_expiry));
        self.they_say(IN, &[add]);
    }

    /// What an incoming HTLC of channel IN is good for.
    pub fn ticket(&self, id: u64) -> Ticket {
        Ticket::Forward {
            channel: self.links[IN].ours.new.channel,
            id: HtlcId(id),
        }
    }

    /// HTLC 0 has come in and gone out.
    pub fn forwarded() -> World {
        let mut world = World::new();
        world.comes_in(0, 50_000_000, 600);
        let ticket = world.ticket(0);
        let out = add(Side::Local, 0, htlc(49_000_000, 590));
        world.we_say(OUT, &[out], &[ticket]);
        world
    }

    /// This channel's socket is refused by this rule.
    pub fn refuses(&mut self, link: usize, request: Request, rule: &str, why: &str) {
        let reply = self.ask(link, request);
        self.was_refused(&reply, rule, why);
    }

    /// The reply names the rule, and the refusal stands in the audit log.
    pub fn was_refused(&mut self, reply: &impl Verdict, rule: &str, why: &str) {
        match reply.refused() {
            Some((by, reason)) => {
                assert_eq!(by, rule, "{why}: {reason}");
                self.is_noted(rule, reason, why);
            }
            None => panic!("{why}: it was answered"),
        }
    }

    /// The audit log's newest line (`hsm-audit`): the rule stands before the reply's hash, then how it
    /// was broken.
    fn is_noted(&self, rule: &str, reason: &str, why: &str) {
        let log = fs::read_to_string(self.victim.dir.path().join("hsm-audit")).unwrap();
        let line = log.lines().last().unwrap_or_default();
        assert_eq!(line.split(' ').nth(7), Some(rule), "{why}: {line}");
        let begin: String = reason.chars().take(100).collect();
        assert!(line.contains(&begin), "{why}: {line}");
    }

    /// hsmd serves who is honest: a payment on a channel that has nothing to do with it.
    pub fn serves_honest_channels(&mut self) {
        self.paid += 1;
        let preimage = Preimage([100 + self.paid; 32]);
        let paid = Htlc {
            amount: MilliSatoshi(1_000_000),
            payment_hash: preimage.payment_hash(),
            cltv_expiry: CltvExpiry(500),
        };
        approve(&mut self.victim, paid.payment_hash, paid.amount);
        let id = u64::from(self.paid);
        self.we_say(SPARE, &[add(Side::Local, id, paid)], &[Ticket::Payment]);
        let key = key(Side::Local, id);
        self.they_say(SPARE, &[Delta::Fulfil { key, preimage }]);
    }
}

impl End {
    fn new(node: &mut Node, peer: NodeId) -> End {
        let new = node.new_channel(peer);
        End {
            chan: node.chan(new.channel),
            next: Next::first(&new),
            new,
        }
    }
}

/// The rule and the reason of a reply that refuses.
pub trait Verdict {
    fn refused(&self) -> Option<(&str, &str)>;
}

impl Verdict for Reply {
    fn refused(&self) -> Option<(&str, &str)> {
        let Reply::Refused { rule, reason } = self else {
            return None;
        };
        Some((rule, reason))
    }
}

impl Verdict for noise::Reply {
    fn refused(&self) -> Option<(&str, &str)> {
        match self {
            noise::Reply::BadAct => Some(("K1", "the act is not genuine")),
            noise::Reply::Step { .. } => None,
        }
    }
}

macro_rules! verdicts {
    ($($reply:ty),*) => {$(
        impl Verdict for $reply {
            fn refused(&self) -> Option<(&str, &str)> {
                let Self::Refused(refused) = self else {
                    return None;
                };
                Some((&refused.rule, &refused.reason))
            }
        }
    )*};
}

verdicts!(
    ctl::Reply,
    wallet::Reply,
    gossip::Reply,
    invoice::Reply,
    pay::Reply,
    tip::Reply,
    operator::Reply
);

/// A payment of up to `amount` to this hash, on a PAY socket.
pub fn approve(node: &mut Node, hash: PaymentHash, amount: MilliSatoshi) {
    let reply = ask_to_pay(node, bolt11(hash, amount, now()));
    assert_eq!(reply, pay::Reply::Approved);
}

pub fn ask_to_pay(node: &mut Node, invoice: String) -> pay::Reply {
    let asked = ::invoice::parse(&invoice).ok().and_then(|read| read.amount);
    let mut conn = node.mint::<HsmPay>(Role::Pay, None);
    let request = pay::Request::ApproveBolt11 {
        invoice,
        amount: asked.unwrap_or(MilliSatoshi(1)),
        max_fee: MilliSatoshi(0),
    };
    conn.call(&request).unwrap()
}

pub fn key(offerer: Side, id: u64) -> HtlcKey {
    let id = HtlcId(id);
    HtlcKey { offerer, id }
}

pub fn htlc(amount: u64, cltv_expiry: u32) -> Htlc {
    Htlc {
        amount: MilliSatoshi(amount),
        payment_hash: PREIMAGE.payment_hash(),
        cltv_expiry: CltvExpiry(cltv_expiry),
    }
}

pub fn add(offerer: Side, id: u64, htlc: Htlc) -> Delta {
    let key = key(offerer, id);
    Delta::Add { key, htlc }
}

pub fn fulfil(offerer: Side, id: u64, preimage: Preimage) -> Delta {
    let key = key(offerer, id);
    Delta::Fulfil { key, preimage }
}

pub fn fail(offerer: Side, id: u64) -> Delta {
    let key = key(offerer, id);
    Delta::Fail { key }
}

/// Deltas as the other side has them.
fn mirrored(deltas: &[Delta]) -> Vec<Delta> {
    let other = |key: HtlcKey| HtlcKey {
        offerer: key.offerer.other(),
        ..key
    };
    let mirror = |delta: &Delta| match delta.clone() {
        Delta::Add { key, htlc } => Delta::Add {
            key: other(key),
            htlc,
        },
        Delta::Fulfil { key, preimage } => Delta::Fulfil {
            key: other(key),
            preimage,
        },
        Delta::Fail { key } => Delta::Fail { key: other(key) },
        Delta::Fee { feerate } => Delta::Fee { feerate },
    };
    deltas.iter().map(mirror).collect()
}

/// Of nobody, on nothing.
pub fn some_signature() -> Signature {
    let secret = SecretKey::from_slice(&[0x77; 32]).unwrap();
    SECP256K1.sign_ecdsa(&Message::from_digest([0x77; 32]), &secret)
}
