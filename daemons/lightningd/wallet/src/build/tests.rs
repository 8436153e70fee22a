use std::collections::BTreeMap;

use bitcoin::{Sequence, Txid, WPubkeyHash, XOnlyPublicKey};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wire::{ChannelId, NodeId};

use super::*;
use crate::utxo::{CloseKey, KeyKind, Status};

const TIP: BlockHeight = BlockHeight(1000);

fn p2wpkh(n: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([n; 20]))
}

fn key(n: u8) -> secp256k1::PublicKey {
    let secret = secp256k1::SecretKey::from_slice(&[n.max(1); 32]).unwrap();
    secret.public_key(secp256k1::SECP256K1)
}

fn p2tr(n: u8) -> ScriptBuf {
    let key = XOnlyPublicKey::from(key(n));
    ScriptBuf::new_p2tr(secp256k1::SECP256K1, key, None)
}

fn coin(n: u32, value: u64) -> Utxo {
    Utxo {
        outpoint: OutPoint {
            txid: Txid::from_byte_array([7; 32]),
            vout: n,
        },
        value: Satoshi(value),
        script: p2tr(1),
        key: KeyRef::Wallet {
            index: n,
            kind: KeyKind::P2tr,
        },
        status: Status::Confirmed {
            height: BlockHeight(900),
        },
        ours: false,
        coinbase: false,
        reserved_until: None,
    }
}

fn set(values: &[u64]) -> UtxoSet {
    UtxoSet::restore(
        TIP,
        values
            .iter()
            .enumerate()
            .map(|(n, value)| coin(n as u32, *value)),
    )
}

fn policy(feerate: u32) -> Policy {
    Policy {
        feerate: FeeratePerKw(feerate),
        inputs: Inputs::Any { minconf: 1 },
        change: ChangeTo {
            script: p2tr(9),
            key: KeyRef::Wallet {
                index: 99,
                kind: KeyKind::P2tr,
            },
        },
        emergency_reserve: Satoshi::ZERO,
    }
}

fn pay(amount: Amount) -> [Recipient; 1] {
    [Recipient {
        script: p2wpkh(5),
        amount,
    }]
}

fn sat(value: u64) -> Amount {
    Amount::Exactly(Satoshi(value))
}

fn withdraw(set: &UtxoSet, amount: Amount, policy: &Policy) -> Result<UnsignedTx, BuildError> {
    build_withdraw(set, &pay(amount), policy, &mut StdRng::seed_from_u64(1))
}

#[test]
fn change_comes_back_to_us_and_the_fee_is_exact() {
    let built = withdraw(&set(&[100_000]), sat(40_000), &policy(1000)).unwrap();
    let change = built.change.clone().unwrap();
    assert_eq!(built.fee.0, built.signed_weight());
    assert_eq!(change.value.0, 100_000 - 40_000 - built.fee.0);
    assert_eq!(built.tx.output[change.vout as usize].script_pubkey, p2tr(9));
    assert_eq!(built.recipient(0).unwrap().value.to_sat(), 40_000);
}

#[test]
fn coins_that_fit_are_spent_without_change() {
    // One input and one output at 1000 sat per kw.
    let fee = withdraw(&set(&[100_000]), Amount::All, &policy(1000))
        .unwrap()
        .fee
        .0;
    let built = withdraw(
        &set(&[500_000, 50_000 + fee + 5, 70_000]),
        sat(50_000),
        &policy(1000),
    )
    .unwrap();
    assert_eq!(built.change, None);
    assert_eq!(built.inputs.len(), 1);
    assert_eq!(built.fee.0, fee + 5);
}

#[test]
fn change_that_would_be_dust_goes_to_the_fee() {
    let fee = withdraw(&set(&[100_000]), Amount::All, &policy(253))
        .unwrap()
        .fee
        .0;
    let built = withdraw(&set(&[100_000]), sat(100_000 - fee - 300), &policy(253)).unwrap();
    assert_eq!((built.change.clone(), built.fee.0), (None, fee + 300));
}

#[test]
fn all_takes_every_coin_that_is_worth_its_fee() {
    let built = withdraw(&set(&[100_000, 50_000, 10]), Amount::All, &policy(1000)).unwrap();
    assert_eq!(built.inputs.len(), 2);
    assert_eq!(built.change, None);
    assert_eq!(
        built.recipient(0).unwrap().value.to_sat(),
        150_000 - built.fee.0
    );
}

#[test]
fn all_beside_other_outputs_gets_what_they_leave() {
    let recipients = [
        Recipient {
            script: p2wpkh(1),
            amount: sat(10_000),
        },
        Recipient {
            script: p2wpkh(2),
            amount: Amount::All,
        },
        Recipient {
            script: p2wpkh(3),
            amount: sat(20_000),
        },
    ];
    let mut rng = StdRng::seed_from_u64(3);
    let built = build_withdraw(&set(&[100_000]), &recipients, &policy(253), &mut rng).unwrap();
    let values: Vec<u64> = (0..3)
        .map(|i| built.recipient(i).unwrap().value.to_sat())
        .collect();
    assert_eq!(values, [10_000, 70_000 - built.fee.0, 20_000]);
    for (i, recipient) in recipients.iter().enumerate() {
        assert_eq!(built.recipient(i).unwrap().script_pubkey, recipient.script);
    }
}

#[test]
fn too_little_says_how_much_is_missing() {
    let error = withdraw(&set(&[100_000]), sat(100_000), &policy(1000)).unwrap_err();
    let fee = withdraw(&set(&[100_000]), Amount::All, &policy(1000))
        .unwrap()
        .fee;
    assert_eq!(
        error,
        BuildError::CannotAfford {
            needed: Satoshi(100_000 + fee.0),
            available: 1,
            short: fee
        }
    );
    assert_eq!(error.code(), 301);
    let error = withdraw(&set(&[]), Amount::All, &policy(253)).unwrap_err();
    assert_eq!(
        (error.clone(), error.code()),
        (BuildError::NothingLeft { available: 0 }, 301)
    );
}

#[test]
fn a_dust_output_is_refused() {
    let error = withdraw(&set(&[100_000]), sat(293), &policy(253)).unwrap_err();
    assert_eq!(error.code(), 302);
    assert!(withdraw(&set(&[100_000]), sat(294), &policy(253)).is_ok());
}

#[test]
fn amounts_that_cannot_be_are_refused() {
    let two = [pay(Amount::All), pay(Amount::All)].concat();
    let mut rng = StdRng::seed_from_u64(1);
    let mut build =
        |r: &[Recipient]| build_withdraw(&set(&[100_000]), r, &policy(253), &mut rng).unwrap_err();
    assert_eq!(build(&two), BuildError::TwoAlls);
    assert_eq!(build(&[]), BuildError::NoOutputs);
    assert_eq!(
        build(&[pay(sat(u64::MAX)), pay(sat(2000))].concat()),
        BuildError::Overflow
    );
    assert_eq!(build(&pay(sat(MAX_SATOSHI + 1))), BuildError::Overflow);
}

#[test]
fn the_emergency_reserve_stays_in_other_coins_or_in_change() {
    let with_reserve = Policy {
        emergency_reserve: Satoshi(25_000),
        ..policy(1000)
    };
    // Another coin holds it.
    let fee = withdraw(&set(&[100_000]), Amount::All, &policy(1000))
        .unwrap()
        .fee
        .0;
    let two = set(&[50_000 + fee, 25_000]);
    let built = withdraw(&two, sat(50_000), &with_reserve).unwrap();
    assert_eq!((built.change, built.inputs.len()), (None, 1));
    // Change holds it.
    let built = withdraw(&set(&[100_000]), sat(70_000), &with_reserve).unwrap();
    assert!(built.change.unwrap().value >= Satoshi(25_000));
    // All leaves it as change.
    let built = withdraw(&set(&[100_000]), Amount::All, &with_reserve).unwrap();
    assert_eq!(built.change.unwrap().value, Satoshi(25_000));
    // It would have to be spent.
    let error = withdraw(&set(&[100_000]), sat(80_000), &with_reserve).unwrap_err();
    assert_eq!(
        error,
        BuildError::EmergencyReserve {
            reserve: Satoshi(25_000)
        }
    );
    assert_eq!(error.code(), 313);
    let error = withdraw(&set(&[20_000]), Amount::All, &with_reserve).unwrap_err();
    assert_eq!(error.code(), 313);
}

#[test]
fn unconfirmed_change_of_ours_is_spent_only_if_allowed_and_only_when_needed() {
    let change = Utxo {
        status: Status::Unconfirmed,
        ours: true,
        ..coin(1, 90_000)
    };
    let foreign = Utxo {
        status: Status::Unconfirmed,
        ..coin(2, 90_000)
    };
    let set = UtxoSet::restore(TIP, [coin(0, 50_000), change.clone(), foreign]);
    assert!(withdraw(&set, sat(60_000), &policy(253)).is_err());
    let any = Policy {
        inputs: Inputs::Any { minconf: 0 },
        ..policy(253)
    };
    assert_eq!(withdraw(&set, sat(60_000), &any).unwrap().inputs, [change]);
    assert_eq!(
        withdraw(&set, sat(40_000), &any).unwrap().inputs,
        [coin(0, 50_000)]
    );
    assert!(withdraw(&set, sat(145_000), &any).is_err());
    let deep = Policy {
        inputs: Inputs::Any { minconf: 102 },
        ..policy(253)
    };
    assert!(withdraw(&set, sat(40_000), &deep).is_err());
}

#[test]
fn coins_that_are_named_are_all_spent_or_refused() {
    let mut coins = vec![coin(0, 50_000), coin(1, 60_000), coin(2, 70_000)];
    coins[2].reserved_until = Some(BlockHeight(1072));
    coins.push(Utxo {
        coinbase: true,
        ..coin(3, 1)
    });
    let by = Txid::from_byte_array([1; 32]);
    let spent = Status::Spent {
        by,
        confirmed: None,
        at: None,
    };
    coins.push(Utxo {
        status: spent,
        ..coin(4, 1)
    });
    coins.push(Utxo {
        status: Status::Unconfirmed,
        ..coin(5, 1)
    });
    coins[3].status = Status::Confirmed {
        height: BlockHeight(950),
    };
    let set = UtxoSet::restore(TIP, coins);
    let build = |numbers: &[u32], reserved_ok: bool| {
        let outpoints = numbers.iter().map(|n| coin(*n, 0).outpoint).collect();
        let inputs = Inputs::These {
            outpoints,
            reserved_ok,
        };
        withdraw(
            &set,
            sat(40_000),
            &Policy {
                inputs,
                ..policy(253)
            },
        )
    };
    assert_eq!(build(&[0, 1], false).unwrap().inputs.len(), 2);
    assert_eq!(build(&[2], true).unwrap().inputs.len(), 1);
    let outpoint = |n: u32| coin(n, 0).outpoint;
    let until = BlockHeight(1072);
    let refused = [
        (
            vec![2],
            BuildError::ReservedUtxo {
                outpoint: outpoint(2),
                until,
            },
        ),
        (vec![0, 0], BuildError::RepeatedUtxo(outpoint(0))),
        (vec![77], BuildError::UnknownUtxo(outpoint(77))),
        (vec![3], BuildError::LockedUtxo(outpoint(3))),
        (vec![4], BuildError::SpentUtxo(outpoint(4))),
        (vec![5], BuildError::ForeignUnconfirmed(outpoint(5))),
    ];
    for (numbers, error) in refused {
        assert_eq!(build(&numbers, false), Err(error.clone()));
        assert_eq!(error.code(), -32602);
    }
}

#[test]
fn an_anchor_to_remote_output_waits_a_block_and_says_so_in_its_sequence() {
    let close = CloseKey {
        channel: ChannelId([1; 32]),
        peer: NodeId(key(3)),
        anchors: true,
    };
    let fresh = Utxo {
        key: KeyRef::Close(close),
        status: Status::Unconfirmed,
        ours: true,
        ..coin(0, 80_000)
    };
    let any = Policy {
        inputs: Inputs::Any { minconf: 0 },
        ..policy(253)
    };
    let set = UtxoSet::restore(TIP, [fresh.clone()]);
    assert!(withdraw(&set, sat(10_000), &any).is_err());
    let confirmed = Utxo {
        status: Status::Confirmed { height: TIP },
        ..fresh
    };
    let built = withdraw(&UtxoSet::restore(TIP, [confirmed]), sat(10_000), &any).unwrap();
    assert_eq!(built.tx.input[0].sequence, Sequence::from_height(1));
}

#[test]
fn a_funding_takes_its_script_later_and_all_stops_at_the_limit() {
    let funding = Recipient {
        script: placeholder_funding_script(),
        amount: Amount::All,
    };
    let build = |limit| {
        let mut rng = StdRng::seed_from_u64(1);
        build_funding(&set(&[30_000_000]), &funding, limit, &policy(253), &mut rng)
    };
    let mut built = build(Some(Satoshi(16_777_215))).unwrap();
    assert_eq!(built.recipient(0).unwrap().value.to_sat(), 16_777_215);
    assert!(built.change.is_some());
    let real = ScriptBuf::new_p2wsh(&WScriptHash::from_byte_array([8; 32]));
    assert!(built.set_script(0, real.clone()));
    assert_eq!(built.recipient(0).unwrap().script_pubkey, real);
    assert!(!built.set_script(0, p2wpkh(1)));
    assert!(!built.set_script(1, real));
    assert!(build(None).unwrap().change.is_none());
}

#[test]
fn more_inputs_than_nodes_relay_are_refused() {
    let error = withdraw(&set(&vec![10_000; 2000]), Amount::All, &policy(253)).unwrap_err();
    assert!(matches!(error, BuildError::TooHeavy { .. }));
}

fn any_coin() -> impl Strategy<Value = Utxo> {
    let value = prop_oneof![
        300u64..2_000,
        2_000u64..200_000,
        1_000_000u64..5_000_000_000
    ];
    let kind = prop_oneof![Just(KeyKind::P2tr), Just(KeyKind::P2wpkh)];
    (value, kind, 0u8..10, any::<bool>()).prop_map(|(value, kind, fate, ours)| {
        let script = match kind {
            KeyKind::P2tr => p2tr(1),
            KeyKind::P2wpkh => p2wpkh(1),
        };
        let by = Txid::from_byte_array([1; 32]);
        let base = coin(0, value);
        let status = match fate {
            0 => Status::Unconfirmed,
            1 => Status::Spent {
                by,
                confirmed: Some(BlockHeight(900)),
                at: None,
            },
            _ => base.status,
        };
        let reserved_until = (fate == 2).then_some(BlockHeight(1001));
        let coinbase = fate == 3;
        let status = if coinbase {
            Status::Confirmed {
                height: BlockHeight(950),
            }
        } else {
            status
        };
        let key = KeyRef::Wallet { index: 0, kind };
        Utxo {
            key,
            script,
            status,
            ours,
            reserved_until,
            coinbase,
            ..base
        }
    })
}

fn any_recipients() -> impl Strategy<Value = Vec<Recipient>> {
    let amount = prop_oneof![
        4 => (330u64..3_000_000).prop_map(sat),
        1 => Just(Amount::All),
    ];
    prop::collection::vec(
        (amount, 0u8..3).prop_map(|(amount, kind)| {
            let script = match kind {
                0 => p2tr(4),
                1 => p2wpkh(4),
                _ => placeholder_funding_script(),
            };
            Recipient { script, amount }
        }),
        1..4,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_built_transaction_adds_up_and_pays_the_rate_it_was_asked_for(
        coins in prop::collection::vec(any_coin(), 0..40),
        recipients in any_recipients(),
        feerate in prop_oneof![Just(253u32), 253u32..50_000],
        minconf in 0u32..2,
        reserve in prop_oneof![Just(0u64), Just(25_000u64)],
        seed in any::<u64>(),
    ) {
        let coins = coins.into_iter().enumerate().map(|(n, mut c)| {
            c.outpoint.vout = n as u32;
            c
        });
        let set = UtxoSet::restore(TIP, coins);
        let policy = Policy {
            inputs: Inputs::Any { minconf },
            emergency_reserve: Satoshi(reserve),
            ..policy(feerate)
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let built = match build_withdraw(&set, &recipients, &policy, &mut rng) {
            Ok(built) => built,
            Err(BuildError::CannotAfford { short, .. }) => {
                // True: not even all that may be spent is enough.
                let worth: i64 = set.spendable(minconf)
                    .map(|c| c.value.0 as i64
                        - weight::fee(policy.feerate, c.input_weight()).0 as i64)
                    .filter(|v| *v > 0)
                    .sum();
                let wanted: u64 = recipients.iter().map(|r| match r.amount {
                    Amount::Exactly(sat) => sat.0,
                    Amount::All => 0,
                }).sum();
                prop_assert!(short.0 > 0);
                prop_assert!(worth <= wanted as i64 + weight::fee(policy.feerate, 1000).0 as i64);
                return Ok(());
            }
            Err(_) => return Ok(()),
        };

        // Inputs are outputs and fee.
        let inputs: u64 = built.inputs.iter().map(|c| c.value.0).sum();
        let outputs: u64 = built.tx.output.iter().map(|o| o.value.to_sat()).sum();
        prop_assert_eq!(inputs, outputs + built.fee.0);

        // The weight is that of a transaction with full witnesses.
        let mut full = built.tx.clone();
        for (input, coin) in full.input.iter_mut().zip(&built.inputs) {
            prop_assert_eq!(input.previous_output, coin.outpoint);
            input.witness = match &coin.key {
                KeyRef::Wallet { kind: KeyKind::P2tr, .. } => Witness::from_slice(&[vec![0; 64]]),
                _ => Witness::from_slice(&[vec![0; 72], vec![0; 33]]),
            };
        }
        prop_assert_eq!(full.weight().to_wu(), built.signed_weight());

        // The rate is at least what was asked for and at most a dust change above it.
        let least = weight::fee(policy.feerate, built.signed_weight()).0;
        let change_weight = weight::output(&policy.change.script);
        let slack = match built.change {
            Some(_) => 0,
            None => weight::fee(policy.feerate, change_weight + 8).0 + 330,
        };
        prop_assert!(built.fee.0 >= least);
        prop_assert!(built.fee.0 <= least + slack, "{} {} {}", built.fee.0, least, slack);

        // No dust, and everybody gets what was asked for.
        for output in &built.tx.output {
            prop_assert!(output.value >= output.script_pubkey.minimal_non_dust());
        }
        for (i, recipient) in recipients.iter().enumerate() {
            let output = built.recipient(i).unwrap();
            prop_assert_eq!(&output.script_pubkey, &recipient.script);
            if let Amount::Exactly(sat) = recipient.amount {
                prop_assert_eq!(output.value.to_sat(), sat.0);
            }
        }
        let places: BTreeSet<u32> =
            built.recipients.iter().copied().chain(built.change.iter().map(|c| c.vout)).collect();
        prop_assert_eq!(places.len(), built.tx.output.len());

        // Only coins of the set that may be spent, each once.
        let free: BTreeMap<OutPoint, &Utxo> =
            set.spendable(minconf).map(|c| (c.outpoint, c)).collect();
        let mut seen = BTreeSet::new();
        for coin in &built.inputs {
            prop_assert_eq!(free.get(&coin.outpoint).copied(), Some(coin));
            prop_assert!(seen.insert(coin.outpoint));
        }

        // The reserve is left.
        let left: u64 =
            set.spendable(1).filter(|c| !seen.contains(&c.outpoint)).map(|c| c.value.0).sum();
        prop_assert!(left + built.change.map_or(0, |c| c.value.0) >= reserve);

        // The locktime is the tip or at most 99 blocks below it, and replacement is signalled.
        let locktime = built.tx.lock_time.to_consensus_u32();
        prop_assert!(locktime <= TIP.0 && locktime > TIP.0 - 100);
        prop_assert!(built.tx.input.iter().all(|i| i.sequence.0 == 0xffff_fffd));
    }
}
