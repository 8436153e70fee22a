//! HTLC-timeout and HTLC-success transactions (BOLT 3).

use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, ScriptBuf, Transaction, TxOut, Witness};
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use wire::{Preimage, Satoshi, Side};

use crate::error::TxError;
use crate::ledger::{Htlc, HtlcKey};
use crate::witness;

/// How the owner of a commitment takes an HTLC output of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HtlcKind {
    /// The owner offered it and gets it back after its expiry.
    Timeout,
    /// It was offered to the owner, who has the preimage.
    Success,
}

impl HtlcKind {
    #[must_use]
    pub fn of(owner: Side, offerer: Side) -> HtlcKind {
        if owner == offerer {
            HtlcKind::Timeout
        } else {
            HtlcKind::Success
        }
    }
}

/// The second-stage transaction of one HTLC output, unsigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HtlcTx {
    pub tx: Transaction,
    pub key: HtlcKey,
    pub htlc: Htlc,
    pub kind: HtlcKind,
    /// Owner of the commitment and so of this transaction.
    pub owner: Side,
    /// Value of the HTLC output that it spends.
    pub amount: Satoshi,
    /// Witness script of that output.
    pub redeem_script: ScriptBuf,
    /// How the side that is not the owner signs; the owner signs with ALL.
    pub other_sighash_type: EcdsaSighashType,
}

impl HtlcTx {
    #[must_use]
    pub fn sighash_type(&self, signer: Side) -> EcdsaSighashType {
        if signer == self.owner {
            EcdsaSighashType::All
        } else {
            self.other_sighash_type
        }
    }

    /// What `signer` signs.
    ///
    /// # Errors
    /// None that can happen: the transaction has one input.
    pub fn sighash(&self, signer: Side) -> Result<Message, TxError> {
        SighashCache::new(&self.tx)
            .p2wsh_signature_hash(
                0,
                &self.redeem_script,
                Amount::from_sat(self.amount.0),
                self.sighash_type(signer),
            )
            .map(|hash| Message::from_digest(hash.to_byte_array()))
            .map_err(|_| TxError::Sighash)
    }

    /// `secret`: the HTLC key of `signer` for this commitment.
    ///
    /// # Errors
    /// As [`HtlcTx::sighash`].
    pub fn sign(&self, signer: Side, secret: &SecretKey) -> Result<Signature, TxError> {
        Ok(SECP256K1.sign_ecdsa(&self.sighash(signer)?, secret))
    }

    /// # Errors
    /// `BadHtlcSignature`.
    pub fn verify(
        &self,
        signer: Side,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<(), TxError> {
        SECP256K1
            .verify_ecdsa(&self.sighash(signer)?, signature, key)
            .map_err(|_| TxError::BadHtlcSignature(self.key))
    }

    /// The output that it spends.
    #[must_use]
    pub fn output(&self) -> TxOut {
        TxOut {
            value: Amount::from_sat(self.amount.0),
            script_pubkey: self.redeem_script.to_p2wsh(),
        }
    }

    /// The transaction with its witness.
    ///
    /// # Errors
    /// As [`HtlcTx::witness`].
    pub fn signed(
        &self,
        owner: &Signature,
        other: &Signature,
        preimage: Option<&Preimage>,
    ) -> Result<Transaction, TxError> {
        let witness = self.witness(owner, other, preimage)?;
        Ok(witness::complete(&self.tx, &witness))
    }

    /// What its input shows. HTLC-success takes the preimage, HTLC-timeout none.
    ///
    /// # Errors
    /// `WrongHtlcKind`, `WrongPreimage`. Signatures are not verified.
    pub fn witness(
        &self,
        owner: &Signature,
        other: &Signature,
        preimage: Option<&Preimage>,
    ) -> Result<Witness, TxError> {
        let secret: &[u8] = match (self.kind, preimage) {
            (HtlcKind::Timeout, None) => &[],
            (HtlcKind::Success, Some(preimage)) => {
                if preimage.payment_hash() != self.htlc.payment_hash {
                    return Err(TxError::WrongPreimage(self.key));
                }
                &preimage.0
            }
            (HtlcKind::Timeout, Some(_)) | (HtlcKind::Success, None) => {
                return Err(TxError::WrongHtlcKind(self.key));
            }
        };
        Ok(witness::htlc_tx(
            owner,
            other,
            self.other_sighash_type,
            secret,
            &self.redeem_script,
        ))
    }
}
