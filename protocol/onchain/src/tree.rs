//! What the chain shows: the transaction that spent the funding output, whose commitment it is, what
//! each output is, and who spent it since.

use std::collections::{HashMap, HashSet};

use bitcoin::{OutPoint, Transaction, Txid};
use secp256k1::PublicKey;
use tx::claim::{self, How};
use tx::commitment::number_of;
use tx::keys::CommitmentKeys;
use tx::ledger::HtlcKey;
use tx::script::{self, HtlcScripts};
use wire::{BlockHeight, CommitmentNumber, PaymentHash, Preimage, Satoshi, Side};

use crate::action::{Facts, KnownHtlc, OutputKind, Spender};
use crate::plan::{self, Plan};

/// A commitment, with what its scripts are made of.
#[derive(Clone, Debug)]
pub(crate) struct Commitment {
    pub spender: Spender,
    pub owner: Side,
    pub n: CommitmentNumber,
    pub point: PublicKey,
    pub keys: CommitmentKeys,
}

impl Commitment {
    /// Whether it has this HTLC; `None` if that is not known.
    pub(crate) fn has(&self, facts: &Facts, known: &KnownHtlc) -> Option<bool> {
        let places = known.places;
        match self.spender {
            Spender::Ours => (facts.local == Some(self.n)).then_some(places.local),
            Spender::Theirs => {
                let is_first = facts.remote.first().is_some_and(|(n, _)| *n == self.n);
                Some(if is_first {
                    places.remote
                } else {
                    places.remote_next
                })
            }
            Spender::MutualClose | Spender::Revoked | Spender::Unknown => None,
        }
    }

    /// As [`Commitment::has`]; our commitment is hardly another than the one that is known.
    fn may_have(&self, facts: &Facts, known: &KnownHtlc) -> bool {
        let else_if = self.spender != Spender::Ours || known.places.local;
        self.has(facts, known).unwrap_or(else_if)
    }
}

/// The points that the signer was asked for; `None` where it has none to give.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Points {
    /// Ours of the number that the spending transaction has.
    pub local: Option<PublicKey>,
    /// The peer's of that number, if it has revoked it.
    pub revoked: Option<PublicKey>,
}

/// An output of the spending transaction, or of an HTLC transaction.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    pub kind: OutputKind,
    /// Of a commitment's HTLC: see [`looks`].
    pub looks: Option<(Side, PaymentHash, Satoshi)>,
    /// Of the transaction that has it.
    pub height: BlockHeight,
    /// That transaction's place in what was given.
    pub parent: usize,
    pub plan: Plan,
    pub spent: Option<Spent>,
}

/// How an output was spent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub txid: Txid,
    pub height: BlockHeight,
    pub by: Side,
    /// The preimage of its HTLC that the spender showed.
    pub preimage: Option<Preimage>,
}

/// The whole.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub spender: Spender,
    pub txid: Txid,
    pub height: BlockHeight,
    pub outputs: Vec<Output>,
    /// `None` for a mutual close and for a commitment that is not known.
    pub commitment: Option<Commitment>,
}

impl Tree {
    /// From the transactions in blocks, the one that spends the funding output first.
    pub(crate) fn grow(
        facts: &Facts,
        points: Points,
        guesses: &Guesses,
        confirmed: &[(Transaction, BlockHeight)],
        preimage: &dyn Fn(&PaymentHash) -> Option<Preimage>,
    ) -> Option<Tree> {
        let (first, height) = confirmed.first()?;
        let (spender, commitment) = classify(facts, points, first);
        let mut tree = Tree {
            spender,
            txid: first.compute_txid(),
            height: *height,
            outputs: Vec::with_capacity(first.output.len()),
            commitment,
        };
        tree.first_outputs(facts, guesses, first, preimage);
        // In whatever order they were told: first what spends the commitment's outputs, then what spends
        // those of HTLC transactions.
        for (parent, (tx, height)) in confirmed.iter().enumerate().skip(1) {
            let htlcs = tree.mark(facts, tx, *height);
            tree.second_stage(facts, parent, tx, *height, &htlcs);
        }
        for (tx, height) in confirmed.iter().skip(1) {
            tree.mark(facts, tx, *height);
        }
        Some(tree)
    }

    fn first_outputs(
        &mut self,
        facts: &Facts,
        guesses: &Guesses,
        tx: &Transaction,
        preimage: &dyn Fn(&PaymentHash) -> Option<Preimage>,
    ) {
        let mut recognizer = Recognizer::new(facts, self.commitment.as_ref());
        for (vout, output) in (0_u32..).zip(&tx.output) {
            let outpoint = OutPoint {
                txid: self.txid,
                vout,
            };
            let fits = |known: &KnownHtlc| guesses.allow(known.key, outpoint);
            let (kind, htlc) = match self.spender {
                Spender::MutualClose => (recognizer.close(&output.script_pubkey), None),
                Spender::Ours | Spender::Theirs | Spender::Revoked | Spender::Unknown => {
                    recognizer.output(output, fits)
                }
            };
            let place = plan::Place {
                facts,
                spender: self.spender,
                commitment: self.commitment.as_ref(),
                height: self.height,
            };
            self.outputs.push(Output {
                outpoint,
                value: Satoshi(output.value.to_sat()),
                kind,
                looks: htlc.as_ref().map(looks),
                height: self.height,
                parent: 0,
                plan: plan::of(&place, kind, htlc.as_ref(), preimage),
                spent: None,
            });
        }
    }

    /// Marks what `tx` spends; says for each input which HTLC's output it took.
    fn mark(
        &mut self,
        facts: &Facts,
        tx: &Transaction,
        height: BlockHeight,
    ) -> Vec<Option<HtlcKey>> {
        let txid = tx.compute_txid();
        let owner = self.commitment.as_ref().map(|commitment| commitment.owner);
        let mut taken = vec![None; tx.input.len()];
        for (input, taken) in tx.input.iter().zip(&mut taken) {
            let mut outputs = self.outputs.iter_mut();
            let is = |output: &&mut Output| output.outpoint == input.previous_output;
            let Some(output) = outputs.find(is) else {
                continue;
            };
            output.spent = Some(Spent {
                txid,
                height,
                by: spender_of(&output.kind, owner, &input.witness),
                preimage: shown_preimage(facts, &output.kind, &input.witness),
            });
            if let OutputKind::Htlc(key) = output.kind {
                *taken = Some(key);
            }
        }
        taken
    }

    /// Adds the delayed outputs of HTLC transactions.
    fn second_stage(
        &mut self,
        facts: &Facts,
        parent: usize,
        tx: &Transaction,
        height: BlockHeight,
        spent_htlcs: &[Option<HtlcKey>],
    ) {
        if spent_htlcs.iter().all(Option::is_none) {
            return;
        }
        let Some(commitment) = &self.commitment else {
            return;
        };
        let script = claim::delayed_script(&facts.setup, commitment.owner, &commitment.keys);
        let script = script.to_p2wsh();
        let how = match self.spender {
            Spender::Ours => Some(How::Delayed { n: commitment.n }),
            Spender::Revoked => Some(How::Revoked { n: commitment.n }),
            Spender::MutualClose | Spender::Theirs | Spender::Unknown => None,
        };
        let txid = tx.compute_txid();
        // An HTLC transaction's output stands where its input does (BOLT 3). Others with its script are the peer's
        // own addition: it may make thousands, and nothing of the channel is in them.
        let outputs = (0_u32..).zip(&tx.output).zip(spent_htlcs);
        for ((vout, output), key) in outputs {
            let Some(key) = *key else { continue };
            if output.script_pubkey != script {
                continue;
            }
            self.outputs.push(Output {
                outpoint: OutPoint { txid, vout },
                value: Satoshi(output.value.to_sat()),
                kind: OutputKind::HtlcTx(key),
                looks: None,
                height,
                parent,
                plan: plan::second_stage(facts, how.as_ref(), height),
                spent: None,
            });
        }
    }

    /// Whether the peer's keys spend one of these in `tx`, which is in no block.
    pub(crate) fn is_taken_by_peer(&self, takes: &[OutPoint], tx: &Transaction) -> bool {
        let owner = self.commitment.as_ref().map(|commitment| commitment.owner);
        let mut outputs = self.outputs.iter();
        outputs.any(|output| {
            let is = |input: &&bitcoin::TxIn| input.previous_output == output.outpoint;
            takes.contains(&output.outpoint)
                && tx.input.iter().find(is).is_some_and(|input| {
                    spender_of(&output.kind, owner, &input.witness) == Side::Remote
                })
        })
    }

    /// The outputs that may carry this HTLC: its own, if it has one; and where it is not known which HTLCs the
    /// commitment has, those of all that are like it.
    pub(crate) fn outputs_of<'a>(
        &'a self,
        facts: &'a Facts,
        known: &'a KnownHtlc,
    ) -> impl Iterator<Item = &'a Output> {
        let commitment = self.commitment.as_ref();
        let is_certain = commitment.is_some_and(|c| c.has(facts, known).is_some());
        let is_its = move |output: &&Output| match output.kind {
            OutputKind::Htlc(key) if is_certain => key == known.key,
            OutputKind::Htlc(_) => output.looks == Some(looks(known)),
            OutputKind::ToLocal
            | OutputKind::ToRemote
            | OutputKind::Anchor
            | OutputKind::HtlcTx(_)
            | OutputKind::Close
            | OutputKind::Theirs => false,
        };
        self.outputs.iter().filter(is_its)
    }
}

/// Whose commitment this is. The number says which points to try; what the outputs are decides.
fn classify(facts: &Facts, points: Points, tx: &Transaction) -> (Spender, Option<Commitment>) {
    let Some(n) = number_of(&facts.setup, tx) else {
        return (Spender::MutualClose, None);
    };
    let current = facts.remote.iter().find(|(number, _)| *number == n);
    let candidates = [
        (Spender::Ours, Side::Local, points.local),
        (
            Spender::Theirs,
            Side::Remote,
            current.map(|(_, point)| *point),
        ),
        (Spender::Revoked, Side::Remote, points.revoked),
    ];
    let mut best: Option<(usize, Commitment)> = None;
    for (spender, owner, point) in candidates {
        let Some(point) = point else { continue };
        let Ok(keys) = CommitmentKeys::derive(&facts.setup, owner, &point) else {
            continue;
        };
        let commitment = Commitment {
            spender,
            owner,
            n,
            point,
            keys,
        };
        let mut recognizer = Recognizer::new(facts, Some(&commitment));
        let known =
            |output: &&bitcoin::TxOut| recognizer.output(output, |_| true).0.is_of_commitment();
        let score = tx.output.iter().filter(known).count();
        if score > best.as_ref().map_or(0, |(score, _)| *score) {
            best = Some((score, commitment));
        }
    }
    match best {
        Some((_, commitment)) => (commitment.spender, Some(commitment)),
        None => (Spender::Unknown, None),
    }
}

/// What the signer has shown of outputs that may be of several HTLCs.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    pub owners: HashMap<OutPoint, HtlcKey>,
    /// HTLCs that have no output.
    pub misfits: HashSet<HtlcKey>,
}

impl Guesses {
    fn allow(&self, key: HtlcKey, outpoint: OutPoint) -> bool {
        match self.owners.get(&outpoint) {
            Some(owner) => *owner == key,
            None => {
                let is_elsewhere = self.owners.values().any(|owner| *owner == key);
                !is_elsewhere && !self.misfits.contains(&key)
            }
        }
    }
}

/// What of an HTLC its output shows.
pub(crate) fn looks(known: &KnownHtlc) -> (Side, PaymentHash, Satoshi) {
    let htlc = &known.htlc;
    (
        known.key.offerer,
        htlc.payment_hash,
        htlc.amount.to_sat_floor(),
    )
}

impl OutputKind {
    /// Not an anchor, which the commitments of both sides have alike.
    fn is_of_commitment(self) -> bool {
        match self {
            OutputKind::ToLocal | OutputKind::ToRemote | OutputKind::Htlc(_) => true,
            OutputKind::Anchor | OutputKind::HtlcTx(_) | OutputKind::Close | OutputKind::Theirs => {
                false
            }
        }
    }
}

/// Says what outputs are by their scripts. An HTLC is given to one output only.
struct Recognizer<'a> {
    facts: &'a Facts,
    owner: Option<Side>,
    to_local: Option<bitcoin::ScriptBuf>,
    to_remote: bitcoin::ScriptBuf,
    anchor: bitcoin::ScriptBuf,
    /// By script and value, those that belong there first, by expiry (BOLT 3, Transaction Output Ordering).
    htlcs: Vec<(bitcoin::ScriptBuf, Satoshi, KnownHtlc)>,
}

impl<'a> Recognizer<'a> {
    fn new(facts: &'a Facts, commitment: Option<&Commitment>) -> Recognizer<'a> {
        let setup = &facts.setup;
        let owner = commitment.map(|commitment| commitment.owner);
        // The other side's balance; of a commitment that nobody knows, ours.
        let other = owner.map_or(Side::Local, Side::other);
        let payment = setup.party(other).basepoints.payment;
        let mut htlcs = commitment.map_or_else(Vec::new, |c| htlc_scripts(facts, c));
        htlcs.sort_by_key(|(_, _, known)| {
            let there = commitment.is_some_and(|c| c.may_have(facts, known));
            (!there, !known.live, known.htlc.cltv_expiry)
        });
        Recognizer {
            facts,
            owner,
            to_local: commitment.map(|c| claim::delayed_script(setup, c.owner, &c.keys).to_p2wsh()),
            to_remote: script::to_remote_script_pubkey(setup.format, &payment),
            anchor: script::anchor_script(&setup.local.funding_pubkey).to_p2wsh(),
            htlcs,
        }
    }

    /// `fits`: of HTLCs that are alike, one that may have this output.
    fn output(
        &mut self,
        output: &bitcoin::TxOut,
        fits: impl Fn(&KnownHtlc) -> bool,
    ) -> (OutputKind, Option<KnownHtlc>) {
        let (script, value) = (&output.script_pubkey, Satoshi(output.value.to_sat()));
        if self.to_local.as_ref() == Some(script) {
            return (OutputKind::ToLocal, None);
        }
        if *script == self.to_remote {
            return (OutputKind::ToRemote, None);
        }
        if *script == self.anchor && output.value.to_sat() == tx::fees::ANCHOR_VALUE.0 {
            return (OutputKind::Anchor, None);
        }
        let is = |(known, amount, _): &(_, _, _)| known == script && *amount == value;
        let first = self.htlcs.iter().position(is);
        let fitting = |entry: &(_, _, _)| is(entry) && fits(&entry.2);
        let at = self.htlcs.iter().position(fitting).or(first);
        match at.map(|at| self.htlcs.remove(at)) {
            Some((_, _, known)) => (OutputKind::Htlc(known.key), Some(known)),
            None => (OutputKind::Theirs, None),
        }
    }

    /// The only script of ours that is known here is the one fixed at opening; the wallet knows the rest.
    fn close(&self, script: &bitcoin::Script) -> OutputKind {
        let fixed = self.facts.setup.remote.upfront_shutdown_script.as_ref();
        match self.owner.is_none() && fixed.is_some_and(|theirs| **theirs == *script) {
            true => OutputKind::Theirs,
            false => OutputKind::Close,
        }
    }
}

fn htlc_scripts(
    facts: &Facts,
    commitment: &Commitment,
) -> Vec<(bitcoin::ScriptBuf, Satoshi, KnownHtlc)> {
    let scripts = HtlcScripts::new(facts.setup.format, &commitment.keys);
    let of = |known: &KnownHtlc| {
        let script = match known.key.offerer == commitment.owner {
            true => scripts.offered(&known.htlc.payment_hash),
            false => scripts.received(&known.htlc.payment_hash, known.htlc.cltv_expiry),
        };
        (script.to_p2wsh(), known.htlc.amount.to_sat_floor(), *known)
    };
    facts.htlcs.iter().map(of).collect()
}

/// Elements of the witness of an HTLC transaction (BOLT 3): nothing, two signatures, preimage or
/// nothing, script.
const HTLC_TX_WITNESS: usize = 5;

/// Which side's keys spent an output, by the path that the witness took.
fn spender_of(kind: &OutputKind, owner: Option<Side>, witness: &bitcoin::Witness) -> Side {
    let owner = owner.unwrap_or(Side::Remote);
    let by_owner = match kind {
        OutputKind::Htlc(_) => witness.len() == HTLC_TX_WITNESS,
        // The branch is chosen by the element before the script: empty for the delayed key.
        OutputKind::ToLocal | OutputKind::HtlcTx(_) => {
            witness.second_to_last().is_some_and(<[u8]>::is_empty)
        }
        OutputKind::ToRemote => false,
        OutputKind::Anchor => return Side::Local,
        OutputKind::Close => return Side::Local,
        OutputKind::Theirs => return Side::Remote,
    };
    match by_owner {
        true => owner,
        false => owner.other(),
    }
}

/// A preimage of this HTLC, or of any that we offered where the output is not known.
fn shown_preimage(
    facts: &Facts,
    kind: &OutputKind,
    witness: &bitcoin::Witness,
) -> Option<Preimage> {
    let wanted = |known: &&KnownHtlc| match kind {
        OutputKind::Htlc(key) => known.key == *key,
        OutputKind::Theirs => known.live && known.key.offerer == Side::Local,
        OutputKind::ToLocal
        | OutputKind::ToRemote
        | OutputKind::Anchor
        | OutputKind::HtlcTx(_)
        | OutputKind::Close => false,
    };
    let elements = witness.iter().filter_map(|element| element.try_into().ok());
    let shown: Vec<Preimage> = elements.map(Preimage).collect();
    let hashes = || facts.htlcs.iter().filter(wanted);
    shown.into_iter().find(|preimage| {
        let hash = preimage.payment_hash();
        hashes().any(|known| known.htlc.payment_hash == hash)
    })
}
