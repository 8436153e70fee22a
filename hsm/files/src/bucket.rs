//! A token bucket: so much at once, and so much each second. It is kept in memory alone: whoever
//! restarts hsmd for a full one loses more time than it gains.

use crate::UnixTime;

/// How much a bucket holds, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub capacity: u64,
    /// Tokens for each `every` seconds.
    pub refill: u64,
    /// Seconds, not 0.
    pub every: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    rate: Rate,
    left: u64,
    /// Until when it was filled.
    filled: UnixTime,
}

impl Bucket {
    pub fn full(rate: Rate, now: UnixTime) -> Bucket {
        Bucket {
            rate,
            left: rate.capacity,
            filled: now,
        }
    }

    /// Takes `tokens` if so many are there. Says whether it did.
    pub fn take(&mut self, tokens: u64, now: UnixTime) -> bool {
        self.fill(now);
        match self.left.checked_sub(tokens) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn fill(&mut self, now: UnixTime) {
        let Some(passed) = now.0.checked_sub(self.filled.0) else {
            // The clock went back: from here on it counts again.
            self.filled = now;
            return;
        };
        let periods = passed / self.rate.every.max(1);
        let more = periods.saturating_mul(self.rate.refill);
        self.left = self.left.saturating_add(more).min(self.rate.capacity);
        let counted = periods.saturating_mul(self.rate.every);
        self.filled = UnixTime(self.filled.0.saturating_add(counted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        capacity: 10,
        refill: 2,
        every: 5,
    };

    #[test]
    fn a_bucket_gives_what_it_holds_and_fills_with_time() {
        let mut bucket = Bucket::full(RATE, UnixTime(100));
        assert!(bucket.take(10, UnixTime(100)));
        assert!(!bucket.take(1, UnixTime(104)));
        assert!(bucket.take(2, UnixTime(105)));
        // Seconds that made no whole period are not lost.
        assert!(!bucket.take(1, UnixTime(109)));
        assert!(bucket.take(2, UnixTime(111)));
        assert!(bucket.take(2, UnixTime(115)));
        assert!(!bucket.take(11, UnixTime(u64::MAX)));
        assert!(bucket.take(10, UnixTime(u64::MAX)));
    }

    #[test]
    fn a_clock_that_goes_back_neither_fills_nor_stops_a_bucket() {
        let mut bucket = Bucket::full(RATE, UnixTime(1000));
        assert!(bucket.take(10, UnixTime(1000)));
        assert!(!bucket.take(1, UnixTime(10)));
        assert!(bucket.take(2, UnixTime(15)));
    }
}
