//! The mutations: tests/mutations/*.txt, one file for each rule, each with one or more mutations.
//!
//! ```text
//! == the peer may have three commitments
//! file hsm/src/channel/commit.rs
//! << what stands there, once
//! >> what it is replaced by
//! ```
//! The lines after `<<` and `>>` count as they are; what follows on the same line is a remark. A
//! mutation whose text is not there once is an error, so that none goes stale.
//!
//! They are applied to a copy of the workspace beside the target folder, whose own target folder is
//! kept: between two mutations only hsm is compiled.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Rules;
use crate::paths;
use crate::run::{cargo, output, say};

const FOLDER: &str = "tests/mutations";
/// A mutated signer may run for ever.
const TIMEOUT: Duration = Duration::from_secs(300);
/// What is tested, the quickest first.
const SUITES: [&[&str]; 3] = [
    &["--package", "hsm", "--lib"],
    &["--package", "hsm-messages", "--lib"],
    &["--package", "hsmd", "--test", "hsmd"],
];

#[derive(Debug, PartialEq)]
struct Mutation {
    rule: String,
    /// What is wrong then.
    what: String,
    file: String,
    find: String,
    replace: String,
}

/// Rules without a mutation, mutations without a rule, and mutations that do not match.
pub fn violations(repository: &Path, rules: &Rules) -> Result<Vec<String>> {
    let mutations = read(repository)?;
    let mut broken = Vec::new();
    for rule in &rules.rules {
        if !mutations.iter().any(|mutation| mutation.rule == rule.id) {
            broken.push(format!("rule {} has no {FOLDER}/{}.txt", rule.id, rule.id));
        }
    }
    for mutation in &mutations {
        if !rules.rules.iter().any(|rule| rule.id == mutation.rule) {
            broken.push(format!("{FOLDER}/{}.txt is of no rule", mutation.rule));
        }
        if let Err(error) = mutated(repository, mutation) {
            broken.push(format!("{FOLDER}/{}.txt: {error:#}", mutation.rule));
        }
    }
    Ok(broken)
}

/// Applies each, and prints which test caught it.
pub fn all(repository: &Path, rule: Option<&str>) -> Result<()> {
    let wanted = |mutation: &Mutation| rule.is_none_or(|rule| mutation.rule == rule);
    let mutations: Vec<Mutation> = read(repository)?.into_iter().filter(wanted).collect();
    if mutations.is_empty() {
        bail!("there is no such rule");
    }
    let copy = Copy::make(repository)?;
    say("first without a mutation");
    match copy.test("")? {
        Outcome::Passed => {}
        other => bail!("the tests fail without a mutation: {}", other.shown()),
    }
    let mut survivors = 0;
    let mut table = String::new();
    for mutation in &mutations {
        let whole = mutated(repository, mutation)?;
        fs::write(copy.folder.join(&mutation.file), whole)?;
        let outcome = copy.test_rule(&mutation.rule)?;
        fs::copy(
            repository.join(&mutation.file),
            copy.folder.join(&mutation.file),
        )?;
        survivors += usize::from(!outcome.is_caught());
        let line = format!(
            "{:4} {:60} {}",
            mutation.rule,
            mutation.what,
            outcome.shown()
        );
        say(&line);
        table += &format!("{line}\n");
    }
    print!("\nrule mutation and what caught it\n{table}");
    match survivors {
        0 => Ok(()),
        some => bail!("{some} mutations were not caught"),
    }
}

enum Outcome {
    Passed,
    /// The first tests that failed.
    Failed(Vec<String>),
    /// What was to be removed cannot be: the compiler needs it.
    NotCompiled(String),
    TimedOut,
}

impl Outcome {
    fn is_caught(&self) -> bool {
        match self {
            Outcome::Failed(_) | Outcome::TimedOut => true,
            Outcome::Passed | Outcome::NotCompiled(_) => false,
        }
    }

    fn shown(&self) -> String {
        match self {
            Outcome::Passed => "NOT CAUGHT".to_owned(),
            Outcome::Failed(tests) => tests.join(", "),
            Outcome::NotCompiled(error) => format!("DOES NOT COMPILE: {error}"),
            Outcome::TimedOut => "no end after five minutes".to_owned(),
        }
    }
}

/// A copy of the workspace.
struct Copy {
    folder: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make(repository: &Path) -> Result<Copy> {
        let under = paths::target().join("mutations");
        let copy = Copy {
            folder: under.join("workspace"),
            target: under.join("target"),
        };
        let mut git = Command::new("git");
        git.current_dir(repository);
        let listed = output(git.args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
        let mut there = HashSet::new();
        for name in listed.lines() {
            let (from, to) = (repository.join(name), copy.folder.join(name));
            let Ok(now) = fs::read(&from) else { continue };
            there.insert(to.clone());
            // Not touched if it is the same, so that cargo does not compile it again.
            if fs::read(&to).ok().as_ref() != Some(&now) {
                fs::create_dir_all(to.parent().unwrap_or(&copy.folder))?;
                fs::write(&to, now).with_context(|| format!("cannot write {}", to.display()))?;
            }
        }
        remove_others(&copy.folder, &there)?;
        Ok(copy)
    }

    /// Runs the tests that are named after the rule and then, if none fails, all of them.
    fn test_rule(&self, rule: &str) -> Result<Outcome> {
        let named = format!("{}_", rule.to_lowercase());
        for filter in [named.as_str(), ""] {
            match self.test(filter)? {
                Outcome::Passed => {}
                caught => return Ok(caught),
            }
        }
        Ok(Outcome::Passed)
    }

    /// Runs the tests whose names have `filter` in them, until one of [`SUITES`] has a failure.
    fn test(&self, filter: &str) -> Result<Outcome> {
        for suite in SUITES {
            let mut build = self.cargo(suite);
            build.arg("--no-run").stdin(Stdio::null());
            let built = build.output().context("cannot run cargo")?;
            if !built.status.success() {
                let words = String::from_utf8_lossy(&built.stderr).into_owned();
                let error = words.lines().find(|line| line.starts_with("error"));
                return Ok(Outcome::NotCompiled(error.unwrap_or_default().to_owned()));
            }
            let mut run = self.cargo(suite);
            match finish(run.args(["--", filter]))? {
                Outcome::Passed => {}
                caught => return Ok(caught),
            }
        }
        Ok(Outcome::Passed)
    }

    fn cargo(&self, suite: &[&str]) -> Command {
        let mut command = cargo(&["test", "--quiet"]);
        command.args(suite).current_dir(&self.folder);
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }
}

/// Removes what an earlier copy had and the repository has no more.
fn remove_others(folder: &Path, there: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, there)?;
        } else if !there.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Runs cargo test to its end, or until it has taken too long.
fn finish(run: &mut Command) -> Result<Outcome> {
    run.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = run.spawn().context("cannot run cargo test")?;
    let mut stdout = child.stdout.take().context("cargo test has no output")?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).map(|_| text)
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > TIMEOUT {
            // The tests too, not cargo alone.
            let mut kill = Command::new("kill");
            output(kill.args(["-KILL", "--", &format!("-{}", child.id())]))?;
            child.wait()?;
            return Ok(Outcome::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = reader
        .join()
        .ok()
        .context("cannot read what cargo test says")??;
    match status.success() {
        true => Ok(Outcome::Passed),
        false => Ok(Outcome::Failed(failed(&String::from_utf8_lossy(&text)))),
    }
}

/// The names of the tests that failed, without their modules; three at most.
fn failed(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_suffix(" stdout ----")?
                .strip_prefix("---- ")
        })
        .map(|name| name.rsplit("::").next().unwrap_or(name).to_owned())
        .collect();
    names.dedup();
    let more = names.len().saturating_sub(3);
    names.truncate(3);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    if names.is_empty() {
        names.push("a test that names itself elsewhere".to_owned());
    }
    names
}

/// The file with the mutation in it.
fn mutated(repository: &Path, mutation: &Mutation) -> Result<String> {
    let file = repository.join(&mutation.file);
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", mutation.file))?;
    match text.matches(&mutation.find).count() {
        1 => Ok(text.replacen(&mutation.find, &mutation.replace, 1)),
        count => bail!(
            "`{}`: its text is {count} times in {}, not once",
            mutation.what,
            mutation.file
        ),
    }
}

fn read(repository: &Path) -> Result<Vec<Mutation>> {
    let folder = repository.join(FOLDER);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {FOLDER}"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let mut mutations = Vec::new();
    for file in files {
        let rule = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&file)?;
        let parsed = parse(&rule, &text).with_context(|| format!("{FOLDER}/{rule}.txt"))?;
        mutations.extend(parsed);
    }
    Ok(mutations)
}

fn parse(rule: &str, text: &str) -> Result<Vec<Mutation>> {
    enum At {
        Head,
        Find,
        Replace,
    }
    let mut mutations: Vec<Mutation> = Vec::new();
    let mut at = At::Head;
    for line in text.lines() {
        if let Some(what) = line.strip_prefix("== ") {
            at = At::Head;
            mutations.push(Mutation {
                rule: rule.to_owned(),
                what: what.to_owned(),
                file: String::new(),
                find: String::new(),
                replace: String::new(),
            });
            continue;
        }
        let Some(mutation) = mutations.last_mut() else {
            bail!("`{line}` stands before the first `== `");
        };
        match (&at, line) {
            (_, line) if line.starts_with("<<") => at = At::Find,
            (_, line) if line.starts_with(">>") => at = At::Replace,
            (At::Head, line) => match line.strip_prefix("file ") {
                Some(file) => mutation.file = file.to_owned(),
                None => bail!("`{line}` is neither a file nor `<<`"),
            },
            (At::Find, line) => mutation.find += &format!("{line}\n"),
            (At::Replace, line) => mutation.replace += &format!("{line}\n"),
        }
    }
    if let Some(empty) = mutations.iter().find(|mutation| mutation.find.is_empty()) {
        bail!("`{}` looks for nothing", empty.what);
    }
    Ok(mutations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_two_mutations_is_read() {
        let text = "== first\nfile a.rs\n<<\n    one\n    two\n>> gone\n== second\nfile b.rs\n<<\nx\n>>\ny\n";
        let mutations = parse("C4", text).unwrap();
        assert_eq!(mutations.len(), 2);
        assert_eq!(mutations[0].find, "    one\n    two\n");
        assert_eq!(mutations[0].replace, "");
        assert_eq!(
            (mutations[1].file.as_str(), mutations[1].replace.as_str()),
            ("b.rs", "y\n")
        );
        assert!(parse("C4", "== first\nfile a.rs\n").is_err());
        assert!(parse("C4", "lost\n").is_err());
    }

    #[test]
    fn a_mutation_must_match_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.rs"), "one\ntwo\none\n").unwrap();
        let mutation = |find: &str| Mutation {
            rule: "C4".to_owned(),
            what: "x".to_owned(),
            file: "a.rs".to_owned(),
            find: find.to_owned(),
            replace: "three\n".to_owned(),
        };
        assert_eq!(
            mutated(folder.path(), &mutation("two\n")).unwrap(),
            "one\nthree\none\n"
        );
        assert!(mutated(folder.path(), &mutation("one\n")).is_err());
        assert!(mutated(folder.path(), &mutation("four\n")).is_err());
    }

    #[test]
    fn the_tests_that_failed_are_named() {
        let text =
            "---- tests::rules::c4_a stdout ----\nthread...\n---- c4_b stdout ----\nfailures:\n";
        assert_eq!(failed(text), ["c4_a", "c4_b"]);
    }
}
