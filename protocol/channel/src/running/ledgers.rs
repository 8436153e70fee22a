//! What the next commitments hold, and the deltas that lead there.

use tx::fees;
use tx::ledger::{Delta, HtlcKey, Ledger};
use tx::limits;
use tx::setup::CommitmentFormat;
use tx::signer::Ticket;
use wire::{FeeratePerKw, MilliSatoshi, Side};

use super::Running;
use crate::action::{Origin, Removal};
use crate::progress::Step;
use crate::state::{HtlcRecord, HtlcState};

impl Running {
    /// Whether a commitment_signed of ours would bring anything new.
    pub(super) fn has_changes_for_peer(&self) -> bool {
        let moves = |state: HtlcState| state.after(Step::SentCommit).is_some();
        self.htlcs.values().any(|record| moves(record.state))
            || self
                .live
                .feerate
                .pending
                .iter()
                .any(|(_, state)| moves(*state))
    }

    /// What entered the newest commitment that we signed for the peer. While its predecessor is
    /// not revoked, states say which updates these are: the list comes out the same after a restart.
    pub(super) fn newest_remote_deltas(&self) -> Vec<Delta> {
        self.deltas(|state| state.entered_by() == Step::SentCommit)
    }

    /// Why the HTLCs of ours among [`Running::newest_remote_deltas`] may leave, in their order.
    pub(super) fn newest_remote_tickets(&self) -> Vec<Ticket> {
        let added = |state| state == HtlcState::SentAddCommit;
        let added = self.htlcs.values().filter(|record| added(record.state));
        added
            .map(|record| match record.origin {
                Some(Origin::Forward { channel, id }) => Ticket::Forward { channel, id },
                // Whatever is ours has an origin.
                Some(Origin::Payment { .. }) | None => Ticket::Payment,
            })
            .collect()
    }

    /// What enters our next commitment when the peer signs it now.
    pub(super) fn next_local_deltas(&self) -> Vec<Delta> {
        self.deltas(|state| state.after(Step::RcvdCommit).is_some())
    }

    /// Our commitment as the peer would have to sign it now.
    pub(super) fn next_local(&self) -> Result<Ledger, tx::ledger::LedgerError> {
        let mut ledger = self.local.clone();
        for delta in self.next_local_deltas() {
            ledger.apply(&delta)?;
        }
        Ok(ledger)
    }

    /// Removals first, since an addition may spend what a removal gives back; then additions in
    /// the order of their ids; the feerate last, since only the newest counts.
    fn deltas(&self, wanted: impl Fn(HtlcState) -> bool) -> Vec<Delta> {
        let moving = || self.htlcs.iter().filter(|(_, record)| wanted(record.state));
        let removals = moving().filter(|(_, record)| record.state.is_removal());
        let additions = moving().filter(|(_, record)| !record.state.is_removal());
        let fee = self
            .live
            .feerate
            .pending
            .iter()
            .rev()
            .find(|(_, state)| wanted(*state));
        removals
            .map(|(key, record)| removal(*key, record))
            .chain(additions.map(|(key, record)| Delta::Add {
                key: *key,
                htlc: record.htlc,
            }))
            .chain(fee.map(|(feerate, _)| Delta::Fee { feerate: *feerate }))
            .collect()
    }

    /// `owner`'s commitment once everything that was said is in it, except removals that it will
    /// not hold next: the cautious view for our own offers.
    pub(super) fn future(&self, owner: Side) -> Ledger {
        let (mut ledger, step) = match owner {
            Side::Local => (self.local.clone(), Step::RcvdCommit),
            Side::Remote => (self.remote.clone(), Step::SentCommit),
        };
        let removals = self
            .htlcs
            .iter()
            .filter(|(_, record)| record.state.is_removal() && record.state.after(step).is_some())
            .map(|(key, record)| removal(*key, record));
        let additions = self
            .htlcs
            .iter()
            .filter(|(key, record)| {
                !record.state.is_removal() && !self.ledger(owner).htlcs.contains_key(key)
            })
            .map(|(key, record)| Delta::Add {
                key: *key,
                htlc: record.htlc,
            });
        let changes: Vec<Delta> = removals.chain(additions).collect();
        for delta in changes {
            // One that does not fit yet waits for a removal that is further away: not counting it
            // leaves less to spend on the side that offered it, never more.
            let _ = ledger.apply(&delta);
        }
        ledger.feerate = self.newest_feerate();
        ledger
    }

    fn ledger(&self, owner: Side) -> &Ledger {
        match owner {
            Side::Local => &self.local,
            Side::Remote => &self.remote,
        }
    }

    /// The feerate that both commitments are going to have.
    pub(super) fn newest_feerate(&self) -> FeeratePerKw {
        self.live.feerate.newest(|_| true)
    }

    /// Whether `owner`'s commitment, at the new feerate of `ledger`, would leave out HTLCs worth
    /// more than our policy allows. With anchors a feerate trims nothing.
    pub(super) fn rise_trims_too_much(&self, ledger: &Ledger, owner: Side) -> bool {
        match self.live.setup.format {
            CommitmentFormat::AnchorsZeroFeeHtlc => false,
            CommitmentFormat::StaticRemotekey => self.over_dust_limit(ledger, owner),
        }
    }

    /// BOLT 2, max_dust_htlc_exposure_msat: whether too much would go to the miners.
    pub(super) fn over_dust_limit(&self, ledger: &Ledger, owner: Side) -> bool {
        fees::dust_exposure(&self.live.setup, ledger, owner, ledger.feerate) > self.max_dust()
    }

    /// Our policy's limit, well within the signer's.
    pub(super) fn max_dust(&self) -> MilliSatoshi {
        let cap = MilliSatoshi(limits::dust_cap(&self.live.setup).0 / 2);
        self.policy.max_dust_exposure.min(cap)
    }
}

fn removal(key: HtlcKey, record: &HtlcRecord) -> Delta {
    match &record.removal {
        Some(Removal::Fulfil { preimage }) => Delta::Fulfil {
            key,
            preimage: *preimage,
        },
        // A removal state always has its removal; the money of one without goes back.
        Some(Removal::Fail { .. } | Removal::Malformed { .. }) | None => Delta::Fail { key },
    }
}
