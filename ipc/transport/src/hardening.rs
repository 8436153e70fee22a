//! What a daemon has done to itself before it began to serve, as it tells lightningd.

use serde::{Deserialize, Serialize};

/// The state of a process as its kernel reports it, read back after the first steps and not taken
/// from what they meant to do. What is not here has not been done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardening {
    /// The process's name, at most 15 bytes.
    pub process_name: String,
    /// `PR_GET_NO_NEW_PRIVS`: no program that it starts can gain rights.
    pub no_new_privs: bool,
    /// `PR_GET_DUMPABLE`: another process of the same user may read its memory.
    pub dumpable: bool,
    /// The soft limit of core dumps, in bytes.
    pub core_limit: u64,
    /// The hard limit of open files.
    pub nofile: u64,
    /// The hard limit of its user's processes and threads.
    pub nproc: u64,
    /// The hard limit of what it writes to a file, in bytes.
    pub fsize: u64,
    /// The open file descriptors, sorted: 0, 1, 2, those of the manifest, and what the daemon has
    /// opened before it was locked in.
    pub open_fds: Vec<i32>,
    /// How many variables its environment has.
    pub env_vars: u32,
    /// `PR_GET_PDEATHSIG`: the signal it gets when its parent dies, 9 for SIGKILL, 0 for none.
    pub parent_death_signal: i32,
    /// The threads it had then.
    pub threads: u32,
    /// The user as whom it acts.
    pub uid: u32,
    /// The capabilities that it has or could have, as in `/proc/self/status`: effective, permitted,
    /// inheritable and ambient together.
    pub capabilities: u64,
    /// The namespaces that it does not share with its parent, by their names in `/proc/self/ns`.
    pub namespaces: Vec<String>,
    /// Its root is an empty folder.
    pub empty_root: bool,
    /// The Landlock ABI whose rights are all taken away, but those of its policy; 0 for none.
    pub landlock: u8,
    /// The seccomp mode, as in `/proc/self/status`: 0 for none, 2 for a filter.
    pub seccomp: u8,
    /// The seccomp filters, one behind the other.
    pub seccomp_filters: u32,
    /// What the host did not give, each with the reason.
    pub missing: Vec<String>,
}

/// What a daemon says once, in a pipe of its own, before it reads anything from anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Locked in, and about to read its first message.
    Ready(Box<Hardening>),
    /// A first step failed, and it has ended.
    Failed(String),
}
