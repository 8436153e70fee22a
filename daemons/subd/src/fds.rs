//! The descriptors that a subdaemon was given.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Hardening;

/// A descriptor that the daemon needs is not in its manifest, or was taken before.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parent gave no descriptor `{0}`")]
pub struct MissingFd(pub String);

/// What [`crate::run`] hands over: the descriptors of the manifest by name, all close-on-exec, and
/// the report of the first steps. What is not taken is closed when this is dropped.
#[derive(Debug)]
pub struct Fds {
    pub(crate) by_name: BTreeMap<String, OwnedFd>,
    pub(crate) hardening: Hardening,
}

impl Fds {
    /// Takes the descriptor of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&mut self, name: &str) -> Result<OwnedFd, MissingFd> {
        self.by_name
            .remove(name)
            .ok_or_else(|| MissingFd(name.to_owned()))
    }

    /// The descriptor of this name, for as long as it is not taken.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<BorrowedFd<'_>, MissingFd> {
        let fd = self.by_name.get(name).map(AsFd::as_fd);
        fd.ok_or_else(|| MissingFd(name.to_owned()))
    }

    /// The names of those not taken yet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// What the kernel says of this process, for lightningd.
    pub fn hardening(&self) -> &Hardening {
        &self.hardening
    }
}
