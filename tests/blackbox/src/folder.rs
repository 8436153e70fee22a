//! Copies of files and folders, with owners and modes, as somebody who backs them up makes them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

/// Into the folder `to`, if that is there; else as `to`.
///
/// # Errors
/// Not all of it can be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(
        copied.success(),
        "{} cannot be copied to {}",
        from.display(),
        to.display()
    );
    Ok(())
}
