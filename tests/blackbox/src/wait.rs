//! Waiting for something to become true. A deadline only turns a hang into a failure; no test's outcome
//! depends on how long something took.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a test waits before it calls something hung: 60 s, times `$BULKHEAD_PATIENCE` if set.
pub fn patience() -> Duration {
    let factor = std::env::var("BULKHEAD_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(60).saturating_mul(factor.unwrap_or(1))
}

/// Looks until `look` finds something.
///
/// # Errors
/// The first error of `look`, or that [`patience`] ran out before `what` came true.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(patience(), what, look)
}

/// As [`until`], with a limit of its own.
///
/// # Errors
/// As [`until`].
pub fn until_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("waited {} s in vain: {what}", limit.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
