//! The checks that need no test run.

mod documents;
mod layers;
mod sources;

use crate::paths;
use crate::run::{cargo, check, say};
use anyhow::{Result, bail};

/// Format, clippy, layers, sources, documents. The cheap ones first.
pub fn all() -> Result<()> {
    say("lint: layers (which crate may name which)");
    report("layers", layers::violations(&paths::repository())?)?;
    say("lint: sources (sizes; no clock, files or sockets in the pure crates)");
    report("sources", sources::violations(&paths::repository())?)?;
    docs()?;
    say("lint: cargo fmt --check");
    check(&mut cargo(&["fmt", "--all", "--check"]))?;
    say("lint: cargo clippy, warnings are errors");
    check(&mut cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    deny()
}

/// Each path that a document names exists.
pub fn docs() -> Result<()> {
    say("lint: documents (each path they name exists)");
    report("documents", documents::violations(&paths::repository())?)
}

/// cargo-deny's rules, where it is installed.
fn deny() -> Result<()> {
    if paths::on_path("cargo-deny").is_none() {
        say("lint: cargo-deny is not installed; the layer check above covers who links hsm");
        return Ok(());
    }
    say("lint: cargo deny (bans, licences, sources)");
    check(&mut cargo(&[
        "deny",
        "--workspace",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn report(check: &str, violations: Vec<String>) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    bail!("{check}:\n  {}", violations.join("\n  "));
}
