//! What the kernel says of this process.

use std::fs;
use std::io;
use std::os::fd::RawFd;

use ipc_transport::hardening::Hardening;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};

/// The report of the first steps.
pub(crate) fn hardening() -> io::Result<Hardening> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &'static str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).ok_or_else(|| no_field(name))
    };
    Ok(Hardening {
        process_name: prctl::get_name()?.to_string_lossy().into_owned(),
        no_new_privs: prctl::get_no_new_privs()?,
        dumpable: prctl::get_dumpable()?,
        core_limit: getrlimit(Resource::RLIMIT_CORE)?.0,
        nofile: getrlimit(Resource::RLIMIT_NOFILE)?.1,
        open_fds: open_fds()?,
        env_vars: u32::try_from(std::env::vars_os().count()).unwrap_or(u32::MAX),
        parent_death_signal: prctl::get_pdeathsig()?.map_or(0, |signal| signal as i32),
        threads: field("Threads")?.parse().map_err(|_| no_field("Threads"))?,
        capabilities: u64::from_str_radix(field("CapEff")?, 16).map_err(|_| no_field("CapEff"))?,
        seccomp: field("Seccomp")?.parse().map_err(|_| no_field("Seccomp"))?,
    })
}

fn no_field(name: &'static str) -> io::Error {
    io::Error::other(format!("/proc/self/status says nothing of {name}"))
}

/// How many threads this process has.
pub(crate) fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// The numbers of the open descriptors, sorted.
fn open_fds() -> io::Result<Vec<RawFd>> {
    let mut fds = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        fds.extend(name.to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    // The one that the directory was read through is closed again: it no longer has a link.
    fds.retain(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    fds.sort_unstable();
    Ok(fds)
}
