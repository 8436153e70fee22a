//! Coins and the addresses that they may come to.

use bitcoin::hashes::Hash;
use bitcoin::{ScriptBuf, Transaction};
use lightningd_db::{Batch, Cf, Db, DbError, NotReadable, Record};
use lightningd_wallet::{SPENT_KEPT, Utxo};
use serde::{Deserialize, Serialize};
use wire::BlockHeight;

/// A coin, ours or once ours; key: txid (wire order) and output index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coin(pub Utxo);

impl Record for Coin {
    const CF: Cf = Cf::WalletUtxos;
    const VERSION: u8 = 1;
    type Key = ([u8; 32], u32);
}

/// An address index that hsmd handed out, with both its scripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Address {
    pub p2wpkh: ScriptBuf,
    pub p2tr: ScriptBuf,
}

impl Record for Address {
    const CF: Cf = Cf::WalletAddresses;
    const VERSION: u8 = 1;
    type Key = u32;
}

/// A transaction of ours that is in no block, to be broadcast again; key: txid (wire order).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalletTx(pub Transaction);

impl Record for WalletTx {
    const CF: Cf = Cf::WalletTxs;
    const VERSION: u8 = 2;
    type Key = [u8; 32];

    /// Version 1 held those in blocks, too.
    fn migrate(version: u8, bytes: &[u8]) -> Result<WalletTx, NotReadable> {
        match version {
            1 => NotReadable::or_decode::<WalletTxV1>(bytes).map(|old| WalletTx(old.tx)),
            other => Err(NotReadable(format!("there was never a version {other}"))),
        }
    }
}

/// A transaction of ours as the first version had it. The next schema has none of these that is in a
/// block ([`super::upgrade`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalletTxV1 {
    pub tx: Transaction,
    /// `None` until it is in a block.
    pub height: Option<BlockHeight>,
}

impl Record for WalletTxV1 {
    const CF: Cf = Cf::WalletTxs;
    const VERSION: u8 = 1;
    type Key = [u8; 32];
}

/// A transaction of ours in a block that may be taken out of the chain again, or one that cannot be in a block
/// because of that one; key: height and txid (wire order).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinedWalletTx(pub Transaction);

impl Record for MinedWalletTx {
    const CF: Cf = Cf::MinedWalletTxs;
    const VERSION: u8 = 1;
    type Key = (u32, [u8; 32]);
}

/// Transactions of ours that are in no block.
///
/// # Errors
/// A record that cannot be read.
pub fn unconfirmed(db: &Db) -> Result<Vec<Transaction>, DbError> {
    let all = db.scan::<WalletTx>()?.into_iter();
    Ok(all.map(|(_, sent)| sent.0).collect())
}

/// `txs` of the block at `height`: those of ours need no broadcasting any more.
///
/// # Errors
/// A record that cannot be read.
pub fn mined<'a>(
    db: &Db,
    batch: &mut Batch,
    height: BlockHeight,
    txs: impl Iterator<Item = &'a Transaction>,
) -> Result<(), DbError> {
    for tx in txs {
        let txid = tx.compute_txid().to_byte_array();
        if let Some(sent) = db.get::<WalletTx>(&txid)? {
            settled(batch, height, sent.0);
        }
    }
    Ok(())
}

/// The block at `height` has it, or another that spends its coins.
pub fn settled(batch: &mut Batch, height: BlockHeight, tx: Transaction) {
    let txid = tx.compute_txid().to_byte_array();
    batch.delete::<WalletTx>(&txid);
    batch.put(&(height.0, txid), &MinedWalletTx(tx));
}

/// A reorganization took the block at `height` out: what of ours was in it is in none again, and what was not
/// because of it may be.
///
/// # Errors
/// A record that cannot be read.
pub fn unmined(db: &Db, batch: &mut Batch, height: BlockHeight) -> Result<(), DbError> {
    for ((_, txid), mined) in db.scan_prefix::<MinedWalletTx>(&height.0)? {
        batch.put(&txid, &WalletTx(mined.0));
    }
    batch.delete_prefix::<MinedWalletTx>(&height.0);
    Ok(())
}

/// Drops what is so deep below `tip` that no reorganization will undo it. Reads no further than that.
///
/// # Errors
/// A record that cannot be read.
pub fn drop_buried(db: &Db, batch: &mut Batch, tip: BlockHeight) -> Result<(), DbError> {
    for row in db.iter::<MinedWalletTx>()? {
        let (key, _) = row?;
        if tip.0 < key.0.saturating_add(SPENT_KEPT) {
            break;
        }
        batch.delete::<MinedWalletTx>(&key);
    }
    Ok(())
}
