//! The disk goes wrong under payment load: writes fail or are torn, space runs out, syncs fail, for the
//! database, hsm-journal and the audit log, at the n-th call. The node stops by itself and says what to
//! do; what was not durable by then is gone, as after a failed sync on a real disk; started again it is
//! at what it had promised: no payment lost or made twice, and never an older state.
//!
//! Who is not root may not look at the files of the node's processes, which hide them; then this shows
//! nothing and says so. `BULKHEAD_FAULT_ROUNDS` (14) and `BULKHEAD_KILL_SEED` choose another run.

use anyhow::{Context, Result, ensure};
use blackbox::kill::{self, Rounds};
use blackbox::node::ChannelState;
use blackbox::rounds::Traffic;
use blackbox::{Network, until};
use rand::Rng;
use serde_json::json;
use std::path::Path;

const CHANNEL: u64 = 5_000_000;
/// Payers at the same time, each way.
const AT_ONCE: usize = 2;
/// A fault that has not come by then, in payments, comes no more.
const ENOUGH: usize = 60;
const POWER: &str = env!("CARGO_BIN_EXE_power");

/// What goes wrong, and the last call at which it does: early ones meet the start.
const FAULTS: [(&str, &str, &str, u64); 14] = [
    ("sync", "hsm-journal", "EIO", 60),
    ("sync", "db/", "EIO", 60),
    ("write", "hsm-journal", "torn", 60),
    ("write", "db/", "torn", 120),
    ("write", "hsm-journal", "ENOSPC", 60),
    ("write", "db/", "ENOSPC", 120),
    ("write", "", "ENOSPC", 200),
    ("write", "hsm-journal", "EIO", 60),
    ("write", "db/", "EIO", 120),
    ("write", "hsm-audit", "EIO", 60),
    ("write", "db/ACKNOWLEDGED", "EIO", 40),
    ("sync", "db/MANIFEST", "EIO", 3),
    ("write", "db/MANIFEST", "torn", 6),
    ("rename", "db/", "EIO", 1),
];

#[test]
fn a_disk_that_fails_at_any_call_stops_the_node_and_nothing_promised_is_lost() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root may look at the files of the node's processes");
    }
    if !cfg!(target_arch = "x86_64") {
        return eprintln!("SKIPPED: calls can be changed on x86-64 alone");
    }
    let mut rounds = Rounds::named("BULKHEAD_FAULT_ROUNDS", FAULTS.len());
    let (mut network, mut channel) = Network::pair(CHANNEL).unwrap();
    let (mut order, mut happened) = (Vec::new(), 0);
    for round in 0..rounds.count {
        let (call, file, how, most) = rounds.next_of(&mut order, &FAULTS);
        let n = rounds.random.gen_range(1..=most);
        let fault = format!("{call}:{file}:{n}:{how}");
        let whose = round % 2;
        let struck = one_round(&mut network, &mut channel, whose, round, &fault);
        match struck {
            Ok(struck) => happened += usize::from(struck),
            Err(error) => kill::failed(round, (whose, fault), rounds.seed, &error),
        }
    }
    println!("{happened} faults in {} rounds", rounds.count);
    assert!(
        happened * 2 >= rounds.count,
        "only {happened} of {} faults happened",
        rounds.count
    );
}

/// Whether the fault happened.
fn one_round(
    network: &mut Network,
    before: &mut ChannelState,
    whose: usize,
    round: usize,
    fault: &str,
) -> Result<bool> {
    let node = &mut network.nodes[whose];
    node.stop()?;
    let logged = node.log().len();
    let runs = node.launch_on_faulty(Path::new(POWER), fault)?;
    let traffic = Traffic::start(&network.nodes, AT_ONCE, round)?;
    let node = &mut network.nodes[whose];
    if runs {
        until("the disk fails, or payments flow", || {
            let enough = traffic.paid() >= ENOUGH;
            Ok((enough || !node.is_running()).then_some(()))
        })?;
        if node.is_running() {
            // It may happen on the way down too, or before the call is answered.
            let _ = node.rpc("stop", json!({}));
        }
    }
    let status = node.wait_for_end()?;
    let words = node.terminal() + node.log().get(logged..).unwrap_or_default();
    let struck = node.terminal().contains("goes wrong");
    println!("round {round}: {whose} {fault}, {struck}, {status}");
    if struck && runs {
        ensure!(!status.success(), "it ended with success after {fault}");
    }
    if !status.success() {
        ensure!(
            words.contains("start the node again"),
            "it does not say what to do: {words}"
        );
    }
    node.launch().context("after the fault")?;
    traffic.flow(4).context("after the fault")?;
    *before = traffic.finish()?.audit(&network.nodes, before)?;
    Ok(struck)
}
