//! Signatures of a channel's keys on claims: for what was proved alone.

use bitcoin::Transaction;
use secp256k1::ecdsa::Signature;
use tx::claim::{Sweep, sign_anchor};
use tx::error::TxError;
use tx::keys::{derive_privkey, derive_revocation_privkey};

use super::ChannelKeys;
use crate::onchain::{AnchorChild, ClaimKey, OwnHtlcs, Taking};
use crate::secret::Key;
use crate::uses::{
    Delayed, DeriveDelayedKey, DerivePenaltyKey, Penalty, SignAnchor, SignDelayed, SignHtlcClaim,
    SignPenalty, SignToRemote,
};

impl ChannelKeys {
    fn sign_claim(&self, sweep: &Sweep, at: usize, key: &ClaimKey) -> Result<Signature, TxError> {
        match key {
            ClaimKey::Payment(_) => sweep.sign(at, self.payment.to(SignToRemote)),
            ClaimKey::Delayed(point) => {
                let base = self.delayed_payment.to(DeriveDelayedKey);
                let key = Key::<Delayed>::new(derive_privkey(base, point)?);
                sweep.sign(at, key.to(SignDelayed))
            }
            ClaimKey::Htlc(point) => sweep.sign(at, self.htlc_key(point)?.to(SignHtlcClaim)),
            ClaimKey::Revocation(revealed) => {
                let base = self.revocation.to(DerivePenaltyKey);
                let key = derive_revocation_privkey(base, revealed.secret())?;
                sweep.sign(at, Key::<Penalty>::new(key).to(SignPenalty))
            }
        }
    }

    pub(crate) fn sign_taking(&self, taking: &Taking) -> Result<Transaction, TxError> {
        let (sweep, keys) = taking.parts();
        let sign = |(at, key)| self.sign_claim(sweep, at, key);
        let signatures: Result<Vec<_>, TxError> = keys.iter().enumerate().map(sign).collect();
        sweep.clone().signed(&signatures?)
    }

    /// All inputs but the coins', as the next.
    pub(crate) fn sign_own_htlcs(&self, own: &OwnHtlcs) -> Result<Transaction, TxError> {
        let (own, point) = own.parts();
        own.sign(self.htlc_key(point)?.to(SignHtlcClaim))
    }

    pub(crate) fn sign_anchor(&self, child: &AnchorChild<'_>) -> Result<Transaction, TxError> {
        let (tx, setup) = child.parts();
        sign_anchor(setup, tx.clone(), self.funding.to(SignAnchor))
    }
}
