//! Coins and the addresses that they may come to.

use bitcoin::ScriptBuf;
use lightningd_db::{Cf, Db, DbError, Record};
use lightningd_wallet::Utxo;
use serde::{Deserialize, Serialize};

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

/// A transaction of ours that is not yet in a block, to be broadcast again; key: txid (wire order).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalletTx {
    pub tx: bitcoin::Transaction,
    /// `None` until it is in a block.
    pub height: Option<wire::BlockHeight>,
}

impl Record for WalletTx {
    const CF: Cf = Cf::WalletTxs;
    const VERSION: u8 = 1;
    type Key = [u8; 32];
}

/// Transactions of ours that are in no block.
///
/// # Errors
/// A record that cannot be read.
pub fn unconfirmed(db: &Db) -> Result<Vec<WalletTx>, DbError> {
    let all = db.scan::<WalletTx>()?.into_iter().map(|(_, sent)| sent);
    Ok(all.filter(|sent| sent.height.is_none()).collect())
}
