//! Stands in for hsmd: keeps ledgers by `tx::ledger`, checks the order of numbers, refuses a
//! changed repetition, survives crashes. Its "signatures" are hashes of what it would sign,
//! so that both sides agree on every byte of a commitment or the test fails.

use std::collections::BTreeMap;

use bitcoin::ScriptBuf;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use tx::fees;
use tx::keys::{per_commitment_point, per_commitment_secret};
use tx::ledger::{Delta, Ledger};
use tx::setup::{Funding, Setup};
use tx::signer::{CloseTerms, NextLocal, NextRemote, Proof, Reply, Request, RevocationSecret};
use wire::{CommitmentNumber, Preimage, Satoshi, Side};

/// A commitment that was signed or validated, and the request that did it.
#[derive(Clone)]
struct Known {
    n: CommitmentNumber,
    ledger: Ledger,
    request: Request,
    reply: Reply,
}

#[derive(Clone)]
pub struct TestSigner {
    seed: [u8; 32],
    setup: Option<Setup>,
    funding: Option<Funding>,
    local: Option<Known>,
    remote: Option<Known>,
    remote_points: BTreeMap<u64, PublicKey>,
    remote_secrets: u64,
    closed: Option<Satoshi>,
    /// Preimages of HTLCs of ours that left our commitment with them.
    pub paid: Vec<Preimage>,
    /// The rule that the next commitment of the peer's breaks.
    pub refuse: Option<&'static str>,
    pub has_refused: bool,
}

impl TestSigner {
    pub fn new(seed: u8) -> TestSigner {
        TestSigner {
            seed: [seed; 32],
            setup: None,
            funding: None,
            local: None,
            remote: None,
            remote_points: BTreeMap::new(),
            remote_secrets: 0,
            closed: None,
            paid: vec![],
            refuse: None,
            has_refused: false,
        }
    }

    /// As after an opening: commitment 0 on both sides.
    pub fn opened(
        seed: u8,
        setup: &Setup,
        funding: Funding,
        remote_point: PublicKey,
    ) -> TestSigner {
        let mut signer = TestSigner::new(seed);
        let n = CommitmentNumber(0);
        signer.ask(&Request::Setup {
            setup: setup.clone(),
        });
        signer.ask(&Request::SetFunding { funding });
        signer.ask(&Request::SignRemote(NextRemote {
            n,
            point: remote_point,
            deltas: vec![],
            tickets: vec![],
        }));
        let signature = sign(setup, n, Side::Local, &Ledger::opening(setup).unwrap());
        signer.ask(&Request::ValidateLocal(NextLocal {
            n,
            deltas: vec![],
            signature,
            htlc_signatures: vec![],
        }));
        signer
    }

    pub fn point(&self, n: u64) -> PublicKey {
        per_commitment_point(&self.secret(n)).unwrap()
    }

    pub fn secret(&self, n: u64) -> RevocationSecret {
        per_commitment_secret(&self.seed, CommitmentNumber(n)).unwrap()
    }

    /// Number of the newest commitment of the peer that was signed.
    pub fn newest_remote(&self) -> Option<CommitmentNumber> {
        self.remote.as_ref().map(|known| known.n)
    }

    pub fn newest_local(&self) -> Option<CommitmentNumber> {
        self.local.as_ref().map(|known| known.n)
    }

    /// Our newest commitment that was validated: its number, point and contents.
    pub fn newest(&self) -> Option<(CommitmentNumber, PublicKey, Ledger)> {
        let known = self.local.as_ref()?;
        Some((known.n, self.point(known.n.0), known.ledger.clone()))
    }

    pub fn remote_ledger(&self) -> &Ledger {
        &self.remote.as_ref().unwrap().ledger
    }

    pub fn local_ledger(&self) -> &Ledger {
        &self.local.as_ref().unwrap().ledger
    }

    /// What this signer, as the peer's, would put under our commitment `n` with this ledger, seen from us.
    pub fn signatures(setup: &Setup, n: u64, ledger: &Ledger) -> (Signature, Vec<Signature>) {
        let n = CommitmentNumber(n);
        (
            sign(setup, n, Side::Local, ledger),
            htlc_signatures(setup, n, Side::Local, ledger),
        )
    }

    pub fn ask(&mut self, request: &Request) -> Reply {
        match request {
            Request::Setup { setup } => {
                assert!(
                    self.setup.as_ref().is_none_or(|fixed| fixed == setup),
                    "other terms"
                );
                self.setup = Some(setup.clone());
                Reply::Done
            }
            Request::SetFunding { funding } => {
                assert_eq!(funding.value, self.setup().funding_value);
                assert!(
                    self.funding.is_none_or(|fixed| fixed == *funding),
                    "other funding"
                );
                self.funding = Some(*funding);
                Reply::Done
            }
            Request::SignRemote(NextRemote {
                n,
                point,
                deltas,
                tickets,
            }) => {
                let ours = deltas.iter().filter(|delta| match delta {
                    Delta::Add { key, .. } => key.offerer == Side::Local,
                    Delta::Fulfil { .. } | Delta::Fail { .. } | Delta::Fee { .. } => false,
                });
                assert_eq!(
                    ours.count(),
                    tickets.len(),
                    "a ticket for each HTLC of ours"
                );
                self.sign_remote(*n, *point, deltas, request)
            }
            Request::ValidateLocal(NextLocal {
                n,
                deltas,
                signature,
                htlc_signatures,
            }) => self.validate_local(*n, deltas, signature, htlc_signatures, request),
            Request::RemoteRevoked { n, secret } => self.remote_revoked(*n, secret),
            Request::Point { n } => {
                let newest = self.newest_local().map_or(0, |n| n.0);
                match n.0 <= newest + 1 {
                    true => Reply::Point {
                        point: self.point(n.0),
                    },
                    false => refused("C5", "too far ahead"),
                }
            }
            Request::RevokedSecret { n } => {
                assert!(
                    *n < self.newest_local().unwrap(),
                    "secret of an unrevoked commitment"
                );
                Reply::RevokedSecret {
                    secret: self.secret(n.0),
                }
            }
            Request::ReestablishProof { n, secret } => {
                // The number is what the peer says.
                let Ok(ours) = per_commitment_secret(&self.seed, *n) else {
                    return refused("D1", "number out of range");
                };
                let proof = match *secret == ours {
                    true if Some(*n) < self.newest_local() => Proof::Revoked,
                    true => Proof::Stale,
                    false => Proof::Wrong,
                };
                Reply::Proof { proof }
            }
            Request::SignClose(CloseTerms {
                fee,
                local_script,
                remote_script,
            }) => Reply::SignedClose {
                signature: self.close(*fee, local_script, remote_script),
            },
            Request::CompleteClose {
                terms:
                    CloseTerms {
                        fee,
                        local_script,
                        remote_script,
                    },
                signature,
            } => {
                if self.close(*fee, local_script, remote_script) != *signature {
                    return refused("M1", "signature does not verify");
                }
                self.closed = Some(*fee);
                Reply::CompletedClose {
                    tx: fee.0.to_be_bytes().to_vec(),
                }
            }
            Request::EcdhBatch { .. } => panic!("not the channel core's question"),
        }
    }

    fn setup(&self) -> &Setup {
        self.setup.as_ref().expect("no Setup yet")
    }

    fn next(&self, known: Option<&Known>, n: CommitmentNumber, deltas: &[Delta]) -> Ledger {
        let Some(known) = known else {
            assert!(n.0 == 0 && deltas.is_empty(), "not commitment 0");
            assert!(self.funding.is_some(), "no SetFunding yet");
            return Ledger::opening(self.setup()).unwrap();
        };
        assert_eq!(Some(n), known.n.next(), "not the next commitment");
        let mut ledger = known.ledger.clone();
        for delta in deltas {
            ledger.apply(delta).unwrap();
        }
        assert_eq!(
            ledger.total(),
            self.setup().funding_value.to_msat().unwrap()
        );
        ledger
    }

    fn sign_remote(
        &mut self,
        n: CommitmentNumber,
        point: PublicKey,
        deltas: &[Delta],
        request: &Request,
    ) -> Reply {
        if let Some(known) = self.remote.as_ref().filter(|known| known.n == n) {
            assert_eq!(known.request, *request, "changed repetition");
            return known.reply.clone();
        }
        if let Some(rule) = self.refuse.take() {
            self.has_refused = true;
            return refused(rule, "as the test wants it");
        }
        assert!(
            self.remote_secrets + 1 >= n.0,
            "two unrevoked commitments behind {n}"
        );
        let ledger = self.next(self.remote.as_ref(), n, deltas);
        let reply = Reply::SignedRemote {
            signature: sign(self.setup(), n, Side::Remote, &ledger),
            htlc_signatures: htlc_signatures(self.setup(), n, Side::Remote, &ledger),
        };
        self.remote_points.insert(n.0, point);
        self.remote = Some(Known {
            n,
            ledger,
            request: request.clone(),
            reply: reply.clone(),
        });
        reply
    }

    fn validate_local(
        &mut self,
        n: CommitmentNumber,
        deltas: &[Delta],
        signature: &Signature,
        htlcs: &[Signature],
        request: &Request,
    ) -> Reply {
        if let Some(known) = self.local.as_ref().filter(|known| known.n == n) {
            assert_eq!(known.request, *request, "changed repetition");
            return known.reply.clone();
        }
        let ledger = self.next(self.local.as_ref(), n, deltas);
        let expected = (
            sign(self.setup(), n, Side::Local, &ledger),
            htlc_signatures(self.setup(), n, Side::Local, &ledger),
        );
        if expected != (*signature, htlcs.to_vec()) {
            return refused("C5", "signature does not verify");
        }
        let reply = Reply::ValidatedLocal {
            revoked_secret: n.prev().map(|n| self.secret(n.0)),
            point: self.point(n.0),
            next_point: self.point(n.0 + 1),
        };
        self.local = Some(Known {
            n,
            ledger,
            request: request.clone(),
            reply: reply.clone(),
        });
        let paid = deltas
            .iter()
            .filter_map(|delta| delta.fulfilled(Side::Local));
        self.paid.extend(paid.map(|(_, preimage)| *preimage));
        reply
    }

    fn remote_revoked(&mut self, n: CommitmentNumber, secret: &RevocationSecret) -> Reply {
        let expected = self.remote_points.get(&n.0).expect("a signed commitment");
        if per_commitment_point(secret).as_ref() != Ok(expected) {
            return refused("C4", "not the secret of that commitment");
        }
        assert!(n.0 <= self.remote_secrets, "secret out of order");
        self.remote_secrets = self.remote_secrets.max(n.0 + 1);
        Reply::Done
    }

    fn close(&self, fee: Satoshi, local: &ScriptBuf, remote: &ScriptBuf) -> Signature {
        let (ours, theirs) = (self.local_ledger(), self.remote_ledger());
        assert!(
            ours.htlcs.is_empty() && theirs.htlcs.is_empty(),
            "close with HTLCs"
        );
        assert_eq!(ours, theirs, "close with different balances");
        assert!(
            fee <= ours.balance(self.setup().opener).to_sat_floor(),
            "fee"
        );
        let (opener, accepter) = match self.setup().opener {
            Side::Local => (local, remote),
            Side::Remote => (remote, local),
        };
        let mut engine = sha256::Hash::engine();
        engine.input(&fee.0.to_be_bytes());
        engine.input(opener.as_bytes());
        engine.input(accepter.as_bytes());
        engine.input(&ours.balance(self.setup().opener).0.to_be_bytes());
        fake_signature(sha256::Hash::from_engine(engine))
    }
}

fn refused(rule: &str, reason: &str) -> Reply {
    Reply::Refused {
        rule: rule.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Hash of commitment `n` of `owner`, the same from both sides.
fn digest(n: CommitmentNumber, owner: Side, ledger: &Ledger) -> sha256::Hash {
    let mut engine = sha256::Hash::engine();
    engine.input(&n.0.to_be_bytes());
    engine.input(&ledger.balance(owner).0.to_be_bytes());
    engine.input(&ledger.balance(owner.other()).0.to_be_bytes());
    engine.input(&ledger.feerate.0.to_be_bytes());
    for offerer in [owner, owner.other()] {
        for (key, htlc) in ledger
            .htlcs
            .iter()
            .filter(|(key, _)| key.offerer == offerer)
        {
            engine.input(&[u8::from(offerer == owner)]);
            engine.input(&key.id.0.to_be_bytes());
            engine.input(&htlc.amount.0.to_be_bytes());
            engine.input(&htlc.payment_hash.0);
            engine.input(&htlc.cltv_expiry.0.to_be_bytes());
        }
    }
    sha256::Hash::from_engine(engine)
}

fn sign(_: &Setup, n: CommitmentNumber, owner: Side, ledger: &Ledger) -> Signature {
    fake_signature(digest(n, owner, ledger))
}

fn htlc_signatures(
    setup: &Setup,
    n: CommitmentNumber,
    owner: Side,
    ledger: &Ledger,
) -> Vec<Signature> {
    let digest = digest(n, owner, ledger);
    let count = fees::untrimmed(setup, ledger, owner, ledger.feerate);
    let one = |i: usize| {
        let mut engine = sha256::Hash::engine();
        engine.input(digest.as_byte_array());
        engine.input(&i.to_be_bytes());
        fake_signature(sha256::Hash::from_engine(engine))
    };
    (0..count).map(one).collect()
}

fn fake_signature(hash: sha256::Hash) -> Signature {
    let mut bytes = [0; 64];
    bytes[1..32].copy_from_slice(&hash.as_byte_array()[1..]);
    bytes[33..].copy_from_slice(&hash.as_byte_array()[1..]);
    Signature::from_compact(&bytes).unwrap()
}
