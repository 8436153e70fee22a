//! The checks that need no test run.

mod documents;
mod layers;
mod sources;

use crate::bolts;
use crate::pages;
use crate::paths;
use crate::policy;
use crate::run::{cargo, check, say};
use crate::schema;
use crate::tcb;
use anyhow::{Result, bail};

/// Layers, sources, documents, format, clippy: all of the cheap ones first, then the slow.
pub fn all() -> Result<()> {
    let repository = paths::repository();
    say("lint: layers (which crate may name which)");
    let mut violations = layers::violations(&repository)?;
    say("lint: sources (sizes; no clock, files or sockets in the pure crates)");
    violations.extend(sources::violations(&repository)?);
    say("lint: documents (each path they name exists)");
    violations.extend(documents::violations(&repository)?);
    say("lint: bolts (docs/bolts.toml names places and tests that exist)");
    violations.extend(bolts::violations(&repository)?);
    say("lint: schema (ipc/schema.lock is what the sources say)");
    violations.extend(schema::violation(&repository)?);
    say("lint: trusted part (lines and crates of hsmd, unsafe)");
    violations.extend(tcb::violations(&repository)?);
    say("lint: rules (each has a test and a mutation) and the pages written from the sources");
    violations.extend(policy::violations(&repository)?);
    violations.extend(pages::violations(&repository)?);
    say("lint: cargo fmt --check");
    if check(&mut cargo(&["fmt", "--all", "--check"])).is_err() {
        violations.push("not formatted: run `cargo fmt --all`".into());
    }
    report(violations)?;
    say("lint: cargo clippy, warnings are errors");
    let mut clippy = cargo(&["clippy", "--release", "--workspace", "--all-targets"]);
    check(clippy.args(["--", "-D", "warnings"]))?;
    deny()
}

/// The pages are what the sources say, and each path that a document names exists.
pub fn docs() -> Result<()> {
    let repository = paths::repository();
    let mut violations = pages::violations(&repository)?;
    violations.extend(documents::violations(&repository)?);
    report(violations)?;
    say("each path that a document names exists");
    Ok(())
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

fn report(violations: Vec<String>) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    bail!("against the rules:\n  {}", violations.join("\n  "));
}
