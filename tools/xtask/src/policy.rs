//! `cargo xtask policy`: each rule of the signer has a test that is named after it, each such test a
//! rule, and each rule a mutation: its check taken out. `--mutate` applies them, one at a time, and
//! expects a test to fail.

mod mutate;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::pages::printed;
use crate::paths;
use crate::run::say;

/// Where tests of rules are.
const TESTS: [&str; 4] = [
    "hsm/src",
    "ipc/messages/hsm/src",
    "daemons/hsmd/src",
    "daemons/hsmd/tests",
];

#[derive(Args)]
pub struct PolicyArgs {
    /// Take each check out, one at a time, and run the signer's tests: one must fail.
    #[arg(long)]
    mutate: bool,
    /// Only mutations of this rule (`C4`).
    #[arg(long)]
    rule: Option<String>,
}

/// A rule as `hsm/src/rules.rs` says it.
pub struct Rule {
    pub id: String,
    pub says: String,
    pub place: String,
    /// Names of its tests.
    pub tests: Vec<String>,
}

pub struct Rules {
    pub rules: Vec<Rule>,
    /// Tests whose names begin like a rule's, of no rule.
    pub strays: Vec<String>,
    /// Rules of the design that nothing keeps yet, and what they say.
    pub planned: Vec<(String, String)>,
}

/// Checks the tables, and with `--mutate` the tests.
pub fn policy(arguments: &PolicyArgs) -> Result<()> {
    let repository = paths::repository();
    let violations = violations(&repository)?;
    if !violations.is_empty() {
        bail!("against the rules:\n  {}", violations.join("\n  "));
    }
    say("each rule has a test and a mutation that matches");
    match arguments.mutate || arguments.rule.is_some() {
        true => mutate::all(&repository, arguments.rule.as_deref()),
        false => Ok(()),
    }
}

/// One line for each rule without a test or mutation, and each test or mutation without a rule.
pub fn violations(repository: &Path) -> Result<Vec<String>> {
    let rules = Rules::read(repository)?;
    let mut broken: Vec<String> = Vec::new();
    for rule in &rules.rules {
        if rule.tests.is_empty() {
            let name = rule.id.to_lowercase();
            broken.push(format!("rule {} has no test `{name}_...`", rule.id));
        }
        if !repository.join(&rule.place).exists() {
            broken.push(format!(
                "rule {} names {}, which is not there",
                rule.id, rule.place
            ));
        }
    }
    for test in &rules.strays {
        broken.push(format!(
            "test {test} is named after a rule that hsm/src/rules.rs does not have"
        ));
    }
    broken.extend(mutate::violations(repository, &rules)?);
    Ok(broken)
}

impl Rules {
    pub fn read(repository: &Path) -> Result<Rules> {
        let said = printed("rules")?;
        let mut tests = tests(repository)?;
        let mut rules = Vec::new();
        let mut planned = Vec::new();
        for line in said.lines() {
            let parts: Vec<&str> = line.split('\t').collect();
            match parts.as_slice() {
                [id, says] => planned.push((id.to_string(), says.to_string())),
                [id, says, place] => rules.push(Rule {
                    id: id.to_string(),
                    says: says.to_string(),
                    place: place.to_string(),
                    tests: tests.remove(*id).unwrap_or_default(),
                }),
                _ => bail!("a rule of another form: {line}"),
            }
        }
        Ok(Rules {
            rules,
            strays: tests.into_values().flatten().collect(),
            planned,
        })
    }
}

/// The rows of docs/policy-rules.md.
pub fn rule_rows(rules: &Rules) -> String {
    let row = |rule: &Rule| {
        let tests: Vec<String> = rule.tests.iter().map(|test| format!("`{test}`")).collect();
        format!(
            "| {} | {} | `{}` | {} |\n",
            rule.id,
            rule.says,
            rule.place,
            tests.join(", ")
        )
    };
    rules.rules.iter().map(row).collect()
}

/// Tests by the rule that their names begin with.
fn tests(repository: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let mut files = Vec::new();
    for folder in TESTS {
        collect(&repository.join(folder), &mut files)?;
    }
    files.sort();
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for name in text.lines().filter_map(function) {
            if let Some(rule) = rule_of(name) {
                tests.entry(rule).or_default().push(name.to_owned());
            }
        }
    }
    Ok(tests)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The function without parameters that a line begins: tests have none.
fn function(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("pub ").unwrap_or(line.trim());
    let (name, rest) = rest.strip_prefix("fn ")?.split_once('(')?;
    rest.starts_with(')').then_some(name)
}

/// `C4` of `c4_a_second_commitment_is_refused`.
fn rule_of(test: &str) -> Option<String> {
    let (id, _) = test.split_once('_')?;
    let letters = id.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_id =
        letters.len() == 1 && id.len() > 1 && letters.chars().all(|c| c.is_ascii_lowercase());
    is_id.then(|| id.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_name_says_its_rule() {
        assert_eq!(function("    fn c4_no_second() {"), Some("c4_no_second"));
        assert_eq!(function("fn c4_helper(x: u8) {"), None);
        assert_eq!(rule_of("c4_no_second"), Some("C4".to_owned()));
        assert_eq!(rule_of("k12_x"), Some("K12".to_owned()));
        assert_eq!(rule_of("closing_cannot_be_undone"), None);
        assert_eq!(rule_of("p2tr_coins_are_spent"), None);
    }
}
