//! The legacy mutual close.

use bitcoin::{Script, ScriptBuf};
use tx::closing::{
    CloseTerms, Closing, FinalBalances, closing_fee, closing_weight, is_valid_shutdown_script,
};
use tx::setup::{CommitmentFormat, Setup};
use tx::{TxError, script};
use wire::{FeeratePerKw, MilliSatoshi, Satoshi, Side};

use crate::fixture::{LOCAL_FUNDING, REMOTE_FUNDING, funding, setup, some_public, some_secret};

fn p2wpkh(n: u8) -> ScriptBuf {
    script::to_remote_script_pubkey(CommitmentFormat::StaticRemotekey, &some_public(n))
}

fn p2wsh(n: u8) -> ScriptBuf {
    script::to_remote_script_pubkey(CommitmentFormat::AnchorsZeroFeeHtlc, &some_public(n))
}

fn close(setup: &Setup, to_local: u64, fee: u64) -> Result<Closing, TxError> {
    let balances = FinalBalances {
        to_local: MilliSatoshi(to_local),
        to_remote: MilliSatoshi(1_000_000_000 - to_local),
    };
    let terms = CloseTerms {
        fee: Satoshi(fee),
        local_script: p2wpkh(31),
        remote_script: p2wsh(32),
    };
    Closing::build(setup, &funding(setup), balances, &terms, Satoshi(546))
}

#[test]
fn the_opener_pays_the_fee_and_both_are_rounded_down() {
    let mut setup = setup(CommitmentFormat::StaticRemotekey);
    let closing = close(&setup, 600_000_500, 1000).unwrap();
    assert_eq!(closing.local, Some(Satoshi(599_000)));
    assert_eq!(closing.remote, Some(Satoshi(399_999)));
    assert_eq!(closing.fee, Satoshi(1001));
    let values: Vec<_> = closing
        .tx
        .output
        .iter()
        .map(|out| out.value.to_sat())
        .collect();
    assert_eq!(values, [399_999, 599_000]);
    assert_eq!(closing.tx.output[0].script_pubkey, p2wsh(32));
    assert_eq!(closing.tx.input[0].sequence.0, 0xffff_ffff);
    assert_eq!(
        (
            closing.tx.version.0,
            closing.tx.lock_time.to_consensus_u32()
        ),
        (2, 0)
    );

    setup.opener = Side::Remote;
    let closing = close(&setup, 600_000_500, 1000).unwrap();
    assert_eq!(closing.local, Some(Satoshi(600_000)));
    assert_eq!(closing.remote, Some(Satoshi(398_999)));
}

#[test]
fn dust_is_left_to_the_miners() {
    let setup = setup(CommitmentFormat::StaticRemotekey);
    let closing = close(&setup, 999_454_000, 1000).unwrap();
    assert_eq!(closing.remote, Some(Satoshi(546)));
    let closing = close(&setup, 999_454_001, 1000).unwrap();
    assert_eq!(closing.remote, None);
    assert_eq!(closing.tx.output.len(), 1);
    assert_eq!(closing.fee, Satoshi(1000 + 546));
    // The opener's own part is what is left after the fee.
    assert_eq!(
        close(&setup, 1_546_000, 1000).unwrap().local,
        Some(Satoshi(546))
    );
    assert_eq!(close(&setup, 1_545_999, 1000).unwrap().local, None);
}

#[test]
fn a_close_that_does_not_fit_the_balances_is_refused() {
    let setup = setup(CommitmentFormat::StaticRemotekey);
    let fee = Satoshi(1001);
    assert_eq!(
        close(&setup, 1_000_000, 1001),
        Err(TxError::ClosingFee(Side::Local, fee))
    );
    assert!(close(&setup, 1_001_000, 1001).is_ok());
    let all = close(&setup, 1_000_000_000, 999_900);
    assert_eq!(all, Err(TxError::ClosingNoOutputs));
    let balances = FinalBalances {
        to_local: MilliSatoshi(5),
        to_remote: MilliSatoshi(6),
    };
    let terms = CloseTerms {
        fee,
        local_script: p2wpkh(31),
        remote_script: p2wpkh(32),
    };
    let result = Closing::build(&setup, &funding(&setup), balances, &terms, Satoshi(0));
    assert!(matches!(result, Err(TxError::Unbalanced { .. })));
}

#[test]
fn both_signatures_verify_and_complete_it() {
    let setup = setup(CommitmentFormat::StaticRemotekey);
    let (closing, funding) = (close(&setup, 600_000_000, 1000).unwrap(), funding(&setup));
    let local = closing
        .sign(&setup, &funding, &some_secret(LOCAL_FUNDING))
        .unwrap();
    let remote = closing
        .sign(&setup, &funding, &some_secret(REMOTE_FUNDING))
        .unwrap();
    assert_eq!(
        closing.verify(&setup, &funding, Side::Local, &local),
        Ok(())
    );
    assert_eq!(
        closing.verify(&setup, &funding, Side::Remote, &remote),
        Ok(())
    );
    let crossed = closing.verify(&setup, &funding, Side::Remote, &local);
    assert_eq!(crossed, Err(TxError::BadSignature));

    let signed = closing.signed(&setup, &local, &remote);
    let expected = closing_weight(&[&p2wpkh(31), &p2wsh(32)]);
    let actual = signed.weight().to_wu();
    assert!(
        actual <= expected && expected - actual <= 6,
        "{actual} of {expected}"
    );
    let fee = closing_fee(FeeratePerKw(1000), &p2wpkh(31), &p2wsh(32));
    assert_eq!(fee, Satoshi(expected));
}

#[test]
fn a_signer_may_give_up_its_own_output() {
    let setup = setup(CommitmentFormat::StaticRemotekey);
    let (closing, funding) = (close(&setup, 600_000_000, 1000).unwrap(), funding(&setup));
    let without = closing.without(&funding, Side::Remote).unwrap();
    assert_eq!((without.local, without.remote), (closing.local, None));
    assert_eq!(without.fee, Satoshi(401_000));
    let remote = without
        .sign(&setup, &funding, &some_secret(REMOTE_FUNDING))
        .unwrap();
    assert_eq!(
        without.verify(&setup, &funding, Side::Remote, &remote),
        Ok(())
    );
    assert!(
        closing
            .verify(&setup, &funding, Side::Remote, &remote)
            .is_err()
    );
    let nothing = without.without(&funding, Side::Local);
    assert_eq!(nothing, Err(TxError::ClosingNoOutputs));
}

#[test]
fn only_the_scripts_of_bolt_2_may_be_in_shutdown() {
    let check = |hex: &str, anysegwit| {
        is_valid_shutdown_script(Script::from_bytes(&hex::decode(hex).unwrap()), anysegwit)
    };
    let byte = |n: usize| "ab".repeat(n);
    for (script, plain, anysegwit) in [
        (format!("0014{}", byte(20)), true, true),
        (format!("0020{}", byte(32)), true, true),
        (format!("5120{}", byte(32)), false, true),
        (format!("5102{}", byte(2)), false, true),
        (format!("6028{}", byte(40)), false, true),
        (format!("5101{}", byte(1)), false, false),
        (format!("6029{}", byte(41)), false, false),
        (format!("6128{}", byte(40)), false, false),
        (format!("5120{}", byte(33)), false, false),
        (format!("5120{}", byte(31)), false, false),
        (format!("0015{}", byte(21)), false, false),
        (format!("76a914{}88ac", byte(20)), false, false),
        (format!("a914{}87", byte(20)), false, false),
        (format!("6a06{}", byte(6)), false, false),
        (String::new(), false, false),
    ] {
        assert_eq!(check(&script, false), plain, "{script}");
        assert_eq!(check(&script, true), anysegwit, "{script}");
    }
}
