//! Rule B2: the database and hsm-journal are of one moment, or the node does not start, says which of them
//! is old and what to do, and leaves both as they are. Put right, it is the node that it was.

use blackbox::folder::copy;
use blackbox::node::settled;
use blackbox::{Network, Node};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder, but RocksDB's own log of what it did.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("LOG") {
            all.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    all
}

fn pay(network: &Network, label: &str) {
    let invoice = network.nodes[1].invoice(10_000, label).unwrap();
    network.nodes[0].pay(&invoice.bolt11).unwrap();
}

/// The node refuses with these words and changes neither file.
fn refuses(node: &mut Node, naming: &[&str]) {
    let (journal, database) = (
        node.network_dir().join("hsm-journal"),
        node.network_dir().join("db"),
    );
    let before = (fs::read(&journal).unwrap(), contents(&database));
    let words = node.launch_refused().unwrap().words.to_lowercase();
    for name in naming {
        assert!(words.contains(name), "no word of {name} in:\n{words}");
    }
    let after = (fs::read(&journal).unwrap(), contents(&database));
    assert!(before == after, "it changed something:\n{words}");
}

/// The channel is at the same state at both ends, and goes on.
fn goes_on(network: &mut Network, label: &str) {
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    pay(network, label);
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let disagreements = network.nodes[0].disagreements();
    assert!(disagreements.is_empty(), "{disagreements:#?}");
}

#[test]
fn b2_an_older_hsm_journal_is_refused_and_nothing_changes() {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    let journal = network.nodes[0].network_dir().join("hsm-journal");
    let [old, new] = ["old", "new"].map(|name| journal.with_extension(name));
    pay(&network, "before");
    network.nodes[0].stop().unwrap();
    copy(&journal, &old).unwrap();
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    for n in 0..3 {
        pay(&network, &format!("after {n}"));
    }
    network.nodes[0].stop().unwrap();
    copy(&journal, &new).unwrap();
    copy(&old, &journal).unwrap();
    for _ in 0..2 {
        refuses(
            &mut network.nodes[0],
            &["hsm-journal is an older copy", "put back the newest"],
        );
    }
    copy(&new, &journal).unwrap();
    goes_on(&mut network, "put right");
}

#[test]
fn b2_an_older_database_is_refused_and_nothing_changes() {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    let database = network.nodes[0].network_dir().join("db");
    let [old, new] = ["db.old", "db.new"].map(|name| database.with_file_name(name));
    pay(&network, "before");
    network.nodes[0].stop().unwrap();
    copy(&database, &old).unwrap();
    // Even where nothing but an address was handed out since.
    network.nodes[0].launch().unwrap();
    network.nodes[0]
        .rpc("newaddr", serde_json::json!({}))
        .unwrap();
    network.nodes[0].stop().unwrap();
    fs::rename(&database, &new).unwrap();
    copy(&old, &database).unwrap();
    for _ in 0..2 {
        refuses(
            &mut network.nodes[0],
            &[
                "the database is an older copy",
                "put back the newest folder db",
            ],
        );
    }
    fs::remove_dir_all(&database).unwrap();
    fs::rename(&new, &database).unwrap();
    goes_on(&mut network, "put right");
}

#[test]
fn b2_a_database_from_a_moment_ago_is_refused_by_its_channels() {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    let database = network.nodes[0].network_dir().join("db");
    let [old, new] = ["db.old", "db.new"].map(|name| database.with_file_name(name));
    network.nodes[0].kill_all().unwrap();
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    pay(&network, "before");
    // Within one start, and with fewer records since than can be under way.
    let all = network.nodes[0].processes();
    all.iter()
        .for_each(|process| process.signal(nix::sys::signal::Signal::SIGSTOP));
    copy(&database, &old).unwrap();
    all.iter()
        .for_each(|process| process.signal(nix::sys::signal::Signal::SIGCONT));
    pay(&network, "after");
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    network.nodes[0].kill_all().unwrap();
    fs::rename(&database, &new).unwrap();
    copy(&old, &database).unwrap();
    let words = network.nodes[0]
        .launch_refused()
        .unwrap()
        .words
        .to_lowercase();
    assert!(words.contains("the database is an older copy"), "{words}");
    assert!(words.contains("of channel"), "{words}");
    fs::remove_dir_all(&database).unwrap();
    fs::rename(&new, &database).unwrap();
    goes_on(&mut network, "put right");
}
