//! What moves under each payment hash: HTLCs that we offered, and what pays for each of them (H1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tx::ledger::{Delta, Htlc};
use tx::signer::Ticket;
use wire::{ChannelDbid, HtlcId, MilliSatoshi, NodeId, PaymentHash, Side};

use crate::state::Misfit;
use hsm_files::UnixTime;

/// An HTLC; which side offered it follows from where this stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct HtlcAt {
    pub(crate) channel: ChannelDbid,
    pub(crate) id: HtlcId,
}

/// All that has one hash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) budget: Option<Budget>,
    pub(crate) legs: Vec<Leg>,
}

/// An HTLC that we offered, while its end matters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) out: HtlcAt,
    pub(crate) amount: MilliSatoshi,
    pub(crate) ticket: Ticket,
    pub(crate) state: LegState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LegState {
    /// Not paid; whether it can still be is in its channel's commitments.
    Offered,
    /// The peer has shown the preimage.
    Paid,
}

/// What payments to one hash may cost (A1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Budget {
    pub(crate) payee: NodeId,
    /// Amount and fee.
    pub(crate) limit: MilliSatoshi,
    /// By HTLCs that are in no commitment any more.
    pub(crate) paid: MilliSatoshi,
    /// When it was last approved.
    pub(crate) approved: UnixTime,
}

impl Budget {
    /// Whether it is going to be kept for as long as an HTLC needs to follow its approval.
    pub(crate) fn is_fresh(&self, now: UnixTime) -> bool {
        self.approved.plus(BUDGET_HOLD / 2) > now
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Flows(BTreeMap<PaymentHash, Flow>);

impl Flows {
    pub(crate) fn get(&self, hash: PaymentHash) -> Option<&Flow> {
        self.0.get(&hash)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PaymentHash, &Flow)> {
        self.0.iter().map(|(hash, flow)| (*hash, flow))
    }

    /// The HTLC that the incoming one at `incoming` has paid for.
    pub(crate) fn paid_by(&self, hash: PaymentHash, incoming: HtlcAt) -> Option<&Leg> {
        let legs = self.get(hash).map(|flow| flow.legs.as_slice());
        let mut legs = legs.unwrap_or_default().iter();
        legs.find(|leg| leg.ticket == incoming.ticket())
    }

    /// The peer's next commitment on `channel` was signed: HTLCs of ours go out.
    pub(crate) fn note_offers(
        &mut self,
        channel: ChannelDbid,
        deltas: &[Delta],
        tickets: &[Ticket],
    ) -> Result<(), Misfit> {
        let mut tickets = tickets.iter();
        for (id, htlc) in offers(deltas) {
            let ticket = tickets.next().ok_or(Misfit("an HTLC without a ticket"))?;
            let flow = self.0.entry(htlc.payment_hash).or_default();
            flow.legs.push(Leg {
                out: HtlcAt { channel, id },
                amount: htlc.amount,
                ticket: *ticket,
                state: LegState::Offered,
            });
        }
        match tickets.next() {
            None => Ok(()),
            Some(_) => Err(Misfit("a ticket without an HTLC")),
        }
    }

    /// Preimages of HTLCs of ours in a commitment of either side.
    pub(crate) fn note_preimages(&mut self, channel: ChannelDbid, deltas: &[Delta]) {
        let fulfilled = |delta: &Delta| {
            let (id, preimage) = delta.fulfilled(Side::Local)?;
            Some((HtlcAt { channel, id }, preimage.payment_hash()))
        };
        for (out, hash) in deltas.iter().filter_map(fulfilled) {
            let flow = self.0.get_mut(&hash);
            let legs = flow.into_iter().flat_map(|flow| &mut flow.legs);
            for leg in legs.filter(|leg| leg.out == out) {
                leg.state = LegState::Paid;
            }
        }
    }

    /// No commitment that is not revoked has this HTLC of `offerer` any more.
    pub(crate) fn settle(&mut self, at: HtlcAt, offerer: Side, hash: PaymentHash) {
        let Some(flow) = self.0.get_mut(&hash) else {
            return;
        };
        match offerer {
            Side::Remote => flow.legs.retain(|leg| leg.ticket != at.ticket()),
            Side::Local => flow.settle_payment(at),
        }
        if *flow == Flow::default() {
            self.0.remove(&hash);
        }
    }

    /// The channel is over. What was paid there by an approved payment, or may have been, stays paid;
    /// what the peer of another channel has paid for there counts until that one is settled.
    pub(crate) fn forget(&mut self, channel: ChannelDbid, has_ended: impl Fn(HtlcId) -> bool) {
        self.0.retain(|_, flow| {
            let mut paid = MilliSatoshi::ZERO;
            flow.legs.retain(|leg| {
                let (ours, is_paid) = (leg.out.channel == channel, leg.state == LegState::Paid);
                match leg.ticket {
                    Ticket::Payment if ours && (is_paid || !has_ended(leg.out.id)) => {
                        paid = paid.saturating_add(leg.amount);
                        false
                    }
                    Ticket::Payment => !ours,
                    Ticket::Forward { channel: from, .. } => from != channel && (!ours || is_paid),
                }
            });
            if let Some(budget) = &mut flow.budget {
                budget.paid = budget.paid.saturating_add(paid);
            }
            *flow != Flow::default()
        });
    }

    /// How many budgets there are that [`Flow::is_over`] does not end.
    pub(crate) fn open_budgets(&self, now: UnixTime) -> usize {
        let open = |flow: &&Flow| flow.budget.is_some() && !flow.is_over(now);
        self.0.values().filter(open).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn approve(&mut self, hash: PaymentHash, budget: Budget) {
        let flow = self.0.entry(hash).or_default();
        let paid = flow.budget.as_ref().map(|before| before.paid);
        let paid = paid.unwrap_or(budget.paid);
        flow.budget = Some(Budget { paid, ..budget });
    }

    /// Nothing more is paid from the budget of this hash. What was paid stays paid.
    pub(crate) fn end_budget(&mut self, hash: PaymentHash) {
        let Some(flow) = self.0.get_mut(&hash) else {
            return;
        };
        if let Some(budget) = &mut flow.budget {
            budget.limit = budget.paid;
        }
        flow.budget
            .take_if(|budget| budget.paid == MilliSatoshi::ZERO);
        if *flow == Flow::default() {
            self.0.remove(&hash);
        }
    }

    pub(crate) fn drop_over(&mut self, now: UnixTime) {
        self.0.retain(|_, flow| !flow.is_over(now));
    }

    pub(crate) fn restore(&mut self, hash: PaymentHash, flow: Flow) -> Result<(), Misfit> {
        match self.0.insert(hash, flow) {
            None => Ok(()),
            Some(_) => Err(Misfit("a flow's snapshot is out of place")),
        }
    }
}

impl Flow {
    /// A payment that failed may be tried again, with another fee: its part in the budget is free.
    fn settle_payment(&mut self, at: HtlcAt) {
        let mut paid = MilliSatoshi::ZERO;
        self.legs.retain(|leg| {
            let ends = leg.out == at && leg.ticket == Ticket::Payment;
            if ends && leg.state == LegState::Paid {
                paid = paid.saturating_add(leg.amount);
            }
            !ends
        });
        if let Some(budget) = &mut self.budget {
            budget.paid = budget.paid.saturating_add(paid);
        }
    }

    /// Nothing moves and nothing is going to: the payment was made, or nobody has asked for it
    /// for a while. Whoever asks again is asked for approval again.
    pub(crate) fn is_over(&self, now: UnixTime) -> bool {
        let held = self
            .budget
            .as_ref()
            .is_some_and(|b| b.paid == MilliSatoshi::ZERO && b.approved.plus(BUDGET_HOLD) > now);
        self.legs.is_empty() && !held
    }
}

/// How long a budget is kept at least that nothing is paid from, in seconds. An HTLC follows its
/// approval within the time that a peer takes to answer.
pub(crate) const BUDGET_HOLD: u64 = 600;

impl HtlcAt {
    /// The ticket that it is good for, as an incoming HTLC.
    fn ticket(self) -> Ticket {
        Ticket::Forward {
            channel: self.channel,
            id: self.id,
        }
    }
}

/// HTLCs that we add.
pub(crate) fn offers(deltas: &[Delta]) -> impl Iterator<Item = (HtlcId, &Htlc)> {
    deltas.iter().filter_map(|delta| delta.added(Side::Local))
}
