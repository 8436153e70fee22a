//! One request, one answer.

use ipc_messages::lightningd_payd::{PaymentOnion, Routed, ToLightningd, ToPayd};
use onion::{Final, Forward, Payload, PaymentData};
use rand::{CryptoRng, RngCore};
use routing::{HopInstructions, NoRoute, Route, RouteRequest, Router};
use secp256k1::SecretKey;

/// `None` for Stop.
pub fn answer(
    router: &Router,
    message: ToPayd,
    rng: &mut (impl RngCore + CryptoRng),
) -> Option<ToLightningd> {
    match message {
        ToPayd::Route {
            request,
            find,
            payment,
        } => {
            let found = route(router, &find, &payment, rng).map(Box::new);
            Some(ToLightningd::Route { request, found })
        }
        ToPayd::ReadError {
            request,
            secrets,
            reason,
        } => {
            let error = onion::decode_error(&secrets, &reason);
            Some(ToLightningd::Error { request, error })
        }
        ToPayd::Stop => None,
    }
}

fn route(
    router: &Router,
    find: &RouteRequest,
    payment: &PaymentOnion,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Routed, NoRoute> {
    let route = router.find(find)?;
    let (packet, secrets) = packet(&route, payment, rng)?;
    Ok(Routed {
        amount: route.amount_sent,
        cltv_expiry: route.cltv_expiry(payment.height),
        onion: packet,
        secrets,
        route,
    })
}

/// BOLT 4: a session key is never used twice, so it is drawn for each attempt.
fn packet(
    route: &Route,
    payment: &PaymentOnion,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<(wire::OnionPacket, Vec<onion::SharedSecret>), NoRoute> {
    let mut hops = Vec::with_capacity(route.hops.len());
    for hop in route.instructions(payment.height) {
        let node = hop.node.0;
        let bytes = payload(&hop, payment)
            .encode()
            .map_err(|_| NoRoute::TooLong)?;
        hops.push((node, bytes));
    }
    let session = session_key(rng);
    onion::build(&session, &hops, &payment.payment_hash.0).map_err(|_| NoRoute::TooLong)
}

/// Practically every 32 bytes are a key; the loop runs once.
fn session_key(rng: &mut (impl RngCore + CryptoRng)) -> SecretKey {
    loop {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        if let Ok(key) = SecretKey::from_slice(&bytes) {
            return key;
        }
    }
}

fn payload(hop: &HopInstructions, payment: &PaymentOnion) -> Payload {
    match hop.short_channel_id {
        Some(short_channel_id) => Payload::Forward(Forward {
            amt_to_forward: hop.amt_to_forward,
            outgoing_cltv_value: hop.outgoing_cltv_value,
            short_channel_id,
        }),
        None => Payload::Final(Final {
            amt_to_forward: hop.amt_to_forward,
            outgoing_cltv_value: hop.outgoing_cltv_value,
            payment_data: payment.payment_secret.map(|payment_secret| PaymentData {
                payment_secret,
                total_msat: payment.total,
            }),
            payment_metadata: payment.metadata.clone(),
            keysend_preimage: None,
            custom_records: Vec::new(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onion::{Failure, Position, SharedSecret};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use routing::{HintHop, LocalChannel};
    use wire::{
        BlockDelta, BlockHeight, MilliSatoshi, NodeId, PaymentHash, PaymentSecret, ShortChannelId,
    };

    fn key(n: u8) -> SecretKey {
        SecretKey::from_slice(&[n; 32]).unwrap()
    }

    fn node(n: u8) -> NodeId {
        NodeId(key(n).public_key(secp256k1::SECP256K1))
    }

    fn find() -> RouteRequest {
        RouteRequest {
            channels: vec![LocalChannel {
                peer: node(1),
                scid: ShortChannelId(10),
                spendable: MilliSatoshi(1_000_000),
                htlc_minimum: MilliSatoshi(0),
                htlc_maximum: MilliSatoshi(1_000_000),
                capacity: MilliSatoshi(2_000_000),
            }],
            destination: node(2),
            amount: MilliSatoshi(50_000),
            final_cltv_delta: BlockDelta(9),
            route_hints: vec![vec![HintHop {
                node: node(1),
                scid: ShortChannelId(20),
                fee_base: MilliSatoshi(1000),
                fee_ppm: 10,
                cltv_delta: BlockDelta(6),
            }]],
            max_fee: MilliSatoshi(10_000),
            max_total_delay: BlockDelta(2016),
            excluded: vec![],
        }
    }

    fn payment() -> PaymentOnion {
        PaymentOnion {
            payment_hash: PaymentHash([5; 32]),
            payment_secret: Some(PaymentSecret([6; 32])),
            total: MilliSatoshi(50_000),
            metadata: None,
            height: BlockHeight(100),
        }
    }

    fn routed() -> Routed {
        route(
            &Router::new(),
            &find(),
            &payment(),
            &mut StdRng::seed_from_u64(1),
        )
        .unwrap()
    }

    #[test]
    fn each_hop_reads_its_own_instructions_and_the_payee_the_secret() {
        let routed = routed();
        assert_eq!(routed.amount, MilliSatoshi(51_000));
        assert_eq!(routed.cltv_expiry.0, 100 + 9 + 6);
        let peel = |packet, n| {
            let public = onion::ephemeral_key(packet).unwrap();
            let secret = SharedSecret::ecdh(&public, &key(n));
            onion::unwrap(packet, &[5; 32], &secret).unwrap()
        };
        let first = peel(&routed.onion, 1);
        let next = first.next.unwrap();
        let Payload::Forward(forward) =
            Payload::decode(&first.payload, Position::Forwarding, None).unwrap()
        else {
            panic!("the first hop is to forward");
        };
        assert_eq!(forward.amt_to_forward, MilliSatoshi(50_000));
        assert_eq!(forward.short_channel_id, ShortChannelId(20));
        let last = peel(&next, 2);
        assert!(last.next.is_none());
        let Payload::Final(last) = Payload::decode(&last.payload, Position::Last, None).unwrap()
        else {
            panic!("the second hop is the payee");
        };
        assert_eq!(
            last.payment_data.unwrap().payment_secret,
            PaymentSecret([6; 32])
        );
        assert_eq!(last.outgoing_cltv_value.0, 109);
    }

    #[test]
    fn an_error_is_read_with_the_secrets_of_its_route() {
        let secrets = routed().secrets;
        let mut reason = onion::create_error(&secrets[1], &Failure::MppTimeout);
        onion::wrap_error(&secrets[0], &mut reason);
        let ask = ToPayd::ReadError {
            request: 7,
            secrets,
            reason,
        };
        let said = answer(&Router::new(), ask, &mut StdRng::seed_from_u64(1));
        assert_eq!(
            said,
            Some(ToLightningd::Error {
                request: 7,
                error: Some((1, Failure::MppTimeout))
            })
        );
    }

    #[test]
    fn two_attempts_never_share_a_session_key() {
        let mut rng = StdRng::seed_from_u64(1);
        let [a, b] = [0; 2].map(|_| route(&Router::new(), &find(), &payment(), &mut rng).unwrap());
        assert_ne!(
            onion::ephemeral_key(&a.onion),
            onion::ephemeral_key(&b.onion)
        );
    }
}
