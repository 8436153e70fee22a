//! Commitment transactions (BOLT 3, Commitment Transaction Construction).
//!
//! Built from facts alone: the same setup, funding, number, point and ledger give the same
//! bytes in channeld and in hsmd.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use wire::{CommitmentNumber, FeeratePerKw, MilliSatoshi, Satoshi, Side};

use crate::error::{KeyError, TxError};
use crate::fees;
use crate::htlc::{HtlcKind, HtlcTx};
use crate::keys::{CommitmentKeys, FIRST_INDEX};
use crate::ledger::{Htlc, HtlcKey, Ledger};
use crate::script::{self, HtlcScripts};
use crate::setup::{CommitmentFormat, Funding, Setup};
use crate::witness;

/// One commitment transaction of one side, unsigned, with what is needed to sign and spend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    pub tx: Transaction,
    /// What each output of `tx` is.
    pub outputs: Vec<CommitmentOutput>,
    /// The untrimmed HTLCs, in output order: the order of HTLC signatures.
    pub htlcs: Vec<CommitmentHtlc>,
    pub keys: CommitmentKeys,
    /// The side that can broadcast it.
    pub owner: Side,
    pub n: CommitmentNumber,
    pub format: CommitmentFormat,
    pub feerate: FeeratePerKw,
    /// What miners get: base fee, trimmed outputs and fractions of a satoshi.
    pub fee: Satoshi,
    /// Witness script of the owner's balance and of its HTLC transactions' outputs.
    pub to_local_script: ScriptBuf,
}

/// What an output of a commitment transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitmentOutput {
    /// The owner's balance (BOLT 3, `to_local`).
    ToLocal,
    /// The other side's balance (`to_remote`).
    ToRemote,
    /// The owner's anchor (`to_local_anchor`).
    LocalAnchor,
    /// The other side's anchor (`to_remote_anchor`).
    RemoteAnchor,
    Htlc(HtlcKey),
}

/// An HTLC with an output in a commitment transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitmentHtlc {
    pub key: HtlcKey,
    pub htlc: Htlc,
    pub output_index: u32,
    /// Witness script of the output.
    pub redeem_script: ScriptBuf,
}

impl Commitment {
    /// Commitment `n` of `owner`, whose per-commitment point is `point`.
    ///
    /// # Errors
    /// `Unbalanced` if the ledger is not the funding value, `Unaffordable` if the opener cannot
    /// pay for the anchors, `Key` past the last number. A fee that exceeds the opener's balance
    /// is no error here: it takes all of it (BOLT 2, update_fee).
    pub fn build(
        setup: &Setup,
        funding: &Funding,
        owner: Side,
        n: CommitmentNumber,
        point: &PublicKey,
        ledger: &Ledger,
    ) -> Result<Commitment, TxError> {
        let obscured = obscure(setup, n)?;
        check_total(ledger, funding)?;
        let keys = CommitmentKeys::derive(setup, owner, point)?;
        let to_local_script = script::to_local_script(
            &keys.revocation,
            setup.party(owner.other()).to_self_delay,
            &keys.delayed,
        );
        let mut rows = htlc_rows(setup, owner, ledger, &keys);
        balance_rows(&mut rows, setup, owner, ledger, &keys, &to_local_script);
        rows.sort_by(|a, b| a.order().cmp(&b.order()));

        let paid = rows
            .iter()
            .try_fold(Satoshi::ZERO, |sum, row| sum.checked_add(row.value));
        let paid = paid.ok_or(TxError::Overflow)?;
        let fee = funding
            .value
            .checked_sub(paid)
            .ok_or(TxError::Unaffordable)?;
        let mut commitment = Commitment {
            tx: spend_funding(funding, obscured, rows.len()),
            outputs: Vec::with_capacity(rows.len()),
            htlcs: Vec::with_capacity(rows.len()),
            keys,
            owner,
            n,
            format: setup.format,
            feerate: ledger.feerate,
            fee,
            to_local_script,
        };
        for (index, row) in (0..).zip(rows) {
            commitment.push(index, row);
        }
        Ok(commitment)
    }

    fn push(&mut self, output_index: u32, row: Row) {
        self.tx.output.push(TxOut {
            value: Amount::from_sat(row.value.0),
            script_pubkey: row.script_pubkey,
        });
        let output = match row.kind {
            Kind::Plain(output) => output,
            Kind::Htlc {
                key,
                htlc,
                redeem_script,
            } => {
                self.htlcs.push(CommitmentHtlc {
                    key,
                    htlc,
                    output_index,
                    redeem_script,
                });
                CommitmentOutput::Htlc(key)
            }
        };
        self.outputs.push(output);
    }

    /// Index of the output that is `output`; `None` if it was trimmed.
    #[must_use]
    pub fn index_of(&self, output: CommitmentOutput) -> Option<u32> {
        (0..)
            .zip(&self.outputs)
            .find_map(|(index, found)| (*found == output).then_some(index))
    }

    /// What both sides sign, with the funding keys.
    ///
    /// # Errors
    /// None that can happen: the transaction has one input.
    pub fn sighash(&self, setup: &Setup, funding: &Funding) -> Result<Message, TxError> {
        funding_sighash(&self.tx, setup, funding)
    }

    /// Signs it with a funding key.
    ///
    /// # Errors
    /// As [`Commitment::sighash`].
    pub fn sign(
        &self,
        setup: &Setup,
        funding: &Funding,
        funding_secret: &SecretKey,
    ) -> Result<Signature, TxError> {
        Ok(SECP256K1.sign_ecdsa(&self.sighash(setup, funding)?, funding_secret))
    }

    /// `signer`'s signatures on all HTLC transactions, in output order.
    /// `htlc_secret`: the HTLC key of `signer` for this commitment ([`crate::keys::derive_privkey`]).
    ///
    /// # Errors
    /// As [`Commitment::htlc_transactions`].
    pub fn sign_htlcs(
        &self,
        signer: Side,
        htlc_secret: &SecretKey,
    ) -> Result<Vec<Signature>, TxError> {
        self.htlc_transactions()?
            .iter()
            .map(|htlc| htlc.sign(signer, htlc_secret))
            .collect()
    }

    /// Verifies what the side that is not the owner sends in commitment_signed.
    ///
    /// # Errors
    /// `BadSignature`, `HtlcSignatureCount`, `BadHtlcSignature`.
    pub fn verify(
        &self,
        setup: &Setup,
        funding: &Funding,
        signature: &Signature,
        htlc_signatures: &[Signature],
    ) -> Result<(), TxError> {
        // BOLT 2, commitment_signed, receiver: exactly one signature for each HTLC output.
        if htlc_signatures.len() != self.htlcs.len() {
            let (expected, got) = (self.htlcs.len(), htlc_signatures.len());
            return Err(TxError::HtlcSignatureCount { expected, got });
        }
        let signer = self.owner.other();
        let key = &setup.party(signer).funding_pubkey;
        SECP256K1
            .verify_ecdsa(&self.sighash(setup, funding)?, signature, key)
            .map_err(|_| TxError::BadSignature)?;
        let htlc_txs = self.htlc_transactions()?;
        let mut pairs = htlc_txs.iter().zip(htlc_signatures);
        pairs.try_for_each(|(htlc, sig)| htlc.verify(signer, sig, &self.keys.other_htlc))
    }

    /// The owner's second-stage transactions, in output order.
    ///
    /// # Errors
    /// None that can happen: an untrimmed HTLC covers its fee.
    pub fn htlc_transactions(&self) -> Result<Vec<HtlcTx>, TxError> {
        let txid = self.tx.compute_txid();
        let output_script = self.to_local_script.to_p2wsh();
        let (sequence, other_sighash_type) = match self.format {
            CommitmentFormat::StaticRemotekey => (Sequence::ZERO, EcdsaSighashType::All),
            CommitmentFormat::AnchorsZeroFeeHtlc => {
                (Sequence(1), EcdsaSighashType::SinglePlusAnyoneCanPay)
            }
        };
        let build = |h: &CommitmentHtlc| {
            let kind = HtlcKind::of(self.owner, h.key.offerer);
            let amount = h.htlc.amount.to_sat_floor();
            let fee = fees::htlc_fee(self.format, self.feerate, kind);
            let value = amount.checked_sub(fee).ok_or(TxError::Overflow)?;
            let lock_time = match kind {
                HtlcKind::Timeout => LockTime::from_consensus(h.htlc.cltv_expiry.0),
                HtlcKind::Success => LockTime::ZERO,
            };
            let outpoint = OutPoint {
                txid,
                vout: h.output_index,
            };
            let output = TxOut {
                value: Amount::from_sat(value.0),
                script_pubkey: output_script.clone(),
            };
            Ok(HtlcTx {
                tx: Transaction {
                    version: Version::TWO,
                    lock_time,
                    input: vec![input(outpoint, sequence)],
                    output: vec![output],
                },
                key: h.key,
                htlc: h.htlc,
                kind,
                owner: self.owner,
                amount,
                redeem_script: h.redeem_script.clone(),
                other_sighash_type,
            })
        };
        self.htlcs.iter().map(build).collect()
    }

    /// Ready to broadcast. Signatures are not verified.
    #[must_use]
    pub fn signed(&self, setup: &Setup, local: &Signature, remote: &Signature) -> Transaction {
        witness::complete(&self.tx, &witness::funding(setup, local, remote))
    }
}

/// The number in a transaction that spends the funding output, if it looks like a commitment.
#[must_use]
pub fn number_of(setup: &Setup, tx: &Transaction) -> Option<CommitmentNumber> {
    let (lock_time, sequence) = (
        tx.lock_time.to_consensus_u32(),
        tx.input.first()?.sequence.0,
    );
    if lock_time >> 24 != 0x20 || sequence >> 24 != 0x80 {
        return None;
    }
    let obscured = u64::from(sequence & 0xff_ffff) << 24 | u64::from(lock_time & 0xff_ffff);
    Some(CommitmentNumber(obscured ^ obscuring_factor(setup)))
}

/// What the input of a transaction that spends the funding output signs.
pub(crate) fn funding_sighash(
    tx: &Transaction,
    setup: &Setup,
    funding: &Funding,
) -> Result<Message, TxError> {
    let value = Amount::from_sat(funding.value.0);
    SighashCache::new(tx)
        .p2wsh_signature_hash(0, &setup.funding_script(), value, EcdsaSighashType::All)
        .map(|hash| Message::from_digest(hash.to_byte_array()))
        .map_err(|_| TxError::Sighash)
}

/// An unsigned input.
pub(crate) fn input(previous_output: OutPoint, sequence: Sequence) -> TxIn {
    TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence,
        witness: Witness::new(),
    }
}

/// An output to be, with what orders it.
struct Row {
    value: Satoshi,
    script_pubkey: ScriptBuf,
    kind: Kind,
}

enum Kind {
    Plain(CommitmentOutput),
    Htlc {
        key: HtlcKey,
        htlc: Htlc,
        redeem_script: ScriptBuf,
    },
}

impl Row {
    fn new(value: Satoshi, script_pubkey: ScriptBuf, output: CommitmentOutput) -> Row {
        Row {
            value,
            script_pubkey,
            kind: Kind::Plain(output),
        }
    }

    // BOLT 3, Transaction Output Ordering. Outputs that are the same in all of it differ in the
    // HTLC's key alone, which fixes the order of our own lists.
    fn order(&self) -> impl Ord + '_ {
        let tie = match &self.kind {
            Kind::Plain(_) => None,
            Kind::Htlc { key, htlc, .. } => Some((htlc.cltv_expiry, *key)),
        };
        (self.value, self.script_pubkey.as_bytes(), tie)
    }
}

fn htlc_rows(setup: &Setup, owner: Side, ledger: &Ledger, keys: &CommitmentKeys) -> Vec<Row> {
    let scripts = HtlcScripts::new(setup.format, keys);
    // Two balances and two anchors come on top.
    let mut rows = Vec::with_capacity(ledger.htlcs.len().saturating_add(4));
    for (key, htlc) in &ledger.htlcs {
        if fees::is_trimmed(setup, owner, ledger.feerate, key.offerer, htlc.amount) {
            continue;
        }
        let redeem_script = match HtlcKind::of(owner, key.offerer) {
            HtlcKind::Timeout => scripts.offered(&htlc.payment_hash),
            HtlcKind::Success => scripts.received(&htlc.payment_hash, htlc.cltv_expiry),
        };
        rows.push(Row {
            value: htlc.amount.to_sat_floor(),
            script_pubkey: redeem_script.to_p2wsh(),
            kind: Kind::Htlc {
                key: *key,
                htlc: *htlc,
                redeem_script,
            },
        });
    }
    rows
}

/// Adds balances and anchors to `rows`, which holds the untrimmed HTLCs.
fn balance_rows(
    rows: &mut Vec<Row>,
    setup: &Setup,
    owner: Side,
    ledger: &Ledger,
    keys: &CommitmentKeys,
    to_local_script: &ScriptBuf,
) {
    let fee = fees::commitment_fee(setup.format, ledger.feerate, rows.len());
    let costs = fee.saturating_add(fees::anchors_value(setup.format));
    let balance = |side| {
        let balance = ledger.balance(side).to_sat_floor();
        if side == setup.opener {
            balance.saturating_sub(costs)
        } else {
            balance
        }
    };
    let (dust, any_htlc) = (setup.party(owner).dust_limit, !rows.is_empty());
    let (to_local, to_remote) = (balance(owner), balance(owner.other()));
    if to_local >= dust {
        rows.push(Row::new(
            to_local,
            to_local_script.to_p2wsh(),
            CommitmentOutput::ToLocal,
        ));
    }
    if to_remote >= dust {
        let script = script::to_remote_script_pubkey(setup.format, &keys.to_remote);
        rows.push(Row::new(to_remote, script, CommitmentOutput::ToRemote));
    }
    match setup.format {
        CommitmentFormat::StaticRemotekey => {}
        CommitmentFormat::AnchorsZeroFeeHtlc => {
            let mut anchor = |side, output| {
                let script = script::anchor_script(&setup.party(side).funding_pubkey);
                rows.push(Row::new(fees::ANCHOR_VALUE, script.to_p2wsh(), output));
            };
            if any_htlc || to_local >= dust {
                anchor(owner, CommitmentOutput::LocalAnchor);
            }
            if any_htlc || to_remote >= dust {
                anchor(owner.other(), CommitmentOutput::RemoteAnchor);
            }
        }
    }
}

fn spend_funding(funding: &Funding, obscured: u64, outputs: usize) -> Transaction {
    let low = (obscured & 0xff_ffff) as u32;
    let high = (obscured >> 24 & 0xff_ffff) as u32;
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(0x20 << 24 | low),
        input: vec![input(funding.outpoint, Sequence(0x80 << 24 | high))],
        output: Vec::with_capacity(outputs),
    }
}

fn check_total(ledger: &Ledger, funding: &Funding) -> Result<(), TxError> {
    let mut total = ledger.to_local.checked_add(ledger.to_remote);
    for htlc in ledger.htlcs.values() {
        total = total.and_then(|sum: MilliSatoshi| sum.checked_add(htlc.amount));
    }
    let total = total.ok_or(TxError::Overflow)?;
    if Some(total) != funding.value.to_msat() {
        return Err(TxError::Unbalanced {
            ledger: total,
            funding: funding.value,
        });
    }
    Ok(())
}

fn obscure(setup: &Setup, n: CommitmentNumber) -> Result<u64, KeyError> {
    if n.0 > FIRST_INDEX {
        return Err(KeyError::NumberOutOfRange(n));
    }
    Ok(n.0 ^ obscuring_factor(setup))
}

/// BOLT 3, Commitment Transaction: lower 48 bits of the hash of both payment basepoints, opener first.
fn obscuring_factor(setup: &Setup) -> u64 {
    let mut engine = sha256::Hash::engine();
    engine.input(&setup.party(setup.opener).basepoints.payment.serialize());
    engine.input(
        &setup
            .party(setup.opener.other())
            .basepoints
            .payment
            .serialize(),
    );
    let hash = sha256::Hash::from_engine(engine).to_byte_array();
    hash.iter()
        .skip(26)
        .fold(0, |factor, byte| factor << 8 | u64::from(*byte))
}
