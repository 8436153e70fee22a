//! Children of anchors, step by step.

use bitcoin::Txid;
use onchain::action::{Coins, Feerates, Notice};
use onchain::{Action, Event, Onchain};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tx::claim::{CoinKind, FeeCoin};
use tx::onchain::Request;
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, FeeratePerKw, Satoshi, Side};

use crate::contract::{Contract, START};
use crate::signer::{Wallet, answer};

/// Of a P2TR coin, and of the change.
const COIN_AND_CHANGE: u64 = 230 + 172;
const DUST: u64 = 330;

fn with_anchors() -> (Contract, StdRng) {
    let contracts = (0..).map(|seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        (Contract::random(&mut rng), rng)
    });
    let anchors = CommitmentFormat::AnchorsZeroFeeHtlc;
    let mut contracts = contracts.filter(|(contract, _)| contract.setup.format == anchors);
    contracts.next().unwrap()
}

/// Answers questions for points until the core wants something else; what it wants then.
fn points(core: &mut Onchain, contract: &Contract, actions: Vec<Action>) -> Vec<Action> {
    let mut wanted = Vec::new();
    for action in actions {
        let request = if let Action::AskSigner(request) = &action {
            Some(request)
        } else {
            None
        };
        let point = |request: &&Request| {
            matches!(
                request,
                Request::LocalPoint { .. } | Request::RevokedPoint { .. }
            )
        };
        let Some(request) = request.filter(point) else {
            wanted.push(action);
            continue;
        };
        let reply = answer(contract, &Wallet::new(), request);
        let more = core.handle(Event::Signer(reply));
        wanted.extend(points(core, contract, more));
    }
    wanted
}

/// What coins are needed for: claim, weight, value, feerate, most.
fn need(actions: &[Action]) -> Option<&Action> {
    let mut all = actions.iter();
    all.find(|action| matches!(action, Action::NeedCoins { .. }))
}

/// As the wallet gives it: a coin that leaves the least change that there may be.
fn just_enough(need: &Action) -> Event {
    let Action::NeedCoins {
        claim,
        weight,
        value,
        feerate,
        most,
    } = need
    else {
        panic!("{need:?}");
    };
    let fee = feerate.fee(weight + COIN_AND_CHANGE).min(*most);
    let coin = FeeCoin {
        outpoint: bitcoin::OutPoint::null(),
        value: Satoshi(fee.0 + DUST - value.0),
        index: 0,
        kind: CoinKind::P2tr,
    };
    Event::Coins {
        claim: *claim,
        coins: Some(Coins {
            coins: vec![coin],
            fee,
        }),
    }
}

#[test]
fn a_child_that_the_least_coin_pays_for_leaves_change_that_is_not_dust() {
    let (contract, mut rng) = with_anchors();
    let facts = contract.facts(true, &mut rng);
    // Not more is asked for than what is relayed at all, which is a little more than the commitment pays.
    let ours = contract.signed(Side::Local, contract.local_newest);
    let out: u64 = ours.output.iter().map(|output| output.value.to_sat()).sum();
    let paid = contract.funding.value.0 - out;
    let floor = paid * 1000 / ours.weight().to_wu() + 2;
    let floor = FeeratePerKw(u32::try_from(floor).unwrap());
    let feerates = Feerates {
        estimates: vec![(2, floor)],
        floor,
    };
    let (mut core, actions) = Onchain::new(facts, None, feerates);
    let wanted = points(&mut core, &contract, actions);
    let coins = just_enough(need(&wanted).expect("a child is wanted"));
    let asked = core.handle(coins);
    let Some(Action::AskSigner(Request::Anchor { coins, fee, .. })) = asked.first() else {
        panic!("no child is asked for: {asked:?}");
    };
    let change = coins[0].value.0 + tx::fees::ANCHOR_VALUE.0 - fee.0;
    assert!(change >= DUST, "change of {change} satoshi");
}

/// What is said of the peer's transaction in the mempool, if anything is.
fn rival(actions: &[Action]) -> Option<Option<Txid>> {
    actions.iter().find_map(|action| match action {
        Action::Tell(Notice::Standing(standing)) => Some(standing.rival),
        _ => None,
    })
}

#[test]
fn a_rival_is_one_until_the_backend_has_ours() {
    let mut rng = StdRng::seed_from_u64(0);
    let contract = Contract::random(&mut rng);
    let theirs = contract.signed(Side::Remote, contract.ledgers.len() - 1);
    let txid = (contract.signed(Side::Local, contract.local_newest)).compute_txid();
    let feerates = Feerates {
        estimates: vec![],
        floor: FeeratePerKw(253),
    };
    let (mut core, actions) = Onchain::new(contract.facts(true, &mut rng), None, feerates);
    points(&mut core, &contract, actions);
    let actions = core.handle(Event::Rejected {
        txid,
        reason: "txn-mempool-conflict".to_owned(),
        rival: Some(theirs.clone()),
    });
    assert_eq!(rival(&actions), Some(Some(theirs.compute_txid())));
    points(&mut core, &contract, actions);
    assert_eq!(rival(&core.handle(Event::Taken { txid })), Some(None));
    assert!(core.handle(Event::Taken { txid }).is_empty());
}

#[test]
fn a_peers_commitment_in_the_mempool_gets_a_child_once_our_htlcs_hang_on_it() {
    let contracts = (0..200).map(|seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        (Contract::random(&mut rng), rng)
    });
    let mut children = 0;
    for (contract, mut rng) in contracts {
        let newest = contract.ledgers.len() - 1;
        let theirs = contract.signed(Side::Remote, newest);
        let facts = contract.facts(true, &mut rng);
        let ours = contract.signed(Side::Local, contract.local_newest);
        let deadlines = facts.htlcs.iter().filter_map(|known| known.incoming_expiry);
        let last = deadlines.max();
        let feerates = Feerates {
            estimates: vec![],
            floor: FeeratePerKw(253),
        };
        let (mut core, actions) = Onchain::new(facts, None, feerates);
        points(&mut core, &contract, actions);
        let event = Event::Rejected {
            txid: ours.compute_txid(),
            reason: "txn-mempool-conflict".to_owned(),
            rival: Some(theirs.clone()),
        };
        let actions = core.handle(event);
        assert_eq!(rival(&actions), Some(Some(theirs.compute_txid())));
        let mut wanted = points(&mut core, &contract, actions);
        for height in START..START + 120 {
            let height = BlockHeight(height);
            let actions = core.handle(Event::Block { height });
            wanted.extend(points(&mut core, &contract, actions));
            let Some(need) = need(&wanted) else { continue };
            let asked = core.handle(just_enough(need));
            let Some(Action::AskSigner(Request::Anchor { commitment, .. })) = asked.first() else {
                panic!("no child is asked for: {asked:?}");
            };
            let shown = commitment.decode().unwrap();
            assert_eq!(shown.compute_txid(), theirs.compute_txid());
            let last = last.expect("a child without need");
            assert!(height < last, "too late: {height:?}");
            children += 1;
            break;
        }
    }
    assert!(children > 10, "{children}");
}
