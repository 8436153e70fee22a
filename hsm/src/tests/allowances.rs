//! What may be paid over channels (A1), that it is remembered (A2), and the allowlist at closes (S2).

use bitcoin::ScriptBuf;
use bitcoin::hashes::Hash;
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::setup::CommitmentFormat;
use tx::signer::{CloseTerms, Reply, Request};
use wire::{CltvExpiry, HtlcId, MilliSatoshi, PaymentHash, Preimage, Satoshi, Side};

use super::fixture::{CLOSE_FEE, Node, Pair, payment};
use crate::flows::BUDGET_HOLD;
use crate::{Allowance, Refused, Rule, UnixTime};
use hsm_messages::limits::{Approvable, Limit, Limits};

const NOW: UnixTime = UnixTime(1_800_000_000);
const ANCHORS: CommitmentFormat = CommitmentFormat::AnchorsZeroFeeHtlc;

fn hash(n: u8) -> PaymentHash {
    PaymentHash([n; 32])
}

fn limit(node: &mut Node, sat: u64) {
    let limits = Limits {
        pay_per_day: Limit::Exactly(Satoshi(sat)),
        ..node.hsm().limits()
    };
    node.hsm().set_limits(limits).unwrap();
    node.hsm().set_now(NOW);
}

fn used(node: &mut Node) -> u64 {
    node.hsm().standing(Allowance::Payments).used.0
}

fn charge(node: &mut Node, n: u8, msat: u64) -> Result<(), Refused> {
    node.hsm().approve(&payment(hash(n), MilliSatoshi(msat)))
}

fn refused(node: &mut Node, n: u8, msat: u64) -> Rule {
    let (before, len) = (node.hsm().state.clone(), node.journal_len());
    let rule = charge(node, n, msat).unwrap_err().rule();
    assert_eq!(node.hsm().state, before, "a refusal changed something");
    assert_eq!(node.journal_len(), len, "a refusal was recorded");
    rule
}

#[test]
fn a1_payments_above_the_limit_are_refused_until_the_operator_approves() {
    let mut node = Node::new();
    limit(&mut node, 1000);
    charge(&mut node, 1, 600_000).unwrap();
    assert_eq!(refused(&mut node, 2, 400_001), Rule::A1);
    let what = node.hsm().refusals().next().unwrap().what.clone();
    node.hsm().allow_once(what);
    node.restart();
    node.hsm().set_now(NOW);
    charge(&mut node, 2, 400_001).unwrap();
    assert_eq!(used(&mut node), 600_000, "what is approved is not charged");
    assert_eq!(
        refused(&mut node, 2, 400_002),
        Rule::A1,
        "more than approved"
    );
    assert_eq!(refused(&mut node, 3, 400_001), Rule::A1, "another payment");
    charge(&mut node, 3, 400_000).unwrap();
}

#[test]
fn a1_the_same_payment_is_charged_once_and_then_what_is_more() {
    let mut node = Node::new();
    limit(&mut node, 1000);
    for msat in [600_000, 600_000, 500_000, 900_000] {
        charge(&mut node, 1, msat).unwrap();
    }
    assert_eq!(used(&mut node), 900_000);
    node.restart();
    node.hsm().set_now(NOW);
    charge(&mut node, 1, 900_000).unwrap();
    assert_eq!(used(&mut node), 900_000);
    assert_eq!(refused(&mut node, 1, 1_000_001), Rule::A1);
}

#[test]
fn a1_what_was_approved_and_never_paid_flows_back() {
    let mut node = Node::new();
    limit(&mut node, 1000);
    charge(&mut node, 1, 600_000).unwrap();
    node.hsm().set_now(UnixTime(NOW.0 + BUDGET_HOLD - 1));
    charge(&mut node, 2, 300_000).unwrap();
    assert_eq!(refused(&mut node, 3, 200_000), Rule::A1);
    node.hsm().set_now(UnixTime(NOW.0 + BUDGET_HOLD));
    charge(&mut node, 3, 200_000).unwrap();
    assert_eq!(used(&mut node), 500_000);
    // It is another payment now.
    charge(&mut node, 1, 500_000).unwrap();
    node.restart();
    node.hsm().set_now(UnixTime(NOW.0 + BUDGET_HOLD));
    assert_eq!(used(&mut node), 1_000_000);
    assert_eq!(refused(&mut node, 4, 1), Rule::A1);
}

#[test]
fn a1_what_a_payment_did_not_cost_flows_back_and_what_it_did_stays() {
    let mut pair = Pair::open(ANCHORS);
    limit(&mut pair.a.node, 100_000);
    let preimage = Preimage([5; 32]);
    let key = HtlcKey {
        offerer: Side::Local,
        id: HtlcId(0),
    };
    let htlc = Htlc {
        amount: MilliSatoshi(40_000_000),
        payment_hash: preimage.payment_hash(),
        cltv_expiry: CltvExpiry(500),
    };
    // The fixture approves as much again.
    let asked = payment(htlc.payment_hash, MilliSatoshi(60_000_000));
    pair.a.node.hsm().approve(&asked).unwrap();
    for delta in [Delta::Add { key, htlc }, Delta::Fulfil { key, preimage }] {
        pair.commit(Side::Remote, std::slice::from_ref(&delta));
        pair.commit(Side::Local, &[delta]);
    }
    pair.commit(Side::Remote, &[]);
    let node = &mut pair.a.node;
    assert_eq!(used(node), 100_000_000);
    node.hsm().end_payments();
    assert_eq!(used(node), 40_000_000);
    node.restart();
    node.hsm().set_now(NOW);
    assert_eq!(used(node), 40_000_000);
}

/// The first of the pair may pay so much in a day; the opening pushes 300,000 sat.
fn pair(limit_sat: u64) -> Pair {
    let mut pair = Pair::agreed(ANCHORS);
    limit(&mut pair.a.node, limit_sat);
    limit(&mut pair.b.node, 0);
    pair
}

#[test]
fn a1_what_an_opening_pushes_is_a_payment_of_the_opener() {
    let mut pair = pair(299_999);
    let (a, b) = (pair.a.setup.clone(), pair.b.setup.clone());
    assert_eq!(pair.a.refused(Request::Setup { setup: a.clone() }), "A1");
    pair.b.done(Request::Setup { setup: b });
    let (peer, amount) = (pair.b.node.hsm().node_id(), MilliSatoshi(300_000_000));
    let push = Approvable::Push { peer, amount };
    let list: Vec<_> = pair
        .a
        .node
        .hsm()
        .refusals()
        .map(|refusal| refusal.what.clone())
        .collect();
    assert_eq!(list, std::slice::from_ref(&push));
    pair.a.node.hsm().allow_once(push);
    pair.a.done(Request::Setup { setup: a.clone() });
    pair.a.done(Request::Setup { setup: a });
    assert_eq!(used(&mut pair.a.node), 0, "what is approved is not charged");
    // One opening: the next channel with the same peer needs another approval.
    let new = pair.a.node.hsm().new_channel(peer).unwrap();
    pair.a.setup.local.funding_pubkey = new.funding_pubkey;
    pair.a.setup.local.basepoints = new.basepoints;
    pair.a.new = new;
    let setup = pair.a.setup.clone();
    assert_eq!(pair.a.refused(Request::Setup { setup }), "A1");
}

#[test]
fn a1_the_push_of_an_opening_that_came_to_nothing_flows_back() {
    let mut pair = pair(300_000);
    let setup = pair.a.setup.clone();
    pair.a.done(Request::Setup {
        setup: setup.clone(),
    });
    pair.a.done(Request::Setup { setup });
    assert_eq!(used(&mut pair.a.node), 300_000_000);
    let channel = pair.a.new.channel;
    pair.a.node.hsm().forget(channel).unwrap();
    assert_eq!(used(&mut pair.a.node), 0);
    pair.a.node.restart();
    pair.a.node.hsm().set_now(NOW);
    assert_eq!(used(&mut pair.a.node), 0);
}

#[test]
fn a2_what_left_and_what_the_operator_said_survive_a_restart_and_a_compaction() {
    let mut pair = Pair::open(ANCHORS);
    let node = &mut pair.a.node;
    limit(node, 1000);
    charge(node, 1, 600_000).unwrap();
    let script = ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::from_byte_array([1; 32]));
    node.hsm().allow(script.clone()).unwrap();
    let approved = Approvable::Payment {
        hash: hash(2),
        amount: MilliSatoshi(5_000_000),
    };
    node.hsm().allow_once(approved);
    node.hsm().sync().unwrap();
    node.hsm().compact().unwrap();
    node.restart();
    node.hsm().set_now(NOW);
    assert_eq!(used(node), 600_000);
    assert_eq!(
        node.hsm().limits().pay_per_day,
        Limit::Exactly(Satoshi(1000))
    );
    assert!(
        node.hsm()
            .allowlist()
            .iter()
            .any(|allowed| *allowed == script)
    );
    assert_eq!(refused(node, 3, 400_001), Rule::A1);
    charge(node, 2, 5_000_000).unwrap();
    charge(node, 1, 600_000).unwrap();
    charge(node, 3, 400_000).unwrap();
    node.restart();
}

#[test]
fn a2_a_node_holds_its_side_of_open_channels() {
    let mut pair = Pair::open(ANCHORS);
    assert_eq!(pair.a.node.hsm().state.holds(), Satoshi(700_000));
    assert_eq!(pair.b.node.hsm().state.holds(), Satoshi(300_000));
    let close = pair.sign_close(CLOSE_FEE);
    pair.a.ask(close);
    assert_eq!(pair.a.node.hsm().state.holds(), Satoshi(0));
}

#[test]
fn s2_a_close_to_the_allowlist_is_signed_and_to_nobody_else() {
    let mut pair = Pair::open(ANCHORS);
    let foreign = pair.b.new.shutdown_p2wpkh.clone();
    let close = Request::SignClose(CloseTerms {
        fee: CLOSE_FEE,
        local_script: foreign.clone(),
        remote_script: foreign.clone(),
    });
    assert_eq!(pair.a.refused(close.clone()), "S2");
    let check = |pair: &mut Pair| {
        pair.a
            .node
            .hsm()
            .check_shutdown(&foreign)
            .map_err(|e| e.rule())
    };
    assert_eq!(check(&mut pair), Err(Rule::S2));
    pair.a.node.hsm().allow(foreign.clone()).unwrap();
    assert_eq!(check(&mut pair), Ok(()));
    assert!(matches!(
        pair.a.ask(close.clone()),
        Reply::SignedClose { .. }
    ));
    pair.a.node.hsm().disallow(foreign.clone());
    assert_eq!(pair.a.refused(close), "S2");
}

#[test]
fn s2_an_upfront_script_on_the_allowlist_is_taken_and_closed_to() {
    let mut pair = Pair::agreed(ANCHORS);
    let foreign = pair.b.new.shutdown_p2tr.clone();
    pair.a.setup.local.upfront_shutdown_script = Some(foreign.clone());
    pair.b.setup.remote.upfront_shutdown_script = Some(foreign.clone());
    let setup = pair.a.setup.clone();
    assert_eq!(pair.a.refused(Request::Setup { setup }), "S2");
    pair.a.node.hsm().allow(foreign.clone()).unwrap();
    let funding = pair.funding;
    for end in [&mut pair.a, &mut pair.b] {
        let setup = end.setup.clone();
        end.done(Request::Setup { setup });
        end.done(Request::SetFunding { funding });
    }
    pair.commit(Side::Local, &[]);
    pair.commit(Side::Remote, &[]);
    let close = pair.sign_close(CLOSE_FEE);
    assert_eq!(pair.a.refused(close), "S2", "ours, but not what was fixed");
    let close = Request::SignClose(CloseTerms {
        fee: CLOSE_FEE,
        local_script: foreign.clone(),
        remote_script: foreign,
    });
    assert!(matches!(pair.a.ask(close), Reply::SignedClose { .. }));
}
