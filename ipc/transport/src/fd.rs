//! The socket calls: bytes and file descriptors out and in.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{mem, ptr};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, send, sendmsg, socketpair,
};

use crate::frame::MAX_FDS;

/// The two ends of a new edge, both close-on-exec.
///
/// # Errors
/// Too many open files, here or in the system.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        flags,
    )?)
}

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Block,
    Never,
}

impl Wait {
    fn flag(self) -> MsgFlags {
        match self {
            Wait::Block => MsgFlags::empty(),
            Wait::Never => MsgFlags::MSG_DONTWAIT,
        }
    }
}

/// Sends some of `bytes`, which are not empty, and `fds` with the first of them. When it says that
/// any byte went out, so did the descriptors.
pub(crate) fn write(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[OwnedFd],
    wait: Wait,
) -> io::Result<usize> {
    let flags = MsgFlags::MSG_NOSIGNAL | wait.flag();
    loop {
        let sent = if fds.is_empty() {
            send(socket.as_raw_fd(), bytes, flags)
        } else {
            let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&raw)];
            sendmsg::<()>(
                socket.as_raw_fd(),
                &[IoSlice::new(bytes)],
                &rights,
                flags,
                None,
            )
        };
        match sent {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// What a read brought besides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// How many bytes; none means that the other end closed.
    pub bytes: usize,
    /// More descriptors were sent than there is room for; the kernel has closed the excess.
    pub excess_fds: bool,
}

/// Room for one control message with [`MAX_FDS`] descriptors, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);
// SAFETY: computes a size from a size; touches no memory.
#[allow(unsafe_code)]
const CONTROL: usize =
    unsafe { libc::CMSG_SPACE((MAX_FDS * mem::size_of::<libc::c_int>()) as u32) } as usize;

/// Reads into `buf` what is there, and appends the descriptors that came with it to `fds`, each
/// close-on-exec.
///
/// Not nix's `recvmsg`: when the control message was cut, that returns an error without the
/// descriptors that did arrive, and they would stay open for good.
#[allow(unsafe_code)]
pub(crate) fn read(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
    wait: Wait,
) -> io::Result<Read> {
    let mut control = Control([0; CONTROL]);
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: all zeros is a valid msghdr (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_CMSG_CLOEXEC | wait.flag().bits();
    let bytes = loop {
        // SAFETY: `message` points at `iov`, `buf` and `control`, which outlive the call and have
        // the lengths it says.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(got) {
            Err(Errno::EINTR) => {}
            other => break other?.unsigned_abs(),
        }
    };
    // SAFETY: recvmsg has succeeded on `message`, and `control` is as it left it.
    unsafe { adopt(&message, fds) };
    Ok(Read {
        bytes,
        excess_fds: message.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// Takes over the descriptors that a read brought.
///
/// # Safety
/// `message` is as a successful `recvmsg` left it, its control buffer still there, and this is
/// called once for it.
#[allow(unsafe_code)]
unsafe fn adopt(message: &libc::msghdr, fds: &mut VecDeque<OwnedFd>) {
    // SAFETY: the macros walk within msg_controllen, which the kernel has set; each SCM_RIGHTS
    // message holds whole descriptors that are now this process's, and nobody else's to close.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        while !at.is_null() {
            let head = ptr::read_unaligned(at);
            if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(at).cast::<libc::c_int>();
                let len = (head.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..len / mem::size_of::<libc::c_int>() {
                    fds.push_back(OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(index))));
                }
            }
            at = libc::CMSG_NXTHDR(message, at);
        }
    }
}

/// Hands a descriptor to the runtime that this is called in, to be told when it is ready.
#[cfg(feature = "tokio")]
#[allow(unsafe_code)]
pub(crate) fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd gives the same open descriptor for as long as it lives, and it lives
    // within the AsyncFd, which lends it out only by shared reference.
    unsafe { tokio::io::unix::AsyncFd::register(fd) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    fn some(count: usize) -> Vec<OwnedFd> {
        (0..count)
            .map(|_| std::fs::File::open("/dev/null").unwrap().into())
            .collect()
    }

    #[test]
    fn descriptors_arrive_close_on_exec_with_the_first_byte() {
        let (a, b) = pair().unwrap();
        assert_eq!(write(a.as_fd(), b"abc", &some(2), Wait::Never).unwrap(), 3);
        let (mut buf, mut fds) = ([0; 1], VecDeque::new());
        let read = read(b.as_fd(), &mut buf, &mut fds, Wait::Never).unwrap();
        assert_eq!(
            (read, fds.len()),
            (
                Read {
                    bytes: 1,
                    excess_fds: false
                },
                2
            )
        );
        for fd in &fds {
            let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
    }

    #[test]
    fn excess_descriptors_are_closed_and_reported() {
        // The other end of a pipe tells whether all copies of this end are closed.
        let (a, b) = pair().unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let copies: Vec<OwnedFd> = (0..20).map(|_| writer.try_clone().unwrap()).collect();
        drop(writer);
        write(a.as_fd(), b"x", &copies, Wait::Never).unwrap();
        drop(copies);
        let (mut buf, mut fds) = ([0; 8], VecDeque::new());
        let read = read(b.as_fd(), &mut buf, &mut fds, Wait::Never).unwrap();
        assert!(read.excess_fds);
        assert!(fds.len() <= MAX_FDS);
        drop(fds);
        assert_eq!(
            nix::unistd::read(&reader, &mut buf).unwrap(),
            0,
            "a copy is still open"
        );
    }

    #[test]
    fn a_read_that_never_waits_says_so() {
        let (_a, b) = pair().unwrap();
        let error = read(b.as_fd(), &mut [0; 8], &mut VecDeque::new(), Wait::Never).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
