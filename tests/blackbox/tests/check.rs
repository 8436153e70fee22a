//! `lightningd --check`: it finds what is wrong with a node that does not run, says so in words with what to
//! do, and changes nothing. Each damage is real, and each is done to a copy of the same whole node.

use blackbox::folder::copy;
use blackbox::{Bitcoind, Network, Node};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A stopped node with a channel and a payment, and a copy of all that it has.
struct Patient {
    network: Network,
    whole: PathBuf,
}

fn patient() -> Patient {
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    pay(&network, "before");
    network.nodes[0].stop().unwrap();
    let whole = network.nodes[0].network_dir().with_extension("whole");
    copy(&network.nodes[0].network_dir(), &whole).unwrap();
    Patient { network, whole }
}

fn pay(network: &Network, label: &str) {
    let invoice = network.nodes[1].invoice(10_000_000, label).unwrap();
    network.nodes[0].pay(&invoice.bolt11).unwrap();
}

/// All files of a folder and below, and what is in them; not the sockets.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(contents(&entry.path()));
        } else if kind.is_file() {
            all.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// Whatever is in the folder, sockets too.
fn names(folder: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

fn of<'a>(said: &'a Value, check: &str) -> &'a Value {
    let checks = said["checks"].as_array().unwrap();
    let found = checks.iter().find(|entry| entry["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {said:#}"))
}

impl Patient {
    fn node(&self) -> &Node {
        &self.network.nodes[0]
    }

    fn folder(&self) -> PathBuf {
        self.node().network_dir()
    }

    /// Does the damage, and has it found by `check`, in words that hold `words`; then all is as before.
    fn finds(&self, check: &str, words: &[&str], damage: impl FnOnce(&Path)) {
        damage(&self.folder());
        let (before, named) = (contents(&self.folder()), names(&self.folder()));
        let (well, said) = self.node().check().unwrap();
        assert!(before == contents(&self.folder()), "something has changed");
        assert_eq!(named, names(&self.folder()), "something is left or gone");
        assert!(!well && said["ok"] == false, "{check}: {said:#}");
        let found = of(&said, check);
        assert_eq!(found["status"], "wrong", "{said:#}");
        let what = found["what"].as_str().unwrap();
        for word in words {
            assert!(what.contains(word), "no word of {word} in:\n{what}");
        }
        let advice = found["advice"].as_str().unwrap();
        assert!(!advice.is_empty(), "it does not say what to do");
        fs::remove_dir_all(self.folder()).unwrap();
        copy(&self.whole, &self.folder()).unwrap();
    }
}

/// Opens the database with RocksDB itself.
fn raw(folder: &Path, with: impl FnOnce(&mut rocksdb::DB)) {
    let (path, options) = (folder.join("db"), rocksdb::Options::default());
    let names = rocksdb::DB::list_cf(&options, &path).unwrap();
    with(&mut rocksdb::DB::open_cf(&options, &path, names).unwrap());
}

/// The newest file of the database with this ending.
fn newest(folder: &Path, ending: &str) -> PathBuf {
    let entries = fs::read_dir(folder.join("db")).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    let ours = paths.filter(|path| path.extension().is_some_and(|found| found == ending));
    ours.max().unwrap()
}

fn flip(file: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x20;
    fs::write(file, bytes).unwrap();
}

fn cut(file: &Path, to: impl FnOnce(u64) -> u64) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(to(len)).unwrap();
}

#[test]
fn a_whole_node_is_well_and_nothing_is_changed_and_a_running_one_is_left_alone() {
    let mut patient = patient();
    let before = contents(&patient.folder());
    let (well, said) = patient.node().check().unwrap();
    assert!(well && said["ok"] == true, "{said:#}");
    for check in [
        "files", "database", "seed", "journal", "moment", "chain", "funding",
    ] {
        assert_eq!(of(&said, check)["status"], "ok", "{said:#}");
    }
    assert!(
        before == contents(&patient.folder()),
        "something has changed"
    );
    let text = patient.node().check_with(&[]).unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("All is well."), "{text}");

    patient.network.nodes[0].launch().unwrap();
    let refused = patient.node().check_with(&["--json"]).unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(words.contains("another lightningd"), "{words}");
    // It was not disturbed, nor its channel.
    let [alice, bob] = [0, 1].map(|n| &patient.network.nodes[n]);
    alice.wait_for_normal(bob).unwrap();
    pay(&patient.network, "after");
    patient.network.nodes[0].kill_all().unwrap();
    let (well, said) = patient.node().check().unwrap();
    assert!(well, "what kill -9 leaves is well: {said:#}");
}

#[test]
fn a_file_that_a_start_could_not_use_is_found() {
    let patient = patient();
    for name in ["hsm-audit", "emergency.recover", "db/LOCK"] {
        patient.finds("files", &[name], |folder| {
            fs::remove_file(folder.join(name)).unwrap();
            fs::create_dir(folder.join(name)).unwrap();
        });
    }
    patient.finds("files", &["hsm-audit", "--await-recovery"], |folder| {
        fs::remove_file(folder.join("hsm-journal")).unwrap();
        fs::remove_dir_all(folder.join("db")).unwrap();
    });
    patient.finds("files", &["hsm_secret", "restorehsm"], |folder| {
        fs::remove_file(folder.join("hsm-journal")).unwrap();
        fs::remove_file(folder.join("hsm_secret")).unwrap();
        fs::remove_dir_all(folder.join("db")).unwrap();
    });
}

#[test]
fn a_damaged_database_is_found() {
    let patient = patient();
    let made_table = |folder: &Path| {
        raw(folder, |db| {
            for name in ["channels", "payments"] {
                db.flush_cf(db.cf_handle(name).unwrap()).unwrap();
            }
        });
        newest(folder, "sst")
    };
    patient.finds("database", &["damaged"], |folder| {
        flip(&made_table(folder), |len| len / 3);
    });
    patient.finds("database", &["damaged"], |folder| {
        cut(&made_table(folder), |len| len / 2);
    });
    patient.finds("database", &["damaged", ".sst"], |folder| {
        fs::remove_file(made_table(folder)).unwrap();
    });
    patient.finds("database", &["column families", "invoices"], |folder| {
        raw(folder, |db| db.drop_cf("invoices").unwrap());
    });
    patient.finds("database", &["CURRENT"], |folder| {
        fs::remove_file(folder.join("db/CURRENT")).unwrap();
    });
    patient.finds("database", &["there is no database"], |folder| {
        fs::remove_dir_all(folder.join("db")).unwrap();
    });
    patient.finds("database", &["cannot be read"], |folder| {
        raw(folder, |db| {
            let channels = db.cf_handle("channels").unwrap();
            db.put_cf(channels, 1u64.to_be_bytes(), [2, 7, 7]).unwrap();
        });
    });
    patient.finds("moment", &["lost commits"], |folder| {
        cut(&newest(folder, "log"), |len| len / 2);
    });
}

#[test]
fn a_database_of_a_newer_version_is_found_and_refused() {
    let mut patient = patient();
    let raise = |folder: &Path| {
        let path = folder.join("db");
        let view = lightningd_db::View::open(&path, "regtest").unwrap();
        let mut identity = view.identity().clone();
        drop(view);
        identity.schema += 1;
        let db = lightningd_db::Db::open(&path, &identity).unwrap();
        db.close().unwrap();
    };
    patient.finds(
        "database",
        &["schema", "use the version that wrote it"],
        raise,
    );
    let newer = |folder: &Path| {
        raw(folder, |db| {
            let channels = db.cf_handle("channels").unwrap();
            db.put_cf(channels, 1u64.to_be_bytes(), [200, 7, 7])
                .unwrap();
        });
    };
    patient.finds("database", &["newer version"], newer);
    // The start says the same.
    raise(&patient.folder());
    let before = contents(&patient.folder().join("db"));
    let words = patient.network.nodes[0].launch_refused().unwrap().words;
    assert!(words.contains("use the version that wrote it"), "{words}");
    assert!(before == contents(&patient.folder().join("db")));
}

#[test]
fn a_seed_or_journal_that_is_gone_another_or_older_is_found() {
    let mut patient = patient();
    let mut stranger = Node::start(&patient.network.bitcoind, "stranger").unwrap();
    let foreign = stranger.network_dir();
    stranger.stop().unwrap();
    patient.finds("seed", &["hsm_secret"], |folder| {
        fs::remove_file(folder.join("hsm_secret")).unwrap();
    });
    patient.finds("seed", &["but the database belongs to node"], |folder| {
        copy(&foreign.join("hsm_secret"), folder).unwrap();
    });
    patient.finds("journal", &["another seed"], |folder| {
        copy(&foreign.join("hsm-journal"), folder).unwrap();
    });
    patient.finds("journal", &["no hsm-journal"], |folder| {
        fs::remove_file(folder.join("hsm-journal")).unwrap();
    });
    patient.finds("journal", &["damaged at byte"], |folder| {
        flip(&folder.join("hsm-journal"), |len| len / 2);
    });
    patient.finds("journal", &["no journal"], |folder| {
        cut(&folder.join("hsm-journal"), |_| 50);
    });
    patient.finds("moment", &["older copy"], |folder| {
        cut(&folder.join("hsm-journal"), |len| len - 300);
    });

    // Both as they were before two more payments.
    let old = patient.whole.clone();
    let newer = patient.whole.with_extension("newer");
    patient.network.nodes[0].launch().unwrap();
    let [alice, bob] = [0, 1].map(|n| &patient.network.nodes[n]);
    alice.wait_for_normal(bob).unwrap();
    for n in 0..2 {
        pay(&patient.network, &format!("later {n}"));
    }
    patient.network.nodes[0].stop().unwrap();
    copy(&patient.folder(), &newer).unwrap();
    patient.whole = newer;
    patient.finds("moment", &["hsm-journal is an older copy"], |folder| {
        copy(&old.join("hsm-journal"), folder).unwrap();
    });
    patient.finds("moment", &["the database is an older copy"], |folder| {
        fs::remove_dir_all(folder.join("db")).unwrap();
        copy(&old.join("db"), folder).unwrap();
    });
    let (well, said) = patient.node().check().unwrap();
    assert!(well, "{said:#}");
}

#[test]
fn another_chain_and_a_bitcoind_that_is_away_are_found() {
    let mut patient = patient();
    let other = Bitcoind::start().unwrap();
    other.mine(30).unwrap();
    let port = format!("--bitcoin-rpcport={}", other.rpc_port());
    let data = format!("--bitcoin-datadir={}", other.data().display());
    let check = |arguments: &[&str]| -> Value {
        let output = patient.node().check_with(arguments).unwrap();
        assert!(!output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let said = check(&["--json", &port, &data]);
    let chain = of(&said, "chain");
    assert_eq!(chain["status"], "wrong", "{said:#}");
    assert!(chain["what"].as_str().unwrap().contains("another chain"));

    // Of another network, it says so by name.
    let data = tempfile::tempdir().unwrap();
    let signet = Signet::start(data.path());
    let said = blackbox::until("signet's bitcoind has started", || {
        let said = check(&["--json", &signet.port, &signet.data]);
        let what = of(&said, "chain")["what"].as_str().unwrap().to_owned();
        Ok((!what.contains("is starting")).then_some(said))
    })
    .unwrap();
    let chain = of(&said, "chain");
    assert_eq!(chain["status"], "wrong", "{said:#}");
    assert!(chain["what"].as_str().unwrap().contains("`signet`"));
    drop(signet);

    patient.network.bitcoind.stop().unwrap();
    let (well, said) = patient.node().check().unwrap();
    assert!(!well);
    assert_eq!(of(&said, "chain")["status"], "not checked", "{said:#}");
    assert_eq!(of(&said, "moment")["status"], "ok", "{said:#}");
    let advice = of(&said, "chain")["advice"].as_str().unwrap();
    assert!(advice.contains("bitcoind"), "{advice}");
}

/// A bitcoind of another network, which has no block but the first.
struct Signet {
    child: std::process::Child,
    port: String,
    data: String,
}

impl Signet {
    fn start(data: &Path) -> Signet {
        let program = blackbox::bitcoind::program().unwrap();
        let port = blackbox::ports::free().unwrap();
        let child = Command::new(program)
            .args([
                "-signet",
                "-server",
                "-listen=0",
                "-dnsseed=0",
                "-connect=0",
            ])
            .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"])
            .arg(format!("-rpcport={port}"))
            .arg(format!("-datadir={}", data.display()))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let cookie = data.join("signet/.cookie");
        blackbox::until("signet's bitcoind is there", || {
            Ok(cookie.exists().then_some(()))
        })
        .unwrap();
        // lightningd looks for the cookie of its own network.
        fs::create_dir_all(data.join("regtest")).unwrap();
        std::os::unix::fs::symlink(&cookie, data.join("regtest/.cookie")).unwrap();
        blackbox::until("signet's bitcoind answers", || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port))
                .ok()
                .map(drop))
        })
        .unwrap();
        Signet {
            child,
            port: format!("--bitcoin-rpcport={port}"),
            data: format!("--bitcoin-datadir={}", data.display()),
        }
    }
}

impl Drop for Signet {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_channel_that_was_spent_while_the_node_was_off_is_found_until_the_node_knows() {
    let mut patient = patient();
    let alice = patient.node().name().to_owned();
    let bob = &patient.network.nodes[1];
    let peer = bob.rpc("listpeerchannels", serde_json::json!({})).unwrap();
    let id = peer["channels"][0]["peer_id"].as_str().unwrap();
    let params = serde_json::json!({"id": id, "unilateraltimeout": 1});
    bob.rpc("close", params).unwrap();
    let spender = patient.network.bitcoind.wait_for_mempool(1).unwrap();
    patient.network.bitcoind.mine(1).unwrap();
    let (well, said) = patient.node().check().unwrap();
    let funding = of(&said, "funding");
    assert!(!well && funding["status"] == "wrong", "{alice}: {said:#}");
    let what = funding["what"].as_str().unwrap();
    let named = |txid: &String| what.contains(txid.as_str());
    assert!(spender.iter().any(named), "{spender:?} in {what}");
    assert_eq!(of(&said, "chain")["status"], "ok", "{said:#}");

    patient.network.nodes[0].launch().unwrap();
    let height = patient.network.bitcoind.height().unwrap();
    patient.node().wait_for_height(height).unwrap();
    // Its channel hears of the block after that.
    let bob = patient.network.nodes[1].id().unwrap();
    patient.node().wait_for_state(&bob, "ONCHAIN").unwrap();
    patient.network.nodes[0].stop().unwrap();
    let (well, said) = patient.node().check().unwrap();
    assert!(well, "{said:#}");
}

/// The owner's tool, with this on its standard input.
fn tool(arguments: &[&str], typed: &str) -> std::process::Output {
    use std::io::Write;
    let mut child = Command::new(blackbox::node::program("lightning-hsmtool").unwrap())
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // One that is refused at once reads nothing.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_sealed_seed_is_checked_as_soon_as_its_owner_unlocks_it() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    node.stop().unwrap();
    let folder = node.network_dir();
    let (seed, at) = (folder.join("hsm_secret"), folder.display().to_string());
    let typed = "a passphrase\n";
    let sealed = tool(&["encrypt", seed.to_str().unwrap()], typed);
    assert!(sealed.status.success(), "{sealed:?}");
    let before = contents(&folder);
    let unlocking = std::thread::spawn(move || {
        blackbox::until("the check waits for the passphrase", || {
            let unlocked = tool(&["unlock", &at], typed);
            Ok(unlocked.status.success().then_some(()))
        })
    });
    let (well, said) = node.check().unwrap();
    unlocking.join().unwrap().unwrap();
    assert!(well, "{said:#}");
    assert!(before == contents(&folder), "something has changed");
}
