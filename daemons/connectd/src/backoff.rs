//! How long to wait before a peer is dialled again.

use std::time::Duration;

use rand::Rng;

use crate::limits::Limits;

/// Doubling pauses of one peer.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    #[must_use]
    pub fn new(limits: &Limits) -> Backoff {
        Backoff {
            next: limits.backoff_min,
            min: limits.backoff_min,
            max: limits.backoff_max,
        }
    }

    /// The next pause, a quarter more or less, so that peers do not all come back at once.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(rand::thread_rng().gen_range(0.75..1.25))
    }

    /// A connection was good: begin with the least pause again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    #[test]
    fn pauses_double_up_to_the_greatest_and_begin_anew_after_a_reset() {
        let mut backoff = Backoff::new(&LIMITS);
        for expected in [
            1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0,
        ] {
            let pause = backoff.pause().as_secs_f64();
            assert!(
                (0.75 * expected..1.25 * expected).contains(&pause),
                "{pause} for {expected}"
            );
        }
        backoff.reset();
        assert!(backoff.pause() < Duration::from_millis(1250));
    }
}
