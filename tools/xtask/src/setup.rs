//! `cargo xtask setup`: what a build and the tests need, checked, and installed where we may.

mod apt;
mod bitcoind;
mod pyln;
mod system;

use crate::run::say;
use anyhow::Result;
use std::path::PathBuf;

/// Everything, also what only tests need. Does nothing where all is there.
pub fn setup() -> Result<()> {
    to_run()?;
    let python = pyln::ensure()?;
    say(&format!("setup: pyln-client: {}", python.display()));
    Ok(())
}

/// What running a node takes: compilers, rustfmt and clippy, bitcoind.
pub fn to_run() -> Result<()> {
    say("setup: checking the compilers, libclang, rustfmt, clippy and bitcoind");
    toolchain()?;
    let bitcoind = bitcoind::ensure()?;
    say(&format!("setup: done (bitcoind: {})", bitcoind.display()));
    Ok(())
}

/// The Python with Core Lightning's client that setup found or made.
pub fn pyln() -> Result<PathBuf> {
    pyln::ensure()
}

/// What a build and the lints need.
pub fn toolchain() -> Result<()> {
    system::packages()?;
    system::components()
}

/// The bitcoind that setup found or fetched.
pub fn bitcoind() -> Result<PathBuf> {
    bitcoind::ensure()
}
