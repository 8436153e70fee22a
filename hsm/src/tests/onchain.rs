//! X1 to X4: claims on chain, whole scripts verified as the chain would.

use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut};
use bitcoinconsensus::{Error, Utxo, VERIFY_ALL_PRE_TAPROOT, VERIFY_TAPROOT, verify_with_flags};
use secp256k1::PublicKey;
use tx::Commitment;
use tx::claim::{CoinKind, FeeCoin, How, anchor_of};
use tx::commitment::CommitmentOutput;
use tx::ledger::{Delta, Htlc, HtlcKey};
use tx::onchain::{Claim, ParentTx, Reply, Request};
use tx::setup::CommitmentFormat::{self, AnchorsZeroFeeHtlc, StaticRemotekey};
use wire::{CltvExpiry, CommitmentNumber, HtlcId, MilliSatoshi, Preimage, Satoshi, Side};

use super::fixture::{End, Pair};
use super::spend::{addresses, outpoint, output};
use crate::Address;
use hsm_messages::limits::Limits;

const FORMATS: [CommitmentFormat; 2] = [StaticRemotekey, AnchorsZeroFeeHtlc];
/// What each side's HTLC pays for.
const OURS: Preimage = Preimage([0x11; 32]);
const THEIRS: Preimage = Preimage([0x22; 32]);
const OUR_HTLC: u64 = 50_000;
const THEIR_HTLC: u64 = 40_000;

fn key(offerer: Side) -> HtlcKey {
    let id = HtlcId(0);
    HtlcKey { offerer, id }
}

fn htlc(offerer: Side) -> Htlc {
    let (sat, preimage, cltv_expiry) = match offerer {
        Side::Local => (OUR_HTLC, OURS, 600),
        Side::Remote => (THEIR_HTLC, THEIRS, 700),
    };
    Htlc {
        amount: MilliSatoshi(sat * 1000),
        payment_hash: preimage.payment_hash(),
        cltv_expiry: CltvExpiry(cltv_expiry),
    }
}

/// Each side has offered one HTLC, which is in both commitments. `a` is who claims.
fn with_htlcs(format: CommitmentFormat) -> Pair {
    let mut pair = Pair::open(format);
    for offerer in [Side::Local, Side::Remote] {
        let (key, htlc) = (key(offerer), htlc(offerer));
        let add = [Delta::Add { key, htlc }];
        pair.commit(offerer.other(), &add);
        pair.commit(offerer, &add);
    }
    pair
}

/// The commitment of `owner` that is its newest, as `a` knows it.
pub(super) fn newest(pair: &mut Pair, owner: Side) -> (Commitment, PublicKey) {
    let dbid = pair.a.new.channel;
    let hsm = pair.a.node.hsm();
    hsm.keys(dbid).unwrap();
    let funded = hsm.channel(dbid).unwrap().funded().unwrap();
    let newest = match owner {
        Side::Local => &funded.local.as_ref().unwrap().newest,
        Side::Remote => &funded.remote.as_ref().unwrap().newest,
    };
    let point = match owner {
        Side::Local => hsm.channel_keys[&dbid].point(newest.n).unwrap(),
        Side::Remote => funded.remote.as_ref().unwrap().point,
    };
    let (setup, funding) = (&funded.setup, &funded.funding);
    let built = Commitment::build(setup, funding, owner, newest.n, &point, &newest.ledger);
    (built.unwrap(), point)
}

pub(super) fn ask(end: &mut End, request: &Request) -> Reply {
    let dbid = end.new.channel;
    let reply = end.node.hsm().onchain(dbid, request.clone());
    end.node.hsm().sync().unwrap();
    reply.unwrap_or_else(|refused| Reply::Refused {
        rule: refused.rule().to_string(),
        reason: refused.to_string(),
    })
}

fn signed(end: &mut End, request: &Request) -> Transaction {
    match ask(end, request) {
        Reply::Signed { tx } => bitcoin::consensus::deserialize(&tx).unwrap(),
        other => panic!("not signed: {other:?}"),
    }
}

/// The rule, while nothing changes.
fn refused(end: &mut End, request: &Request) -> String {
    let (before, len) = (end.node.hsm().state.clone(), end.node.journal_len());
    match ask(end, request) {
        Reply::Refused { rule, .. } => {
            assert_eq!(end.node.hsm().state, before, "a refusal changed something");
            assert_eq!(end.node.journal_len(), len, "a refusal was recorded");
            rule
        }
        other => panic!("answered: {other:?}"),
    }
}

/// The chain's own code takes every input, and none if the transaction paid a satoshi less.
fn verify(tx: &Transaction, spent: &[TxOut]) {
    let mut other = tx.clone();
    other.output[0].value -= bitcoin::Amount::ONE_SAT;
    for at in 0..spent.len() {
        verify_input(tx, spent, at).unwrap_or_else(|error| panic!("input {at}: {error:?}"));
        assert!(
            verify_input(&other, spent, at).is_err(),
            "input {at} is signed for more"
        );
    }
}

fn verify_input(tx: &Transaction, spent: &[TxOut], at: usize) -> Result<(), Error> {
    assert_eq!(tx.input.len(), spent.len());
    let bytes = bitcoin::consensus::serialize(tx);
    let utxos: Vec<Utxo> = spent
        .iter()
        .map(|output| Utxo {
            script_pubkey: output.script_pubkey.as_bytes().as_ptr(),
            script_pubkey_len: output.script_pubkey.len() as u32,
            value: output.value.to_sat() as i64,
        })
        .collect();
    let (script, value) = (spent[at].script_pubkey.as_bytes(), spent[at].value.to_sat());
    let flags = VERIFY_ALL_PRE_TAPROOT | VERIFY_TAPROOT;
    verify_with_flags(script, value, &bytes, Some(&utxos), at, flags)
}

fn fee(tx: &Transaction, spent: &[TxOut]) -> u64 {
    let sum = |outputs: &[TxOut]| outputs.iter().map(|o| o.value.to_sat()).sum::<u64>();
    sum(spent) - sum(&tx.output)
}

pub(super) fn claim(vout: u32, how: How) -> Claim {
    let parent = 0;
    Claim { parent, vout, how }
}

pub(super) fn sweep(parent: &Transaction, claims: Vec<Claim>, fee: u64) -> Request {
    Request::Sweep {
        parents: vec![ParentTx::of(parent)],
        claims,
        fee: Satoshi(fee),
    }
}

/// It is signed, valid, pays this fee, and all to the channel's own address.
pub(super) fn check_sweep(end: &mut End, parent: &Transaction, claims: Vec<Claim>, paid: u64) {
    let vouts: Vec<usize> = claims.iter().map(|claim| claim.vout as usize).collect();
    let tx = signed(end, &sweep(parent, claims, paid));
    let spent: Vec<TxOut> = vouts.iter().map(|at| parent.output[*at].clone()).collect();
    verify(&tx, &spent);
    assert_eq!(fee(&tx, &spent), paid);
    let scripts: Vec<&ScriptBuf> = tx.output.iter().map(|o| &o.script_pubkey).collect();
    assert_eq!(scripts, [&end.new.shutdown_p2tr]);
}

pub(super) fn index(commitment: &Commitment, output: CommitmentOutput) -> u32 {
    commitment.index_of(output).unwrap()
}

fn revoked_htlc(n: CommitmentNumber, offerer: Side) -> How {
    let htlc = htlc(offerer);
    How::RevokedHtlc {
        n,
        offerer,
        payment_hash: htlc.payment_hash,
        cltv_expiry: htlc.cltv_expiry,
    }
}

/// What is `a`'s in the peer's commitment.
fn claims_of_theirs(theirs: &Commitment, point: PublicKey) -> Vec<Claim> {
    let ours = htlc(Side::Local);
    let timeout = How::Timeout {
        point,
        payment_hash: ours.payment_hash,
        cltv_expiry: ours.cltv_expiry,
    };
    let preimage = THEIRS;
    let fulfil = How::Preimage { point, preimage };
    let htlc = |offerer| index(theirs, CommitmentOutput::Htlc(key(offerer)));
    vec![
        claim(index(theirs, CommitmentOutput::ToRemote), How::ToRemote),
        claim(htlc(Side::Local), timeout),
        claim(htlc(Side::Remote), fulfil),
    ]
}

/// Two coins of the wallet of `a`, one of each kind, and what they are.
fn coins(pair: &mut Pair) -> (Vec<FeeCoin>, Vec<TxOut>) {
    let ours: Vec<Address> = addresses(&mut pair.a.node);
    let coin = |n: u8, value, at: usize, kind| FeeCoin {
        outpoint: outpoint(n),
        value: Satoshi(value),
        index: ours[at].index,
        kind,
    };
    let coins = vec![
        coin(1, 600_000, 0, CoinKind::P2wpkh),
        coin(2, 30_000, 1, CoinKind::P2tr),
    ];
    let spent = vec![
        output(600_000, &ours[0].p2wpkh),
        output(30_000, &ours[1].p2tr),
    ];
    (coins, spent)
}

fn force_close(end: &mut End) -> Transaction {
    let dbid = end.new.channel;
    end.node.hsm().force_close(dbid).unwrap()
}

fn set_max_fee(pair: &mut Pair, max_fee: u64) {
    let hsm = pair.a.node.hsm();
    let limits = Limits {
        max_fee: Satoshi(max_fee),
        ..hsm.limits()
    };
    hsm.set_limits(limits).unwrap();
}

#[test]
fn everything_of_ours_in_the_peers_commitment_is_swept_in_one() {
    for format in FORMATS {
        let mut pair = with_htlcs(format);
        let (theirs, point) = newest(&mut pair, Side::Remote);
        let tx = force_close(&mut pair.b);
        assert_eq!(tx.compute_txid(), theirs.tx.compute_txid());
        let claims = claims_of_theirs(&theirs, point);
        check_sweep(&mut pair.a, &tx, claims.clone(), 2_000);
        // And each alone, also when our own commitment was signed, or may be old.
        force_close(&mut pair.a);
        for claim in claims {
            check_sweep(&mut pair.a, &tx, vec![claim], 500);
        }
    }
}

#[test]
fn our_own_outputs_are_swept_after_their_delay_and_htlc_transactions_are_joined() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, coins_spent) = coins(&mut pair);
    let tx = force_close(&mut pair.a);
    let (ours, point) = newest(&mut pair, Side::Local);
    let request = Request::LocalPoint { n: ours.n };
    assert_eq!(ask(&mut pair.a, &request), Reply::Point { point });
    let delayed = How::Delayed { n: ours.n };
    let vout = index(&ours, CommitmentOutput::ToLocal);
    check_sweep(&mut pair.a, &tx, vec![claim(vout, delayed.clone())], 700);
    // Their HTLC by its preimage, ours after its timeout.
    for (offerer, preimage, paid) in [
        (Side::Remote, Some(THEIRS), 20_000),
        (Side::Local, None, 900),
    ] {
        let request = Request::HtlcTxs {
            htlcs: vec![(key(offerer), preimage)],
            coins: coins.clone(),
            fee: Satoshi(paid),
        };
        let claimed = signed(&mut pair.a, &request);
        let vout = index(&ours, CommitmentOutput::Htlc(key(offerer)));
        let mut spent = vec![tx.output[vout as usize].clone()];
        spent.extend(coins_spent.clone());
        verify(&claimed, &spent);
        assert_eq!(fee(&claimed, &spent), paid);
        assert_eq!(claimed.output[1].script_pubkey, pair.a.new.shutdown_p2tr);
        let after = vec![claim(0, delayed.clone())];
        check_sweep(&mut pair.a, &claimed, after, 700);
    }
}

#[test]
fn htlc_transactions_with_a_fee_of_their_own_are_signed_as_they_are() {
    let mut pair = with_htlcs(StaticRemotekey);
    let (coins, _) = coins(&mut pair);
    let tx = force_close(&mut pair.a);
    let (ours, _) = newest(&mut pair, Side::Local);
    let ask_for = |htlcs: &[(Side, Option<Preimage>)], coins: &[FeeCoin]| Request::HtlcTxs {
        htlcs: htlcs
            .iter()
            .map(|(offerer, preimage)| (key(*offerer), *preimage))
            .collect(),
        coins: coins.to_vec(),
        fee: Satoshi(1_000),
    };
    let both = [(Side::Remote, Some(THEIRS)), (Side::Local, None)];
    for one in both {
        let claimed = signed(&mut pair.a, &ask_for(&[one], &[]));
        let vout = index(&ours, CommitmentOutput::Htlc(key(one.0)));
        verify(&claimed, &[tx.output[vout as usize].clone()]);
        // The peer's signature commits to all of it: no coins, and none beside.
        assert_eq!(refused(&mut pair.a, &ask_for(&[one], &coins)), "X1");
    }
    assert_eq!(refused(&mut pair.a, &ask_for(&both, &[])), "X1");
}

#[test]
fn everything_in_a_revoked_commitment_is_ours() {
    for format in FORMATS {
        let mut pair = with_htlcs(format);
        let (revoked, point) = newest(&mut pair, Side::Remote);
        pair.commit(Side::Remote, &[]);
        let n = revoked.n;
        let request = Request::RevokedPoint { n };
        assert_eq!(ask(&mut pair.a, &request), Reply::Point { point });
        let htlc = |offerer| {
            let vout = index(&revoked, CommitmentOutput::Htlc(key(offerer)));
            claim(vout, revoked_htlc(n, offerer))
        };
        let claims = vec![
            claim(
                index(&revoked, CommitmentOutput::ToLocal),
                How::Revoked { n },
            ),
            claim(index(&revoked, CommitmentOutput::ToRemote), How::ToRemote),
            htlc(Side::Local),
            htlc(Side::Remote),
        ];
        check_sweep(&mut pair.a, &revoked.tx, claims, 100_000);
        // The peer was quicker with its HTLC transactions.
        for second in revoked.htlc_transactions().unwrap() {
            let claims = vec![claim(0, How::Revoked { n })];
            check_sweep(&mut pair.a, &second.tx, claims, 1_000);
        }
    }
}

#[test]
fn a_commitments_anchor_pays_for_it_and_is_replaced_by_the_same_coins() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, coins_spent) = coins(&mut pair);
    let theirs = force_close(&mut pair.b);
    let ours = force_close(&mut pair.a);
    for parent in [theirs, ours] {
        for paid in [1_000, 3_000, 3_000, 370_000] {
            let request = Request::Anchor {
                commitment: ParentTx::of(&parent),
                coins: coins.clone(),
                fee: Satoshi(paid),
            };
            let child = signed(&mut pair.a, &request);
            let anchor = anchor_of(&pair.a.setup, &parent).unwrap();
            assert_eq!(child.input[0].previous_output, anchor);
            let mut spent = vec![parent.output[anchor.vout as usize].clone()];
            spent.extend(coins_spent.clone());
            verify(&child, &spent);
            assert_eq!(fee(&child, &spent), paid);
            assert_eq!(child.output[0].script_pubkey, pair.a.new.shutdown_p2tr);
            // The coins are gone and the change is there, once; after a restart too.
            let change = child.output[0].value.to_sat();
            assert_eq!(pair.a.node.hsm().state.coins.balance(), Satoshi(change));
            let len = pair.a.node.journal_len();
            assert_eq!(signed(&mut pair.a, &request), child);
            assert_eq!(pair.a.node.journal_len(), len, "a repetition was recorded");
            pair.a.node.restart();
        }
    }
}

#[test]
fn x1_an_output_that_is_not_ours_is_not_claimed() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (theirs, point) = newest(&mut pair, Side::Remote);
    let parent = theirs.tx.clone();
    let (own, next) = (
        index(&theirs, CommitmentOutput::ToRemote),
        parent.output.len() as u32,
    );
    let their_balance = index(&theirs, CommitmentOutput::ToLocal);
    let fulfil = |preimage| How::Preimage { point, preimage };
    let wrong = [
        claim(their_balance, How::ToRemote),
        claim(next, How::ToRemote),
        claim(own, How::Delayed { n: theirs.n }),
        // Ours by its timeout, not by its preimage.
        claim(
            index(&theirs, CommitmentOutput::Htlc(key(Side::Local))),
            fulfil(OURS),
        ),
        claim(
            index(&theirs, CommitmentOutput::Htlc(key(Side::Remote))),
            fulfil(OURS),
        ),
        Claim {
            parent: 1,
            ..claim(own, How::ToRemote)
        },
    ];
    for claim in wrong {
        let request = sweep(&parent, vec![claim.clone()], 500);
        assert_eq!(refused(&mut pair.a, &request), "X1", "{claim:?}");
    }
    let good = claim(own, How::ToRemote);
    let request = Request::Sweep {
        parents: vec![ParentTx(vec![1, 2, 3])],
        claims: vec![good.clone()],
        fee: Satoshi(500),
    };
    assert_eq!(refused(&mut pair.a, &request), "X1", "no transaction");
    assert_eq!(refused(&mut pair.a, &sweep(&parent, vec![], 0)), "X1");
    let many = vec![good.clone(); 1_001];
    assert_eq!(refused(&mut pair.a, &sweep(&parent, many, 500)), "X1");
    check_sweep(&mut pair.a, &parent, vec![good], 500);
}

#[test]
fn x1_only_htlcs_of_our_newest_commitment_are_taken_and_as_they_can_be() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, _) = coins(&mut pair);
    force_close(&mut pair.a);
    let unknown = HtlcKey {
        offerer: Side::Local,
        id: HtlcId(1),
    };
    for htlc in [
        (unknown, None),
        (key(Side::Remote), None),
        (key(Side::Remote), Some(OURS)),
        (key(Side::Local), Some(OURS)),
    ] {
        let request = Request::HtlcTxs {
            htlcs: vec![htlc],
            coins: coins.clone(),
            fee: Satoshi(900),
        };
        assert_eq!(refused(&mut pair.a, &request), "X1", "{htlc:?}");
    }
}

#[test]
fn x2_a_claims_fee_is_half_of_what_it_takes_at_most() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, _) = coins(&mut pair);
    let (theirs, point) = newest(&mut pair, Side::Remote);
    let htlc = claims_of_theirs(&theirs, point).remove(1);
    let one = |fee| sweep(&theirs.tx, vec![htlc.clone()], fee);
    assert_eq!(refused(&mut pair.a, &one(OUR_HTLC / 2 + 1)), "X2");
    check_sweep(&mut pair.a, &theirs.tx, vec![htlc.clone()], OUR_HTLC / 2);
    // Of HTLC transactions the HTLCs count, not the coins beside them.
    force_close(&mut pair.a);
    let ask_for = |fee| Request::HtlcTxs {
        htlcs: vec![(key(Side::Local), None)],
        coins: coins.clone(),
        fee: Satoshi(fee),
    };
    assert_eq!(refused(&mut pair.a, &ask_for(OUR_HTLC / 2 + 1)), "X2");
    signed(&mut pair.a, &ask_for(OUR_HTLC / 2));
    // The operator's cap.
    set_max_fee(&mut pair, 1_000);
    assert_eq!(refused(&mut pair.a, &one(1_001)), "X2");
    assert_eq!(refused(&mut pair.a, &ask_for(1_001)), "X2");
    check_sweep(&mut pair.a, &theirs.tx, vec![htlc], 1_000);
    signed(&mut pair.a, &ask_for(1_000));
}

#[test]
fn x3_only_what_the_peer_has_revoked_is_punished() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (theirs, _) = newest(&mut pair, Side::Remote);
    let htlc = index(&theirs, CommitmentOutput::Htlc(key(Side::Remote)));
    let balance = index(&theirs, CommitmentOutput::ToLocal);
    let n = theirs.n;
    for n in [n, n.next().unwrap()] {
        assert_eq!(refused(&mut pair.a, &Request::RevokedPoint { n }), "X3");
        for (vout, how) in [
            (balance, How::Revoked { n }),
            (htlc, revoked_htlc(n, Side::Remote)),
        ] {
            let request = sweep(&theirs.tx, vec![claim(vout, how)], 500);
            assert_eq!(refused(&mut pair.a, &request), "X3");
        }
    }
    // With the secret of another commitment it is another script.
    let before = n.prev().unwrap();
    let claims = vec![claim(balance, How::Revoked { n: before })];
    assert_eq!(refused(&mut pair.a, &sweep(&theirs.tx, claims, 500)), "X1");
}

fn anchor(parent: &Transaction, coins: &[FeeCoin], fee: u64) -> Request {
    Request::Anchor {
        commitment: ParentTx::of(parent),
        coins: coins.to_vec(),
        fee: Satoshi(fee),
    }
}

#[test]
fn x4_an_anchors_fee_is_half_of_what_is_at_stake_at_most() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, _) = coins(&mut pair);
    let (theirs, _) = newest(&mut pair, Side::Remote);
    // 650,000 of our balance, 50,000 and 40,000 in HTLCs.
    assert_eq!(
        refused(&mut pair.a, &anchor(&theirs.tx, &coins, 370_001)),
        "X4"
    );
    signed(&mut pair.a, &anchor(&theirs.tx, &coins, 370_000));
    set_max_fee(&mut pair, 1_000);
    assert_eq!(
        refused(&mut pair.a, &anchor(&theirs.tx, &coins, 1_001)),
        "X4"
    );
    signed(&mut pair.a, &anchor(&theirs.tx, &coins, 1_000));
}

#[test]
fn x4_only_a_commitment_of_the_channel_gets_a_child() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, _) = coins(&mut pair);
    let (theirs, _) = newest(&mut pair, Side::Remote);
    let mut elsewhere = theirs.tx.clone();
    elsewhere.input[0].previous_output = OutPoint::null();
    let mut two = theirs.tx.clone();
    two.input.push(elsewhere.input[0].clone());
    let mut unnumbered = theirs.tx.clone();
    unnumbered.input[0].sequence.0 = 0;
    let mut without = theirs.tx.clone();
    let at = anchor_of(&pair.a.setup, &without).unwrap().vout;
    without.output.remove(at as usize);
    for parent in [elsewhere, two, unnumbered, without] {
        assert_eq!(refused(&mut pair.a, &anchor(&parent, &coins, 500)), "X4");
    }
    // Our own, before it was signed.
    let (ours, _) = newest(&mut pair, Side::Local);
    assert_eq!(refused(&mut pair.a, &anchor(&ours.tx, &coins, 500)), "X4");
    force_close(&mut pair.a);
    signed(&mut pair.a, &anchor(&ours.tx, &coins, 500));
}

#[test]
fn w3_the_coins_of_a_claim_are_ours_and_what_was_first_said() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, _) = coins(&mut pair);
    let (theirs, _) = newest(&mut pair, Side::Remote);
    signed(&mut pair.a, &anchor(&theirs.tx, &coins, 500));
    let mut other = coins.clone();
    other[0].value = Satoshi(599_999);
    assert_eq!(refused(&mut pair.a, &anchor(&theirs.tx, &other, 500)), "W3");
    let mut nobodys = coins.clone();
    nobodys[1].index = pair.a.node.hsm().state.next_address;
    assert_eq!(
        refused(&mut pair.a, &anchor(&theirs.tx, &nobodys, 500)),
        "W3"
    );
    let twice = vec![coins[0], coins[0]];
    assert_eq!(refused(&mut pair.a, &anchor(&theirs.tx, &twice, 500)), "W3");
}

#[test]
fn d4_htlc_transactions_come_after_the_commitment() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (coins, _) = coins(&mut pair);
    let request = Request::HtlcTxs {
        htlcs: vec![(key(Side::Local), None)],
        coins,
        fee: Satoshi(900),
    };
    assert_eq!(refused(&mut pair.a, &request), "D4");
    force_close(&mut pair.a);
    signed(&mut pair.a, &request);
}

#[test]
fn c5_a_point_beyond_the_next_is_not_told_or_used() {
    let mut pair = with_htlcs(AnchorsZeroFeeHtlc);
    let (ours, _) = newest(&mut pair, Side::Local);
    let n = CommitmentNumber(ours.n.0 + 2);
    assert_eq!(refused(&mut pair.a, &Request::LocalPoint { n }), "C5");
    let vout = index(&ours, CommitmentOutput::ToLocal);
    let request = sweep(&ours.tx, vec![claim(vout, How::Delayed { n })], 500);
    assert_eq!(refused(&mut pair.a, &request), "C5");
}
