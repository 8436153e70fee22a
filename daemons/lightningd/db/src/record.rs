//! A record's value: one byte that says in which version it was written, then its encoding.

use ipc_transport::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cf::Cf;
use crate::error::DbError;
use crate::key::Key;

/// Something that is kept. Change its fields only together with `VERSION` and `migrate`.
pub trait Record: Serialize + DeserializeOwned {
    const CF: Cf;
    const VERSION: u8;
    type Key: Key;

    /// Reads what an older version wrote (the bytes after the version byte). The next `put`
    /// writes the newest version.
    ///
    /// # Errors
    /// Not a version that ever was, or not its encoding.
    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, NotReadable> {
        let _ = bytes;
        Err(NotReadable(format!("there was never a version {version}")))
    }
}

/// Why a value is not the record it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReadable(pub String);

impl NotReadable {
    /// Decodes the fields of an older version.
    ///
    /// # Errors
    /// They are not there.
    pub fn or_decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotReadable> {
        codec::decode(bytes).map_err(|e| NotReadable(e.to_string()))
    }
}

pub(crate) fn encode<R: Record>(record: &R) -> Result<Vec<u8>, DbError> {
    let fields = codec::encode(record).map_err(|e| DbError::Unwritable {
        cf: R::CF,
        detail: e.to_string(),
    })?;
    let mut bytes = Vec::with_capacity(1 + fields.len());
    bytes.push(R::VERSION);
    bytes.extend_from_slice(&fields);
    Ok(bytes)
}

pub(crate) fn decode<R: Record>(key: &[u8], value: &[u8]) -> Result<R, DbError> {
    let (version, fields) = match value.split_first() {
        Some((version, fields)) => (*version, fields),
        None => return Err(unreadable(R::CF, key, "it is empty")),
    };
    if version > R::VERSION {
        return Err(DbError::NewerRecord {
            cf: R::CF,
            found: version,
            known: R::VERSION,
        });
    }
    if version < R::VERSION {
        return R::migrate(version, fields).map_err(|e| unreadable(R::CF, key, e));
    }
    codec::decode(fields).map_err(|e| unreadable(R::CF, key, e))
}

pub(crate) fn decode_key<R: Record>(key: &[u8]) -> Result<R::Key, DbError> {
    R::Key::from_bytes(key).ok_or_else(|| unreadable(R::CF, key, "its key is malformed"))
}

/// `detail` never contains the value: it may be a secret.
pub(crate) fn unreadable(cf: Cf, key: &[u8], detail: impl ToString) -> DbError {
    let mut shown: String = key
        .iter()
        .take(80)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if shown.is_empty() {
        shown.push_str("(empty key)");
    }
    DbError::Unreadable {
        cf,
        key: shown,
        detail: detail.to_string(),
    }
}
