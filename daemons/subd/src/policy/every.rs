//! What every subdaemon does: it has memory and time, waits for its edges, speaks on them, and ends.
//! None has more than one thread, opens a path, or starts anything.

use libc::c_int;

use super::{Call, call, call_if, has_none, is, is_own_pid};

/// A TCP connection is made with the first data, which Landlock's rules for ports do not see.
const FASTOPEN: c_int = libc::MSG_FASTOPEN;

pub(super) const CALLS: &[Call] = &[
    // Memory: the allocator's. Never executable, so that what an attacker writes cannot be run.
    call(libc::SYS_brk),
    call_if(libc::SYS_mmap, &[&[has_none(2, libc::PROT_EXEC)]]),
    call_if(libc::SYS_mprotect, &[&[has_none(2, libc::PROT_EXEC)]]),
    call(libc::SYS_mremap),
    call(libc::SYS_munmap),
    // The allocator gives pages back; secrets are kept out of cores and wiped on fork.
    call(libc::SYS_madvise),
    // Locks of the standard library, which are not contended with one thread but are asked for when
    // a waiter is woken.
    call(libc::SYS_futex),
    // Time, where the kernel does not give it without a call.
    call(libc::SYS_clock_gettime),
    call(libc::SYS_gettimeofday),
    call(libc::SYS_clock_nanosleep),
    call(libc::SYS_nanosleep),
    // Randomness for nonces, keys of connections and hash tables.
    call(libc::SYS_getrandom),
    // To wait for an edge.
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_poll),
    call(libc::SYS_ppoll),
    // To speak on an edge or a connection.
    call(libc::SYS_recvmsg),
    call(libc::SYS_recvfrom),
    call_if(libc::SYS_sendmsg, &[&[has_none(2, FASTOPEN)]]),
    call_if(libc::SYS_sendto, &[&[has_none(3, FASTOPEN)]]),
    call(libc::SYS_shutdown),
    call(libc::SYS_close),
    // The runtime's wake-up, the report of the first steps, last words on stderr.
    call(libc::SYS_read),
    call(libc::SYS_write),
    // To copy a descriptor, to make one non-blocking or close-on-exec, and to ask whether it is.
    call_if(
        libc::SYS_fcntl,
        &[
            &[is(1, libc::F_DUPFD_CLOEXEC)],
            &[is(1, libc::F_GETFD)],
            &[is(1, libc::F_SETFD)],
            &[is(1, libc::F_GETFL)],
            &[is(1, libc::F_SETFL)],
        ],
    ),
    // To end, by itself or by a panic: SIGABRT, to itself alone.
    call(libc::SYS_exit_group),
    call(libc::SYS_exit),
    call(libc::SYS_getpid),
    call(libc::SYS_gettid),
    call_if(libc::SYS_tgkill, &[&[is_own_pid(0), is(2, libc::SIGABRT)]]),
    call(libc::SYS_rt_sigaction),
    call(libc::SYS_rt_sigprocmask),
    // The standard library's alternative stack is taken down at the end.
    call(libc::SYS_sigaltstack),
    // The kernel's own, after a signal or a stop.
    call(libc::SYS_rt_sigreturn),
    call(libc::SYS_restart_syscall),
];

/// What a library may try and can do without.
pub(super) const REFUSED: &[(libc::c_long, c_int)] = &[
    // Names for the kernel's list of mappings (glibc), and other things that are nice to have.
    (libc::SYS_prctl, libc::EINVAL),
    // How many processors there are, for the size of tables and the time to spin.
    (libc::SYS_sched_getaffinity, libc::EPERM),
    (libc::SYS_sysinfo, libc::EPERM),
];
