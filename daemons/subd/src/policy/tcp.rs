//! What connectd and chaind have in common: tokio's event loop, and TCP connections that they make.

use super::{Call, call, call_if, is, masked};

/// The type of a socket is in the lowest bits; above are SOCK_NONBLOCK and SOCK_CLOEXEC.
const TYPE: libc::c_int = 0xf;

pub(super) const CALLS: &[Call] = &[
    // tokio's event loop.
    call(libc::SYS_epoll_create1),
    call(libc::SYS_epoll_ctl),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_epoll_wait),
    call(libc::SYS_epoll_pwait),
    call(libc::SYS_eventfd2),
    // tokio's signal pipe, which it makes whether signals are waited for or not.
    call_if(libc::SYS_socketpair, &[&[is(0, libc::AF_UNIX)]]),
    // TCP, by its number or as the default, and nothing else of the internet's: Landlock's ports are
    // those of TCP.
    call_if(
        libc::SYS_socket,
        &[
            &[
                is(0, libc::AF_INET),
                masked(1, TYPE, libc::SOCK_STREAM),
                is(2, 0),
            ],
            &[
                is(0, libc::AF_INET),
                masked(1, TYPE, libc::SOCK_STREAM),
                is(2, libc::IPPROTO_TCP),
            ],
            &[
                is(0, libc::AF_INET6),
                masked(1, TYPE, libc::SOCK_STREAM),
                is(2, 0),
            ],
            &[
                is(0, libc::AF_INET6),
                masked(1, TYPE, libc::SOCK_STREAM),
                is(2, libc::IPPROTO_TCP),
            ],
        ],
    ),
    call(libc::SYS_connect),
    // Whether the connection was made; no delay.
    call_if(
        libc::SYS_getsockopt,
        &[&[is(1, libc::SOL_SOCKET), is(2, libc::SO_ERROR)]],
    ),
    call_if(
        libc::SYS_setsockopt,
        &[&[is(1, libc::IPPROTO_TCP), is(2, libc::TCP_NODELAY)]],
    ),
    // Several buffers at once.
    call(libc::SYS_writev),
];
