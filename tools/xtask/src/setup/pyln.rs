//! A Python with Core Lightning's own client, `pyln-client` from PyPI, for the test that speaks to
//! our nodes with it: $PYLN_PYTHON, or an environment of its own in the cache folder.

use super::system::{self, Need};
use crate::paths;
use crate::run::{check, output, say};
use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "pyln-client==26.6.9";

const PYTHON: Need = Need {
    what: "Python 3 with venv",
    why: "Core Lightning's own client is a Python package",
    packages: &["python3", "python3-venv"],
    present: || {
        let venv = Command::new("python3")
            .args(["-c", "import venv, ensurepip"])
            .output();
        venv.is_ok_and(|done| done.status.success())
    },
};

/// The Python that the tests use; makes its environment where there is none.
///
/// # Errors
/// Where there is none and none can be made; says what to do by hand.
pub fn ensure() -> Result<PathBuf> {
    if let Some(named) = env::var_os("PYLN_PYTHON").map(PathBuf::from) {
        works(&named).context("$PYLN_PYTHON does not name a Python with pyln-client")?;
        return Ok(named);
    }
    let home = paths::cache().join(PACKAGE);
    let python = home.join("bin/python");
    if works(&python).is_ok() {
        return Ok(python);
    }
    make(&home, &python).with_context(|| {
        format!(
            "no Python with {PACKAGE} here, and none could be made: make one by hand \
             (python3 -m venv FOLDER && FOLDER/bin/pip install {PACKAGE}) and name it in \
             $PYLN_PYTHON=FOLDER/bin/python"
        )
    })?;
    Ok(python)
}

fn make(home: &Path, python: &Path) -> Result<()> {
    system::provide(&[PYTHON])?;
    say(&format!("setup: {PACKAGE} into {}", home.display()));
    if home.exists() {
        // What an interrupted setup left.
        fs::remove_dir_all(home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    check(Command::new("python3").args(["-m", "venv"]).arg(home))?;
    let pip = ["-m", "pip", "install", "--quiet", "--retries=1", PACKAGE];
    check(Command::new(python).args(pip))?;
    works(python)
}

fn works(python: &Path) -> Result<()> {
    output(Command::new(python).args(["-c", "import pyln.client"])).map(drop)
}
