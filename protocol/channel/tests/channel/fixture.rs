//! Builders with boring defaults.

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, ScriptBuf, Txid};
use channel::action::{Agreed, CloseFees, Identity, Origin, Policy};
use channel::state::{Live, Phase};
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tx::ledger::Htlc;
use tx::setup::{Basepoints, CommitmentFormat, Funding, Party, Setup};
use wire::{
    BlockDelta, ChainHash, ChannelDbid, CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, NodeId,
    OnionPacket, Preimage, Satoshi, ShortChannelId, Side,
};

use crate::signer::TestSigner;

pub fn key(seed: u8) -> PublicKey {
    PublicKey::from_secret_key(SECP256K1, &SecretKey::from_slice(&[seed; 32]).unwrap())
}

pub fn script(seed: u8) -> ScriptBuf {
    let hash = bitcoin::WPubkeyHash::from_byte_array([seed; 20]);
    ScriptBuf::new_p2wpkh(&hash)
}

pub fn basepoints(seed: u8) -> Basepoints {
    Basepoints {
        revocation: key(seed + 1),
        payment: key(seed + 2),
        delayed_payment: key(seed + 3),
        htlc: key(seed + 4),
    }
}

fn party(seed: u8) -> Party {
    Party {
        funding_pubkey: key(seed),
        basepoints: basepoints(seed),
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        channel_reserve: Satoshi(10_000),
        htlc_minimum: MilliSatoshi(1_000),
        max_htlc_value_in_flight: MilliSatoshi(1_000_000_000),
        max_accepted_htlcs: 12,
        upfront_shutdown_script: None,
    }
}

/// Seen from A, who opens and gives B 400000 of 1000000 sat.
pub fn setup(format: CommitmentFormat) -> Setup {
    Setup {
        opener: Side::Local,
        format,
        funding_value: Satoshi(1_000_000),
        push: MilliSatoshi(400_000_000),
        feerate: FeeratePerKw(1000),
        local: party(0x10),
        remote: party(0x20),
    }
}

/// The same, seen from the other side.
pub fn mirror(setup: &Setup) -> Setup {
    Setup {
        opener: setup.opener.other(),
        local: setup.remote.clone(),
        remote: setup.local.clone(),
        ..setup.clone()
    }
}

pub fn funding() -> Funding {
    let txid = Txid::from_byte_array([0xfd; 32]);
    Funding {
        outpoint: OutPoint { txid, vout: 1 },
        value: Satoshi(1_000_000),
    }
}

pub const CLOSE_FEES: CloseFees = CloseFees {
    ideal: FeeratePerKw(1000),
    min: FeeratePerKw(253),
    max: FeeratePerKw(5000),
};

pub fn policy() -> Policy {
    Policy {
        dust_limit: Satoshi(546),
        to_self_delay: BlockDelta(144),
        max_to_self_delay: BlockDelta(2016),
        htlc_minimum: MilliSatoshi(1_000),
        max_htlc_value_in_flight: None,
        max_accepted_htlcs: 12,
        min_capacity: Satoshi(10_000),
        minimum_depth: 3,
        max_dust_exposure: MilliSatoshi(5_000_000),
        feerate_min: FeeratePerKw(253),
        feerate_max: FeeratePerKw(20_000),
        fulfil_deadline: BlockDelta(18),
        close_fees: CLOSE_FEES,
    }
}

pub fn identity(seed: u8, signer: &TestSigner) -> Identity {
    Identity {
        dbid: ChannelDbid(u64::from(seed)),
        peer: NodeId(key(seed ^ 0x30)),
        chain_hash: ChainHash([0xc4; 32]),
        funding_pubkey: key(seed),
        basepoints: basepoints(seed),
        first_points: [signer.point(0), signer.point(1)],
        shutdown_script: script(seed),
        alias: ShortChannelId(u64::from(seed)),
    }
}

/// The state after an opening, seen from the side with this setup.
pub fn live(seed: u8, setup: Setup, remote_point: PublicKey) -> Live {
    let identity = identity(seed, &TestSigner::new(seed));
    let agreed = Agreed {
        setup,
        minimum_depth: 3,
        announce: true,
    };
    let phase = Phase::AwaitingLockin {
        sent_ready: false,
        received_ready: false,
    };
    Live::opened(&identity, agreed, funding(), remote_point, phase).unwrap()
}

pub fn preimage(i: u32) -> Preimage {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&i.to_be_bytes());
    Preimage(bytes)
}

/// Whose preimage it is.
pub fn number(preimage: &Preimage) -> u32 {
    let [a, b, c, d, ..] = preimage.0;
    u32::from_be_bytes([a, b, c, d])
}

pub fn htlc(i: u32, amount: u64) -> Htlc {
    Htlc {
        amount: MilliSatoshi(amount),
        payment_hash: preimage(i).payment_hash(),
        cltv_expiry: CltvExpiry(500),
    }
}

/// One in four is for an HTLC that came in elsewhere.
pub fn is_forward(i: u32) -> bool {
    i % 4 == 2
}

pub fn origin(i: u32) -> Origin {
    if is_forward(i) {
        return Origin::Forward {
            channel: ChannelDbid(1),
            id: HtlcId(u64::from(i)),
        };
    }
    let payment_hash = preimage(i).payment_hash();
    Origin::Payment {
        payment_hash,
        groupid: 0,
        partid: u64::from(i),
    }
}

pub fn onion() -> OnionPacket {
    OnionPacket(Box::new([0; 1366]))
}
