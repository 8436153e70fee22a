//! A database that is missing or damaged, or a seed that is not its own: the node refuses to start, says
//! what is wrong and what to do, makes nothing new beside the old, and starts again once it is put right.

use anyhow::Result;
use blackbox::{Bitcoind, Network, Node, Options};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A stopped node that has a state worth keeping: an invoice.
struct Kept {
    bitcoind: Bitcoind,
    node: Node,
    id: String,
}

fn kept() -> Kept {
    let bitcoind = Bitcoind::start().unwrap();
    let mut node = Node::start(&bitcoind, "alice").unwrap();
    let id = node.id().unwrap();
    node.invoice(1_000, "kept").unwrap();
    node.stop().unwrap();
    Kept { bitcoind, node, id }
}

impl Kept {
    fn database(&self) -> PathBuf {
        self.node.network_dir().join("db")
    }

    fn seed(&self) -> PathBuf {
        self.node.network_dir().join("hsm_secret")
    }

    /// It refuses and its words hold each of these.
    fn refuses(&mut self, naming: &[&str]) {
        refuses(&mut self.node, naming);
    }

    /// Once put right, it is the node that it was.
    fn goes_on(&mut self) {
        self.node.launch().unwrap();
        assert_eq!(self.node.id().unwrap(), self.id);
        assert_eq!(
            self.node.invoice_status("kept").unwrap().as_deref(),
            Some("unpaid")
        );
        self.node
            .wait_for_height(self.bitcoind.height().unwrap())
            .unwrap();
    }
}

fn refuses(node: &mut Node, naming: &[&str]) {
    let refusal = node.launch_refused().unwrap();
    let words = refusal.words.to_lowercase();
    for name in naming {
        assert!(
            words.contains(name),
            "no word of {name} in:\n{}",
            refusal.words
        );
    }
    let advice = ["restore", "put back", "backup"]
        .iter()
        .any(|word| words.contains(word));
    assert!(advice, "it does not say what to do:\n{}", refusal.words);
}

fn away(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap().to_string_lossy();
    let away = path.with_file_name(format!("{name}.away"));
    fs::rename(path, &away).unwrap();
    away
}

/// Where it was before it was put away.
fn back(away: &Path) -> PathBuf {
    away.with_extension("")
}

fn files(folder: &Path, starting: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(starting))
    };
    Ok(entries.filter(named).collect())
}

#[test]
fn a_missing_database_is_refused_and_none_is_made() {
    let mut kept = kept();
    let database = kept.database();
    let away = away(&database);
    kept.refuses(&["database"]);
    assert!(
        !database.exists(),
        "a new database was made beside the old seed"
    );
    fs::rename(away, database).unwrap();
    kept.goes_on();
}

#[test]
fn an_emptied_database_is_refused() {
    let mut kept = kept();
    let database = kept.database();
    let away = away(&database);
    fs::create_dir(&database).unwrap();
    kept.refuses(&["database"]);
    assert!(
        !database.join("CURRENT").exists(),
        "a new database was made in the empty folder"
    );
    fs::remove_dir_all(&database).unwrap();
    fs::rename(away, database).unwrap();
    kept.goes_on();
}

#[test]
fn a_database_without_its_index_is_refused() {
    let mut kept = kept();
    let current = kept.database().join("CURRENT");
    let away = away(&current);
    kept.refuses(&["database"]);
    assert!(!current.exists(), "the index was made anew");
    fs::rename(away, current).unwrap();
    kept.goes_on();
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let mut kept = kept();
    let manifests = files(&kept.database(), "MANIFEST-").unwrap();
    let manifest = manifests.first().expect("RocksDB has a manifest");
    let good = fs::read(manifest).unwrap();
    fs::write(manifest, b"this is not a manifest").unwrap();
    kept.refuses(&["database"]);
    assert_eq!(fs::read(manifest).unwrap(), b"this is not a manifest");
    fs::write(manifest, good).unwrap();
    kept.goes_on();
}

#[test]
fn a_seed_that_is_not_the_databases_is_refused() {
    let mut kept = kept();
    let mut stranger = Node::start(&kept.bitcoind, "stranger").unwrap();
    stranger.stop().unwrap();
    let seed = kept.seed();
    let away = away(&seed);
    fs::copy(stranger.network_dir().join("hsm_secret"), &seed).unwrap();
    kept.refuses(&["hsm_secret"]);
    fs::rename(away, seed).unwrap();
    kept.goes_on();
}

#[test]
fn a_missing_seed_is_refused_and_none_is_made() {
    let mut kept = kept();
    let seed = kept.seed();
    let away = away(&seed);
    kept.refuses(&["hsm_secret"]);
    assert!(
        !seed.exists(),
        "a new seed was made beside the old database"
    );
    fs::rename(away, seed).unwrap();
    kept.goes_on();
}

#[test]
fn a_seed_that_is_a_link_or_in_another_folder_is_refused_and_none_is_made() {
    let bitcoind = Bitcoind::start().unwrap();
    let mut other = Node::start(&bitcoind, "other").unwrap();
    let id = other.id().unwrap();
    other.stop().unwrap();
    let theirs = other.network_dir().join("hsm_secret");
    let mut node = Node::prepare(&bitcoind, "alice", Options::default()).unwrap();
    let folder = node.network_dir();
    let (seed, above) = (
        folder.join("hsm_secret"),
        folder.with_file_name("hsm_secret"),
    );
    fs::create_dir_all(&folder).unwrap();
    fs::copy(&theirs, &above).unwrap();
    let refused = node.launch_refused().unwrap().words;
    assert!(refused.contains("move it to"), "{refused}");
    assert!(!seed.exists() && !folder.join("db").exists());
    // Out of what hsmd sees, within it, and to nowhere.
    fs::copy(&theirs, folder.join("kept")).unwrap();
    for target in [above.as_path(), Path::new("kept"), Path::new("/nowhere")] {
        std::os::unix::fs::symlink(target, &seed).unwrap();
        let refused = node.launch_refused().unwrap().words;
        assert!(refused.contains("is a link"), "{refused}");
        let (well, said) = node.check().unwrap();
        assert!(!well && said["checks"][0]["status"] == "wrong", "{said:#}");
        assert_eq!(fs::read_link(&seed).unwrap(), target);
        fs::remove_file(&seed).unwrap();
    }
    fs::rename(above, seed).unwrap();
    node.launch().unwrap();
    assert_eq!(node.id().unwrap(), id);
}

#[test]
fn what_is_left_of_an_earlier_life_is_no_new_node_without_the_owners_word() {
    let mut kept = kept();
    let folder = kept.node.network_dir();
    let gone = [folder.join("db"), folder.join("hsm-journal")];
    gone.iter().for_each(|path| drop(away(path)));
    kept.refuses(&["hsm-audit", "--await-recovery"]);
    let (well, said) = kept.node.check().unwrap();
    assert!(!well, "{said:#}");
    assert_eq!(said["checks"][0]["status"], "wrong", "{said:#}");
    // Nor with a new seed.
    for left in ["hsm-audit", "emergency.recover"] {
        let seed = away(&kept.seed());
        let others = ["hsm-audit", "emergency.recover"]
            .into_iter()
            .filter(|name| *name != left);
        let others: Vec<PathBuf> = others.map(|name| away(&folder.join(name))).collect();
        kept.refuses(&["hsm_secret", "restorehsm"]);
        assert!(!kept.seed().exists() && !gone[0].exists() && !gone[1].exists());
        for path in others.into_iter().chain([seed]) {
            fs::rename(&path, back(&path)).unwrap();
        }
    }
    kept.node.set_options(Options {
        arguments: vec!["--await-recovery".into()],
        ..Options::default()
    });
    kept.node.launch().unwrap();
    assert_eq!(kept.node.id().unwrap(), kept.id);
}

#[test]
fn a_missing_journal_is_refused_and_none_is_made() {
    let mut kept = kept();
    let journal = kept.node.network_dir().join("hsm-journal");
    let away = away(&journal);
    kept.refuses(&["hsm-journal"]);
    assert!(
        !journal.exists(),
        "a new journal was made beside the old database"
    );
    fs::rename(away, journal).unwrap();
    kept.goes_on();
}

#[test]
fn a_journal_from_before_a_channel_is_refused() {
    let mut network = Network::start(&["alice", "bob"]).unwrap();
    let journal = network.nodes[0].network_dir().join("hsm-journal");
    let before = fs::read(&journal).unwrap();
    let channel = network.open(0, 1, 1_000_000, 0).unwrap();
    network.nodes[0].stop().unwrap();
    let newest = fs::read(&journal).unwrap();
    fs::write(&journal, &before).unwrap();
    refuses(&mut network.nodes[0], &["hsm-journal", "channel"]);
    assert_eq!(fs::read(&journal).unwrap(), before);
    fs::write(&journal, newest).unwrap();
    network.nodes[0].launch().unwrap();
    let after = network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    assert_eq!(after.channel_id, channel.channel_id);
}

#[test]
fn a_first_start_that_is_killed_is_not_taken_for_a_loss() {
    let bitcoind = Bitcoind::start().unwrap();
    for moment in (0..120).step_by(6) {
        let mut node = Node::prepare(&bitcoind, "alice", Options::default()).unwrap();
        node.launch_and_kill9(Duration::from_millis(moment))
            .unwrap();
        node.launch()
            .unwrap_or_else(|error| panic!("killed after {moment} ms: {error:#}"));
    }
}
