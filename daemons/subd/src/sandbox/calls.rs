//! seccomp: the system calls that are left.

use std::collections::BTreeMap;

use libc::c_int;
use nix::errno::Errno;
use seccompiler::{
    BackendError, BpfProgram, BpfProgramRef, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::Missing;
use crate::policy::{Arg, Call, Policy, REFUSED, Value};

/// A policy's filters, ready to be installed. The kernel asks all of them and takes the harshest
/// answer.
pub(crate) struct Filters(Vec<BpfProgram>);

/// The filters of a policy: one for each error with which a call is refused, and last the one that
/// ends the process at every call that is in no list.
pub(crate) fn compile(policy: &Policy) -> Result<Filters, Missing> {
    programs(policy)
        .map(Filters)
        .map_err(|error| Missing::Seccomp(error.to_string()))
}

impl Filters {
    /// Installs them. Nothing that is not allowed may be called from the last one on.
    pub(crate) fn install(&self) -> Result<(), Missing> {
        let installed = self.0.iter().try_for_each(|program| install(program));
        installed.map_err(|error| Missing::Seccomp(error.desc().to_owned()))
    }
}

/// Not seccompiler's own, which calls prctl each time: the first filter may forbid it.
#[allow(unsafe_code)]
fn install(program: BpfProgramRef<'_>) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    let set = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program and the instructions that it points at outlive the call, which only reads
    // them; an instruction of seccompiler's has the kernel's layout, as has libc's.
    Errno::result(unsafe { libc::syscall(libc::SYS_seccomp, set, 0, &raw const program) }).map(drop)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn programs(policy: &Policy) -> Result<Vec<BpfProgram>, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut refused: BTreeMap<c_int, Rules> = BTreeMap::new();
    let mut known = Rules::new();
    for (number, error) in REFUSED {
        refused.entry(*error).or_default().insert(*number, vec![]);
        known.insert(*number, vec![]);
    }
    for call in policy.allowed() {
        // A role may add conditions to those under which everybody may call it.
        known.entry(call.number).or_default().extend(rules(call)?);
    }
    let mut programs = Vec::new();
    for (error, rules) in refused {
        let refuse = SeccompAction::Errno(error.cast_unsigned());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
        programs.push(filter.try_into()?);
    }
    let kill = SeccompAction::KillProcess;
    let filter = SeccompFilter::new(known, kill, SeccompAction::Allow, arch)?;
    programs.push(filter.try_into()?);
    Ok(programs)
}

fn rules(call: &Call) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |args: &&[Arg]| {
        let conditions: Result<_, _> = args.iter().map(condition).collect();
        SeccompRule::new(conditions?)
    };
    call.if_any.iter().map(rule).collect()
}

fn condition(arg: &Arg) -> Result<SeccompCondition, BackendError> {
    let value = match arg.value {
        Value::Is(value) => value,
        Value::OwnPid => std::process::id(),
    };
    SeccompCondition::new(
        arg.index,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(arg.mask.into()),
        value.into(),
    )
}
