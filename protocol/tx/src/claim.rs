//! Claims: outputs of commitments and of their HTLC transactions that are ours to take, and the
//! transactions that take them (BOLT 5).
//!
//! Three shapes. A *sweep* takes any number of outputs that our signature alone spends to one output of
//! our wallet. An *HTLC claim* is one or more HTLC transactions of our own commitment, joined by wallet
//! coins for the fee where the format has anchors. An *anchor claim* spends our anchor and wallet coins,
//! so that their commitment is worth mining.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxOut, Witness};
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use serde::{Deserialize, Serialize};
use wire::{CltvExpiry, CommitmentNumber, PaymentHash, Preimage, Satoshi, Side};

use crate::commitment::input;
use crate::error::TxError;
use crate::keys::CommitmentKeys;
use crate::onchain::{Claim, ParentTx};
use crate::script::{self, HtlcScripts};
use crate::setup::{CommitmentFormat, Setup};
use crate::witness;

mod funded;

pub use funded::{
    CoinKind, FeeCoin, Funded, OwnHtlcs, anchor_of, anchor_output, anchor_sighash,
    check_commitment, join_htlcs, sign_anchor, spend_anchor,
};

/// An input that may be replaced and needs no delay of its own (BIP 125).
const REPLACEABLE: Sequence = Sequence(0xffff_fffd);
/// Marker and flag of a transaction with witnesses.
const SEGWIT_WEIGHT: u64 = 2;
/// A transaction of more inputs is not relayed.
const MAX_CLAIMS: usize = 1_000;
/// Longest signature with its sighash byte; low s, any r (BIP 146).
const SIGNATURE: usize = 72;

/// As what an output is ours, and with which key it is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// to_local of our commitment `n`, or the output of an HTLC transaction of it: after the delay.
    Delayed { n: CommitmentNumber },
    /// Our balance in a commitment of the peer's (`to_remote` there).
    ToRemote,
    /// An HTLC that we offered, in the peer's commitment with this point: after its expiry.
    Timeout {
        point: PublicKey,
        payment_hash: PaymentHash,
        cltv_expiry: CltvExpiry,
    },
    /// An HTLC that the peer offered, in the peer's commitment with this point.
    Preimage {
        point: PublicKey,
        preimage: Preimage,
    },
    /// to_local of the peer's revoked commitment `n`, or the output of an HTLC transaction of it.
    Revoked { n: CommitmentNumber },
    /// An HTLC output of the peer's revoked commitment `n`.
    RevokedHtlc {
        n: CommitmentNumber,
        offerer: Side,
        payment_hash: PaymentHash,
        cltv_expiry: CltvExpiry,
    },
}

/// Whose commitment it is, by number; its point is known or can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointOf {
    Known(PublicKey),
    /// Ours of this number.
    Local(CommitmentNumber),
    /// The peer's of this number, which it has revoked.
    Revoked(CommitmentNumber),
    /// The key is the same in all commitments.
    None,
}

impl How {
    /// Which per-commitment point the keys are made with.
    #[must_use]
    pub fn point(&self) -> PointOf {
        match self {
            How::Delayed { n } => PointOf::Local(*n),
            How::ToRemote => PointOf::None,
            How::Timeout { point, .. } | How::Preimage { point, .. } => PointOf::Known(*point),
            How::Revoked { n } | How::RevokedHtlc { n, .. } => PointOf::Revoked(*n),
        }
    }

    /// The owner of the commitment.
    #[must_use]
    pub fn owner(&self) -> Side {
        match self {
            How::Delayed { .. } => Side::Local,
            How::ToRemote
            | How::Timeout { .. }
            | How::Preimage { .. }
            | How::Revoked { .. }
            | How::RevokedHtlc { .. } => Side::Remote,
        }
    }

    /// Blocks after its parent's before the output can be spent, as BIP 68 writes them.
    #[must_use]
    pub fn sequence(&self, setup: &Setup) -> Sequence {
        match (self, setup.format) {
            // BOLT 3: the delay that the peer demanded of us.
            (How::Delayed { .. }, _) => Sequence(u32::from(setup.remote.to_self_delay.0)),
            (How::Revoked { .. } | How::RevokedHtlc { .. }, _) => REPLACEABLE,
            (_, CommitmentFormat::StaticRemotekey) => REPLACEABLE,
            // BOLT 3: all but the owner's own paths are locked for one block.
            (_, CommitmentFormat::AnchorsZeroFeeHtlc) => Sequence(1),
        }
    }

    /// First block that may hold the claim, less one.
    #[must_use]
    pub fn lock_time(&self) -> u32 {
        match self {
            How::Timeout { cltv_expiry, .. } => cltv_expiry.0,
            How::Delayed { .. }
            | How::ToRemote
            | How::Preimage { .. }
            | How::Revoked { .. }
            | How::RevokedHtlc { .. } => 0,
        }
    }

    /// The output's script and what its spender shows.
    fn scripts(&self, setup: &Setup, keys: &CommitmentKeys) -> (ScriptBuf, Shown) {
        let owner = self.owner();
        let htlcs = HtlcScripts::new(setup.format, keys);
        let shown = match self {
            How::Delayed { .. } | How::Revoked { .. } => {
                Shown::Script(delayed_script(setup, owner, keys))
            }
            How::ToRemote => {
                let script_pubkey = script::to_remote_script_pubkey(setup.format, &keys.to_remote);
                let shown = match setup.format {
                    CommitmentFormat::StaticRemotekey => Shown::Key(keys.to_remote),
                    CommitmentFormat::AnchorsZeroFeeHtlc => {
                        Shown::Script(script::to_remote_anchors_script(&keys.to_remote))
                    }
                };
                return (script_pubkey, shown);
            }
            How::Timeout {
                payment_hash,
                cltv_expiry,
                ..
            } => Shown::Script(htlcs.received(payment_hash, *cltv_expiry)),
            How::Preimage { preimage, .. } => {
                Shown::Script(htlcs.offered(&preimage.payment_hash()))
            }
            How::RevokedHtlc {
                offerer,
                payment_hash,
                cltv_expiry,
                ..
            } => match offerer {
                Side::Remote => Shown::Revoked(htlcs.offered(payment_hash), keys.revocation),
                Side::Local => {
                    Shown::Revoked(htlcs.received(payment_hash, *cltv_expiry), keys.revocation)
                }
            },
        };
        let script_pubkey = match &shown {
            Shown::Script(script) | Shown::Revoked(script, _) => script.to_p2wsh(),
            Shown::Key(key) => script::to_remote_script_pubkey(setup.format, key),
        };
        (script_pubkey, shown)
    }
}

/// Witness script of the owner's delayed outputs.
#[must_use]
pub fn delayed_script(setup: &Setup, owner: Side, keys: &CommitmentKeys) -> ScriptBuf {
    let delay = setup.party(owner.other()).to_self_delay;
    script::to_local_script(&keys.revocation, delay, &keys.delayed)
}

/// What a spender shows beside its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Script(ScriptBuf),
    /// The script, and the revocation key that hashes to what is in it.
    Revoked(ScriptBuf, PublicKey),
    /// p2wpkh.
    Key(PublicKey),
}

/// An output that is ours to take: what it is was proved by its script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub outpoint: OutPoint,
    pub output: TxOut,
    pub how: How,
    shown: Shown,
}

impl Claimed {
    /// Output `vout` of `parent`, if it is what `how` says; `point` as [`How::point`] says.
    ///
    /// # Errors
    /// `NotOurs` if it is something else; `Key`.
    pub fn of(
        setup: &Setup,
        parent: &Transaction,
        vout: u32,
        how: How,
        point: &PublicKey,
    ) -> Result<Claimed, TxError> {
        let outpoint = OutPoint {
            txid: parent.compute_txid(),
            vout,
        };
        let output = usize::try_from(vout)
            .ok()
            .and_then(|at| parent.output.get(at));
        let output = output.ok_or(TxError::NotOurs(outpoint))?;
        let keys = CommitmentKeys::derive(setup, how.owner(), point)?;
        Claimed::with_keys(setup, outpoint, output, how, &keys)
    }

    /// As [`Claimed::of`], with the keys of its commitment (any of its owner's for [`How::ToRemote`]).
    ///
    /// # Errors
    /// `NotOurs`.
    pub fn with_keys(
        setup: &Setup,
        outpoint: OutPoint,
        output: &TxOut,
        how: How,
        keys: &CommitmentKeys,
    ) -> Result<Claimed, TxError> {
        let (script_pubkey, shown) = how.scripts(setup, keys);
        if output.script_pubkey != script_pubkey {
            return Err(TxError::NotOurs(outpoint));
        }
        Ok(Claimed {
            outpoint,
            output: output.clone(),
            how,
            shown,
        })
    }

    #[must_use]
    pub fn value(&self) -> Satoshi {
        Satoshi(self.output.value.to_sat())
    }

    /// With our signature, whose sighash is ALL.
    #[must_use]
    pub fn witness(&self, signature: &Signature) -> Witness {
        match (&self.how, &self.shown) {
            (_, Shown::Key(key)) => witness::p2wpkh(signature, key),
            (_, Shown::Revoked(script, key)) => witness::htlc_penalty(signature, key, script),
            (How::Delayed { .. }, Shown::Script(script)) => witness::to_local(signature, script),
            (How::Revoked { .. }, Shown::Script(script)) => {
                witness::to_local_penalty(signature, script)
            }
            (How::ToRemote, Shown::Script(script)) => witness::to_remote_anchors(signature, script),
            (How::Preimage { preimage, .. }, Shown::Script(script)) => {
                witness::htlc_preimage(signature, preimage, script)
            }
            (How::Timeout { .. } | How::RevokedHtlc { .. }, Shown::Script(script)) => {
                witness::htlc_timeout(signature, script)
            }
        }
    }

    /// Weight of the witness at its longest.
    #[must_use]
    pub fn witness_weight(&self) -> u64 {
        // Any signature does: elements are as long as they are, but for the first.
        let Ok(any) = Signature::from_compact(&[1; 64]) else {
            return 0;
        };
        let witness = self.witness(&any);
        let first = witness.nth(0).map_or(0, <[u8]>::len);
        let size = witness.size() + SIGNATURE.saturating_sub(first);
        u64::try_from(size).unwrap_or(u64::MAX)
    }
}

/// Outputs of `parents`, of which each claim says which and as what; `points` as [`How::point`] says.
///
/// # Errors
/// `TooManyClaims`, `NoParent`, and those of [`Claimed::of`].
pub fn claimed<'a>(
    setup: &Setup,
    parents: &[ParentTx],
    claims: Vec<Claim>,
    points: impl Iterator<Item = &'a PublicKey>,
) -> Result<Vec<Claimed>, TxError> {
    if claims.len() > MAX_CLAIMS {
        return Err(TxError::TooManyClaims(claims.len(), MAX_CLAIMS));
    }
    let parents: Vec<Option<Transaction>> = parents.iter().map(ParentTx::decode).collect();
    let of = |(claim, point): (Claim, &PublicKey)| {
        let parent = parents.get(usize::from(claim.parent));
        let parent = parent.and_then(Option::as_ref);
        let parent = parent.ok_or(TxError::NoParent(claim.parent))?;
        Claimed::of(setup, parent, claim.vout, claim.how, point)
    };
    claims.into_iter().zip(points).map(of).collect()
}

/// One transaction that takes outputs of ours to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    pub tx: Transaction,
    pub claimed: Vec<Claimed>,
    pub fee: Satoshi,
}

impl Sweep {
    /// Takes all of `claimed` to `destination`, less `fee`.
    ///
    /// # Errors
    /// `Empty`; `Dust` if nothing worth having remains.
    pub fn build(
        setup: &Setup,
        claimed: Vec<Claimed>,
        destination: &Script,
        fee: Satoshi,
    ) -> Result<Sweep, TxError> {
        let total = claimed.iter().try_fold(Satoshi::ZERO, |sum, claimed| {
            sum.checked_add(claimed.value()).ok_or(TxError::Overflow)
        })?;
        let lock_time = claimed.iter().map(|claimed| claimed.how.lock_time()).max();
        let lock_time = lock_time.ok_or(TxError::Empty)?;
        let value = total.checked_sub(fee).ok_or(TxError::Dust)?;
        let tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock_time),
            input: claimed
                .iter()
                .map(|claimed| input(claimed.outpoint, claimed.how.sequence(setup)))
                .collect(),
            output: vec![paying(destination, value)?],
        };
        Ok(Sweep { tx, claimed, fee })
    }

    /// Most that the signed transaction weighs.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let witnesses = self.claimed.iter().map(Claimed::witness_weight);
        let base = self.tx.weight().to_wu().saturating_add(SEGWIT_WEIGHT);
        witnesses.fold(base, u64::saturating_add)
    }

    /// What all inputs bring.
    #[must_use]
    pub fn value(&self) -> Satoshi {
        let values = self.claimed.iter().map(Claimed::value);
        values.fold(Satoshi::ZERO, Satoshi::saturating_add)
    }

    /// Our signature on input `index`, with the key that takes it.
    ///
    /// # Errors
    /// As [`Sweep::sighash`].
    pub fn sign(&self, index: usize, secret: &SecretKey) -> Result<Signature, TxError> {
        Ok(SECP256K1.sign_ecdsa(&self.sighash(index)?, secret))
    }

    /// What our signature on input `index` signs.
    ///
    /// # Errors
    /// `Sighash` if there is no such input.
    pub fn sighash(&self, index: usize) -> Result<Message, TxError> {
        let claimed = self.claimed.get(index).ok_or(TxError::Sighash)?;
        let value = claimed.output.value;
        let mut cache = SighashCache::new(&self.tx);
        let all = EcdsaSighashType::All;
        let hash = match &claimed.shown {
            Shown::Script(script) | Shown::Revoked(script, _) => cache
                .p2wsh_signature_hash(index, script, value, all)
                .map_err(|_| TxError::Sighash)?,
            Shown::Key(_) => cache
                .p2wpkh_signature_hash(index, &claimed.output.script_pubkey, value, all)
                .map_err(|_| TxError::Sighash)?,
        };
        Ok(Message::from_digest(hash.to_byte_array()))
    }

    /// Ready to broadcast: one signature for each input, in order.
    ///
    /// # Errors
    /// `Sighash` if there are more or fewer.
    pub fn signed(mut self, signatures: &[Signature]) -> Result<Transaction, TxError> {
        if signatures.len() != self.claimed.len() {
            return Err(TxError::Sighash);
        }
        let pairs = self.claimed.iter().zip(signatures);
        for (input, (claimed, signature)) in self.tx.input.iter_mut().zip(pairs) {
            input.witness = claimed.witness(signature);
        }
        Ok(self.tx)
    }
}

fn paying(script: &Script, value: Satoshi) -> Result<TxOut, TxError> {
    let value = Amount::from_sat(value.0);
    if value < script.minimal_non_dust() {
        return Err(TxError::Dust);
    }
    Ok(TxOut {
        value,
        script_pubkey: script.to_owned(),
    })
}
