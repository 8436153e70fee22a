//! The two ends of a channel as processes hold them: agreed terms, and commitments one after the other.

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use hsm_messages::chan::{Reply, Request};
use hsm_messages::ctl::NewChannel;
use secp256k1::PublicKey;
use tx::ledger::Delta;
use tx::setup::{CommitmentFormat, Funding, Party, Setup};
use tx::signer::{NextLocal, NextRemote, RevocationSecret, Ticket};
use wire::{BlockDelta, CommitmentNumber, FeeratePerKw, MilliSatoshi, Satoshi, Side};

pub const VALUE: Satoshi = Satoshi(1_000_000);
/// What the opener gives to the other end.
pub const PUSH: MilliSatoshi = MilliSatoshi(200_000_000);

/// The next commitment of an end.
#[derive(Clone, Copy)]
pub struct Next {
    pub n: CommitmentNumber,
    pub point: PublicKey,
}

impl Next {
    pub fn first(new: &NewChannel) -> Next {
        Next {
            n: CommitmentNumber::ZERO,
            point: new.first_points[0],
        }
    }
}

/// An end, whose process can be asked.
pub trait End {
    fn ask(&mut self, request: Request) -> Reply;

    fn next(&mut self) -> &mut Next;
}

pub fn party(new: &NewChannel) -> Party {
    Party {
        funding_pubkey: new.funding_pubkey,
        basepoints: new.basepoints,
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        channel_reserve: Satoshi(10_000),
        htlc_minimum: MilliSatoshi(1),
        max_htlc_value_in_flight: MilliSatoshi(u64::MAX),
        max_accepted_htlcs: 483,
        upfront_shutdown_script: Some(new.shutdown_p2tr.clone()),
    }
}

/// The terms of a channel, as the end with `local` keys has them.
pub fn setup(opener: Side, local: &NewChannel, remote: &NewChannel) -> Setup {
    Setup {
        opener,
        format: CommitmentFormat::AnchorsZeroFeeHtlc,
        funding_value: VALUE,
        push: PUSH,
        feerate: FeeratePerKw(253),
        local: party(local),
        remote: party(remote),
    }
}

/// A transaction of its own for each `n`.
pub fn funding(n: u8) -> Funding {
    let outpoint = OutPoint {
        txid: Txid::from_byte_array([n; 32]),
        vout: 0,
    };
    Funding {
        outpoint,
        value: VALUE,
    }
}

/// Terms, funding output, and both commitments 0. `b` sees the mirrored terms.
pub fn open<E: End>(a: &mut E, b: &mut E, setups: [Setup; 2], funding: Funding) {
    for (end, setup) in [&mut *a, &mut *b].into_iter().zip(setups) {
        assert_eq!(end.ask(Request::Setup { setup }), Reply::Done);
        assert_eq!(end.ask(Request::SetFunding { funding }), Reply::Done);
    }
    commit(a, b, [&[], &[]], &[]);
    commit(b, a, [&[], &[]], &[]);
}

/// One commitment of `owner`, signed by `signer`, the one before it revoked. The deltas as owner and
/// signer see them; the tickets are the signer's.
pub fn commit<E: End>(
    owner: &mut E,
    signer: &mut E,
    deltas: [&[Delta]; 2],
    tickets: &[Ticket],
) -> Option<RevocationSecret> {
    let Next { n, point } = *owner.next();
    let reply = signer.ask(Request::SignRemote(NextRemote {
        n,
        point,
        deltas: deltas[1].to_vec(),
        tickets: tickets.to_vec(),
    }));
    let Reply::SignedRemote {
        signature,
        htlc_signatures,
    } = reply
    else {
        panic!("not signed: {reply:?}");
    };
    let reply = owner.ask(Request::ValidateLocal(NextLocal {
        n,
        deltas: deltas[0].to_vec(),
        signature,
        htlc_signatures,
    }));
    let Reply::ValidatedLocal {
        revoked_secret,
        next_point,
        ..
    } = reply
    else {
        panic!("not validated: {reply:?}");
    };
    *owner.next() = Next {
        n: n.next().unwrap(),
        point: next_point,
    };
    if let (Some(secret), Some(n)) = (revoked_secret, n.prev()) {
        let reply = signer.ask(Request::RemoteRevoked { n, secret });
        assert_eq!(reply, Reply::Done);
    }
    revoked_secret
}

/// A ticket for each HTLC that is offered here: a payment that was approved.
pub fn payments(deltas: &[Delta]) -> Vec<Ticket> {
    let ours = deltas.iter().filter(|delta| match delta {
        Delta::Add { key, .. } => key.offerer == Side::Local,
        Delta::Fulfil { .. } | Delta::Fail { .. } | Delta::Fee { .. } => false,
    });
    ours.map(|_| Ticket::Payment).collect()
}
