//! What the kernel says of this process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ipc_transport::hardening::Hardening;
use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

/// The namespaces that a process may have for itself, by their names in `/proc/self/ns`.
const NAMESPACES: [&str; 6] = ["user", "mnt", "net", "ipc", "uts", "cgroup"];

/// How many threads this process has.
pub(crate) fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// `/proc/self`, opened while there is one, and how things were then.
pub(crate) struct Before {
    proc: OwnedFd,
    /// Not read yet, and readable when no file can be opened any more.
    status: File,
    namespaces: Vec<Option<String>>,
}

impl Before {
    pub(crate) fn look() -> io::Result<Before> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = open("/proc/self", flags, Mode::empty())?;
        let status = openat(&proc, "status", OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Before {
            namespaces: namespaces(&proc),
            status: status.into(),
            proc,
        })
    }

    /// The report of the first steps, as far as it can be made before Landlock and seccomp.
    /// `passing` is a descriptor that will be closed.
    pub(crate) fn hardening(&self, passing: Option<RawFd>) -> io::Result<Hardening> {
        let now = namespaces(&self.proc);
        let own = NAMESPACES.into_iter().zip(self.namespaces.iter().zip(now));
        let own = own.filter(|(_, (before, now))| **before != *now && now.is_some());
        let status = openat(&self.proc, "status", OFlag::O_CLOEXEC, Mode::empty())?;
        let status = Status::read(&status.into())?;
        let mut capabilities = 0u64;
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            capabilities |= status.number::<u64>(set, 16)?;
        }
        let limit = |which| getrlimit(which).map(|(_, hard)| hard);
        Ok(Hardening {
            process_name: prctl::get_name()?.to_string_lossy().into_owned(),
            no_new_privs: prctl::get_no_new_privs()?,
            dumpable: prctl::get_dumpable()?,
            core_limit: getrlimit(Resource::RLIMIT_CORE)?.0,
            nofile: limit(Resource::RLIMIT_NOFILE)?,
            nproc: limit(Resource::RLIMIT_NPROC)?,
            fsize: limit(Resource::RLIMIT_FSIZE)?,
            open_fds: self.open_fds(passing)?,
            env_vars: u32::try_from(std::env::vars_os().count()).unwrap_or(u32::MAX),
            parent_death_signal: prctl::get_pdeathsig()?.map_or(0, |signal| signal as i32),
            threads: status.number("Threads", 10)?,
            uid: geteuid().as_raw(),
            capabilities,
            namespaces: own.map(|(name, _)| name.to_owned()).collect(),
            empty_root: fs::read_dir("/").is_ok_and(|mut entries| entries.next().is_none()),
            ..Hardening::default()
        })
    }

    /// The seccomp mode and how many filters there are. Reads what was opened before, nothing else.
    pub(crate) fn seccomp(self) -> io::Result<(u8, u32)> {
        let status = Status::read(&self.status)?;
        let (mode, filters) = (
            status.number("Seccomp", 10)?,
            status.number("Seccomp_filters", 10)?,
        );
        Ok((mode, filters))
    }

    /// The numbers of the open descriptors, sorted.
    pub(crate) fn open_fds(&self, passing: Option<RawFd>) -> io::Result<Vec<RawFd>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut open = Dir::openat(&self.proc, "fd", flags, Mode::empty())?;
        let ours = [
            open.as_raw_fd(),
            self.proc.as_raw_fd(),
            self.status.as_raw_fd(),
        ];
        let mut fds = Vec::new();
        for entry in open.iter() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            fds.extend(name.parse::<RawFd>().ok());
        }
        fds.retain(|fd| !ours.contains(fd) && Some(*fd) != passing);
        fds.sort_unstable();
        Ok(fds)
    }
}

/// The text of `/proc/self/status`.
struct Status(String);

impl Status {
    fn read(mut file: &File) -> io::Result<Status> {
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => text.extend(chunk.iter().take(read)),
            }
        }
        Ok(Status(String::from_utf8_lossy(&text).into_owned()))
    }

    fn number<T: TryFrom<u64>>(&self, name: &'static str, radix: u32) -> io::Result<T> {
        let line = (self.0.lines()).find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.and_then(|value| u64::from_str_radix(value.trim(), radix).ok());
        value
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| io::Error::other(format!("/proc/self/status says nothing of {name}")))
    }
}

fn namespaces(proc: &OwnedFd) -> Vec<Option<String>> {
    let id = |name: &str| {
        let link = readlinkat(proc, format!("ns/{name}").as_str()).ok()?;
        Some(link.to_string_lossy().into_owned())
    };
    NAMESPACES.into_iter().map(id).collect()
}
