//! hsmd: its folder, its sockets. No network, no other file.

use super::{Call, Network, Policy, call, call_if, every, is};

pub(super) const POLICY: Policy = Policy {
    folder: Some("folder"),
    network: Network::Own,
    // A socket for each role of each channel.
    open_files: 1 << 16,
    // The journal is written anew long before.
    file_size: 4 << 30,
    calls: &[every::CALLS, CALLS],
};

const CALLS: &[Call] = &[
    // To wait for many sockets at once.
    call(libc::SYS_epoll_create1),
    call(libc::SYS_epoll_ctl),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_epoll_wait),
    call(libc::SYS_epoll_pwait),
    // The seed and the journal, by name in the folder; Landlock knows no other.
    call(libc::SYS_openat),
    call(libc::SYS_lseek),
    call(libc::SYS_fstat),
    call(libc::SYS_newfstatat),
    call(libc::SYS_statx),
    call(libc::SYS_pread64),
    call(libc::SYS_pwrite64),
    call(libc::SYS_writev),
    // What is answered is durable.
    call(libc::SYS_fsync),
    call(libc::SYS_fdatasync),
    // A page that lightningd reads, which tells it how far the journal is durable; sealed, so that
    // nobody else who has it can change its length.
    call(libc::SYS_memfd_create),
    call_if(libc::SYS_fcntl, &[&[is(1, libc::F_ADD_SEALS)]]),
    // Half a record at the journal's end is cut off; room for the next ones is taken ahead.
    call(libc::SYS_ftruncate),
    call(libc::SYS_fallocate),
    // A new journal takes the place of the old one at once.
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_rename),
    call(libc::SYS_renameat),
    call(libc::SYS_renameat2),
    call(libc::SYS_unlinkat),
    // The seed is for its owner's eyes, whatever the umask was.
    call(libc::SYS_fchmod),
    // No second hsmd on the same journal.
    call(libc::SYS_flock),
    // Keys lie in memory that is not swapped, and that no other process can be given.
    call(libc::SYS_memfd_secret),
    call(libc::SYS_mlock),
    call(libc::SYS_mlock2),
    call(libc::SYS_munlock),
    // The owner connects to a socket that was bound before; who it is is the kernel's word.
    call(libc::SYS_accept4),
    call_if(
        libc::SYS_getsockopt,
        &[&[is(1, libc::SOL_SOCKET), is(2, libc::SO_PEERCRED)]],
    ),
];
