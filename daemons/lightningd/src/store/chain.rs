//! The blocks that were processed, for finding the fork after a reorg.

use bitcoin::BlockHash;
use lightningd_db::{Batch, Cf, Db, DbError, Record};
use serde::{Deserialize, Serialize};
use wire::BlockHeight;

/// How many blocks back a reorg may go.
pub const KEPT_BLOCKS: u32 = 100;

/// A processed block; the key is its height.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub hash: BlockHash,
}

impl Record for Block {
    const CF: Cf = Cf::Chain;
    const VERSION: u8 = 1;
    type Key = u32;
}

/// Newest first.
///
/// # Errors
/// A record that cannot be read.
pub fn known(db: &Db) -> Result<Vec<(BlockHeight, BlockHash)>, DbError> {
    db.iter_back::<Block>()?
        .map(|item| item.map(|(height, block)| (BlockHeight(height), block.hash)))
        .collect()
}

/// Adds a block and drops the one that is too deep to matter.
pub fn connect(batch: &mut Batch, height: BlockHeight, hash: BlockHash) {
    batch.put(&height.0, &Block { hash });
    if let Some(old) = height.0.checked_sub(KEPT_BLOCKS) {
        batch.delete::<Block>(&old);
    }
}

pub fn disconnect(batch: &mut Batch, height: BlockHeight) {
    batch.delete::<Block>(&height.0);
}
