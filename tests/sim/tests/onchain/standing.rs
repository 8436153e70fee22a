//! What is said of a claim that fees or the wallet hold up, while our commitment is in a block.

use std::collections::BTreeSet;

use onchain::action::{Coins, Fate, Feerates, Held, Notice, OutputKind, Standing};
use onchain::{Action, Event, Onchain};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tx::claim::{CoinKind, FeeCoin};
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, FeeratePerKw, Satoshi, Side};

use crate::contract::{Contract, START};
use crate::signer::{Wallet, answer};

/// What blocks ask for, and what bitcoind takes.
const HIGH: FeeratePerKw = FeeratePerKw(10_000_000);
const LOW: FeeratePerKw = FeeratePerKw(253);

struct Closed {
    contract: Contract,
    core: Onchain,
    /// Whether the wallet has coins.
    rich: bool,
    standing: Option<Standing>,
}

fn feerates(wanted: FeeratePerKw) -> Feerates {
    Feerates {
        estimates: vec![(2, wanted)],
        floor: LOW,
    }
}

impl Closed {
    /// Ours is in a block. Some contract like `is_wanted`.
    fn by_us(format: CommitmentFormat, is_wanted: impl Fn(&Contract) -> bool) -> Closed {
        let contracts = (0..).map(|seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (Contract::random(&mut rng), rng)
        });
        let fits = |c: &Contract| c.setup.format == format && is_wanted(c);
        let (contract, mut rng) = contracts.into_iter().find(|(c, _)| fits(c)).unwrap();
        let facts = contract.facts(true, &mut rng);
        let tx = contract.signed(Side::Local, contract.local_newest);
        let (core, actions) = Onchain::new(facts, None, feerates(HIGH));
        let mut closed = Closed {
            contract,
            core,
            rich: false,
            standing: None,
        };
        closed.act(actions);
        let height = BlockHeight(START);
        closed.event(Event::Confirmed { tx, height });
        closed.event(Event::Block { height });
        closed
    }

    fn event(&mut self, event: Event) {
        let actions = self.core.handle(event);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::AskSigner(request) => {
                    let reply = answer(&self.contract, &Wallet::new(), &request);
                    self.event(Event::Signer(reply));
                }
                Action::NeedCoins { claim, most, .. } => {
                    let coin = FeeCoin {
                        outpoint: bitcoin::OutPoint::null(),
                        value: Satoshi(1_000_000),
                        index: 0,
                        kind: CoinKind::P2wpkh,
                    };
                    let coins = self.rich.then(|| Coins {
                        coins: vec![coin],
                        fee: most,
                    });
                    self.event(Event::Coins { claim, coins });
                }
                Action::Tell(Notice::Standing(standing)) => self.standing = Some(standing),
                _ => {}
            }
        }
    }

    fn mine_to(&mut self, height: u32) {
        for height in START + 1..=height {
            let height = BlockHeight(height);
            self.event(Event::Block { height });
        }
    }

    fn fates(&self, is: impl Fn(OutputKind) -> bool) -> Vec<Fate> {
        let outputs = self.standing.iter().flat_map(|standing| &standing.outputs);
        let of_kind = outputs.filter(|output| is(output.kind));
        of_kind.map(|output| output.fate).collect()
    }
}

/// Whether our commitment has an output for an HTLC that we offered.
fn has_htlc_of_ours(contract: &Contract) -> bool {
    let commitment = contract.commitment(Side::Local, contract.local_newest);
    let mut all = commitment.htlcs.iter();
    all.any(|htlc| htlc.key.offerer == Side::Local)
}

fn is_htlc_of_ours(kind: OutputKind) -> bool {
    matches!(kind, OutputKind::Htlc(key) if key.offerer == Side::Local)
}

#[test]
fn a_claim_that_may_not_pay_what_blocks_want_is_said_to_wait_for_that() {
    let anchors = CommitmentFormat::AnchorsZeroFeeHtlc;
    let mut closed = Closed::by_us(anchors, |_| true);
    let ours = |kind| kind == OutputKind::ToLocal;
    let delay = u32::from(closed.contract.setup.remote.to_self_delay.0);
    closed.mine_to(START + delay + 1);
    let [Fate::Claimed { held, .. }] = closed.fates(ours)[..] else {
        panic!("{:?}", closed.fates(ours))
    };
    let Some(Held { pays, wanted }) = held else {
        panic!("its fee is within the cap")
    };
    assert!(wanted == HIGH && pays < HIGH && pays >= LOW, "{pays}");
    // Blocks want less now: it waits for one, and no more.
    closed.event(Event::Feerates(feerates(LOW)));
    closed.event(Event::Block {
        height: BlockHeight(START + delay + 2),
    });
    let fates = closed.fates(ours);
    assert!(
        matches!(fates[..], [Fate::Claimed { held: None, .. }]),
        "{fates:?}"
    );
}

#[test]
fn a_fee_that_was_fixed_when_the_peer_signed_is_said_to_be_too_low() {
    let mut closed = Closed::by_us(CommitmentFormat::StaticRemotekey, has_htlc_of_ours);
    closed.mine_to(START + 80);
    let fates = closed.fates(is_htlc_of_ours);
    let feerate = closed.contract.ledgers[closed.contract.local_newest].feerate;
    // Within the rounding of a weight that a signature changes.
    let about = feerate.0 - feerate.0 / 50..feerate.0 + feerate.0 / 50;
    let held = |fate: &Fate| matches!(fate, Fate::Claimed { held: Some(Held { pays, wanted: HIGH }), .. } if about.contains(&pays.0));
    assert!(
        !fates.is_empty() && fates.iter().all(held),
        "{feerate} {fates:?}"
    );
}

#[test]
fn an_htlc_transaction_without_coins_for_its_fee_is_said_to_need_them() {
    let anchors = CommitmentFormat::AnchorsZeroFeeHtlc;
    let mut closed = Closed::by_us(anchors, has_htlc_of_ours);
    closed.event(Event::Feerates(feerates(LOW)));
    closed.mine_to(START + 80);
    let needs: BTreeSet<bool> = (closed.fates(is_htlc_of_ours).iter())
        .map(|fate| matches!(fate, Fate::NeedsCoins { .. } | Fate::Uneconomic))
        .collect();
    let fates = closed.fates(is_htlc_of_ours);
    assert!(
        fates
            .iter()
            .any(|fate| matches!(fate, Fate::NeedsCoins { .. })),
        "{fates:?}"
    );
    assert_eq!(needs, BTreeSet::from([true]), "{fates:?}");
    // It gets some.
    closed.rich = true;
    for height in START + 81..START + 83 {
        let height = BlockHeight(height);
        closed.event(Event::Block { height });
    }
    let fates = closed.fates(is_htlc_of_ours);
    let needs = |fate: &Fate| matches!(fate, Fate::NeedsCoins { .. });
    assert!(!fates.iter().any(needs), "{fates:?}");
}
