//! The other end of a channel: its keys and what it signs and reveals.

use anyhow::{Context, Result, bail};
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use hsm_messages::chan::{Reply, Request, RevocationSecret};
use hsm_messages::edges::HsmChan;
use hsm_messages::{Role, ctl};
use ipc_transport::blocking::UpperConn;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tx::Commitment;
use tx::keys::{derive_privkey, per_commitment_point, per_commitment_secret};
use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::setup::{Basepoints, CommitmentFormat, Funding, Party, Setup};
use tx::signer::{NextLocal, NextRemote};
use wire::{
    BlockDelta, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, NodeId,
    PaymentHash, Satoshi, Side,
};

use super::signer::Signer;

const VALUE: Satoshi = Satoshi(16_000_000);
/// Of each HTLC; large enough for an output.
const AMOUNT: MilliSatoshi = MilliSatoshi(10_000_000);

/// A channel of the signer's whose peer is here. All is seen from the signer's side: Local is its own.
pub struct Channel {
    pub conn: UpperConn<HsmChan>,
    setup: Setup,
    funding: Funding,
    peer: Peer,
    local: Newest,
    remote: Newest,
    /// The signer's point for its next commitment.
    point: PublicKey,
}

/// What the next commitment of a side follows.
struct Newest {
    next: CommitmentNumber,
    ledger: Ledger,
}

struct Peer {
    funding: SecretKey,
    htlc: SecretKey,
    seed: [u8; 32],
}

impl Peer {
    fn secret(&self, n: CommitmentNumber) -> Result<RevocationSecret> {
        Ok(per_commitment_secret(&self.seed, n)?)
    }

    fn point(&self, n: CommitmentNumber) -> Result<PublicKey> {
        Ok(per_commitment_point(&self.secret(n)?)?)
    }
}

fn secret(channel: usize, which: u8) -> Result<SecretKey> {
    let mut bytes = [which; 32];
    for (to, from) in bytes.iter_mut().skip(8).zip((channel as u64).to_be_bytes()) {
        *to = from;
    }
    Ok(SecretKey::from_slice(&bytes)?)
}

fn party(funding_pubkey: PublicKey, basepoints: Basepoints) -> Party {
    Party {
        funding_pubkey,
        basepoints,
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        channel_reserve: Satoshi(160_000),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: MilliSatoshi(16_000_000_000),
        max_accepted_htlcs: 483,
        upfront_shutdown_script: None,
    }
}

impl Channel {
    /// A channel that the peer opened, with half of it given to us, at commitments 0.
    pub fn open(signer: &mut Signer, number: usize) -> Result<Channel> {
        let node = NodeId(secret(number, 1)?.public_key(SECP256K1));
        let new = signer.new_channel(node)?;
        let conn = signer.mint::<HsmChan>(Role::Chan, Some(new.channel))?;
        let (peer, setup, funding) = terms(number, &new)?;
        let ledger = Ledger::opening(&setup)?;
        let newest = || Newest {
            next: CommitmentNumber::ZERO,
            ledger: ledger.clone(),
        };
        let mut channel = Channel {
            conn,
            local: newest(),
            remote: newest(),
            setup: setup.clone(),
            funding,
            peer,
            point: new.first_points[0],
        };
        for request in [Request::Setup { setup }, Request::SetFunding { funding }] {
            match channel.conn.call(&request)? {
                Reply::Done => {}
                other => bail!("{other:?}"),
            }
        }
        channel.commit(Side::Local, &[])?;
        channel.commit(Side::Remote, &[])?;
        Ok(channel)
    }

    /// Lets the peer offer HTLCs until there are so many.
    pub fn add(&mut self, htlcs: u64) -> Result<()> {
        let have = self.local.ledger.htlcs.len() as u64;
        let add = |id| Delta::Add {
            key: HtlcKey {
                offerer: Side::Remote,
                id: HtlcId(id),
            },
            htlc: Htlc {
                amount: AMOUNT,
                payment_hash: PaymentHash([4; 32]),
                cltv_expiry: CltvExpiry(500_000),
            },
        };
        let adds: Vec<Delta> = (have..htlcs).map(add).collect();
        if !adds.is_empty() {
            self.commit(Side::Local, &adds)?;
            self.commit(Side::Remote, &adds)?;
        }
        Ok(())
    }

    /// The next commitment of a side, and what revokes the one before it.
    fn commit(&mut self, owner: Side, deltas: &[Delta]) -> Result<()> {
        let request = self.next(owner, deltas.to_vec())?;
        let reply = self.conn.call(&request)?;
        self.answered(owner, deltas, reply)?;
        if owner == Side::Remote && self.remote.next > CommitmentNumber(1) {
            let request = self.revoke()?;
            if self.conn.call(&request)? != Reply::Done {
                bail!("not revoked");
            }
        }
        Ok(())
    }

    fn newest(&mut self, owner: Side) -> &mut Newest {
        match owner {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }

    /// The request for the next commitment of `owner`.
    pub fn next(&self, owner: Side, deltas: Vec<Delta>) -> Result<Request> {
        match owner {
            Side::Remote => Ok(Request::SignRemote(NextRemote {
                n: self.remote.next,
                point: self.peer.point(self.remote.next)?,
                deltas,
                // The peer alone offers HTLCs here.
                tickets: Vec::new(),
            })),
            Side::Local => self.sign(deltas),
        }
    }

    /// The signer's next commitment, signed by the peer.
    fn sign(&self, deltas: Vec<Delta>) -> Result<Request> {
        let n = self.local.next;
        let mut ledger = self.local.ledger.clone();
        for delta in &deltas {
            ledger.apply(delta)?;
        }
        let (setup, funding) = (&self.setup, &self.funding);
        let commitment = Commitment::build(setup, funding, Side::Local, n, &self.point, &ledger)?;
        let htlc = derive_privkey(&self.peer.htlc, &self.point)?;
        Ok(Request::ValidateLocal(NextLocal {
            n,
            deltas,
            signature: commitment.sign(setup, funding, &self.peer.funding)?,
            htlc_signatures: commitment.sign_htlcs(Side::Remote, &htlc)?,
        }))
    }

    /// Takes the answer to [`Channel::next`].
    pub fn answered(&mut self, owner: Side, deltas: &[Delta], reply: Reply) -> Result<()> {
        match (owner, reply) {
            (Side::Local, Reply::ValidatedLocal { next_point, .. }) => self.point = next_point,
            (Side::Remote, Reply::SignedRemote { .. }) => {}
            (_, other) => bail!("{other:?}"),
        }
        let newest = self.newest(owner);
        for delta in deltas {
            newest.ledger.apply(delta)?;
        }
        newest.next = newest
            .next
            .next()
            .context("commitment numbers are used up")?;
        Ok(())
    }

    /// The peer reveals the secret of its commitment before the newest.
    pub fn revoke(&self) -> Result<Request> {
        let n = self.remote.next.prev().and_then(CommitmentNumber::prev);
        let n = n.context("nothing to revoke")?;
        let secret = self.peer.secret(n)?;
        Ok(Request::RemoteRevoked { n, secret })
    }
}

fn terms(number: usize, new: &ctl::NewChannel) -> Result<(Peer, Setup, Funding)> {
    let peer = Peer {
        funding: secret(number, 2)?,
        htlc: secret(number, 3)?,
        seed: secret(number, 4)?.secret_bytes(),
    };
    let public = |which| Ok::<_, anyhow::Error>(secret(number, which)?.public_key(SECP256K1));
    let basepoints = Basepoints {
        revocation: public(5)?,
        payment: public(6)?,
        delayed_payment: public(7)?,
        htlc: peer.htlc.public_key(SECP256K1),
    };
    let setup = Setup {
        opener: Side::Remote,
        format: CommitmentFormat::AnchorsZeroFeeHtlc,
        funding_value: VALUE,
        push: MilliSatoshi(VALUE.0 * 500),
        feerate: FeeratePerKw(253),
        local: party(new.funding_pubkey, new.basepoints),
        remote: party(peer.funding.public_key(SECP256K1), basepoints),
    };
    let mut txid = [9; 32];
    for (to, from) in txid.iter_mut().zip((number as u64).to_be_bytes()) {
        *to = from;
    }
    let outpoint = OutPoint {
        txid: Txid::from_byte_array(txid),
        vout: 0,
    };
    let funding = Funding {
        outpoint,
        value: VALUE,
    };
    Ok((peer, setup, funding))
}
