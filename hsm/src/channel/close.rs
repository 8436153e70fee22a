//! M1: the mutual close, by closing_signed (BOLT 2, Closing Negotiation).

use bitcoin::Transaction;
use secp256k1::ecdsa::Signature;
use tx::Closing;
use tx::closing::{CloseTerms, FinalBalances, closing_fee};
use tx::error::TxError;
use tx::signer::Reply;
use wire::{FeeratePerKw, Satoshi, Side};

use super::{Channel, Decision, Funded, Means, Stage};
use crate::record::Change;
use crate::refused::Refused;

/// The most that we pay for a mutual close: 1,000 satoshi for each virtual byte.
const MAX_FEERATE: FeeratePerKw = FeeratePerKw(250_000);

/// A mutual close that pays us what the ledger says, at an address of ours, for a fee within the
/// cap. Made by [`Channel::closing`] alone, so that no other is signed.
pub(crate) struct Settled(Closing);

impl Settled {
    pub(crate) fn closing(&self) -> &Closing {
        &self.0
    }
}

impl Channel {
    pub(super) fn sign_close(
        &self,
        terms: &CloseTerms,
        means: &Means<'_>,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let dust = funded.setup.local.dust_limit;
        let closing = self.closing(terms, dust, means)?;
        let signature = means.keys.sign_closing(&closing, funded)?;
        Ok(Decision {
            reply: Reply::SignedClose { signature },
            change: funded.close_change(terms.fee),
        })
    }

    pub(super) fn complete_close(
        &self,
        terms: &CloseTerms,
        theirs: &Signature,
        means: &Means<'_>,
    ) -> Result<Decision, Refused> {
        let funded = self.funded()?;
        let (setup, funding) = (&funded.setup, &funded.funding);
        let variants = self.variants(terms, means)?;
        let signed = |closing: &&Settled| {
            let verified = closing.0.verify(setup, funding, Side::Remote, theirs);
            verified.is_ok()
        };
        let closing = variants.iter().find(signed);
        let closing = closing.ok_or(Refused::CloseSignature)?;
        let signature = means.keys.sign_closing(closing, funded)?;
        let tx: Transaction = closing.0.signed(setup, &signature, theirs);
        Ok(Decision {
            reply: Reply::CompletedClose {
                tx: bitcoin::consensus::serialize(&tx),
            },
            change: funded.close_change(terms.fee),
        })
    }

    /// What the peer may have signed: outputs below its dust limit or ours are left out, and it may
    /// give up its own (BOLT 3, Legacy Closing Transaction), but never ours.
    fn variants(&self, terms: &CloseTerms, means: &Means<'_>) -> Result<Vec<Settled>, Refused> {
        let funded = self.funded()?;
        let limit = |side| funded.setup.party(side).dust_limit;
        let mine = self.closing(terms, limit(Side::Local), means)?;
        let theirs = self.closing(terms, limit(Side::Remote), means).ok();
        let theirs = theirs.filter(|theirs| theirs.0.local == mine.0.local);
        let without = mine.0.without(&funded.funding, Side::Remote).ok();
        let others = theirs.into_iter().chain(without.map(Settled));
        Ok(std::iter::once(mine).chain(others).collect())
    }

    fn closing(
        &self,
        terms: &CloseTerms,
        dust_limit: Satoshi,
        means: &Means<'_>,
    ) -> Result<Settled, Refused> {
        let funded = self.funded()?;
        let script = &terms.local_script;
        let fixed = &funded.setup.local.upfront_shutdown_script;
        if fixed.as_ref().is_some_and(|fixed| fixed != script) {
            return Err(Refused::OtherShutdown);
        }
        if !means.ours.may_close_to(self.shutdown_index, script) {
            return Err(Refused::ForeignScript(script.clone()));
        }
        let balances = funded.final_balances()?;
        let fee = terms.fee;
        if funded.setup.opener == Side::Local {
            let most = closing_fee(MAX_FEERATE, script, &terms.remote_script);
            if fee > most {
                return Err(Refused::CloseFee { fee, most });
            }
        }
        let (setup, funding) = (&funded.setup, &funded.funding);
        let built = Closing::build(setup, funding, balances, terms, dust_limit);
        built.map(Settled).map_err(|error| match error {
            TxError::ClosingFee(side, fee) => Refused::CloseFee {
                fee,
                most: balances.of(side),
            },
            other => Refused::Build(other),
        })
    }
}

impl Funded {
    /// The balances, once nothing is pending anywhere: no HTLC in either newest commitment, both
    /// agree, and the peer has revoked all but its newest.
    fn final_balances(&self) -> Result<FinalBalances, Refused> {
        let (Some(local), Some(remote)) = (&self.local, &self.remote) else {
            return Err(Refused::OpeningIncomplete);
        };
        let (ours, theirs) = (&local.newest.ledger, &remote.newest.ledger);
        let empty = ours.htlcs.is_empty() && theirs.htlcs.is_empty();
        let same = (ours.to_local, ours.to_remote) == (theirs.to_local, theirs.to_remote);
        if !empty || !same || remote.secrets.next() != remote.newest.n {
            return Err(Refused::NotSettled);
        }
        Ok(FinalBalances {
            to_local: ours.to_local,
            to_remote: ours.to_remote,
        })
    }

    fn close_change(&self, fee: Satoshi) -> Option<Change> {
        (self.stage != Stage::Closing { fee }).then_some(Change::Close { fee })
    }
}
