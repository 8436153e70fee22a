//! Whose database it is.

use serde::{Deserialize, Serialize};

use crate::cf::Cf;
use crate::record::Record;

/// The schema that this version writes: the column families and what is in them as a whole. One
/// record's fields have a version of their own; where records of a new one are written at the first start, that
/// is a new schema too, so that an older version does not begin with what it cannot read.
pub const SCHEMA: u32 = 5;

/// Written when the database is created and compared whenever it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node's compressed public key: a fingerprint of its seed.
    pub node_id: [u8; 33],
    /// `bitcoin`, `testnet`, `signet`, `regtest`.
    pub network: String,
    /// [`SCHEMA`].
    pub schema: u32,
}

impl Identity {
    pub(crate) fn shown(&self) -> String {
        self.node_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// The identity as it is kept, under `db/identity` in `meta`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    node_id: Vec<u8>,
    network: String,
    schema: u32,
}

impl Stored {
    pub(crate) fn key() -> String {
        "db/identity".into()
    }
}

impl Record for Stored {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
}

impl From<&Identity> for Stored {
    fn from(identity: &Identity) -> Stored {
        Stored {
            node_id: identity.node_id.to_vec(),
            network: identity.network.clone(),
            schema: identity.schema,
        }
    }
}

impl TryFrom<Stored> for Identity {
    type Error = Vec<u8>;

    fn try_from(stored: Stored) -> Result<Identity, Vec<u8>> {
        Ok(Identity {
            node_id: stored.node_id.try_into()?,
            network: stored.network,
            schema: stored.schema,
        })
    }
}

/// How many batches were applied, under `db/sequence` in `meta`. Each batch counts itself, so that
/// after a crash the number says how far the write-ahead log reached.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sequence(pub u64);

impl Sequence {
    pub(crate) fn key() -> String {
        "db/sequence".into()
    }
}

impl Record for Sequence {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
}

/// What the stamp gave for the last batch that it had something new for, under `db/stamp` in `meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamped(pub Vec<u8>);

impl Stamped {
    pub(crate) fn key() -> String {
        "db/stamp".into()
    }
}

impl Record for Stamped {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
}
