//! Rule B1: a disk without space for hsm-journal stops the node, which says so. With space again it is at
//! what it had promised, and goes on.

use blackbox::folder::copy;
use blackbox::node::settled;
use blackbox::{Network, Node};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A tiny file system in a mount namespace of its own, which lives as long as a process in it.
struct Disk {
    keeper: Child,
    root: PathBuf,
    _at: tempfile::TempDir,
}

impl Disk {
    /// # Panics
    /// Where neither root's rights nor user namespaces allow a mount.
    fn of(kibibytes: u32) -> Disk {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().display();
        let script =
            format!("mount -t tmpfs -o size={kibibytes}k tmpfs {path} && echo ready && exec cat");
        let mut keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let out = keeper.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "this test needs to mount a tmpfs");
        Disk {
            root: PathBuf::from(format!("/proc/{}/root{path}", keeper.id())),
            keeper,
            _at: at,
        }
    }

    /// Takes all space but so many bytes.
    fn fill(&self, leaving: u64) -> PathBuf {
        let stats = nix::sys::statvfs::statvfs(&self.root).unwrap();
        let free = stats.blocks_available() * stats.fragment_size();
        let filler = self.root.join("filler");
        fs::write(&filler, vec![1; (free - leaving) as usize]).unwrap();
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// Moves a stopped node's folder there, all but its database, with links in their old places.
fn move_to(folder: &Path, to: &Path) {
    let disk = folder.with_extension("disk");
    fs::rename(folder, &disk).unwrap();
    for name in ["hsm_secret", "hsm-journal"] {
        copy(&disk.join(name), to).unwrap();
    }
    symlink(disk.join("db"), to.join("db")).unwrap();
    symlink(to, folder).unwrap();
}

fn pay(network: &Network, n: usize) -> bool {
    let invoice = network.nodes[1].invoice(10_000, &format!("payment {n}"));
    invoice.is_ok_and(|invoice| network.nodes[0].pay(&invoice.bolt11).is_ok())
}

fn words(node: &Node) -> String {
    let terminal = fs::read_to_string(node.lightning_dir().join("output.log")).unwrap();
    terminal + &node.log()
}

#[test]
fn b1_a_full_disk_stops_the_node_and_with_space_it_goes_on() {
    let disk = Disk::of(2048);
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    network.nodes[0].stop().unwrap();
    move_to(&network.nodes[0].network_dir(), &disk.root);
    // The small disk's user namespace knows root alone, so there hsmd cannot be its own user.
    let config = network.nodes[0].lightning_dir().join("config");
    fs::write(config, "sandbox=best-effort\n").unwrap();
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    assert!(pay(&network, 0), "it cannot pay at all");
    let filler = disk.fill(16 * 1024);
    let mut paid = 1;
    while pay(&network, paid) {
        paid += 1;
        assert!(paid < 1000, "there is no limit");
    }
    let status = network.nodes[0].wait_for_end().unwrap();
    assert!(!status.success(), "it ended with success");
    let words = words(&network.nodes[0]);
    // Whichever of its two files comes to the end of the disk first.
    let full =
        |file: &str| words.contains(&format!("cannot write {file}: No space left on device"));
    assert!(full("hsm-journal") || full("hsm-audit"), "{words}");
    assert!(words.contains("hsmd ended"), "{words}");
    fs::remove_file(filler).unwrap();
    network.nodes[0].launch().unwrap();
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    let (ours, theirs) = settled(&network.nodes[0], &network.nodes[1]).unwrap();
    assert_eq!(ours.to_us_msat + theirs.to_us_msat, ours.total_msat);
    for n in 0..paid {
        let status = network.nodes[1]
            .invoice_status(&format!("payment {n}"))
            .unwrap();
        assert_eq!(status.as_deref(), Some("paid"), "payment {n} was forgotten");
    }
    assert!(pay(&network, paid + 1), "it does not go on");
    let disagreements = network.nodes[0].disagreements();
    assert!(disagreements.is_empty(), "{disagreements:#?}");
}
