//! Signatures of a channel's keys on claims: for what was proved alone.

use bitcoin::Transaction;
use tx::claim::sign_anchor;
use tx::error::{KeyError, TxError};
use tx::keys::{derive_privkey, derive_revocation_privkey};

use super::ChannelKeys;
use crate::onchain::{AnchorChild, ClaimKey, OwnHtlcs, Taking};
use crate::secret::Key;

impl ChannelKeys {
    fn claim_key(&self, key: &ClaimKey) -> Result<Key, KeyError> {
        Ok(Key::new(match key {
            ClaimKey::Payment(_) => *self.payment.secret(),
            ClaimKey::Delayed(point) => derive_privkey(self.delayed_payment.secret(), point)?,
            ClaimKey::Htlc(point) => derive_privkey(self.htlc.secret(), point)?,
            ClaimKey::Revocation(revealed) => {
                derive_revocation_privkey(self.revocation.secret(), revealed.secret())?
            }
        }))
    }

    pub(crate) fn sign_taking(&self, taking: &Taking) -> Result<Transaction, TxError> {
        let (sweep, keys) = taking.parts();
        let sign = |(at, key)| sweep.sign(at, self.claim_key(key)?.secret());
        let signatures: Result<Vec<_>, TxError> = keys.iter().enumerate().map(sign).collect();
        sweep.clone().signed(&signatures?)
    }

    /// All inputs but the coins', as the next.
    pub(crate) fn sign_own_htlcs(&self, own: &OwnHtlcs) -> Result<Transaction, TxError> {
        let (own, point) = own.parts();
        own.sign(Key::new(derive_privkey(self.htlc.secret(), point)?).secret())
    }

    pub(crate) fn sign_anchor(&self, child: &AnchorChild<'_>) -> Result<Transaction, TxError> {
        let (tx, setup) = child.parts();
        sign_anchor(setup, tx.clone(), self.funding.secret())
    }
}
