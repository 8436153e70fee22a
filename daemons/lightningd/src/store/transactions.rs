//! Transactions in blocks that paid or spent something of the wallet's or of a channel's, for good
//! (`listtransactions`).

use bitcoin::Transaction;
use lightningd_db::{Batch, Cf, Record};
use serde::{Deserialize, Serialize};
use wire::BlockHeight;

/// Key: height and place in the block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mined(pub Transaction);

impl Record for Mined {
    const CF: Cf = Cf::Transactions;
    const VERSION: u8 = 1;
    type Key = (u32, u32);
}

/// `txs` with their places, of the block at `height`.
pub fn connect(batch: &mut Batch, height: BlockHeight, txs: &[(u32, Transaction)]) {
    for (index, tx) in txs {
        batch.put(&(height.0, *index), &Mined(tx.clone()));
    }
}

/// A reorganization took the block out.
pub fn disconnect(batch: &mut Batch, height: BlockHeight) {
    batch.delete_prefix::<Mined>(&height.0);
}
