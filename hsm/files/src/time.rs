//! Wall clock time, which whoever runs the signer tells it: the signer itself has no clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 00:00 UTC.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct UnixTime(pub u64);

impl UnixTime {
    #[must_use]
    pub fn plus(self, seconds: u64) -> UnixTime {
        UnixTime(self.0.saturating_add(seconds))
    }
}

impl From<SystemTime> for UnixTime {
    /// A clock before 1970 is at 0.
    fn from(time: SystemTime) -> UnixTime {
        let since = time.duration_since(UNIX_EPOCH);
        UnixTime(since.unwrap_or(Duration::ZERO).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_in_whole_seconds_and_never_below_zero() {
        let after = |millis| UnixTime::from(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(after(1_999), UnixTime(1));
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(UnixTime::from(before), UnixTime(0));
    }
}
