//! The bit vector itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Numbered bits; bit 0 is the lowest of the last byte (BOLT 9).
///
/// Bytes that came from outside are kept as they came, so that signatures over them can be
/// checked; leading zero bytes make no difference to anything else. What is built here is minimal.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Features(#[serde(with = "serde_bytes")] Vec<u8>);

impl Features {
    /// No bit set.
    #[must_use]
    pub fn new() -> Features {
        Features::default()
    }

    /// Big-endian, as on the wire.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Features {
        Features(bytes.to_vec())
    }

    /// Big-endian, as on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn trimmed(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|b| **b == 0).count();
        self.0.get(zeros..).unwrap_or_default()
    }
}

impl PartialEq for Features {
    fn eq(&self, other: &Features) -> bool {
        self.trimmed() == other.trimmed()
    }
}

impl Eq for Features {}

impl std::hash::Hash for Features {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.trimmed().hash(state);
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.trimmed()))
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({self})")
    }
}
