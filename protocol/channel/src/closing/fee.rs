//! Which fee to name next, and when one is agreed (BOLT 2, closing_signed). Pure arithmetic.

use bitcoin::Script;
use tx::closing::closing_fee;
use wire::{FeeRange, Satoshi};

use crate::action::{CloseFees, PeerFault};
use crate::state::Live;

/// Our bounds, and how far the two sides have come.
pub(super) struct Fees {
    is_opener: bool,
    min: Satoshi,
    ideal: Satoshi,
    max: Satoshi,
    /// All that can be paid; the opener pays.
    opener_balance: Satoshi,
    sent: Option<Satoshi>,
    received: Option<Satoshi>,
}

/// What to do about a closing_signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The peer has our signature for this fee, and now we have its own.
    Complete(Satoshi),
    /// We take the peer's fee: it still needs our signature, with this range.
    Agree(Satoshi, FeeRange),
    /// Another fee, with this range.
    Propose(Satoshi, FeeRange),
}

impl Fees {
    pub(super) fn new(live: &Live, local: &Script, remote: &Script, fees: CloseFees) -> Fees {
        let balance = match live.is_opener() {
            true => live.local_view.to_local,
            false => live.local_view.to_remote,
        };
        let opener_balance = balance.to_sat_floor();
        let of = |feerate| closing_fee(feerate, local, remote).min(opener_balance);
        let max = of(fees.max);
        let min = of(fees.min).min(max);
        let ideal = of(fees.ideal).clamp(min, max);
        let is_opener = live.is_opener();
        Fees {
            is_opener,
            min,
            ideal,
            max,
            opener_balance,
            sent: None,
            received: None,
        }
    }

    /// What the opener says first.
    pub(super) fn first(&self) -> Option<(Satoshi, FeeRange)> {
        self.is_opener.then(|| (self.ideal, self.range(None)))
    }

    pub(super) fn sent(&mut self, fee: Satoshi) {
        self.sent = Some(fee);
    }

    /// The peer names a fee that it has signed.
    ///
    /// # Errors
    /// `Warning`: there is no fee for both; `Error`: the peer breaks its own or our range.
    pub(super) fn hear(
        &mut self,
        fee: Satoshi,
        range: Option<FeeRange>,
    ) -> Result<Answer, PeerFault> {
        let before = self.received.replace(fee);
        // BOLT 2, closing_signed, receiver: the fee that we sent last.
        if self.sent == Some(fee) {
            return Ok(Answer::Complete(fee));
        }
        match range {
            Some(range) => self.hear_range(fee, range),
            None => self.hear_legacy(fee, before),
        }
    }

    fn hear_range(&self, fee: Satoshi, theirs: FeeRange) -> Result<Answer, PeerFault> {
        let low = self.min.max(theirs.min_fee_satoshis);
        let high = self.most().min(theirs.max_fee_satoshis);
        // BOLT 2, closing_signed, receiver: no overlap is worth a warning; perhaps the next
        // connection brings another range.
        if low > high {
            return Err(PeerFault::Warning(format!(
                "closing_signed: fee_range {} to {} and ours, {} to {}, have nothing in common",
                theirs.min_fee_satoshis,
                theirs.max_fee_satoshis,
                self.min,
                self.most(),
            )));
        }
        let range = self.range(Some(theirs));
        let fits = (low..=high).contains(&fee);
        match (self.is_opener, self.sent) {
            // BOLT 2, closing_signed, receiver who opened: a fee in both ranges is taken ...
            (true, _) if fits => Ok(Answer::Agree(fee, range)),
            // ... and another one fails the channel.
            (true, _) => Err(PeerFault::Error(format!(
                "closing_signed: {fee} is not in both fee ranges"
            ))),
            // BOLT 2, closing_signed, receiver who did not open: one answer is all there is.
            (false, Some(sent)) => Err(PeerFault::Error(format!(
                "closing_signed: {fee} instead of {sent}, which was the answer to the fee_range"
            ))),
            // BOLT 2, closing_signed, receiver who did not open: any fee in both ranges will do.
            (false, None) if fits => Ok(Answer::Agree(fee, range)),
            (false, None) => Ok(Answer::Propose(self.ideal.clamp(low, high), range)),
        }
    }

    /// Without fee_range: step by step towards each other.
    fn hear_legacy(&self, fee: Satoshi, before: Option<Satoshi>) -> Result<Answer, PeerFault> {
        let range = self.range(None);
        // BOLT 2, closing_signed, receiver: a fee in the range that we sent, or that we agree with.
        if (self.min..=self.most()).contains(&fee) {
            return Ok(Answer::Agree(fee, range));
        }
        let Some(sent) = self.sent else {
            return Ok(Answer::Propose(self.ideal, range));
        };
        // BOLT 2, closing_signed, receiver: each fee lies strictly between the last two.
        if before.is_some_and(|before| !strictly_between(fee, sent, before)) {
            return Err(PeerFault::Warning(format!(
                "closing_signed: {fee} is not between the last two fees"
            )));
        }
        let middle = Satoshi(sent.0.midpoint(fee.0)).clamp(self.min, self.most());
        if !strictly_between(middle, sent, fee) {
            return Err(PeerFault::Warning(format!(
                "closing_signed: {fee} is too far from {} to {}",
                self.min,
                self.most()
            )));
        }
        Ok(Answer::Propose(middle, range))
    }

    /// The most that we agree to.
    fn most(&self) -> Satoshi {
        if self.is_opener {
            self.max
        } else {
            self.opener_balance
        }
    }

    /// What we say we agree to.
    fn range(&self, theirs: Option<FeeRange>) -> FeeRange {
        let max_fee_satoshis = match theirs {
            // BOLT 2, closing_signed, sender who did not open: no less than the opener's maximum.
            Some(theirs) if !self.is_opener => self.max.max(theirs.max_fee_satoshis),
            Some(_) | None => self.max,
        };
        FeeRange {
            min_fee_satoshis: self.min,
            max_fee_satoshis,
        }
    }
}

fn strictly_between(fee: Satoshi, one: Satoshi, other: Satoshi) -> bool {
    one.min(other) < fee && fee < one.max(other)
}
