//! What a parent grants one subdaemon beyond the policy of its role, and how much of the sandbox it
//! insists on.

use std::fmt;

/// What to do where the host does not give all of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Do not run.
    Required,
    /// Run without what is missing, and name it.
    BestEffort,
}

/// The TCP ports that it may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// None.
    Nowhere,
    /// This one.
    Only(u16),
    /// Every port but this one.
    AllBut(u16),
}

/// A parent's word about one subdaemon's sandbox. Ports are of use to a role that has the host's
/// network, and to no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How much of it must be there.
    pub mode: Mode,
    /// Where it may connect to.
    pub connect: Connect,
    /// The ports that it may listen on.
    pub bind: Vec<u16>,
}

/// The most ports that a subdaemon listens on.
pub(crate) const MAX_BIND: usize = 64;

impl Grant {
    /// No port at all.
    pub fn no_network(mode: Mode) -> Grant {
        Grant {
            mode,
            connect: Connect::Nowhere,
            bind: Vec::new(),
        }
    }
}

impl Mode {
    /// As an option's value.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Required => "required",
            Mode::BestEffort => "best-effort",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Option<Mode> {
        [Mode::Required, Mode::BestEffort]
            .into_iter()
            .find(|mode| mode.name() == name)
    }
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Connect::Nowhere => f.write_str("none"),
            Connect::Only(port) => write!(f, "only:{port}"),
            Connect::AllBut(port) => write!(f, "all-but:{port}"),
        }
    }
}

impl Connect {
    pub(crate) fn parse(text: &str) -> Option<Connect> {
        match text.split_once(':') {
            None if text == "none" => Some(Connect::Nowhere),
            Some(("only", port)) => Some(Connect::Only(port.parse().ok()?)),
            Some(("all-but", port)) => Some(Connect::AllBut(port.parse().ok()?)),
            Some(_) | None => None,
        }
    }
}
