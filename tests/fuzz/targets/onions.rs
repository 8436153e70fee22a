//! BOLT 4: onion packets, payloads and returned errors.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use onion::{Failure, Payload, Position, SharedSecret};
use secp256k1::PublicKey;
use sha2::Sha256;
use wire::OnionPacket;

use crate::Target;
use crate::sample::{POINT, samples};

const PAYLOADS_LEN: usize = 1300;
const SECRET: [u8; 32] = [0x5e; 32];
const HASH: [u8; 32] = [0xaa; 32];

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("onion_packet", packet, OnionPacket::LEN, packet_seeds),
        Target::new("onion_authentic", authentic, PAYLOADS_LEN, authentic_seeds),
        Target::new("onion_payload", payload, 1024, payload_seeds),
        Target::new("onion_error", error, 1024, error_seeds),
        Target::new("onion_failure", failure, 512, failure_seeds),
    ]
}

fn derive(purpose: &[u8]) -> [u8; 32] {
    mac(purpose, &[&SECRET])
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn stream(key: &[u8; 32], bytes: &mut [u8]) {
    ChaCha20::new(key.into(), &[0; 12].into()).apply_keystream(bytes);
}

fn packet_of(bytes: &[u8]) -> OnionPacket {
    let mut packet = Box::new([0; OnionPacket::LEN]);
    packet
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    OnionPacket(packet)
}

/// A packet that nobody authenticated is refused, whatever it is.
fn packet(data: &[u8]) {
    let packet = packet_of(data);
    let secret = SharedSecret::from_bytes(SECRET);
    let _ = onion::ephemeral_key(&packet);
    if let Err(error) = onion::unwrap(&packet, &HASH, &secret) {
        let _ = error.failure().encode();
    } else {
        panic!("a forged packet was accepted");
    }
}

fn packet_seeds() -> Vec<Vec<u8>> {
    vec![[&[0][..], &POINT, &[7; 1332]].concat(), vec![1; 40]]
}

/// What the origin itself can do: any hop payloads under the right MAC.
fn authentic(data: &[u8]) {
    let mut payloads = data.to_vec();
    payloads.resize(PAYLOADS_LEN, 0);
    stream(&derive(b"rho"), &mut payloads);
    let tag = mac(&derive(b"mu"), &[&payloads, &HASH]);
    let packet = packet_of(&[&[0][..], &POINT, &payloads, &tag].concat());
    match onion::unwrap(&packet, &HASH, &SharedSecret::from_bytes(SECRET)) {
        Ok(peeled) => {
            assert!((2..=PAYLOADS_LEN).contains(&peeled.payload.len()));
            read_payload(&peeled.payload);
            if let Some(next) = peeled.next {
                assert!(onion::ephemeral_key(&next).is_ok());
            }
        }
        Err(onion::UnwrapError::Payload(invalid)) => drop(invalid.failure().encode()),
        Err(onion::UnwrapError::Malformed(malformed)) => panic!("authentic: {malformed}"),
    }
}

fn authentic_seeds() -> Vec<Vec<u8>> {
    let framed = |payload: Vec<u8>| {
        let mut bytes = vec![];
        wire::codec::put_bigsize(payload.len() as u64, &mut bytes);
        [bytes, payload].concat()
    };
    let mut seeds: Vec<Vec<u8>> = payloads().into_iter().map(framed).collect();
    let forwarded: Vec<u8> = seeds
        .iter()
        .take(1)
        .flat_map(|s| [&s[..], &[9; 32]].concat())
        .collect();
    seeds.push(forwarded);
    seeds.push(vec![0xfd, 4, 0xef]);
    seeds
}

fn payloads() -> Vec<Vec<u8>> {
    let encoded = samples::<Payload>(2)
        .into_iter()
        .filter_map(|payload| payload.encode().ok());
    encoded.filter(|payload| payload.len() < 600).collect()
}

fn payload(data: &[u8]) {
    read_payload(data);
}

/// Whatever is read is written to something that reads as the same.
fn read_payload(data: &[u8]) {
    let key = PublicKey::from_slice(&POINT).expect("a point");
    for position in [Position::Forwarding, Position::Last] {
        for path_key in [None, Some(&key)] {
            match Payload::decode(data, position, path_key) {
                Ok(payload) => {
                    let bytes = payload.encode().expect("what was read can be written");
                    assert_eq!(Payload::decode(&bytes, position, path_key), Ok(payload));
                }
                Err(invalid) => drop(invalid.failure().encode()),
            }
        }
    }
}

fn payload_seeds() -> Vec<Vec<u8>> {
    payloads()
}

/// Bytes from anyone, and then the same as the words of a hop of ours.
fn error(data: &[u8]) {
    let secrets = [[1; 32], SECRET, [3; 32]].map(SharedSecret::from_bytes);
    assert_eq!(onion::decode_error(&secrets, data), None);

    let mut reason = [&mac(&derive(b"um"), &[data])[..], data].concat();
    stream(&derive(b"ammag"), &mut reason);
    onion::wrap_error(&secrets[0], &mut reason);
    let (hop, failure) = onion::decode_error(&secrets, &reason).expect("an authentic error");
    assert_eq!(hop, 1);
    read_failure(&failure);
}

fn error_seeds() -> Vec<Vec<u8>> {
    let framed = |message: Vec<u8>| {
        let len = (message.len() as u16).to_be_bytes();
        [&len[..], &message, &[0, 4, 0, 0, 0, 0]].concat()
    };
    failure_seeds().into_iter().map(framed).collect()
}

fn failure(data: &[u8]) {
    read_failure(&Failure::decode(data));
    let (sha256_of_onion, code) = ([7; 32], data.first_chunk().map(|b| u16::from_be_bytes(*b)));
    let _ = Failure::from_malformed(code.unwrap_or_default(), sha256_of_onion);
}

fn read_failure(failure: &Failure) {
    let _ = (
        failure.name(),
        failure.is_badonion(),
        failure.is_permanent(),
    );
    let _ = (failure.is_node(), failure.is_update());
    let bytes = failure.encode();
    let again = Failure::decode(&bytes);
    assert_eq!(again.encode(), bytes);
    assert_eq!(again.code(), failure.code());
}

fn failure_seeds() -> Vec<Vec<u8>> {
    samples::<Failure>(1).iter().map(Failure::encode).collect()
}
