//! Onions of incoming HTLCs: peeled with a secret that hsmd computes, and the same secret kept
//! for the error that may have to go back (BOLT 4).

use std::collections::HashMap;

use channel::action::Removal;
use ipc_messages::edges::HsmChan;
use ipc_messages::hsm::chan::{Reply, Request};
use ipc_messages::lightningd_channeld::Hop;
use ipc_transport::blocking::UpperConn;
use onion::{Failure, Payload, Position, SharedSecret, UnwrapError};
use tx::ledger::Htlc;
use wire::{HtlcId, OnionPacket};

/// hsmd takes so many points at once.
const BATCH: usize = 64;

/// What an onion turned out to be.
pub enum Peel {
    Hop(Hop),
    /// It is no good: this is how the HTLC ends.
    Remove(Removal),
}

/// An incoming HTLC that is irrevocably committed.
pub struct Locked {
    pub id: HtlcId,
    pub htlc: Htlc,
    pub onion: OnionPacket,
    /// BOLT 2: it takes the channel's dust over our limit and must fail.
    pub over_dust_limit: bool,
}

/// The secrets of the incoming HTLCs that lightningd decides on. Bounded by the HTLCs that a channel allows:
/// one entry goes when its HTLC ends.
#[derive(Default)]
pub struct Onions {
    secrets: HashMap<HtlcId, SharedSecret>,
}

impl Onions {
    /// Peels all of them with as few requests as possible.
    ///
    /// # Errors
    /// hsmd is gone, or answers something else.
    pub fn peel(
        &mut self,
        hsm: &mut UpperConn<HsmChan>,
        locked: Vec<Locked>,
    ) -> anyhow::Result<Vec<(HtlcId, Htlc, Peel)>> {
        let mut peeled = Vec::with_capacity(locked.len());
        let mut readable = Vec::with_capacity(locked.len());
        for locked in locked {
            match onion::ephemeral_key(&locked.onion) {
                Ok(point) => readable.push((point, locked)),
                Err(bad) => peeled.push((locked.id, locked.htlc, Peel::Remove(malformed(&bad)))),
            }
        }
        for batch in readable.chunks(BATCH) {
            let points = batch.iter().map(|(point, _)| *point).collect();
            let secrets = match hsm.call(&Request::EcdhBatch { points })? {
                Reply::SharedSecrets { secrets } if secrets.len() == batch.len() => secrets,
                Reply::Refused { rule, reason } => anyhow::bail!("hsmd refused ({rule}): {reason}"),
                _other => anyhow::bail!("hsmd answered something else than the secrets"),
            };
            for ((_, locked), secret) in batch.iter().zip(secrets) {
                let secret = SharedSecret::from_bytes(secret.0);
                peeled.push((locked.id, locked.htlc, self.peel_one(locked, secret)));
            }
        }
        Ok(peeled)
    }

    fn peel_one(&mut self, locked: &Locked, secret: SharedSecret) -> Peel {
        let peeled = onion::unwrap(&locked.onion, &locked.htlc.payment_hash.0, &secret);
        let hop = peeled.and_then(|peeled| {
            let place = if peeled.next.is_some() {
                Position::Forwarding
            } else {
                Position::Last
            };
            let payload = Payload::decode(&peeled.payload, place, None)?;
            Ok((payload, peeled.next))
        });
        match hop {
            Ok(_) if locked.over_dust_limit => {
                let failure = Failure::TemporaryChannelFailure {
                    channel_update: Vec::new(),
                };
                Peel::Remove(Removal::Fail {
                    reason: onion::create_error(&secret, &failure),
                })
            }
            Ok((payload, next)) => match hop_of(payload, next) {
                Ok(hop) => {
                    self.secrets.insert(locked.id, secret);
                    Peel::Hop(hop)
                }
                Err(failure) => Peel::Remove(Removal::Fail {
                    reason: onion::create_error(&secret, &failure),
                }),
            },
            Err(UnwrapError::Malformed(bad)) => Peel::Remove(malformed(&bad)),
            Err(error @ UnwrapError::Payload(_)) => Peel::Remove(Removal::Fail {
                reason: onion::create_error(&secret, &error.failure()),
            }),
        }
    }

    /// The HTLC fails at this node.
    pub fn fail_here(&mut self, id: HtlcId, failure: &Failure) -> Option<Removal> {
        let secret = self.secrets.get(&id)?;
        Some(Removal::Fail {
            reason: onion::create_error(secret, failure),
        })
    }

    /// The HTLC failed further on: its error gets our layer.
    pub fn fail_from(&mut self, id: HtlcId, mut reason: Vec<u8>) -> Option<Removal> {
        let secret = self.secrets.get(&id)?;
        onion::wrap_error(secret, &mut reason);
        Some(Removal::Fail { reason })
    }

    /// The HTLC is over.
    pub fn forget(&mut self, id: HtlcId) {
        self.secrets.remove(&id);
    }
}

fn malformed(bad: &onion::MalformedOnion) -> Removal {
    Removal::Malformed {
        sha256_of_onion: bad.sha256_of_onion,
        failure_code: bad.failure_code(),
    }
}

/// A blinded path is not ours to be on as long as we make none.
fn hop_of(payload: Payload, next: Option<OnionPacket>) -> Result<Hop, Failure> {
    match (payload, next) {
        (Payload::Forward(forward), Some(onion)) => Ok(Hop::Forward {
            scid: forward.short_channel_id,
            amt_to_forward: forward.amt_to_forward,
            outgoing_cltv_value: forward.outgoing_cltv_value,
            onion,
        }),
        (Payload::Final(last), None) => Ok(Hop::Final {
            amt_to_forward: last.amt_to_forward,
            outgoing_cltv_value: last.outgoing_cltv_value,
            payment_secret: last.payment_data.as_ref().map(|data| data.payment_secret),
            total: last.payment_data.as_ref().map(|data| data.total_msat),
            metadata: last.payment_metadata.clone(),
            keysend_preimage: last.keysend_preimage,
        }),
        (Payload::Forward(_) | Payload::Final(_), _)
        | (Payload::BlindedForward(_) | Payload::BlindedFinal(_), _) => {
            Err(Failure::InvalidOnionPayload {
                type_num: 0,
                offset: 0,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use onion::{Final, build};
    use secp256k1::{PublicKey, SECP256K1, SecretKey};
    use wire::{CltvExpiry, MilliSatoshi, PaymentHash};

    use super::*;

    /// An HTLC for ourselves, and the secret of its onion.
    fn locked(id: u64, over_dust_limit: bool) -> (Locked, SharedSecret) {
        let key = |byte: u8| SecretKey::from_slice(&[byte; 32]).unwrap();
        let (amount, cltv_expiry) = (MilliSatoshi(1_000), CltvExpiry(500));
        let payload = Payload::Final(Final {
            amt_to_forward: amount,
            outgoing_cltv_value: cltv_expiry,
            payment_data: None,
            payment_metadata: None,
            keysend_preimage: None,
            custom_records: Vec::new(),
        });
        let hop = (
            PublicKey::from_secret_key(SECP256K1, &key(1)),
            payload.encode().unwrap(),
        );
        let payment_hash = PaymentHash([9; 32]);
        let (onion, secrets) = build(&key(2), &[hop], &payment_hash.0).unwrap();
        let locked = Locked {
            id: HtlcId(id),
            htlc: Htlc {
                amount,
                payment_hash,
                cltv_expiry,
            },
            onion,
            over_dust_limit,
        };
        (locked, secrets.into_iter().next().unwrap())
    }

    #[test]
    fn a_secret_is_kept_for_what_lightningd_decides_on_alone() {
        let mut onions = Onions::default();
        let (fails, secret) = locked(0, true);
        assert!(matches!(
            onions.peel_one(&fails, secret),
            Peel::Remove(Removal::Fail { .. })
        ));
        assert!(onions.secrets.is_empty());
        let (comes, secret) = locked(1, false);
        assert!(matches!(onions.peel_one(&comes, secret), Peel::Hop(_)));
        let ids: Vec<_> = onions.secrets.keys().copied().collect();
        assert_eq!(ids, [HtlcId(1)]);
        onions.forget(HtlcId(1));
        assert!(onions.secrets.is_empty());
    }
}
