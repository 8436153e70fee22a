//! What may leave the wallet: rules W1, W2, W4, W5 and W7, and what the operator can say (A2, S2).

use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut};
use secp256k1::{Message, PublicKey, SECP256K1, XOnlyPublicKey};
use tx::setup::{CommitmentFormat, Funding};
use tx::signer::Request;
use wire::{FeeratePerKw, MilliSatoshi, Satoshi, Side};

use super::fixture::{Node, Pair, VALUE};
use super::spend::{addresses, coin, outpoint, output, spend};
use crate::{Allowance, DEFAULT, Refused, Rule, UnixTime};
use hsm_messages::limits::{Approvable, Limit, Limits, Payout};
use hsm_messages::wallet::AddressKind;

const NOW: UnixTime = UnixTime(1_800_000_000);
const DAY: u64 = 24 * 60 * 60 + 15 * 60;

/// Somebody else's.
fn foreign(n: u8) -> ScriptBuf {
    ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::from_byte_array([n; 32]))
}

/// A node with three addresses, at [`NOW`].
fn node() -> Node {
    let mut node = Node::new();
    addresses(&mut node);
    node.hsm().set_now(NOW);
    node
}

fn later(node: &mut Node, seconds: u64) {
    let now = node.hsm().now();
    node.hsm().set_now(UnixTime(now.0 + seconds));
}

/// Spends coin `n`, which has `outputs` and a fee of 500.
fn pay(node: &mut Node, n: u8, outputs: Vec<TxOut>) -> Result<(), Refused> {
    pay_with(node, n, 500, outputs)
}

fn pay_with(node: &mut Node, n: u8, fee: u64, outputs: Vec<TxOut>) -> Result<(), Refused> {
    let sum: u64 = outputs.iter().map(|output| output.value.to_sat()).sum();
    // A coin's amount is what it was at first; what is over comes back.
    let value = 30_000_000;
    let change = node.hsm().wallet.address(0).unwrap().p2tr;
    let mut outputs = outputs;
    outputs.push(output(value - sum - fee, &change));
    let tx = spend(&[n], outputs);
    let coins = [coin(value, 1, AddressKind::P2tr)];
    node.hsm().sign_spend(&tx, &coins).map(drop)
}

fn limit(node: &mut Node, withdraw: u64) {
    let limits = Limits {
        withdraw_per_day: Limit::Exactly(Satoshi(withdraw)),
        ..node.hsm().limits()
    };
    node.hsm().set_limits(limits).unwrap();
}

fn used(node: &mut Node) -> u64 {
    node.hsm().standing(Allowance::Withdrawals).used.0 / 1000
}

/// The rule, while nothing changes.
fn refused(node: &mut Node, n: u8, outputs: Vec<TxOut>) -> Rule {
    let (before, len) = (node.hsm().state.clone(), node.journal_len());
    let rule = pay(node, n, outputs).unwrap_err().rule();
    assert_eq!(node.hsm().state, before, "a refusal changed something");
    assert_eq!(node.journal_len(), len, "a refusal was recorded");
    rule
}

fn approval(script: &ScriptBuf, value: u64) -> Approvable {
    let payout = Payout {
        script: script.clone(),
        value: Satoshi(value),
    };
    Approvable::Spend {
        payouts: vec![payout],
        fee: Satoshi(1000),
    }
}

#[test]
fn w1_an_output_that_nobody_allowed_is_refused() {
    let mut node = node();
    limit(&mut node, 0);
    assert_eq!(
        refused(&mut node, 1, vec![output(1, &foreign(1))]),
        Rule::W1
    );
    // The wallet's own next address is nobody's until it is handed out.
    let next = node.hsm().state.next_address;
    let ours = node.hsm().wallet.address(next).unwrap().p2wpkh;
    assert_eq!(refused(&mut node, 1, vec![output(1, &ours)]), Rule::W1);
}

#[test]
fn w1_outputs_to_the_wallet_and_to_the_allowlist_are_not_charged() {
    let mut node = node();
    let to = foreign(1);
    node.hsm().allow(to.clone()).unwrap();
    let ours = node.hsm().get_address().unwrap().p2wpkh;
    limit(&mut node, 500);
    pay(
        &mut node,
        1,
        vec![output(20_000_000, &to), output(1000, &ours)],
    )
    .unwrap();
    assert_eq!(used(&mut node), 500, "the fee");
    limit(&mut node, 0);
    node.hsm().disallow(to.clone());
    let once = node.journal_len();
    node.hsm().disallow(to.clone());
    assert_eq!(node.journal_len(), once);
    assert_eq!(refused(&mut node, 2, vec![output(1, &to)]), Rule::W1);
}

#[test]
fn w1_only_scripts_with_an_address_are_allowed_and_not_without_end() {
    let mut node = node();
    let unspendable = ScriptBuf::new_op_return([1; 20]);
    assert_eq!(node.hsm().allow(unspendable).unwrap_err().rule(), Rule::W1);
    let script = |n: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::from_byte_array(bytes))
    };
    for n in 0..1000 {
        node.hsm().allow(script(n)).unwrap();
    }
    node.hsm().allow(script(7)).unwrap();
    assert_eq!(node.hsm().allow(script(1000)).unwrap_err().rule(), Rule::W1);
}

#[test]
fn w1_what_nobody_could_read_is_refused() {
    let mut node = node();
    let many = vec![output(1, &foreign(1)); 257];
    assert_eq!(refused(&mut node, 1, many), Rule::W1);
    let long = vec![output(1, &ScriptBuf::from_bytes(vec![0x51; 84]))];
    assert_eq!(refused(&mut node, 1, long), Rule::W1);
    pay(&mut node, 1, vec![output(1, &foreign(1)); 256]).unwrap();
}

#[test]
fn w1_an_approved_transaction_is_signed_once() {
    let mut node = node();
    limit(&mut node, 10_000);
    let (to, other) = (foreign(1), foreign(2));
    assert_eq!(
        refused(&mut node, 1, vec![output(20_000_000, &to)]),
        Rule::W4
    );
    node.hsm().allow_once(approval(&to, 20_000_000));
    // Not another script, not more, not beside something else, not with a fee beyond.
    assert_eq!(
        refused(&mut node, 1, vec![output(20_000_000, &other)]),
        Rule::W4
    );
    assert_eq!(
        refused(&mut node, 1, vec![output(20_000_001, &to)]),
        Rule::W4
    );
    let beside = vec![output(20_000_000, &to), output(1, &other)];
    assert_eq!(refused(&mut node, 1, beside), Rule::W4);
    let twice = vec![output(12_000_000, &to), output(12_000_000, &to)];
    assert_eq!(refused(&mut node, 1, twice), Rule::W4);
    let dear = pay_with(&mut node, 1, 1001, vec![output(20_000_000, &to)]);
    assert_eq!(dear.unwrap_err().rule(), Rule::W4);
    node.restart();
    node.hsm().set_now(NOW);
    pay(&mut node, 1, vec![output(20_000_000, &to)]).unwrap();
    assert_eq!(used(&mut node), 0, "it is not charged");
    // Again, and in its place with more for the miners, as after a restart.
    node.restart();
    node.hsm().set_now(NOW);
    pay(&mut node, 1, vec![output(20_000_000, &to)]).unwrap();
    pay_with(&mut node, 1, 900, vec![output(20_000_000, &to)]).unwrap();
    // Other coins would pay a second time; the same coins pay nobody else.
    assert_eq!(
        refused(&mut node, 2, vec![output(20_000_000, &to)]),
        Rule::W4
    );
    assert_eq!(
        refused(&mut node, 1, vec![output(20_000_000, &other)]),
        Rule::W4
    );
}

#[test]
fn w1_an_approval_is_good_for_a_day() {
    let mut node = node();
    limit(&mut node, 0);
    let to = foreign(1);
    node.hsm().allow_once(approval(&to, 50_000));
    later(&mut node, 24 * 60 * 60);
    assert_eq!(refused(&mut node, 1, vec![output(50_000, &to)]), Rule::W1);
    node.hsm().allow_once(approval(&to, 50_000));
    later(&mut node, 24 * 60 * 60 - 1);
    pay(&mut node, 1, vec![output(50_000, &to)]).unwrap();
}

#[test]
fn w2_a_fee_above_a_cap_is_refused() {
    let mut node = node();
    let ours = node.hsm().get_address().unwrap().p2tr;
    let limits = Limits {
        max_fee: Satoshi(10_000),
        max_feerate: FeeratePerKw(10_000),
        ..DEFAULT
    };
    node.hsm().set_limits(limits).unwrap();
    let mut with_fee = |outputs: usize, fee| {
        let outputs = vec![output(1000, &ours); outputs];
        pay_with(&mut node, 1, fee, outputs)
    };
    // 616 weight units with two P2TR outputs.
    assert!(matches!(
        with_fee(1, 6300),
        Err(Refused::SpendFeerate { .. })
    ));
    with_fee(1, 6100).unwrap();
    assert!(matches!(
        with_fee(50, 10_001),
        Err(Refused::SpendFee { .. })
    ));
    assert_eq!(with_fee(50, 10_001).unwrap_err().rule(), Rule::W2);
    with_fee(50, 10_000).unwrap();
}

#[test]
fn w2_an_approval_does_not_lift_the_caps_on_fees() {
    let mut node = node();
    let to = foreign(1);
    let approved = |fee| Approvable::Spend {
        payouts: vec![Payout {
            script: to.clone(),
            value: Satoshi(1000),
        }],
        fee: Satoshi(fee),
    };
    node.hsm().allow_once(approved(20_000_000));
    let mut with_fee = |fee| pay_with(&mut node, 1, fee, vec![output(1000, &to)]);
    assert!(matches!(with_fee(500_001), Err(Refused::SpendFee { .. })));
    assert!(matches!(
        with_fee(100_000),
        Err(Refused::SpendFeerate { .. })
    ));
}

#[test]
fn w2_the_caps_on_fees_have_bounds_that_nobody_moves() {
    let mut node = node();
    let mut set = |change: &dyn Fn(&mut Limits)| {
        let mut limits = DEFAULT;
        change(&mut limits);
        node.hsm().set_limits(limits).map_err(|error| error.rule())
    };
    let refused = Err(Rule::W2);
    assert_eq!(set(&|limits| limits.max_fee = Satoshi(10_000_001)), refused);
    assert_eq!(set(&|limits| limits.max_fee = Satoshi(999)), refused);
    assert_eq!(
        set(&|limits| limits.max_feerate = FeeratePerKw(250_001)),
        refused
    );
    assert_eq!(
        set(&|limits| limits.max_feerate = FeeratePerKw(999)),
        refused
    );
    let too_much = Limit::Exactly(Satoshi(u64::MAX));
    assert_eq!(set(&|limits| limits.pay_per_day = too_much), refused);
    assert_eq!(
        set(&|limits| limits.max_feerate = FeeratePerKw(250_000)),
        Ok(())
    );
}

#[test]
fn w4_what_leaves_in_a_day_is_limited() {
    let mut node = node();
    limit(&mut node, 100_000);
    let to = foreign(1);
    pay(&mut node, 1, vec![output(60_000, &to)]).unwrap();
    later(&mut node, 3600);
    assert_eq!(refused(&mut node, 2, vec![output(39_001, &to)]), Rule::W4);
    pay(&mut node, 2, vec![output(39_000, &to)]).unwrap();
    // Fees leave too, of whatever transaction.
    assert_eq!(refused(&mut node, 3, vec![]), Rule::W4);
    later(&mut node, DAY - 3600);
    assert_eq!(refused(&mut node, 3, vec![output(60_001, &to)]), Rule::W4);
    pay(&mut node, 3, vec![output(60_000, &to)]).unwrap();
}

#[test]
fn w4_the_refusal_names_the_limit_what_is_left_and_the_way_out() {
    let mut node = node();
    limit(&mut node, 100_000);
    let to = foreign(1);
    pay(&mut node, 1, vec![output(60_000, &to)]).unwrap();
    let refusal = pay(&mut node, 2, vec![output(70_000, &to)]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "70500000msat would leave the wallet, and 39500000msat is left of the 100000sat that may \
         in 24 hours; the operator can allow it: lightning-hsmtool approve 1"
    );
    // The same keeps its number.
    pay(&mut node, 3, vec![output(90_000, &to)]).unwrap_err();
    pay(&mut node, 2, vec![output(70_000, &to)]).unwrap_err();
    let list: Vec<_> = node.hsm().refusals().cloned().collect();
    assert_eq!(
        list.iter()
            .map(|refusal| refusal.number)
            .collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(list[1].what, approval(&to, 70_000));
    node.hsm().allow_once(list[1].what.clone());
    pay(&mut node, 2, vec![output(70_000, &to)]).unwrap();
    assert_eq!(
        node.hsm().refusals().count(),
        1,
        "what is approved is off the list"
    );
}

#[test]
fn w4_the_same_transaction_is_charged_once() {
    let mut node = node();
    limit(&mut node, 100_000);
    let to = foreign(1);
    for _ in 0..3 {
        pay(&mut node, 1, vec![output(60_000, &to)]).unwrap();
    }
    node.restart();
    node.hsm().set_now(NOW);
    let len = node.journal_len();
    pay(&mut node, 1, vec![output(60_000, &to)]).unwrap();
    assert_eq!(used(&mut node), 60_500);
    assert_eq!(node.journal_len(), len, "nothing new");
}

#[test]
fn w4_a_replacement_of_the_same_coins_is_charged_what_it_takes_more() {
    let mut node = node();
    limit(&mut node, 100_000);
    let to = foreign(1);
    pay_with(&mut node, 1, 500, vec![output(60_000, &to)]).unwrap();
    pay_with(&mut node, 1, 2000, vec![output(60_000, &to)]).unwrap();
    assert_eq!(used(&mut node), 62_000);
    pay_with(&mut node, 1, 3000, vec![output(10_000, &to)]).unwrap();
    assert_eq!(used(&mut node), 62_000, "less than before");
    // The first may get into a block after all: what it took stays charged.
    assert_eq!(refused(&mut node, 2, vec![output(38_000, &to)]), Rule::W4);
    assert_eq!(refused(&mut node, 1, vec![output(99_501, &to)]), Rule::W4);
    pay(&mut node, 1, vec![output(99_500, &to)]).unwrap();
    assert_eq!(used(&mut node), 100_000);
}

#[test]
fn w4_one_charge_does_not_cover_two_transactions_that_can_both_get_into_a_block() {
    let mut node = node();
    limit(&mut node, 100_000);
    let to = foreign(1);
    let kind = AddressKind::P2tr;
    let value = 200_000;
    let sign = |node: &mut Node, coins: &[u8]| {
        let change = node.hsm().wallet.address(0).unwrap().p2tr;
        let change = output(value * coins.len() as u64 - 60_500, &change);
        let tx = spend(coins, vec![output(60_000, &to), change]);
        let coins = vec![coin(value, 1, kind); coins.len()];
        node.hsm()
            .sign_spend(&tx, &coins)
            .map_err(|error| error.rule())
    };
    sign(&mut node, &[1, 2]).unwrap();
    // Either coin alone conflicts with it, but not with each other.
    sign(&mut node, &[1]).unwrap();
    assert_eq!(used(&mut node), 60_500);
    assert_eq!(sign(&mut node, &[2]), Err(Rule::W4));
}

#[test]
fn w4_the_limit_in_proportion_is_half_of_what_the_node_holds_and_at_least_the_floor() {
    let mut node = node();
    let to = foreign(1);
    let kind = AddressKind::P2tr;
    let one = |node: &mut Node, n: u8, value: u64, sent: u64| {
        let change = node.hsm().wallet.address(0).unwrap().p2tr;
        let change = output(value - sent - 500, &change);
        let tx = spend(&[n], vec![output(sent, &to), change]);
        let coins = [coin(value, 1, kind)];
        node.hsm()
            .sign_spend(&tx, &coins)
            .map_err(|error| error.rule())
    };
    // The floor serves a node that holds nearly nothing.
    one(&mut node, 1, 1_000_000, 999_000).unwrap();
    assert_eq!(one(&mut node, 2, 1_000_000, 999_000), Err(Rule::W4));
    later(&mut node, DAY);
    // What is spent now counts with what was seen before.
    let seen = coin(6_000_000, 1, kind);
    node.hsm().see_coins(&[(outpoint(3), seen)]).unwrap();
    node.hsm().see_coins(&[(outpoint(3), seen)]).unwrap();
    assert_eq!(
        node.hsm().state.holds(),
        Satoshi(6_000_500),
        "with change of 500"
    );
    assert_eq!(one(&mut node, 4, 2_000_000, 1_999_000).map(drop), Ok(()));
    assert_eq!(one(&mut node, 3, 6_000_000, 1_500_000), Err(Rule::W4));
    assert_eq!(one(&mut node, 3, 6_000_000, 1_000_000).map(drop), Ok(()));
}

#[test]
fn w4_what_was_replaced_is_not_held() {
    let mut node = node();
    let to = foreign(1);
    for fee in [500, 600, 700] {
        pay_with(&mut node, 1, fee, vec![output(1000, &to)]).unwrap();
        assert_eq!(node.hsm().state.holds(), Satoshi(30_000_000 - 1000 - fee));
    }
}

#[test]
fn w5_signatures_commit_to_every_input_and_output() {
    let mut node = node();
    let ours = [
        node.hsm().wallet.address(0).unwrap(),
        node.hsm().wallet.address(1).unwrap(),
    ];
    let tx = spend(
        &[1, 2],
        vec![output(140_000, &ours[0].p2tr), output(9_000, &ours[1].p2tr)],
    );
    let coins = [
        coin(100_000, 0, AddressKind::P2wpkh),
        coin(50_000, 1, AddressKind::P2tr),
    ];
    let witnesses = node.hsm().sign_spend(&tx, &coins).unwrap();
    let spent = [
        output(100_000, &ours[0].p2wpkh),
        output(50_000, &ours[1].p2tr),
    ];
    let (wpkh, tr) = (witnesses[0].to_vec(), witnesses[1].to_vec());
    // SIGHASH_ALL is said, SIGHASH_DEFAULT is not.
    assert_eq!(wpkh[0].last(), Some(&1));
    assert_eq!(tr[0].len(), 64);
    let verifies = |tx: &Transaction| {
        let mut hashes = SighashCache::new(tx);
        let (script, value) = (&spent[0].script_pubkey, spent[0].value);
        let all = EcdsaSighashType::All;
        let hash = hashes.p2wpkh_signature_hash(0, script, value, all).unwrap();
        let message = Message::from_digest(hash.to_byte_array());
        let signature = bitcoin::ecdsa::Signature::from_slice(&wpkh[0])
            .unwrap()
            .signature;
        let key = PublicKey::from_slice(&wpkh[1]).unwrap();
        let first = SECP256K1.verify_ecdsa(&message, &signature, &key).is_ok();
        let prevouts = Prevouts::All(&spent);
        let default = TapSighashType::Default;
        let hash = hashes
            .taproot_key_spend_signature_hash(1, &prevouts, default)
            .unwrap();
        let message = Message::from_digest(hash.to_byte_array());
        let signature = bitcoin::taproot::Signature::from_slice(&tr[0])
            .unwrap()
            .signature;
        let key = XOnlyPublicKey::from_slice(&ours[1].p2tr.as_bytes()[2..]).unwrap();
        let second = SECP256K1.verify_schnorr(&signature, &message, &key).is_ok();
        (first, second)
    };
    assert_eq!(verifies(&tx), (true, true));
    let changes: [&dyn Fn(&mut Transaction); 5] = [
        &|tx| tx.output[0].value -= bitcoin::Amount::ONE_SAT,
        &|tx| tx.output[1].script_pubkey = foreign(1),
        &|tx| tx.output.push(output(1, &foreign(1))),
        &|tx| tx.lock_time = bitcoin::absolute::LockTime::ZERO,
        &|tx| tx.input[0].sequence = bitcoin::Sequence::MAX,
    ];
    for change in changes {
        let mut changed = tx.clone();
        change(&mut changed);
        assert_eq!(verifies(&changed), (false, false));
    }
}

/// Signs the funding of a new channel, of a coin of twice its value.
fn fund(outputs: impl Fn(&ScriptBuf, &ScriptBuf) -> Vec<TxOut>) -> Result<(), Rule> {
    let mut pair = Pair::agreed(CommitmentFormat::AnchorsZeroFeeHtlc);
    let change = pair.a.node.hsm().get_address().unwrap();
    let tx = spend(
        &[1],
        outputs(&pair.a.setup.funding_script_pubkey(), &change.p2tr),
    );
    let outpoint = OutPoint {
        txid: tx.compute_txid(),
        vout: 0,
    };
    let funding = Funding {
        outpoint,
        value: VALUE,
    };
    for end in [&mut pair.a, &mut pair.b] {
        let setup = end.setup.clone();
        end.done(Request::Setup { setup });
        end.done(Request::SetFunding { funding });
    }
    pair.commit(Side::Remote, &[]);
    pair.commit(Side::Local, &[]);
    let hsm = pair.a.node.hsm();
    let limits = Limits {
        max_fee: Satoshi(1000),
        withdraw_per_day: Limit::Exactly(Satoshi(1000)),
        ..DEFAULT
    };
    hsm.set_limits(limits).unwrap();
    let coins = [coin(VALUE.0 * 2, change.index, AddressKind::P2tr)];
    hsm.sign_spend(&tx, &coins).map_err(|error| error.rule())?;
    assert_eq!(
        hsm.standing(Allowance::Withdrawals).used,
        MilliSatoshi(600_000),
        "the fee"
    );
    Ok(())
}

#[test]
fn w7_a_funding_takes_no_more_than_its_output_change_and_a_capped_fee() {
    let value = VALUE.0;
    let honest = fund(|funding, ours| vec![output(value, funding), output(value - 600, ours)]);
    assert_eq!(honest, Ok(()));
    let burnt = fund(|funding, ours| vec![output(value, funding), output(value - 1001, ours)]);
    assert_eq!(burnt, Err(Rule::W2));
    let beside = fund(|funding, ours| {
        let rest = output(value - 1200, ours);
        vec![output(value, funding), rest, output(600, &foreign(1))]
    });
    assert_eq!(beside, Err(Rule::W4));
    let nobodys = fund(|funding, _| vec![output(value, funding), output(value - 600, &foreign(1))]);
    assert_eq!(nobodys, Err(Rule::W4));
}
