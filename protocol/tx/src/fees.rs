//! What a commitment costs, which outputs are too small for it, and what a side can still give
//! (BOLT 3, Fees and Trimmed Outputs; BOLT 2, update_add_htlc and update_fee).

use wire::{FeeratePerKw, MilliSatoshi, Satoshi, Side};

use crate::htlc::HtlcKind;
use crate::ledger::Ledger;
use crate::setup::{CommitmentFormat, Setup};

/// Value of an anchor output.
pub const ANCHOR_VALUE: Satoshi = Satoshi(330);

/// Weight of one HTLC output in a commitment transaction.
const HTLC_OUTPUT_WEIGHT: u64 = 172;

/// What the opener pays for both anchors, if there are any.
#[must_use]
pub fn anchors_value(format: CommitmentFormat) -> Satoshi {
    match format {
        CommitmentFormat::StaticRemotekey => Satoshi::ZERO,
        CommitmentFormat::AnchorsZeroFeeHtlc => ANCHOR_VALUE.saturating_add(ANCHOR_VALUE),
    }
}

/// Expected weight of a commitment with this many untrimmed HTLCs (BOLT 3, Appendix A).
#[must_use]
pub fn commitment_weight(format: CommitmentFormat, untrimmed: usize) -> u64 {
    let base: u64 = match format {
        CommitmentFormat::StaticRemotekey => 724,
        CommitmentFormat::AnchorsZeroFeeHtlc => 1124,
    };
    let htlcs = u64::try_from(untrimmed)
        .unwrap_or(u64::MAX)
        .saturating_mul(HTLC_OUTPUT_WEIGHT);
    base.saturating_add(htlcs)
}

/// Base fee of a commitment with this many untrimmed HTLCs, anchors not included.
#[must_use]
pub fn commitment_fee(
    format: CommitmentFormat,
    feerate: FeeratePerKw,
    untrimmed: usize,
) -> Satoshi {
    feerate.fee(commitment_weight(format, untrimmed))
}

/// Expected weight of a signed HTLC transaction. BOLT 3 keeps 703 and 706 for success although
/// the transactions are 1 smaller.
#[must_use]
pub fn htlc_weight(format: CommitmentFormat, kind: HtlcKind) -> u64 {
    match (format, kind) {
        (CommitmentFormat::StaticRemotekey, HtlcKind::Timeout) => 663,
        (CommitmentFormat::StaticRemotekey, HtlcKind::Success) => 703,
        (CommitmentFormat::AnchorsZeroFeeHtlc, HtlcKind::Timeout) => 666,
        (CommitmentFormat::AnchorsZeroFeeHtlc, HtlcKind::Success) => 706,
    }
}

/// Fee of an HTLC transaction: none with anchors, where its owner adds inputs for it.
#[must_use]
pub fn htlc_fee(format: CommitmentFormat, feerate: FeeratePerKw, kind: HtlcKind) -> Satoshi {
    match format {
        CommitmentFormat::StaticRemotekey => feerate.fee(htlc_weight(format, kind)),
        CommitmentFormat::AnchorsZeroFeeHtlc => Satoshi::ZERO,
    }
}

/// Smallest HTLC of `offerer` that has an output in `owner`'s commitment.
#[must_use]
pub fn trim_threshold(setup: &Setup, owner: Side, feerate: FeeratePerKw, offerer: Side) -> Satoshi {
    let fee = htlc_fee(setup.format, feerate, HtlcKind::of(owner, offerer));
    setup.party(owner).dust_limit.saturating_add(fee)
}

/// Whether an HTLC of `offerer` has no output in `owner`'s commitment (BOLT 3, Trimmed Outputs).
#[must_use]
pub fn is_trimmed(
    setup: &Setup,
    owner: Side,
    feerate: FeeratePerKw,
    offerer: Side,
    amount: MilliSatoshi,
) -> bool {
    amount.to_sat_floor() < trim_threshold(setup, owner, feerate, offerer)
}

/// Number of HTLCs of the ledger that have an output in `owner`'s commitment at `feerate`.
#[must_use]
pub fn untrimmed(setup: &Setup, ledger: &Ledger, owner: Side, feerate: FeeratePerKw) -> usize {
    let mine = trim_threshold(setup, owner, feerate, owner);
    let theirs = trim_threshold(setup, owner, feerate, owner.other());
    let threshold = |offerer| if offerer == owner { mine } else { theirs };
    let has_output = |key: Side, amount: MilliSatoshi| amount.to_sat_floor() >= threshold(key);
    ledger
        .htlcs
        .iter()
        .filter(|(key, htlc)| has_output(key.offerer, htlc.amount))
        .count()
}

/// Sum of the HTLCs that `owner`'s commitment would leave to the miners at `feerate`
/// (BOLT 2, max_dust_htlc_exposure_msat).
#[must_use]
pub fn dust_exposure(
    setup: &Setup,
    ledger: &Ledger,
    owner: Side,
    feerate: FeeratePerKw,
) -> MilliSatoshi {
    ledger
        .htlcs
        .iter()
        .filter(|(key, htlc)| is_trimmed(setup, owner, feerate, key.offerer, htlc.amount))
        .fold(MilliSatoshi::ZERO, |sum, (_, htlc)| {
            sum.saturating_add(htlc.amount)
        })
}

/// Balance that `side` has to keep: the other side's demand.
#[must_use]
pub fn reserve(setup: &Setup, side: Side) -> Satoshi {
    setup.party(side.other()).channel_reserve
}

/// What the opener would have above its reserve after fee and anchors of `owner`'s commitment
/// at `feerate`; `None` if that is negative.
#[must_use]
pub fn opener_spare(
    setup: &Setup,
    ledger: &Ledger,
    owner: Side,
    feerate: FeeratePerKw,
) -> Option<MilliSatoshi> {
    let outputs = untrimmed(setup, ledger, owner, feerate);
    after_costs(setup, ledger.balance(setup.opener), feerate, outputs)
}

/// Whether the opener can pay fee and anchors of `owner`'s commitment at the ledger's feerate
/// and keep its reserve.
#[must_use]
pub fn opener_can_afford(setup: &Setup, ledger: &Ledger, owner: Side) -> bool {
    opener_spare(setup, ledger, owner, ledger.feerate).is_some()
}

/// Whether `side` keeps its reserve in `owner`'s commitment, the opener after fee and anchors.
#[must_use]
pub fn keeps_reserve(setup: &Setup, ledger: &Ledger, owner: Side, side: Side) -> bool {
    if side == setup.opener {
        return opener_can_afford(setup, ledger, owner);
    }
    minus(ledger.balance(side), reserve(setup, side)).is_some()
}

/// Largest HTLC that `side` can offer next, given what the next commitment of each owner
/// will hold without it: reserve, fee, anchors and trimming in both. Limits on number, value in
/// flight, minimum and dust exposure are not considered here. 0 if there is none.
///
/// The opener keeps a buffer as BOLT 2 recommends: it could pay for one HTLC more at twice the feerate.
#[must_use]
pub fn spendable(
    setup: &Setup,
    local_view: &Ledger,
    remote_view: &Ledger,
    side: Side,
) -> MilliSatoshi {
    let views = [
        View::new(setup, local_view, Side::Local, side),
        View::new(setup, remote_view, Side::Remote, side),
    ];
    // In one view, what fits is a range of trimmed amounts and a range of untrimmed ones; the
    // largest that fits in both is the end of one of the four.
    views
        .iter()
        .flat_map(View::ends)
        .filter(|amount| views.iter().all(|view| view.fits(*amount)))
        .max()
        .unwrap_or(MilliSatoshi::ZERO)
}

/// How much an HTLC may be in one commitment.
struct View {
    /// Smallest amount with an output.
    threshold: MilliSatoshi,
    /// Most that can be given without an output, and with one.
    trimmed: Option<MilliSatoshi>,
    untrimmed: Option<MilliSatoshi>,
}

impl View {
    fn new(setup: &Setup, ledger: &Ledger, owner: Side, side: Side) -> View {
        let threshold = trim_threshold(setup, owner, ledger.feerate, side);
        let outputs = untrimmed(setup, ledger, owner, ledger.feerate);
        View {
            threshold: threshold.to_msat().unwrap_or(MilliSatoshi(u64::MAX)),
            trimmed: most(setup, ledger, side, outputs, 0),
            untrimmed: most(setup, ledger, side, outputs, 1),
        }
    }

    fn ends(&self) -> impl Iterator<Item = MilliSatoshi> {
        let below = self.threshold.saturating_sub(MilliSatoshi(1));
        self.trimmed
            .map(|most| most.min(below))
            .into_iter()
            .chain(self.untrimmed)
    }

    fn fits(&self, amount: MilliSatoshi) -> bool {
        let most = if amount < self.threshold {
            self.trimmed
        } else {
            self.untrimmed
        };
        most.is_some_and(|most| amount <= most)
    }
}

/// What `side` can give in an HTLC that adds `extra` outputs to the `outputs` that are there.
fn most(
    setup: &Setup,
    ledger: &Ledger,
    side: Side,
    outputs: usize,
    extra: usize,
) -> Option<MilliSatoshi> {
    let balance = ledger.balance(side);
    if side == setup.opener {
        // BOLT 2, update_add_htlc, sender who pays the fee: one more HTLC at twice the feerate.
        let spike = FeeratePerKw(ledger.feerate.0.saturating_mul(2));
        return after_costs(
            setup,
            balance,
            spike,
            outputs.saturating_add(extra).saturating_add(1),
        );
    }
    if extra > 0 {
        // BOLT 2, update_add_htlc, sender who does not pay the fee: the opener must be able to.
        let outputs = outputs.saturating_add(extra);
        after_costs(setup, ledger.balance(setup.opener), ledger.feerate, outputs)?;
    }
    minus(balance, reserve(setup, side))
}

/// The opener's balance less fee, anchors and reserve.
fn after_costs(
    setup: &Setup,
    balance: MilliSatoshi,
    feerate: FeeratePerKw,
    outputs: usize,
) -> Option<MilliSatoshi> {
    let fee = commitment_fee(setup.format, feerate, outputs);
    let costs = fee.checked_add(anchors_value(setup.format))?;
    minus(balance, costs.checked_add(reserve(setup, setup.opener))?)
}

fn minus(balance: MilliSatoshi, amount: Satoshi) -> Option<MilliSatoshi> {
    balance.checked_sub(amount.to_msat()?)
}
