//! Two ends driven by random changes always accept each other's signatures.

use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, Transaction};
use proptest::prelude::*;
use secp256k1::{Message, SECP256K1};
use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::setup::{CommitmentFormat, Setup};
use tx::signer::{CloseTerms, NextLocal, NextRemote, Reply, Request};
use wire::{CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi, Preimage, Side};

use super::fixture::{CLOSE_FEE, Pair, VALUE, seen_by};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Add {
        offerer: Side,
        amount: u64,
    },
    Settle {
        which: prop::sample::Index,
        fulfil: bool,
    },
    Fee(u32),
    /// The owner gets a commitment with all that is outstanding for it.
    Commit(Side),
    /// Everything of the last commitment of the owner is asked once more.
    Again(Side),
    Restart(Side),
    Compact(Side),
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Local), Just(Side::Remote)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (side(), 1u64..60_000_000).prop_map(|(offerer, amount)| Event::Add { offerer, amount }),
        2 => (side(), 1u64..1_500_000).prop_map(|(offerer, amount)| Event::Add { offerer, amount }),
        5 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, fulfil)| Event::Settle { which, fulfil }),
        1 => (253u32..5000).prop_map(Event::Fee),
        6 => side().prop_map(Event::Commit),
        2 => side().prop_map(Event::Again),
        1 => side().prop_map(Event::Restart),
        1 => side().prop_map(Event::Compact),
    ]
}

/// A change travels as BOLT 2 has it: into the commitment of the side that did not propose it, and
/// from there into the other.
struct Run {
    pair: Pair,
    changes: Vec<Change>,
    /// The commitments of `a` and of `b`, both as `a` sees them.
    ledgers: [Ledger; 2],
    last: [Option<Last>; 2],
    next_id: u64,
}

struct Change {
    by: Side,
    delta: Delta,
    /// Whether the commitments of `a` and of `b` have it.
    done: [bool; 2],
}

#[derive(Clone)]
struct Last {
    sign: Request,
    signed: Reply,
    validate: Request,
    validated: Reply,
}

fn at(side: Side) -> usize {
    match side {
        Side::Local => 0,
        Side::Remote => 1,
    }
}

fn preimage(id: u64) -> Preimage {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    Preimage(bytes)
}

impl Run {
    fn new(format: CommitmentFormat) -> Run {
        let pair = Pair::open(format);
        let opening = Ledger::opening(&pair.a.setup).unwrap();
        Run {
            pair,
            changes: vec![],
            ledgers: [opening.clone(), opening],
            last: [None, None],
            next_id: 0,
        }
    }

    fn change(&mut self, by: Side, delta: Delta) {
        let done = [false; 2];
        self.changes.push(Change { by, delta, done });
    }

    /// What `offerer` has in both commitments when all that is under way has been added.
    fn spendable(&self, offerer: Side) -> MilliSatoshi {
        let in_one = |owner: usize| {
            let under_way = self.changes.iter().filter(|change| !change.done[owner]);
            under_way.fold(
                self.ledgers[owner].balance(offerer),
                |left, change| match &change.delta {
                    Delta::Add { key, htlc } if key.offerer == offerer => {
                        left.saturating_sub(htlc.amount)
                    }
                    _ => left,
                },
            )
        };
        in_one(0).min(in_one(1))
    }

    /// HTLCs that are in both commitments and that nobody is removing.
    fn removable(&self) -> Vec<HtlcKey> {
        let removed = |key: &HtlcKey| {
            self.changes.iter().any(|change| match &change.delta {
                Delta::Fulfil { key: gone, .. } | Delta::Fail { key: gone } => gone == key,
                Delta::Add { .. } | Delta::Fee { .. } => false,
            })
        };
        let both = self.ledgers[0].htlcs.keys();
        both.filter(|key| self.ledgers[1].htlcs.contains_key(key) && !removed(key))
            .copied()
            .collect()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Add { offerer, amount } => {
                // 150,000 sat pay for every fee that comes up here.
                if self.spendable(offerer) < MilliSatoshi(amount + 150_000_000) {
                    return;
                }
                let key = HtlcKey {
                    offerer,
                    id: HtlcId(self.next_id),
                };
                let htlc = Htlc {
                    amount: MilliSatoshi(amount),
                    payment_hash: preimage(self.next_id).payment_hash(),
                    cltv_expiry: CltvExpiry(800_000 + self.next_id as u32 % 3),
                };
                self.next_id += 1;
                self.change(offerer, Delta::Add { key, htlc });
            }
            Event::Settle { which, fulfil } => {
                let keys = self.removable();
                if !keys.is_empty() {
                    self.remove(*which.get(&keys), fulfil);
                }
            }
            Event::Fee(feerate) => {
                let feerate = FeeratePerKw(feerate);
                self.change(Side::Local, Delta::Fee { feerate });
            }
            Event::Commit(owner) => self.commit(owner),
            Event::Again(owner) => self.again(owner),
            Event::Restart(side) => self.pair.ends(side).0.node.restart(),
            Event::Compact(side) => {
                let node = &mut self.pair.ends(side).0.node;
                node.hsm().compact().unwrap();
                node.restart();
            }
        }
    }

    fn remove(&mut self, key: HtlcKey, fulfil: bool) {
        let preimage = preimage(key.id.0);
        let delta = match fulfil {
            true => Delta::Fulfil { key, preimage },
            false => Delta::Fail { key },
        };
        self.change(key.offerer.other(), delta);
    }

    /// What enters the next commitment of `owner`.
    fn take(&mut self, owner: Side) -> Vec<Delta> {
        let (own, other) = (at(owner), at(owner.other()));
        let mut taken = vec![];
        for change in &mut self.changes {
            if !change.done[own] && (change.by != owner || change.done[other]) {
                change.done[own] = true;
                self.ledgers[own].apply(&change.delta).unwrap();
                taken.push(change.delta.clone());
            }
        }
        self.changes.retain(|change| change.done != [true; 2]);
        taken
    }

    fn commit(&mut self, owner: Side) {
        let deltas = self.take(owner);
        let (owner_end, signer) = self.pair.ends(owner);
        let (n, point) = (owner_end.next, owner_end.next_point);
        let as_signer = seen_by(owner.other(), &deltas);
        let sign = Request::SignRemote(NextRemote {
            n,
            point,
            tickets: signer.pay(&as_signer),
            deltas: as_signer,
        });
        let signed = signer.ask(sign.clone());
        let Reply::SignedRemote {
            signature,
            htlc_signatures,
        } = signed.clone()
        else {
            panic!("not signed: {signed:?}");
        };
        let validate = Request::ValidateLocal(NextLocal {
            n,
            deltas: seen_by(owner, &deltas),
            signature,
            htlc_signatures,
        });
        let validated = owner_end.ask(validate.clone());
        let Reply::ValidatedLocal {
            revoked_secret: Some(secret),
            next_point,
            ..
        } = validated
        else {
            panic!("not validated: {validated:?}");
        };
        (owner_end.next, owner_end.next_point) = (n.next().unwrap(), next_point);
        let n = n.prev().unwrap();
        for _ in 0..2 {
            signer.done(Request::RemoteRevoked { n, secret });
        }
        self.last[at(owner)] = Some(Last {
            sign,
            signed,
            validate,
            validated,
        });
    }

    fn again(&mut self, owner: Side) {
        let Some(last) = self.last[at(owner)].clone() else {
            return;
        };
        let (owner_end, signer) = self.pair.ends(owner);
        let lens = (owner_end.node.journal_len(), signer.node.journal_len());
        assert_eq!(signer.ask(last.sign), last.signed);
        assert_eq!(owner_end.ask(last.validate), last.validated);
        let after = (owner_end.node.journal_len(), signer.node.journal_len());
        assert_eq!(after, lens, "a repetition was recorded");
    }

    /// Ends all HTLCs, closes mutually, and then both broadcast their own commitments anyway.
    fn end(mut self) {
        for round in 0..2 {
            for owner in [Side::Local, Side::Remote, Side::Local] {
                self.commit(owner);
            }
            if round == 0 {
                for key in self.removable() {
                    self.remove(key, false);
                }
            }
        }
        let [a, b] = &self.ledgers;
        assert_eq!(a, b, "the two do not agree");
        assert_eq!(a.htlcs.len(), 0);
        assert_eq!(Some(a.total()), VALUE.to_msat(), "money appeared or went");
        for end in [&mut self.pair.a, &mut self.pair.b] {
            // All failed or paid, and nothing was forwarded.
            let left = end.node.hsm().state.flows.iter();
            assert_eq!(left.map(|(_, flow)| flow.legs.len()).sum::<usize>(), 0);
        }
        self.close();
        for owner in [Side::Local, Side::Remote] {
            let funding = self.pair.funding;
            let (end, _) = self.pair.ends(owner);
            let dbid = end.new.channel;
            let tx = end.node.hsm().force_close(dbid).unwrap();
            assert_eq!(end.node.hsm().force_close(dbid).unwrap(), tx);
            assert_eq!(tx.input[0].previous_output, funding.outpoint);
            check_both_signatures(&end.setup, &tx);
            assert_eq!(tx::commitment::number_of(&end.setup, &tx), end.next.prev());
            end.node.restart();
        }
    }

    fn close(&mut self) {
        let (script_a, script_b) = (
            self.pair.a.new.shutdown_p2wpkh.clone(),
            self.pair.b.new.shutdown_p2tr.clone(),
        );
        let sign = self.pair.sign_close(CLOSE_FEE);
        let Reply::SignedClose { signature } = self.pair.a.ask(sign) else {
            panic!("no signature on the mutual close");
        };
        let reply = self.pair.b.ask(Request::CompleteClose {
            terms: CloseTerms {
                fee: CLOSE_FEE,
                local_script: script_b,
                remote_script: script_a,
            },
            signature,
        });
        let Reply::CompletedClose { tx } = reply else {
            panic!("not completed: {reply:?}");
        };
        let tx: Transaction = bitcoin::consensus::deserialize(&tx).unwrap();
        check_both_signatures(&self.pair.b.setup, &tx);
    }
}

/// As the chain would: two signatures of the funding output's two keys.
fn check_both_signatures(setup: &Setup, tx: &Transaction) {
    let script = setup.funding_script();
    let witness = tx.input[0].witness.to_vec();
    assert_eq!(witness.len(), 4);
    assert_eq!(witness[3], script.as_bytes());
    let hash = SighashCache::new(tx)
        .p2wsh_signature_hash(0, &script, Amount::from_sat(VALUE.0), EcdsaSighashType::All)
        .unwrap();
    let message = Message::from_digest(hash.to_byte_array());
    let mut keys = [setup.local.funding_pubkey, setup.remote.funding_pubkey];
    keys.sort_by_key(secp256k1::PublicKey::serialize);
    for (key, signature) in keys.iter().zip(&witness[1..3]) {
        let signature = bitcoin::ecdsa::Signature::from_slice(signature).unwrap();
        SECP256K1
            .verify_ecdsa(&message, &signature.signature, key)
            .unwrap();
    }
}

fn formats() -> impl Strategy<Value = CommitmentFormat> {
    prop_oneof![
        Just(CommitmentFormat::StaticRemotekey),
        Just(CommitmentFormat::AnchorsZeroFeeHtlc)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn two_ends_accept_each_others_signatures_whatever_happens(
        format in formats(),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut run = Run::new(format);
        for event in events {
            run.happen(event);
        }
        run.end();
    }
}

#[test]
fn a_commitment_with_483_htlcs_of_each_side_is_signed_and_verified() {
    let mut run = Run::new(CommitmentFormat::AnchorsZeroFeeHtlc);
    for _ in 0..300 {
        run.happen(Event::Fee(253));
        for offerer in [Side::Local, Side::Remote] {
            run.happen(Event::Add {
                offerer,
                amount: 250_000 + run.next_id * 1000,
            });
        }
    }
    for owner in [Side::Remote, Side::Local, Side::Remote, Side::Local] {
        run.commit(owner);
    }
    run.end();
}

#[test]
fn the_first_commitments_may_come_in_either_order() {
    for first in [Side::Local, Side::Remote] {
        let mut pair = Pair::funded(CommitmentFormat::AnchorsZeroFeeHtlc);
        pair.commit(first, &[]);
        pair.commit(first.other(), &[]);
        pair.commit(first, &[]);
    }
}

#[test]
fn a_peer_may_sign_the_same_commitment_again_after_a_lost_reply() {
    let mut pair = Pair::open(CommitmentFormat::AnchorsZeroFeeHtlc);
    let (signature, _) = pair.sign(Side::Local, &[]);
    let request = Request::ValidateLocal(NextLocal {
        n: CommitmentNumber(1),
        deltas: vec![],
        signature,
        htlc_signatures: vec![],
    });
    let first = pair.a.ask(request.clone());
    // hsmd is durable, the database is not, and the peer has another valid signature.
    pair.a.node.restart();
    let other = another_signature(&mut pair);
    assert_ne!(other, signature);
    let len = pair.a.node.journal_len();
    let again = pair.a.ask(Request::ValidateLocal(NextLocal {
        n: CommitmentNumber(1),
        deltas: vec![],
        signature: other,
        htlc_signatures: vec![],
    }));
    assert_eq!(again, first);
    assert_eq!(pair.a.node.journal_len(), len);
    // What is not valid is not accepted the second time either.
    let mut bytes = signature.serialize_compact();
    bytes[63] ^= 1;
    let wrong = secp256k1::ecdsa::Signature::from_compact(&bytes).unwrap();
    let rule = pair.a.refused(Request::ValidateLocal(NextLocal {
        n: CommitmentNumber(1),
        deltas: vec![],
        signature: wrong,
        htlc_signatures: vec![],
    }));
    assert_eq!(rule, "C5");
}

/// The peer's on `a`'s commitment 1, with another nonce.
fn another_signature(pair: &mut Pair) -> secp256k1::ecdsa::Signature {
    let (setup, funding) = (pair.a.setup.clone(), pair.funding);
    let ledger = Ledger::opening(&setup).unwrap();
    let point = pair.a.new.first_points[1];
    let n = CommitmentNumber(1);
    let commitment =
        tx::Commitment::build(&setup, &funding, Side::Local, n, &point, &ledger).unwrap();
    let message = commitment.sighash(&setup, &funding).unwrap();
    let channel = pair.b.new.channel;
    let hsm = pair.b.node.hsm();
    let secret = hsm.channel_keys[&channel].funding_secret();
    SECP256K1.sign_ecdsa_with_noncedata(&message, secret, &[7; 32])
}
