//! The onion packet of a payment: building it and taking off one layer (BOLT 4, Packet Structure).

use hmac::Mac;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use wire::OnionPacket;
use wire::codec::{Reader, put_bigsize};
use zeroize::Zeroizing;

use crate::keys::{self, Purpose};
use crate::payload::{InvalidPayload, PayloadProblem};
use crate::{BadOnion, MalformedOnion, SharedSecret};

const KEY_LEN: usize = 33;
const PAYLOADS_LEN: usize = 1300;
const HMAC_LEN: usize = 32;
const _: () = assert!(OnionPacket::LEN == 1 + KEY_LEN + PAYLOADS_LEN + HMAC_LEN);

/// One layer less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peeled {
    /// Our payload, without its length; see [`crate::Payload::decode`].
    pub payload: Vec<u8>,
    /// The packet for the next hop; `None` where we are the last.
    pub next: Option<OnionPacket>,
}

/// Why an onion cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("an onion needs at least one hop")]
    NoHops,
    #[error("payload of hop {hop} has {len} bytes; lengths 0 and 1 are reserved")]
    PayloadTooShort { hop: usize, len: usize },
    #[error("payloads take {needed} bytes, an onion holds {PAYLOADS_LEN}")]
    PayloadsTooLong { needed: usize },
    #[error("session key and hop keys give an invalid ephemeral key")]
    Key,
}

/// Why a received onion cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Answer with `update_fail_malformed_htlc`.
    #[error(transparent)]
    Malformed(#[from] MalformedOnion),
    /// Authentic, so the origin made it: answer with `update_fail_htlc` and `invalid_onion_payload`.
    #[error(transparent)]
    Payload(#[from] InvalidPayload),
}

/// Wraps each hop's payload (without length) for that hop, and returns the secret shared with each.
///
/// `session_key` must be random and never used twice. For a payment, `associated_data` is the
/// payment hash.
pub fn build(
    session_key: &SecretKey,
    hops: &[(PublicKey, Vec<u8>)],
    associated_data: &[u8],
) -> Result<(OnionPacket, Vec<SharedSecret>), BuildError> {
    let frames = frames(hops)?;
    let secrets = shared_secrets(session_key, hops)?;

    let filler = filler(&frames, &secrets);
    let mut payloads = vec![0; PAYLOADS_LEN];
    let pad = keys::derive(Purpose::Pad, &Zeroizing::new(session_key.secret_bytes()));
    keys::xor_stream(&pad, 0, &mut payloads);

    let mut hmac = [0; HMAC_LEN];
    let mut filler = Some(filler);
    for (frame, secret) in frames.into_iter().zip(&secrets).rev() {
        let mut shifted = frame;
        shifted.extend_from_slice(&hmac);
        shifted.append(&mut payloads);
        shifted.truncate(PAYLOADS_LEN);
        payloads = shifted;
        keys::xor_stream(
            &keys::derive(Purpose::Rho, secret.as_bytes()),
            0,
            &mut payloads,
        );
        // Only the innermost layer: what each hop adds as it shifts must be what the MACs cover.
        if let Some(filler) = filler.take() {
            payloads.truncate(PAYLOADS_LEN - filler.len());
            payloads.extend(filler);
        }
        let mu = keys::derive(Purpose::Mu, secret.as_bytes());
        hmac = keys::mac(&*mu, &[&payloads, associated_data])
            .finalize()
            .into_bytes()
            .into();
    }
    let key = session_key.public_key(SECP256K1).serialize();
    Ok((assemble(&key, &payloads, &hmac), secrets))
}

/// The packet's ephemeral key, from which whoever holds the node key computes the shared secret.
///
/// Fails with `invalid_onion_version` or `invalid_onion_key`.
pub fn ephemeral_key(packet: &OnionPacket) -> Result<PublicKey, MalformedOnion> {
    let fields = Fields::of(packet);
    // BOLT 4, Onion Decryption: any version but 0 aborts, before the key is looked at.
    if fields.version != 0 {
        return Err(MalformedOnion::new(BadOnion::Version, packet));
    }
    PublicKey::from_slice(&fields.key).map_err(|_| MalformedOnion::new(BadOnion::Key, packet))
}

/// Takes off our layer. `associated_data` is the payment hash of the HTLC that carried the packet.
///
/// Inside a blinded path nothing differs but how `shared_secret` was made
/// (see [`crate::tweak_ephemeral_key`]).
pub fn unwrap(
    packet: &OnionPacket,
    associated_data: &[u8],
    shared_secret: &SharedSecret,
) -> Result<Peeled, UnwrapError> {
    let key = ephemeral_key(packet)?;
    let fields = Fields::of(packet);
    let mu = keys::derive(Purpose::Mu, shared_secret.as_bytes());
    // BOLT 4, Onion Decryption: compared in constant time.
    keys::mac(&*mu, &[&fields.payloads, associated_data])
        .verify_slice(&fields.hmac)
        .map_err(|_| MalformedOnion::new(BadOnion::Hmac, packet))?;

    let mut unwrapped = fields.payloads.to_vec();
    unwrapped.resize(2 * PAYLOADS_LEN, 0);
    keys::xor_stream(
        &keys::derive(Purpose::Rho, shared_secret.as_bytes()),
        0,
        &mut unwrapped,
    );
    let Frame {
        payload,
        next_hmac,
        rest,
    } = split_frame(&unwrapped)?;
    let payload = payload.to_vec();

    // BOLT 4, Onion Decryption: an all-zero next HMAC makes us the last hop.
    if next_hmac == [0; HMAC_LEN] {
        return Ok(Peeled {
            payload,
            next: None,
        });
    }
    let next_key = keys::blinding_factor(&key, shared_secret.as_bytes())
        .and_then(|factor| key.mul_tweak(SECP256K1, &factor).ok())
        .ok_or_else(|| MalformedOnion::new(BadOnion::Key, packet))?;
    let next = assemble(&next_key.serialize(), rest, &next_hmac);
    Ok(Peeled {
        payload,
        next: Some(next),
    })
}

/// The four fields of a packet.
struct Fields {
    version: u8,
    key: [u8; KEY_LEN],
    payloads: [u8; PAYLOADS_LEN],
    hmac: [u8; HMAC_LEN],
}

impl Fields {
    fn of(packet: &OnionPacket) -> Fields {
        fn take<const N: usize>(bytes: &mut impl Iterator<Item = u8>) -> [u8; N] {
            let mut out = [0; N];
            out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            out
        }
        let mut bytes = packet.as_bytes().iter().copied();
        let [version] = take(&mut bytes);
        Fields {
            version,
            key: take(&mut bytes),
            payloads: take(&mut bytes),
            hmac: take(&mut bytes),
        }
    }
}

/// Of the first 1300 of `payloads`, with version 0.
fn assemble(key: &[u8; KEY_LEN], payloads: &[u8], hmac: &[u8; HMAC_LEN]) -> OnionPacket {
    let mut packet = Box::new([0; OnionPacket::LEN]);
    let fields = [0]
        .iter()
        .chain(key)
        .chain(payloads.iter().take(PAYLOADS_LEN))
        .chain(hmac);
    packet
        .iter_mut()
        .zip(fields)
        .for_each(|(to, from)| *to = *from);
    OnionPacket(packet)
}

/// Each hop's payload with its length before it, still without its HMAC.
fn frames(hops: &[(PublicKey, Vec<u8>)]) -> Result<Vec<Vec<u8>>, BuildError> {
    if hops.is_empty() {
        return Err(BuildError::NoHops);
    }
    let mut frames = Vec::with_capacity(hops.len());
    let mut needed = 0;
    for (hop, (_, payload)) in hops.iter().enumerate() {
        if payload.len() < 2 {
            return Err(BuildError::PayloadTooShort {
                hop,
                len: payload.len(),
            });
        }
        let mut frame = Vec::with_capacity(payload.len() + 3);
        put_bigsize(payload.len() as u64, &mut frame);
        frame.extend_from_slice(payload);
        needed += frame.len() + HMAC_LEN;
        frames.push(frame);
    }
    if needed > PAYLOADS_LEN {
        return Err(BuildError::PayloadsTooLong { needed });
    }
    Ok(frames)
}

/// BOLT 4, Packet Construction: ECDH with an ephemeral key that is blinded from hop to hop.
fn shared_secrets(
    session_key: &SecretKey,
    hops: &[(PublicKey, Vec<u8>)],
) -> Result<Vec<SharedSecret>, BuildError> {
    let mut ephemeral = *session_key;
    let mut secrets = Vec::with_capacity(hops.len());
    for (node, _) in hops {
        let secret = SharedSecret::ecdh(node, &ephemeral);
        let factor = keys::blinding_factor(&ephemeral.public_key(SECP256K1), secret.as_bytes())
            .ok_or(BuildError::Key)?;
        let next = ephemeral.mul_tweak(&factor).map_err(|_| BuildError::Key)?;
        ephemeral.non_secure_erase();
        ephemeral = next;
        secrets.push(secret);
    }
    ephemeral.non_secure_erase();
    Ok(secrets)
}

/// What the zeros that each hop but the last appends have become when the packet reaches the last
/// (BOLT 4, Filler Generation).
fn filler(frames: &[Vec<u8>], secrets: &[SharedSecret]) -> Vec<u8> {
    let mut filler: Vec<u8> = Vec::new();
    let forwarding = frames.len().saturating_sub(1);
    for (frame, secret) in frames.iter().zip(secrets).take(forwarding) {
        let start = PAYLOADS_LEN - filler.len();
        filler.resize(filler.len() + frame.len() + HMAC_LEN, 0);
        let rho = keys::derive(Purpose::Rho, secret.as_bytes());
        keys::xor_stream(&rho, start, &mut filler);
    }
    filler
}

/// What the unwrapped payloads start with.
struct Frame<'a> {
    payload: &'a [u8],
    next_hmac: [u8; HMAC_LEN],
    /// Never shorter than the hop payloads of a packet.
    rest: &'a [u8],
}

fn split_frame(unwrapped: &[u8]) -> Result<Frame<'_>, InvalidPayload> {
    let bad_length = InvalidPayload::whole(PayloadProblem::Length);
    let mut reader = Reader::new(unwrapped);
    // BOLT 4, Onion Decryption: a malformed length, one below 2 or one past the end is an error.
    let length = reader.bigsize().map_err(|_| bad_length)?;
    let length = usize::try_from(length).map_err(|_| bad_length)?;
    if length < 2 {
        return Err(bad_length);
    }
    let payload = reader.bytes(length).map_err(|_| bad_length)?;
    let next_hmac = *reader.array().map_err(|_| bad_length)?;
    let rest = reader.rest();
    if rest.len() < PAYLOADS_LEN {
        return Err(bad_length);
    }
    Ok(Frame {
        payload,
        next_hmac,
        rest,
    })
}

#[cfg(test)]
mod tests;
