//! Two signers as the two ends of one channel: each one's local is the other's remote.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use secp256k1::ecdsa::Signature;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tempfile::TempDir;
use tx::ledger::{Delta, HtlcKey};
use tx::setup::{CommitmentFormat, Funding, Party, Setup};
use tx::signer::{CloseTerms, NextLocal, NextRemote, Reply, Request, RevocationSecret, Ticket};
use wire::units::MAX_SATOSHI;
use wire::{
    BlockDelta, ChainHash, ChannelDbid, CommitmentNumber, FeeratePerKw, MilliSatoshi, NodeId,
    PaymentHash, Satoshi, Side,
};

use crate::derive::NodeKeys;
use crate::flows::offers;
use crate::journal::{Replayed, replay};
use crate::secret::Secret;
use crate::seed::StoredSeed;
use crate::{DEFAULT, Hsm, OpenError, Opened, Payment};
use hsm_files::folder::Folder;
use hsm_messages::ctl::{Database, NewChannel};
use hsm_messages::limits::{Limit, Limits};

/// Regtest's genesis block.
pub const CHAIN: ChainHash = ChainHash([
    0x06, 0x22, 0x6e, 0x46, 0x11, 0x1a, 0x0b, 0x59, 0xca, 0xaf, 0x12, 0x60, 0x43, 0xeb, 0x5b, 0xbf,
    0x28, 0xc3, 0x4f, 0x3a, 0x5e, 0x33, 0x2a, 0x1f, 0xc7, 0xb2, 0xb7, 0x3c, 0xf1, 0x88, 0x91, 0x0f,
]);
pub const VALUE: Satoshi = Satoshi(1_000_000);
pub const CLOSE_FEE: Satoshi = Satoshi(1000);

pub fn folder(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

/// For a new node, or beside the database that belongs to the journal there.
pub fn open(path: &Path, new_node: bool) -> Result<Hsm, OpenError> {
    let database = match new_node {
        true => Database::Absent,
        false => Database::Present {
            mark: replayed(path).map(|replayed| replayed.heads.newest()),
        },
    };
    open_with(path, database)
}

pub fn open_with(path: &Path, database: Database) -> Result<Hsm, OpenError> {
    match Hsm::open(folder(path), CHAIN, database)? {
        Opened::Unlocked(hsm) => Ok(*hsm),
        Opened::Locked(_) | Opened::Unconfirmed(_) | Opened::Inspected(_) => {
            panic!("it waits for its owner")
        }
    }
}

/// What the journal in a folder amounts to, if it is there and good.
pub fn replayed(path: &Path) -> Option<Replayed> {
    let seed = StoredSeed::read(&Folder::new(folder(path)))
        .ok()??
        .open()
        .ok()?
        .seed();
    let key = NodeKeys::derive(&seed).ok()?.journal;
    let bytes = fs::read(path.join("hsm-journal")).ok()?;
    replay(&bytes, CHAIN, Secret::new(*key)).ok()
}

/// A signer with a folder of its own.
pub struct Node {
    pub dir: TempDir,
    /// `None` only while it is opened again.
    hsm: Option<Hsm>,
}

impl Node {
    pub fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let mut hsm = open(dir.path(), true).unwrap();
        // Tests of what may be paid set their own.
        let limits = Limits {
            pay_per_day: Limit::Exactly(Satoshi(MAX_SATOSHI)),
            ..DEFAULT
        };
        hsm.set_limits(limits).unwrap();
        Node {
            dir,
            hsm: Some(hsm),
        }
    }

    pub fn hsm(&mut self) -> &mut Hsm {
        self.hsm.as_mut().unwrap()
    }

    /// Ends it without a word and starts it again, as after kill -9.
    pub fn restart(&mut self) {
        self.hsm().sync().unwrap();
        let before = self.hsm.take().unwrap().state;
        let again = open(self.dir.path(), false).unwrap();
        assert_eq!(again.state, before, "the journal gives another state");
        self.hsm = Some(again);
    }

    /// Ends it, and gives its folder.
    pub fn stop(&mut self) -> &Path {
        if let Some(mut hsm) = self.hsm.take() {
            hsm.sync().unwrap();
        }
        self.dir.path()
    }

    pub fn go_on(&mut self, hsm: Hsm) {
        self.hsm = Some(hsm);
    }

    pub fn journal(&self) -> std::path::PathBuf {
        self.dir.path().join("hsm-journal")
    }

    pub fn journal_len(&mut self) -> u64 {
        self.hsm().sync().unwrap();
        fs::metadata(self.journal()).unwrap().len()
    }
}

/// One end of the channel.
pub struct End {
    pub node: Node,
    pub new: NewChannel,
    pub setup: Setup,
    /// Number of its next commitment.
    pub next: CommitmentNumber,
    /// Its point `next`, which the other end signs for.
    pub next_point: PublicKey,
}

impl End {
    pub fn ask(&mut self, request: Request) -> Reply {
        let channel = self.new.channel;
        let reply = told(self.node.hsm(), channel, request);
        self.node.hsm().sync().unwrap();
        reply
    }

    /// The rule that a request breaks, while nothing changes.
    pub fn refused(&mut self, request: Request) -> String {
        let before = self.node.hsm().state.clone();
        let len = self.node.journal_len();
        match self.ask(request) {
            Reply::Refused { rule, .. } => {
                assert_eq!(self.node.hsm().state, before, "a refusal changed something");
                assert_eq!(self.node.journal_len(), len, "a refusal was recorded");
                rule
            }
            other => panic!("answered: {other:?}"),
        }
    }

    /// Approves payments for all HTLCs that it adds, and gives their tickets.
    pub fn pay(&mut self, deltas: &[Delta]) -> Vec<Ticket> {
        offers(deltas)
            .map(|(_, htlc)| {
                let hash = htlc.payment_hash;
                let flows = &self.node.hsm().state.flows;
                let spent = flows.get(hash).and_then(|flow| flow.budget.as_ref());
                let limit = spent.map_or(MilliSatoshi::ZERO, |budget| budget.limit);
                let amount = limit.saturating_add(htlc.amount);
                self.node.hsm().approve(&payment(hash, amount)).unwrap();
                Ticket::Payment
            })
            .collect()
    }

    pub fn done(&mut self, request: Request) {
        assert_eq!(self.ask(request), Reply::Done);
    }
}

/// Of some invoice that never expires.
pub fn payment(payment_hash: PaymentHash, amount: MilliSatoshi) -> Payment {
    let payee = SecretKey::from_slice(&[0x21; 32]).unwrap();
    Payment {
        chain_hash: CHAIN,
        payment_hash,
        payee: NodeId(payee.public_key(SECP256K1)),
        amount,
        max_fee: MilliSatoshi::ZERO,
        expires: None,
    }
}

pub struct Pair {
    pub a: End,
    pub b: End,
    pub funding: Funding,
}

pub fn party(new: &NewChannel, delay: u16) -> Party {
    Party {
        funding_pubkey: new.funding_pubkey,
        basepoints: new.basepoints,
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(delay),
        channel_reserve: Satoshi(10_000),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: MilliSatoshi(u64::MAX),
        max_accepted_htlcs: 483,
        upfront_shutdown_script: None,
    }
}

impl Pair {
    /// Both know the terms; nothing is funded. `a` opens.
    pub fn agreed(format: CommitmentFormat) -> Pair {
        let (mut a, mut b) = (Node::new(), Node::new());
        let (id_a, id_b) = (a.hsm().node_id(), b.hsm().node_id());
        let new_a = a.hsm().new_channel(id_b).unwrap();
        let new_b = b.hsm().new_channel(id_a).unwrap();
        let setup_a = Setup {
            opener: Side::Local,
            format,
            funding_value: VALUE,
            push: MilliSatoshi(300_000_000),
            feerate: FeeratePerKw(1000),
            local: party(&new_a, 144),
            remote: party(&new_b, 720),
        };
        let setup_b = Setup {
            opener: Side::Remote,
            local: setup_a.remote.clone(),
            remote: setup_a.local.clone(),
            ..setup_a.clone()
        };
        let end = |node, new: NewChannel, setup| End {
            node,
            next: CommitmentNumber::ZERO,
            next_point: new.first_points[0],
            new,
            setup,
        };
        let outpoint = OutPoint {
            txid: Txid::from_byte_array([0x77; 32]),
            vout: 1,
        };
        let funding = Funding {
            outpoint,
            value: VALUE,
        };
        Pair {
            a: end(a, new_a, setup_a),
            b: end(b, new_b, setup_b),
            funding,
        }
    }

    pub fn funded(format: CommitmentFormat) -> Pair {
        let mut pair = Pair::agreed(format);
        let funding = pair.funding;
        for end in [&mut pair.a, &mut pair.b] {
            let setup = end.setup.clone();
            end.done(Request::Setup { setup });
            end.done(Request::SetFunding { funding });
        }
        pair
    }

    /// Open, both at commitment 0.
    pub fn open(format: CommitmentFormat) -> Pair {
        let mut pair = Pair::funded(format);
        pair.commit(Side::Local, &[]);
        pair.commit(Side::Remote, &[]);
        pair
    }

    /// The end that owns a commitment, as `a` calls the sides, and the end that signs it.
    pub fn ends(&mut self, owner: Side) -> (&mut End, &mut End) {
        match owner {
            Side::Local => (&mut self.a, &mut self.b),
            Side::Remote => (&mut self.b, &mut self.a),
        }
    }

    /// The next commitment of `owner`, from signing to revocation. `deltas` as `a` sees them.
    pub fn commit(&mut self, owner: Side, deltas: &[Delta]) {
        let (signature, htlc_signatures) = self.sign(owner, deltas);
        let revoked = self.validate(owner, deltas, signature, htlc_signatures);
        self.revoke(owner, revoked);
    }

    pub fn sign(&mut self, owner: Side, deltas: &[Delta]) -> (Signature, Vec<Signature>) {
        let (owner_end, signer) = self.ends(owner);
        let deltas = seen_by(owner.other(), deltas);
        let request = Request::SignRemote(NextRemote {
            n: owner_end.next,
            point: owner_end.next_point,
            tickets: signer.pay(&deltas),
            deltas,
        });
        match signer.ask(request) {
            Reply::SignedRemote {
                signature,
                htlc_signatures,
            } => (signature, htlc_signatures),
            other => panic!("not signed: {other:?}"),
        }
    }

    pub fn validate(
        &mut self,
        owner: Side,
        deltas: &[Delta],
        signature: Signature,
        htlc_signatures: Vec<Signature>,
    ) -> Option<RevocationSecret> {
        let (end, _) = self.ends(owner);
        let request = Request::ValidateLocal(NextLocal {
            n: end.next,
            deltas: seen_by(owner, deltas),
            signature,
            htlc_signatures,
        });
        match end.ask(request) {
            Reply::ValidatedLocal {
                revoked_secret,
                next_point,
                ..
            } => {
                end.next = end.next.next().unwrap();
                end.next_point = next_point;
                revoked_secret
            }
            other => panic!("not validated: {other:?}"),
        }
    }

    pub fn revoke(&mut self, owner: Side, secret: Option<RevocationSecret>) {
        let (owner_end, signer) = self.ends(owner);
        if let Some(secret) = secret {
            let n = CommitmentNumber(owner_end.next.0 - 2);
            signer.done(Request::RemoteRevoked { n, secret });
        }
    }

    pub fn sign_close(&mut self, fee: Satoshi) -> Request {
        Request::SignClose(CloseTerms {
            fee,
            local_script: self.a.new.shutdown_p2wpkh.clone(),
            remote_script: self.b.new.shutdown_p2tr.clone(),
        })
    }
}

/// Deltas as the end with this side (as `a` calls it) sees them.
pub fn seen_by(side: Side, deltas: &[Delta]) -> Vec<Delta> {
    let mirror = |key: &HtlcKey| HtlcKey {
        offerer: match side {
            Side::Local => key.offerer,
            Side::Remote => key.offerer.other(),
        },
        id: key.id,
    };
    let one = |delta: &Delta| match delta {
        Delta::Add { key, htlc } => Delta::Add {
            key: mirror(key),
            htlc: *htlc,
        },
        Delta::Fulfil { key, preimage } => Delta::Fulfil {
            key: mirror(key),
            preimage: *preimage,
        },
        Delta::Fail { key } => Delta::Fail { key: mirror(key) },
        Delta::Fee { feerate } => Delta::Fee { feerate: *feerate },
    };
    deltas.iter().map(one).collect()
}

/// A channel's request with its reply, as its socket gets it.
pub fn told(hsm: &mut Hsm, channel: ChannelDbid, request: Request) -> Reply {
    let refuse = |refused: crate::Refused| Reply::Refused {
        rule: refused.rule().to_string(),
        reason: refused.to_string(),
    };
    hsm.chan(channel, request).unwrap_or_else(refuse)
}

/// A channel number for those who have no channel.
pub const NO_CHANNEL: ChannelDbid = ChannelDbid(99);
