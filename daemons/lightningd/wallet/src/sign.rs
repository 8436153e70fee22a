//! Puts the signer's witnesses into a transaction and checks each: a transaction that leaves this
//! room would be taken by a node.

use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, CompressedPublicKey, Script, ScriptBuf, Transaction, TxOut, Witness, ecdsa};
use secp256k1::{Message, SECP256K1, XOnlyPublicKey, schnorr};

use crate::build::UnsignedTx;
use crate::utxo::{CloseKey, KeyKind, KeyRef, Utxo};
use crate::weight;

/// A witness that does not spend its coin: a bug in the signer or on the way to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    #[error("{given} witnesses for {inputs} inputs")]
    WrongNumber { given: usize, inputs: usize },
    #[error("the witness of input {input} is not one for its script: {what}")]
    WrongShape { input: usize, what: &'static str },
    #[error("the signature of input {input} does not verify")]
    WrongSignature { input: usize },
}

impl UnsignedTx {
    /// The signed transaction. `witnesses` in the order of the inputs: p2wpkh signed with
    /// SIGHASH_ALL, p2tr by its key path with SIGHASH_DEFAULT.
    ///
    /// # Errors
    /// A witness that does not spend its coin.
    pub fn attach(&self, witnesses: Vec<Witness>) -> Result<Transaction, AttachError> {
        if witnesses.len() != self.inputs.len() {
            return Err(AttachError::WrongNumber {
                given: witnesses.len(),
                inputs: self.inputs.len(),
            });
        }
        let prevouts: Vec<TxOut> = self.inputs.iter().map(prevout).collect();
        let mut cache = SighashCache::new(&self.tx);
        for (input, (coin, witness)) in self.inputs.iter().zip(&witnesses).enumerate() {
            let mut check = Check {
                cache: &mut cache,
                prevouts: &prevouts,
                input,
                coin,
            };
            check.witness(witness)?;
        }
        let mut tx = self.tx.clone();
        for (input, witness) in tx.input.iter_mut().zip(witnesses) {
            input.witness = witness;
        }
        Ok(tx)
    }
}

fn prevout(coin: &Utxo) -> TxOut {
    TxOut {
        value: Amount::from_sat(coin.value.0),
        script_pubkey: coin.script.clone(),
    }
}

struct Check<'a, 'b> {
    cache: &'a mut SighashCache<&'b Transaction>,
    prevouts: &'a [TxOut],
    input: usize,
    coin: &'a Utxo,
}

impl Check<'_, '_> {
    fn shape(&self, what: &'static str) -> AttachError {
        AttachError::WrongShape {
            input: self.input,
            what,
        }
    }

    fn witness(&mut self, witness: &Witness) -> Result<(), AttachError> {
        if witness.size() as u64 > weight::witness(&self.coin.key) {
            return Err(self.shape("larger than the fee pays for"));
        }
        match &self.coin.key {
            KeyRef::Wallet {
                kind: KeyKind::P2tr,
                ..
            } => self.p2tr(witness),
            KeyRef::Wallet {
                kind: KeyKind::P2wpkh,
                ..
            }
            | KeyRef::Close(CloseKey { anchors: false, .. }) => self.p2wpkh(witness),
            KeyRef::Close(CloseKey { anchors: true, .. }) => self.anchor_close(witness),
        }
    }

    fn p2tr(&mut self, witness: &Witness) -> Result<(), AttachError> {
        let [signature] = *witness.iter().collect::<Vec<_>>() else {
            return Err(self.shape("a p2tr key path needs one element"));
        };
        let signature = schnorr::Signature::from_slice(signature)
            .map_err(|_| self.shape("a signature with SIGHASH_DEFAULT has 64 bytes"))?;
        let key = self.coin.script.as_bytes().get(2..34).unwrap_or_default();
        let key = XOnlyPublicKey::from_slice(key)
            .map_err(|_| self.shape("the coin's script is not p2tr"))?;
        let hash = self
            .cache
            .taproot_key_spend_signature_hash(
                self.input,
                &Prevouts::All(self.prevouts),
                TapSighashType::Default,
            )
            .map_err(|_| self.shape("no sighash"))?;
        SECP256K1
            .verify_schnorr(&signature, &Message::from(hash), &key)
            .map_err(|_| AttachError::WrongSignature { input: self.input })
    }

    fn p2wpkh(&mut self, witness: &Witness) -> Result<(), AttachError> {
        let [signature, key] = *witness.iter().collect::<Vec<_>>() else {
            return Err(self.shape("p2wpkh needs a signature and a key"));
        };
        let key = self.key(key)?;
        if ScriptBuf::new_p2wpkh(&key.wpubkey_hash()) != self.coin.script {
            return Err(self.shape("the key is not that of the coin"));
        }
        let signature = self.signature(signature)?;
        let value = Amount::from_sat(self.coin.value.0);
        let hash = self
            .cache
            .p2wpkh_signature_hash(self.input, &self.coin.script, value, EcdsaSighashType::All)
            .map_err(|_| self.shape("no sighash"))?;
        self.verify(Message::from(hash), &signature, &key)
    }

    // BOLT 3, to_remote Output: with anchors, `<key> OP_CHECKSIGVERIFY 1 OP_CSV`.
    fn anchor_close(&mut self, witness: &Witness) -> Result<(), AttachError> {
        let [signature, script] = *witness.iter().collect::<Vec<_>>() else {
            return Err(self.shape("to_remote needs a signature and a script"));
        };
        let script = Script::from_bytes(script);
        if script.to_p2wsh() != self.coin.script {
            return Err(self.shape("the script is not that of the coin"));
        }
        let key = self.key(script.as_bytes().get(1..34).unwrap_or_default())?;
        let signature = self.signature(signature)?;
        let value = Amount::from_sat(self.coin.value.0);
        let hash = self
            .cache
            .p2wsh_signature_hash(self.input, script, value, EcdsaSighashType::All)
            .map_err(|_| self.shape("no sighash"))?;
        self.verify(Message::from(hash), &signature, &key)
    }

    fn key(&self, bytes: &[u8]) -> Result<CompressedPublicKey, AttachError> {
        CompressedPublicKey::from_slice(bytes).map_err(|_| self.shape("not a public key"))
    }

    fn signature(&self, bytes: &[u8]) -> Result<ecdsa::Signature, AttachError> {
        let signature =
            ecdsa::Signature::from_slice(bytes).map_err(|_| self.shape("not a signature"))?;
        if signature.sighash_type != EcdsaSighashType::All {
            return Err(self.shape("not signed with SIGHASH_ALL"));
        }
        Ok(signature)
    }

    fn verify(
        &self,
        hash: Message,
        signature: &ecdsa::Signature,
        key: &CompressedPublicKey,
    ) -> Result<(), AttachError> {
        SECP256K1
            .verify_ecdsa(&hash, &signature.signature, &key.0)
            .map_err(|_| AttachError::WrongSignature { input: self.input })
    }
}

#[cfg(test)]
mod tests;
