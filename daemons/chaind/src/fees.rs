//! What transactions should pay: asked of bitcoind every minute and after blocks.

use std::time::Duration;

use bitcoin::Amount;
use ipc_messages::lightningd_chaind::Feerates;
use tokio::time::Instant;
use wire::FeeratePerKw;

use crate::rpc::{Rpc, RpcError};

/// In blocks, with bitcoind's name for how careful the estimate is.
const TARGETS: [(u32, &str); 4] = [
    (2, "CONSERVATIVE"),
    (6, "ECONOMICAL"),
    (12, "ECONOMICAL"),
    (100, "ECONOMICAL"),
];
/// Asked so often at least.
const PERIOD: Duration = Duration::from_secs(60);
/// Asked so often at most, however fast blocks come.
const PAUSE: Duration = Duration::from_secs(5);

/// When to ask, and what the answer was.
#[derive(Debug)]
pub struct Fees {
    due: Instant,
    asked: Option<Instant>,
    said: Option<Feerates>,
}

impl Fees {
    pub fn new() -> Fees {
        Fees {
            due: Instant::now(),
            asked: None,
            said: None,
        }
    }

    /// When to ask next.
    pub fn due(&self) -> Instant {
        self.due
    }

    pub fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// There was a block: the mempool is another.
    pub fn block(&mut self) {
        if let Some(asked) = self.asked {
            self.due = self.due.min(asked + PAUSE);
        }
    }

    /// Asks. None if nothing has changed.
    ///
    /// # Errors
    /// The backend is away. That it has no estimates is no error.
    pub async fn ask(&mut self, rpc: &mut Rpc) -> Result<Option<Feerates>, RpcError> {
        let now = Instant::now();
        self.asked = Some(now);
        self.due = now + PERIOD;
        let floor = none_if_refused(rpc.mempool_floor().await)?;
        let floor = floor
            .map_or(FeeratePerKw::FLOOR, per_kw)
            .max(FeeratePerKw::FLOOR);
        let mut estimates = Vec::new();
        for (target, mode) in TARGETS {
            if let Some(Some(found)) = none_if_refused(rpc.estimate_smart_fee(target, mode).await)?
            {
                estimates.push((target, per_kw(found).max(floor)));
            }
        }
        let feerates = Feerates { estimates, floor };
        if self.said.as_ref() == Some(&feerates) {
            return Ok(None);
        }
        self.said = Some(feerates.clone());
        Ok(Some(feerates))
    }
}

/// A bitcoind may have no mempool or no estimator.
fn none_if_refused<T>(result: Result<T, RpcError>) -> Result<Option<T>, RpcError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RpcError::Refused { method, words, .. }) => {
            tracing::debug!("{method}: {words}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// From an amount per 1000 vbytes, rounded up: a vbyte has four weight units.
fn per_kw(per_kvb: Amount) -> FeeratePerKw {
    FeeratePerKw(u32::try_from(per_kvb.to_sat().div_ceil(4)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feerates_are_rounded_up() {
        let per_kw = |sat| per_kw(Amount::from_sat(sat)).0;
        assert_eq!(per_kw(1000), 250);
        assert_eq!(per_kw(1001), 251);
        assert_eq!(per_kw(0), 0);
        assert_eq!(per_kw(u64::MAX), u32::MAX);
    }
}
