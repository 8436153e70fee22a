//! Options on the command line and in files, what `listconfigs` says of them, and the log.

use super::interface::{Interface, refused};
use blackbox::{Bitcoind, Node, Options, Process};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;

fn prepare(bitcoind: &Bitcoind, arguments: &[&str]) -> Node {
    let options = Options {
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        ..Options::default()
    };
    Node::prepare(bitcoind, "alice", options).unwrap()
}

#[test]
fn options_that_are_wrong_are_named_and_the_nearest_is_suggested() {
    let bitcoind = Bitcoind::start().unwrap();
    for (argument, words) in [
        (
            "--fee-bse=7",
            vec!["--fee-bse", "unknown option", "did you mean fee-base?"],
        ),
        ("--fee-base=much", vec!["--fee-base=much"]),
        ("--fee-base", vec!["fee-base"]),
        ("--color=red", vec!["color"]),
        ("stray", vec!["'stray'", "--"]),
    ] {
        let mut node = prepare(&bitcoind, &[argument]);
        let refusal = node.launch_refused().unwrap();
        for word in words {
            assert!(
                refusal.words.contains(word),
                "{argument}: {}",
                refusal.words
            );
        }
        assert!(!node.network_dir().join("db").exists());
    }
    let mut node = prepare(&bitcoind, &[]);
    fs::write(
        node.lightning_dir().join("config"),
        "# mine\nalias=x\nfe-base=1\n",
    )
    .unwrap();
    let refusal = node.launch_refused().unwrap();
    for word in ["config line 3", "fe-base", "did you mean fee-base?"] {
        assert!(refusal.words.contains(word), "{}", refusal.words);
    }
}

#[test]
fn listconfigs_names_where_each_option_was_set() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = prepare(
        &bitcoind,
        &["--cltv-delta=9", "--log-level=io", "--rgb=00ff7f"],
    );
    let common = node.lightning_dir().join("config");
    fs::write(&common, "\nfee-base=5\ncltv-delta=10\n").unwrap();
    fs::create_dir_all(node.network_dir()).unwrap();
    let network = node.network_dir().join("config");
    fs::write(&network, "fee-per-satoshi=77 \n").unwrap();
    node.launch().unwrap();
    let tables = Interface::load();
    let all = tables.ask(&node, "listconfigs", json!({}));
    let configs = &all["configs"];
    let at = |file: &std::path::Path, line: u32| json!(format!("{}:{line}", file.display()));
    for (name, member, value, source) in [
        ("cltv-delta", "value_int", json!(9), json!("cmdline")),
        ("fee-base", "value_int", json!(5), at(&common, 2)),
        ("fee-per-satoshi", "value_int", json!(77), at(&network, 1)),
        ("funding-confirms", "value_int", json!(1), json!("default")),
        ("alias", "value_str", json!("alice"), json!("cmdline")),
        ("rgb", "value_str", json!("00ff7f"), json!("cmdline")),
        ("network", "value_str", json!("regtest"), json!("default")),
        ("regtest", "set", json!(true), json!("cmdline")),
        ("mainnet", "set", json!(false), json!("default")),
    ] {
        assert_eq!(configs[name][member], value, "{name}: {}", configs[name]);
        assert_eq!(configs[name]["source"], source, "{name}");
    }
    assert_eq!(configs["addr"]["sources"], json!(["cmdline"]));
    let one = tables.ask(&node, "listconfigs", json!(["fee-base"]));
    assert_eq!(one, json!({"configs": {"fee-base": configs["fee-base"]}}));
    let message = refused(&node, "listconfigs", json!(["nonesuch"]), -32602);
    assert!(message.starts_with("config: "), "{message}");
    assert_eq!(node.rpc("getinfo", json!({})).unwrap()["color"], "00ff7f");
}

#[test]
fn getlog_shows_as_much_as_asked_for_and_nothing_secret() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let tables = Interface::load();
    let preimage = "7e".repeat(32);
    let params = json!({"amount_msat": 1, "label": "x", "description": "d", "preimage": preimage});
    tables.ask(&node, "invoice", params);
    let lines = |level: &str| {
        let log = tables.ask(&node, "getlog", json!([level]));
        assert!(!log.to_string().contains(&preimage));
        log["log"].as_array().unwrap().clone()
    };
    let (info, debug) = (lines("info"), lines("debug"));
    assert!(!info.is_empty() && debug.len() > info.len());
    assert!(info.iter().all(|line| line["type"] != "DEBUG"));
    assert!(debug.iter().any(|line| line["type"] == "DEBUG"));
    // Without a level it is info, too: all that was left out is one entry at the front.
    let default = tables.ask(&node, "getlog", json!([]));
    assert_eq!(default["log"].as_array().unwrap()[1..], info[1..]);
    assert!(!node.log().contains(&preimage));
}

#[test]
fn a_hangup_has_the_log_written_to_a_new_file() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let old = node.lightning_dir().join("log.1");
    fs::rename(node.log_file(), &old).unwrap();
    Process::get(node.pid().unwrap())
        .unwrap()
        .signal(Signal::SIGHUP);
    node.wait_for("the log is there again", |node| {
        Ok(node.log_file().exists().then_some(()))
    })
    .unwrap();
    let before = fs::metadata(&old).unwrap().len();
    bitcoind.mine(1).unwrap();
    node.wait_for_height(102).unwrap();
    node.stop().unwrap();
    assert!(fs::metadata(node.log_file()).unwrap().len() > 0);
    assert_eq!(fs::metadata(&old).unwrap().len(), before);
}
