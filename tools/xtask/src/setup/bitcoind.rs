//! A bitcoind with a wallet, for the demo and the tests: $BITCOIND, or one on PATH, or Debian's package
//! `bitcoin-knots` unpacked into the cache folder. Its libraries come with it, and it runs with its own
//! loader, so that it works on a Debian older than the one it was built for.

use super::apt::{self, Apt};
use crate::paths;
use crate::run::{output, say};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "bitcoin-knots";
const SUITE: &str = "trixie";
const BACKPORTS: &str = "trixie-backports";
/// What the package names for running as a service, which is not needed here.
const NOT_NEEDED: [&str; 2] = ["debconf", "systemd"];

/// The bitcoind that the tests use; fetches one where there is none.
///
/// # Errors
/// Where $BITCOIND names nothing that runs, or none can be fetched; says what to do by hand.
pub fn ensure() -> Result<PathBuf> {
    if let Some(named) = env::var_os("BITCOIND").map(PathBuf::from) {
        version(&named).context("$BITCOIND does not name a bitcoind that runs")?;
        return Ok(named);
    }
    if let Some(found) = paths::on_path("bitcoind") {
        version(&found)?;
        return Ok(found);
    }
    let home = paths::cache().join("bitcoind");
    let program = home.join("bin/bitcoind");
    if version(&program).is_ok() {
        return Ok(program);
    }
    fetch(&home).context(
        "no bitcoind here, and none could be fetched: put Bitcoin Core's or Knots' bitcoind (27 or newer, \
         with wallet) on PATH, or name it in $BITCOIND",
    )?;
    say(&format!("setup: {}", version(&program)?));
    Ok(program)
}

fn version(program: &Path) -> Result<String> {
    let words = output(Command::new(program).arg("-version"))?;
    Ok(words.lines().next().unwrap_or_default().to_string())
}

fn fetch(home: &Path) -> Result<()> {
    say(&format!(
        "setup: fetching Debian's {PACKAGE} with apt (own lists, verified; about 25 MB)"
    ));
    let apt = Apt::open(
        &paths::cache().join("apt"),
        &[SUITE, BACKPORTS],
        &NOT_NEEDED,
    )?;
    let debs = apt.fetch(PACKAGE, BACKPORTS)?;
    say(&format!(
        "setup: unpacking {} packages into {}",
        debs.len(),
        home.display()
    ));
    // Beside its place first, then moved: an interrupted setup leaves nothing that looks whole.
    let fresh = home.with_extension("new");
    remove(&fresh)?;
    fs::create_dir_all(fresh.join("bin"))
        .with_context(|| format!("cannot make {}", fresh.display()))?;
    for deb in &debs {
        apt::unpack(deb, &fresh)?;
    }
    for program in ["bitcoind", "bitcoin-cli"] {
        wrap(&fresh, program)?;
    }
    remove(home)?;
    fs::rename(&fresh, home).with_context(|| format!("cannot move {} into place", fresh.display()))
}

/// Writes bin/<program>: a script that starts the unpacked program with the unpacked loader.
fn wrap(root: &Path, program: &str) -> Result<()> {
    let folders = library_folders(root)?;
    let loader = folders
        .iter()
        .flat_map(|folder| {
            fs::read_dir(root.join(folder))
                .into_iter()
                .flatten()
                .flatten()
        })
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
        })
        .context("the unpacked libc6 has no loader")?;
    let inside = loader
        .strip_prefix(root)
        .context("the loader lies outside")?;
    if !root.join("usr/bin").join(program).is_file() {
        bail!("the package {PACKAGE} holds no {program}");
    }
    let library_path: Vec<String> = folders
        .iter()
        .map(|folder| format!("$root/{folder}"))
        .collect();
    let script = format!(
        "#!/bin/sh\nroot=$(cd \"$(dirname \"$(readlink -f \"$0\")\")/..\" && pwd)\n\
         exec \"$root/{}\" --library-path \"{}\" \"$root/usr/bin/{program}\" \"$@\"\n",
        inside.display(),
        library_path.join(":"),
    );
    let file = root.join("bin").join(program);
    fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
        .context("cannot make it executable")
}

/// The folders under the root that hold shared libraries, such as usr/lib/x86_64-linux-gnu.
fn library_folders(root: &Path) -> Result<Vec<String>> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"] {
        let Ok(entries) = fs::read_dir(root.join(parent)) else {
            continue;
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        folders.extend(
            names
                .filter(|name| name.contains("-linux-"))
                .map(|name| format!("{parent}/{name}")),
        );
    }
    if folders.is_empty() {
        bail!("the unpacked packages hold no libraries");
    }
    Ok(folders)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
