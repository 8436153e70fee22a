//! connectd: TCP with peers, on the host's network. Its parent grants the ports that it listens on,
//! and every port to connect to but the chain backend's. No file, no name service: lightningd
//! resolves names.

use super::{Call, Network, Policy, call, call_if, every, is, tcp};

pub(super) const POLICY: Policy = Policy {
    folder: None,
    network: Network::Hosts,
    // A TCP socket for each peer, a socket for each channel.
    open_files: 1 << 16,
    file_size: 0,
    calls: &[every::CALLS, tcp::CALLS, CALLS],
};

const CALLS: &[Call] = &[
    // To listen; the port is Landlock's to judge.
    call(libc::SYS_bind),
    call(libc::SYS_listen),
    call(libc::SYS_accept4),
    // Which port it was, who is at the other end.
    call(libc::SYS_getsockname),
    call(libc::SYS_getpeername),
    // To listen again at once after a restart, and on IPv6 beside IPv4.
    call_if(
        libc::SYS_setsockopt,
        &[
            &[is(1, libc::SOL_SOCKET), is(2, libc::SO_REUSEADDR)],
            &[is(1, libc::IPPROTO_IPV6), is(2, libc::IPV6_V6ONLY)],
        ],
    ),
];
