use proptest::prelude::*;

use super::*;

/// Name, code and encoding of every failure.
fn all() -> Vec<(&'static str, Failure, &'static str)> {
    use Failure::*;
    let sha256_of_onion = [0xaa; 32];
    let hash = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let channel_update = vec![1, 2];
    let with_hash =
        |code: &str| -> &'static str { Box::leak(format!("{code}{hash}").into_boxed_str()) };
    vec![
        ("temporary_node_failure", TemporaryNodeFailure, "2002"),
        ("permanent_node_failure", PermanentNodeFailure, "6002"),
        (
            "required_node_feature_missing",
            RequiredNodeFeatureMissing,
            "6003",
        ),
        (
            "invalid_onion_version",
            InvalidOnionVersion { sha256_of_onion },
            with_hash("c004"),
        ),
        (
            "invalid_onion_hmac",
            InvalidOnionHmac { sha256_of_onion },
            with_hash("c005"),
        ),
        (
            "invalid_onion_key",
            InvalidOnionKey { sha256_of_onion },
            with_hash("c006"),
        ),
        (
            "temporary_channel_failure",
            TemporaryChannelFailure {
                channel_update: channel_update.clone(),
            },
            "100700020102",
        ),
        ("permanent_channel_failure", PermanentChannelFailure, "4008"),
        (
            "required_channel_feature_missing",
            RequiredChannelFeatureMissing,
            "4009",
        ),
        ("unknown_next_peer", UnknownNextPeer, "400a"),
        (
            "amount_below_minimum",
            AmountBelowMinimum {
                htlc_msat: MilliSatoshi(5),
                channel_update: channel_update.clone(),
            },
            "100b000000000000000500020102",
        ),
        (
            "fee_insufficient",
            FeeInsufficient {
                htlc_msat: MilliSatoshi(5),
                channel_update: vec![],
            },
            "100c00000000000000050000",
        ),
        (
            "incorrect_cltv_expiry",
            IncorrectCltvExpiry {
                cltv_expiry: CltvExpiry(6),
                channel_update: channel_update.clone(),
            },
            "100d0000000600020102",
        ),
        (
            "expiry_too_soon",
            ExpiryTooSoon {
                channel_update: vec![],
            },
            "100e0000",
        ),
        (
            "incorrect_or_unknown_payment_details",
            IncorrectOrUnknownPaymentDetails {
                htlc_msat: MilliSatoshi(5),
                height: BlockHeight(600),
            },
            "400f000000000000000500000258",
        ),
        (
            "final_incorrect_cltv_expiry",
            FinalIncorrectCltvExpiry {
                cltv_expiry: CltvExpiry(6),
            },
            "001200000006",
        ),
        (
            "final_incorrect_htlc_amount",
            FinalIncorrectHtlcAmount {
                incoming_htlc_amt: MilliSatoshi(5),
            },
            "00130000000000000005",
        ),
        (
            "channel_disabled",
            ChannelDisabled {
                disabled_flags: 0,
                channel_update,
            },
            "1014000000020102",
        ),
        ("expiry_too_far", ExpiryTooFar, "0015"),
        (
            "invalid_onion_payload",
            InvalidOnionPayload {
                type_num: 5_482_373_484,
                offset: 7,
            },
            "4016ff0000000146c6616c0007",
        ),
        ("mpp_timeout", MppTimeout, "0017"),
        (
            "invalid_onion_blinding",
            InvalidOnionBlinding { sha256_of_onion },
            with_hash("c018"),
        ),
    ]
}

#[test]
fn every_failure_of_bolt_4_has_its_code_and_survives_encoding() {
    let all = all();
    assert_eq!(all.len(), 22);
    for (name, failure, bytes) in all {
        assert_eq!(failure.name(), name);
        assert_eq!(hex::encode(failure.encode()), bytes, "{name}");
        assert_eq!(Failure::decode(&hex::decode(bytes).unwrap()), failure);
        let longer = hex::decode(format!("{bytes}fd123400")).unwrap();
        assert_eq!(
            Failure::decode(&longer),
            failure,
            "{name}: a TLV stream after it is ignored"
        );
    }
}

#[test]
fn the_flags_are_those_of_the_code() {
    let flags = |f: &Failure| {
        (
            f.is_badonion(),
            f.is_permanent(),
            f.is_node(),
            f.is_update(),
        )
    };
    assert_eq!(
        flags(&Failure::PermanentNodeFailure),
        (false, true, true, false)
    );
    assert_eq!(
        flags(&Failure::ExpiryTooSoon {
            channel_update: vec![]
        }),
        (false, false, false, true)
    );
    let bad = Failure::InvalidOnionKey {
        sha256_of_onion: [0; 32],
    };
    assert_eq!(flags(&bad), (true, true, false, false));
}

#[test]
fn a_failure_with_too_little_data_keeps_its_code() {
    let cut = Failure::decode(&[0x10, 0x0c, 0, 0]);
    assert_eq!(
        cut,
        Failure::Unknown {
            code: 0x100c,
            data: vec![0, 0]
        }
    );
    assert!(cut.is_update());
    let no_code = Failure::Unknown {
        code: 0,
        data: vec![0x40],
    };
    assert_eq!(Failure::decode(&[0x40]), no_code);
    assert_eq!(Failure::decode(&[]).code(), 0);
}

#[test]
fn what_our_peer_calls_malformed_is_told_to_the_origin() {
    for (code, expected) in [
        (
            0xc004,
            Failure::InvalidOnionVersion {
                sha256_of_onion: [1; 32],
            },
        ),
        (
            0xc018,
            Failure::InvalidOnionBlinding {
                sha256_of_onion: [1; 32],
            },
        ),
        (
            0x8777,
            Failure::Unknown {
                code: 0x8777,
                data: vec![1; 32],
            },
        ),
    ] {
        assert_eq!(Failure::from_malformed(code, [1; 32]), Ok(expected));
    }
}

#[test]
fn a_malformed_htlc_without_badonion_is_the_peers_fault() {
    assert_eq!(
        Failure::from_malformed(0x4008, [1; 32]),
        Err(NotBadOnion(0x4008))
    );
}

proptest! {
    #[test]
    fn any_message_decodes_to_something_that_encodes_to_its_start(
        message in prop::collection::vec(any::<u8>(), 2..60),
    ) {
        let encoded = Failure::decode(&message).encode();
        prop_assert!(message.starts_with(&encoded));
    }
}
