//! What the owner says that a payment or an output was for. Kept in the datastore, under the names that
//! Core Lightning's bookkeeper uses: `bookkeeper/description/payment/HASH` and `.../utxo/TXID:N`.

use std::collections::BTreeMap;

use bitcoin::OutPoint;
use lightningd_db::{Batch, Cf, Db, DbError, Path, Record};
use serde::{Deserialize, Serialize};
use wire::PaymentHash;

/// An entry of the datastore; key: its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How often it was replaced.
    generation: u64,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

impl Record for Entry {
    const CF: Cf = Cf::Datastore;
    const VERSION: u8 = 1;
    type Key = Path;
}

/// What is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Payment(PaymentHash),
    Output(OutPoint),
}

impl Of {
    fn path(self) -> Path {
        let (kind, name) = match self {
            Of::Payment(hash) => ("payment", hash.to_string()),
            Of::Output(outpoint) => ("utxo", outpoint.to_string()),
        };
        Path::new(["bookkeeper", "description", kind, &name])
    }
}

/// Adds to `batch` what the owner says of `of`, over what was said before.
///
/// # Errors
/// A record that cannot be read.
pub fn set(db: &Db, batch: &mut Batch, of: Of, text: &str) -> Result<(), DbError> {
    let path = of.path();
    let generation = match db.get::<Entry>(&path)? {
        Some(there) => there.generation.saturating_add(1),
        None => 0,
    };
    let data = text.as_bytes().to_vec();
    batch.put(&path, &Entry { generation, data });
    Ok(())
}

/// All that the owner has said.
#[derive(Debug, Default)]
pub struct Descriptions(BTreeMap<Path, String>);

impl Descriptions {
    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db) -> Result<Descriptions, DbError> {
        let all = db.scan_prefix::<Entry>(&Path::new(["bookkeeper", "description"]))?;
        let text = |entry: Entry| String::from_utf8_lossy(&entry.data).into_owned();
        let all = all.into_iter().map(|(path, entry)| (path, text(entry)));
        Ok(Descriptions(all.collect()))
    }

    #[must_use]
    pub fn of(&self, of: Of) -> Option<String> {
        self.0.get(&of.path()).cloned()
    }
}
