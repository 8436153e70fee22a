//! How much went in the last 24 hours, in buckets of a quarter of an hour (A2).
//!
//! What is charged counts until its whole bucket is 24 hours old, so for 24 hours and at most a
//! quarter more. A clock that is set back frees nothing: what was charged keeps the age that it had
//! when the clock was set back.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wire::MilliSatoshi;

use hsm_files::UnixTime;

/// Length of a bucket in seconds.
const BUCKET: u64 = 15 * 60;
/// Buckets that count beside the one of now.
const DAY: u64 = 24 * 60 * 60 / BUCKET;

/// A number of the bucket that a time is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Bucket(u64);

impl Bucket {
    fn of(time: UnixTime) -> Bucket {
        Bucket(time.0 / BUCKET)
    }

    /// Whether it counts no more at `now`, which is not before it.
    fn is_past(self, now: Bucket) -> bool {
        now.0.saturating_sub(self.0) > DAY
    }
}

/// Amounts of the last 24 hours: at most 97 of them, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    buckets: VecDeque<(Bucket, MilliSatoshi)>,
}

impl Window {
    /// What counts at `now`.
    pub(crate) fn used(&self, now: UnixTime) -> MilliSatoshi {
        let now = self.not_before_newest(Bucket::of(now));
        let counts = |(bucket, _): &&(Bucket, MilliSatoshi)| !bucket.is_past(now);
        let amounts = self.buckets.iter().filter(counts);
        amounts.fold(MilliSatoshi::ZERO, |sum, (_, amount)| {
            sum.saturating_add(*amount)
        })
    }

    /// Says whether it is the first of its bucket.
    pub(crate) fn charge(&mut self, now: UnixTime, amount: MilliSatoshi) -> bool {
        let now = Bucket::of(now);
        self.set_back(now);
        while self
            .buckets
            .front()
            .is_some_and(|(bucket, _)| bucket.is_past(now))
        {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            Some((bucket, sum)) if *bucket == now => {
                *sum = sum.saturating_add(amount);
                false
            }
            Some(_) | None => {
                self.buckets.push_back((now, amount));
                true
            }
        }
    }

    /// Whether what was charged at `then` may still count at `now`.
    pub(crate) fn counts(then: UnixTime, now: UnixTime) -> bool {
        !Bucket::of(then).is_past(Bucket::of(now))
    }

    /// Takes back what was charged at `then` and did not go after all.
    pub(crate) fn refund(&mut self, then: UnixTime, amount: MilliSatoshi) {
        let then = Bucket::of(then);
        let mut buckets = self.buckets.iter_mut();
        if let Some((_, sum)) = buckets.find(|(bucket, _)| *bucket == then) {
            *sum = sum.saturating_sub(amount);
        }
    }

    fn not_before_newest(&self, now: Bucket) -> Bucket {
        self.buckets
            .back()
            .map_or(now, |(newest, _)| now.max(*newest))
    }

    /// The newest bucket becomes that of now, if it is later, and the others keep their distance.
    fn set_back(&mut self, now: Bucket) {
        let ahead = self.not_before_newest(now).0.saturating_sub(now.0);
        for (bucket, _) in &mut self.buckets {
            bucket.0 = bucket.0.saturating_sub(ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;

    fn window(charges: &[(u64, u64)]) -> Window {
        let mut window = Window::default();
        for (time, amount) in charges {
            window.charge(UnixTime(*time), MilliSatoshi(*amount));
        }
        window
    }

    #[test]
    fn what_was_charged_counts_for_a_day_and_not_much_longer() {
        let start = 1_000_000 * BUCKET;
        let window = window(&[(start + 7, 100)]);
        let used = |after: u64| window.used(UnixTime(start + after)).0;
        assert_eq!(used(7), 100);
        assert_eq!(used(24 * HOUR + 6), 100);
        assert_eq!(used(24 * HOUR + BUCKET), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_frees_nothing_and_does_not_freeze_the_window() {
        let (late, early) = (9_000_000 * BUCKET, 1_000_000 * BUCKET);
        let mut window = window(&[(late - 20 * HOUR, 50), (late, 100)]);
        assert_eq!(window.used(UnixTime(early)), MilliSatoshi(150));
        window.charge(UnixTime(early), MilliSatoshi(1));
        assert_eq!(window.used(UnixTime(early + HOUR)), MilliSatoshi(151));
        assert_eq!(window.used(UnixTime(early + 5 * HOUR)), MilliSatoshi(101));
        assert_eq!(window.used(UnixTime(early + 25 * HOUR)), MilliSatoshi(0));
    }

    #[test]
    fn a_refund_frees_what_was_charged_then_and_no_more() {
        let mut window = window(&[(10 * HOUR, 100), (12 * HOUR, 30)]);
        window.refund(UnixTime(10 * HOUR), MilliSatoshi(60));
        assert_eq!(window.used(UnixTime(12 * HOUR)), MilliSatoshi(70));
        window.refund(UnixTime(10 * HOUR), MilliSatoshi(60));
        assert_eq!(window.used(UnixTime(12 * HOUR)), MilliSatoshi(30));
        window.refund(UnixTime(11 * HOUR), MilliSatoshi(60));
        assert_eq!(window.used(UnixTime(12 * HOUR)), MilliSatoshi(30));
    }

    proptest! {
        /// Never less than what was charged within the last 24 hours, never more than what was
        /// within the last 24 hours and a quarter, in bounded memory.
        #[test]
        fn the_window_is_a_day_that_rolls(
            steps in proptest::collection::vec((0..3 * HOUR, 0u64..1000), 1..200),
            later in 0..30 * HOUR,
        ) {
            let mut window = Window::default();
            let (mut now, mut charged) = (1_700_000_000, Vec::new());
            for (pause, amount) in steps {
                now += pause;
                window.charge(UnixTime(now), MilliSatoshi(amount));
                charged.push((now, amount));
            }
            now += later;
            let within = |seconds: u64| -> u64 {
                let recent = charged.iter().filter(|(at, _)| at + seconds > now);
                recent.map(|(_, amount)| amount).sum()
            };
            let used = window.used(UnixTime(now)).0;
            prop_assert!(used >= within(24 * HOUR));
            prop_assert!(used <= within(24 * HOUR + BUCKET));
            prop_assert!(window.buckets.len() <= 97);
        }

        /// Whatever the clock does, what was charged is not forgotten before a day of it went by.
        #[test]
        fn a_jumping_clock_frees_nothing_when_it_goes_back(
            back in proptest::collection::vec((0..1_000_000u64, 1u64..1000), 1..50),
        ) {
            let mut window = Window::default();
            let (mut now, mut sum) = (1_700_000_000, 0);
            for (step, amount) in back {
                now -= step;
                window.charge(UnixTime(now), MilliSatoshi(amount));
                sum += amount;
            }
            prop_assert_eq!(window.used(UnixTime(now)), MilliSatoshi(sum));
            prop_assert!(window.buckets.len() <= 97);
        }
    }
}
