//! `cargo xtask setup`: what a build and the tests need, checked, and installed where we may.

mod apt;
mod bitcoind;
mod system;

use crate::run::say;
use anyhow::Result;
use std::path::PathBuf;

/// Everything: compilers, rustfmt and clippy, bitcoind. Does nothing where all is there.
pub fn setup() -> Result<()> {
    say("setup: checking the compilers, libclang, rustfmt, clippy and bitcoind");
    toolchain()?;
    let bitcoind = bitcoind::ensure()?;
    say(&format!("setup: done (bitcoind: {})", bitcoind.display()));
    Ok(())
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
