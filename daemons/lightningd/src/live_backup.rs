//! `backup`: all that the node is, in a folder of its own, while it runs.
//!
//! First the database, of one moment; after it hsm-journal, which by then has every record that the database
//! names (rule B2); then what never changes. It has another name until all of it is on the disk.
//!
//! hsm-journal is appended to, and may be replaced by a compaction, at any time: the file that is open here
//! stays the whole journal up to where it ended when it was opened, and a last record that is only half in
//! it is cut at the next start. The seed goes from file to file within the kernel, and is not read here.
//!
//! What is made says of itself that it is a copy: the node goes on, so that its channels are older there
//! than what their peers have. A start with it is refused until the owner confirms that, and hsmd then signs
//! nothing before a channel's peer has shown its state (ADR 8).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bitcoin::hashes::{Hash, HashEngine, sha256};
use lightningd_db::Db;
use lightningd_options::Options;

/// As `sha256sum -c` takes it.
const SUMS: &str = "SHA256SUMS";
const SEED: &str = "hsm_secret";
const JOURNAL: &str = "hsm-journal";
/// Of the network's folder, if they are there.
const OTHERS: [&str; 3] = [SEED, "emergency.recover", "config"];

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub files: u64,
    pub bytes: u64,
}

/// Copies the node to the folder `to`, which is not there yet. Blocks for as long as that takes.
///
/// # Errors
/// Something stands there; a file cannot be read or written: then nothing is left of it.
pub fn make(options: &Options, db: &Db, to: &Path) -> anyhow::Result<Made> {
    ensure!(to.is_absolute(), "destination must be an absolute path");
    ensure!(!to.exists(), "{} is there already", to.display());
    let name = to.file_name().context("destination has no name")?;
    ensure!(
        !is_within(to, &options.network_dir),
        "{} is in the node's own folder, and would be lost with it: name another, on another disk",
        to.display()
    );
    let mut name = name.to_os_string();
    name.push(".making");
    let building = to.with_file_name(name);
    match DirBuilder::new().mode(0o700).create(&building) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "{} is left from a backup that was interrupted: remove it",
            building.display()
        ),
        made => made.with_context(|| format!("cannot create {}", building.display()))?,
    }
    let made = fill(options, db, &building).and_then(|made| {
        fs::rename(&building, to).with_context(|| format!("cannot make {}", to.display()))?;
        Ok(made)
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&building);
    }
    let made = made?;
    sync(to.parent().unwrap_or(to))?;
    Ok(made)
}

/// Links in between included.
fn is_within(path: &Path, folder: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    let parent = path.parent().and_then(whole);
    parent
        .zip(whole(folder))
        .is_some_and(|(parent, folder)| parent.starts_with(folder))
}

fn fill(options: &Options, db: &Db, building: &Path) -> anyhow::Result<Made> {
    let network = building.join(options.network.name());
    DirBuilder::new()
        .mode(0o700)
        .create(&network)
        .with_context(|| format!("cannot create {}", network.display()))?;
    let journal = options.network_dir.join(JOURNAL);
    let mut open = None;
    // As soon as the database's moment is fixed: what the journal has beyond it is little.
    let open_journal = || open = Some(File::open(&journal).and_then(with_length));
    db.backup(&network.join("db"), crate::store::now(), open_journal)?;
    let open = open.context("the database has no moment")?;
    let source = open.with_context(|| format!("cannot open {}", journal.display()))?;
    copy_open(source, &network.join(JOURNAL))?;
    for name in OTHERS {
        copy_if_there(&options.network_dir.join(name), &network.join(name))?;
    }
    let config = match &options.conf {
        Some(conf) => conf.clone(),
        None => options.lightning_dir.join("config"),
    };
    if let Some(name) = config.file_name() {
        copy_if_there(&config, &building.join(name))?;
    }
    let mut paths = Vec::new();
    list(building, &mut paths)?;
    paths.sort();
    let made = sums(building, &paths)?;
    for folder in [&network.join("db"), &network, building] {
        sync(folder)?;
    }
    Ok(made)
}

fn copy_if_there(from: &Path, to: &Path) -> anyhow::Result<()> {
    match from.exists() {
        true => copy(from, to),
        false => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let source = File::open(from).and_then(with_length);
    copy_open(
        source.with_context(|| format!("cannot open {}", from.display()))?,
        to,
    )
}

fn with_length(file: File) -> io::Result<(File, u64)> {
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// As much as that of the file, for its owner alone, durably.
fn copy_open((source, length): (File, u64), to: &Path) -> anyhow::Result<()> {
    let copied = || {
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        io::copy(&mut source.take(length), &mut target)?;
        target.sync_all()
    };
    copied().with_context(|| format!("cannot make {}", to.display()))
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => list(&entry.path(), paths)?,
            false => paths.push(entry.path()),
        }
    }
    Ok(())
}

/// Writes the hash of each file. Not that of the seed: whether it is the right one is told by the node id
/// in the database.
fn sums(building: &Path, paths: &[PathBuf]) -> anyhow::Result<Made> {
    let (mut text, mut bytes) = (String::new(), 0u64);
    for path in paths {
        bytes += fs::metadata(path)?.len();
        if path.file_name().is_some_and(|name| name == SEED) {
            continue;
        }
        let name = path.strip_prefix(building).unwrap_or(path);
        text.push_str(&format!("{}  {}\n", hash(path)?, name.display()));
    }
    let path = building.join(SUMS);
    let write = || {
        fs::write(&path, &text)?;
        File::open(&path)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Made {
        files: paths.len() as u64 + 1,
        bytes: bytes + text.len() as u64,
    })
}

fn hash(path: &Path) -> anyhow::Result<sha256::Hash> {
    let mut engine = sha256::Hash::engine();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sha256::Hash::from_engine(engine)),
            read => engine.input(&buffer[..read]),
        }
    }
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync {}", folder.display()))
}
