//! Rule B2 where the newest database is lost: the owner confirms the older copy, and the channel that has changed
//! since ends with the newest commitment, which the peer has.

use blackbox::Network;
use blackbox::folder::copy;
use blackbox::node::settled;
use serde_json::json;
use std::fs;

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
