//! Rule B2 where the newest database is lost: the owner confirms the older copy, and the channel that has changed
//! since ends with the newest commitment, which the peer has.

use blackbox::folder::copy;
use blackbox::node::{program, settled};
use blackbox::wait::until;
use blackbox::{Network, Node};
use serde_json::json;
use std::fs;
use std::process::Command;
use std::thread;

fn pay(network: &Network, label: &str) {
    let invoice = network.nodes[1].invoice(50_000_000, label).unwrap();
    network.nodes[0].pay(&invoice.bolt11).unwrap();
}

/// Starts the node, which waits, and confirms the recovery once it says so.
fn launch_and_confirm(node: &mut Node) {
    let (log, folder) = (node.log_file(), node.network_dir());
    let before = node.log().len();
    let confirming = thread::spawn(move || {
        until("the log says how to confirm", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let new = text.get(before..).unwrap_or_default();
            Ok(new.contains("confirm-recovery").then_some(()))
        })
        .unwrap();
        let mut tool = Command::new(program("lightning-hsmtool").unwrap());
        tool.arg("confirm-recovery").arg(folder).arg("--yes");
        let output = tool.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
    });
    node.launch().unwrap();
    confirming.join().unwrap();
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
    let config = network.nodes[0].lightning_dir().join("config");
    let mut text = fs::read_to_string(&config).unwrap_or_default();
    text.push_str("\nawait-recovery\n");
    fs::write(&config, text).unwrap();
    launch_and_confirm(&mut network.nodes[0]);

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
