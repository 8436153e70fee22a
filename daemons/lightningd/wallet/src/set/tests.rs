use bitcoin::hashes::Hash;
use bitcoin::{Amount, Sequence, TxIn, TxOut, Witness, absolute, transaction};
use proptest::prelude::*;

use super::*;
use crate::utxo::{KeyKind, RESERVATION_BLOCKS};

fn script(index: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([index; 20]))
}

/// Keys 0 to 99 are ours.
fn owner(script: &Script) -> Option<KeyRef> {
    let index = *script.as_bytes().get(2)?;
    (index < 100).then_some(KeyRef::Wallet {
        index: index.into(),
        kind: KeyKind::P2wpkh,
    })
}

fn outpoint(seed: u8) -> OutPoint {
    OutPoint {
        txid: Txid::from_byte_array([seed; 32]),
        vout: 0,
    }
}

fn tx(inputs: &[OutPoint], outputs: &[(u8, u64)]) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: inputs
            .iter()
            .map(|previous_output| TxIn {
                previous_output: *previous_output,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            })
            .collect(),
        output: outputs
            .iter()
            .map(|(key, value)| TxOut {
                value: Amount::from_sat(*value),
                script_pubkey: script(*key),
            })
            .collect(),
    }
}

fn coin_of(tx: &Transaction, vout: u32) -> OutPoint {
    OutPoint {
        txid: tx.compute_txid(),
        vout,
    }
}

fn values(set: &UtxoSet, minconf: u32) -> Vec<u64> {
    let mut values: Vec<u64> = set.spendable(minconf).map(|c| c.value.0).collect();
    values.sort_unstable();
    values
}

fn height(h: u32) -> BlockHeight {
    BlockHeight(h)
}

/// A set with one confirmed coin of 1000 at height 10, and the transaction that pays it.
fn funded() -> (UtxoSet, Transaction) {
    let mut set = UtxoSet::default();
    let pay = tx(&[outpoint(200)], &[(1, 1000), (150, 5000)]);
    let changes = set.apply_block(height(10), [&pay], owner);
    assert_eq!(changes.len(), 1);
    (set, pay)
}

#[test]
fn a_block_brings_and_spends_coins() {
    let (mut set, pay) = funded();
    assert_eq!(values(&set, 1), [1000]);
    let spend = tx(&[coin_of(&pay, 0)], &[(2, 400), (151, 500)]);
    let changes = set.apply_block(height(11), [&spend], owner);
    assert_eq!(changes.len(), 2);
    assert_eq!(values(&set, 1), [400]);
    assert_eq!(set.funds(false).count(), 1);
    assert_eq!(
        set.funds(true)
            .filter(|f| f.status == FundStatus::Spent)
            .count(),
        1
    );
}

#[test]
fn a_spent_coin_is_kept_until_no_reorganization_can_free_it() {
    let (mut set, pay) = funded();
    let spend = tx(&[coin_of(&pay, 0)], &[(2, 400)]);
    let _ = set.add_broadcast(&spend, owner);
    let _ = set.apply_block(height(10 + SPENT_KEPT), [], owner);
    assert_eq!(set.iter().count(), 2, "a spend in no block may be undone");
    let spent_at = 11 + SPENT_KEPT;
    let _ = set.apply_block(height(spent_at), [&spend], owner);
    let changes = set.apply_block(height(spent_at + SPENT_KEPT - 1), [], owner);
    assert_eq!(changes, []);
    let changes = set.apply_block(height(spent_at + SPENT_KEPT), [], owner);
    assert_eq!(changes, [Change::Remove(coin_of(&pay, 0))]);
    assert_eq!(values(&set, 1), [400]);
}

#[test]
fn a_coin_may_be_spent_in_the_block_that_brings_it() {
    let mut set = UtxoSet::default();
    let pay = tx(&[outpoint(200)], &[(1, 1000)]);
    let spend = tx(&[coin_of(&pay, 0)], &[(2, 900)]);
    let _ = set.apply_block(height(10), [&pay, &spend], owner);
    assert_eq!(values(&set, 0), [900]);
    assert!(set.get(&coin_of(&spend, 0)).unwrap().ours);
}

#[test]
fn our_own_change_may_be_spent_unconfirmed_and_other_peoples_payments_not() {
    let (mut set, pay) = funded();
    let spend = tx(&[coin_of(&pay, 0)], &[(2, 900)]);
    let _ = set.add_broadcast(&spend, owner);
    assert_eq!(values(&set, 0), [900]);
    assert_eq!(values(&set, 1), [0; 0]);

    let (mut set, _) = funded();
    set.disconnect_block(height(10)).unwrap();
    assert_eq!(
        set.funds(false).next().unwrap().status,
        FundStatus::Unconfirmed
    );
    assert_eq!(values(&set, 0), [0; 0]);
}

#[test]
fn a_disconnected_spend_stays_spent_until_something_else_confirms() {
    let (mut set, pay) = funded();
    let spend = tx(&[coin_of(&pay, 0)], &[(2, 900)]);
    let _ = set.apply_block(height(11), [&spend], owner);
    set.disconnect_block(height(11)).unwrap();
    assert_eq!(set.tip(), height(10));
    assert_eq!(values(&set, 0), [900]);
    // Another transaction takes the coin: the first one's change never was.
    let other = tx(&[coin_of(&pay, 0)], &[(3, 800)]);
    let changes = set.apply_block(height(11), [&other], owner);
    assert!(changes.contains(&Change::Remove(coin_of(&spend, 0))));
    assert_eq!(values(&set, 0), [800]);
}

#[test]
fn a_conflict_takes_everything_with_it_that_was_built_on_it() {
    let mut set = UtxoSet::default();
    let pay = tx(&[outpoint(200)], &[(1, 1000), (2, 2000), (3, 3000)]);
    let _ = set.apply_block(height(10), [&pay], owner);
    let first = tx(&[coin_of(&pay, 0), coin_of(&pay, 1)], &[(4, 2900)]);
    let second = tx(&[coin_of(&first, 0), coin_of(&pay, 2)], &[(5, 5800)]);
    let _ = set.add_broadcast(&first, owner);
    let _ = set.add_broadcast(&second, owner);
    assert_eq!(values(&set, 0), [5800]);
    let thief = tx(&[coin_of(&pay, 0)], &[(150, 900)]);
    let _ = set.apply_block(height(11), [&thief], owner);
    assert_eq!(values(&set, 0), [2000, 3000]);
}

#[test]
fn an_abandoned_transaction_frees_its_coins() {
    let (mut set, pay) = funded();
    let before = set.clone();
    let spend = tx(&[coin_of(&pay, 0)], &[(2, 900)]);
    let _ = set.add_broadcast(&spend, owner);
    let _ = set.abandon(spend.compute_txid());
    assert_eq!(set, before);
    // One that is in a block cannot be abandoned.
    let _ = set.apply_block(height(11), [&spend], owner);
    let confirmed = set.clone();
    let _ = set.abandon(spend.compute_txid());
    assert_eq!(set, confirmed);
}

#[test]
fn a_claim_that_is_over_frees_its_coins_unless_a_block_has_their_spend() {
    let (mut set, pay) = funded();
    let coin = coin_of(&pay, 0);
    let before = set.clone();
    let _ = set.reserve(&[coin], RESERVATION_BLOCKS, true).unwrap();
    let _ = set.free(&[coin]);
    assert_eq!(set, before);
    // Its other input is a channel's, where something else may take the claim's place.
    let claim = tx(&[outpoint(200), coin], &[(2, 900)]);
    let _ = set.apply_block(height(11), [&claim], owner);
    let mined = set.clone();
    let _ = set.free(&[coin]);
    assert_eq!(set, mined);
    set.disconnect_block(height(11)).unwrap();
    let changes = set.free(&[coin]);
    assert!(changes.contains(&Change::Remove(coin_of(&claim, 0))));
    assert_eq!(set, before);
}

#[test]
fn a_coinbase_ripens_for_a_hundred_blocks_and_dies_with_its_block() {
    let mut set = UtxoSet::default();
    let coinbase = tx(&[OutPoint::null()], &[(1, 5_000_000_000)]);
    let _ = set.apply_block(height(10), [&coinbase], owner);
    assert_eq!(
        set.funds(false).next().unwrap().status,
        FundStatus::Immature
    );
    let none: [&Transaction; 0] = [];
    let _ = set.apply_block(height(108), none, owner);
    assert_eq!(values(&set, 0), [0; 0]);
    let _ = set.apply_block(height(109), none, owner);
    assert_eq!(values(&set, 0), [5_000_000_000]);

    let mut set = UtxoSet::default();
    let _ = set.apply_block(height(10), [&coinbase], owner);
    let changes = set.disconnect_block(height(10)).unwrap();
    assert_eq!(changes, [Change::Remove(coin_of(&coinbase, 0))]);
}

#[test]
fn a_reservation_ends_by_itself_and_is_longer_when_repeated() {
    let (mut set, pay) = funded();
    let coin = [coin_of(&pay, 0)];
    let (reports, changes) = set.reserve(&coin, RESERVATION_BLOCKS, true).unwrap();
    assert_eq!(changes.len(), 1);
    assert!(!reports[0].was_reserved);
    assert_eq!(reports[0].until, Some(height(82)));
    assert_eq!(values(&set, 0), [0; 0]);
    assert_eq!(
        set.reserve(&coin, 1, true),
        Err(SetError::Reserved {
            outpoint: coin[0],
            until: height(82)
        })
    );
    let (reports, _) = set.reserve(&coin, RESERVATION_BLOCKS, false).unwrap();
    assert!(reports[0].was_reserved);
    assert_eq!(reports[0].until, Some(height(154)));
    let (reports, _) = set.unreserve(&coin, RESERVATION_BLOCKS).unwrap();
    assert_eq!(reports[0].until, Some(height(82)));
    let none: [&Transaction; 0] = [];
    let _ = set.apply_block(height(82), none, owner);
    assert_eq!(values(&set, 0), [1000]);
    assert_eq!(
        set.unreserve(&[outpoint(9)], 1),
        Err(SetError::Unknown(outpoint(9)))
    );
}

#[test]
fn a_disconnected_block_must_be_the_tip() {
    let (mut set, _) = funded();
    assert_eq!(
        set.disconnect_block(height(9)),
        Err(SetError::NotTheTip {
            given: height(9),
            tip: height(10)
        })
    );
}

/// Which unspent coins a transaction spends, and its outputs.
type Draft = (Vec<prop::sample::Index>, Vec<(u8, u64)>);

#[derive(Clone, Debug)]
enum Step {
    Block(Vec<Draft>),
    Disconnect,
    Broadcast(Draft),
}

fn step() -> impl Strategy<Value = Step> {
    let inputs = || prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    let outputs = || prop::collection::vec((0u8..200, 1u64..1_000_000), 1..4);
    prop_oneof![
        3 => prop::collection::vec((inputs(), outputs()), 0..4).prop_map(Step::Block),
        1 => Just(Step::Disconnect),
        1 => (inputs(), outputs()).prop_map(Step::Broadcast),
    ]
}

/// A transaction over coins that the set has unspent, and one input from elsewhere.
fn build(
    set: &UtxoSet,
    serial: u32,
    picks: &[prop::sample::Index],
    out: &[(u8, u64)],
) -> Transaction {
    let unspent: Vec<OutPoint> = set
        .iter()
        .filter(|c| !c.is_spent())
        .map(|c| c.outpoint)
        .collect();
    let mut inputs = vec![OutPoint {
        vout: serial,
        ..outpoint(250)
    }];
    if !unspent.is_empty() {
        inputs.extend(picks.iter().map(|p| *p.get(&unspent)));
        inputs.sort_unstable();
        inputs.dedup();
    }
    tx(&inputs, out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The list of changes is complete (a database that follows it holds the same set), applying
    /// a block twice changes nothing, and disconnecting gives back the coins that were confirmed.
    #[test]
    fn the_changes_tell_the_database_everything(steps in prop::collection::vec(step(), 1..25)) {
        let mut set = UtxoSet::default();
        let mut database: BTreeMap<OutPoint, Utxo> = BTreeMap::new();
        let mut serial = 0;
        let mut snapshots: Vec<BTreeSet<OutPoint>> = Vec::new();
        let confirmed = |set: &UtxoSet| -> BTreeSet<OutPoint> {
            set.iter()
                .filter(|c| matches!(c.status, Status::Confirmed { .. }
                    | Status::Spent { confirmed: Some(_), .. }))
                .map(|c| c.outpoint)
                .collect()
        };
        for step in steps {
            let changes = match step {
                Step::Block(txs) => {
                    snapshots.push(confirmed(&set));
                    let next = BlockHeight(set.tip().0 + 1);
                    let mut block: Vec<Transaction> = Vec::new();
                    let mut used = BTreeSet::new();
                    for (picks, out) in &txs {
                        serial += 1;
                        let tx = build(&set, serial, picks, out);
                        // No two transactions of one block spend the same coin.
                        if tx.input.iter().all(|i| used.insert(i.previous_output)) {
                            block.push(tx);
                        }
                    }
                    let changes = set.apply_block(next, &block, owner);
                    let once = set.clone();
                    let _ = set.apply_block(next, &block, owner);
                    prop_assert_eq!(&once, &set);
                    changes
                }
                Step::Disconnect => {
                    let Some(before) = snapshots.pop() else { continue };
                    let changes = set.disconnect_block(set.tip()).unwrap();
                    let now = confirmed(&set);
                    prop_assert!(now.is_subset(&before));
                    changes
                }
                Step::Broadcast((picks, out)) => {
                    serial += 1;
                    let tx = build(&set, serial, &picks, &out);
                    set.add_broadcast(&tx, owner)
                }
            };
            for change in changes {
                match change {
                    Change::Put(coin) => { database.insert(coin.outpoint, coin); }
                    Change::Remove(outpoint) => { database.remove(&outpoint); }
                }
            }
            let restored = UtxoSet::restore(set.tip(), database.values().cloned());
            prop_assert_eq!(&restored, &set);
        }
    }
}

#[test]
fn a_transaction_is_in_conflict_once_a_block_has_another_that_spends_its_coin() {
    let (mut set, pay) = funded();
    let ours = tx(&[coin_of(&pay, 0)], &[(2, 400)]);
    let other = tx(&[coin_of(&pay, 0)], &[(151, 900)]);
    let _ = set.add_broadcast(&ours, owner);
    assert_eq!(set.conflict(&ours), None);
    assert_eq!(set.conflict(&other), None, "a broadcast decides nothing");
    let _ = set.apply_block(height(12), [&other], owner);
    assert_eq!(set.conflict(&ours), Some(height(12)));
    assert_eq!(set.conflict(&other), None);
    set.disconnect_block(height(12)).unwrap();
    assert_eq!(set.conflict(&ours), None);
}
