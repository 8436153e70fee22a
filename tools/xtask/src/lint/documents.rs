//! Each path that a document names exists. A path is a relative link, or a word in backticks that begins
//! with a folder or file of the repository's top level and has a slash in it.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One line for each path that a document names and that is not there.
pub fn violations(repository: &Path) -> Result<Vec<String>> {
    let top = top_level(repository)?;
    let mut broken = Vec::new();
    for document in documents(repository)? {
        let text = fs::read_to_string(&document)
            .with_context(|| format!("cannot read {}", document.display()))?;
        let shown = document
            .strip_prefix(repository)
            .unwrap_or(&document)
            .display()
            .to_string();
        let beside = document.parent().unwrap_or(repository);
        for path in named(&text, &top) {
            if !repository.join(&path).exists() {
                broken.push(format!("{shown} names {path}, which is not there"));
            }
        }
        for link in links(&text) {
            if !beside.join(&link).exists() {
                broken.push(format!("{shown} links to {link}, which is not there"));
            }
        }
    }
    Ok(broken)
}

/// The Markdown files of the top level and of docs.
fn documents(repository: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![repository.join("docs")];
    let top = fs::read_dir(repository).context("cannot read the repository's folder")?;
    found.extend(
        top.flatten()
            .map(|entry| entry.path())
            .filter(|path| is_markdown(path)),
    );
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if is_markdown(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "md")
}

fn top_level(repository: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(repository).context("cannot read the repository's folder")?;
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names
        .filter(|name| name != "target" && name != ".git")
        .collect())
}

/// The words in backticks, outside code blocks, that are paths of this repository.
fn named(text: &str, top: &BTreeSet<String>) -> Vec<String> {
    let mut paths = Vec::new();
    for line in prose(text) {
        for word in line.split('`').skip(1).step_by(2) {
            let word = word.trim_end_matches(['.', ',', ':', '/']);
            let plain = word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
            let first = word.split('/').next().unwrap_or_default();
            if plain && word.contains('/') && top.contains(first) {
                paths.push(word.to_string());
            }
        }
    }
    paths
}

/// The targets of relative links, without their fragment.
fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for line in prose(text) {
        for part in line.split("](").skip(1) {
            let target = part
                .split(')')
                .next()
                .unwrap_or_default()
                .split('#')
                .next()
                .unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                targets.push(target.to_string());
            }
        }
    }
    targets
}

/// The lines that are not in a fenced code block.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_is_reported_and_a_present_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("wire")).unwrap();
        fs::write(folder.path().join("wire/lib.rs"), "").unwrap();
        let text = "See `wire/lib.rs` and `wire/gone.rs`, `regtest/lightning-rpc`,\n[a](wire) and [b](nowhere.md).\n\
                    ```\n`wire/in_a_block.rs`\n```\n";
        fs::write(folder.path().join("README.md"), text).unwrap();
        let expected = [
            "README.md names wire/gone.rs, which is not there",
            "README.md links to nowhere.md, which is not there",
        ];
        assert_eq!(violations(folder.path()).unwrap(), expected);
    }
}
