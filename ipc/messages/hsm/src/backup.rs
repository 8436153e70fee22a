//! BACKUP: what lightningd keeps to recover from, in a file and with peers. What is in it is lightningd's
//! business; that nobody else reads it, and that it comes back as it was, is hsmd's.

use serde::{Deserialize, Serialize};

use super::Refused;

/// What is to be recovered from, readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plain(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// The same, sealed: from wherever it was kept, by whomever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(#[serde(with = "serde_bytes")] pub Vec<u8>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: none; what Core Lightning has in `emergency.recover`, under the same key.
    Seal(Plain),
    /// Effect: none; what was sealed.
    /// Refused if: it was not sealed under this seed, or was changed since (R2).
    Open(Sealed),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Sealed(Sealed),
    Opened(Plain),
    Refused(Refused),
}
