//! Landlock: which files and TCP ports are left, and nobody outside to send a signal to or to connect
//! to by an abstract address.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

use super::Missing;
use crate::grant::{Connect, Grant};
use crate::policy::{Network, Policy};

/// The ABI whose rights are all taken away: files with 3, TCP ports with 4, ioctls with 5, signals and
/// abstract sockets with 6.
const ABI_TAKEN: ABI = ABI::V6;
/// Its number.
pub(crate) const NEEDED_ABI: u8 = 6;

/// What is left of a folder: regular files, to read, write, make, replace and remove.
fn work_in_folder() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | MakeReg | RemoveFile})
}

/// Takes away all but what the policy and the grant say. Gives the ABI that is in force.
pub(crate) fn lock(
    policy: &Policy,
    grant: &Grant,
    folder: Option<BorrowedFd<'_>>,
) -> (u8, Option<Missing>) {
    let has = kernel_abi();
    let enforced = has.min(NEEDED_ABI);
    match restrict(policy, grant, folder) {
        Ok(()) if enforced == NEEDED_ABI => (enforced, None),
        Ok(()) => (enforced, Some(Missing::Landlock { has })),
        Err(_) => (0, Some(Missing::Landlock { has })),
    }
}

fn restrict(
    policy: &Policy,
    grant: &Grant,
    folder: Option<BorrowedFd<'_>>,
) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI_TAKEN))?
        .handle_access(AccessNet::from_all(ABI_TAKEN))?
        .scope(Scope::from_all(ABI_TAKEN))?
        .create()?;
    if let Some(folder) = folder {
        rules = rules.add_rule(PathBeneath::new(folder, work_in_folder()))?;
    }
    rules = match policy.network {
        Network::Own => rules,
        Network::Hosts => ports(rules, grant)?,
    };
    rules.restrict_self().map(drop)
}

fn ports(mut rules: RulesetCreated, grant: &Grant) -> Result<RulesetCreated, RulesetError> {
    for port in &grant.bind {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    match grant.connect {
        Connect::Nowhere => {}
        Connect::Only(port) => {
            rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
        // Landlock knows no exceptions: a rule for each of the others, some 20 ms at the start.
        Connect::AllBut(but) => {
            for port in (1..=u16::MAX).filter(|port| *port != but) {
                rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
            }
        }
    }
    Ok(rules)
}

/// The kernel's Landlock ABI; 0 if it has none, or none that was started with it.
#[allow(unsafe_code)]
pub(crate) fn kernel_abi() -> u8 {
    const VERSION: libc::c_ulong = 1;
    let none: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag no attributes are read, and a number comes back, not a descriptor.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) };
    u8::try_from(abi).unwrap_or(0)
}
