use proptest::prelude::*;
use secp256k1::{SECP256K1, SecretKey};

use super::*;

fn point() -> PublicKey {
    SecretKey::from_slice(&[5; 32])
        .unwrap()
        .public_key(SECP256K1)
}

fn decode(hex: &str, position: Position) -> Result<Payload, InvalidPayload> {
    Payload::decode(&hex::decode(hex).unwrap(), position, None)
}

fn refused(hex: &str, position: Position) -> (u64, u16, PayloadProblem) {
    let InvalidPayload {
        type_num,
        offset,
        problem,
    } = decode(hex, position).unwrap_err();
    (type_num, offset, problem)
}

fn last() -> Final {
    Final {
        amt_to_forward: MilliSatoshi(1000),
        outgoing_cltv_value: CltvExpiry(500_000),
        payment_data: Some(PaymentData {
            payment_secret: PaymentSecret([3; 32]),
            total_msat: MilliSatoshi(2000),
        }),
        payment_metadata: Some(vec![1, 2, 3]),
        keysend_preimage: Some(Preimage([4; 32])),
        custom_records: vec![CustomRecord {
            type_num: 65537,
            value: vec![9],
        }],
    }
}

#[test]
fn every_kind_survives_encoding() {
    let forward = Payload::Forward(Forward {
        amt_to_forward: MilliSatoshi(0),
        outgoing_cltv_value: CltvExpiry(0),
        short_channel_id: ShortChannelId(7),
    });
    let blinded_forward = Payload::BlindedForward(BlindedForward {
        encrypted_recipient_data: vec![1; 300],
        current_path_key: Some(point()),
    });
    let blinded_final = BlindedFinal {
        amt_to_forward: MilliSatoshi(u64::MAX),
        outgoing_cltv_value: CltvExpiry(u32::MAX),
        total_amount_msat: MilliSatoshi(1),
        encrypted_recipient_data: vec![],
        current_path_key: None,
    };
    for (payload, position, path_key) in [
        (forward, Position::Forwarding, None),
        (Payload::Final(last()), Position::Last, None),
        (blinded_forward, Position::Forwarding, None),
        (
            Payload::BlindedFinal(blinded_final),
            Position::Last,
            Some(point()),
        ),
    ] {
        let bytes = payload.encode().unwrap();
        assert_eq!(
            Payload::decode(&bytes, position, path_key.as_ref()),
            Ok(payload)
        );
    }
}

#[test]
fn an_unknown_even_record_is_refused_with_its_type_and_offset() {
    let problem = PayloadProblem::Encoding(DecodeError::TlvUnknownEven(14));
    assert_eq!(
        refused("0201010401010e0100", Position::Last),
        (14, 6, problem)
    );
}

#[test]
fn an_unknown_odd_record_is_kept_for_the_recipient_only() {
    let Payload::Final(last) = decode("0201010401010d02beef", Position::Last).unwrap() else {
        panic!("not final");
    };
    assert_eq!(
        last.custom_records,
        [CustomRecord {
            type_num: 13,
            value: vec![0xbe, 0xef]
        }]
    );
    let bytes = "0201010401010608000000000000000707 02beef".replace(' ', "");
    assert!(matches!(
        decode(&bytes, Position::Forwarding),
        Ok(Payload::Forward(_))
    ));
}

#[test]
fn the_rules_of_tlv_streams_are_kept() {
    use DecodeError::*;
    for (hex, type_num, offset, error) in [
        ("040101020101", 2, 3, TlvOrder(2)),
        ("020101020101", 2, 3, TlvOrder(2)),
        ("02020001040101", 2, 0, NonMinimalInteger),
        ("0209010101010101010101", 2, 0, IntegerTooLong),
        ("020101040101060700000000000000", 6, 6, UnexpectedEnd),
        ("02010104010106090000000000000000ff", 6, 6, TlvLength(6)),
        ("02010104", 4, 3, UnexpectedEnd),
        ("0201010405", 4, 3, UnexpectedEnd),
        ("fd00020101", 0, 0, NonMinimalBigSize),
        ("02fd000101", 2, 0, NonMinimalBigSize),
        (
            "0c21040000000000000000000000000000000000000000000000000000000000000000",
            12,
            0,
            Point,
        ),
    ] {
        let expected = (type_num, offset, PayloadProblem::Encoding(error));
        assert_eq!(refused(hex, Position::Last), expected, "{hex}");
    }
}

#[test]
fn a_missing_record_is_named() {
    assert_eq!(
        refused("040101", Position::Last),
        (2, 0, PayloadProblem::Missing)
    );
    assert_eq!(
        refused("020101", Position::Last),
        (4, 0, PayloadProblem::Missing)
    );
    assert_eq!(
        refused("020101040101", Position::Forwarding),
        (6, 0, PayloadProblem::Missing)
    );
    assert_eq!(refused("", Position::Last), (2, 0, PayloadProblem::Missing));
}

#[test]
fn inside_a_blinded_path_there_is_exactly_one_path_key() {
    let without = hex::decode("0a0101").unwrap();
    let with = [without.clone(), vec![12, 33], point().serialize().to_vec()].concat();
    let decode = |payload: &[u8], key: Option<&PublicKey>| {
        Payload::decode(payload, Position::Forwarding, key)
            .map(|_| ())
            .map_err(|e| e.problem)
    };
    assert_eq!(decode(&without, Some(&point())), Ok(()));
    assert_eq!(decode(&with, None), Ok(()));
    assert_eq!(decode(&without, None), Err(PayloadProblem::Missing));
    assert_eq!(
        decode(&with, Some(&point())),
        Err(PayloadProblem::Unexpected)
    );
}

#[test]
fn outside_a_blinded_path_there_is_no_path_key() {
    let key = hex::encode(point().serialize());
    let bytes = format!("0201010401010c21{key}");
    assert_eq!(
        refused(&bytes, Position::Last),
        (12, 6, PayloadProblem::Unexpected)
    );
    let plain = Payload::Final(last()).encode().unwrap();
    let error = Payload::decode(&plain, Position::Last, Some(&point())).unwrap_err();
    assert_eq!(
        (error.type_num, error.problem),
        (10, PayloadProblem::Missing)
    );
}

#[test]
fn a_blinded_payload_says_nothing_else() {
    let key = point();
    for (hex, position) in [
        ("0201010a0101", Position::Forwarding),
        ("0a01010d0101", Position::Forwarding),
        (
            "0201010401010608000000000000000a0a0101120101",
            Position::Last,
        ),
        ("0201010401010a0101100101120101", Position::Last),
    ] {
        let error = Payload::decode(&hex::decode(hex).unwrap(), position, Some(&key)).unwrap_err();
        assert_eq!(error.problem, PayloadProblem::Unexpected, "{hex}");
    }
    let missing = hex::decode("0201010401010a0101").unwrap();
    let error = Payload::decode(&missing, Position::Last, Some(&key)).unwrap_err();
    assert_eq!(
        (error.type_num, error.problem),
        (18, PayloadProblem::Missing)
    );
}

#[test]
fn a_custom_record_cannot_replace_one_of_ours() {
    for types in [vec![8], vec![65537, 65537]] {
        let record = |&type_num: &u64| CustomRecord {
            type_num,
            value: vec![],
        };
        let payload = Payload::Final(Final {
            custom_records: types.iter().map(record).collect(),
            ..last()
        });
        assert_eq!(
            payload.encode().unwrap_err().problem,
            PayloadProblem::Repeated
        );
    }
}

#[test]
fn without_payment_data_the_htlc_is_the_whole_payment() {
    assert_eq!(last().total_msat(), MilliSatoshi(2000));
    assert_eq!(
        Final {
            payment_data: None,
            ..last()
        }
        .total_msat(),
        MilliSatoshi(1000)
    );
}

#[test]
fn neither_preimage_nor_payment_secret_prints() {
    let text = format!("{:?}", Payload::Final(last()));
    assert!(!text.contains("0303") && !text.contains("0404"), "{text}");
}

proptest! {
    #[test]
    fn garbage_never_panics_and_what_is_accepted_encodes_to_the_same_meaning(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        head in prop::sample::select(vec!["", "020101040101", "0a0101", "0201010401010608"]),
        forwarding: bool,
        path_key: bool,
    ) {
        let payload = [hex::decode(head).unwrap(), bytes].concat();
        let position = if forwarding { Position::Forwarding } else { Position::Last };
        let key = path_key.then(point);
        if let Ok(decoded) = Payload::decode(&payload, position, key.as_ref()) {
            let again = Payload::decode(&decoded.encode().unwrap(), position, key.as_ref());
            prop_assert_eq!(again, Ok(decoded));
        }
    }
}
