//! Namespaces: another host, with nothing in it.
//!
//! There is no PID namespace. Its first process is its init, for which the kernel drops signals that
//! it has no handler for (an abort would not end it), and any other would be a second process for each
//! daemon. That it can see no process and send none a signal is Landlock's and seccomp's part.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{chdir, getegid, geteuid, pivot_root};

use crate::policy::Network;

/// A folder that is there whatever the host's files are.
const SOMEWHERE: &str = "/proc";

fn wanted(network: Network) -> CloneFlags {
    let always = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    match network {
        Network::Own => always | CloneFlags::CLONE_NEWNET,
        Network::Hosts => always,
    }
}

/// As one who may on the host.
pub(super) fn enter(network: Network) -> Result<(), Errno> {
    unshare(wanted(network))
}

/// As one who may only within a user namespace. In there its user and group are what they were, and
/// nobody else is anybody.
pub(super) fn enter_with_user(network: Network) -> Result<(), Errno> {
    // Whoever is undumpable may not write its own maps.
    prctl::set_dumpable(true)?;
    let (user, group) = (geteuid(), getegid());
    unshare(wanted(network) | CloneFlags::CLONE_NEWUSER)?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    };
    write("uid_map", format!("{user} {user} 1"))?;
    // A group can be mapped only by who cannot drop one to gain what it is barred from.
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{group} {group} 1"))
}

/// Makes an empty folder that cannot be written to the root of this process's mount namespace. What
/// is open stays open.
pub(super) fn empty_root() -> Result<(), Errno> {
    const NONE: Option<&str> = None;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Nothing that happens here shows on the host.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let options = Some("size=4k,nr_inodes=1,mode=555");
    mount(Some("empty"), SOMEWHERE, Some("tmpfs"), harmless, options)?;
    chdir(SOMEWHERE)?;
    // The new root goes over the old one, which is then on top, and is taken off.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    let read_only = harmless | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(NONE, "/", NONE, read_only, NONE)
}

/// Whether a process like this one can have them: tried by a child that ends at once.
#[allow(unsafe_code)]
pub(crate) fn probe() -> Result<(), Errno> {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    let all = wanted(Network::Own);
    // SAFETY: between fork and _exit the child makes system calls and nothing else: it takes no lock
    // and allocates nothing.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = match unshare(all).or_else(|_| unshare(all | CloneFlags::CLONE_NEWUSER)) {
                Ok(()) => 0,
                Err(error) => error as i32,
            };
            // SAFETY: ends this process without running anything of its parent's.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, code) => Err(Errno::from_raw(code)),
            // Nix's enum: a filter for system calls may have ended it.
            _ => Err(Errno::ENOSYS),
        },
    }
}
