//! What the host can give a subdaemon, asked before one is started.

use crate::grant::Mode;
use crate::sandbox::{self, Missing, NEEDED_ABI};

/// What a subdaemon's sandbox would lack if one were started now by this process; empty if nothing.
/// Starts a child for a moment.
pub fn missing_on_this_host() -> Vec<Missing> {
    let mut missing = Vec::new();
    missing.extend(sandbox::probe().err().map(Missing::Namespaces));
    let has = sandbox::kernel_abi();
    if has < NEEDED_ABI {
        missing.push(Missing::Landlock { has });
    }
    if !has_seccomp() {
        missing.push(Missing::Seccomp("not in this kernel".to_owned()));
    }
    missing
}

impl Mode {
    /// All of the sandbox where this host gives all of it.
    pub fn of_this_host() -> Mode {
        match missing_on_this_host().is_empty() {
            true => Mode::Required,
            false => Mode::BestEffort,
        }
    }
}

/// Whether the kernel has the action that ends a process.
#[allow(unsafe_code)]
fn has_seccomp() -> bool {
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    let get = libc::SECCOMP_GET_ACTION_AVAIL;
    // SAFETY: reads one word, which outlives the call.
    let has = unsafe { libc::syscall(libc::SYS_seccomp, get, 0, &raw const action) };
    has == 0
}
