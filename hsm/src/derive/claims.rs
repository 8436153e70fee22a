//! Signatures of a channel's keys on claims: for what was proved alone.

use bitcoin::Transaction;
use secp256k1::SECP256K1;
use tx::claim::{anchor_sighash, htlc_sighash};
use tx::error::{KeyError, TxError};
use tx::keys::{derive_privkey, derive_revocation_privkey};
use tx::script::anchor_script;
use tx::witness;

use super::ChannelKeys;
use crate::onchain::{AnchorChild, ClaimKey, OwnHtlcs, Taking};
use crate::secret::Key;

impl ChannelKeys {
    fn claim_key(&self, key: &ClaimKey) -> Result<Key, KeyError> {
        Ok(Key::new(match key {
            ClaimKey::Payment => *self.payment.secret(),
            ClaimKey::Delayed(point) => derive_privkey(self.delayed_payment.secret(), point)?,
            ClaimKey::Htlc(point) => derive_privkey(self.htlc.secret(), point)?,
            ClaimKey::Revocation(revealed) => {
                derive_revocation_privkey(self.revocation.secret(), revealed.secret())?
            }
        }))
    }

    pub(crate) fn sign_taking(&self, taking: &Taking) -> Result<Transaction, TxError> {
        let sweep = taking.sweep();
        let mut signatures = Vec::with_capacity(sweep.claimed.len());
        for (index, key) in taking.keys().iter().enumerate() {
            let message = sweep.sighash(index)?;
            let key = self.claim_key(key)?;
            signatures.push(SECP256K1.sign_ecdsa(&message, key.secret()));
        }
        sweep.clone().signed(&signatures)
    }

    /// All inputs but the coins'.
    pub(crate) fn sign_own_htlcs(&self, own: &OwnHtlcs) -> Result<Transaction, TxError> {
        let key = Key::new(derive_privkey(self.htlc.secret(), own.point())?);
        let mut tx = own.tx().clone();
        for (index, (htlc, theirs, preimage)) in own.htlcs().iter().enumerate() {
            let message = htlc_sighash(own.tx(), index, htlc)?;
            let ours = SECP256K1.sign_ecdsa(&message, key.secret());
            let witness = htlc.witness(&ours, theirs, preimage.as_ref())?;
            let input = tx.input.get_mut(index).ok_or(TxError::Sighash)?;
            input.witness = witness;
        }
        Ok(tx)
    }

    /// Its first input.
    pub(crate) fn sign_anchor(&self, child: &AnchorChild) -> Result<Transaction, TxError> {
        let (setup, mut tx) = (child.setup(), child.tx().clone());
        let message = anchor_sighash(setup, &tx)?;
        let signature = SECP256K1.sign_ecdsa(&message, self.funding.secret());
        let input = tx.input.first_mut().ok_or(TxError::Sighash)?;
        input.witness = witness::anchor(&signature, &anchor_script(&setup.local.funding_pubkey));
        Ok(tx)
    }
}
