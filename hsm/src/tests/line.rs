//! Three signers in a line, with a channel between each two neighbours.

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::{CommitmentFormat, Funding, Setup};
use tx::signer::{NextLocal, NextRemote, Reply, Request, RevocationSecret, Ticket};
use wire::{
    ChannelDbid, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, Preimage, Side,
};

use super::fixture::{Node, VALUE, party, payment, seen_by, told};
use hsm_messages::ctl::NewChannel;

/// Everything pays for this.
pub const PREIMAGE: Preimage = Preimage([9; 32]);
/// The node in the middle.
pub const M: usize = 1;
/// The channels: from the left to the middle, and on to the right.
pub const IN: usize = 0;
pub const OUT: usize = 1;
/// The ends of a channel. The left one has opened it.
pub const LEFT: usize = 0;
pub const RIGHT: usize = 1;

/// Channel `n` is between nodes `n` and `n + 1`.
pub struct Line {
    pub nodes: [Node; 3],
    pub links: [Link; 2],
}

pub struct Link {
    pub ends: [NewChannel; 2],
    pub next: [CommitmentNumber; 2],
    pub points: [PublicKey; 2],
}

fn side(end: usize) -> Side {
    match end {
        LEFT => Side::Local,
        _ => Side::Remote,
    }
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

/// From the left to the right.
pub fn add(id: u64, amount: u64, cltv_expiry: u32) -> Delta {
    Delta::Add {
        key: key(Side::Local, id),
        htlc: htlc(amount, cltv_expiry),
    }
}

pub fn fulfil(id: u64) -> Delta {
    Delta::Fulfil {
        key: key(Side::Local, id),
        preimage: PREIMAGE,
    }
}

pub fn fail(id: u64) -> Delta {
    Delta::Fail {
        key: key(Side::Local, id),
    }
}

impl Line {
    pub fn new() -> Line {
        let mut nodes = [Node::new(), Node::new(), Node::new()];
        let links = [IN, OUT].map(|at| Link::new(&mut nodes, at));
        let mut line = Line { nodes, links };
        for link in [IN, OUT] {
            line.commit(link, LEFT, &[], &[]);
            line.commit(link, RIGHT, &[], &[]);
        }
        line
    }

    pub fn dbid(&self, link: usize, end: usize) -> ChannelDbid {
        self.links[link].ends[end].channel
    }

    pub fn ask(&mut self, link: usize, end: usize, request: Request) -> Reply {
        let dbid = self.dbid(link, end);
        told(self.nodes[link + end].hsm(), dbid, request)
    }

    /// The rule that a request breaks, while nothing changes.
    pub fn refused(&mut self, link: usize, end: usize, request: Request) -> String {
        let before = self.nodes[link + end].hsm().state.clone();
        match self.ask(link, end, request) {
            Reply::Refused { rule, .. } => {
                let after = &self.nodes[link + end].hsm().state;
                assert_eq!(*after, before, "a refusal changed something");
                rule
            }
            other => panic!("answered: {other:?}"),
        }
    }

    /// What the end that is not `owner` asks to sign for it. `deltas` as the left end sees them.
    pub fn request(
        &self,
        link: usize,
        owner: usize,
        deltas: &[Delta],
        tickets: &[Ticket],
    ) -> Request {
        let at = &self.links[link];
        Request::SignRemote(NextRemote {
            n: at.next[owner],
            point: at.points[owner],
            deltas: seen_by(side(1 - owner), deltas),
            tickets: tickets.to_vec(),
        })
    }

    pub fn sign(
        &mut self,
        link: usize,
        owner: usize,
        deltas: &[Delta],
        tickets: &[Ticket],
    ) -> (Signature, Vec<Signature>) {
        let request = self.request(link, owner, deltas, tickets);
        match self.ask(link, 1 - owner, request) {
            Reply::SignedRemote {
                signature,
                htlc_signatures,
            } => (signature, htlc_signatures),
            other => panic!("not signed: {other:?}"),
        }
    }

    pub fn validate(
        &mut self,
        link: usize,
        owner: usize,
        deltas: &[Delta],
        signatures: (Signature, Vec<Signature>),
    ) -> Option<RevocationSecret> {
        let n = self.links[link].next[owner];
        let request = Request::ValidateLocal(NextLocal {
            n,
            deltas: seen_by(side(owner), deltas),
            signature: signatures.0,
            htlc_signatures: signatures.1,
        });
        let Reply::ValidatedLocal {
            revoked_secret,
            next_point,
            ..
        } = self.ask(link, owner, request)
        else {
            panic!("not validated");
        };
        let at = &mut self.links[link];
        (at.next[owner], at.points[owner]) = (n.next().unwrap(), next_point);
        revoked_secret
    }

    pub fn revoke(&mut self, link: usize, owner: usize, secret: Option<RevocationSecret>) {
        let n = CommitmentNumber(self.links[link].next[owner].0.saturating_sub(2));
        if let Some(secret) = secret {
            let request = Request::RemoteRevoked { n, secret };
            assert_eq!(self.ask(link, 1 - owner, request), Reply::Done);
        }
    }

    pub fn commit(&mut self, link: usize, owner: usize, deltas: &[Delta], tickets: &[Ticket]) {
        let signatures = self.sign(link, owner, deltas, tickets);
        let secret = self.validate(link, owner, deltas, signatures);
        self.revoke(link, owner, secret);
    }

    /// Something that the left end says: into the right end's commitment, then into its own.
    pub fn left_says(&mut self, link: usize, deltas: &[Delta], tickets: &[Ticket]) {
        self.commit(link, RIGHT, deltas, tickets);
        self.commit(link, LEFT, deltas, &[]);
    }

    /// Something that the right end says, no HTLC of its own.
    pub fn right_says(&mut self, link: usize, deltas: &[Delta]) {
        self.commit(link, LEFT, deltas, &[]);
        self.commit(link, RIGHT, deltas, &[]);
    }

    /// An HTLC of the left node comes to the middle, for good.
    pub fn comes_in(&mut self, id: u64, amount: u64, cltv_expiry: u32) {
        self.approve(LEFT, amount * 2);
        let add = add(id, amount, cltv_expiry);
        self.left_says(IN, &[add], &[Ticket::Payment]);
    }

    pub fn approve(&mut self, node: usize, amount: u64) {
        let payment = payment(PREIMAGE.payment_hash(), MilliSatoshi(amount));
        self.nodes[node].hsm().approve(&payment).unwrap();
    }

    /// The middle node's ticket for an HTLC that came in.
    pub fn ticket(&self, id: u64) -> Ticket {
        Ticket::Forward {
            channel: self.dbid(IN, RIGHT),
            id: HtlcId(id),
        }
    }

    /// How many HTLCs that went out the middle node remembers.
    pub fn legs(&mut self) -> usize {
        let flows = self.nodes[M].hsm().state.flows.iter();
        flows.map(|(_, flow)| flow.legs.len()).sum()
    }
}

impl Link {
    /// Terms and funding output are fixed.
    fn new(nodes: &mut [Node; 3], at: usize) -> Link {
        let ids = [at, at + 1].map(|node| nodes[node].hsm().node_id());
        let ends = [
            nodes[at].hsm().new_channel(ids[1]).unwrap(),
            nodes[at + 1].hsm().new_channel(ids[0]).unwrap(),
        ];
        let setup = |opener, local: &NewChannel, remote: &NewChannel| Setup {
            opener,
            format: CommitmentFormat::AnchorsZeroFeeHtlc,
            funding_value: VALUE,
            push: MilliSatoshi(300_000_000),
            feerate: FeeratePerKw(1000),
            local: party(local, 144),
            remote: party(remote, 144),
        };
        let outpoint = OutPoint {
            txid: Txid::from_byte_array([at as u8 + 1; 32]),
            vout: 0,
        };
        let funding = Funding {
            outpoint,
            value: VALUE,
        };
        let setups = [
            setup(Side::Local, &ends[LEFT], &ends[RIGHT]),
            setup(Side::Remote, &ends[RIGHT], &ends[LEFT]),
        ];
        for (end, setup) in setups.into_iter().enumerate() {
            let hsm = nodes[at + end].hsm();
            for request in [Request::Setup { setup }, Request::SetFunding { funding }] {
                assert_eq!(told(hsm, ends[end].channel, request), Reply::Done);
            }
        }
        let points = [ends[LEFT].first_points[0], ends[RIGHT].first_points[0]];
        Link {
            ends,
            next: [CommitmentNumber::ZERO; 2],
            points,
        }
    }
}
