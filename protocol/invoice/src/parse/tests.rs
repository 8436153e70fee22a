//! Strings that no writer should make, signed so that only the point in question is wrong.

use bech32::ByteIterExt;
use proptest::prelude::*;
use secp256k1::SecretKey;

use super::*;

fn key() -> SecretKey {
    SecretKey::from_slice(&[9; 32]).unwrap()
}

fn words(n: usize, len: usize) -> Vec<Fe32> {
    (0..len)
        .rev()
        .map(|i| Fe32::try_from((n >> (5 * i) & 31) as u8).unwrap())
        .collect()
}

fn raw_field(tag: u8, data: Vec<Fe32>) -> Vec<Fe32> {
    [words(tag.into(), 1), words(data.len(), 2), data].concat()
}

fn field(tag: u8, data: &[u8]) -> Vec<Fe32> {
    raw_field(tag, data.iter().copied().bytes_to_fes().collect())
}

fn usual() -> Vec<Vec<Fe32>> {
    vec![
        field(TAG_PAYMENT_HASH, &[1; 32]),
        field(TAG_PAYMENT_SECRET, &[2; 32]),
        field(13, b"coffee"),
    ]
}

fn with(more: Vec<Vec<Fe32>>) -> Result<Invoice, ParseError> {
    signed("lnbcrt1u", [usual(), more].concat())
}

fn signed(prefix: &str, fields: Vec<Vec<Fe32>>) -> Result<Invoice, ParseError> {
    let data = [words(1_700_000_000, 7), fields.concat()].concat();
    let hash = words::signing_hash(prefix, &data);
    let signature = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(hash), &key());
    let (id, compact) = signature.serialize_compact();
    let signature = compact
        .into_iter()
        .chain([id.to_i32() as u8])
        .bytes_to_fes();
    let hrp = bech32::Hrp::parse(prefix).unwrap();
    let string: String = data
        .into_iter()
        .chain(signature)
        .with_checksum::<Bolt11Bech32>(&hrp)
        .chars()
        .collect();
    parse(&string)
}

#[test]
fn the_usual_invoice_is_read() {
    let invoice = with(vec![]).unwrap();
    assert_eq!(invoice.amount, Some(MilliSatoshi(100_000)));
    assert_eq!(invoice.network, Network::Regtest);
    assert_eq!(invoice.payee, NodeId(key().public_key(SECP256K1)));
    assert_eq!(
        (invoice.expiry.as_secs(), invoice.min_final_cltv),
        (3600, BlockDelta(18))
    );
    assert!(invoice.features.is_empty());
}

#[test]
fn an_amount_out_of_range_is_refused_and_not_taken_for_none() {
    for prefix in [
        "lnbcrt18446744073709551",
        "lnbcrt0",
        "lnbcrt0m",
        "lnbcrt1p",
        "lnbcrt15p",
    ] {
        assert_eq!(
            signed(prefix, usual()).unwrap_err(),
            ParseError::Amount,
            "{prefix}"
        );
    }
    assert!(matches!(
        signed("lnbcrt18446744073709551616", usual()),
        Err(ParseError::Prefix(_))
    ));
}

#[test]
fn simnet_and_unknown_prefixes_are_refused() {
    assert_eq!(signed("lnsb1u", usual()).unwrap_err(), ParseError::Network);
    for prefix in ["lnxx1u", "lnbcrtx1u", "lno", "ln"] {
        assert!(
            matches!(signed(prefix, usual()), Err(ParseError::Prefix(_))),
            "{prefix}"
        );
    }
}

#[test]
fn the_first_of_several_fields_counts() {
    let invoice = with(vec![
        field(TAG_PAYMENT_HASH, &[7; 32]),
        field(13, b"tea"),
        raw_field(TAG_EXPIRY_TIME, words(60, 2)),
        raw_field(TAG_EXPIRY_TIME, words(90, 2)),
    ])
    .unwrap();
    assert_eq!(invoice.payment_hash, PaymentHash([1; 32]));
    assert!(invoice.is_about("coffee"));
    assert_eq!(invoice.expiry.as_secs(), 60);
}

#[test]
fn a_field_of_the_wrong_length_is_as_if_it_were_not_there() {
    let wrong = |tag| vec![field(tag, &[7; 31]), field(tag, &[7; 34])];
    let all = [wrong(1), wrong(16), wrong(23), wrong(19), usual()].concat();
    let invoice = signed("lnbc", all).unwrap();
    assert_eq!(invoice.payment_hash, PaymentHash([1; 32]));
    assert_eq!(invoice.payment_secret, PaymentSecret([2; 32]));
    assert_eq!(invoice.payee, NodeId(key().public_key(SECP256K1)));
    for (place, letter) in [(0, 'p'), (1, 's')] {
        let mut fields = usual();
        fields[place] = field(if place == 0 { 1 } else { 16 }, &[7; 31]);
        assert_eq!(
            signed("lnbc", fields).unwrap_err(),
            ParseError::Missing(letter)
        );
    }
}

#[test]
fn numbers_with_a_leading_zero_are_refused() {
    for (tag, letter) in [(TAG_EXPIRY_TIME, 'x'), (24, 'c'), (TAG_FEATURES, '9')] {
        let error = with(vec![raw_field(tag, words(2, 3))]).unwrap_err();
        assert_eq!(error, ParseError::NotMinimal(letter));
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let too_many_blocks = raw_field(TAG_MIN_FINAL_CLTV_EXPIRY_DELTA, words(65536, 4));
    assert_eq!(
        with(vec![too_many_blocks]).unwrap_err(),
        ParseError::OutOfRange('c')
    );
    let most = raw_field(TAG_MIN_FINAL_CLTV_EXPIRY_DELTA, words(65535, 4));
    assert_eq!(with(vec![most]).unwrap().min_final_cltv, BlockDelta(65535));
    let endless = raw_field(TAG_EXPIRY_TIME, vec![Fe32::L; 14]);
    assert!(matches!(
        with(vec![endless]),
        Err(ParseError::Field('x', _))
    ));
}

#[test]
fn an_expiry_past_all_time_never_comes() {
    let longest = raw_field(TAG_EXPIRY_TIME, [words(15, 1), vec![Fe32::L; 12]].concat());
    let invoice = with(vec![longest]).unwrap();
    assert_eq!(
        (invoice.expiry.as_secs(), invoice.expires_at()),
        (u64::MAX, None)
    );
    assert!(!invoice.is_expired(Duration::from_secs(u64::MAX)));
}

#[test]
fn there_is_exactly_one_description() {
    let both = with(vec![field(TAG_DESCRIPTION_HASH, &[1; 32])]).unwrap_err();
    assert_eq!(both, ParseError::TwoDescriptions);
    let mut none = usual();
    none.pop();
    assert_eq!(signed("lnbc", none).unwrap_err(), ParseError::NoDescription);
}

#[test]
fn a_description_that_is_not_text_is_refused() {
    let mut fields = usual();
    fields.pop();
    fields.push(field(13, &[0xff, 0xfe]));
    assert!(matches!(
        signed("lnbc", fields),
        Err(ParseError::Field('d', _))
    ));
}

#[test]
fn an_unknown_feature_matters_only_if_it_is_required() {
    let bit = |n: u32| {
        raw_field(
            TAG_FEATURES,
            words::of_features(&{
                let mut features = Features::new();
                features.set_bit(n);
                features
            }),
        )
    };
    assert_eq!(
        with(vec![bit(100)]).unwrap_err(),
        ParseError::UnknownFeature(100)
    );
    assert_eq!(
        with(vec![bit(10)]).unwrap_err(),
        ParseError::UnknownFeature(10)
    );
    for known in [8, 14, 16, 48, 101] {
        assert!(with(vec![bit(known)]).unwrap().features.has_bit(known));
    }
}

#[test]
fn a_fallback_is_a_script_or_unknown_or_refused() {
    let version = |version: u8, program: &[u8]| {
        let program = program.iter().copied().bytes_to_fes();
        raw_field(
            TAG_FALLBACK,
            words(version.into(), 1)
                .into_iter()
                .chain(program)
                .collect(),
        )
    };
    let invoice = with(vec![
        version(1, &[3; 32]),
        version(19, &[]),
        version(17, &[4; 20]),
    ])
    .unwrap();
    assert_eq!(invoice.fallbacks.len(), 2);
    assert!(invoice.fallbacks[0].is_p2tr() && invoice.fallbacks[1].is_p2pkh());
    for (number, len) in [(17, 19), (18, 21), (1, 1), (1, 41)] {
        assert!(
            with(vec![version(number, &vec![1; len])]).is_err(),
            "{number}: {len}"
        );
    }
    assert_eq!(
        with(vec![version(0, &[1; 21])]).unwrap_err(),
        ParseError::OutOfRange('f')
    );
    assert!(with(vec![raw_field(TAG_FALLBACK, vec![])]).is_err());
}

#[test]
fn a_route_hint_is_whole_or_refused() {
    let hop = [&key().public_key(SECP256K1).serialize()[..], &[0; 18]].concat();
    assert_eq!(
        with(vec![field(TAG_PRIVATE_ROUTE, &hop)])
            .unwrap()
            .route_hints[0]
            .len(),
        1
    );
    assert!(with(vec![field(TAG_PRIVATE_ROUTE, &hop[..50])]).is_err());
    assert!(with(vec![field(TAG_PRIVATE_ROUTE, &[])]).is_err());
    assert!(with(vec![field(TAG_PRIVATE_ROUTE, &[0; 51])]).is_err());
}

#[test]
fn a_given_payee_must_have_signed() {
    let own = key().public_key(SECP256K1);
    let given = |key: &PublicKey| field(TAG_PAYEE_PUB_KEY, &key.serialize());
    assert_eq!(with(vec![given(&own)]).unwrap().payee, NodeId(own));
    let other = SecretKey::from_slice(&[8; 32])
        .unwrap()
        .public_key(SECP256K1);
    assert_eq!(
        with(vec![given(&other)]).unwrap_err(),
        ParseError::Signature
    );
    assert!(matches!(
        with(vec![field(19, &[0; 33])]),
        Err(ParseError::Field('n', _))
    ));
}

#[test]
fn a_field_that_is_cut_off_is_refused() {
    assert_eq!(
        with(vec![words(1 << 10 | 5, 3)]).unwrap_err(),
        ParseError::CutOff
    );
    assert_eq!(with(vec![words(1, 1)]).unwrap_err(), ParseError::CutOff);
}

proptest! {
    #[test]
    fn garbage_never_panics(string in ".*", tail in "[02-9ac-hj-np-z]{0,200}") {
        let _ = parse(&string);
        let unsigned = format!("lnbc1{tail}");
        prop_assert!(parse(&unsigned).is_err());
    }

    #[test]
    fn signed_garbage_never_panics(data in prop::collection::vec(0u8..32, 0..300)) {
        let data = data.into_iter().map(|word| Fe32::try_from(word).unwrap()).collect();
        let _ = with(vec![data]);
    }
}
