//! Random lives: payments, fees, broken links and crashes after any action, and always the same end.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tx::setup::CommitmentFormat;

use crate::world::{A, B, World};

#[derive(Clone, Debug)]
enum Op {
    Deliver(usize),
    Flush(usize),
    Decide(usize),
    Pay(usize, u64),
    /// As much as the channel says can be sent.
    PayAll(usize),
    Feerate(u32),
    /// The transport breaks; messages on their way are lost.
    Break,
    /// One side hears of it.
    Notice(usize),
    Connect,
    /// A node crashes after so many more actions, and keeps so many unsynced writes.
    Crash(usize, u32, usize),
    /// The database syncs by itself.
    Sync(usize, usize),
    /// The signer is not going to sign the next new commitment.
    Refuse(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let node = || 0..2_usize;
    let amount = prop_oneof![
        Just(200_000),
        Just(7_000_000),
        Just(90_000_000),
        Just(250_000_000)
    ];
    prop_oneof![
        40 => node().prop_map(Op::Deliver),
        20 => node().prop_map(Op::Flush),
        8 => node().prop_map(Op::Decide),
        12 => (node(), amount).prop_map(|(node, amount)| Op::Pay(node, amount)),
        2 => node().prop_map(Op::PayAll),
        2 => prop_oneof![Just(500), Just(2_000), Just(4_000), Just(15_000)].prop_map(Op::Feerate),
        2 => Just(Op::Break),
        2 => node().prop_map(Op::Notice),
        4 => Just(Op::Connect),
        3 => (node(), 0..8_u32, 0..4_usize).prop_map(|(node, actions, keep)| Op::Crash(node, actions, keep)),
        2 => (node(), 0..3_usize).prop_map(|(node, count)| Op::Sync(node, count)),
        1 => node().prop_map(Op::Refuse),
    ]
}

fn apply(world: &mut World, op: &Op) {
    match *op {
        Op::Deliver(node) => {
            world.deliver(node);
        }
        Op::Flush(node) => world.flush(node),
        Op::Decide(node) => {
            world.decide(node);
        }
        Op::Pay(node, amount) => {
            world.pay(node, amount);
        }
        Op::PayAll(node) => {
            let spendable = world.nodes[node]
                .channel
                .as_ref()
                .map(|channel| channel.spendable());
            world.pay(node, spendable.unwrap_or_default().0);
        }
        Op::Feerate(feerate) => world.aim_feerate(feerate),
        Op::Break => world.break_link(),
        Op::Notice(node) => world.notice_break(node),
        Op::Connect => world.connect(),
        Op::Crash(node, actions, keep) => world.nodes[node].crash_in = Some((actions, keep)),
        Op::Sync(node, count) => world.nodes[node].sync(count),
        Op::Refuse(node) => world.nodes[node].signer.refuse = Some("C7"),
    }
}

fn format() -> impl Strategy<Value = CommitmentFormat> {
    prop_oneof![
        Just(CommitmentFormat::StaticRemotekey),
        Just(CommitmentFormat::AnchorsZeroFeeHtlc)
    ]
}

/// The same cases on every run.
fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value))
where
    S::Value: Clone,
{
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn whatever_happens_both_sides_end_with_the_same_balances() {
    let script = (format(), proptest::collection::vec(op(), 0..300));
    check(2000, script, |(format, ops)| {
        let mut world = World::ready(format);
        for op in &ops {
            apply(&mut world, op);
        }
        world.settle();
        world.check_agreement();
    });
}

#[test]
fn whatever_happens_a_shutdown_ends_in_one_closing_transaction() {
    let ops = || proptest::collection::vec(op(), 0..80);
    let script = (format(), ops(), 0..3_usize, ops());
    check(500, script, |(format, before, who, after)| {
        let mut world = World::ready(format);
        for op in &before {
            apply(&mut world, op);
        }
        if who != 1 {
            world.shut_down(A);
        }
        if who != 0 {
            world.shut_down(B);
        }
        for op in &after {
            apply(&mut world, op);
        }
        world.settle();
        // A crash may have taken the command with it.
        if world.closes(A).is_empty() && world.closes(B).is_empty() {
            world.shut_down(A);
            world.settle();
        }
        let closes: Vec<Vec<u8>> = world.closes(A).into_iter().chain(world.closes(B)).collect();
        assert!(
            !closes.is_empty(),
            "no closing transaction: {:?}",
            world.log
        );
        assert!(
            closes.iter().all(|tx| *tx == closes[0]),
            "two closing transactions"
        );
    });
}
