//! A channel with a history: the keys of both sides, every ledger that it had, and what each side can broadcast.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Transaction, Txid};
use onchain::action::{Encoded, Facts, KnownHtlc, Places, Terms};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tx::Commitment;
use tx::keys::{derive_privkey, per_commitment_point, per_commitment_secret};
use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::limits;
use tx::setup::{Basepoints, CommitmentFormat, Funding, Party, Setup};
use wire::{
    BlockDelta, BlockHeight, CltvExpiry, CommitmentNumber, FeeratePerKw, HtlcId, MilliSatoshi,
    Preimage, Satoshi, Side,
};

/// Height at which the funding output is spent, or soon after.
pub const START: u32 = 1000;
/// Of an operator who has lowered it: enough for a claim of one output while fees are low, not for several.
const LOW_CAP: Satoshi = Satoshi(2_500);

/// One side's private half.
pub struct Keys {
    pub funding: SecretKey,
    pub revocation: SecretKey,
    pub payment: SecretKey,
    pub delayed: SecretKey,
    pub htlc: SecretKey,
    pub seed: [u8; 32],
}

impl Keys {
    fn random(rng: &mut StdRng) -> Keys {
        let mut key = || SecretKey::from_slice(&rng.r#gen::<[u8; 32]>()).unwrap();
        Keys {
            funding: key(),
            revocation: key(),
            payment: key(),
            delayed: key(),
            htlc: key(),
            seed: key().secret_bytes(),
        }
    }

    pub fn point(&self, n: CommitmentNumber) -> PublicKey {
        per_commitment_point(&per_commitment_secret(&self.seed, n).unwrap()).unwrap()
    }

    fn party(&self, rng: &mut StdRng) -> Party {
        let public = |key: &SecretKey| key.public_key(SECP256K1);
        Party {
            funding_pubkey: public(&self.funding),
            basepoints: Basepoints {
                revocation: public(&self.revocation),
                payment: public(&self.payment),
                delayed_payment: public(&self.delayed),
                htlc: public(&self.htlc),
            },
            dust_limit: Satoshi(*[354, 546].iter().choose(rng).unwrap()),
            to_self_delay: BlockDelta(rng.gen_range(12..30)),
            channel_reserve: Satoshi(1000),
            htlc_minimum: MilliSatoshi(0),
            max_htlc_value_in_flight: MilliSatoshi(u64::MAX),
            max_accepted_htlcs: 483,
            upfront_shutdown_script: None,
        }
    }
}

/// The channel, seen from our side.
pub struct Contract {
    pub setup: Setup,
    pub funding: Funding,
    pub ours: Keys,
    pub theirs: Keys,
    /// Of commitment `n` of both sides.
    pub ledgers: Vec<Ledger>,
    /// Our newest is the last, or the one before.
    pub local_newest: usize,
    /// The peer has not revoked this one and those after it.
    pub remote_lowest: usize,
    pub htlcs: BTreeMap<HtlcKey, Htlc>,
    pub preimages: BTreeMap<HtlcKey, Preimage>,
    /// The operator's cap on a fee, which hsmd knows (X2, X4).
    pub max_fee: Cell<Satoshi>,
    /// What was asked for before.
    built: RefCell<HashMap<(Side, usize), Commitment>>,
    signed: RefCell<HashMap<(Side, usize), Transaction>>,
}

impl Contract {
    pub fn random(rng: &mut StdRng) -> Contract {
        let (ours, theirs) = (Keys::random(rng), Keys::random(rng));
        let sides = [Side::Local, Side::Remote];
        let formats = [
            CommitmentFormat::StaticRemotekey,
            CommitmentFormat::AnchorsZeroFeeHtlc,
        ];
        let value = Satoshi(rng.gen_range(200_000..3_000_000));
        let format = *formats.iter().choose(rng).unwrap();
        // Without anchors nothing can be added later: the sides have agreed on what the market takes.
        let feerate = match format {
            CommitmentFormat::StaticRemotekey => 900..1500,
            CommitmentFormat::AnchorsZeroFeeHtlc => 253..1500,
        };
        let setup = Setup {
            opener: *sides.iter().choose(rng).unwrap(),
            format,
            funding_value: value,
            push: MilliSatoshi(rng.gen_range(20_000..80_000) * value.0 / 100),
            feerate: FeeratePerKw(rng.gen_range(feerate)),
            local: ours.party(rng),
            remote: theirs.party(rng),
        };
        let mut contract = Contract::opened(rng, setup, ours, theirs);
        contract.live(rng);
        let caps = [limits::MAX_FEE, limits::MAX_FEE, LOW_CAP];
        contract.max_fee.set(caps[rng.gen_range(0..caps.len())]);
        contract
    }

    /// With anchors; each step's deltas make the next commitment of both sides, and the last is the newest.
    pub fn of_steps(
        rng: &mut StdRng,
        value: Satoshi,
        steps: Vec<Vec<Delta>>,
        preimages: BTreeMap<HtlcKey, Preimage>,
    ) -> Contract {
        let (ours, theirs) = (Keys::random(rng), Keys::random(rng));
        let setup = Setup {
            opener: Side::Local,
            format: CommitmentFormat::AnchorsZeroFeeHtlc,
            funding_value: value,
            push: MilliSatoshi(value.0 * 500),
            feerate: FeeratePerKw(253),
            local: ours.party(rng),
            remote: theirs.party(rng),
        };
        let mut contract = Contract::opened(rng, setup, ours, theirs);
        contract.preimages = preimages;
        for step in steps {
            let mut ledger = contract.ledgers.last().unwrap().clone();
            for delta in step {
                ledger.apply(&delta).unwrap();
                if let Delta::Add { key, htlc } = delta {
                    contract.htlcs.insert(key, htlc);
                }
            }
            contract.ledgers.push(ledger);
        }
        let newest = contract.ledgers.len() - 1;
        (contract.local_newest, contract.remote_lowest) = (newest, newest);
        contract
    }

    /// With commitment 0 and nothing else.
    fn opened(rng: &mut StdRng, setup: Setup, ours: Keys, theirs: Keys) -> Contract {
        let txid = Txid::from_byte_array(rng.r#gen());
        let funding = Funding {
            outpoint: OutPoint { txid, vout: 0 },
            value: setup.funding_value,
        };
        let first = Ledger::opening(&setup).unwrap();
        Contract {
            setup,
            funding,
            ours,
            theirs,
            ledgers: vec![first],
            local_newest: 0,
            remote_lowest: 0,
            htlcs: BTreeMap::new(),
            preimages: BTreeMap::new(),
            max_fee: Cell::new(limits::MAX_FEE),
            built: RefCell::default(),
            signed: RefCell::default(),
        }
    }

    fn live(&mut self, rng: &mut StdRng) {
        for _ in 0..rng.gen_range(0..8) {
            let mut ledger = self.ledgers.last().unwrap().clone();
            for _ in 0..rng.gen_range(1..4) {
                self.change(&mut ledger, rng);
            }
            self.ledgers.push(ledger);
        }
        let last = self.ledgers.len() - 1;
        self.local_newest = last - usize::from(last > 0 && rng.gen_bool(0.3));
        self.remote_lowest = last - usize::from(last > 0 && rng.gen_bool(0.3));
    }

    fn change(&mut self, ledger: &mut Ledger, rng: &mut StdRng) {
        let old = ledger.htlcs.keys().copied().choose(rng);
        let delta = match old {
            Some(key) if rng.gen_bool(0.3) => match rng.gen_bool(0.5) {
                true => Delta::Fail { key },
                false => Delta::Fulfil {
                    key,
                    preimage: self.preimages[&key],
                },
            },
            _ => self.offer(rng),
        };
        let mut next = ledger.clone();
        if next.apply(&delta).is_err() || !self.is_affordable(&next) {
            return;
        }
        if let Delta::Add { key, htlc } = delta {
            self.htlcs.insert(key, htlc);
        }
        *ledger = next;
    }

    /// A new HTLC; now and then with the hash, amount or expiry of an older one.
    fn offer(&mut self, rng: &mut StdRng) -> Delta {
        let offerer = *[Side::Local, Side::Remote].iter().choose(rng).unwrap();
        let count = self
            .htlcs
            .keys()
            .filter(|key| key.offerer == offerer)
            .count();
        let id = HtlcId(u64::try_from(count).unwrap());
        let key = HtlcKey { offerer, id };
        let like = self.htlcs.iter().choose(rng).filter(|_| rng.gen_bool(0.15));
        let (preimage, mut htlc) = match like {
            Some((other, htlc)) => (self.preimages[other], *htlc),
            None => {
                let preimage = Preimage(rng.r#gen());
                let dust = rng.gen_bool(0.15);
                let sats = match dust {
                    true => rng.gen_range(1..900),
                    false => rng.gen_range(1000..60_000),
                };
                let htlc = Htlc {
                    amount: MilliSatoshi(sats * 1000 + rng.gen_range(0..1000)),
                    payment_hash: preimage.payment_hash(),
                    cltv_expiry: CltvExpiry(0),
                };
                (preimage, htlc)
            }
        };
        if htlc.cltv_expiry.0 == 0 || rng.gen_bool(0.5) {
            htlc.cltv_expiry = CltvExpiry(START + rng.gen_range(5..70));
        }
        self.preimages.insert(key, preimage);
        Delta::Add { key, htlc }
    }

    fn is_affordable(&self, ledger: &Ledger) -> bool {
        [Side::Local, Side::Remote].into_iter().all(|owner| {
            let point = self.ours.point(CommitmentNumber(0));
            let built = Commitment::build(
                &self.setup,
                &self.funding,
                owner,
                CommitmentNumber(0),
                &point,
                ledger,
            );
            built.is_ok() && ledger.balance(self.setup.opener) >= MilliSatoshi(20_000_000)
        })
    }

    pub fn keys(&self, side: Side) -> &Keys {
        match side {
            Side::Local => &self.ours,
            Side::Remote => &self.theirs,
        }
    }

    pub fn number(at: usize) -> CommitmentNumber {
        CommitmentNumber(u64::try_from(at).unwrap())
    }

    /// Commitment `at` of `owner`.
    pub fn commitment(&self, owner: Side, at: usize) -> Commitment {
        let mut built = self.built.borrow_mut();
        let build = || {
            let (n, ledger) = (Contract::number(at), &self.ledgers[at]);
            let point = self.keys(owner).point(n);
            Commitment::build(&self.setup, &self.funding, owner, n, &point, ledger).unwrap()
        };
        built.entry((owner, at)).or_insert_with(build).clone()
    }

    /// Signed by both.
    pub fn signed(&self, owner: Side, at: usize) -> Transaction {
        let commitment = self.commitment(owner, at);
        let sign = |keys: &Keys| {
            let signature = commitment.sign(&self.setup, &self.funding, &keys.funding);
            signature.unwrap()
        };
        let mut signed = self.signed.borrow_mut();
        let sign_both = || commitment.signed(&self.setup, &sign(&self.ours), &sign(&self.theirs));
        signed.entry((owner, at)).or_insert_with(sign_both).clone()
    }

    /// What hsmd's rule X4 counts: our balance and all HTLCs where they are most.
    pub fn at_stake(&self) -> Satoshi {
        let from = self.remote_lowest.min(self.local_newest);
        let stakes = self.ledgers[from..].iter().map(|ledger| {
            let theirs = ledger.to_remote;
            ledger.total().saturating_sub(theirs).to_sat_floor()
        });
        stakes.max().unwrap()
    }

    /// HTLC key of `side` in the commitment with this point.
    pub fn htlc_secret(&self, side: Side, point: &PublicKey) -> SecretKey {
        derive_privkey(&self.keys(side).htlc, point).unwrap()
    }

    /// HTLCs that may be in a commitment that is not revoked.
    pub fn is_live(&self, key: &HtlcKey) -> bool {
        let from = self.remote_lowest.min(self.local_newest);
        self.ledgers[from..]
            .iter()
            .any(|ledger| ledger.htlcs.contains_key(key))
    }

    /// What the node knows of it; `ours`: our commitment, if it is we who close.
    pub fn facts(&self, ours: bool, rng: &mut StdRng) -> Facts {
        let remote = self.remote_lowest..self.ledgers.len();
        let has = |at: usize, key: &HtlcKey| {
            let ledger = self.ledgers.get(at);
            ledger.is_some_and(|ledger| ledger.htlcs.contains_key(key))
        };
        // A crash may have come between hsmd's validation of our newest commitment and the record of it.
        let local = self.local_newest - usize::from(self.local_newest > 0 && rng.gen_bool(0.2));
        let known = |(key, htlc): (&HtlcKey, &Htlc)| KnownHtlc {
            key: *key,
            htlc: *htlc,
            live: self.is_live(key),
            places: Places {
                local: has(local, key),
                remote: has(self.remote_lowest, key),
                remote_next: has(self.remote_lowest + 1, key),
            },
            incoming_expiry: None,
        };
        let mut htlcs: Vec<KnownHtlc> = self.htlcs.iter().map(known).collect();
        for known in &mut htlcs {
            if known.key.offerer == Side::Local && rng.gen_bool(0.5) {
                let margin = rng.gen_range(14..40);
                known.incoming_expiry = Some(BlockHeight(known.htlc.cltv_expiry.0 + margin));
            }
        }
        Facts {
            setup: self.setup.clone(),
            funding: self.funding,
            remote: remote
                .map(|at| {
                    let n = Contract::number(at);
                    (n, self.theirs.point(n))
                })
                .collect(),
            local: Some(Contract::number(local)),
            htlcs,
            ours: ours.then(|| Encoded::of(&self.signed(Side::Local, self.local_newest))),
            terms: Terms {
                reasonable_depth: limits::REASONABLE_DEPTH,
                burial_depth: 20,
                fee_part: limits::CLAIM_FEE_PART,
                anchor_part: limits::ANCHOR_FEE_PART,
                max_fee: limits::MAX_FEE,
            },
        }
    }
}
