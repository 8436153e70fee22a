//! C3 and C7: what a new commitment must keep to besides being the sum of its deltas.

use tx::fees;
use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::limits::{
    CLTV_LIMIT, MAX_FEERATE, MAX_HTLCS, MIN_FEERATE, dust_cap, highest_feerate, offered,
    offered_dust,
};
use tx::setup::Setup;
use wire::{FeeratePerKw, Side};

use crate::refused::Refused;

/// A commitment of `owner` that comes from `before`.
pub(super) struct Next<'a> {
    pub(super) setup: &'a Setup,
    pub(super) owner: Side,
    pub(super) before: &'a Ledger,
    pub(super) ledger: &'a Ledger,
}

impl Next<'_> {
    pub(super) fn check(&self, deltas: &[Delta]) -> Result<(), Refused> {
        self.check_counts()?;
        for delta in deltas {
            match delta {
                Delta::Add { key, htlc } => self.check_add(*key, htlc)?,
                Delta::Fee { feerate } => self.check_feerate(*feerate)?,
                Delta::Fulfil { .. } | Delta::Fail { .. } => {}
            }
        }
        Ok(())
    }

    fn check_add(&self, key: HtlcKey, htlc: &Htlc) -> Result<(), Refused> {
        // BOLT 2, Removing an HTLC: not before it is in both commitments.
        if self.ledger.htlcs.get(&key) != Some(htlc) {
            return Err(Refused::RemovedAtOnce(key));
        }
        if htlc.cltv_expiry >= CLTV_LIMIT {
            return Err(Refused::NoHeight(htlc.cltv_expiry));
        }
        // C3. Fee and anchors are taken from the opener's balance when the transaction is built: an
        // HTLC of the other side may bring it below the reserve, which is legal, its own may not.
        let side = key.offerer;
        let reserve = fees::reserve(self.setup, side).to_msat();
        if reserve.is_none_or(|reserve| self.ledger.balance(side) < reserve) {
            return Err(Refused::BelowReserve(side));
        }
        match side {
            Side::Local => self.check_dust(htlc),
            // The peer's own loss, and for us no more than what does not come in.
            Side::Remote => Ok(()),
        }
    }

    /// At the lower of two feerates: a rise that trims more is the feerate's matter.
    fn check_dust(&self, htlc: &Htlc) -> Result<(), Refused> {
        let (setup, owner, ours) = (self.setup, self.owner, Side::Local);
        let feerate = self.before.feerate.min(self.ledger.feerate);
        if !fees::is_trimmed(setup, owner, feerate, ours, htlc.amount) {
            return Ok(());
        }
        let most = dust_cap(setup);
        match offered_dust(setup, self.ledger, owner, ours, feerate) <= most {
            true => Ok(()),
            false => Err(Refused::TooMuchDust(most)),
        }
    }

    /// Its step is looked at where it comes first: in the commitment of the side that did not send
    /// it. In the other one several may come together.
    fn check_feerate(&self, feerate: FeeratePerKw) -> Result<(), Refused> {
        let most = match self.owner == self.setup.opener {
            true => MAX_FEERATE,
            false => highest_feerate(self.before.feerate),
        };
        match (MIN_FEERATE..=most).contains(&feerate) {
            true => Ok(()),
            false => Err(Refused::Feerate { feerate, most }),
        }
    }

    /// BOLT 2, max_accepted_htlcs and max_htlc_value_in_flight_msat: of the side that takes them.
    fn check_counts(&self) -> Result<(), Refused> {
        for side in [Side::Local, Side::Remote] {
            let taker = self.setup.party(side.other());
            let (count, value) = offered(self.ledger, side);
            let most = taker.max_accepted_htlcs.min(MAX_HTLCS);
            if count > usize::from(most) {
                return Err(Refused::TooManyHtlcs(most));
            }
            if value > taker.max_htlc_value_in_flight {
                return Err(Refused::TooMuchInFlight(taker.max_htlc_value_in_flight));
            }
        }
        Ok(())
    }
}
