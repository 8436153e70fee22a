//! Signers, terms, and channels with both commitments 0.

use std::fs::File;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use channel::action::{Agreed, CloseFees, Identity, Policy};
use channel::state::{Live, Phase};
use hsm::{DEFAULT, Hsm, Opened};
use hsm_messages::ctl::{Database, NewChannel};
use hsm_messages::limits::{Limit, Limits};
use secp256k1::ecdsa::Signature;
use tempfile::TempDir;
use tx::setup::{CommitmentFormat, Funding, Party, Setup};
use tx::signer::{NextLocal, NextRemote, Reply, Request};
use wire::units::MAX_SATOSHI;
use wire::{
    BlockDelta, ChainHash, CommitmentNumber, FeeratePerKw, MilliSatoshi, NodeId, Satoshi,
    ShortChannelId, Side,
};

pub const CHAIN: ChainHash = ChainHash([6; 32]);
const VALUE: Satoshi = Satoshi(3_000_000);

/// A signer with a folder of its own.
pub struct Signer {
    dir: TempDir,
    /// `None` only while it is opened again.
    hsm: Option<Hsm>,
}

impl Signer {
    pub fn new() -> Signer {
        let dir = tempfile::tempdir().unwrap();
        let hsm = open(&dir, Database::Absent);
        Signer {
            dir,
            hsm: Some(hsm),
        }
    }

    pub fn hsm(&mut self) -> &mut Hsm {
        self.hsm.as_mut().unwrap()
    }

    /// Ends it without a word and starts it again.
    pub fn restart(&mut self) {
        self.hsm().sync().unwrap();
        let database = Database::Present {
            mark: Some(self.hsm().mark()),
        };
        self.hsm = None;
        self.hsm = Some(open(&self.dir, database));
    }
}

fn open(dir: &TempDir, database: Database) -> Hsm {
    let folder = File::open(dir.path()).unwrap();
    let Opened::Unlocked(mut hsm) = Hsm::open(folder.into(), CHAIN, database).unwrap() else {
        panic!("a new seed has no passphrase");
    };
    // Their owners have large plans.
    let limits = Limits {
        pay_per_day: Limit::Exactly(Satoshi(MAX_SATOSHI)),
        ..DEFAULT
    };
    hsm.set_limits(limits).unwrap();
    *hsm
}

pub fn policy() -> Policy {
    Policy {
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        max_to_self_delay: BlockDelta(2016),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: None,
        max_accepted_htlcs: 9,
        min_capacity: Satoshi(10_000),
        minimum_depth: 3,
        max_dust_exposure: MilliSatoshi(50_000_000),
        feerate_min: FeeratePerKw::FLOOR,
        feerate_max: FeeratePerKw(u32::MAX),
        fulfil_deadline: BlockDelta(18),
        close_fees: CloseFees {
            ideal: FeeratePerKw(1000),
            min: FeeratePerKw(253),
            max: FeeratePerKw(5000),
        },
    }
}

/// Small enough for the limits to be met.
fn party(new: &NewChannel, end: usize) -> Party {
    Party {
        funding_pubkey: new.funding_pubkey,
        basepoints: new.basepoints,
        dust_limit: [Satoshi(546), Satoshi(354)][end],
        to_self_delay: BlockDelta(144),
        channel_reserve: Satoshi(30_000),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: [MilliSatoshi(700_000_000), MilliSatoshi(u64::MAX)][end],
        max_accepted_htlcs: [9, 12][end],
        upfront_shutdown_script: None,
    }
}

/// What both ends of channel `at`, between the nodes `at` and `at + 1`, have stored after opening it.
pub fn open_channel(
    signers: &mut [Signer; 3],
    at: usize,
    format: CommitmentFormat,
) -> ([NewChannel; 2], [Live; 2]) {
    let ids: [NodeId; 2] = [0, 1].map(|end| signers[at + end].hsm().node_id());
    let news = [0, 1].map(|end| signers[at + end].hsm().new_channel(ids[1 - end]).unwrap());
    let outpoint = OutPoint {
        txid: Txid::from_byte_array([at as u8 + 1; 32]),
        vout: 0,
    };
    let funding = Funding {
        outpoint,
        value: VALUE,
    };
    let setups = [0, 1].map(|end| Setup {
        opener: [Side::Local, Side::Remote][end],
        format,
        funding_value: VALUE,
        push: MilliSatoshi(1_400_000_000),
        feerate: FeeratePerKw(1000),
        local: party(&news[end], end),
        remote: party(&news[1 - end], 1 - end),
    });
    for end in [0, 1] {
        let setup = setups[end].clone();
        for request in [Request::Setup { setup }, Request::SetFunding { funding }] {
            let reply = told(signers[at + end].hsm(), news[end].channel, request);
            assert_eq!(reply, Reply::Done);
        }
    }
    for owner in [0, 1] {
        first_commitment(signers, at, &news, owner);
    }
    let lives = [0, 1].map(|end| {
        let point = news[1 - end].first_points[0];
        live(&news[end], ids[1 - end], &setups[end], funding, point)
    });
    (news, lives)
}

fn first_commitment(signers: &mut [Signer; 3], at: usize, news: &[NewChannel; 2], owner: usize) {
    let n = CommitmentNumber::ZERO;
    let sign = Request::SignRemote(NextRemote {
        n,
        point: news[owner].first_points[0],
        deltas: vec![],
        tickets: vec![],
    });
    let signer = signers[at + 1 - owner].hsm();
    let signature: Signature = match told(signer, news[1 - owner].channel, sign) {
        Reply::SignedRemote { signature, .. } => signature,
        other => panic!("{other:?}"),
    };
    let validate = Request::ValidateLocal(NextLocal {
        n,
        deltas: vec![],
        signature,
        htlc_signatures: vec![],
    });
    let reply = told(signers[at + owner].hsm(), news[owner].channel, validate);
    assert!(matches!(reply, Reply::ValidatedLocal { .. }));
}

fn live(
    new: &NewChannel,
    peer: NodeId,
    setup: &Setup,
    funding: Funding,
    remote_point: secp256k1::PublicKey,
) -> Live {
    let identity = Identity {
        dbid: new.channel,
        peer,
        chain_hash: CHAIN,
        funding_pubkey: new.funding_pubkey,
        basepoints: new.basepoints,
        first_points: new.first_points,
        shutdown_script: new.shutdown_p2tr.clone(),
        alias: ShortChannelId(new.channel.0),
    };
    let agreed = Agreed {
        setup: setup.clone(),
        minimum_depth: 3,
        announce: false,
    };
    let phase = Phase::AwaitingLockin {
        sent_ready: false,
        received_ready: false,
    };
    Live::opened(&identity, agreed, funding, remote_point, phase).unwrap()
}

/// A channel's request with its reply, as its socket gets it.
pub fn told(hsm: &mut Hsm, channel: wire::ChannelDbid, request: Request) -> Reply {
    let refuse = |refused: hsm::Refused| Reply::Refused {
        rule: refused.rule().to_string(),
        reason: refused.to_string(),
    };
    hsm.chan(channel, request).unwrap_or_else(refuse)
}
