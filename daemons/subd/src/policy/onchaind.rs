//! onchaind: two sockets and nothing else.

use super::{Network, Policy, every};

pub(super) const POLICY: Policy = Policy {
    folder: None,
    network: Network::Own,
    open_files: 32,
    file_size: 0,
    calls: &[every::CALLS],
};
