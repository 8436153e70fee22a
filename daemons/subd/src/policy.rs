//! What each role may ask of the kernel. One file for each role, one entry for each system call,
//! with its reason; `every` has those that all of them need, `tcp` those of two.
//!
//! A call that is in no list ends the process with SIGSYS: no daemon makes it, so whoever makes it is
//! somebody else. A call that a library may try and can do without is refused with an error instead.

mod chaind;
mod channeld;
mod connectd;
mod every;
mod hsmd;
mod onchaind;
mod payd;
mod tcp;

use libc::{c_int, c_long};

use crate::role::Role;

/// What a role may do once it is locked in.
#[derive(Debug)]
pub(crate) struct Policy {
    /// The descriptor of the one folder whose files it uses. A role without one opens no file.
    pub folder: Option<&'static str>,
    pub network: Network,
    /// RLIMIT_NOFILE, if its parent may have as many.
    pub open_files: u64,
    /// RLIMIT_FSIZE, in bytes.
    pub file_size: u64,
    /// The calls that it makes, list by list.
    pub calls: &'static [&'static [Call]],
}

/// Which network it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// An empty one of its own.
    Own,
    /// The host's, through the TCP ports that its parent grants.
    Hosts,
}

/// A system call that is allowed.
#[derive(Debug)]
pub(crate) struct Call {
    pub number: c_long,
    /// Allowed if all conditions of any of these hold; always, if there is none.
    pub if_any: &'static [&'static [Arg]],
}

/// A condition on one argument: its lower 32 bits, as far as `mask` says, are `value`.
#[derive(Debug)]
pub(crate) struct Arg {
    pub index: u8,
    pub mask: u32,
    pub value: Value,
}

/// What an argument is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Is(u32),
    OwnPid,
}

/// A call that is allowed whatever its arguments are.
const fn call(number: c_long) -> Call {
    call_if(number, &[])
}

const fn call_if(number: c_long, if_any: &'static [&'static [Arg]]) -> Call {
    Call { number, if_any }
}

/// The argument is this number.
const fn is(index: u8, value: c_int) -> Arg {
    masked(index, c_int::MIN | c_int::MAX, value)
}

/// None of these bits is set in the argument.
const fn has_none(index: u8, bits: c_int) -> Arg {
    masked(index, bits, 0)
}

/// The argument's bits under the mask are these.
const fn masked(index: u8, mask: c_int, value: c_int) -> Arg {
    Arg {
        index,
        mask: mask.cast_unsigned(),
        value: Value::Is(value.cast_unsigned()),
    }
}

const fn is_own_pid(index: u8) -> Arg {
    Arg {
        index,
        mask: u32::MAX,
        value: Value::OwnPid,
    }
}

impl Policy {
    pub(crate) fn of(role: Role) -> &'static Policy {
        match role {
            Role::Hsmd => &hsmd::POLICY,
            Role::Connectd => &connectd::POLICY,
            Role::Channeld => &channeld::POLICY,
            Role::Onchaind => &onchaind::POLICY,
            Role::Chaind => &chaind::POLICY,
            Role::Payd => &payd::POLICY,
        }
    }

    /// Everything that it may call.
    pub(crate) fn allowed(&self) -> impl Iterator<Item = &'static Call> {
        self.calls.iter().copied().flatten()
    }
}

/// Calls that are refused with an error and do not end the process.
pub(crate) const REFUSED: &[(c_long, c_int)] = every::REFUSED;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_call_stands_twice_only_to_add_conditions() {
        for role in Role::ALL {
            let mut seen = BTreeSet::new();
            for call in Policy::of(role).allowed() {
                let twice = !seen.insert(call.number);
                let same = |other: &&Call| other.number == call.number;
                let mut all = Policy::of(role).allowed().filter(same);
                let conditional = all.all(|call| !call.if_any.is_empty());
                assert!(!twice || conditional, "{role}: {}", call.number);
            }
            for (number, _) in REFUSED {
                assert!(seen.insert(*number), "{role}: {number} is refused too");
            }
        }
    }

    #[test]
    fn only_who_speaks_with_the_outside_makes_sockets_of_the_internet() {
        for role in Role::ALL {
            let policy = Policy::of(role);
            let network = policy.network == Network::Hosts;
            let has = |number| policy.allowed().any(|call| call.number == number);
            assert_eq!(has(libc::SYS_socket), network, "{role}");
            assert_eq!(has(libc::SYS_connect), network, "{role}");
            assert_eq!(has(libc::SYS_openat), policy.folder.is_some(), "{role}");
        }
    }

    #[test]
    fn no_role_may_run_a_program_or_look_into_another_process() {
        for role in Role::ALL {
            for number in [
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_clone,
                libc::SYS_clone3,
                libc::SYS_ptrace,
                libc::SYS_process_vm_readv,
                libc::SYS_pidfd_getfd,
                libc::SYS_bpf,
                libc::SYS_io_uring_setup,
                libc::SYS_mount,
                libc::SYS_unshare,
                libc::SYS_seccomp,
            ] {
                let allowed = Policy::of(role).allowed().any(|call| call.number == number);
                assert!(!allowed, "{role}: {number}");
            }
        }
    }
}
