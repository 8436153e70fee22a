//! What a database of an older schema lacks and its records tell: made once, at the first start of a newer
//! version, in one batch. A crash before it is durable leaves the next start the same to do.

use std::collections::HashMap;

use lightningd_db::{Batch, Cf, Db, DbError, Record, SCHEMA};
use serde::{Deserialize, Serialize};

use super::forwards::{Forward, Totals};
use super::invoices::{Highest, Invoice};
use super::payments::{self, Indexes, Part};
use super::wallet::{MinedWalletTx, WalletTx, WalletTxV1};

/// The schema whose records are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BroughtUp(u32);

impl Record for BroughtUp {
    const CF: Cf = Cf::Meta;
    const VERSION: u8 = 1;
    type Key = String;
}

/// The schema that brought the first such records. Since the one after it, forwards have places.
const FIRST: u32 = 4;

fn key() -> String {
    "records/schema".to_owned()
}

/// Brings an older database up; of one that is, reads one record.
///
/// # Errors
/// A record cannot be read, or the database fails.
pub async fn bring_up(db: &Db) -> Result<(), DbError> {
    let found = db.get::<BroughtUp>(&key())?.map_or(0, |BroughtUp(to)| to);
    if found >= SCHEMA {
        return Ok(());
    }
    let mut batch = Batch::new();
    if found < FIRST {
        payments(db, &mut batch)?;
        invoices(db, &mut batch)?;
        wallet_txs(db, &mut batch)?;
    }
    forwards(db, &mut batch)?;
    batch.put(&key(), &BroughtUp(SCHEMA));
    db.commit(batch).await
}

/// Which parts are pending, and the indexes given out.
fn payments(db: &Db, batch: &mut Batch) -> Result<(), DbError> {
    let mut indexes = Indexes::default();
    for row in db.iter::<Part>()? {
        let (_, part) = row?;
        indexes = indexes.with(&part);
        payments::note_pending(batch, &part);
    }
    indexes.put(batch);
    Ok(())
}

/// Until then the indexes were written with deletions alone.
fn invoices(db: &Db, batch: &mut Batch) -> Result<(), DbError> {
    let mut highest = Highest::load(db)?;
    for row in db.iter::<Invoice>()? {
        highest = highest.with(&row?.1);
    }
    highest.put(batch);
    Ok(())
}

/// What they have brought us was added up whenever somebody asked, and their times were all that put them
/// in an order.
fn forwards(db: &Db, batch: &mut Batch) -> Result<(), DbError> {
    let mut totals = Totals::default();
    let (mut offered, mut ended) = (Vec::new(), Vec::new());
    for row in db.iter::<Forward>()? {
        let (key, forward) = row?;
        totals.collected = totals.collected.saturating_add(forward.earned());
        offered.push((forward.received_at, key));
        let at = forward.resolved_at.unwrap_or(forward.received_at);
        ended.extend(forward.end.map(|_| (at, key)));
    }
    offered.sort_unstable();
    ended.sort_unstable();
    let ends = ended.iter().zip(1..).map(|((_, key), place)| (*key, place));
    let ends: HashMap<(u64, u64), u64> = ends.collect();
    for ((_, key), place) in offered.iter().zip(1..) {
        if let Some(mut forward) = db.get::<Forward>(key)? {
            forward.created_index = place;
            forward.updated_index = ends.get(key).copied();
            batch.put(key, &forward);
        }
    }
    totals.created = offered.len() as u64;
    totals.updated = ended.len() as u64;
    totals.put(batch);
    Ok(())
}

/// Those in blocks leave those that are to be broadcast again.
fn wallet_txs(db: &Db, batch: &mut Batch) -> Result<(), DbError> {
    for row in db.iter::<WalletTxV1>()? {
        let (txid, WalletTxV1 { tx, height }) = row?;
        if let Some(height) = height {
            batch.delete::<WalletTx>(&txid);
            batch.put(&(height.0, txid), &MinedWalletTx(tx));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::{Transaction, absolute, transaction};
    use lightningd_db::Identity;
    use wire::ShortChannelId;
    use wire::{BlockHeight, ChannelDbid, MilliSatoshi, NodeId, PaymentHash, Preimage};

    use channel::action::Removal;

    use super::super::forwards::{End, ForwardV2};
    use super::super::payments::{PartStatus, PendingPart};
    use super::*;

    impl Record for ForwardV2 {
        const CF: Cf = Cf::Forwards;
        const VERSION: u8 = 2;
        type Key = (u64, u64);
    }

    fn part(hash: u8, created: u64, updated: Option<u64>, status: PartStatus) -> Part {
        let secp = secp256k1::Secp256k1::signing_only();
        let key = secp256k1::SecretKey::from_slice(&[1; 32]).unwrap();
        Part {
            payment_hash: PaymentHash([hash; 32]),
            groupid: 1,
            partid: 0,
            created_index: created,
            updated_index: updated,
            created_at: 1,
            completed_at: None,
            destination: NodeId(key.public_key(&secp)),
            amount: MilliSatoshi(1000),
            amount_sent: MilliSatoshi(1000),
            channel: ChannelDbid(1),
            secrets: Vec::new(),
            status,
        }
    }

    fn tx(n: u32) -> Transaction {
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::from_consensus(n),
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    fn new_db() -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
            node_id: [2; 33],
            network: "regtest".into(),
            schema: SCHEMA,
        };
        let db = Db::create(&folder.path().join("db"), &identity).unwrap();
        (folder, db)
    }

    fn old(batch: &mut Batch, n: u32, height: Option<u32>) {
        let (tx, height) = (tx(n), height.map(BlockHeight));
        let txid = tx.compute_txid().to_byte_array();
        batch.put(&txid, &WalletTxV1 { tx, height });
    }

    #[tokio::test]
    async fn what_an_older_schema_lacks_is_made_once_of_what_it_has() {
        let (_folder, db) = new_db();
        let preimage = Preimage([7; 32]);
        let mut batch = Batch::new();
        for part in [
            part(1, 4, Some(9), PartStatus::Complete { preimage }),
            part(2, 6, None, PartStatus::Pending),
            part(3, 5, Some(8), PartStatus::Failed { reason: vec![] }),
        ] {
            batch.put(&(part.payment_hash.0, 1, 0), &part);
        }
        old(&mut batch, 1, Some(100));
        old(&mut batch, 2, None);
        old(&mut batch, 3, Some(90));
        for (id, times, end) in [
            (
                1,
                (20, 40),
                Some(End::Removed(Removal::Fulfil { preimage })),
            ),
            (2, (10, 50), Some(End::TimedOut)),
            (3, (15, 0), None),
            (
                4,
                (30, 31),
                Some(End::Removed(Removal::Fulfil { preimage })),
            ),
        ] {
            let forward = ForwardV2 {
                payment_hash: preimage.payment_hash(),
                amount_in: MilliSatoshi(1_007),
                amount_out: MilliSatoshi(1_000),
                scid_out: ShortChannelId(1),
                channel_out: ChannelDbid(2),
                received_at: times.0,
                resolved_at: end.as_ref().map(|_| times.1),
                end,
            };
            batch.put(&(1, id), &forward);
        }
        db.commit(batch).await.unwrap();

        bring_up(&db).await.unwrap();
        let totals = Totals {
            collected: MilliSatoshi(14),
            created: 4,
            updated: 3,
        };
        assert_eq!(Totals::load(&db).unwrap(), totals);
        let places = || -> Vec<_> {
            let forwards = db.scan::<Forward>().unwrap().into_iter();
            let places = forwards.map(|(_, f)| (f.created_index, f.updated_index));
            places.collect()
        };
        let wanted = [(3, Some(2)), (1, Some(3)), (2, None), (4, Some(1))];
        assert_eq!(places(), wanted);
        let pending = payments::pending(&db).unwrap();
        let hashes: Vec<_> = pending.iter().map(|part| part.payment_hash.0[0]).collect();
        assert_eq!(hashes, [2]);
        let (created, updated) = (6, 9);
        assert_eq!(Indexes::load(&db).unwrap(), Indexes { created, updated });
        assert_eq!(super::super::wallet::unconfirmed(&db).unwrap(), [tx(2)]);
        let mined = db.scan::<MinedWalletTx>().unwrap();
        let mined: Vec<_> = mined.into_iter().map(|((at, _), tx)| (at, tx.0)).collect();
        assert_eq!(mined, [(90, tx(3)), (100, tx(1))]);

        // A second start takes what there is as it is.
        let mut batch = Batch::new();
        batch.delete::<PendingPart>(&([2; 32], 1, 0));
        db.commit(batch).await.unwrap();
        bring_up(&db).await.unwrap();
        assert!(payments::pending(&db).unwrap().is_empty());

        // One that has all but the places gets those, and nothing else.
        let mut batch = Batch::new();
        for (key, mut forward) in db.scan::<Forward>().unwrap() {
            (forward.created_index, forward.updated_index) = (0, None);
            batch.put(&key, &forward);
        }
        batch.put(&key(), &BroughtUp(FIRST));
        db.commit(batch).await.unwrap();
        bring_up(&db).await.unwrap();
        assert_eq!(places(), wanted);
        assert_eq!(Totals::load(&db).unwrap(), totals);
        assert!(payments::pending(&db).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_wallets_transaction_follows_the_chain_both_ways_and_goes_when_it_is_buried() {
        use super::super::wallet::{drop_buried, mined, unconfirmed, unmined};
        let (_folder, db) = new_db();
        let write = |make: &dyn Fn(&mut Batch)| {
            let mut batch = Batch::new();
            make(&mut batch);
            db.commit_blocking(batch).unwrap();
        };
        let ours = tx(1);
        write(&|batch| {
            let txid = ours.compute_txid().to_byte_array();
            batch.put(&txid, &WalletTx(ours.clone()));
        });
        let both = [tx(1), tx(2)];
        // Told twice, and of one that is somebody else's.
        for _ in 0..2 {
            write(&|batch| mined(&db, batch, BlockHeight(50), both.iter()).unwrap());
            assert!(unconfirmed(&db).unwrap().is_empty());
            assert_eq!(db.scan::<MinedWalletTx>().unwrap().len(), 1);
        }
        write(&|batch| unmined(&db, batch, BlockHeight(51)).unwrap());
        assert!(unconfirmed(&db).unwrap().is_empty());
        write(&|batch| unmined(&db, batch, BlockHeight(50)).unwrap());
        assert_eq!(unconfirmed(&db).unwrap(), [tx(1)]);
        assert!(db.scan::<MinedWalletTx>().unwrap().is_empty());
        write(&|batch| mined(&db, batch, BlockHeight(60), both.iter()).unwrap());
        write(&|batch| drop_buried(&db, batch, BlockHeight(60 + 2015)).unwrap());
        assert_eq!(db.scan::<MinedWalletTx>().unwrap().len(), 1);
        write(&|batch| drop_buried(&db, batch, BlockHeight(60 + 2016)).unwrap());
        assert!(db.scan::<MinedWalletTx>().unwrap().is_empty());
    }
}
