//! The search for the number of a channel of which nothing but the seed is left.
//!
//! A node numbers its channels from 1 on. Each time that it is begun anew, beside a seed that was there or on a
//! backup, it goes on so many runs further up as hsmd draws (`State::copied`). So a number is a small one and some
//! runs: at most [`LONGEST_SKIP`] for each time.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hsm::offline::{LONGEST_SKIP, RUN};
use wire::ChannelDbid;

/// So many a thread tries at a time, which takes it some hundredths of a second.
const BATCH: u64 = 1024;

/// Those that are tried.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Channels 1 to this one, and what they are some runs further up.
    pub last: u64,
    /// How often the node was begun anew.
    pub begun_anew: u16,
}

impl Numbers {
    /// The one that any of `tries` accepts, as it makes of it. Each of them has a thread.
    ///
    /// # Errors
    /// Those of the tries.
    pub fn search<T: Send, E: Send>(
        &self,
        tries: Vec<impl Fn(ChannelDbid) -> Result<Option<T>, E> + Send>,
    ) -> Result<Option<T>, E> {
        let next = &AtomicU64::new(0);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            for attempt in tries {
                let tell = tell.clone();
                scope.spawn(move || {
                    loop {
                        let first = next.fetch_add(BATCH, Ordering::Relaxed);
                        let batch = (first..first.saturating_add(BATCH)).map_while(|n| self.nth(n));
                        let found = batch.map(&attempt).find_map(Result::transpose);
                        // Nobody listens any more once one was found.
                        if first >= self.count() || tell.send(found).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(tell);
            let mut progress = Progress::new(self.count());
            let found = told.into_iter().find_map(|found| {
                progress.tried(BATCH);
                found
            });
            progress.end();
            found.transpose()
        })
    }

    /// The last one's, further up.
    fn runs(&self) -> u64 {
        LONGEST_SKIP.saturating_mul(self.begun_anew.into())
    }

    fn count(&self) -> u64 {
        self.last.saturating_mul(self.runs().saturating_add(1))
    }

    /// In the order in which they are tried: those of a node's first life take no time. Then the lowest channel
    /// with each number of runs, and the next: a node that lost all it had has few.
    fn nth(&self, n: u64) -> Option<ChannelDbid> {
        if n >= self.count() {
            return None;
        }
        let Some(n) = n.checked_sub(self.last) else {
            return Some(ChannelDbid(n + 1));
        };
        let runs = self.runs();
        let (lower, skipped) = (n.checked_div(runs)?, n.checked_rem(runs)?);
        Some(ChannelDbid(1 + lower + RUN * (1 + skipped)))
    }
}

/// Said on stderr: on a terminal in one line, elsewhere in a line each ten seconds.
struct Progress {
    of: u64,
    tried: u64,
    begun: Instant,
    said: Instant,
    terminal: bool,
}

impl Progress {
    fn new(of: u64) -> Progress {
        let begun = Instant::now();
        Progress {
            of,
            tried: 0,
            begun,
            said: begun,
            terminal: io::stderr().is_terminal(),
        }
    }

    fn tried(&mut self, more: u64) {
        self.tried = self.tried.saturating_add(more).min(self.of);
        let each = Duration::from_secs(if self.terminal { 1 } else { 10 });
        if self.said.elapsed() < each {
            return;
        }
        self.said = Instant::now();
        let line = line(self.tried, self.of, self.begun.elapsed());
        match self.terminal {
            true => eprint!("\r\x1b[K{line}"),
            false => eprintln!("{line}"),
        }
    }

    fn end(&self) {
        if self.terminal && self.said > self.begun {
            eprintln!();
        }
    }
}

fn line(tried: u64, of: u64, took: Duration) -> String {
    let took = took.as_secs().max(1);
    let left = u128::from(of - tried) * u128::from(took) / u128::from(tried.max(1));
    let left = match left {
        0..120 => format!("{left} s"),
        120..7200 => format!("{} min", left / 60),
        _ => format!("{} h", left / 3600),
    };
    let each_second = tried / took;
    format!("{tried} of {of} numbers tried, {each_second} a second: {left} more at most")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(last: u64, begun_anew: u16) -> Numbers {
        Numbers { last, begun_anew }
    }

    #[test]
    fn the_lowest_channels_come_first_each_with_all_runs_and_nothing_beyond() {
        let all = numbers(2, 1);
        let nth = |n| all.nth(n).map(|channel| channel.0);
        let first: Vec<_> = (0..5).filter_map(nth).collect();
        assert_eq!(first, [1, 2, 1 + RUN, 1 + 2 * RUN, 1 + 3 * RUN]);
        assert_eq!(nth(1 + LONGEST_SKIP), Some(1 + LONGEST_SKIP * RUN));
        assert_eq!(nth(2 + LONGEST_SKIP), Some(2 + RUN));
        assert_eq!(nth(1 + 2 * LONGEST_SKIP), Some(2 + LONGEST_SKIP * RUN));
        assert_eq!(nth(2 + 2 * LONGEST_SKIP), None);
        assert_eq!(numbers(2, 0).nth(1), Some(ChannelDbid(2)));
        for none in [numbers(2, 0).nth(2), numbers(0, 1).nth(0)] {
            assert_eq!(none, None);
        }
        // However many are asked for.
        assert!(numbers(u64::MAX, u16::MAX).nth(u64::MAX - 1).is_some());
        let last = numbers(1, u16::MAX);
        assert!(last.nth(last.count() - 1).is_some());
    }

    /// What three threads make of it.
    fn search(numbers: Numbers, accept: u64) -> Option<u64> {
        let attempt = |ChannelDbid(n)| Ok::<_, ()>((n == accept).then_some(n));
        numbers.search(vec![attempt; 3]).unwrap()
    }

    #[test]
    fn a_node_that_was_begun_anew_twice_is_found_if_that_is_said() {
        let far = 1 + RUN * (LONGEST_SKIP + 5);
        assert_eq!(search(numbers(1, 1), far), None);
        assert_eq!(search(numbers(1, 2), far), Some(far));
        for bound in [1, 2, 1 + RUN, 2 + RUN, 2 + LONGEST_SKIP * RUN] {
            assert_eq!(search(numbers(2, 1), bound), Some(bound));
        }
        for beyond in [3, 3 + RUN, 1 + LONGEST_SKIP * RUN + RUN] {
            assert_eq!(search(numbers(2, 1), beyond), None);
        }
    }

    #[test]
    fn a_search_ends_with_the_first_find_and_with_an_error() {
        // All would take years.
        let endless = numbers(u64::MAX, u16::MAX);
        assert_eq!(search(endless, 70_000), Some(70_000));
        let failing = |ChannelDbid(n)| match n {
            5000 => Err("broken"),
            _ => Ok(None::<()>),
        };
        assert_eq!(endless.search(vec![failing; 2]), Err("broken"));
    }

    #[test]
    fn progress_says_how_long_it_takes_at_most() {
        let after = |tried, seconds| line(tried, 1_000_000, Duration::from_secs(seconds));
        assert_eq!(
            after(400_000, 10),
            "400000 of 1000000 numbers tried, 40000 a second: 15 s more at most"
        );
        assert!(after(1_000_000, 10).ends_with(": 0 s more at most"));
        assert!(after(100_000, 60).ends_with(": 9 min more at most"));
        assert!(after(1_000, 60).ends_with(": 16 h more at most"));
        assert!(after(0, 0).ends_with(" h more at most"));
    }
}
