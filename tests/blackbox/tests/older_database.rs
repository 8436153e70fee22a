//! Rule B2 where the newest database is lost: the owner confirms the older copy, and the channel that has changed
//! since ends with the newest commitment, which the peer has. And a database that another version wrote: an older
//! one's is brought up in the middle of a payment, a newer one's refused.

use blackbox::folder::copy;
use blackbox::node::settled;
use blackbox::{Network, Node, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn pay(network: &Network, label: &str) {
    let invoice = network.nodes[1].invoice(50_000_000, label).unwrap();
    network.nodes[0].pay(&invoice.bolt11).unwrap();
}

#[test]
fn b2_an_older_database_that_its_owner_confirms_ends_its_channel_with_the_newest_commitment() {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    let database = network.nodes[0].network_dir().join("db");
    let old = database.with_file_name("db.old");
    pay(&network, "before");
    network.nodes[0].stop().unwrap();
    copy(&database, &old).unwrap();
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    for n in 0..3 {
        pay(&network, &format!("after {n}"));
    }
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let channels = network.nodes[0].rpc("listpeerchannels", json!({})).unwrap();
    let ours = channels["channels"][0]["to_us_msat"].as_u64().unwrap() / 1000;
    network.nodes[0].stop().unwrap();
    fs::remove_dir_all(&database).unwrap();
    fs::rename(&old, &database).unwrap();

    // It is refused as ever, with what the owner can do.
    let words = network.nodes[0].launch_refused().unwrap().words;
    assert!(words.contains("--await-recovery"), "{words}");
    network.nodes[0].launch_and_confirm_recovery().unwrap();

    let channels = network.nodes[0].rpc("listpeerchannels", json!({})).unwrap();
    assert_eq!(channels["channels"][0]["lost_state"], json!(true));
    let closed = network.bitcoind.wait_for_mempool(1).unwrap();
    let tx = network.bitcoind.transaction(&closed[0]).unwrap();
    let outputs = tx["vout"].as_array().unwrap();
    let values = outputs
        .iter()
        .map(|output| (output["value"].as_f64().unwrap() * 1e8).round() as u64);
    // Three payments less than what the old state says; the fee and the anchors come from the opener.
    let values: Vec<u64> = values.collect();
    assert!(
        values.iter().any(|value| value.abs_diff(ours) < 20_000),
        "{ours} in none of {values:?}"
    );
    // Our side broadcasts nothing of its own, even when asked to.
    let peer = network.nodes[1].id().unwrap();
    let close = network.nodes[0].rpc("close", json!({ "id": peer }));
    assert!(close.is_err(), "{close:?}");
    assert_eq!(network.bitcoind.mempool().unwrap(), closed);
}

/// All of a column family, by RocksDB itself.
fn rows(db: &rocksdb::DB, cf: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let handle = db.cf_handle(cf).unwrap();
    let all = db.iterator_cf(handle, rocksdb::IteratorMode::Start);
    all.map(|row| row.unwrap())
        .map(|(key, value)| (key.into_vec(), value.into_vec()))
        .collect()
}

/// The key of what `meta` has under this name.
fn meta(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0, 0]].concat()
}

/// Opens a node's database by RocksDB itself.
fn open(path: &Path) -> rocksdb::DB {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    rocksdb::DB::open_cf(&options, path, names).unwrap()
}

fn open_to_read(path: &Path) -> (Vec<String>, rocksdb::DB) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    let db = rocksdb::DB::open_cf_for_read_only(&options, path, &names, false).unwrap();
    (names, db)
}

/// The schema is the last byte of the identity. Returns what it was.
fn rewrite_schema(db: &rocksdb::DB, to: impl Fn(u8) -> u8) -> u8 {
    let (handle, key) = (db.cf_handle("meta").unwrap(), meta("db/identity"));
    let mut identity = db.get_cf(handle, &key).unwrap().unwrap();
    let was = identity.pop().unwrap();
    identity.push(to(was));
    db.put_cf(handle, &key, &identity).unwrap();
    was
}

/// Makes the database what the version with schema 3 would have left: no index of pending parts nor of
/// payments' indexes, the wallet's transactions together with their heights, channels without what failed.
fn as_of_schema_3(path: &Path) {
    let mut db = open(path);
    let put = |cf: &str, key: &[u8], value: &[u8]| {
        db.put_cf(db.cf_handle(cf).unwrap(), key, value).unwrap();
    };
    for name in [
        "records/schema",
        "payments/indexes",
        "invoices/highest",
        "forwards/collected",
    ] {
        let handle = db.cf_handle("meta").unwrap();
        db.delete_cf(handle, meta(name)).unwrap();
    }
    rewrite_schema(&db, |_| 3);
    // A first byte says the record's version; nothing has failed, and numbers below 251 are a byte.
    for (key, mut value) in rows(&db, "channels") {
        assert_eq!((value[0], value.pop(), value.pop()), (3, Some(0), Some(0)));
        value[0] = 2;
        put("channels", &key, &value);
    }
    for (key, mut value) in rows(&db, "wallet_txs") {
        value[0] = 1;
        value.push(0);
        put("wallet_txs", &key, &value);
    }
    for (key, mut value) in rows(&db, "mined_wallet_txs") {
        let (height, txid) = key.split_at(4);
        let [0, 0, 0, height @ 0..=250] = height else {
            panic!("a block beyond 250")
        };
        value.extend([1, *height]);
        put("wallet_txs", txid, &value);
    }
    assert_eq!(rows(&db, "pending_parts").len(), 1);
    for cf in ["pending_parts", "mined_wallet_txs"] {
        db.drop_cf(cf).unwrap();
    }
}

fn indexes(node: &Node, method: &str, list: &str) -> Vec<u64> {
    let reply = node.rpc(method, json!({})).unwrap();
    let all = reply[list].as_array().unwrap().iter();
    all.map(|entry| entry["created_index"].as_u64().unwrap())
        .collect()
}

fn are_all_different(indexes: &[u64]) {
    let different: BTreeSet<_> = indexes.iter().collect();
    assert_eq!(different.len(), indexes.len(), "{indexes:?}");
}

#[test]
fn a_database_of_the_schema_before_is_brought_up_in_the_middle_of_a_payment() {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    let database = network.nodes[0].network_dir().join("db");
    let transactions = |node: &Node| -> Vec<Value> {
        let all = node.rpc("listtransactions", json!({})).unwrap();
        all["transactions"].as_array().unwrap().clone()
    };
    pay(&network, "before");
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    alice.invoice(1_000, "one").unwrap();
    let address = network.bitcoind.rpc("getnewaddress", json!([])).unwrap();
    alice.rpc("withdraw", json!([address, 10_000])).unwrap();
    let slow = bob.invoice(40_000_000, "slow").unwrap();
    bob.freeze();
    drop(alice.begin_to_pay(&slow.bolt11));
    until("the HTLC is in the database", || {
        let channels = alice.rpc("listpeerchannels", json!({}))?;
        Ok((channels["channels"][0]["htlcs"] != json!([])).then_some(()))
    })
    .unwrap();
    let shown = transactions(alice);
    network.nodes[0].kill_all().unwrap();
    as_of_schema_3(&database);

    network.nodes[0].launch().unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    assert_eq!(alice.attempt(&slow.payment_hash).unwrap(), "pending");
    assert_eq!(transactions(alice), shown);
    bob.thaw();
    alice.wait_for_normal(bob).unwrap();
    until("the payment has arrived", || {
        let attempt = alice.attempt(&slow.payment_hash)?;
        Ok((attempt == "complete").then_some(()))
    })
    .unwrap();
    pay(&network, "after");
    alice.invoice(1_000, "two").unwrap();
    let parts = indexes(alice, "listsendpays", "payments");
    assert_eq!(parts.len(), 3);
    are_all_different(&parts);
    are_all_different(&indexes(alice, "listinvoices", "invoices"));
    let (ours, _) = settled(alice, bob).unwrap();
    let channels = alice.rpc("listpeerchannels", json!({})).unwrap();
    assert_eq!(channels["channels"][0]["out_offered_msat"], 140_000_000);
    assert_eq!(ours.to_us_msat, 500_000_000 - 140_000_000);
    // The withdrawal is in no block yet, and was broadcast again.
    assert_eq!(network.bitcoind.mempool().unwrap().len(), 1);
    network.nodes[0].stop().unwrap();
    let (_, db) = open_to_read(&database);
    assert_eq!(rows(&db, "pending_parts"), []);
    assert_eq!(rows(&db, "wallet_txs").len(), 1);
    // What paid for the channel.
    assert_eq!(rows(&db, "mined_wallet_txs").len(), 1);
}

#[test]
fn a_database_that_a_newer_version_wrote_is_refused_and_left_as_it_is() {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    pay(&network, "before");
    let database = network.nodes[0].network_dir().join("db");
    network.nodes[0].stop().unwrap();
    let ours = rewrite_schema(&open(&database), |ours| ours + 1);
    let newer = database.with_file_name("db.newer");
    copy(&database, &newer).unwrap();
    let words = network.nodes[0].launch_refused().unwrap().words;
    let says = format!(
        "has schema {}, this version knows schemas up to {ours}",
        ours + 1
    );
    assert!(words.contains(&says), "{words}");
    let [left, whole] = [&database, &newer].map(|path| -> Vec<_> {
        let (names, db) = open_to_read(path);
        names.iter().map(|name| rows(&db, name)).collect()
    });
    assert!(left == whole, "it changed something");

    rewrite_schema(&open(&database), |_| ours);
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    pay(&network, "after");
}
