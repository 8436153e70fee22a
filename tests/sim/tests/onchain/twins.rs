//! HTLCs of ours with one hash, amount and expiry, some of which are removed: their outputs look the same.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::Transaction;
use onchain::action::{Facts, Feerates, HtlcEnd};
use onchain::{Action, Event, Notice, Onchain};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tx::ledger::{Delta, Htlc, HtlcKey};
use wire::{
    BlockHeight, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, Preimage,
    Satoshi, Side,
};

use crate::contract::Contract;
use crate::signer::{Wallet, answer};
use crate::world::World;

/// Where the commitment is.
const CLOSED: u32 = 1_000;
const EXPIRY: u32 = CLOSED + 10;
const PREIMAGE: Preimage = Preimage([7; 32]);

fn key(id: u64) -> HtlcKey {
    HtlcKey {
        offerer: Side::Local,
        id: HtlcId(id),
    }
}

/// All are in commitment 1; the newest, 2, lacks `removed`. The peer has not revoked its 1.
fn contract(count: u64, removed: &[u64]) -> Contract {
    let htlc = Htlc {
        amount: MilliSatoshi(1_000_000_000),
        payment_hash: PREIMAGE.payment_hash(),
        cltv_expiry: CltvExpiry(EXPIRY),
    };
    let adds = (0..count).map(|id| Delta::Add { key: key(id), htlc });
    let fails = removed.iter().map(|id| Delta::Fail { key: key(*id) });
    let steps = vec![adds.collect(), fails.collect()];
    let preimages: BTreeMap<_, _> = (0..count).map(|id| (key(id), PREIMAGE)).collect();
    let value = Satoshi(100_000_000);
    let mut contract = Contract::of_steps(&mut StdRng::seed_from_u64(1), value, steps, preimages);
    contract.remote_lowest = 1;
    contract
}

/// What is told once this commitment of `owner`'s is deep, and after that what took its outputs.
fn ends(contract: &Contract, facts: Facts, (owner, at): (Side, usize)) -> Vec<(u64, HtlcEnd)> {
    let feerates = Feerates {
        estimates: vec![(2, FeeratePerKw(1_000))],
        floor: FeeratePerKw(253),
    };
    let (mut core, actions) = Onchain::new(facts, None, feerates);
    let (mut left, mut ends) = (VecDeque::from(actions), Vec::new());
    let tx: Transaction = contract.signed(owner, at);
    let height = BlockHeight(CLOSED);
    let mut events = VecDeque::from([Event::Confirmed { tx, height }]);
    events.extend((CLOSED..CLOSED + 6).map(|height| Event::Block {
        height: BlockHeight(height),
    }));
    while let Some(event) = events.pop_front() {
        left.extend(core.handle(event));
        while let Some(action) = left.pop_front() {
            match action {
                Action::AskSigner(request) => {
                    let reply = answer(contract, &Wallet::new(), &request);
                    left.extend(core.handle(Event::Signer(reply)));
                }
                Action::Tell(Notice::HtlcEnded { key, end }) => ends.push((key.id.0, end)),
                _ => {}
            }
        }
    }
    ends
}

fn facts(contract: &Contract) -> Facts {
    // The record of our newest is there.
    let seeds = (0..).map(|seed| contract.facts(false, &mut StdRng::seed_from_u64(seed)));
    let newest = Some(Contract::number(contract.local_newest));
    seeds
        .into_iter()
        .find(|facts| facts.local == newest)
        .unwrap()
}

/// The signer has our newest, 2, and the node knows of 1.
fn facts_before_a_crash(contract: &Contract) -> Facts {
    let mut facts = facts(contract);
    facts.local = Some(CommitmentNumber(1));
    for known in &mut facts.htlcs {
        known.places.local = true;
        known.incoming_expiry = None;
    }
    facts
}

#[test]
fn of_two_that_are_alike_the_one_that_is_not_in_the_commitment_fails() {
    for removed in [0, 1] {
        let contract = contract(2, &[removed]);
        for owner in [Side::Local, Side::Remote] {
            let told = ends(&contract, facts(&contract), (owner, 2));
            assert_eq!(told, [(removed, HtlcEnd::Failed)], "{owner:?}");
        }
        assert_eq!(ends(&contract, facts(&contract), (Side::Remote, 1)), []);
    }
}

#[test]
fn where_it_is_not_known_which_of_two_is_in_our_commitment_none_fails_while_its_output_is_open() {
    for removed in [0, 1] {
        let contract = contract(2, &[removed]);
        let facts = facts_before_a_crash(&contract);
        assert_eq!(ends(&contract, facts, (Side::Local, 2)), []);
    }
}

#[test]
fn whichever_of_those_that_are_alike_are_in_our_commitment_each_output_is_claimed() {
    let cases: [(u64, &[u64]); 8] = [
        (3, &[0]),
        (3, &[1]),
        (3, &[2]),
        (4, &[0, 1]),
        (4, &[1, 2]),
        (4, &[2, 3]),
        (4, &[0, 3]),
        (4, &[1]),
    ];
    for (count, removed) in cases {
        let contract = contract(count, removed);
        let facts = facts_before_a_crash(&contract);
        let mut world = World::new(&contract, FeeratePerKw(1_000), facts);
        world.mine(&[contract.signed(Side::Local, 2)]);
        // One block for each that may be tried in vain.
        world.mine_to(EXPIRY + 4);
        let (all, taken) = world.htlcs(Side::Local, 2);
        assert_eq!(all, taken, "{removed:?} of {count}");
    }
}

#[test]
fn a_guess_that_is_refused_for_its_fee_is_tried_with_less() {
    for removed in [0, 1] {
        let contract = contract(2, &[removed]);
        contract.max_fee.set(Satoshi(1_500));
        let mut facts = facts_before_a_crash(&contract);
        for known in &mut facts.htlcs {
            known.incoming_expiry = Some(BlockHeight(EXPIRY + 20));
        }
        let mut world = World::new(&contract, FeeratePerKw(2_000), facts);
        world.mine(&[contract.signed(Side::Local, 2)]);
        world.mine_to(EXPIRY + 2);
        let (all, taken) = world.htlcs(Side::Local, 2);
        assert_eq!(all, taken, "{removed}");
        assert!(world.node.refused > 0);
    }
}
