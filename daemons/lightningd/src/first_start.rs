//! A folder without a database: of a new node, of one that is recovered, or of one that has lost it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::bail;
use lightningd_options::Options;

/// There from before the seed's journal is made until the database is: a crash may interrupt a first start.
const MARK: &str = "first-start";
const SEED: &str = "hsm_secret";

pub struct FirstStart {
    mark: PathBuf,
}

impl FirstStart {
    /// Marks a first start, if it is one.
    ///
    /// # Errors
    /// As [`judge`]. The mark cannot be written.
    pub fn of(options: &Options, new_node: bool) -> anyhow::Result<FirstStart> {
        let folder = &options.network_dir;
        let mark = folder.join(MARK);
        judge(options, new_node)?;
        if new_node && !mark.try_exists()? {
            File::create(&mark)?.sync_all()?;
            File::open(folder)?.sync_all()?;
        }
        Ok(FirstStart { mark })
    }

    /// The database is there.
    ///
    /// # Errors
    /// The mark cannot be removed.
    pub fn done(self) -> io::Result<()> {
        match std::fs::remove_file(self.mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Whether this is a start that may make anything new.
///
/// # Errors
/// What is left of an earlier life says that something is lost; what to do.
pub fn judge(options: &Options, new_node: bool) -> anyhow::Result<()> {
    let folder = &options.network_dir;
    let shown = folder.display();
    let is_there = |name: &str| is_there(&folder.join(name));
    if folder.join(SEED).is_symlink() {
        bail!(
            "{SEED} in {shown} is a link, and hsmd sees nothing out of that folder: put the file itself there, \
             from where the link leads; nothing was created"
        );
    }
    if !new_node || is_there(MARK)? {
        return Ok(());
    }
    if is_there("hsm-journal")? {
        bail!(
            "there is no database in {shown}, but hsm-journal says that there was one: put the folder db back, \
             or restore it from a backup of the same moment; nothing was created"
        );
    }
    let has_run = is_there("hsm-audit")?;
    if !is_there(SEED)? {
        let misplaced = options.lightning_dir.join(SEED);
        if self::is_there(&misplaced)? {
            bail!(
                "{} is not where a seed belongs: move it to {shown}, or away if it is none of this network; \
                 nothing was created",
                misplaced.display()
            );
        }
        if has_run || is_there("emergency.recover")? {
            bail!(
                "a node has run in {shown}, but there is no {SEED}: put it back, or restore it from its words \
                 with lightning-hsmtool restorehsm; nothing was created"
            );
        }
    }
    if has_run && !options.await_recovery {
        bail!(
            "a node has run in {shown}, which hsm-audit shows, but there is neither a database nor an \
             hsm-journal: put back both, of the same moment. If both are lost, start once with \
             --await-recovery, and recover the channels with lightning-cli emergencyrecover or restorefrompeer; \
             nothing was created"
        );
    }
    Ok(())
}

/// A link that leads nowhere is there too.
fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
