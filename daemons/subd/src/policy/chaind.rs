//! chaind: TCP to the chain backend's port, on the host's network. No file, no name service:
//! lightningd reads the cookie and resolves the backend's name.

use super::{Network, Policy, every, tcp};

pub(super) const POLICY: Policy = Policy {
    folder: None,
    network: Network::Hosts,
    // A runtime's own and a few connections.
    open_files: 256,
    file_size: 0,
    calls: &[every::CALLS, tcp::CALLS],
};
