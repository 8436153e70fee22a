//! Feerates as CLN's commands take them, and the estimates they are resolved against.
//!
//! A feerate is a word (`normal`), a number with a unit (`253perkw`, `1000perkb`; a bare number
//! is perkb), or a deadline (`6blocks`).

use std::collections::BTreeMap;
use std::str::FromStr;

use wire::FeeratePerKw;

/// Lowest feerate suggested for an anchor commitment, so that it enters a mempool by itself.
const ANCHOR_COMMITMENT_FLOOR: FeeratePerKw = FeeratePerKw(1250);
/// How many sets of estimates `min_acceptable` and `max_acceptable` look back on.
const HISTORY: usize = 3;
/// A new estimate weighs 90 % after this many seconds.
const SMOOTHING_SECONDS: f64 = 120.0;

/// What a feerate parameter says, before it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeerateSpec {
    /// The rate itself, raised to [`FeeratePerKw::FLOOR`].
    Exactly(FeeratePerKw),
    /// Confirmed within so many blocks.
    Blocks(u32),
    /// The least that bitcoind relays.
    Minimum,
    /// What the node itself would use for this.
    For(Purpose),
}

/// The node's own uses of a feerate. [`Purpose::word`] gives CLN's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Opening,
    MutualClose,
    UnilateralClose,
    UnilateralAnchorClose,
    DelayedToUs,
    HtlcResolution,
    Penalty,
}

impl Purpose {
    pub const ALL: [Purpose; 7] = [
        Purpose::Opening,
        Purpose::MutualClose,
        Purpose::UnilateralClose,
        Purpose::UnilateralAnchorClose,
        Purpose::DelayedToUs,
        Purpose::HtlcResolution,
        Purpose::Penalty,
    ];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Purpose::Opening => "opening",
            Purpose::MutualClose => "mutual_close",
            Purpose::UnilateralClose => "unilateral_close",
            Purpose::UnilateralAnchorClose => "unilateral_anchor_close",
            Purpose::DelayedToUs => "delayed_to_us",
            Purpose::HtlcResolution => "htlc_resolution",
            Purpose::Penalty => "penalty",
        }
    }

    /// The deadline in blocks, and whether smoothed estimates serve it.
    fn deadline(self) -> (u32, bool) {
        match self {
            Purpose::Opening => (12, false),
            Purpose::MutualClose => (100, true),
            Purpose::UnilateralClose => (6, true),
            Purpose::UnilateralAnchorClose => (100, false),
            Purpose::DelayedToUs => (12, true),
            Purpose::HtlcResolution => (6, true),
            Purpose::Penalty => (12, true),
        }
    }
}

/// A feerate that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeerateError {
    /// Code -32602.
    #[error(
        "'{0}' is not a feerate: give slow, normal, urgent, minimum, opening, mutual_close, \
         unilateral_close, unilateral_anchor_close, penalty, a number of blocks such as 6blocks, \
         or an integer with optional perkw/perkb"
    )]
    NotAFeerate(String),
    /// Code 501.
    #[error(
        "there is no fee estimate yet: wait for the chain backend or name a feerate such as 1000perkw"
    )]
    NoEstimates,
}

impl FeerateError {
    /// CLN's JSON-RPC error code.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            FeerateError::NotAFeerate(_) => -32602,
            FeerateError::NoEstimates => 501,
        }
    }
}

impl FeerateSpec {
    /// Reads a feerate parameter.
    ///
    /// # Errors
    /// [`FeerateError::NotAFeerate`].
    pub fn parse(text: &str) -> Result<FeerateSpec, FeerateError> {
        let text = text.trim();
        let wrong = || FeerateError::NotAFeerate(text.chars().take(60).collect());
        let number = |digits: &str| {
            let digits = digits.trim_end();
            // u32::from_str would take a leading '+'.
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
            digits.parse::<u32>().map_err(|_| wrong())
        };
        if let Some(word) = Self::word(text) {
            return Ok(word);
        }
        if let Some(blocks) = text.strip_suffix("blocks") {
            return number(blocks).map(FeerateSpec::Blocks);
        }
        let perkw = match text.strip_suffix("perkw") {
            Some(perkw) => number(perkw)?,
            // Four weight units to the byte.
            None => number(text.strip_suffix("perkb").unwrap_or(text))? / 4,
        };
        Ok(FeerateSpec::Exactly(
            FeeratePerKw(perkw).max(FeeratePerKw::FLOOR),
        ))
    }

    fn word(text: &str) -> Option<FeerateSpec> {
        Some(match text {
            "slow" => FeerateSpec::Blocks(100),
            "normal" => FeerateSpec::Blocks(12),
            "urgent" => FeerateSpec::Blocks(6),
            "minimum" => FeerateSpec::Minimum,
            "opening" => FeerateSpec::For(Purpose::Opening),
            "mutual_close" => FeerateSpec::For(Purpose::MutualClose),
            "unilateral_close" => FeerateSpec::For(Purpose::UnilateralClose),
            "unilateral_anchor_close" => FeerateSpec::For(Purpose::UnilateralAnchorClose),
            "penalty" => FeerateSpec::For(Purpose::Penalty),
            _ => return None,
        })
    }

    /// The rate this means now.
    ///
    /// # Errors
    /// [`FeerateError::NoEstimates`].
    pub fn resolve(self, estimates: &FeerateEstimates) -> Result<FeeratePerKw, FeerateError> {
        match self {
            FeerateSpec::Exactly(rate) => Some(rate),
            FeerateSpec::Minimum => Some(estimates.floor()),
            FeerateSpec::Blocks(blocks) => estimates.for_blocks(blocks),
            FeerateSpec::For(purpose) => estimates.for_purpose(purpose),
        }
        .ok_or(FeerateError::NoEstimates)
    }
}

impl FromStr for FeerateSpec {
    type Err = FeerateError;

    fn from_str(text: &str) -> Result<Self, FeerateError> {
        FeerateSpec::parse(text)
    }
}

type Rates = BTreeMap<u32, FeeratePerKw>;

/// What the chain backend last said, by deadline in blocks, with its recent past.
#[derive(Clone, Debug)]
pub struct FeerateEstimates {
    floor: FeeratePerKw,
    /// Newest first, at most [`HISTORY`] of them, none empty.
    history: Vec<Rates>,
    smoothed: Rates,
    forced: BTreeMap<Purpose, FeeratePerKw>,
    commit_fee_percent: u32,
}

impl Default for FeerateEstimates {
    fn default() -> Self {
        FeerateEstimates {
            floor: FeeratePerKw::FLOOR,
            history: Vec::new(),
            smoothed: Rates::new(),
            forced: BTreeMap::new(),
            commit_fee_percent: 100,
        }
    }
}

impl FeerateEstimates {
    /// `forced` as `--force-feerates`, `commit_fee_percent` as `--commit-fee`.
    #[must_use]
    pub fn new(forced: BTreeMap<Purpose, FeeratePerKw>, commit_fee_percent: u32) -> Self {
        FeerateEstimates {
            forced,
            commit_fee_percent,
            ..FeerateEstimates::default()
        }
    }

    /// Takes a new set of estimates, `seconds` after the last one. An empty set keeps the old.
    pub fn update(&mut self, floor: FeeratePerKw, rates: &[(u32, FeeratePerKw)], seconds: u32) {
        self.floor = floor.max(FeeratePerKw::FLOOR);
        let rates: Rates = rates
            .iter()
            .copied()
            .filter(|(_, rate)| rate.0 > 0)
            .collect();
        if rates.is_empty() {
            return;
        }
        // Estimates for other deadlines than before cannot be averaged with them.
        if self
            .history
            .first()
            .is_some_and(|last| !last.keys().eq(rates.keys()))
        {
            self.history.clear();
            self.smoothed.clear();
        }
        let alpha = 1.0 - 0.1f64.powf(f64::from(seconds) / SMOOTHING_SECONDS);
        self.smoothed = rates
            .iter()
            .map(|(blocks, rate)| (*blocks, self.smooth(*blocks, *rate, alpha)))
            .collect();
        self.history.insert(0, rates);
        self.history.truncate(HISTORY);
    }

    /// A new rate within a tenth of the smoothed value is taken as it is.
    fn smooth(&self, blocks: u32, new: FeeratePerKw, alpha: f64) -> FeeratePerKw {
        let Some(old) = self.smoothed.get(&blocks) else {
            return new.max(self.floor);
        };
        let mixed = (f64::from(new.0) * alpha + f64::from(old.0) * (1.0 - alpha)) as u32;
        let rate = if mixed.abs_diff(new.0) > new.0 / 10 {
            mixed
        } else {
            new.0
        };
        FeeratePerKw(rate).max(self.floor)
    }

    /// The least that the backend relays.
    #[must_use]
    pub fn floor(&self) -> FeeratePerKw {
        self.floor
    }

    /// `true` once any estimate has come.
    #[must_use]
    pub fn known(&self) -> bool {
        !self.history.is_empty()
    }

    /// Rate to confirm within `blocks`, interpolated between the estimates; `None` if unknown.
    #[must_use]
    pub fn for_blocks(&self, blocks: u32) -> Option<FeeratePerKw> {
        Some(interpolate(self.history.first()?, blocks)?.max(self.floor))
    }

    /// Rate for one of the node's own purposes; `None` if unknown.
    #[must_use]
    pub fn for_purpose(&self, purpose: Purpose) -> Option<FeeratePerKw> {
        if let Some(forced) = self.forced.get(&purpose) {
            return Some(*forced);
        }
        let (blocks, smoothed) = purpose.deadline();
        let rate = if smoothed {
            interpolate(&self.smoothed, blocks)?
        } else {
            self.for_blocks(blocks)?
        };
        Some(match purpose {
            Purpose::UnilateralClose => {
                let raised = u64::from(rate.0) * u64::from(self.commit_fee_percent) / 100;
                FeeratePerKw(u32::try_from(raised).unwrap_or(u32::MAX)).max(self.floor)
            }
            Purpose::UnilateralAnchorClose => rate.max(ANCHOR_COMMITMENT_FLOOR),
            Purpose::Opening
            | Purpose::MutualClose
            | Purpose::DelayedToUs
            | Purpose::HtlcResolution
            | Purpose::Penalty => rate,
        })
    }

    /// Least feerate that we accept from a peer: half the lowest recent estimate, but the floor.
    #[must_use]
    pub fn min_acceptable(&self) -> FeeratePerKw {
        let lowest = self.recent().min().unwrap_or_default();
        FeeratePerKw(lowest.0 / 2).max(self.floor)
    }

    /// Most that we accept from a peer: `multiplier` (`--max-fee-multiplier`, 10) times the
    /// highest recent estimate; everything when nothing is known.
    #[must_use]
    pub fn max_acceptable(&self, multiplier: u32) -> FeeratePerKw {
        match self.recent().max() {
            Some(highest) => FeeratePerKw(highest.0.saturating_mul(multiplier)),
            None => FeeratePerKw(u32::MAX),
        }
    }

    /// (deadline, newest, smoothed) for the `feerates` command.
    pub fn estimates(&self) -> impl Iterator<Item = (u32, FeeratePerKw, FeeratePerKw)> + '_ {
        self.history
            .first()
            .into_iter()
            .flatten()
            .map(|(blocks, rate)| {
                (
                    *blocks,
                    *rate,
                    self.smoothed.get(blocks).copied().unwrap_or(*rate),
                )
            })
    }

    fn recent(&self) -> impl Iterator<Item = FeeratePerKw> + '_ {
        self.history
            .iter()
            .flat_map(|rates| rates.values().copied())
    }
}

/// Linear between the two nearest deadlines, never beyond the outer ones, never rising with time.
fn interpolate(rates: &Rates, blocks: u32) -> Option<FeeratePerKw> {
    let before = rates.range(..=blocks).next_back();
    let after = rates.range(blocks.saturating_add(1)..).next();
    let (Some((b0, r0)), Some((b1, r1))) = (before, after) else {
        return before.or(after).map(|(_, rate)| *rate);
    };
    if r0 <= r1 {
        return Some(*r0);
    }
    let drop = u64::from(r0.0 - r1.0) * u64::from(blocks - b0) / u64::from(b1 - b0);
    Some(FeeratePerKw(r0.0 - drop as u32)) // drop <= r0 - r1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimates() -> FeerateEstimates {
        let mut estimates = FeerateEstimates::default();
        let rates = [(2, 20_000), (6, 15_000), (12, 10_000), (100, 5_000)];
        estimates.update(
            FeeratePerKw(500),
            &rates.map(|(b, r)| (b, FeeratePerKw(r))),
            30,
        );
        estimates
    }

    fn rate(text: &str) -> u32 {
        FeerateSpec::parse(text)
            .unwrap()
            .resolve(&estimates())
            .unwrap()
            .0
    }

    #[test]
    fn a_bare_number_is_per_kilobyte() {
        assert_eq!(rate("12000"), 3000);
        assert_eq!(rate("12000perkb"), 3000);
        assert_eq!(rate("3000perkw"), 3000);
        assert_eq!(rate("1000perkb"), 253);
        assert_eq!(rate("1perkw"), 253);
    }

    #[test]
    fn words_and_deadlines_are_looked_up() {
        assert_eq!(rate("slow"), 5_000);
        assert_eq!(rate("normal"), 10_000);
        assert_eq!(rate("urgent"), 15_000);
        assert_eq!(rate("minimum"), 500);
        assert_eq!(rate("opening"), 10_000);
        assert_eq!(rate("mutual_close"), 5_000);
        assert_eq!(rate("unilateral_close"), 15_000);
        assert_eq!(rate("penalty"), 10_000);
        assert_eq!(rate("1blocks"), 20_000);
        assert_eq!(rate("9 blocks"), 12_500);
        assert_eq!(rate("9blocks"), 12_500);
        assert_eq!(rate("2000blocks"), 5_000);
    }

    #[test]
    fn what_is_no_feerate_is_refused_by_name() {
        for text in [
            "",
            "fast",
            "+5perkw",
            "-1",
            "1.5perkb",
            "perkw",
            "blocks",
            "99999999999",
        ] {
            assert_eq!(
                FeerateSpec::parse(text),
                Err(FeerateError::NotAFeerate(text.into()))
            );
        }
    }

    #[test]
    fn without_estimates_only_numbers_and_the_minimum_work() {
        let none = FeerateEstimates::default();
        assert_eq!(
            FeerateSpec::Blocks(6).resolve(&none),
            Err(FeerateError::NoEstimates)
        );
        assert_eq!(FeerateSpec::Minimum.resolve(&none), Ok(FeeratePerKw::FLOOR));
        assert!(
            FeerateSpec::parse("1000perkw")
                .unwrap()
                .resolve(&none)
                .is_ok()
        );
        assert_eq!(none.max_acceptable(10), FeeratePerKw(u32::MAX));
    }

    #[test]
    fn a_jump_in_the_estimates_is_smoothed_for_closes_only() {
        let mut estimates = estimates();
        let rates = [(2, 80_000), (6, 80_000), (12, 80_000), (100, 80_000)];
        estimates.update(
            FeeratePerKw(500),
            &rates.map(|(b, r)| (b, FeeratePerKw(r))),
            30,
        );
        assert_eq!(
            estimates.for_purpose(Purpose::Opening),
            Some(FeeratePerKw(80_000))
        );
        let close = estimates.for_purpose(Purpose::MutualClose).unwrap();
        assert!(
            close > FeeratePerKw(5_000) && close < FeeratePerKw(50_000),
            "{close}"
        );
        assert_eq!(estimates.min_acceptable(), FeeratePerKw(2_500));
        assert_eq!(estimates.max_acceptable(10), FeeratePerKw(800_000));
    }

    #[test]
    fn forced_feerates_and_the_commit_fee_percentage_apply() {
        let forced = BTreeMap::from([(Purpose::Opening, FeeratePerKw(7777))]);
        let mut estimates = FeerateEstimates::new(forced, 150);
        estimates.update(FeeratePerKw(253), &[(6, FeeratePerKw(1000))], 30);
        assert_eq!(
            estimates.for_purpose(Purpose::Opening),
            Some(FeeratePerKw(7777))
        );
        assert_eq!(
            estimates.for_purpose(Purpose::UnilateralClose),
            Some(FeeratePerKw(1500))
        );
        assert_eq!(
            estimates.for_purpose(Purpose::UnilateralAnchorClose),
            Some(FeeratePerKw(1250))
        );
    }
}
