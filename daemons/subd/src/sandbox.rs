//! Locking a subdaemon in: its own namespaces and user, no capability, then Landlock and seccomp.
//! What the host does not give is named, not passed over.

mod calls;
mod files;
mod namespaces;
mod user;

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::geteuid;

use crate::policy::Policy;
use crate::role::Role;

pub(crate) use calls::compile;
pub(crate) use files::{NEEDED_ABI, kernel_abi, lock};
pub(crate) use namespaces::probe;

/// A part of the sandbox that the host does not give.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// No namespaces.
    #[error(
        "namespaces of its own ({0}): let users make them (sysctls user.max_user_namespaces, \
         kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or, in a \
         container, give it a seccomp profile that allows unshare and mount"
    )]
    Namespaces(Errno),
    /// A mount namespace, but the host's files are in it.
    #[error("an empty root ({0}): in a container, give it a seccomp profile that allows mount")]
    Root(Errno),
    /// Started as root, and still root.
    #[error("a user of its own ({0}): start the node as a user without rights instead of as root")]
    User(Errno),
    /// Capabilities are left.
    #[error("to give up capabilities ({0})")]
    Capabilities(Errno),
    /// Landlock does not know all that is to be taken away.
    #[error(
        "Landlock with ABI {NEEDED_ABI} (the kernel has {has}): use Linux 6.12 or later, built with \
         Landlock and started with it (landlock in lsm=)"
    )]
    Landlock {
        /// What the kernel has; 0 for no Landlock.
        has: u8,
    },
    /// No filters for system calls.
    #[error("seccomp filters ({0}): use a kernel with CONFIG_SECCOMP_FILTER")]
    Seccomp(String),
}

/// Goes from the host into namespaces of its own, becomes a user of its own where it was root, and
/// gives up every capability.
///
/// As root, namespaces come first and need no user namespace; where root may not make them, and for
/// everybody else, they come with a user namespace, after the change of the user, for which nobody has
/// a right in there.
pub(crate) fn leave_host(
    role: Role,
    policy: &Policy,
    folder: Option<BorrowedFd<'_>>,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    let root = geteuid().is_root();
    let plain = root && namespaces::enter(policy.network).is_ok();
    if plain {
        missing.extend(namespaces::empty_root().err().map(Missing::Root));
    }
    if root {
        let user = user::become_own(role, folder);
        missing.extend(user.err().map(Missing::User));
    }
    if !plain {
        match namespaces::enter_with_user(policy.network) {
            Ok(()) => missing.extend(namespaces::empty_root().err().map(Missing::Root)),
            Err(error) => missing.push(Missing::Namespaces(error)),
        }
    }
    let gone = user::drop_capabilities();
    missing.extend(gone.err().map(Missing::Capabilities));
    missing
}

/// Nobody but root looks into this process, and no core of it is written. After any change of its
/// user, which undoes it.
pub(crate) fn hide() -> Result<(), Errno> {
    prctl::set_dumpable(false)
}
