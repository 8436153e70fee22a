//! A node whose seed is under a passphrase: by the real tool, past lightningd. Neither the passphrase nor the
//! words of the seed get into any log.

use blackbox::node::program;
use blackbox::wait::until;
use blackbox::{Bitcoind, Node};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

const PASSPHRASE: &str = "vierzehn unleserliche Heringe";

/// The tool with what a person would type.
fn tool(arguments: &[&str], typed: &str) -> Output {
    let mut child = Command::new(program("lightning-hsmtool").unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that is refused at once reads nothing.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

fn fact(output: &Output, name: &str) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    facts[name].as_str().unwrap().to_owned()
}

fn refused(output: &Output, why: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains(why), "{error}");
}

fn text(path: PathBuf) -> &'static str {
    Box::leak(path.to_str().unwrap().to_owned().into_boxed_str())
}

/// What a start wrote into the log file that was so long before.
fn since(log: &Path, before: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.get(before..).unwrap_or_default().to_owned()
}

/// Starts a locked node, and unlocks it once it says that it waits for that.
fn launch_and_unlock(node: &mut Node) -> String {
    let (log, folder) = (node.log_file(), text(node.network_dir()));
    let before = node.log().len();
    let unlocking = thread::spawn(move || {
        let command = format!("lightning-hsmtool unlock {folder}");
        until("the log says how to unlock", || {
            Ok(since(&log, before).contains(&command).then_some(()))
        })
        .unwrap();
        let status = tool(&["--json", "status", folder], "");
        assert_eq!(fact(&status, "state"), "locked");
        assert_eq!(fact(&status, "seed"), "sealed");
        let wrong = tool(&["unlock", folder], "fourteen legible herrings\n");
        refused(&wrong, "the passphrase is wrong");
        until("the right one is read", || {
            let unlocked = tool(&["--json", "unlock", folder], &format!("{PASSPHRASE}\n"));
            let error = String::from_utf8_lossy(&unlocked.stderr).into_owned();
            match error.contains("too soon") {
                true => Ok(None),
                false => Ok(Some(fact(&unlocked, "node_id"))),
            }
        })
        .unwrap()
    });
    node.launch().unwrap();
    unlocking.join().unwrap()
}

/// Everything that the node has written for people, and the audit log.
fn logs(node: &Node) -> String {
    let output = fs::read_to_string(node.lightning_dir().join("output.log"));
    let audit = fs::read_to_string(node.network_dir().join("hsm-audit")).unwrap();
    format!("{}{}{audit}", node.log(), output.unwrap_or_default())
}

#[test]
fn a_passphrase_for_lightningd_is_refused_and_the_tool_named_that_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    for option in ["--encrypted-hsm", "--hsm-passphrase"] {
        let output = Command::new(program("lightningd").unwrap())
            .arg(format!("--lightning-dir={}", folder.path().display()))
            .args(["--network=regtest", option])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        refused(&output, "`lightning-hsmtool unlock`");
    }
    // Before it has made anything.
    assert!(!folder.path().join("regtest").join("hsm_secret").exists());
}

#[test]
fn a_sealed_node_waits_for_its_owners_passphrase_and_is_the_same_node() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let id = node.id().unwrap();
    let folder = text(node.network_dir());
    let shown = tool(&["--json", "show-mnemonic", folder, "--yes"], "");
    let words = fact(&shown, "words");
    assert_eq!(words.split(' ').count(), 12);
    let again = tool(&["show-mnemonic", folder, "--yes"], "");
    refused(&again, "shown before");
    node.stop().unwrap();

    let seed = text(node.network_dir().join("hsm_secret"));
    let typed = format!("{PASSPHRASE}\n");
    let sealed = tool(&["--json", "encrypt", seed], &typed);
    assert_eq!(fact(&sealed, "node_id"), id);
    assert_eq!(launch_and_unlock(&mut node), id);
    assert_eq!(node.id().unwrap(), id);
    let status = tool(&["--json", "status", folder], "");
    assert_eq!(fact(&status, "state"), "unlocked");
    let log = node.log();
    let policy = format!("policy {}", fact(&status, "policy_sha256"));
    assert!(log.contains(&policy), "no {policy} in the log");
    assert!(log.contains(&fact(&status, "program_sha256")));

    node.stop().unwrap();
    let logs = logs(&node);
    assert!(logs.contains("OPERATOR - Unlock"), "the audit log has it");
    assert!(!logs.contains(PASSPHRASE), "the passphrase was logged");
    // Single words are plain English; two in their order are the seed's.
    let all: Vec<&str> = words.split(' ').collect();
    for pair in all.windows(2) {
        let pair = pair.join(" ");
        assert!(!logs.contains(&pair), "words of the seed were logged");
    }
    // And the file holds them under the passphrase alone.
    let bytes = fs::read(seed).unwrap();
    // After the magic, whose own words are plain English, too.
    let text = String::from_utf8_lossy(&bytes[16..]);
    assert!(
        all.iter()
            .all(|word| !text.contains(word) || word.len() < 4)
    );
    assert_eq!(
        fact(&tool(&["--json", "getsecret", seed], &typed), "words"),
        words
    );
}
