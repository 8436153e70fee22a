use proptest::prelude::*;

use super::*;
use crate::{Failure, decode_error, wrap_error};

fn key(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

fn public(n: u8) -> PublicKey {
    key(n).public_key(SECP256K1)
}

/// For one hop, with a correct HMAC over whatever `plain` says.
fn authentic(plain: &[u8], secret: &SharedSecret) -> OnionPacket {
    let mut payloads = plain.to_vec();
    payloads.resize(PAYLOADS_LEN, 0);
    keys::xor_stream(
        &keys::derive(Purpose::Rho, secret.as_bytes()),
        0,
        &mut payloads,
    );
    let mu = keys::derive(Purpose::Mu, secret.as_bytes());
    let hmac = keys::mac(&*mu, &[&payloads, b"data"])
        .finalize()
        .into_bytes()
        .into();
    assemble(&public(1).serialize(), &payloads, &hmac)
}

fn reason(error: UnwrapError) -> BadOnion {
    match error {
        UnwrapError::Malformed(malformed) => malformed.reason,
        UnwrapError::Payload(invalid) => panic!("{invalid}"),
    }
}

#[test]
fn another_version_is_refused_before_the_key_is_looked_at() {
    let mut packet = build(&key(1), &[(public(2), vec![2, 0])], b"").unwrap().0;
    packet.0[0] = 1;
    packet.0[1] = 9;
    let error = ephemeral_key(&packet).unwrap_err();
    assert_eq!(error.failure_code(), 0xc004);
    assert_eq!(
        error.sha256_of_onion,
        MalformedOnion::new(BadOnion::Key, &packet).sha256_of_onion
    );
}

#[test]
fn a_key_that_is_no_point_is_refused() {
    let (mut packet, secrets) = build(&key(1), &[(public(2), vec![2, 0])], b"").unwrap();
    packet.0[1] = 9;
    assert_eq!(ephemeral_key(&packet).unwrap_err().failure_code(), 0xc006);
    assert_eq!(
        reason(unwrap(&packet, b"", &secrets[0]).unwrap_err()),
        BadOnion::Key
    );
}

#[test]
fn a_changed_bit_anywhere_or_another_payment_hash_breaks_the_hmac() {
    let (packet, secrets) = build(&key(1), &[(public(2), vec![2, 0])], b"hash").unwrap();
    assert!(unwrap(&packet, b"hash", &secrets[0]).is_ok());
    assert_eq!(
        reason(unwrap(&packet, b"other", &secrets[0]).unwrap_err()),
        BadOnion::Hmac
    );
    for place in [34, 700, 1333, 1334, 1365] {
        let mut changed = packet.clone();
        changed.0[place] ^= 0x10;
        assert_eq!(
            reason(unwrap(&changed, b"hash", &secrets[0]).unwrap_err()),
            BadOnion::Hmac
        );
    }
}

#[test]
fn lengths_that_do_not_fit_are_invalid_payloads() {
    let secret = SharedSecret::from_bytes([7; 32]);
    let too_long = 1300 - 3 - 32 + 1;
    for plain in [
        &[0][..],            // reserved
        &[1, 0],             // reserved
        &[0xfd, 0, 2, 0, 0], // not minimal
        &[0xfd, (too_long >> 8) as u8, too_long as u8],
        &[0xff; 9],
    ] {
        let error = unwrap(&authentic(plain, &secret), b"data", &secret).unwrap_err();
        let expected = Failure::InvalidOnionPayload {
            type_num: 0,
            offset: 0,
        };
        assert_eq!(error.failure(), expected, "{plain:?}");
    }
    let longest = too_long - 1;
    let plain = [0xfd, (longest >> 8) as u8, longest as u8];
    assert_eq!(
        unwrap(&authentic(&plain, &secret), b"data", &secret)
            .unwrap()
            .payload
            .len(),
        longest
    );
}

#[test]
fn payloads_may_fill_the_onion_to_the_last_byte() {
    let hops = |last| {
        [
            (public(2), vec![0; 1300 - 2 * 35 - last]),
            (public(3), vec![0; last]),
        ]
    };
    let (packet, secrets) = build(&key(1), &hops(100), b"").unwrap();
    let next = unwrap(&packet, b"", &secrets[0]).unwrap().next.unwrap();
    assert_eq!(
        unwrap(&next, b"", &secrets[1]).unwrap(),
        Peeled {
            payload: vec![0; 100],
            next: None
        }
    );
}

#[test]
fn an_onion_that_cannot_be_is_not_built() {
    assert_eq!(build(&key(1), &[], b"").unwrap_err(), BuildError::NoHops);
    let short = build(
        &key(1),
        &[(public(2), vec![2, 0]), (public(3), vec![2])],
        b"",
    )
    .unwrap_err();
    assert_eq!(short, BuildError::PayloadTooShort { hop: 1, len: 1 });
    let long = build(&key(1), &[(public(2), vec![0; 1266])], b"").unwrap_err();
    assert_eq!(long, BuildError::PayloadsTooLong { needed: 1301 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_hop_reads_its_own_payload_and_errors_find_their_way_back(
        session in 1u8..=250,
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 2..30), 1..=20),
        erring in any::<prop::sample::Index>(),
    ) {
        let hops: Vec<_> = payloads.iter().enumerate()
            .map(|(n, payload)| (public(n as u8 + 1), payload.clone())).collect();
        let (packet, secrets) = build(&key(session), &hops, b"hash").unwrap();
        let mut packet = Some(packet);
        for (n, payload) in payloads.iter().enumerate() {
            let current = packet.take().expect("a packet for every hop");
            let shared = SharedSecret::ecdh(&ephemeral_key(&current).unwrap(), &key(n as u8 + 1));
            prop_assert_eq!(&shared, &secrets[n]);
            let peeled = unwrap(&current, b"hash", &shared).unwrap();
            prop_assert_eq!(&peeled.payload, payload);
            packet = peeled.next;
        }
        prop_assert!(packet.is_none());

        let erring = erring.index(secrets.len());
        let mut error = crate::create_error(&secrets[erring], &Failure::MppTimeout);
        secrets[..erring].iter().rev().for_each(|secret| wrap_error(secret, &mut error));
        prop_assert_eq!(decode_error(&secrets, &error), Some((erring, Failure::MppTimeout)));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 1366), secret: [u8; 32]) {
        let mut packet = OnionPacket(bytes.try_into().unwrap());
        let secret = SharedSecret::from_bytes(secret);
        prop_assert!(unwrap(&packet, b"data", &secret).is_err());
        packet.0[..34].copy_from_slice(&assemble(&public(1).serialize(), &[], &[0; 32]).0[..34]);
        prop_assert_eq!(reason(unwrap(&packet, b"data", &secret).unwrap_err()), BadOnion::Hmac);
    }

    #[test]
    fn authentic_garbage_never_panics(plain in prop::collection::vec(any::<u8>(), 0..1300)) {
        let secret = SharedSecret::from_bytes([7; 32]);
        if let Ok(peeled) = unwrap(&authentic(&plain, &secret), b"data", &secret) {
            prop_assert!(peeled.payload.len() >= 2);
        }
    }
}
