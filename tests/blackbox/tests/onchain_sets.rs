//! Payments of several parts of which some are in a channel that is closed: several HTLCs of one hash, and others,
//! both ways. Carol, the payee, holds a part until the rest comes, or never settles it. Alice and Dave have a channel
//! to Bob and to Carol, Bob and Carol have the one that closes. What Bob and Carol have in the end is right to the
//! satoshi.
//!
//! A payee holds a part for a minute (BOLT 4). A machine that is too slow for that begins again.

use blackbox::line::{CHANNEL, Line};
use blackbox::node::Format::{self, Anchors, StaticRemotekey};
use blackbox::node::settled;
use blackbox::onchain::Paying;
use blackbox::{Node, Tally};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;

/// Parts in satoshi: what Bob and Alice send through the channel that closes, and what Dave has.
const BOBS: u64 = 30_000;
const ALICES: u64 = 50_000;
const DAVES: u64 = 20_000;
/// More than Bob's dust limit, and less than an HTLC transaction with its coin is worth.
const LITTLE: u64 = 550;
/// So deep an end of an HTLC is taken for final.
const REASONABLE_DEPTH: u64 = 3;
/// So often a slow machine may begin again.
const TRIES: usize = 4;

fn start(format: Format) -> Line {
    let mut line = Line::start(&["alice", "bob", "carol", "dave"], format);
    line.open(DAVE, CAROL);
    // She pays for HTLC transactions.
    line.node(CAROL)
        .fund(&line.network.bitcoind, 500_000)
        .unwrap();
    line.network.sync().unwrap();
    line
}

/// Runs it until it was not too slow.
fn in_time(scenario: impl Fn() -> Option<()>) {
    let done = (0..TRIES).find_map(|_| scenario());
    done.expect("a payee holds parts for longer than this machine takes");
}

/// The closer's commitment is in a block; the other heard nothing before.
fn close(line: &Line, closer: usize) {
    let other = BOB + CAROL - closer;
    line.node(other).freeze();
    let closing = line.node(closer).close_unilaterally(&line.ids[other]);
    line.network.bitcoind.wait_for_mempool(1).unwrap();
    line.network.bitcoind.mine(1).unwrap();
    line.node(other).thaw();
    closing.unwrap();
    for (node, peer) in [(BOB, CAROL), (CAROL, BOB)] {
        line.node(node)
            .wait_for_state(&line.ids[peer], "ONCHAIN")
            .unwrap();
    }
}

/// Two HTLCs of one hash are in the channel between Bob and Carol: Bob's own part, and Alice's.
struct Set {
    line: Line,
    bolt11: String,
    hash: String,
    before: [u64; 2],
    bobs: Paying,
    alices: Paying,
}

impl Set {
    /// Both are committed to, or it took too long.
    fn held(format: Format, closer: usize) -> Option<Set> {
        let line = start(format);
        let (bolt11, hash) = line.invoice(CAROL, BOB, BOBS + ALICES + DAVES, "set");
        let before = [BOB, CAROL].map(|at| line.node(at).coins().unwrap());
        let bobs = line.node(BOB).begin_to_pay_part(&bolt11, BOBS);
        let alices = line.node(ALICE).begin_to_pay_part(&bolt11, ALICES);
        for (node, peer) in [(BOB, CAROL), (CAROL, BOB)] {
            line.wait_committed(node, peer, 2);
        }
        close(&line, closer);
        let set = Set {
            line,
            bolt11,
            hash,
            before,
            bobs,
            alices,
        };
        // Failed before the close.
        set.payers_have("pending").then_some(set)
    }

    fn payers_have(&self, status: &str) -> bool {
        [ALICE, BOB].iter().all(|at| self.status(*at) == status)
    }

    fn status(&self, at: usize) -> String {
        self.line.node(at).attempt(&self.hash).unwrap()
    }

    /// Dave brings the rest; `None` if Carol did not wait for so long.
    fn complete(&self) -> Option<()> {
        let dave = self.line.node(DAVE);
        match dave.begin_to_pay_part(&self.bolt11, DAVES).join().unwrap() {
            Ok(paid) => {
                assert_eq!(paid["amount_msat"], DAVES * 1000);
                Some(())
            }
            Err(error) => {
                assert_eq!(error.code(), Some(203), "{error}");
                None
            }
        }
    }

    fn all(&self) -> [&Node; 2] {
        [ALICE, BOB].map(|at| self.line.node(at))
    }

    /// Both have their own of the channel; `paid`: the HTLCs were Carol's.
    fn shared_out(&self, closer: usize, paid: bool) {
        let (line, [bob, carol]) = (&self.line, self.before);
        let moved = if paid { BOBS + ALICES } else { 0 };
        let opener = |tally: &Tally| tally.commitment().fee + line.anchors();
        line.has(BOB, CAROL, closer == BOB, bob, |tally| {
            CHANNEL / 2 - moved - opener(tally)
        });
        line.has(CAROL, BOB, closer == CAROL, carol, |_| CHANNEL / 2 + moved);
        let (alices, _) = settled(line.node(ALICE), line.node(BOB)).unwrap();
        let sent = if paid { ALICES } else { 0 };
        assert_eq!(alices.to_us_msat, (CHANNEL / 2 - sent) * 1000);
    }

    /// Bob and Alice were told of it, too.
    fn payers_heard(self, paid: bool) {
        // Bob's own channel was the only way; Alice hears of a hop.
        for (paying, part, code) in [(self.bobs, BOBS, 205), (self.alices, ALICES, 204)] {
            match (paying.join().unwrap(), paid) {
                (Ok(said), true) => assert_eq!(said["amount_msat"], part * 1000),
                (Err(error), false) => assert_eq!(error.code(), Some(code), "{error}"),
                (said, _) => panic!("{said:?}"),
            }
        }
    }
}

/// Carol learns the preimage after the close: from the set that the rest completes.
fn completed(format: Format, closer: usize) -> Option<()> {
    let set = Set::held(format, closer)?;
    set.complete()?;
    set.line
        .network
        .mine_until("both payers see the preimage", 8, &set.all(), || {
            Ok(set.payers_have("complete").then_some(()))
        })
        .unwrap();
    set.shared_out(closer, true);
    set.payers_heard(true);
    Some(())
}

#[test]
fn parts_of_a_set_that_is_completed_late_are_claimed_from_the_offerers_commitment() {
    in_time(|| completed(Anchors, BOB));
}

#[test]
fn parts_of_a_set_that_is_completed_late_are_claimed_from_the_offerers_commitment_without_anchors()
{
    in_time(|| completed(StaticRemotekey, BOB));
}

#[test]
fn parts_of_a_set_that_is_completed_late_are_claimed_from_the_receivers_commitment() {
    in_time(|| completed(Anchors, CAROL));
}

#[test]
fn parts_of_a_set_that_is_completed_late_are_claimed_from_the_receivers_commitment_without_anchors()
{
    in_time(|| completed(StaticRemotekey, CAROL));
}

/// The rest never comes: Bob takes both back, and only what cannot be undone is told upstream.
fn never_completed(format: Format, closer: usize) -> Option<()> {
    let set = Set::held(format, closer)?;
    let (line, network) = (&set.line, &set.line.network);
    let expiry = line.expiry(BOB, CAROL);
    line.mine_to(expiry, &set.all());
    assert!(set.payers_have("pending"));
    let commitment = line.tally([BOB, CAROL]).commitment().txid.clone();
    let deep_since = || {
        let tally = line.tally([BOB, CAROL]);
        let htlcs = [BOBS, ALICES].map(|part| tally.taken(&commitment, part));
        let [Some(one), Some(other)] = htlcs else {
            return None;
        };
        Some(one.max(other) + REASONABLE_DEPTH - 1)
    };
    network
        .mine_until("both payers hear that it failed", 12, &set.all(), || {
            let failed = [ALICE, BOB].map(|at| set.status(at) == "failed");
            let height = network.bitcoind.height()?;
            let deep = deep_since().is_some_and(|since| since <= height);
            assert!(deep || failed == [false; 2], "{failed:?} at {height}");
            Ok((failed == [true; 2]).then_some(()))
        })
        .unwrap();
    set.shared_out(closer, false);
    set.payers_heard(false);
    Some(())
}

#[test]
fn parts_that_are_never_completed_come_back_from_the_offerers_commitment() {
    in_time(|| never_completed(Anchors, BOB));
}

#[test]
fn parts_that_are_never_completed_come_back_from_the_offerers_commitment_without_anchors() {
    in_time(|| never_completed(StaticRemotekey, BOB));
}

#[test]
fn parts_that_are_never_completed_come_back_from_the_receivers_commitment() {
    in_time(|| never_completed(Anchors, CAROL));
}

#[test]
fn parts_that_are_never_completed_come_back_from_the_receivers_commitment_without_anchors() {
    in_time(|| never_completed(StaticRemotekey, CAROL));
}

/// At no feerate is its output worth a claim of its own, so that nobody ever takes it; hsmd knows that, too.
#[test]
fn an_htlc_that_is_worth_no_claim_fails_upstream_after_its_expiry() {
    in_time(|| {
        let line = start(Anchors);
        let (bolt11, hash) = line.invoice(CAROL, BOB, ALICES, "little");
        let paying = line.node(ALICE).begin_to_pay_part(&bolt11, LITTLE);
        for (node, peer) in [(BOB, CAROL), (CAROL, BOB)] {
            line.wait_committed(node, peer, 1);
        }
        close(&line, BOB);
        let [alice, bob] = [ALICE, BOB].map(|at| line.node(at));
        if alice.attempt(&hash).unwrap() != "pending" {
            return None;
        }
        let commitment = line.tally([BOB, CAROL]).commitment().txid.clone();
        let deep = line.expiry(BOB, CAROL) + REASONABLE_DEPTH - 1;
        line.mine_to(deep - 1, &[alice, bob]);
        assert_eq!(alice.attempt(&hash).unwrap(), "pending");
        line.network
            .mine_until("alice hears that it failed", 2, &[alice, bob], || {
                Ok((alice.attempt(&hash)? == "failed").then_some(()))
            })
            .unwrap();
        assert_eq!(line.tally([BOB, CAROL]).taken(&commitment, LITTLE), None);
        let (alices, _) = settled(alice, bob).unwrap();
        assert_eq!(alices.to_us_msat, CHANNEL * 500);
        assert_eq!(paying.join().unwrap().unwrap_err().code(), Some(204));
        Some(())
    });
}

/// Bob is dead while Carol claims, and has nothing but the chain to learn the preimage from.
fn learned_from_the_chain(format: Format, closer: usize) -> Option<()> {
    let mut set = Set::held(format, closer)?;
    set.complete()?;
    let commitment = set.line.tally([BOB, CAROL]).commitment().txid.clone();
    set.line
        .node(CAROL)
        .wait_for("carol claims", |_| {
            let bitcoind = &set.line.network.bitcoind;
            for txid in bitcoind.mempool()? {
                let tx = bitcoind.transaction(&txid)?;
                let inputs = tx["vin"].as_array().cloned().unwrap_or_default();
                if inputs
                    .iter()
                    .any(|input| input["txid"] == commitment.as_str())
                {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .unwrap();
    assert!(set.payers_have("pending"));
    set.line.network.nodes[BOB].kill_all().unwrap();
    let carol = set.line.node(CAROL);
    let claimed = || {
        let tally = set.line.tally([BOB, CAROL]);
        let parts = [BOBS, ALICES].map(|part| tally.taken(&commitment, part));
        Ok(parts.iter().all(Option::is_some).then_some(()))
    };
    set.line
        .network
        .mine_until("carol has claimed both", 8, &[carol], claimed)
        .unwrap();
    assert_eq!(set.status(ALICE), "pending");
    // Dead again on the way.
    for _ in 0..2 {
        set.line.network.nodes[BOB].begin().unwrap();
        set.line.network.nodes[BOB].kill_all().unwrap();
    }
    set.line.network.nodes[BOB].launch().unwrap();
    set.line
        .node(ALICE)
        .wait_for("she has the preimage", |alice| {
            let status = alice.attempt(&set.hash)?;
            assert_ne!(status, "failed");
            Ok((status == "complete").then_some(()))
        })
        .unwrap();
    set.shared_out(closer, true);
    assert!(set.payers_have("complete"));
    let alices = set.alices.join().unwrap().unwrap();
    assert_eq!(alices["amount_msat"], ALICES * 1000);
    Some(())
}

#[test]
fn a_forwards_preimage_is_learned_from_the_chain_alone_and_settles_upstream() {
    in_time(|| learned_from_the_chain(Anchors, BOB));
}

#[test]
fn a_forwards_preimage_is_learned_from_the_chain_alone_and_settles_upstream_without_anchors() {
    in_time(|| learned_from_the_chain(StaticRemotekey, BOB));
}

#[test]
fn a_forwards_preimage_is_learned_from_the_payees_htlc_transaction_alone() {
    in_time(|| learned_from_the_chain(Anchors, CAROL));
}

#[test]
fn a_forwards_preimage_is_learned_from_the_payees_htlc_transaction_alone_without_anchors() {
    in_time(|| learned_from_the_chain(StaticRemotekey, CAROL));
}

/// HTLCs of their own hashes between Bob and Carol, in satoshi, at one close: Bob's and Alice's go to Carol, and
/// Carol's to Bob. Of each way one is claimed, one comes back, and one has no output.
const TO_CAROL: Three = Three {
    claimed: 30_000,
    never: 40_000,
    dust: 200,
};
const TO_BOB: Three = Three {
    claimed: 25_000,
    never: 35_000,
    dust: 210,
};
/// What is missing of each.
const REST: u64 = 15_000;

struct Three {
    claimed: u64,
    never: u64,
    dust: u64,
}

/// An invoice of which a part is on its way.
struct Part {
    bolt11: String,
    hash: String,
}

struct BothWays {
    line: Line,
    before: [u64; 2],
    to_carol: [Part; 3],
    to_bob: [Part; 3],
}

impl BothWays {
    /// All six are committed to and the commitment is in a block, or it took too long.
    fn held(format: Format, closer: usize) -> Option<BothWays> {
        let line = start(format);
        // Bob pays for HTLC transactions, too.
        line.node(BOB)
            .fund(&line.network.bitcoind, 500_000)
            .unwrap();
        line.network.sync().unwrap();
        let before = [BOB, CAROL].map(|at| line.node(at).coins().unwrap());
        let part = |payer: usize, payee: usize, satoshi: u64, label: &str| {
            let hinted = BOB + CAROL - payee;
            let (bolt11, hash) = line.invoice(payee, hinted, satoshi + REST, label);
            drop(line.node(payer).begin_to_pay_part(&bolt11, satoshi));
            Part { bolt11, hash }
        };
        // What is to be held longest comes last; Alice's go through Bob.
        let never = part(ALICE, CAROL, TO_CAROL.never, "never");
        let dust = part(ALICE, CAROL, TO_CAROL.dust, "dust");
        let theirs_never = part(CAROL, BOB, TO_BOB.never, "never");
        let theirs_dust = part(CAROL, BOB, TO_BOB.dust, "dust");
        let claimed = part(BOB, CAROL, TO_CAROL.claimed, "claimed");
        let theirs_claimed = part(CAROL, BOB, TO_BOB.claimed, "claimed");
        for (node, peer) in [(BOB, CAROL), (CAROL, BOB)] {
            line.wait_committed(node, peer, 6);
        }
        close(&line, closer);
        let all = BothWays {
            line,
            before,
            to_carol: [claimed, never, dust],
            to_bob: [theirs_claimed, theirs_never, theirs_dust],
        };
        all.are(["pending"; 3]).then_some(all)
    }

    /// The claimed, the one that comes back, and the one without an output, of both ways.
    fn are(&self, wanted: [&str; 3]) -> bool {
        let status = |at: usize, part: &Part| self.line.node(at).attempt(&part.hash).unwrap();
        let [claimed, never, dust] = &self.to_carol;
        let ours = [(BOB, claimed), (ALICE, never), (ALICE, dust)];
        let theirs = self.to_bob.each_ref().map(|part| (CAROL, part));
        let is = |((at, part), wanted): ((usize, &Part), &str)| status(at, part) == wanted;
        ours.into_iter().zip(wanted).all(is) && theirs.into_iter().zip(wanted).all(is)
    }

    /// Dave brings Carol the rest, and Alice Bob; `None` if one did not wait for so long.
    fn complete(&self) -> Option<()> {
        let paying =
            [(DAVE, &self.to_carol), (ALICE, &self.to_bob)].map(|(payer, [claimed, ..])| {
                let payer = self.line.node(payer);
                payer.begin_to_pay_part(&claimed.bolt11, REST)
            });
        for paid in paying {
            if let Err(error) = paid.join().unwrap() {
                assert_eq!(error.code(), Some(203), "{error}");
                return None;
            }
        }
        Some(())
    }
}

fn both_ways(format: Format, closer: usize) -> Option<()> {
    let all = BothWays::held(format, closer)?;
    all.complete()?;
    let (line, network) = (&all.line, &all.line.network);
    let nodes = [ALICE, BOB, CAROL].map(|at| line.node(at));
    let commitment = line.tally([BOB, CAROL]).commitment().txid.clone();
    let closed_at = line.tally([BOB, CAROL]).commitment().height;
    let dust_is_final = closed_at + REASONABLE_DEPTH - 1;
    network
        .mine_until("what has no output fails", 8, &nodes, || {
            let [_, _, dust] = &all.to_carol;
            let failed = line.node(ALICE).attempt(&dust.hash)? == "failed";
            assert!(!failed || network.bitcoind.height()? >= dust_is_final);
            Ok(all.are(["complete", "pending", "failed"]).then_some(()))
        })
        .unwrap();
    let expiry = line.expiry(BOB, CAROL);
    line.mine_to(expiry, &nodes);
    assert!(all.are(["complete", "pending", "failed"]));
    let final_since = |value: u64| {
        let taken = line.tally([BOB, CAROL]).taken(&commitment, value);
        taken.map(|height| height + REASONABLE_DEPTH - 1)
    };
    network
        .mine_until("what nobody completed comes back", 15, &nodes, || {
            let [_, never, _] = &all.to_carol;
            let failed = line.node(ALICE).attempt(&never.hash)? == "failed";
            let height = network.bitcoind.height()?;
            let may = final_since(TO_CAROL.never).is_some_and(|since| since <= height);
            assert!(may || !failed, "alice heard too early: {height}");
            Ok(all.are(["complete", "failed", "failed"]).then_some(()))
        })
        .unwrap();
    // What has no output is in the commitment's fee, which is Bob's but for Carol's part of it.
    let [bob, carol] = all.before;
    line.has(BOB, CAROL, closer == BOB, bob, |tally| {
        let fee = tally.commitment().fee - TO_BOB.dust + line.anchors();
        CHANNEL / 2 + TO_BOB.claimed - TO_CAROL.claimed - fee
    });
    line.has(CAROL, BOB, closer == CAROL, carol, |_| {
        CHANNEL / 2 + TO_CAROL.claimed - TO_BOB.claimed - TO_BOB.dust
    });
    let (alices, _) = settled(line.node(ALICE), line.node(BOB)).unwrap();
    assert_eq!(alices.to_us_msat, (CHANNEL / 2 - REST) * 1000);
    Some(())
}

#[test]
fn htlcs_both_ways_end_as_they_should_when_the_opener_closes() {
    in_time(|| both_ways(Anchors, BOB));
}

#[test]
fn htlcs_both_ways_end_as_they_should_when_the_opener_closes_without_anchors() {
    in_time(|| both_ways(StaticRemotekey, BOB));
}

#[test]
fn htlcs_both_ways_end_as_they_should_when_the_other_closes() {
    in_time(|| both_ways(Anchors, CAROL));
}

#[test]
fn htlcs_both_ways_end_as_they_should_when_the_other_closes_without_anchors() {
    in_time(|| both_ways(StaticRemotekey, CAROL));
}
