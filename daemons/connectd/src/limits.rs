//! What a peer, or all of them, may cost us, and what happens at each limit.

use std::time::Duration;

use tokio::time::Instant;

/// The limits. One value for the program ([`LIMITS`]); tests make them smaller.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Inbound connections that have not got as far as the peer's init. One more: the oldest is
    /// closed, so that silent ones cannot keep others out.
    pub handshakes: usize,
    /// Inbound connections of one IPv4 address or one IPv6 /64 net. One more: it is closed at once.
    /// Loopback is exempt: behind it stand proxies that many peers share.
    pub per_ip: usize,
    /// Connected peers without a channel that nobody asked us to connect to. One more: it gets a
    /// warning and is closed. Peers with channels always come in.
    pub strangers: usize,
    /// Peers that are dialled at once for `Keep`; the others wait. A `Connect` does not wait.
    pub dials: usize,
    /// From the connection to the end of act three; then it is closed.
    pub handshake_within: Duration,
    /// From there to the peer's init; then it is closed.
    pub init_within: Duration,
    /// One address: name resolution, and TCP connection to each address it gives. Then the next.
    pub dial_within: Duration,
    /// Bytes that wait for one peer. From here on its channels' sockets are not read; what has to
    /// be said anyhow (by lightningd) may go over it once more, and then the peer is cut off.
    pub out_queue: usize,
    /// Bytes that wait for one peer from where on no ping of it is answered: its socket is not read.
    pub pong_queue: usize,
    /// A peer to which nothing could be written for so long is cut off.
    pub stalled_after: Duration,
    /// Bytes that wait for one channel's process. From here on its peer's socket is not read.
    pub channel_queue: usize,
    /// Messages that wait for lightningd. From here on the sockets of peers that have one more are
    /// not read.
    pub unclaimed_queue: usize,
    /// Channel ids that one channel's socket has claimed. One more: the socket is closed.
    pub claims: usize,
    /// Addresses kept for one peer. One more: the last is forgotten.
    pub addresses: usize,
    /// Pings of one peer. Faster: its socket is not read meanwhile.
    pub pings: Rate,
    /// Messages of one peer for lightningd. Faster: its socket is not read meanwhile.
    pub unclaimed: Rate,
    /// channel_updates of one peer for its channels. Faster: they are dropped.
    pub updates: Rate,
    /// Our own pings without an answer. One more is not sent.
    pub own_pings: usize,
    /// A peer that says nothing for so long, a tenth more or less, is sent a ping.
    pub ping_after: Duration,
    /// If it then says nothing for so long, it is cut off.
    pub pong_within: Duration,
    /// How long what was said before a close may take to be written and read.
    pub flush_within: Duration,
    /// As that, for all together when the node stops.
    pub stop_within: Duration,
    /// The pause before a kept peer is dialled again, a quarter more or less: from here, doubling.
    pub backoff_min: Duration,
    /// To here.
    pub backoff_max: Duration,
    /// A connection that lasted so long begins the pauses anew.
    pub stable_after: Duration,
    /// Two connections in opposite directions within so long were made at the same time: both ends
    /// keep the one that the lesser node id began. Otherwise the newer one counts.
    pub tie_within: Duration,
}

/// The limits of the program.
pub const LIMITS: Limits = Limits {
    handshakes: 256,
    per_ip: 64,
    strangers: 1024,
    dials: 64,
    handshake_within: Duration::from_secs(30),
    init_within: Duration::from_secs(30),
    dial_within: Duration::from_secs(20),
    out_queue: 1 << 20,
    pong_queue: 128 << 10,
    stalled_after: Duration::from_secs(30),
    channel_queue: 1 << 20,
    unclaimed_queue: 64,
    claims: 16,
    addresses: 16,
    pings: Rate {
        burst: 32,
        per_second: 4,
    },
    unclaimed: Rate {
        burst: 512,
        per_second: 32,
    },
    updates: Rate {
        burst: 64,
        per_second: 4,
    },
    own_pings: 16,
    ping_after: Duration::from_secs(45),
    pong_within: Duration::from_secs(30),
    flush_within: Duration::from_secs(5),
    stop_within: Duration::from_secs(1),
    backoff_min: Duration::from_secs(1),
    backoff_max: Duration::from_secs(300),
    stable_after: Duration::from_secs(60),
    tie_within: Duration::from_secs(10),
};

/// How many at once, and how many in the long run.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// Counts against a [`Rate`].
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    /// When it would be full again.
    full_at: Instant,
}

impl Bucket {
    #[must_use]
    pub fn new(rate: Rate) -> Bucket {
        Bucket {
            rate,
            full_at: Instant::now(),
        }
    }

    /// Counts one; gives how long to wait before it is due.
    pub fn take(&mut self) -> Duration {
        let now = Instant::now();
        let one = Duration::from_secs(1) / self.rate.per_second.max(1);
        self.full_at = self.full_at.max(now) + one;
        let ahead = self.full_at - now;
        ahead.saturating_sub(one * self.rate.burst)
    }

    /// Counts one if it is due now.
    pub fn try_take(&mut self) -> bool {
        let before = self.full_at;
        let due = self.take().is_zero();
        if !due {
            self.full_at = before;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let mut bucket = Bucket::new(Rate {
            burst: 3,
            per_second: 2,
        });
        let waits: Vec<u128> = (0..5).map(|_| bucket.take().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 500, 1000]);
        tokio::time::advance(Duration::from_secs(60)).await;
        let waits: Vec<u128> = (0..4).map(|_| bucket.take().as_millis()).collect();
        assert_eq!(
            waits,
            [0, 0, 0, 500],
            "it does not gather more than the burst"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_due_does_not_count_where_it_is_dropped() {
        let mut bucket = Bucket::new(Rate {
            burst: 2,
            per_second: 1,
        });
        let due: Vec<bool> = (0..100).map(|_| bucket.try_take()).collect();
        assert_eq!(due.iter().filter(|due| **due).count(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(bucket.try_take() && !bucket.try_take());
    }
}
