//! BOLT 3, Appendix A and Fee Calculation; BOLT 2's rules on what a side can afford.

use bitcoin::sighash::EcdsaSighashType;
use serde_json::Value;
use tx::HtlcKind;
use tx::fees::{
    commitment_fee, commitment_weight, dust_exposure, htlc_fee, htlc_weight, is_trimmed,
    keeps_reserve, opener_can_afford, opener_spare, spendable,
};
use tx::keys::CommitmentKeys;
use tx::ledger::{Delta, Ledger};
use tx::script::HtlcScripts;
use tx::setup::{CommitmentFormat, Setup};
use wire::{CltvExpiry, FeeratePerKw, MilliSatoshi, PaymentHash, Satoshi, Side};

use crate::fixture::{htlc, list, number, setup, shared, some_public, text, vectors};

const FORMATS: [(CommitmentFormat, &str); 2] = [
    (CommitmentFormat::StaticRemotekey, "static_remotekey"),
    (CommitmentFormat::AnchorsZeroFeeHtlc, "anchors"),
];

fn ledger(to_local: u64, to_remote: u64, feerate: u32) -> Ledger {
    Ledger {
        to_local: MilliSatoshi(to_local),
        to_remote: MilliSatoshi(to_remote),
        feerate: FeeratePerKw(feerate),
        htlcs: Default::default(),
    }
}

fn with(mut ledger: Ledger, offerer: Side, id: u64, amount: u64) -> Ledger {
    let (key, htlc) = htlc(offerer, id, amount);
    ledger.apply(&Delta::Add { key, htlc }).unwrap();
    ledger
}

fn weight_of(file: &Value, format: &str) -> u64 {
    let weight = &file["commitment_weight"][format];
    weight.as_u64().unwrap_or_else(|| number(weight, "base"))
}

#[test]
fn weights_are_those_of_bolt_3() {
    let files = [
        Some(vectors("weights.json")),
        shared("weights-and-fees.json"),
    ];
    for file in files.iter().flatten() {
        for (format, name) in FORMATS {
            assert_eq!(commitment_weight(format, 0), weight_of(file, name));
            assert_eq!(
                commitment_weight(format, 3),
                weight_of(file, name) + 3 * 172
            );
            let weights = file.get("htlc_weight").unwrap_or(&file["htlc_tx_weight"]);
            let weight = |kind| number(&weights[name], kind);
            assert_eq!(htlc_weight(format, HtlcKind::Timeout), weight("timeout"));
            assert_eq!(htlc_weight(format, HtlcKind::Success), weight("success"));

            let keys = CommitmentKeys::derive(&setup(format), Side::Local, &some_public(5));
            let scripts = HtlcScripts::new(format, &keys.unwrap());
            let bytes = |kind| number(&file["script_bytes"][kind], name) as usize;
            let hash = PaymentHash([7; 32]);
            assert_eq!(scripts.offered(&hash).len(), bytes("offered_htlc"));
            // BOLT 3 counts 4 bytes for the expiry, which has 3 until block 8,388,608.
            let received = scripts.received(&hash, CltvExpiry(8_388_608));
            assert_eq!(received.len(), bytes("accepted_htlc"));
        }
    }
    let sighash_types = [
        EcdsaSighashType::All,
        EcdsaSighashType::SinglePlusAnyoneCanPay,
    ];
    assert_eq!(sighash_types.map(|t| t.to_u32()), [1, 0x83]);
}

#[test]
fn the_fee_example_of_bolt_3_comes_out() {
    let files = [
        Some(vectors("weights.json")),
        shared("weights-and-fees.json"),
    ];
    for file in files.iter().flatten() {
        let example = &file["fee_example"];
        let mut setup = setup(CommitmentFormat::StaticRemotekey);
        setup.local.dust_limit = Satoshi(number(example, "dust_limit_satoshis"));
        let mut ledger = ledger(
            900_000_000,
            100_000_000,
            number(example, "feerate_per_kw") as u32,
        );
        for (id, row) in (0..).zip(list(example, "htlcs")) {
            let offered = text(row, "direction") == "offered";
            let offerer = if offered { Side::Local } else { Side::Remote };
            let amount = number(row, "amount_msat");
            let trimmed = is_trimmed(
                &setup,
                Side::Local,
                ledger.feerate,
                offerer,
                MilliSatoshi(amount),
            );
            assert_eq!(trimmed, row["trimmed"].as_bool().unwrap());
            ledger = with(ledger, offerer, id, amount);
        }
        let fee = |kind| htlc_fee(setup.format, ledger.feerate, kind).0;
        assert_eq!(fee(HtlcKind::Timeout), number(example, "htlc_timeout_fee"));
        assert_eq!(fee(HtlcKind::Success), number(example, "htlc_success_fee"));
        let base = commitment_fee(setup.format, ledger.feerate, 2);
        assert_eq!(base.0, number(example, "base_fee"));
        let dust = dust_exposure(&setup, &ledger, Side::Local, ledger.feerate);
        assert_eq!(base.0 + dust.0 / 1000, number(example, "actual_fee"));
    }
}

#[test]
fn trimming_follows_the_owners_dust_limit_and_kind_of_transaction() {
    let mut setup = setup(CommitmentFormat::StaticRemotekey);
    (setup.local.dust_limit, setup.remote.dust_limit) = (Satoshi(500), Satoshi(1000));
    let trimmed = |setup: &Setup, owner, offerer, sat: u64| {
        is_trimmed(
            setup,
            owner,
            FeeratePerKw(1000),
            offerer,
            MilliSatoshi(sat * 1000 + 999),
        )
    };
    // 500 + 663 in ours where we offer, 500 + 703 where the peer does; 1000 for the peer.
    for (owner, offerer, threshold) in [
        (Side::Local, Side::Local, 1163),
        (Side::Local, Side::Remote, 1203),
        (Side::Remote, Side::Remote, 1663),
        (Side::Remote, Side::Local, 1703),
    ] {
        assert!(trimmed(&setup, owner, offerer, threshold - 1));
        assert!(!trimmed(&setup, owner, offerer, threshold));
    }
    setup.format = CommitmentFormat::AnchorsZeroFeeHtlc;
    for (owner, threshold) in [(Side::Local, 500), (Side::Remote, 1000)] {
        for offerer in [Side::Local, Side::Remote] {
            assert!(trimmed(&setup, owner, offerer, threshold - 1));
            assert!(!trimmed(&setup, owner, offerer, threshold));
        }
    }
}

#[test]
fn dust_exposure_grows_with_the_feerate_only_without_anchors() {
    let add = |format| {
        let ledger = with(
            ledger(900_000_000, 100_000_000, 253),
            Side::Local,
            0,
            2_000_000,
        );
        let ledger = with(ledger, Side::Remote, 1, 300_000);
        let setup = setup(format);
        [253, 5000].map(|f| dust_exposure(&setup, &ledger, Side::Local, FeeratePerKw(f)))
    };
    let msat = |a, b| [MilliSatoshi(a), MilliSatoshi(b)];
    assert_eq!(
        add(CommitmentFormat::StaticRemotekey),
        msat(300_000, 2_300_000)
    );
    assert_eq!(
        add(CommitmentFormat::AnchorsZeroFeeHtlc),
        msat(300_000, 300_000)
    );
}

#[test]
fn the_opener_pays_fee_and_anchors_above_its_reserve() {
    for (format, costs) in [
        (CommitmentFormat::StaticRemotekey, 724),
        (CommitmentFormat::AnchorsZeroFeeHtlc, 1784),
    ] {
        let setup = setup(format);
        let exact = (10_000 + costs) * 1000;
        let enough = ledger(exact, 1_000_000_000 - exact, 1000);
        let less = ledger(exact - 1, 1_000_000_000 - exact + 1, 1000);
        for owner in [Side::Local, Side::Remote] {
            assert!(opener_can_afford(&setup, &enough, owner));
            let spare = opener_spare(&setup, &enough, owner, FeeratePerKw(1000));
            assert_eq!(spare, Some(MilliSatoshi(0)));
            assert!(!opener_can_afford(&setup, &less, owner));
            assert!(!keeps_reserve(&setup, &less, owner, Side::Local));
            assert!(keeps_reserve(&setup, &less, owner, Side::Remote));
        }
    }
    let setup = setup(CommitmentFormat::StaticRemotekey);
    let poor = ledger(990_000_001, 9_999_999, 1000);
    assert!(!keeps_reserve(&setup, &poor, Side::Local, Side::Remote));
}

#[test]
fn the_opener_can_spend_all_but_reserve_anchors_and_twice_the_fee_of_two_htlcs() {
    let setup = setup(CommitmentFormat::AnchorsZeroFeeHtlc);
    let view = ledger(600_000_000, 400_000_000, 1000);
    let fee = 2 * (1124 + 2 * 172);
    let expected = 600_000 - 10_000 - 660 - fee;
    let spendable = |side| spendable(&setup, &view, &view, side);
    assert_eq!(spendable(Side::Local), MilliSatoshi(expected * 1000));
    assert_eq!(spendable(Side::Remote), MilliSatoshi(390_000_000));
}

#[test]
fn an_opener_that_cannot_pay_for_another_output_limits_the_accepter_to_dust() {
    let setup = setup(CommitmentFormat::AnchorsZeroFeeHtlc);
    // Enough for the commitment as it is, 171 sat short of one with an HTLC.
    let opener = (10_000 + 660 + 1124 + 1) * 1000;
    let view = ledger(opener, 1_000_000_000 - opener, 1000);
    assert_eq!(
        spendable(&setup, &view, &view, Side::Remote),
        MilliSatoshi(545_999)
    );
    assert_eq!(
        spendable(&setup, &view, &view, Side::Local),
        MilliSatoshi::ZERO
    );
}
