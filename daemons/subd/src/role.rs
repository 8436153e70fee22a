//! The kinds of subdaemon.

use std::ffi::CStr;
use std::fmt;

/// What a subdaemon is. Its name is that of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Holds every key.
    Hsmd,
    /// Speaks with peers.
    Connectd,
    /// Runs one channel.
    Channeld,
    /// Claims what a spent funding output left.
    Onchaind,
    /// Speaks with the chain backend.
    Chaind,
    /// Finds routes.
    Payd,
    /// Keeps the gossip store.
    Gossipd,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 7] = [
        Role::Hsmd,
        Role::Connectd,
        Role::Channeld,
        Role::Onchaind,
        Role::Chaind,
        Role::Payd,
        Role::Gossipd,
    ];

    /// The process's name.
    pub fn name(self) -> &'static str {
        // The names below are ASCII.
        self.c_name().to_str().unwrap_or_default()
    }

    pub(crate) fn c_name(self) -> &'static CStr {
        match self {
            Role::Hsmd => c"hsmd",
            Role::Connectd => c"connectd",
            Role::Channeld => c"channeld",
            Role::Onchaind => c"onchaind",
            Role::Chaind => c"chaind",
            Role::Payd => c"payd",
            Role::Gossipd => c"gossipd",
        }
    }

    /// The most files that it may have open (RLIMIT_NOFILE), if its parent may have as many.
    pub fn max_open_files(self) -> u64 {
        match self {
            // A socket for each role of each channel.
            Role::Hsmd => 1 << 16,
            // A TCP socket for each peer, a socket for each channel.
            Role::Connectd => 1 << 16,
            // Their edges, and one more that arrives before one is closed.
            Role::Channeld | Role::Onchaind => 32,
            // A runtime's own and a few connections or files.
            Role::Chaind | Role::Payd | Role::Gossipd => 256,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
