//! `backup`: the whole node in another folder while payments run. Put back, it is refused until the owner
//! confirms it; then no older state is ever published: peers that are ahead close, and the coins come back;
//! where nothing has happened since, the channel goes on.

use anyhow::Result;
use blackbox::folder::copy;
use blackbox::node::{program, settled};
use blackbox::payments::{Load, audit};
use blackbox::{Network, Node, RpcError, until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const CHANNEL: u64 = 1_000_000;

fn pay(network: &Network, label: &str) {
    let invoice = network.nodes[1].invoice(50_000_000, label).unwrap();
    network.nodes[0].pay(&invoice.bolt11).unwrap();
}

fn backup(node: &Node, to: &Path) -> Result<Value, RpcError> {
    node.rpc("backup", json!({"destination": to}))
}

/// Every file but the seed has the hash that it is listed with.
fn sums_are_right(backup: &Path) {
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(backup);
    let output = sums.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The node's folder is that of the backup, as after the loss of its disk.
fn put_back(node: &mut Node, backup: &Path) {
    node.kill_all().unwrap();
    fs::remove_dir_all(node.network_dir()).unwrap();
    copy(&backup.join("regtest"), &node.network_dir()).unwrap();
}

fn refused_as_backup(node: &mut Node) {
    let words = node.launch_refused().unwrap().words;
    for word in ["of a backup", "--await-recovery", "confirm-recovery"] {
        assert!(words.contains(word), "no word of {word} in:\n{words}");
    }
}

/// Our balance in the channel, in satoshi.
fn ours(node: &Node) -> u64 {
    let channels = node.rpc("listpeerchannels", json!({})).unwrap();
    channels["channels"][0]["to_us_msat"].as_u64().unwrap() / 1000
}

#[test]
fn a_backup_under_load_that_is_put_back_late_loses_no_coin_and_publishes_nothing_old() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy");
    let [alice, bob] = [0, 1].map(|n| network.nodes[n].client());
    let there = Load::start("there", alice.clone(), bob.clone(), 2_000);
    let back = Load::start("back", bob, alice, 1_000);
    let flow = |more: usize| {
        let before = there.paid() + back.paid();
        until("payments flow", || {
            Ok((there.paid() + back.paid() >= before + more).then_some(()))
        })
        .unwrap();
    };
    flow(10);
    let made = backup(&network.nodes[0], &to).unwrap();
    assert!(made["bytes"].as_u64().unwrap() > 10_000, "{made}");
    flow(10);
    let (there, back) = (there.finish().unwrap(), back.finish().unwrap());
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    audit(alice, bob, &there).unwrap();
    audit(bob, alice, &back).unwrap();
    pay(&network, "after");
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let newest = ours(&network.nodes[0]);

    sums_are_right(&to);
    let mode = |name: &str| fs::metadata(to.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("regtest/hsm_secret")), (0o700, 0o600));
    let there = format!("--lightning-dir={}", to.display());
    let check = network.nodes[0].check_with(&["--json", &there]).unwrap();
    let said: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(check.status.success(), "{said:#}");

    network.nodes[1].stop().unwrap();
    put_back(&mut network.nodes[0], &to);
    refused_as_backup(&mut network.nodes[0]);
    network.nodes[0].launch_and_confirm_recovery().unwrap();
    // Without its peer nobody can make it publish what it has: neither a command nor the owner.
    let channels = network.nodes[0].rpc("listpeerchannels", json!({})).unwrap();
    let peer = channels["channels"][0]["peer_id"].clone();
    let params = json!({"id": peer, "unilateraltimeout": 1});
    let close = network.nodes[0].rpc("close", params.clone());
    assert!(close.is_err(), "{close:?}");
    let mut tool = Command::new(program("lightning-hsmtool").unwrap());
    tool.arg("confirm-recovery")
        .arg(network.nodes[0].network_dir());
    let output = tool.args(["--channel", "1", "--yes"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("backup"),
        "{error}"
    );
    assert_eq!(network.bitcoind.mempool().unwrap(), Vec::<String>::new());

    network.nodes[1].launch().unwrap();
    let closed = network.bitcoind.wait_for_mempool(1).unwrap();
    let close = network.nodes[0].rpc("close", params);
    assert!(close.is_err(), "{close:?}");
    assert_eq!(network.bitcoind.mempool().unwrap(), closed);
    let tx = network.bitcoind.transaction(&closed[0]).unwrap();
    let value = |output: &Value| (output["value"].as_f64().unwrap() * 1e8).round() as u64;
    let values: Vec<u64> = tx["vout"].as_array().unwrap().iter().map(value).collect();
    // The fee and the anchors come from the opener, which is us.
    let found = values.iter().any(|value| value.abs_diff(newest) < 20_000);
    assert!(found, "{newest} in none of {values:?}");
    network.mine(6).unwrap();
    network.nodes[0]
        .wait_for("our coins come back", |node| {
            let funds = node.rpc("listfunds", json!({}))?;
            let outputs = funds["outputs"].as_array().cloned().unwrap_or_default();
            let sats = |output: &Value| output["amount_msat"].as_u64().unwrap_or_default() / 1000;
            let back = outputs
                .iter()
                .any(|one| sats(one).abs_diff(newest) < 25_000);
            if !back {
                network.mine(1)?;
            }
            Ok(back.then_some(()))
        })
        .unwrap();
    // Later starts are as ever.
    let config = network.nodes[0].lightning_dir().join("config");
    fs::write(config, "").unwrap();
    network.nodes[0].restart().unwrap();
}

#[test]
fn a_backup_that_nothing_has_happened_after_goes_on_with_its_channel() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy");
    for n in 0..2 {
        pay(&network, &format!("before {n}"));
    }
    let (before, _) = settled(&network.nodes[0], &network.nodes[1]).unwrap();
    backup(&network.nodes[0], &to).unwrap();
    put_back(&mut network.nodes[0], &to);
    refused_as_backup(&mut network.nodes[0]);
    network.nodes[0].launch_and_confirm_recovery().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    let (after, _) = settled(&network.nodes[0], &network.nodes[1]).unwrap();
    assert_eq!(after.to_us_msat, before.to_us_msat);
    assert_eq!(after.channel_id, before.channel_id);
    pay(&network, "after");
    // It is no copy any more.
    let config = network.nodes[0].lightning_dir().join("config");
    fs::write(config, "").unwrap();
    network.nodes[0].restart().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    pay(&network, "after a restart");
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    // What the copy gives out is new.
    let invoice = network.nodes[0].invoice(1_000, "new").unwrap();
    network.nodes[1].pay(&invoice.bolt11).unwrap();
}

#[test]
fn a_channel_that_was_never_used_is_closed_by_its_peer_after_its_backup_is_put_back() {
    let (mut network, _) = Network::pair(CHANNEL).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy");
    backup(&network.nodes[0], &to).unwrap();
    pay(&network, "after");
    settled(&network.nodes[0], &network.nodes[1]).unwrap();
    let newest = ours(&network.nodes[0]);
    put_back(&mut network.nodes[0], &to);
    network.nodes[0].launch_and_confirm_recovery().unwrap();
    let closed = network.bitcoind.wait_for_mempool(1).unwrap();
    let tx = network.bitcoind.transaction(&closed[0]).unwrap();
    let value = |output: &Value| (output["value"].as_f64().unwrap() * 1e8).round() as u64;
    let values: Vec<u64> = tx["vout"].as_array().unwrap().iter().map(value).collect();
    let found = values.iter().any(|value| value.abs_diff(newest) < 20_000);
    assert!(found, "{newest} in none of {values:?}");
}

#[test]
fn a_backup_goes_nowhere_but_to_a_new_folder_and_leaves_nothing_half_made() {
    let network = Network::start(&["alice"]).unwrap();
    let alice = &network.nodes[0];
    let folder = tempfile::tempdir().unwrap();
    let refused = |to: &Path, word: &str| {
        let error = backup(alice, to).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(Path::new("copy"), "absolute");
    refused(folder.path(), "is there already");
    refused(&folder.path().join("none/copy"), "cannot create");
    refused(&alice.network_dir().join("copy"), "own folder");
    let to = folder.path().join("copy");
    fs::create_dir(folder.path().join("copy.making")).unwrap();
    refused(&to, "interrupted");
    fs::remove_dir(folder.path().join("copy.making")).unwrap();
    backup(alice, &to).unwrap();
    refused(&to, "is there already");
    sums_are_right(&to);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let names = [
        "SHA256SUMS",
        "regtest/db",
        "regtest/hsm-journal",
        "regtest/hsm_secret",
    ];
    assert!(names.iter().all(|name| to.join(name).exists()));
}
