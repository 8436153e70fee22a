//! The real program on real files; what it would ask a person comes from a pipe.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::fcntl::{Flock, FlockArg};

/// Twelve words that many tests use, and the node id that they give.
const NODE_ID: &str = "03653e90c1ce4660fd8505dd6d643356e93cfe202af109d382787639dd5890e87d";

fn words() -> String {
    format!("{}about", "abandon ".repeat(11))
}

fn words_file(dir: &Path) -> std::path::PathBuf {
    let file = dir.join("hsm_secret");
    fs::write(&file, [&[0; 32], words().as_bytes()].concat()).unwrap();
    file
}

fn run(arguments: &[&str], typed: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lightning-hsmtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that needs nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

fn file(command: &str, file: &Path, typed: &str) -> Output {
    run(&["--json", command, file.to_str().unwrap()], typed)
}

/// One fact of a command that must succeed.
fn fact(output: &Output, name: &str) -> String {
    assert!(output.status.success(), "{output:?}");
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    facts[name].as_str().unwrap().to_owned()
}

fn refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(why), "{said}");
}

#[test]
fn a_seed_stays_the_same_under_any_passphrase_and_under_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = words_file(dir.path());
    let plain = fs::read(&path).unwrap();
    assert_eq!(fact(&file("getnodeid", &path, ""), "node_id"), NODE_ID);
    assert_eq!(fact(&file("encrypt", &path, "one\n"), "node_id"), NODE_ID);
    let sealed = fs::read(&path).unwrap();
    assert!(!sealed.windows(7).any(|bytes| bytes == b"abandon"));
    assert_eq!(fact(&file("getnodeid", &path, "one\n"), "node_id"), NODE_ID);
    for command in ["getnodeid", "decrypt", "change-passphrase"] {
        refused(
            &file(command, &path, "other\ntwo\n"),
            "passphrase is not that",
        );
        assert_eq!(fs::read(&path).unwrap(), sealed, "{command} changed it");
    }
    refused(&file("encrypt", &path, "one\n"), "already");
    let changed = file("change-passphrase", &path, "one\ntwo\n");
    assert_eq!(fact(&changed, "node_id"), NODE_ID);
    refused(&file("getnodeid", &path, "one\n"), "passphrase is not that");
    assert_eq!(fact(&file("decrypt", &path, "two\n"), "node_id"), NODE_ID);
    assert_eq!(fs::read(&path).unwrap(), plain);
    refused(&file("decrypt", &path, "two\n"), "no passphrase");
    refused(&file("encrypt", &path, "\n"), "empty");
    assert_eq!(fs::read(&path).unwrap(), plain);
}

#[test]
fn a_new_seed_is_shown_once_and_never_put_over_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hsm_secret");
    let made = file("generatehsm", &path, "");
    let words = fact(&made, "words");
    assert_eq!(words.split(' ').count(), 12);
    let checked = file(
        "checkhsm",
        &path,
        &format!("  {}\n", words.replace(' ', "  ")),
    );
    assert_eq!(fact(&checked, "node_id"), fact(&made, "node_id"));
    let other = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    refused(&file("checkhsm", &path, other), "not made of these words");
    assert_eq!(fact(&file("getsecret", &path, ""), "words"), words);
    let before = fs::read(&path).unwrap();
    refused(&file("generatehsm", &path, ""), "there already");
    assert_eq!(fs::read(&path).unwrap(), before);
    let elsewhere = dir.path().join("my_seed");
    refused(
        &file("generatehsm", &elsewhere, ""),
        "not called hsm_secret",
    );
}

// The file as libsodium 1.0.20 made it of the seed 01 02 .. 20 and this passphrase.
#[test]
fn an_encrypted_file_of_core_lightning_is_read_and_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hsm_secret");
    let encrypted = "e383296bf464d055d477c428c13216b846f908ac3968e79ad306f91c2eda4bc4de111ef96982e11\
                     cbae93fd955a78cd6bc95868c594733616850be9a2bd36e310218c656b2936f1bd3";
    fs::write(&path, hex::decode(encrypted).unwrap()).unwrap();
    let id = "037d8d1109836a88daf2b86d6e52e12351f9c274f597b78eca941525b309096ca8";
    assert_eq!(fact(&file("getnodeid", &path, "reckless\n"), "node_id"), id);
    refused(
        &file("getnodeid", &path, "careful\n"),
        "passphrase is not that",
    );
    assert_eq!(
        fact(&file("encrypt", &path, "reckless\nours\n"), "node_id"),
        id
    );
    assert_eq!(fact(&file("decrypt", &path, "ours\n"), "node_id"), id);
    let plain: Vec<u8> = (1..=32).collect();
    assert_eq!(fs::read(&path).unwrap(), plain);
}

const PEER: &str = "0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c";

/// A folder with the seed 1, 2, ..., 32.
fn seeded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let seed: Vec<u8> = (1..=32).collect();
    fs::write(dir.path().join("hsm_secret"), seed).unwrap();
    dir
}

fn guess(dir: &tempfile::TempDir, address: &bitcoin::Address, last: &str, more: &[&str]) -> Output {
    let (address, path) = (address.to_string(), dir.path().join("hsm_secret"));
    let path = path.to_str().unwrap();
    let command = ["--json", "guesstoremote", &address, PEER, last, path];
    run(&[&command, more].concat(), "")
}

// The payment basepoint of channel 7 with this peer, computed from RFC 5869 and BOLT 3 by a program that shares
// no code with this one; its addresses are made by BIP 141 and BOLT 3 here.
#[test]
fn the_key_of_a_balance_in_a_peers_commitment_is_found_and_its_private_half_only_if_asked_for() {
    use bitcoin::hashes::{Hash, sha256};
    use bitcoin::secp256k1::{SECP256K1, SecretKey};
    use bitcoin::{Address, CompressedPublicKey, Network, ScriptBuf, WScriptHash};

    let dir = seeded();
    let key = "034d969508f242301c92dabfa3bbf2ea55e2db7019e6760d5845414f2e4fceaff0";
    let compressed: CompressedPublicKey = key.parse().unwrap();
    let plain = Address::p2wpkh(&compressed, Network::Bitcoin);
    // <key> OP_CHECKSIGVERIFY 1 OP_CHECKSEQUENCEVERIFY
    let script = [&[0x21][..], &hex::decode(key).unwrap(), &[0xad, 0x51, 0xb2]].concat();
    let hash = WScriptHash::from_byte_array(sha256::Hash::hash(&script).to_byte_array());
    let anchors = ScriptBuf::new_p2wsh(&hash);
    let anchors = Address::from_script(&anchors, Network::Bitcoin).unwrap();
    for (address, kind) in [(&plain, "wpkh("), (&anchors, "wsh(and_v(v:pk(")] {
        let found = guess(&dir, address, "7", &[]);
        assert_eq!(fact(&found, "channel"), "7");
        assert_eq!(fact(&found, "pubkey"), key);
        let descriptor = fact(&found, "descriptor");
        assert!(
            descriptor.starts_with(&format!("{kind}{key})")),
            "{descriptor}"
        );
        assert!(!String::from_utf8_lossy(&found.stdout).contains("privkey"));
        let secret = fact(&guess(&dir, address, "20", &["--private-key"]), "privkey");
        let secret: SecretKey = secret.parse().unwrap();
        assert_eq!(secret.public_key(SECP256K1).to_string(), key);
        refused(
            &guess(&dir, address, "6", &["--begun-anew", "0"]),
            "channels 1 to 6",
        );
    }
}

// As in the test before, of channel 1 + 2000 * 2^20.
#[test]
fn a_channel_of_a_node_that_was_begun_with_a_seed_that_was_there_is_found_far_up() {
    use bitcoin::{Address, CompressedPublicKey, Network};

    let dir = seeded();
    let key = "039d4302ab5436260f30f76a00e529f2cf7f02f46d3ba6e3a6826e72f4330685cc";
    let compressed: CompressedPublicKey = key.parse().unwrap();
    let address = Address::p2wpkh(&compressed, Network::Bitcoin);
    let found = guess(&dir, &address, "3", &[]);
    assert_eq!(fact(&found, "channel"), "2097152001");
    assert_eq!(fact(&found, "pubkey"), key);
    let none = guess(&dir, &address, "3", &["--begun-anew", "0"]);
    refused(&none, "channels 1 to 3 with this peer");
    refused(&none, "with --begun-anew 0:");
    refused(&none, "a higher --begun-anew");
}

#[test]
fn a_journal_is_checked_to_its_last_record_while_no_node_runs() {
    use hsm_messages::ctl::Database;

    let dir = tempfile::tempdir().unwrap();
    let path = words_file(dir.path());
    refused(
        &run(&["journal", "verify", path.to_str().unwrap()], ""),
        "cannot open hsm-journal",
    );
    let chain = wire::ChainHash(bitcoin::constants::ChainHash::REGTEST.to_bytes());
    let folder = File::open(dir.path()).unwrap().into();
    let Ok(hsm::Opened::Unlocked(mut signer)) = hsm::Hsm::open(folder, chain, Database::Absent)
    else {
        panic!("no signer");
    };
    signer.get_address().unwrap();
    signer.sync().unwrap();
    let mark = signer.mark();
    let verify = || run(&["--json", "journal", "verify", path.to_str().unwrap()], "");
    refused(&verify(), "stop the node first");
    drop(signer);
    let whole = verify();
    assert_eq!(fact(&whole, "records"), mark.sequence.to_string());
    assert_eq!(fact(&whole, "epoch"), "1");
    assert_eq!(fact(&whole, "head"), hex::encode(mark.head));
    assert_eq!(fact(&whole, "network"), "regtest");
    assert_eq!(fact(&whole, "torn_bytes"), "0");
    let journal = dir.path().join("hsm-journal");
    let bytes = fs::read(&journal).unwrap();
    let mut changed = bytes.clone();
    // In the first record's payload.
    changed[120] ^= 1;
    fs::write(&journal, changed).unwrap();
    refused(&verify(), "damaged at byte");
    fs::write(&journal, &bytes[..bytes.len() - 3]).unwrap();
    assert_ne!(fact(&verify(), "torn_bytes"), "0");
    fs::write(&journal, &bytes).unwrap();
    fs::write(&path, [7; 32]).unwrap();
    refused(&verify(), "another seed");
}

#[test]
fn descriptors_are_those_of_core_lightning() {
    let dir = tempfile::tempdir().unwrap();
    let path = words_file(dir.path());
    let found = file("dumponchaindescriptors", &path, "");
    let key = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3V\
               CECoY49yfdDEHGCtMMj92pReUsQ/0/*";
    assert_eq!(fact(&found, "wpkh"), format!("wpkh({key})#hjszq0wk"));
    assert_eq!(fact(&found, "tr"), format!("tr({key})#8e7pq23w"));
}

#[test]
fn files_of_a_running_node_are_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = words_file(dir.path());
    let journal = File::create(dir.path().join("hsm-journal")).unwrap();
    let lock = Flock::lock(journal, FlockArg::LockExclusiveNonblock).unwrap();
    refused(&file("encrypt", &path, "one\n"), "stop the node");
    drop(lock);
    let socket = dir.path().join("hsm-operator");
    let listener = UnixListener::bind(&socket).unwrap();
    refused(&file("encrypt", &path, "one\n"), "stop the node");
    drop(listener);
    assert_eq!(fact(&file("encrypt", &path, "one\n"), "node_id"), NODE_ID);
    let nobody = run(&["status", dir.path().to_str().unwrap()], "");
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}

#[test]
fn a_passphrase_is_no_argument() {
    let dir = tempfile::tempdir().unwrap();
    let path = words_file(dir.path());
    let output = run(&["encrypt", path.to_str().unwrap(), "one"], "");
    assert_eq!(output.status.code(), Some(3));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell], "");
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("change-passphrase") && !script.contains("--passphrase"));
    }
}
