//! The mutual close of closing_signed (BOLT 3, Legacy Closing Transaction; BOLT 2, shutdown).

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Script, ScriptBuf, Sequence, Transaction, TxOut, VarInt};
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, SECP256K1, SecretKey};
use serde::{Deserialize, Serialize};
use wire::{FeeratePerKw, MilliSatoshi, Satoshi, Side};

use crate::commitment::{funding_sighash, input};
use crate::error::TxError;
use crate::setup::{Funding, Setup};
use crate::witness;

/// Weight of the witness that spends the funding output, marker and flag included (BOLT 3, Appendix A).
const FUNDING_WITNESS_WEIGHT: u64 = 224;
/// Version, counts of inputs and outputs, the input, lock time.
const FIXED_BYTES: u64 = 4 + 1 + 41 + 1 + 4;

/// A closing transaction, unsigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub tx: Transaction,
    /// Miners' part: the agreed fee, what was dust, and fractions of a satoshi.
    pub fee: Satoshi,
    /// Our node's output and the peer's; `None` where it is dust or was given up.
    pub local: Option<Satoshi>,
    pub remote: Option<Satoshi>,
    local_script: ScriptBuf,
    remote_script: ScriptBuf,
}

/// What the two sides have to agree on. The opener pays the fee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseTerms {
    pub fee: Satoshi,
    /// Where our node's balance goes, and the peer's.
    pub local_script: ScriptBuf,
    pub remote_script: ScriptBuf,
}

/// What each side has at the end, without HTLCs, before the fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalBalances {
    pub to_local: MilliSatoshi,
    pub to_remote: MilliSatoshi,
}

impl FinalBalances {
    /// In whole satoshi.
    #[must_use]
    pub fn of(&self, side: Side) -> Satoshi {
        match side {
            Side::Local => self.to_local.to_sat_floor(),
            Side::Remote => self.to_remote.to_sat_floor(),
        }
    }
}

impl Closing {
    /// Pays both balances, the fee taken from the opener's; outputs below `dust_limit`, which is
    /// that of the side that signs, are left out.
    ///
    /// # Errors
    /// `Unbalanced`, `ClosingFee` if the opener has less than the fee, `ClosingNoOutputs`.
    pub fn build(
        setup: &Setup,
        funding: &Funding,
        balances: FinalBalances,
        terms: &CloseTerms,
        dust_limit: Satoshi,
    ) -> Result<Closing, TxError> {
        let total = balances
            .to_local
            .checked_add(balances.to_remote)
            .ok_or(TxError::Overflow)?;
        if Some(total) != funding.value.to_msat() {
            return Err(TxError::Unbalanced {
                ledger: total,
                funding: funding.value,
            });
        }
        let fee = terms.fee;
        let value = |side: Side| {
            let balance = balances.of(side);
            if side != setup.opener {
                return Ok(balance);
            }
            balance
                .checked_sub(fee)
                .ok_or(TxError::ClosingFee(side, fee))
        };
        let local = value(Side::Local)?;
        let remote = value(Side::Remote)?;
        // BOLT 3, Legacy Closing Transaction: outputs below the dust limit must go.
        let local = (local >= dust_limit).then_some(local);
        let remote = (remote >= dust_limit).then_some(remote);
        let mut closing = Closing {
            tx: Transaction {
                version: Version::TWO,
                lock_time: LockTime::ZERO,
                input: vec![input(funding.outpoint, Sequence::MAX)],
                output: Vec::new(),
            },
            fee: funding.value,
            local,
            remote,
            local_script: terms.local_script.clone(),
            remote_script: terms.remote_script.clone(),
        };
        closing.fill(funding.value)?;
        Ok(closing)
    }

    /// Sets outputs and fee by what `local` and `remote` say.
    fn fill(&mut self, funding_value: Satoshi) -> Result<(), TxError> {
        let outputs = [
            (self.local, &self.local_script),
            (self.remote, &self.remote_script),
        ];
        let mut outputs: Vec<(Satoshi, &ScriptBuf)> = outputs
            .into_iter()
            .filter_map(|(value, script)| Some((value?, script)))
            .collect();
        // BOLT 3, Transaction Output Ordering
        outputs.sort_by(|a, b| (a.0, a.1.as_bytes()).cmp(&(b.0, b.1.as_bytes())));
        if outputs.is_empty() {
            return Err(TxError::ClosingNoOutputs);
        }
        let paid = outputs
            .iter()
            .fold(Satoshi::ZERO, |sum, (value, _)| sum.saturating_add(*value));
        self.fee = funding_value.checked_sub(paid).ok_or(TxError::Overflow)?;
        let tx_out = |(value, script): (Satoshi, &ScriptBuf)| TxOut {
            value: Amount::from_sat(value.0),
            script_pubkey: script.clone(),
        };
        self.tx.output = outputs.into_iter().map(tx_out).collect();
        Ok(())
    }

    /// The variant in which `side` has given up its output, as BOLT 3 allows a signer to do with its own.
    ///
    /// # Errors
    /// `ClosingNoOutputs` if nothing would be left.
    pub fn without(&self, funding: &Funding, side: Side) -> Result<Closing, TxError> {
        let mut closing = self.clone();
        match side {
            Side::Local => closing.local = None,
            Side::Remote => closing.remote = None,
        }
        closing.fill(funding.value)?;
        Ok(closing)
    }

    /// What both sides sign, with the funding keys.
    ///
    /// # Errors
    /// None that can happen: the transaction has one input.
    pub fn sighash(&self, setup: &Setup, funding: &Funding) -> Result<Message, TxError> {
        funding_sighash(&self.tx, setup, funding)
    }

    /// # Errors
    /// As [`Closing::sighash`].
    pub fn sign(
        &self,
        setup: &Setup,
        funding: &Funding,
        funding_secret: &SecretKey,
    ) -> Result<Signature, TxError> {
        Ok(SECP256K1.sign_ecdsa(&self.sighash(setup, funding)?, funding_secret))
    }

    /// # Errors
    /// `BadSignature`: the signer may have left out its own output, see [`Closing::without`].
    pub fn verify(
        &self,
        setup: &Setup,
        funding: &Funding,
        signer: Side,
        signature: &Signature,
    ) -> Result<(), TxError> {
        let key = &setup.party(signer).funding_pubkey;
        SECP256K1
            .verify_ecdsa(&self.sighash(setup, funding)?, signature, key)
            .map_err(|_| TxError::BadSignature)
    }

    /// Ready to broadcast. Signatures are not verified.
    #[must_use]
    pub fn signed(&self, setup: &Setup, local: &Signature, remote: &Signature) -> Transaction {
        witness::complete(&self.tx, &witness::funding(setup, local, remote))
    }
}

/// Expected weight of a closing transaction with outputs to these scripts.
#[must_use]
pub fn closing_weight(scripts: &[&Script]) -> u64 {
    let outputs = scripts.iter().fold(0, |sum: u64, script| {
        let len = script.len() as u64;
        sum.saturating_add(8)
            .saturating_add(VarInt(len).size() as u64)
            .saturating_add(len)
    });
    FIXED_BYTES
        .saturating_add(outputs)
        .saturating_mul(4)
        .saturating_add(FUNDING_WITNESS_WEIGHT)
}

/// Fee of a closing transaction with both outputs at `feerate`.
#[must_use]
pub fn closing_fee(
    feerate: FeeratePerKw,
    local_script: &Script,
    remote_script: &Script,
) -> Satoshi {
    feerate.fee(closing_weight(&[local_script, remote_script]))
}

/// Whether a script may be in shutdown (BOLT 2, shutdown): p2wpkh, p2wsh and, where
/// option_shutdown_anysegwit was negotiated, witness versions 1 to 16. p2pkh and p2sh are no longer.
#[must_use]
pub fn is_valid_shutdown_script(script: &Script, anysegwit: bool) -> bool {
    script.is_p2wpkh()
        || script.is_p2wsh()
        || anysegwit
            && script
                .witness_version()
                .is_some_and(|v| v != bitcoin::WitnessVersion::V0)
}
