//! Errors on their way back to the origin (BOLT 4, Returning Errors). Without attribution data.

use hmac::Mac;
use wire::codec::Reader;

use crate::keys::{self, Purpose};
use crate::{Failure, SharedSecret};

/// BOLT 4: failure message and padding together have at least this many bytes.
const PADDED_LEN: usize = 256;

/// BOLT 4, origin: layers to take off, however long the route was.
const MAX_HOPS: usize = 27;

const HMAC_LEN: usize = 32;

/// The `reason` of an `update_fail_htlc` by which we refuse an HTLC, ready to send.
#[must_use]
pub fn create_error(shared_secret: &SharedSecret, failure: &Failure) -> Vec<u8> {
    let message = failure.encode();
    let padding = PADDED_LEN.saturating_sub(message.len());
    let mut body = Vec::with_capacity(4 + message.len() + padding);
    put_u16(message.len(), &mut body);
    body.extend(&message);
    put_u16(padding, &mut body);
    body.resize(body.len() + padding, 0);

    let um = keys::derive(Purpose::Um, shared_secret.as_bytes());
    let mut packet = keys::mac(&*um, &[&body]).finalize().into_bytes().to_vec();
    packet.append(&mut body);
    wrap_error(shared_secret, &mut packet);
    packet
}

/// Adds our layer to the `reason` of an error from downstream, so that it can be sent upstream.
pub fn wrap_error(shared_secret: &SharedSecret, packet: &mut [u8]) {
    let ammag = keys::derive(Purpose::Ammag, shared_secret.as_bytes());
    keys::xor_stream(&ammag, 0, packet);
}

/// Finds out which hop of our route made the error: an index into the secrets, of which 0 is the
/// first hop after us. `None`: somebody on the way garbled it.
///
/// Takes off 27 layers whatever the route's length, so that the time tells nothing about it.
#[must_use]
pub fn decode_error(shared_secrets: &[SharedSecret], packet: &[u8]) -> Option<(usize, Failure)> {
    let constant = SharedSecret::from_bytes([0; 32]);
    let mut packet = packet.to_vec();
    let mut body = None;
    for hop in 0..shared_secrets.len().max(MAX_HOPS) {
        let secret = shared_secrets.get(hop);
        wrap_error(secret.unwrap_or(&constant), &mut packet);
        if is_authentic(secret.unwrap_or(&constant), &packet) && secret.is_some() && body.is_none()
        {
            body = Some((hop, packet.get(HMAC_LEN..)?.to_vec()));
        }
    }
    let (hop, body) = body?;
    // Whoever knows the secret wrote it: nonsense in it is still this hop's answer.
    let message = Reader::new(&body).bytes_u16().unwrap_or_default();
    Some((hop, Failure::decode(message)))
}

fn is_authentic(secret: &SharedSecret, packet: &[u8]) -> bool {
    let um = keys::derive(Purpose::Um, secret.as_bytes());
    packet
        .split_first_chunk::<HMAC_LEN>()
        .is_some_and(|(hmac, body)| keys::mac(&*um, &[body]).verify_slice(hmac).is_ok())
}

/// Failures of ours are far shorter than 65536 bytes.
fn put_u16(len: usize, to: &mut Vec<u8>) {
    to.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests;
