//! Amounts on the edge, and witnesses that no vector shows.

use bitcoin::Witness;
use tx::ledger::Ledger;
use tx::setup::{CommitmentFormat, Setup};
use tx::{Commitment, CommitmentOutput, KeyError, TxError, fees, witness};
use wire::{CommitmentNumber, FeeratePerKw, MilliSatoshi, Preimage, Satoshi, Side};

use crate::fixture::{funding, htlc, setup, some_public, some_secret};

fn ledger(to_local: u64, htlcs: &[u64]) -> Ledger {
    let to_remote = 1_000_000_000 - to_local - htlcs.iter().sum::<u64>();
    Ledger {
        to_local: MilliSatoshi(to_local),
        to_remote: MilliSatoshi(to_remote),
        feerate: FeeratePerKw(0),
        htlcs: (0..)
            .zip(htlcs)
            .map(|(id, amount)| htlc(Side::Local, id, *amount))
            .collect(),
    }
}

fn try_build(setup: &Setup, n: u64, ledger: &Ledger) -> Result<Commitment, TxError> {
    let (n, point) = (CommitmentNumber(n), some_public(9));
    Commitment::build(setup, &funding(setup), Side::Local, n, &point, ledger)
}

fn has(setup: &Setup, ledger: &Ledger) -> [bool; 4] {
    let commitment = try_build(setup, 3, ledger).unwrap();
    [
        CommitmentOutput::ToLocal,
        CommitmentOutput::ToRemote,
        CommitmentOutput::LocalAnchor,
        CommitmentOutput::RemoteAnchor,
    ]
    .map(|output| commitment.index_of(output).is_some())
}

#[test]
fn a_balance_of_exactly_the_dust_limit_stays_and_one_less_goes() {
    let plain = setup(CommitmentFormat::StaticRemotekey);
    assert_eq!(
        has(&plain, &ledger(999_454_000, &[])),
        [true, true, false, false]
    );
    assert_eq!(
        has(&plain, &ledger(999_454_001, &[])),
        [true, false, false, false]
    );
    assert_eq!(
        has(&plain, &ledger(546_000, &[])),
        [true, true, false, false]
    );
    assert_eq!(
        has(&plain, &ledger(545_999, &[])),
        [false, true, false, false]
    );

    let anchors = setup(CommitmentFormat::AnchorsZeroFeeHtlc);
    assert_eq!(has(&anchors, &ledger(999_454_000, &[])), [true; 4]);
    assert_eq!(
        has(&anchors, &ledger(999_454_001, &[])),
        [true, false, true, false]
    );
    assert_eq!(has(&anchors, &ledger(660_000 + 546_000, &[])), [true; 4]);
    assert_eq!(
        has(&anchors, &ledger(660_000 + 545_999, &[])),
        [false, true, false, true]
    );
}

#[test]
fn an_untrimmed_htlc_brings_both_anchors() {
    let anchors = setup(CommitmentFormat::AnchorsZeroFeeHtlc);
    let dusty = 545_000;
    let (no_remote, one) = (1_000_000_000 - 546_000, [546_000]);
    assert_eq!(
        has(&anchors, &ledger(no_remote, &one)),
        [true, false, true, true]
    );
    assert_eq!(
        has(&anchors, &ledger(660_000, &one)),
        [false, true, true, true]
    );
    let no_remote = 1_000_000_000 - dusty;
    assert_eq!(
        has(&anchors, &ledger(no_remote, &[dusty])),
        [true, false, true, false]
    );
}

#[test]
fn a_ledger_that_is_not_the_funding_value_is_refused() {
    let setup = setup(CommitmentFormat::StaticRemotekey);
    for change in [-1i64, 1, -500_000, 1000] {
        let mut ledger = ledger(500_000_000, &[2_000_000]);
        ledger.to_remote.0 = ledger.to_remote.0.checked_add_signed(change).unwrap();
        let error = try_build(&setup, 3, &ledger).unwrap_err();
        assert!(matches!(error, TxError::Unbalanced { .. }), "{error}");
    }
    let mut ledger = ledger(500_000_000, &[2_000_000]);
    ledger.to_remote.0 = u64::MAX;
    assert_eq!(try_build(&setup, 3, &ledger), Err(TxError::Overflow));
}

#[test]
fn an_opener_without_the_anchors_value_is_refused() {
    let anchors = setup(CommitmentFormat::AnchorsZeroFeeHtlc);
    assert!(try_build(&anchors, 3, &ledger(330_000, &[])).is_ok());
    assert_eq!(
        try_build(&anchors, 3, &ledger(329_000, &[])),
        Err(TxError::Unaffordable)
    );
}

#[test]
fn commitment_numbers_end_at_48_bits() {
    let setup = setup(CommitmentFormat::StaticRemotekey);
    let ledger = ledger(500_000_000, &[]);
    assert!(try_build(&setup, (1 << 48) - 1, &ledger).is_ok());
    let beyond = KeyError::NumberOutOfRange(CommitmentNumber(1 << 48));
    assert_eq!(
        try_build(&setup, 1 << 48, &ledger),
        Err(TxError::Key(beyond))
    );
}

#[test]
fn each_side_keeps_the_reserve_that_the_other_demands() {
    let mut setup = setup(CommitmentFormat::StaticRemotekey);
    (setup.local.channel_reserve, setup.remote.channel_reserve) = (Satoshi(100), Satoshi(70_000));
    assert_eq!(fees::reserve(&setup, Side::Local), Satoshi(70_000));
    let view = ledger(500_000_000, &[]);
    let spendable = |side| fees::spendable(&setup, &view, &view, side);
    assert_eq!(spendable(Side::Local), MilliSatoshi(430_000_000));
    assert_eq!(spendable(Side::Remote), MilliSatoshi(499_900_000));
}

#[test]
fn witnesses_have_the_elements_of_bolt_3_in_its_order() {
    let setup = setup(CommitmentFormat::AnchorsZeroFeeHtlc);
    let commitment = try_build(&setup, 3, &ledger(500_000_000, &[2_000_000])).unwrap();
    let sig = commitment
        .sign(&setup, &funding(&setup), &some_secret(1))
        .unwrap();
    let der = [&sig.serialize_der()[..], &[1]].concat();
    let (key, preimage) = (commitment.keys.revocation, Preimage([7; 32]));
    let script = &commitment.htlcs[0].redeem_script;
    let check = |witness: Witness, middle: &[&[u8]]| {
        let expected = [&[&der[..]], middle, &[script.as_bytes()]].concat();
        assert_eq!(witness.to_vec(), expected);
    };
    check(witness::to_local(&sig, script), &[&[]]);
    check(witness::to_local_penalty(&sig, script), &[&[1]]);
    check(witness::to_remote_anchors(&sig, script), &[]);
    check(witness::anchor(&sig, script), &[]);
    check(witness::htlc_preimage(&sig, &preimage, script), &[&[7; 32]]);
    check(witness::htlc_timeout(&sig, script), &[&[]]);
    check(
        witness::htlc_penalty(&sig, &key, script),
        &[&key.serialize()],
    );
}
