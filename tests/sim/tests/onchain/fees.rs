//! What claims pay, step by step: the operator's cap, replacements, what stands in the way of a batch, and what
//! a reorg or a restart leaves of it.

use std::collections::BTreeMap;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use onchain::Facts;
use onchain::action::{Fate, OutputKind, Spender};
use rand::SeedableRng;
use rand::rngs::StdRng;
use secp256k1::{Message, SECP256K1};
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::limits::MAX_FEE;
use wire::{BlockHeight, CltvExpiry, FeeratePerKw, HtlcId, MilliSatoshi, Preimage, Satoshi, Side};

use crate::additions::peers_claim;
use crate::chain::Chain;
use crate::contract::{Contract, START};
use crate::world::World;

/// So many HTLCs of ours, each worth so much, in commitment 1, which the peer has revoked or not.
fn contract(count: u8, satoshi: u64, expiry: u32, revoked: bool) -> Contract {
    let key = |id: u8| HtlcKey {
        offerer: Side::Local,
        id: HtlcId(id.into()),
    };
    let preimage = |id: u8| Preimage([id + 1; 32]);
    let add = |id: u8| Delta::Add {
        key: key(id),
        htlc: Htlc {
            amount: MilliSatoshi(satoshi * 1_000),
            payment_hash: preimage(id).payment_hash(),
            cltv_expiry: CltvExpiry(expiry),
        },
    };
    let mut steps: Vec<Vec<Delta>> = vec![(0..count).map(add).collect()];
    if revoked {
        steps.push((0..count).map(|id| Delta::Fail { key: key(id) }).collect());
    }
    let preimages: BTreeMap<_, _> = (0..count).map(|id| (key(id), preimage(id))).collect();
    let mut rng = StdRng::seed_from_u64(1);
    Contract::of_steps(&mut rng, Satoshi(100_000_000), steps, preimages)
}

#[test]
fn a_batch_whose_fee_would_be_above_the_cap_is_taken_in_several() {
    let contract = contract(100, 20_000, START + 500, true);
    let market = FeeratePerKw(15_000);
    let world = World::closed_by_peer(&contract, market);
    world.assert_claimed(Side::Remote, market);
}

#[test]
fn a_cap_that_the_operator_has_lowered_is_learned_when_hsmd_refuses_and_looked_for_again_later() {
    let contract = contract(30, 200_000, START + 500, true);
    contract.max_fee.set(Satoshi(50_000));
    let market = FeeratePerKw(15_000);
    let mut world = World::closed_by_peer(&contract, market);
    world.assert_claimed(Side::Remote, market);
    // It is higher again: once that was noticed, one claim may pay what it could not.
    contract.max_fee.set(MAX_FEE);
    world.chain.market = FeeratePerKw(150_000);
    for _ in 0..12 {
        world.mine(&[]);
    }
    world.assert_claimed(Side::Remote, world.chain.market);
}

#[test]
fn a_batch_of_which_no_half_can_pay_below_the_cap_is_taken_in_smaller_parts() {
    let contract = contract(100, 200_000, START + 500, true);
    contract.max_fee.set(Satoshi(6_000));
    let market = FeeratePerKw(15_000);
    let world = World::closed_by_peer(&contract, market);
    world.assert_claimed(Side::Remote, world.chain.floor());
}

#[test]
fn a_claim_of_which_no_half_can_pay_below_the_cap_is_replaced_by_smaller_parts() {
    let contract = contract(100, 200_000, START + 500, true);
    let mut world = World::closed_by_peer(&contract, FeeratePerKw(1_000));
    world.chain.market = FeeratePerKw(100_000);
    for _ in 0..2 {
        world.mine(&[]);
    }
    world.assert_claimed(Side::Remote, world.chain.floor());
}

#[test]
fn what_coins_pay_for_stays_together_up_to_the_cap_if_the_wallet_has_none_for_the_rest() {
    let contract = contract(3, 100_000, START + 3, false);
    contract.max_fee.set(Satoshi(10_000));
    let mut facts = facts_with_deadline(&contract, START + 90);
    (facts.terms.max_fee, facts.ours) = (Satoshi(10_000), None);
    let mut world = World::new(&contract, FeeratePerKw(1_000), facts);
    world.node.keep_one_coin();
    world.mine(&[contract.signed(Side::Local, 1)]);
    for market in [1_000, 3_500].map(FeeratePerKw) {
        world.chain.market = market;
        for _ in 0..4 {
            world.mine(&[]);
        }
        world.assert_claimed(Side::Local, market);
    }
}

#[test]
fn a_claim_that_the_cap_held_down_is_said_to_be_until_the_cap_is_higher_and_raised_then() {
    let contract = contract(1, 200_000, START + 3, false);
    contract.max_fee.set(Satoshi(5_000));
    let market = FeeratePerKw(15_000);
    let mut facts = facts_with_deadline(&contract, START + 90);
    facts.ours = None;
    let mut world = World::new(&contract, market, facts);
    world.mine(&[contract.signed(Side::Remote, 1)]);
    for _ in 0..3 {
        world.mine(&[]);
    }
    for _ in 0..12 {
        world.mine(&[]);
        let standing = world.node.standing.as_ref().unwrap();
        let is_held = |fate| matches!(fate, Fate::Claimed { held: Some(_), .. });
        let mut htlcs = standing.outputs.iter();
        let held = htlcs.any(|o| matches!(o.kind, OutputKind::Htlc(_)) && is_held(o.fate));
        assert!(held, "{standing:?}");
    }
    contract.max_fee.set(MAX_FEE);
    for _ in 0..6 {
        world.mine(&[]);
    }
    world.assert_claimed(Side::Remote, market);
}

#[test]
fn an_anchors_child_that_the_cap_held_down_is_raised_when_the_cap_is_higher() {
    let contract = contract(3, 1_000_000, START + 500, false);
    contract.max_fee.set(Satoshi(20_000));
    let facts = facts_with_deadline(&contract, START + 90);
    let mut world = World::new(&contract, FeeratePerKw(15_000), facts);
    let ours = contract.signed(Side::Local, 1).compute_txid();
    let fee = |world: &World<'_>| {
        let claims = world.claims_of(ours);
        claims.iter().map(|tx| world.chain.fee(tx)).sum::<u64>()
    };
    world.mine(&[]);
    assert!((1..=20_000).contains(&fee(&world)), "{}", fee(&world));
    contract.max_fee.set(MAX_FEE);
    for _ in 0..6 {
        world.mine(&[]);
    }
    assert!(fee(&world) > 20_000, "{}", fee(&world));
}

#[test]
fn a_claim_that_fees_carry_above_the_cap_is_split_and_its_parts_replace_it() {
    let contract = contract(100, 60_000, START + 500, true);
    let mut world = World::closed_by_peer(&contract, FeeratePerKw(4_000));
    let before = world.htlcs(Side::Remote, 1).0.first().unwrap().txid;
    let count = world.claims_of(before).len();
    for market in [8_000, 40_000, 45_000, 55_000].map(FeeratePerKw) {
        world.chain.market = market;
        for _ in 0..13 {
            world.mine(&[]);
        }
        world.assert_claimed(Side::Remote, market);
    }
    assert!(world.claims_of(before).len() > count);
}

/// Ours, with an HTLC that has to be back by `deadline`.
fn facts_with_deadline(contract: &Contract, deadline: u32) -> Facts {
    let mut facts = contract.facts(true, &mut StdRng::seed_from_u64(2));
    for known in &mut facts.htlcs {
        known.incoming_expiry = Some(BlockHeight(deadline));
    }
    facts
}

#[test]
fn a_replacement_that_wallet_coins_pay_for_pays_for_its_own_relay_too() {
    let contract = contract(3, 100_000, START + 3, false);
    let facts = facts_with_deadline(&contract, START + 14);
    let mut world = World::new(&contract, FeeratePerKw(260), facts);
    let ours = contract.signed(Side::Local, 1);
    world.mine(std::slice::from_ref(&ours));
    let mut fees = Vec::new();
    for _ in 0..9 {
        world.mine(&[]);
        let claims = world.claims_of(ours.compute_txid());
        fees.push(claims.iter().map(|tx| world.chain.fee(tx)).sum::<u64>());
    }
    assert_eq!(world.rejections("replacement"), 0, "{fees:?}");
    let raised = fees.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(raised >= 5, "{fees:?}");
}

#[test]
fn the_replacement_of_an_anchors_child_pays_for_its_own_relay_too() {
    let contract = contract(3, 100_000, START + 500, false);
    let facts = facts_with_deadline(&contract, START + 14);
    let mut world = World::new(&contract, FeeratePerKw(260), facts);
    let ours = contract.signed(Side::Local, 1).compute_txid();
    let mut fees = Vec::new();
    for _ in 0..9 {
        world.mine(&[]);
        let claims = world.claims_of(ours);
        fees.push(claims.iter().map(|tx| world.chain.fee(tx)).sum::<u64>());
    }
    assert_eq!(world.rejections("replacement"), 0, "{fees:?}");
    let raised = fees.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(raised >= 5, "{fees:?}");
}

/// The peer's claim of this HTLC, with a coin that pays more than all of ours would.
fn rival(contract: &Contract, chain: &mut Chain, htlc: usize) -> Transaction {
    let coin = OutPoint {
        txid: Txid::from_byte_array([77; 32]),
        vout: 0,
    };
    chain.give(coin, Satoshi(5_000_000));
    let commitment = contract.commitment(Side::Remote, 1);
    let claim = &commitment.htlc_transactions().unwrap()[htlc];
    let point = contract.theirs.point(commitment.n);
    let mut tx = peers_claim(contract, htlc);
    tx.input.push(TxIn {
        previous_output: coin,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    });
    tx.output.push(TxOut {
        value: Amount::from_sat(1_000_000),
        script_pubkey: ScriptBuf::from(vec![0x51]),
    });
    // Its own signature is of all of it.
    let value = Amount::from_sat(claim.amount.0);
    let hash = SighashCache::new(&tx)
        .p2wsh_signature_hash(0, &claim.redeem_script, value, EcdsaSighashType::All)
        .unwrap();
    let theirs = contract.htlc_secret(Side::Remote, &point);
    let own = SECP256K1.sign_ecdsa(&Message::from_digest(hash.to_byte_array()), &theirs);
    let ours = contract.htlc_secret(Side::Local, &point);
    let other = claim.sign(Side::Local, &ours).unwrap();
    let preimage = Some(&contract.preimages[&claim.key]);
    let signed = claim.signed(&own, &other, preimage).unwrap();
    tx.input[0].witness = signed.input[0].witness.clone();
    tx
}

#[test]
fn one_output_that_the_peer_takes_in_the_mempool_does_not_keep_us_from_the_others() {
    // chaind says what spends the first input, and nothing of the others.
    for at in [0, 2] {
        for revoked in [true, false] {
            let contract = contract(3, 100_000, START + 1, revoked);
            let facts = contract.facts(false, &mut StdRng::seed_from_u64(2));
            let mut world = World::new(&contract, FeeratePerKw(1_000), facts);
            world.bury(&[contract.signed(Side::Remote, 1)]);
            let theirs = rival(&contract, &mut world.chain, at);
            world.bury(&[]);
            world.chain.submit(&theirs, None).unwrap();
            world.restart();
            world.mine(&[]);
            let (all, taken) = world.htlcs(Side::Remote, 1);
            assert_eq!(all, taken, "{at} {revoked} {:?}", world.node.rejections);
        }
    }
}

/// The peer's claim of this HTLC from our commitment 1, for so much that no claim of ours takes its place.
fn dear_claim_from_ours(contract: &Contract, at: usize) -> Transaction {
    let commitment = contract.commitment(Side::Local, 1);
    let htlc = &commitment.htlcs[at];
    let (script, value) = (&htlc.redeem_script, htlc.htlc.amount.to_sat_floor().0);
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(commitment.tx.compute_txid(), htlc.output_index),
            script_sig: ScriptBuf::new(),
            sequence: Sequence(1),
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(value / 4),
            script_pubkey: ScriptBuf::from(vec![0x51]),
        }],
    };
    let hash = SighashCache::new(&tx)
        .p2wsh_signature_hash(0, script, Amount::from_sat(value), EcdsaSighashType::All)
        .unwrap();
    let secret = contract.htlc_secret(Side::Remote, &contract.ours.point(commitment.n));
    let signature = SECP256K1.sign_ecdsa(&Message::from_digest(hash.to_byte_array()), &secret);
    let preimage = contract.preimages[&htlc.key];
    tx.input[0].witness = tx::witness::htlc_preimage(&signature, &preimage, script);
    tx
}

#[test]
fn one_coin_at_a_time_is_enough_for_what_the_peer_does_not_take_in_the_mempool() {
    for theirs in [&[0][..], &[2], &[3], &[5], &[1, 4]] {
        let contract = contract(6, 100_000, START + 3, false);
        let mut facts = facts_with_deadline(&contract, START + 90);
        facts.ours = None;
        let mut world = World::new(&contract, FeeratePerKw(1_000), facts);
        world.node.keep_one_coin();
        world.mine(&[contract.signed(Side::Local, 1)]);
        for at in theirs {
            let tx = dear_claim_from_ours(&contract, *at);
            world.chain.submit(&tx, None).unwrap();
        }
        world.mine(&[]);
        world.mine(&[]);
        // A block takes ours and not the peer's, and the change of ours is a coin again.
        for coin in 20..23 {
            let is_ours = |tx: &Transaction| tx.input.len() > 1;
            let ours = world.chain.mempool.iter().filter(|tx| is_ours(tx));
            let ours: Vec<Transaction> = ours.cloned().collect();
            assert!(ours.len() <= 1, "{theirs:?}");
            if !ours.is_empty() {
                world.node.give_coin(coin);
            }
            world.mine(&ours);
        }
        let (all, taken) = world.htlcs(Side::Local, 1);
        let is_open = |o: &&OutPoint| world.chain.spender(o).is_none() && !taken.contains(o);
        assert_eq!(all.iter().filter(is_open).count(), 0, "{theirs:?}");
    }
}

#[test]
fn what_is_refused_for_its_fee_stays_together() {
    let contract = contract(3, 100_000, START + 500, true);
    let mut world = World::closed_by_peer(&contract, FeeratePerKw(1_000));
    let commitment = contract.commitment(Side::Remote, 1).tx.compute_txid();
    let count = world.claims_of(commitment).len();
    // The mempool is full before the node hears of it: each thing in it is lost, and refused when it comes again.
    for market in [400_000, 800_000].map(FeeratePerKw) {
        world.chain.mempool.clear();
        world.chain.market = market;
        for _ in 0..6 {
            world.bury(&[]);
        }
        world.restart();
    }
    world.chain.market = FeeratePerKw(1_000);
    for _ in 0..6 {
        world.mine(&[]);
    }
    assert!(world.rejections("min relay fee") > 0);
    assert_eq!(world.claims_of(commitment).len(), count);
}

#[test]
fn another_spend_of_the_funding_output_after_a_reorg_that_was_missed_is_what_counts() {
    let contract = contract(3, 100_000, START + 500, false);
    let mut world = World::closed_by_peer(&contract, FeeratePerKw(1_000));
    world.mine(&[peers_claim(&contract, 0)]);
    for _ in 0..10 {
        world.mine(&[]);
    }
    let commitment = contract.signed(Side::Remote, 1).compute_txid();
    let lost = |tx: &Transaction| {
        tx.input
            .iter()
            .any(|i| i.previous_output.txid == commitment)
    };
    for _ in 0..12 {
        world
            .chain
            .pop(|tx| lost(tx) || tx.compute_txid() == commitment);
    }
    for _ in 0..9 {
        world.bury(&[]);
    }
    let ours = contract.signed(Side::Local, 1);
    world.bury(std::slice::from_ref(&ours));
    for _ in 0..5 {
        world.bury(&[]);
    }
    world.restart();
    let standing = world.node.standing.as_ref().unwrap();
    let height = BlockHeight(START + 10);
    let spender = Some((Spender::Ours, ours.compute_txid(), height));
    assert_eq!(standing.spender, spender);
    let second = |kind| matches!(kind, OutputKind::HtlcTx(_));
    assert!(!standing.outputs.iter().any(|output| second(output.kind)));
}

#[test]
fn what_a_claim_was_raised_to_is_not_forgotten_when_its_parent_comes_again() {
    for reorg in [false, true] {
        let contract = contract(2, 1_000_000, START + 500, true);
        let mut world = World::closed_by_peer(&contract, FeeratePerKw(1_000));
        let second = [peers_claim(&contract, 0), peers_claim(&contract, 1)];
        world.mine(&second);
        world.chain.market = FeeratePerKw(50_000);
        world.mine(&[]);
        world.mine(&[]);
        world.chain.market = FeeratePerKw(1_000);
        let fee = |world: &World<'_>| {
            let claims = second
                .iter()
                .flat_map(|tx| world.claims_of(tx.compute_txid()));
            claims.map(|tx| world.chain.fee(tx)).max().unwrap()
        };
        let before = fee(&world);
        // The backend was away, too.
        world.chain.mempool.clear();
        if reorg {
            for _ in 0..3 {
                world.chain.pop(|_| true);
            }
            let from = BlockHeight(world.chain.height() + 1);
            let (contract, chain) = (world.contract, &mut world.chain);
            let event = onchain::Event::Disconnected { from };
            world.node.event(event, contract, chain, &mut world.rng);
            world.mine(&[]);
            world.mine(&second);
        } else {
            world.restart();
        }
        for _ in 0..6 {
            world.mine(&[]);
        }
        assert!(fee(&world) >= before, "{} and not {before}", fee(&world));
    }
}
