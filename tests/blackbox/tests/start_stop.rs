//! Starting, answering, ending.

use blackbox::{Bitcoind, Network, Node, Options, Pid, Process, RpcError, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::process::Output;

#[test]
fn a_node_starts_keeps_its_identity_and_stops_in_order() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let id = node.id().unwrap();
    let info = node.rpc("getinfo", json!([])).unwrap();
    assert_eq!(info["network"], "regtest");
    assert_eq!(info["blockheight"], blackbox::bitcoind::FIRST_BLOCKS);
    assert!(node.stop().unwrap().success());
    assert!(node.rpc("getinfo", json!({})).is_err());
    node.launch().unwrap();
    assert_eq!(node.id().unwrap(), id);
}

#[test]
fn every_job_is_a_process_of_its_own() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    for role in ["lightningd", "hsmd", "connectd", "chaind", "payd"] {
        assert_eq!(
            node.processes_in_role(role).len(),
            1,
            "{role} in {:?}",
            node.processes()
        );
    }
    assert!(node.processes_in_role("channeld").is_empty());
}

#[test]
fn sigterm_ends_the_node_and_everything_below_it() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let status = node.terminate().unwrap();
    assert!(status.success(), "{status}; {}", node.last_words());
    node.launch().unwrap();
}

/// A node with `--daemon`, which nobody else would end.
struct Background(Node);

impl Background {
    fn lightningd(&self) -> Option<Process> {
        let file = self.0.lightning_dir().join("lightningd-regtest.pid");
        let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Process::get(Pid(pid))
            .ok()
            .filter(|process| process.role == "lightningd")
    }

    /// What the command wrote that started it.
    fn start(&self) -> (Output, String) {
        let output = self.0.run_in_background().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, words)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(lightningd) = self.lightningd() {
            lightningd.kill9();
        }
    }
}

#[test]
fn with_daemon_the_command_ends_once_the_node_can_be_asked_or_has_failed() {
    let bitcoind = Bitcoind::start().unwrap();
    let alice = Node::prepare(&bitcoind, "alice", Options::default()).unwrap();
    let alice = Background(alice);
    let (output, words) = alice.start();
    assert!(output.status.success(), "{words}");
    assert_eq!(words, "");
    // At once.
    alice.0.rpc("getinfo", json!({})).unwrap();
    let (refused, words) = alice.start();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words.contains("another lightningd"), "{words}");
    let lightningd = alice.lightningd().unwrap();
    alice.0.rpc("stop", json!({})).unwrap();
    until("it ends", || Ok((!lightningd.is_alive()).then_some(()))).unwrap();
    // What it finds in the background fails the command too.
    fs::remove_dir_all(alice.0.network_dir().join("db")).unwrap();
    let (refused, words) = alice.start();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("there is no database"), "{words}");
    assert!(alice.lightningd().is_none());
}

/// systemd's stop reaches all processes, and a shell's interrupt: the others leave it to lightningd.
#[test]
fn a_signal_to_every_process_is_a_stop_in_order_too() {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let alice = &mut network.nodes[0];
        let pids = |node: &Node| -> Vec<_> { node.processes().iter().map(|p| p.pid).collect() };
        let (before, master) = (pids(alice), alice.pid().unwrap());
        assert!(before.len() > 5, "{before:?}");
        for process in alice.processes().iter().filter(|p| p.pid != master) {
            process.signal(signal);
        }
        // This needs hsmd.
        alice.invoice(1_000, signal.as_str()).unwrap();
        assert_eq!(pids(alice), before);
        Process::get(master).unwrap().signal(signal);
        let status = alice.wait_for_end().unwrap();
        assert!(status.success(), "{status}; {}", alice.last_words());
        alice.launch().unwrap();
        network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    }
}

#[test]
fn a_node_whose_hsmd_dies_stops_and_says_why() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    node.processes_in_role("hsmd")[0].kill9();
    let status = node.wait_for_end().unwrap();
    assert!(!status.success());
    assert!(node.last_words().contains("hsmd"), "{}", node.last_words());
    node.launch().unwrap();
}

#[test]
fn a_node_survives_its_bitcoinds_restart() {
    let mut bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    bitcoind.stop().unwrap();
    bitcoind.restart().unwrap();
    bitcoind.mine(3).unwrap();
    node.wait_for_height(bitcoind.height().unwrap()).unwrap();
    bitcoind.kill9().unwrap();
    bitcoind.restart().unwrap();
    bitcoind.mine(1).unwrap();
    node.wait_for_height(bitcoind.height().unwrap()).unwrap();
    assert!(node.is_running());
}

#[test]
fn a_node_follows_a_reorganized_chain() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let blocks = bitcoind.mine(3).unwrap();
    node.wait_for_height(104).unwrap();
    // The wallet's next address is another, so the new blocks differ from the old.
    bitcoind.rpc("invalidateblock", json!([blocks[0]])).unwrap();
    bitcoind.mine(5).unwrap();
    node.wait_for_height(106).unwrap();
    node.fund(&bitcoind, 50_000).unwrap();
}

#[test]
fn what_is_not_a_request_is_refused_and_harms_nobody() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let mut other = node.client().connect("getinfo").unwrap();
    let code = |method: &str, params| match node.rpc(method, params) {
        Err(RpcError::Refused { code, .. }) => code,
        answer => panic!("{method}: {answer:?}"),
    };
    assert_eq!(code("nosuchcommand", json!({})), -32601);
    assert_eq!(code("getinfo", json!({"nosuchparam": 1})), -32602);
    assert_eq!(code("invoice", json!({})), -32602);
    let mut garbage = node.client().connect("garbage").unwrap();
    garbage
        .send_raw(b"\x00\xff not json at all }{\n\n")
        .unwrap();
    assert_eq!(garbage.read("garbage").unwrap()["error"]["code"], -32600);
    let mut half = node.client().connect("half").unwrap();
    half.send_raw(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"meth")
        .unwrap();
    drop(half);
    assert!(other.call("getinfo", json!({})).is_ok());
    assert!(other.call("getinfo", json!([])).is_ok());
}
