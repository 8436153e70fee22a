//! Bounds that hsmd holds every channel to (rules C7, H1, T1, X2 and X4), whatever both sides agreed on. The
//! channel core keeps well within them, so that nothing honest is ever refused.

use wire::{BlockDelta, CltvExpiry, FeeratePerKw, MilliSatoshi, Satoshi, Side};

use crate::fees;
use crate::ledger::Ledger;
use crate::setup::Setup;

/// BOLT 2, max_accepted_htlcs.
pub const MAX_HTLCS: u16 = 483;

/// From here on an absolute lock time means seconds (BOLT 2, update_add_htlc, cltv_expiry).
pub const CLTV_LIMIT: CltvExpiry = CltvExpiry(500_000_000);

/// Least number of blocks between the timeouts of an incoming and an outgoing HTLC: without any, the
/// incoming one could be taken back before we know how the outgoing one ends. What we ask of others
/// (`cltv-delta`) is 34 on mainnet and 6 elsewhere, and never less than this.
pub const MIN_CLTV_MARGIN: BlockDelta = BlockDelta(3);

/// Least feerate of an update_fee: what nodes relay.
pub const MIN_FEERATE: FeeratePerKw = FeeratePerKw::FLOOR;
/// Most: 4,000 satoshi for each virtual byte, twice what the fullest blocks have cost.
pub const MAX_FEERATE: FeeratePerKw = FeeratePerKw(1_000_000);
/// An update_fee up to this, 250 satoshi for each virtual byte, may come at once: a node that was
/// away for long, or regtest, where nothing costs anything.
pub const FREE_FEERATE: FeeratePerKw = FeeratePerKw(62_500);
/// Above it, an update_fee raises by this factor at most. No mempool has filled faster.
pub const FEERATE_STEP: u32 = 20;

/// Confirmations from which on a spend counts (BOLT 5, reasonable depth), for us and for hsmd alike (T1).
pub const REASONABLE_DEPTH: u32 = 3;
/// BOLT 5, General Nomenclature: so deep, what is on chain is irrevocably resolved.
pub const BURIAL_DEPTH: u32 = 100;
/// X2: one in so many satoshi of what a claim takes may go to its fee.
pub const CLAIM_FEE_PART: u64 = 2;
/// X2, X4, W2: most that the fee of one transaction may be before the operator has set another cap.
pub const MAX_FEE: Satoshi = Satoshi(500_000);
/// X4: one in so many of what is at stake in a commitment may go to the child of its anchor.
pub const ANCHOR_FEE_PART: u64 = 2;

/// An HTLC's output of less than this is not worth a claim of its own even at the least feerate that is relayed,
/// whosever commitment it is in: with anchors an HTLC transaction, a coin and its change cost 281 satoshi, half
/// of 562 (X2); from the peer's commitment a claim of less than 497 leaves dust. So it counts as no output (H2);
/// [`MAX_HTLCS`] of them are worth less than what may have none (C7).
pub const WORTHLESS: Satoshi = Satoshi(600);

/// HTLCs without an output may be worth this at least, ten times Core Lightning's default of
/// `max-dust-htlc-exposure-msat`,
const DUST_FLOOR: MilliSatoshi = MilliSatoshi(500_000_000);
/// or this share of the channel, if that is more.
const DUST_SHARE: u64 = 10;

/// Highest feerate that an update_fee may lead to from `current`.
#[must_use]
pub fn highest_feerate(current: FeeratePerKw) -> FeeratePerKw {
    let step = FeeratePerKw(current.0.saturating_mul(FEERATE_STEP));
    step.max(FREE_FEERATE).min(MAX_FEERATE)
}

/// Most that HTLCs which we offered may be worth in one commitment without having an output there.
#[must_use]
pub fn dust_cap(setup: &Setup) -> MilliSatoshi {
    let share = Satoshi(setup.funding_value.0 / DUST_SHARE);
    share.to_msat().unwrap_or(DUST_FLOOR).max(DUST_FLOOR)
}

/// What `offerer`'s HTLCs without an output in `owner`'s commitment are worth at `feerate`.
#[must_use]
pub fn offered_dust(
    setup: &Setup,
    ledger: &Ledger,
    owner: Side,
    offerer: Side,
    feerate: FeeratePerKw,
) -> MilliSatoshi {
    let offered = ledger.htlcs.iter().filter(|(key, htlc)| {
        key.offerer == offerer && fees::is_trimmed(setup, owner, feerate, offerer, htlc.amount)
    });
    offered.fold(MilliSatoshi::ZERO, |sum, (_, htlc)| {
        sum.saturating_add(htlc.amount)
    })
}

/// Number and value of the HTLCs that `side` offers in a commitment.
#[must_use]
pub fn offered(ledger: &Ledger, side: Side) -> (usize, MilliSatoshi) {
    let htlcs = ledger.htlcs.iter().filter(|(key, _)| key.offerer == side);
    htlcs.fold((0, MilliSatoshi::ZERO), |(count, sum), (_, htlc)| {
        (count.saturating_add(1), sum.saturating_add(htlc.amount))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_of_ten_times_is_one_step_and_a_hundred_times_is_not() {
        let highest = |current| highest_feerate(FeeratePerKw(current)).0;
        assert_eq!(highest(253), 62_500);
        assert_eq!(highest(7_500), 150_000);
        assert_eq!(highest(20_000), 400_000);
        assert_eq!(highest(u32::MAX), 1_000_000);
    }
}
