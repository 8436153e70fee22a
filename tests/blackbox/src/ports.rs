//! Free TCP ports on loopback that stay free across a node's restart.

use anyhow::{Result, bail};
use rand::Rng;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Below the range that the kernel hands to outgoing connections, so that no connection takes the port
/// of a node that is down for a moment.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on and that this process has not handed out before.
///
/// # Errors
/// Where a thousand tries find none.
pub fn free() -> Result<u16> {
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1000 {
        let port = rand::thread_rng().gen_range(RANGE);
        if handed_out.contains(&port) || TcpListener::bind(("127.0.0.1", port)).is_err() {
            continue;
        }
        handed_out.insert(port);
        return Ok(port);
    }
    bail!("no free port on loopback")
}
