//! What the node says of its sandbox, against what the kernel says.

use blackbox::{Bitcoind, Network, Node, Options, Process, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

fn status(pid: i64) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let first = value.split_whitespace().next().unwrap_or_default();
        Some((name.to_string(), first.to_string()))
    };
    text.lines().filter_map(field).collect()
}

fn processes(node: &Node) -> Vec<Value> {
    let said = node.rpc("listsandbox", json!({})).unwrap();
    said["processes"].as_array().unwrap().clone()
}

/// All that are there have reported.
fn reported(node: &Node) -> Vec<Value> {
    let all = until("every subdaemon has reported", || {
        let all = processes(node);
        let done = (all.iter().skip(1)).all(|process| process.get("landlock_abi").is_some());
        Ok(done.then_some(all))
    });
    all.unwrap()
}

#[test]
fn listsandbox_says_of_each_process_what_the_kernel_says() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    network.open(0, 1, 1_000_000, 0).unwrap();
    let alice = &network.nodes[0];
    let all = reported(alice);
    let mut seen: Vec<(i64, String)> = Vec::new();
    for process in &all {
        let pid = process["pid"].as_i64().unwrap();
        let kernel = status(pid);
        let number = |name: &str| kernel[name].parse::<u64>().unwrap();
        assert_eq!(process["uid"], number("Uid"), "{process}");
        assert_eq!(process["gid"], number("Gid"), "{process}");
        assert_eq!(
            process["no_new_privs"],
            number("NoNewPrivs") == 1,
            "{process}"
        );
        assert_eq!(process["capabilities"], kernel["CapEff"], "{process}");
        assert_eq!(
            process["seccomp_filters"],
            number("Seccomp_filters"),
            "{process}"
        );
        let seccomp = if number("Seccomp") == 2 {
            "filter"
        } else {
            "off"
        };
        assert_eq!(process["seccomp"], seccomp, "{process}");
        assert_eq!(process["threads"], number("Threads"), "{process}");
        assert_eq!(process["no_new_privs"], true, "{process}");
        seen.push((pid, process["name"].as_str().unwrap().to_string()));
    }
    let mut expected: Vec<(i64, String)> = (alice.processes().into_iter())
        .map(|process| (i64::from(process.pid.0), process.role))
        .collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected, "all of the node's processes and no other");
    assert!(seen.iter().any(|(_, name)| name == "channeld"));
}

#[test]
fn where_the_host_gives_all_of_the_sandbox_every_subdaemon_is_in_it() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let said = node.rpc("listsandbox", json!({})).unwrap();
    let all = reported(&node);
    if said["sandbox"] != "required" {
        // On such a host the log and the list name what is missing.
        assert!(all.iter().skip(1).all(|process| {
            let missing = process["missing"].as_array().unwrap();
            !missing.is_empty()
        }));
        println!("this host does not give all of it: {}", all[1]["missing"]);
        return;
    }
    for process in all.iter().skip(1) {
        assert_eq!(process["missing"], json!([]), "{process}");
        assert_eq!(process["seccomp"], "filter", "{process}");
        assert_eq!(process["landlock_abi"], 6, "{process}");
        assert_eq!(process["empty_root"], true, "{process}");
        assert_eq!(process["dumpable"], false, "{process}");
        assert_ne!(process["uid"], 0, "{process}");
        assert_eq!(process["capabilities"], "0000000000000000", "{process}");
    }
}

#[test]
fn a_subdaemon_that_is_ended_by_its_sandbox_is_named_in_the_log_and_started_again() {
    let bitcoind = Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let payd =
        |node: &Node| -> Option<Process> { node.processes_in_role("payd").into_iter().next() };
    let first = payd(&node).unwrap();
    // The kernel's filter ends a process with this very signal.
    first.signal(nix::sys::signal::Signal::SIGSYS);
    let named = |node: &Node| {
        let log = node.rpc("getlog", json!(["broken"]))?.to_string();
        Ok((log.contains("SIGSYS") && log.contains("its sandbox forbids")).then_some(()))
    };
    node.wait_for("the log names it", named).unwrap();
    node.wait_for("payd runs again", |node| {
        Ok(payd(node).filter(|now| now.pid != first.pid).map(drop))
    })
    .unwrap();
}

#[test]
fn an_unknown_mode_of_the_sandbox_is_refused() {
    let bitcoind = Bitcoind::start().unwrap();
    let options = Options {
        arguments: vec!["--sandbox=off".to_string()],
        ..Options::default()
    };
    let mut node = Node::prepare(&bitcoind, "alice", options).unwrap();
    let refusal = node.launch_refused().unwrap();
    let words = &refusal.words;
    assert!(words.contains("required or best-effort"), "{words}");
}
