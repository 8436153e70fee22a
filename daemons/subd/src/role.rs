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
    /// Resolves one spent channel.
    Onchaind,
    /// Speaks with the chain backend.
    Chaind,
    /// Finds routes.
    Payd,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [
        Role::Hsmd,
        Role::Connectd,
        Role::Channeld,
        Role::Onchaind,
        Role::Chaind,
        Role::Payd,
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
        }
    }

    /// The number of the user as whom it runs where the node was started as root. No entry in
    /// /etc/passwd is needed; the numbers are of a range that no system hands out (above those of
    /// packages and people, below those of services made on the fly) and that a container has.
    pub(crate) fn own_user(self) -> u32 {
        match self {
            Role::Hsmd => 60_701,
            Role::Connectd => 60_702,
            Role::Channeld => 60_703,
            Role::Chaind => 60_704,
            Role::Payd => 60_705,
            Role::Onchaind => 60_706,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
