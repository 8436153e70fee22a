use secp256k1::{Message, SECP256K1, SecretKey};
use wire::{NodeId, ShortChannelId};

use super::*;
use crate::parse;

fn fields() -> Bolt11Fields {
    Bolt11Fields {
        network: Network::Regtest,
        amount: Some(MilliSatoshi(12_345)),
        payment_hash: PaymentHash([1; 32]),
        payment_secret: PaymentSecret([2; 32]),
        description: DescriptionOrHash::Description("coffee".into()),
        timestamp: Duration::from_secs(1_700_000_000),
        expiry: Duration::from_secs(604_800),
        min_final_cltv: BlockDelta(18),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::from_bytes(&[0x41, 0]),
        metadata: None,
    }
}

fn hop() -> HintHop {
    let node = SecretKey::from_slice(&[5; 32])
        .unwrap()
        .public_key(SECP256K1);
    HintHop {
        node: NodeId(node),
        scid: ShortChannelId(1),
        fee_base: MilliSatoshi(1),
        fee_ppm: 1,
        cltv_delta: BlockDelta(6),
    }
}

fn signed(fields: Bolt11Fields) -> Result<String, BuildError> {
    let hash = Message::from_digest(fields.signing_hash()?);
    let key = SecretKey::from_slice(&[9; 32]).unwrap();
    let (id, signature) = SECP256K1
        .sign_ecdsa_recoverable(&hash, &key)
        .serialize_compact();
    fields.into_string(&signature, id.to_i32() as u8)
}

#[test]
fn the_hash_that_is_signed_is_the_hash_that_a_reader_finds() {
    let hash = fields().signing_hash().unwrap();
    assert_eq!(
        parse(&signed(fields()).unwrap()).unwrap().signing_hash,
        hash
    );
}

#[test]
fn each_field_is_covered_by_the_hash() {
    let hash = fields().signing_hash().unwrap();
    let changes: [fn(&mut Bolt11Fields); 12] = [
        |f| f.network = Network::Signet,
        |f| f.amount = None,
        |f| f.payment_hash.0[0] = 0,
        |f| f.payment_secret.0[0] = 0,
        |f| f.description = DescriptionOrHash::Description("tea".into()),
        |f| f.timestamp += Duration::from_secs(1),
        |f| f.expiry += Duration::from_secs(1),
        |f| f.min_final_cltv = BlockDelta(19),
        |f| f.route_hints = vec![vec![hop()]],
        |f| f.fallbacks = vec![ScriptBuf::new_p2sh(&ScriptHash::all_zeros())],
        |f| f.features = Features::new(),
        |f| f.metadata = Some(vec![]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = fields();
        change(&mut changed);
        assert_ne!(changed.signing_hash().unwrap(), hash, "change {number}");
        signed(changed).unwrap();
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let long_text = DescriptionOrHash::Description("x".repeat(640));
    for (fields, error) in [
        (
            Bolt11Fields {
                amount: Some(MilliSatoshi(0)),
                ..fields()
            },
            BuildError::Amount,
        ),
        (
            Bolt11Fields {
                amount: Some(MilliSatoshi(u64::MAX)),
                ..fields()
            },
            BuildError::Amount,
        ),
        (
            Bolt11Fields {
                timestamp: Duration::from_secs(1 << 35),
                ..fields()
            },
            BuildError::Timestamp,
        ),
        (
            Bolt11Fields {
                description: long_text,
                ..fields()
            },
            BuildError::Description(640),
        ),
        (
            Bolt11Fields {
                metadata: Some(vec![0; 640]),
                ..fields()
            },
            BuildError::Metadata(640),
        ),
        (
            Bolt11Fields {
                route_hints: vec![vec![]],
                ..fields()
            },
            BuildError::RouteHint,
        ),
        (
            Bolt11Fields {
                route_hints: vec![vec![hop(); 13]],
                ..fields()
            },
            BuildError::RouteHint,
        ),
        (
            Bolt11Fields {
                route_hints: vec![vec![HintHop {
                    fee_base: MilliSatoshi(1 << 32),
                    ..hop()
                }]],
                ..fields()
            },
            BuildError::RouteHint,
        ),
        (
            Bolt11Fields {
                fallbacks: vec![ScriptBuf::from(vec![0x51])],
                ..fields()
            },
            BuildError::Fallback,
        ),
        (
            Bolt11Fields {
                features: Features::from_bytes(&[8; 640]),
                ..fields()
            },
            BuildError::Features,
        ),
    ] {
        assert_eq!(fields.signing_hash(), Err(error));
        assert_eq!(fields.into_string(&[1; 64], 0), Err(error));
    }
}

#[test]
fn the_largest_of_everything_fits() {
    let largest = Bolt11Fields {
        description: DescriptionOrHash::Description("x".repeat(639)),
        metadata: Some(vec![0; 639]),
        route_hints: vec![vec![hop(); 12]],
        features: Features::from_bytes(&[0x02; 639]),
        ..fields()
    };
    // Only odd bits: the reader understands none of the others.
    assert!(parse(&signed(largest).unwrap()).is_ok());
}

#[test]
fn an_invoice_that_nobody_could_read_is_refused() {
    let endless = Bolt11Fields {
        route_hints: vec![vec![hop(); 12]; 8],
        ..fields()
    };
    assert!(matches!(signed(endless), Err(BuildError::TooLong(_))));
}

#[test]
fn a_recovery_id_goes_up_to_three() {
    assert_eq!(
        fields().into_string(&[1; 64], 4),
        Err(BuildError::Signature)
    );
    assert_eq!(
        fields().into_string(&[0xff; 64], 0),
        Err(BuildError::Signature)
    );
}
