//! The BOLT 8 handshake, either side, and the transport after it.
//!
//! The input changes an honest conversation: each of its bytes is added to one on the wire, so
//! that zeros leave it honest and any other bytes can stand in its place.

use secp256k1::ecdh::SharedSecret;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use wire::NodeId;
use wire::noise::{Initiator, NoiseError, Responder, Transport, key_step};

use crate::Target;
use crate::choices::Choices;

const LENGTH_LEN: usize = 18;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("noise_responder", responder, 512, seeds),
        Target::new("noise_initiator", initiator, 512, seeds),
        Target::new("noise_transport", transport, 4096, transport_seeds),
    ]
}

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).expect("a key")
}

fn node(byte: u8) -> (PublicKey, impl Fn(&PublicKey) -> [u8; 32]) {
    let key = secret(byte);
    let ecdh = move |point: &PublicKey| SharedSecret::new(point, &key).secret_bytes();
    (key.public_key(SECP256K1), ecdh)
}

/// Honest initiator, its acts changed on the way; then some messages.
fn responder(data: &[u8]) {
    let honest = data.iter().all(|byte| *byte == 0);
    match respond(&mut Choices::new(data)) {
        Ok(id) => assert_eq!(id, NodeId(node(0x11).0)),
        Err(error) => assert!(!honest, "{error}"),
    }
}

fn respond(changes: &mut Choices<'_>) -> Result<NodeId, NoiseError> {
    let (theirs, their_ecdh) = node(0x11);
    let (ours, our_ecdh) = node(0x22);
    let (them, mut act1) = Initiator::new(secret(0x33), ours)?;
    changes.change(&mut act1);
    let (us, step) = Responder::new(secret(0x44), ours).act1(&act1)?;
    let (act2, us) = us.finish(key_step(&step, our_ecdh)?)?;
    let (them, step) = them.act2(&act2)?;
    let (mut act3, mut sender) = them.finish(key_step(&step, their_ecdh)?, theirs)?;
    changes.change(&mut act3);
    let (id, mut receiver) = us.act3(&act3)?;
    converse(&mut sender, &mut receiver, changes)?;
    Ok(id)
}

/// Honest responder, its act changed on the way; then some messages.
fn initiator(data: &[u8]) {
    let honest = data.iter().all(|byte| *byte == 0);
    if let Err(error) = initiate(&mut Choices::new(data)) {
        assert!(!honest, "{error}");
    }
}

fn initiate(changes: &mut Choices<'_>) -> Result<(), NoiseError> {
    let (theirs, their_ecdh) = node(0x22);
    let (ours, our_ecdh) = node(0x11);
    let (us, act1) = Initiator::new(secret(0x33), theirs)?;
    let (them, step) = Responder::new(secret(0x44), theirs).act1(&act1)?;
    let (mut act2, them) = them.finish(key_step(&step, their_ecdh)?)?;
    changes.change(&mut act2);
    let (us, step) = us.act2(&act2)?;
    let (act3, mut receiver) = us.finish(key_step(&step, our_ecdh)?, ours)?;
    let (_, mut sender) = them.act3(&act3)?;
    converse(&mut sender, &mut receiver, changes)
}

fn converse(
    sender: &mut Transport,
    receiver: &mut Transport,
    changes: &mut Choices<'_>,
) -> Result<(), NoiseError> {
    for len in [0, 1, 100] {
        deliver(sender, receiver, &vec![len as u8; len], changes)?;
    }
    Ok(())
}

/// Whatever is accepted is what was sent.
fn deliver(
    sender: &mut Transport,
    receiver: &mut Transport,
    message: &[u8],
    changes: &mut Choices<'_>,
) -> Result<(), NoiseError> {
    let mut wire = vec![];
    sender.encrypt(message, &mut wire)?;
    changes.change(&mut wire);
    let (head, body) = wire
        .split_first_chunk_mut::<LENGTH_LEN>()
        .expect("a length");
    let len = usize::from(receiver.decrypt_length(head)?);
    assert_eq!(len, message.len());
    assert_eq!(receiver.decrypt_body(body)?, message);
    Ok(())
}

/// Messages as the input says, over more than one key rotation; then the input as ciphertext.
fn transport(data: &[u8]) {
    let (mut sender, mut receiver) = connected();
    let mut choices = Choices::new(data);
    let unchanged = &mut Choices::new(&[]);
    for _ in 0..u16::from(choices.byte()) * 2 + 2 {
        deliver(&mut sender, &mut receiver, b"ping", unchanged).expect("an honest message");
    }
    let len = usize::from(choices.byte());
    let message = choices.bytes(len).to_vec();
    deliver(&mut sender, &mut receiver, &message, unchanged).expect("an honest message");

    let mut garbage = choices.rest().to_vec();
    if let Some((head, body)) = garbage.split_first_chunk_mut::<LENGTH_LEN>() {
        assert!(receiver.decrypt_length(head).is_err());
        assert!(receiver.decrypt_body(body).is_err());
    }
    assert!(receiver.decrypt_body(&mut []).is_err());
}

fn connected() -> (Transport, Transport) {
    let honest = || -> Result<(Transport, Transport), NoiseError> {
        let (a, ecdh_a) = node(0x11);
        let (b, ecdh_b) = node(0x22);
        let (them, act1) = Initiator::new(secret(0x33), b)?;
        let (us, step) = Responder::new(secret(0x44), b).act1(&act1)?;
        let (act2, us) = us.finish(key_step(&step, ecdh_b)?)?;
        let (them, step) = them.act2(&act2)?;
        let (act3, sender) = them.finish(key_step(&step, ecdh_a)?, a)?;
        Ok((sender, us.act3(&act3)?.1))
    };
    honest().expect("an honest handshake")
}

fn seeds() -> Vec<Vec<u8>> {
    let one_byte = |at: usize| {
        let mut change = vec![0; at];
        change.push(1);
        change
    };
    vec![
        vec![0; 300],
        one_byte(0),
        one_byte(1),
        one_byte(49),
        one_byte(60),
        one_byte(120),
        one_byte(140),
    ]
}

fn transport_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![],
        vec![255, 4, 1, 2, 3, 4],
        [&[1, 0][..], &[7; 60]].concat(),
    ]
}
