//! What the thief does with its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use hsm::{DEFAULT, Hsm, Opened, Payment};
use hsm_messages::ctl::{Database, NewChannel};
use hsm_messages::limits::{Limit, Limits};
use secp256k1::ecdsa::Signature;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tempfile::TempDir;
use tx::Commitment;
use tx::keys::{derive_privkey, per_commitment_point, per_commitment_secret};
use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::setup::{Basepoints, CommitmentFormat, Funding, Party, Setup};
use tx::signer::{NextLocal, NextRemote, Reply, Request, RevocationSecret, Ticket};
use wire::units::MAX_SATOSHI;
use wire::{
    BlockDelta, ChainHash, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi,
    NodeId, PaymentHash, Preimage, Satoshi, Side,
};

use crate::wealth::worst;

const CHAIN: ChainHash = ChainHash([6; 32]);
const VALUE: Satoshi = Satoshi(10_000_000);
const CHANNELS: usize = 2;

/// What came of it.
#[derive(Default)]
pub struct Done {
    /// HTLCs that went out for others.
    pub forwards: u64,
}

/// A channel, as whoever sees both sides of it knows it.
struct Channel {
    new: NewChannel,
    setup: Setup,
    funding: Funding,
    /// Ours: the newest.
    local: (CommitmentNumber, Ledger, PublicKey),
    /// The peer's: the newest, and the one before it until it is revoked.
    remote: (CommitmentNumber, Ledger),
    before: Option<Ledger>,
}

struct Thief {
    _dir: TempDir,
    hsm: Hsm,
    channels: Vec<Channel>,
    /// Preimages that we have been shown.
    shown: BTreeSet<PaymentHash>,
    budgets: BTreeMap<PaymentHash, u64>,
    /// What we have had.
    had: u64,
    done: Done,
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, below: u8) -> u8 {
        self.next() % below
    }
}

fn peer_secret() -> SecretKey {
    SecretKey::from_slice(&[0x42; 32]).unwrap()
}

fn peer_point(n: CommitmentNumber) -> PublicKey {
    per_commitment_point(&revocation(n)).unwrap()
}

fn revocation(n: CommitmentNumber) -> RevocationSecret {
    per_commitment_secret(&[0x43; 32], n).unwrap()
}

fn preimage(i: u8) -> Preimage {
    Preimage([i; 32])
}

/// Mostly what fits together: an incoming HTLC of an id can pay for the outgoing one of the same id.
fn htlc(offerer: Side, id: u8, twist: u8) -> Htlc {
    let (amount, expiry) = match offerer {
        Side::Remote => (500_000_000, 1000),
        Side::Local => (499_000_000, 950),
    };
    let (amount, hash, expiry) = match twist {
        0 => (amount + 2_000_000, id, expiry),
        1 => (amount, id + 1, expiry),
        2 => (amount, id, 1000 - expiry / 2),
        _ => (amount, id, expiry),
    };
    Htlc {
        amount: MilliSatoshi(amount),
        payment_hash: preimage(hash % 4).payment_hash(),
        cltv_expiry: CltvExpiry(expiry),
    }
}

/// Lives through `data`. Panics when we have lost something.
pub fn run(data: &[u8]) -> Done {
    let mut thief = Thief::new();
    let mut bytes = Bytes(data);
    while !bytes.0.is_empty() {
        thief.step(&mut bytes);
        thief.check();
    }
    thief.done
}

impl Thief {
    fn new() -> Thief {
        // Nothing here has to outlive a loss of power.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.unwrap();
        let folder = File::open(dir.path()).unwrap();
        let opened = Hsm::open(folder.into(), CHAIN, Database::Absent).unwrap();
        let Opened::Unlocked(mut hsm) = opened else {
            panic!("a new seed has no passphrase");
        };
        // What is approved may be lost, whatever the owner lets be approved.
        let limits = Limits {
            pay_per_day: Limit::Exactly(Satoshi(MAX_SATOSHI)),
            ..DEFAULT
        };
        hsm.set_limits(limits).unwrap();
        let channels: Vec<Channel> = (0..CHANNELS).map(|i| Channel::open(&mut hsm, i)).collect();
        let had = channels.iter().map(|c| c.local.1.to_local.0).sum();
        Thief {
            _dir: dir,
            hsm: *hsm,
            channels,
            shown: BTreeSet::new(),
            budgets: BTreeMap::new(),
            had,
            done: Done::default(),
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let at = usize::from(bytes.below(CHANNELS as u8));
        match bytes.below(32) {
            0..12 => self.sign(at, bytes),
            12..21 => self.validate(at, bytes),
            21..29 => self.revoke(at, bytes),
            29 => self.approve(bytes),
            30 => match bytes.below(16) {
                0 => drop(self.hsm.force_close(self.channels[at].new.channel)),
                1 => self.stale(at),
                _ => self.hsm.compact().unwrap(),
            },
            _ => self.ask_again(at),
        }
    }

    fn ask(&mut self, at: usize, request: Request) -> Reply {
        told(&mut self.hsm, self.channels[at].new.channel, request)
    }

    fn deltas(&self, at: usize, bytes: &mut Bytes<'_>) -> Vec<Delta> {
        let count = 1 + bytes.below(3);
        (0..count).map(|_| self.delta(at, bytes)).collect()
    }

    fn delta(&self, _: usize, bytes: &mut Bytes<'_>) -> Delta {
        let offerer = match bytes.below(2) {
            0 => Side::Local,
            _ => Side::Remote,
        };
        let id = bytes.below(3);
        let key = HtlcKey {
            offerer,
            id: HtlcId(u64::from(id)),
        };
        match bytes.below(10) {
            0..5 => Delta::Add {
                key,
                htlc: htlc(offerer, id, bytes.next() % 32),
            },
            5 | 6 => Delta::Fulfil {
                key,
                preimage: preimage((id + u8::from(bytes.below(16) == 0)) % 4),
            },
            7 | 8 => Delta::Fail { key },
            _ => Delta::Fee {
                feerate: FeeratePerKw(253 + u32::from(bytes.next())),
            },
        }
    }

    fn tickets(&self, at: usize, deltas: &[Delta], bytes: &mut Bytes<'_>) -> Vec<Ticket> {
        let ours = deltas.iter().filter_map(|delta| match delta {
            Delta::Add { key, .. } if key.offerer == Side::Local => Some(key.id),
            _ => None,
        });
        let mut tickets: Vec<Ticket> = ours
            .map(|id| match bytes.below(8) {
                0 => Ticket::Payment,
                1 => Ticket::Forward {
                    channel: self.channels[at].new.channel,
                    id,
                },
                2 => Ticket::Forward {
                    channel: self.channels[(at + 1) % CHANNELS].new.channel,
                    id: HtlcId(u64::from(bytes.below(4))),
                },
                _ => Ticket::Forward {
                    channel: self.channels[(at + 1) % CHANNELS].new.channel,
                    id,
                },
            })
            .collect();
        if bytes.below(32) == 0 {
            tickets.pop();
        }
        tickets
    }

    fn sign(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        let deltas = self.deltas(at, bytes);
        let tickets = self.tickets(at, &deltas, bytes);
        let forwards = tickets.iter().filter(|ticket| **ticket != Ticket::Payment);
        let forwards = forwards.count() as u64;
        let n = CommitmentNumber(self.channels[at].remote.0.0 + 1);
        let request = Request::SignRemote(NextRemote {
            n,
            point: peer_point(n),
            deltas: deltas.clone(),
            tickets,
        });
        if let Reply::SignedRemote { .. } = self.ask(at, request) {
            self.done.forwards += forwards;
            let channel = &mut self.channels[at];
            let next = after(&channel.remote.1, &deltas).expect("it was signed");
            let before = std::mem::replace(&mut channel.remote, (n, next));
            assert_eq!(
                channel.before.replace(before.1),
                None,
                "three of the peer's live"
            );
            self.note_shown(&deltas);
        }
    }

    fn validate(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        let deltas = self.deltas(at, bytes);
        let channel = &self.channels[at];
        let Some(next) = after(&channel.local.1, &deltas) else {
            return;
        };
        let n = CommitmentNumber(channel.local.0.0 + 1);
        let Some((signature, htlc_signatures)) = channel.signed_by_peer(n, &next) else {
            return;
        };
        let request = Request::ValidateLocal(NextLocal {
            n,
            deltas: deltas.clone(),
            signature,
            htlc_signatures,
        });
        if let Reply::ValidatedLocal { next_point, .. } = self.ask(at, request) {
            self.channels[at].local = (n, next, next_point);
            self.note_shown(&deltas);
        }
    }

    fn revoke(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        let newest = self.channels[at].remote.0;
        let n = match bytes.below(8) {
            0 => newest,
            _ => CommitmentNumber(newest.0.saturating_sub(1)),
        };
        let secret = revocation(n);
        let reply = self.ask(at, Request::RemoteRevoked { n, secret });
        if reply == Reply::Done && n < newest {
            self.channels[at].before = None;
        }
        assert!(reply != Reply::Done || n < newest, "the newest was revoked");
    }

    fn approve(&mut self, bytes: &mut Bytes<'_>) {
        let payment_hash = preimage(bytes.below(4)).payment_hash();
        let amount = 300_000_000 + 100_000_000 * u64::from(bytes.below(4));
        let payment = Payment {
            chain_hash: CHAIN,
            payment_hash,
            payee: NodeId(peer_secret().public_key(SECP256K1)),
            amount: MilliSatoshi(amount),
            max_fee: MilliSatoshi(1000),
            expires: None,
        };
        self.hsm.approve(&payment).unwrap();
        let limit = self.budgets.entry(payment_hash).or_default();
        *limit = (*limit).max(amount + 1000);
    }

    /// The secret of the newest commitment is a secret: nobody can show it. A wrong one shows nothing.
    fn stale(&mut self, at: usize) {
        let n = self.channels[at].local.0;
        let secret = revocation(n);
        self.ask(at, Request::ReestablishProof { n, secret });
    }

    /// Nothing that has not been revoked.
    fn ask_again(&mut self, at: usize) {
        let n = self.channels[at].local.0;
        let reply = self.ask(at, Request::RevokedSecret { n });
        assert!(matches!(reply, Reply::Refused { .. }));
    }

    fn note_shown(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            if let Delta::Fulfil { preimage, .. } = delta {
                self.shown.insert(preimage.payment_hash());
            }
        }
    }

    fn check(&self) {
        let channels = self.channels.iter().map(|channel| {
            let newest = [&channel.local.1, &channel.remote.1];
            newest.into_iter().chain(&channel.before).collect()
        });
        let channels: Vec<Vec<&Ledger>> = channels.collect();
        let approved: u64 = self.budgets.values().sum();
        let worst = worst(&channels, &self.shown);
        assert!(
            worst + approved >= self.had,
            "{worst} is left of {}, and {approved} was approved",
            self.had
        );
    }
}

fn after(before: &Ledger, deltas: &[Delta]) -> Option<Ledger> {
    let mut ledger = before.clone();
    for delta in deltas {
        ledger.apply(delta).ok()?;
    }
    Some(ledger)
}

fn party(funding_pubkey: PublicKey, basepoints: Basepoints) -> Party {
    Party {
        funding_pubkey,
        basepoints,
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        channel_reserve: Satoshi(10_000),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: MilliSatoshi(u64::MAX),
        max_accepted_htlcs: 483,
        upfront_shutdown_script: None,
    }
}

impl Channel {
    fn open(hsm: &mut Hsm, at: usize) -> Channel {
        let key = peer_secret().public_key(SECP256K1);
        let new = hsm.new_channel(NodeId(key)).unwrap();
        let theirs = Basepoints {
            revocation: key,
            payment: key,
            delayed_payment: key,
            htlc: key,
        };
        let setup = Setup {
            opener: Side::Local,
            format: CommitmentFormat::AnchorsZeroFeeHtlc,
            funding_value: VALUE,
            push: MilliSatoshi(5_000_000_000),
            feerate: FeeratePerKw(253),
            local: party(new.funding_pubkey, new.basepoints),
            remote: party(key, theirs),
        };
        let outpoint = OutPoint {
            txid: Txid::from_byte_array([at as u8 + 1; 32]),
            vout: 0,
        };
        let funding = Funding {
            outpoint,
            value: VALUE,
        };
        let ledger = Ledger::opening(&setup).unwrap();
        let n = CommitmentNumber::ZERO;
        let channel = Channel {
            local: (n, ledger.clone(), new.first_points[0]),
            remote: (n, ledger.clone()),
            before: None,
            setup: setup.clone(),
            funding,
            new,
        };
        let (signature, htlc_signatures) = channel.signed_by_peer(n, &ledger).unwrap();
        let sign = Request::SignRemote(NextRemote {
            n,
            point: peer_point(n),
            deltas: vec![],
            tickets: vec![],
        });
        let validate = Request::ValidateLocal(NextLocal {
            n,
            deltas: vec![],
            signature,
            htlc_signatures,
        });
        for request in [
            Request::Setup { setup },
            Request::SetFunding { funding },
            sign,
            validate,
        ] {
            let reply = told(hsm, channel.new.channel, request);
            assert!(!matches!(reply, Reply::Refused { .. }), "{reply:?}");
        }
        let local = (n, ledger, channel.new.first_points[1]);
        Channel { local, ..channel }
    }

    /// The peer signs whatever the thief wants. `local.2` is our point for commitment `n`.
    fn signed_by_peer(
        &self,
        n: CommitmentNumber,
        ledger: &Ledger,
    ) -> Option<(Signature, Vec<Signature>)> {
        let (setup, funding, point) = (&self.setup, &self.funding, &self.local.2);
        let built = Commitment::build(setup, funding, Side::Local, n, point, ledger).ok()?;
        let signature = built.sign(setup, funding, &peer_secret()).ok()?;
        let key = derive_privkey(&peer_secret(), point).ok()?;
        let htlc_signatures = built.sign_htlcs(Side::Remote, &key).ok()?;
        Some((signature, htlc_signatures))
    }
}

/// A channel's request with its reply, as its socket gets it.
pub fn told(hsm: &mut Hsm, channel: wire::ChannelDbid, request: Request) -> Reply {
    let refuse = |refused: hsm::Refused| Reply::Refused {
        rule: refused.rule().to_string(),
        reason: refused.to_string(),
    };
    hsm.chan(channel, request).unwrap_or_else(refuse)
}
