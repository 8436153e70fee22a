//! H1 and H2: no HTLC goes out that nothing pays for, and none that has paid for another goes back
//! while that other can still be claimed.
//!
//! An HTLC in a commitment that was broadcast counts as claimable until the chain is proved to have
//! ended it (T1).

use std::collections::{BTreeMap, BTreeSet};

use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::limits::MIN_CLTV_MARGIN;
use tx::signer::Ticket;
use wire::{ChannelDbid, HtlcId, MilliSatoshi, PaymentHash, Side};

use crate::channel::Funded;
use crate::flows::{HtlcAt, Leg, LegState, offers};
use crate::refused::Refused;
use crate::state::State;
use crate::tip::OLD;

/// The state, as a channel sees it that is asked to sign.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) dbid: ChannelDbid,
    /// In seconds; `None` where it does not count.
    pub(crate) tip_age: Option<u64>,
}

impl View<'_> {
    /// H1, in a new commitment of the peer, which is to have this ledger.
    pub(crate) fn check_tickets(
        &self,
        next: &Ledger,
        deltas: &[Delta],
        tickets: &[Ticket],
    ) -> Result<(), Refused> {
        let offered: Vec<(HtlcId, &Htlc)> = offers(deltas).collect();
        if offered.len() != tickets.len() {
            return Err(Refused::TicketCount {
                htlcs: offered.len(),
                tickets: tickets.len(),
            });
        }
        let mut used = BTreeSet::new();
        let mut spent = BTreeMap::new();
        for ((_, htlc), ticket) in offered.iter().zip(tickets) {
            self.check_tip(htlc)?;
            match *ticket {
                Ticket::Forward { channel, id } => {
                    let incoming = HtlcAt { channel, id };
                    self.check_forward(incoming, htlc, next)?;
                    if !used.insert(incoming) {
                        return Err(Refused::TicketUsed(channel, id));
                    }
                }
                Ticket::Payment => {
                    let sum: &mut MilliSatoshi = spent.entry(htlc.payment_hash).or_default();
                    *sum = sum.saturating_add(htlc.amount);
                    self.check_budget(htlc.payment_hash, *sum)?;
                }
            }
        }
        Ok(())
    }

    /// T1 and C7: the tip is not frozen, and the HTLC has not timed out already.
    fn check_tip(&self, out: &Htlc) -> Result<(), Refused> {
        if let Some(age) = self.tip_age.filter(|age| *age > OLD) {
            return Err(Refused::OldTip { minutes: age / 60 });
        }
        match self.state.tip.chain.tip() {
            Some((tip, _)) if out.cltv_expiry.0 <= tip.0 => Err(Refused::TimedOut {
                cltv_expiry: out.cltv_expiry,
                tip,
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn check_forward(&self, incoming: HtlcAt, out: &Htlc, next: &Ledger) -> Result<(), Refused> {
        let HtlcAt { channel, id } = incoming;
        let key = HtlcKey::remote(id);
        let committed = self
            .state
            .funded(channel)
            .and_then(|other| other.committed(&key));
        // On the same channel it must not leave with this very commitment.
        let stays = |htlc: &&Htlc| channel != self.dbid || next.htlcs.get(&key) == Some(*htlc);
        let htlc = committed
            .filter(stays)
            .ok_or(Refused::NotCommitted(channel, id))?;
        // What it is worth there is another question, and nobody forwards any more.
        if self.state.tip.is_spent(channel) {
            return Err(Refused::TicketSpent(channel, id));
        }
        if htlc.payment_hash != out.payment_hash {
            return Err(Refused::OtherHash(channel, id));
        }
        let flows = &self.state.flows;
        if flows.paid_by(htlc.payment_hash, incoming).is_some() {
            return Err(Refused::TicketUsed(channel, id));
        }
        if htlc.amount < out.amount {
            return Err(Refused::TicketAmount {
                incoming: htlc.amount,
                outgoing: out.amount,
            });
        }
        let margin = htlc.cltv_expiry.0.checked_sub(out.cltv_expiry.0);
        if margin.is_none_or(|margin| margin < u32::from(MIN_CLTV_MARGIN.0)) {
            return Err(Refused::TicketExpiry {
                incoming: htlc.cltv_expiry,
                outgoing: out.cltv_expiry,
            });
        }
        Ok(())
    }

    /// Everything that has left for this hash, or can still leave, and `more`.
    fn check_budget(&self, hash: PaymentHash, more: MilliSatoshi) -> Result<(), Refused> {
        let flow = self.state.flows.get(hash);
        let (flow, budget) = flow
            .and_then(|flow| Some((flow, flow.budget.as_ref()?)))
            .ok_or(Refused::NoBudget(hash))?;
        let counts = flow.legs.iter().filter(|leg| {
            leg.ticket == Ticket::Payment
                && (leg.state == LegState::Paid || self.state.is_claimable(leg.out))
        });
        let spent = counts.fold(budget.paid.saturating_add(more), |sum, leg| {
            sum.saturating_add(leg.amount)
        });
        match spent <= budget.limit {
            true => Ok(()),
            false => Err(Refused::BudgetSpent {
                spent,
                limit: budget.limit,
            }),
        }
    }

    /// H1, in a new commitment of ours: what we add stands in the peer's newest already, where it
    /// had its ticket.
    pub(crate) fn check_local_offers(&self, deltas: &[Delta]) -> Result<(), Refused> {
        let remote = self.state.funded(self.dbid).and_then(Funded::newest_remote);
        for (id, htlc) in offers(deltas) {
            let standing = remote.and_then(|ledger| ledger.htlcs.get(&HtlcKey::local(id)));
            if standing != Some(htlc) {
                return Err(Refused::NotOffered(id));
            }
        }
        Ok(())
    }

    /// H2, in a new commitment of either side: what the peer offered goes back only if it has not
    /// paid for anything, or for what nobody can claim any more. `before`: the ledger that it
    /// leaves.
    pub(crate) fn check_failures(&self, before: &Ledger, deltas: &[Delta]) -> Result<(), Refused> {
        for delta in deltas {
            // One that was added in this commitment has paid for nothing.
            if let Delta::Fail { key } = delta
                && key.offerer == Side::Remote
                && let Some(htlc) = before.htlcs.get(key)
            {
                self.check_failure(*key, htlc)?;
            }
        }
        Ok(())
    }

    fn check_failure(&self, key: HtlcKey, htlc: &Htlc) -> Result<(), Refused> {
        let (channel, id) = (self.dbid, key.id);
        let incoming = HtlcAt { channel, id };
        let Some(leg) = self.state.flows.paid_by(htlc.payment_hash, incoming) else {
            return Ok(());
        };
        match leg.state {
            LegState::Paid => Err(Refused::HasPaid(key.id)),
            LegState::Offered if self.state.is_claimable(leg.out) => {
                Err(Refused::StillClaimable(key.id))
            }
            LegState::Offered => Ok(()),
        }
    }
}

impl State {
    fn funded(&self, channel: ChannelDbid) -> Option<&Funded> {
        self.channels.get(&channel)?.funded().ok()
    }

    /// H2, before a channel is forgotten: with it goes the knowledge of which HTLCs can be claimed there.
    pub(crate) fn check_paid_for(&self, dbid: ChannelDbid) -> Result<(), Refused> {
        let may_fail = |leg: &Leg| match leg.ticket {
            Ticket::Forward { channel, .. } => {
                self.channels.contains_key(&channel) && !self.tip.is_over(channel)
            }
            Ticket::Payment => false,
        };
        let counts = |leg: &Leg| leg.out.channel == dbid && leg.state == LegState::Offered;
        let mut legs = self.flows.iter().flat_map(|(_, flow)| &flow.legs);
        match legs.any(|leg| counts(leg) && may_fail(leg) && self.is_claimable(leg.out)) {
            true => Err(Refused::PaidFor(dbid)),
            false => Ok(()),
        }
    }

    /// Whether a commitment that is not revoked has this HTLC of ours, and the chain has not ended it.
    pub(crate) fn is_claimable(&self, out: HtlcAt) -> bool {
        let key = HtlcKey::local(out.id);
        let funded = self.funded(out.channel);
        funded.is_some_and(|funded| funded.holds(&key)) && !self.tip.has_ended(out.channel, out.id)
    }
}
