//! `cargo xtask docs`: the pages that are written from the signer's own tables, and the check that
//! each path which a document names exists.
//!
//! docs/hsm-boundary.md comes from `hsm/src/msgs.rs`, docs/policy-rules.md from `hsm/src/rules.rs`
//! and the names of the tests. The lints fail if a page is not what the sources say.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::paths;
use crate::policy::{Rules, rule_rows};
use crate::run::{cargo, output, say};

const BOUNDARY: &str = "docs/hsm-boundary.md";
const RULES: &str = "docs/policy-rules.md";

#[derive(Args)]
pub struct DocsArgs {
    /// Write nothing; fail if a page is not what the sources say.
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or checks them; then all documents.
pub fn docs(arguments: &DocsArgs) -> Result<()> {
    let repository = paths::repository();
    if !arguments.check {
        for (file, text) in pages(&repository)? {
            let known = fs::read_to_string(repository.join(file)).unwrap_or_default();
            if known != text {
                fs::write(repository.join(file), text)
                    .with_context(|| format!("cannot write {file}"))?;
                say(&format!("wrote {file}"));
            }
        }
    }
    crate::lint::docs()
}

/// One line for each page that is not what the sources say.
pub fn violations(repository: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for (file, text) in pages(repository)? {
        let known = fs::read_to_string(repository.join(file)).unwrap_or_default();
        if known != text {
            violations.push(format!(
                "{file} is not what the sources say: run `cargo xtask docs` and commit it"
            ));
        }
    }
    Ok(violations)
}

fn pages(repository: &Path) -> Result<[(&'static str, String); 2]> {
    let rules = Rules::read(repository)?;
    Ok([
        (BOUNDARY, printed("boundary")?),
        (RULES, rules_page(&rules)),
    ])
}

/// What hsm's example `pages` prints: it alone may link the tables.
pub fn printed(what: &str) -> Result<String> {
    let mut command = cargo(&["run", "--quiet", "--package", "hsm", "--example", "pages"]);
    // The profile that this program was built in: its target folder has the dependencies.
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    output(command.args(["--", what]))
}

fn rules_page(rules: &Rules) -> String {
    let mut page = String::from(
        "\
# The rules of hsmd

Written by `cargo xtask docs` from `hsm/src/rules.rs` and the names of the tests. Do not edit.

None can be turned off. A refusal names its rule; nothing is signed and nothing changes. Each rule has
negative tests that are named after it, and `cargo xtask policy --mutate` takes each check out to see
that a test fails.

| id | what it says | where | tests |
|---|---|---|---|
",
    );
    page += &rule_rows(rules);
    page += "\n## Not asked for yet\n\nRules of the design whose subject this version does not have:\n\n";
    for (id, says) in &rules.planned {
        page += &format!("- **{id}** {says}\n");
    }
    page
}
