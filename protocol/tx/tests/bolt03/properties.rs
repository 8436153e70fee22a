//! What must hold for every channel, whoever opened it and whatever is in flight.

use proptest::prelude::*;
use tx::commitment::number_of;
use tx::fees::{self, is_trimmed, spendable, untrimmed};
use tx::ledger::{Delta, Ledger};
use tx::setup::{CommitmentFormat, Setup};
use tx::{Commitment, CommitmentOutput, HtlcKind, TxError};
use wire::{BlockDelta, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, Satoshi, Side};

use crate::fixture::{
    LOCAL_FUNDING, LOCAL_HTLC, REMOTE_FUNDING, REMOTE_HTLC, funding, htlc, mirrored, setup,
    some_public, some_secret,
};

const POINT: u8 = 99;

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Local), Just(Side::Remote)]
}

fn any_setup() -> impl Strategy<Value = Setup> {
    let format = prop_oneof![
        Just(CommitmentFormat::StaticRemotekey),
        Just(CommitmentFormat::AnchorsZeroFeeHtlc)
    ];
    let party = || (354u64..3000, 0u64..40_000, 1u16..2016);
    (side(), format, party(), party()).prop_map(|(opener, format, local, remote)| {
        let mut setup = setup(format);
        setup.opener = opener;
        for (party, (dust, reserve, delay)) in
            [(&mut setup.local, local), (&mut setup.remote, remote)]
        {
            party.dust_limit = Satoshi(dust);
            party.channel_reserve = Satoshi(reserve);
            party.to_self_delay = BlockDelta(delay);
        }
        setup
    })
}

/// A ledger of a million satoshi. Some HTLCs are equal in all but their id.
fn any_ledger() -> impl Strategy<Value = Ledger> {
    let htlcs = prop::collection::vec((side(), 1u64..6_000_000, 0u64..8), 0..40);
    (
        htlcs,
        0u64..=1000,
        prop_oneof![Just(0u32), 253u32..3000, 0u32..200_000],
    )
        .prop_map(|(htlcs, share, feerate)| {
            let mut ledger = Ledger {
                to_local: MilliSatoshi::ZERO,
                to_remote: MilliSatoshi::ZERO,
                feerate: FeeratePerKw(feerate),
                htlcs: Default::default(),
            };
            let mut rest: u64 = 1_000_000_000;
            for (id, (offerer, amount, kind)) in (0..).zip(htlcs) {
                let (mut key, htlc) = htlc(offerer, kind, amount - amount % (1 + kind * 1000));
                key.id = HtlcId(id);
                rest -= htlc.amount.0;
                ledger.htlcs.insert(key, htlc);
            }
            ledger.to_local = MilliSatoshi(rest / 1000 * share);
            ledger.to_remote = MilliSatoshi(rest - ledger.to_local.0);
            ledger
        })
}

fn build(setup: &Setup, owner: Side, n: u64, ledger: &Ledger) -> Result<Commitment, TxError> {
    let point = some_public(POINT);
    Commitment::build(
        setup,
        &funding(setup),
        owner,
        CommitmentNumber(n),
        &point,
        ledger,
    )
}

/// Whether the opener has enough for fee and anchors, reserve aside.
fn can_pay(setup: &Setup, owner: Side, ledger: &Ledger) -> bool {
    let outputs = untrimmed(setup, ledger, owner, ledger.feerate);
    let fee = fees::commitment_fee(setup.format, ledger.feerate, outputs).0;
    ledger.balance(setup.opener).0 / 1000 >= fee + fees::anchors_value(setup.format).0
}

/// Whether an HTLC of `amount` may be added, by BOLT 2's words and not by our formula.
fn may_add(setup: &Setup, views: [&Ledger; 2], side: Side, amount: u64) -> bool {
    [Side::Local, Side::Remote]
        .into_iter()
        .zip(views)
        .all(|(owner, view)| {
            let mut after = view.clone();
            let (mut key, htlc) = htlc(side, 0, amount);
            key.id = HtlcId(1_000_000);
            if after.apply(&Delta::Add { key, htlc }).is_err() {
                return false;
            }
            if side == setup.opener {
                let outputs = untrimmed(setup, &after, owner, after.feerate) + 1;
                let doubled = FeeratePerKw(after.feerate.0 * 2);
                let fee = fees::commitment_fee(setup.format, doubled, outputs).0;
                let costs =
                    fee + fees::anchors_value(setup.format).0 + fees::reserve(setup, side).0;
                return after.balance(side).0 >= costs * 1000;
            }
            let trimmed = is_trimmed(setup, owner, after.feerate, side, MilliSatoshi(amount));
            fees::keeps_reserve(setup, &after, owner, side)
                && (trimmed || fees::opener_can_afford(setup, &after, owner))
        })
}

proptest! {
    #[test]
    fn outputs_and_fee_are_the_funding_and_nothing_trimmed_is_there(
        setup in any_setup(), ledger in any_ledger(), owner in side(), n in 0u64..1 << 48
    ) {
        let commitment = match build(&setup, owner, n, &ledger) {
            Ok(commitment) => commitment,
            Err(error) => {
                prop_assert_eq!(error, TxError::Unaffordable);
                prop_assert!(!can_pay(&setup, owner, &ledger));
                return Ok(());
            }
        };
        let tx = &commitment.tx;
        let paid: u64 = tx.output.iter().map(|out| out.value.to_sat()).sum();
        prop_assert_eq!(paid + commitment.fee.0, setup.funding_value.0);
        prop_assert_eq!(number_of(&setup, tx), Some(CommitmentNumber(n)));

        let keys: Vec<_> = commitment.htlcs.iter().map(|h| h.key).collect();
        for (key, htlc) in &ledger.htlcs {
            let trimmed = is_trimmed(&setup, owner, ledger.feerate, key.offerer, htlc.amount);
            prop_assert_eq!(keys.iter().filter(|k| *k == key).count(), usize::from(!trimmed));
        }
        for htlc in &commitment.htlcs {
            let index = htlc.output_index as usize;
            let output = &tx.output[index];
            prop_assert_eq!(commitment.outputs[index], CommitmentOutput::Htlc(htlc.key));
            prop_assert_eq!(output.value.to_sat(), htlc.htlc.amount.0 / 1000);
            prop_assert_eq!(&output.script_pubkey, &htlc.redeem_script.to_p2wsh());
        }
        let dust = setup.party(owner).dust_limit.0;
        for (kind, output) in commitment.outputs.iter().zip(&tx.output) {
            let anchor = matches!(kind, CommitmentOutput::LocalAnchor | CommitmentOutput::RemoteAnchor);
            let value = output.value.to_sat();
            let right = if anchor { value == 330 } else { value >= dust };
            prop_assert!(right, "{value} in {kind:?}");
        }
        prop_assert!(tx.output.is_sorted_by_key(|out| (out.value, out.script_pubkey.clone())));
        let same = |pair: &&[::tx::CommitmentHtlc]| {
            let script = |at: usize| &pair[at].redeem_script;
            script(0) == script(1) && pair[0].htlc.amount.0 / 1000 == pair[1].htlc.amount.0 / 1000
        };
        for pair in commitment.htlcs.windows(2).filter(same) {
            prop_assert!(pair[0].htlc.cltv_expiry <= pair[1].htlc.cltv_expiry);
        }
    }

    #[test]
    fn both_sides_build_the_same_commitment(
        setup in any_setup(), ledger in any_ledger(), owner in side()
    ) {
        let (mirror, mirror_ledger) = mirrored(&setup, &ledger);
        let ours = build(&setup, owner, 7, &ledger);
        let theirs = build(&mirror, owner.other(), 7, &mirror_ledger);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours.tx, theirs.tx),
            (ours, theirs) => prop_assert_eq!(ours.err(), theirs.err()),
        }
    }

    #[test]
    fn spendable_is_the_largest_that_may_be_added(
        setup in any_setup(), local in any_ledger(), remote in any_ledger(), side in side(),
        more in 1u64..1_000_000
    ) {
        let most = spendable(&setup, &local, &remote, side).0;
        let views = [&local, &remote];
        prop_assert!(most == 0 || may_add(&setup, views, side, most));
        for larger in [most + 1, most + more, most + more * 100] {
            prop_assert!(!may_add(&setup, views, side, larger), "{} is more than {}", larger, most);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn signatures_verify_and_weights_are_as_expected(
        setup in any_setup(), ledger in any_ledger(), owner in side()
    ) {
        let Ok(commitment) = build(&setup, owner, 7, &ledger) else { return Ok(()) };
        let (funding, point) = (funding(&setup), some_public(POINT));
        let (funding_key, htlc_key) = match owner.other() {
            Side::Local => (LOCAL_FUNDING, LOCAL_HTLC),
            Side::Remote => (REMOTE_FUNDING, REMOTE_HTLC),
        };
        let htlc_key = tx::keys::derive_privkey(&some_secret(htlc_key), &point).unwrap();
        let signature = commitment.sign(&setup, &funding, &some_secret(funding_key)).unwrap();
        let htlc_sigs = commitment.sign_htlcs(owner.other(), &htlc_key).unwrap();
        prop_assert_eq!(commitment.verify(&setup, &funding, &signature, &htlc_sigs), Ok(()));

        let signed = commitment.signed(&setup, &signature, &signature);
        let expected = fees::commitment_weight(setup.format, commitment.htlcs.len());
        prop_assert!(signed.weight().to_wu() <= expected);
        for (htlc, sig) in commitment.htlc_transactions().unwrap().iter().zip(&htlc_sigs) {
            let preimage = wire::Preimage([(htlc.htlc.cltv_expiry.0 - 500) as u8; 32]);
            let preimage = matches!(htlc.kind, HtlcKind::Success).then_some(&preimage);
            let weight = htlc.signed(sig, sig, preimage).unwrap().weight().to_wu();
            let expected = fees::htlc_weight(setup.format, htlc.kind);
            prop_assert!(weight <= expected && expected - weight <= 16, "{weight} of {expected}");
        }
    }
}
