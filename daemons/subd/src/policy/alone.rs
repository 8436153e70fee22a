//! channeld, onchaind, payd: the sockets that they were given and nothing else.

use super::{Network, Policy, every};

pub(super) const POLICY: Policy = Policy {
    folder: None,
    network: Network::Own,
    // Three edges at most, and one more that arrives before one is closed.
    open_files: 32,
    file_size: 0,
    calls: &[every::CALLS],
};
