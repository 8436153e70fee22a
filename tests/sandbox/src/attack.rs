//! One system call, or a few, for each attack.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_long};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attack {
    /// To read a file by its path.
    Open {
        path: String,
    },
    /// To read a file by its path from the folder that was given.
    OpenFromFolder {
        path: String,
    },
    /// To make a file by its path.
    Create {
        path: String,
    },
    /// To make a file by its path from the folder that was given.
    CreateFromFolder {
        path: String,
    },
    /// To read another process's memory through its file.
    ReadMemoryFile {
        pid: i32,
        address: u64,
    },
    /// To connect to this port of the loopback by TCP.
    Connect {
        port: u16,
    },
    /// The same with the first data, by TCP fast open, which asks no rule for connecting.
    FastOpen {
        port: u16,
    },
    /// To listen on this port of the loopback by TCP.
    Bind {
        port: u16,
    },
    /// To make a UDP socket.
    Udp,
    /// To make a raw netlink socket.
    Netlink,
    /// To connect to a Unix socket with this abstract name.
    AbstractUnix {
        name: String,
    },
    /// To run a program.
    Exec,
    /// To make a process.
    Fork,
    /// To become another process's tracer.
    Ptrace {
        pid: i32,
    },
    /// To take another process's descriptor 0.
    TakeDescriptor {
        pid: i32,
    },
    /// To send another process a signal that does nothing to it.
    Kill {
        pid: i32,
    },
    /// To read another process's memory.
    ReadMemory {
        pid: i32,
        address: u64,
    },
    /// To make a BPF map.
    Bpf,
    IoUring,
    Userfaultfd,
    /// To make memory that was written to executable.
    MprotectExec,
    /// To get memory that can be written to and executed.
    MmapExec,
    /// To mount a file system of its own here.
    Mount {
        path: String,
    },
    /// To make a user namespace, in which one has every right.
    Unshare,
    /// To look into the session's keyring.
    Keyctl,
    PerfEvent,
    /// To let others of the same user look into itself.
    BecomeDumpable,
    /// To load another filter.
    Seccomp,
    /// To type into the terminal that is its stderr.
    Terminal,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded,
    /// The error that the kernel gave.
    Refused(i32),
}

impl Attack {
    /// Tries it. `folder`: the folder that was given, if there is one.
    #[must_use]
    pub fn perform(&self, folder: Option<BorrowedFd<'_>>) -> Outcome {
        match self.attempt(folder) {
            Ok(()) => Outcome::Succeeded,
            Err(error) => Outcome::Refused(error as i32),
        }
    }

    fn attempt(&self, folder: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let folder = folder.map_or(libc::AT_FDCWD, |folder| folder.as_raw_fd());
        match self {
            Attack::Open { path } => open(libc::AT_FDCWD, path, libc::O_RDONLY).map(drop),
            Attack::OpenFromFolder { path } => open(folder, path, libc::O_RDONLY).map(drop),
            Attack::Create { path } => create(libc::AT_FDCWD, path),
            Attack::CreateFromFolder { path } => create(folder, path),
            Attack::ReadMemoryFile { pid, address } => {
                let path = format!("/proc/{pid}/mem");
                let file = open(libc::AT_FDCWD, &path, libc::O_RDONLY)?;
                let mut byte = 0u8;
                // SAFETY: writes one byte at most to `byte`, which outlives the call.
                check(unsafe {
                    libc::syscall(libc::SYS_pread64, file, &raw mut byte, 1usize, *address)
                })
            }
            Attack::Connect { port } => {
                let socket = socket(libc::AF_INET, libc::SOCK_STREAM)?;
                let to = loopback(*port);
                // SAFETY: reads the address, which outlives the call and has the length given.
                check(unsafe {
                    libc::syscall(libc::SYS_connect, socket, &raw const to, size_of_val(&to))
                })
            }
            Attack::FastOpen { port } => {
                let socket = socket(libc::AF_INET, libc::SOCK_STREAM)?;
                let to = loopback(*port);
                let flags = libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL;
                // SAFETY: reads one byte and the address, which outlive the call.
                check(unsafe {
                    libc::syscall(
                        libc::SYS_sendto,
                        socket,
                        c"x".as_ptr(),
                        1usize,
                        flags,
                        &raw const to,
                        size_of_val(&to),
                    )
                })
            }
            Attack::Bind { port } => {
                let socket = socket(libc::AF_INET, libc::SOCK_STREAM)?;
                let to = loopback(*port);
                // SAFETY: as for connect.
                check(unsafe {
                    libc::syscall(libc::SYS_bind, socket, &raw const to, size_of_val(&to))
                })
            }
            Attack::Udp => socket(libc::AF_INET, libc::SOCK_DGRAM).map(drop),
            Attack::Netlink => socket(libc::AF_NETLINK, libc::SOCK_RAW).map(drop),
            Attack::AbstractUnix { name } => connect_abstract(name),
            Attack::Exec => exec(),
            Attack::Fork => fork(),
            Attack::Ptrace { pid } => {
                // SAFETY: integers; the tracee is another process.
                check(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, *pid, 0, 0) })
            }
            Attack::TakeDescriptor { pid } => {
                // SAFETY: integers.
                let pidfd = number(unsafe { libc::syscall(libc::SYS_pidfd_open, *pid, 0) })?;
                // SAFETY: integers; a new descriptor comes back and stays open.
                check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, 0, 0) })
            }
            Attack::Kill { pid } => {
                // SAFETY: integers.
                check(unsafe { libc::syscall(libc::SYS_kill, *pid, libc::SIGCONT) })
            }
            Attack::ReadMemory { pid, address } => read_memory(*pid, *address),
            Attack::Bpf => {
                // BPF_MAP_CREATE of an array of one element with keys of 4 and values of 8 bytes.
                let attributes = [2u32, 4, 8, 1, 0, 0, 0, 0];
                // SAFETY: reads the attributes, which outlive the call and have the length given.
                check(unsafe {
                    libc::syscall(
                        libc::SYS_bpf,
                        0,
                        &raw const attributes,
                        size_of_val(&attributes),
                    )
                })
            }
            Attack::IoUring => {
                // `struct io_uring_params` is 120 bytes long.
                let mut parameters = [0u64; 15];
                // SAFETY: reads and writes the parameters, which outlive the call.
                check(unsafe {
                    libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr())
                })
            }
            Attack::Userfaultfd => {
                const USER_MODE_ONLY: c_int = 1;
                // SAFETY: an integer.
                check(unsafe { libc::syscall(libc::SYS_userfaultfd, USER_MODE_ONLY) })
            }
            Attack::MprotectExec => {
                let page = map(libc::PROT_READ | libc::PROT_WRITE)?;
                let executable = libc::PROT_READ | libc::PROT_EXEC;
                // SAFETY: a page of its own, which nothing refers to.
                check(unsafe { libc::syscall(libc::SYS_mprotect, page, 4096usize, executable) })
            }
            Attack::MmapExec => map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop),
            Attack::Mount { path } => {
                let path = CString::new(path.as_str()).map_err(|_| Errno::EINVAL)?;
                let kind = c"tmpfs".as_ptr();
                let none = ptr::null::<u8>();
                // SAFETY: reads strings that outlive the call.
                check(unsafe { libc::syscall(libc::SYS_mount, kind, path.as_ptr(), kind, 0, none) })
            }
            Attack::Unshare => {
                // SAFETY: an integer.
                check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER) })
            }
            Attack::Keyctl => {
                // KEYCTL_GET_KEYRING_ID of the process's own keyring, made if there is none.
                // SAFETY: integers.
                check(unsafe { libc::syscall(libc::SYS_keyctl, 0, -2, 1) })
            }
            Attack::PerfEvent => perf_event(),
            Attack::BecomeDumpable => {
                // SAFETY: integers.
                check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0) })
            }
            Attack::Seccomp => {
                let action = libc::SECCOMP_RET_ALLOW;
                let get = libc::SECCOMP_GET_ACTION_AVAIL;
                // SAFETY: reads one word, which outlives the call.
                check(unsafe { libc::syscall(libc::SYS_seccomp, get, 0, &raw const action) })
            }
            Attack::Terminal => {
                let mut size = [0u16; 4];
                // SAFETY: writes `struct winsize`, four shorts, at most.
                let done = unsafe {
                    libc::syscall(libc::SYS_ioctl, 2, libc::TIOCGWINSZ, size.as_mut_ptr())
                };
                // Without a sandbox the kernel looks at the descriptor and says that it is no terminal.
                match check(done) {
                    Err(Errno::ENOTTY) => Ok(()),
                    other => other,
                }
            }
        }
    }
}

fn number(result: c_long) -> Result<c_int, Errno> {
    Errno::result(result).map(|number| c_int::try_from(number).unwrap_or(c_int::MAX))
}

fn check(result: c_long) -> Result<(), Errno> {
    Errno::result(result).map(drop)
}

fn open(folder: c_int, path: &str, flags: c_int) -> Result<c_int, Errno> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    // SAFETY: reads the path, which outlives the call; the descriptor stays open until the end.
    number(unsafe { libc::syscall(libc::SYS_openat, folder, path.as_ptr(), flags, 0o600) })
}

fn create(folder: c_int, path: &str) -> Result<(), Errno> {
    open(folder, path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(drop)
}

fn socket(family: c_int, kind: c_int) -> Result<c_int, Errno> {
    // SAFETY: integers; the descriptor stays open until the end.
    number(unsafe { libc::syscall(libc::SYS_socket, family, kind, 0) })
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    }
}

fn connect_abstract(name: &str) -> Result<(), Errno> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
    let mut to = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    // An abstract name begins with a zero.
    for (place, byte) in to.sun_path.iter_mut().skip(1).zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    let length = size_of::<libc::sa_family_t>() + 1 + name.len();
    // SAFETY: reads as much of the address as the length says, which it has.
    check(unsafe { libc::syscall(libc::SYS_connect, socket, &raw const to, length) })
}

fn exec() -> Result<(), Errno> {
    let program = c"/bin/true";
    let arguments = [program.as_ptr(), ptr::null()];
    let environment = [ptr::null::<u8>()];
    // SAFETY: reads the strings, which outlive the call; if it returns, it has failed.
    check(unsafe {
        libc::syscall(
            libc::SYS_execve,
            program.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    })
}

fn fork() -> Result<(), Errno> {
    let flags = c_long::from(libc::SIGCHLD);
    // SAFETY: a fork; the child ends at once and touches nothing.
    let pid = number(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if pid == 0 {
        // SAFETY: ends the child.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    }
    Ok(())
}

fn read_memory(pid: i32, address: u64) -> Result<(), Errno> {
    let mut byte = 0u8;
    let here = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let there = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: 1,
    };
    // SAFETY: one byte is written to `byte`; the other address is another process's.
    check(unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            pid,
            &raw const here,
            1,
            &raw const there,
            1,
            0,
        )
    })
}

fn map(protection: c_int) -> Result<c_long, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new page where the kernel likes, which nothing refers to.
    Errno::result(unsafe { libc::syscall(libc::SYS_mmap, 0, 4096usize, protection, flags, -1, 0) })
}

fn perf_event() -> Result<(), Errno> {
    // `struct perf_event_attr`, first version, of 64 bytes: software, CPU clock; disabled, without
    // the kernel and the hypervisor, as anybody may.
    let mut attributes = [0u64; 8];
    if let Some([kind, _, _, _, _, flags, ..]) = attributes.get_mut(..) {
        *kind = 1 | (64 << 32);
        *flags = 1 | (1 << 5) | (1 << 6);
    }
    // SAFETY: reads the attributes, which outlive the call and say their length.
    check(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) })
}
