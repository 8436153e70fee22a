//! `cargo xtask schema`: the golden text of everything that crosses an edge between processes.
//!
//! `ipc/schema.lock` holds the definition of every type that serde can write, in every crate that
//! ipc-messages can name, and the table of the edges. Comments, attributes other than serde's and
//! white space are left out, so that the text changes exactly when bytes on an edge may. Its hash
//! opens every edge: two ends that were built from different definitions refuse each other.
//!
//! It also covers some types that only the database stores; that a change of those shows up in a
//! review is no loss.

mod items;
mod print;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::paths;
use crate::run::say;

/// The crates whose types can be in a message, lowest first; ipc-messages itself is last.
const CRATES: [&str; 11] = [
    "ipc/transport/src",
    "wire/src",
    "protocol/tx/src",
    "protocol/headers/src",
    "protocol/onion/src",
    "protocol/invoice/src",
    "protocol/routing/src",
    "protocol/channel/src",
    "protocol/onchain/src",
    "ipc/messages/hsm/src",
    "ipc/messages/src",
];

const LOCK: &str = "ipc/schema.lock";

const HEADING: &str = "\
# What crosses the edges between Bulkhead's processes. Written by `cargo xtask schema`.
# Its SHA-256 is in the first frame of every edge.
";

#[derive(Args)]
pub struct SchemaArgs {
    /// Write nothing; fail if the file is not what the sources say.
    #[arg(long)]
    check: bool,
}

/// Writes ipc/schema.lock, or checks it.
pub fn schema(arguments: &SchemaArgs) -> Result<()> {
    let repository = paths::repository();
    if arguments.check {
        if let Some(violation) = violation(&repository)? {
            bail!("{violation}");
        }
        say(&format!("{LOCK} is what the sources say"));
        return Ok(());
    }
    let file = repository.join(LOCK);
    let text = text(&repository)?;
    let known = fs::read_to_string(&file).unwrap_or_default();
    if known == text {
        say(&format!("{LOCK} is up to date"));
        return Ok(());
    }
    fs::write(&file, text).with_context(|| format!("cannot write {LOCK}"))?;
    say(&format!(
        "wrote {LOCK}: commit it with the change of the messages"
    ));
    Ok(())
}

/// What is wrong with the file, for the lints.
pub fn violation(repository: &Path) -> Result<Option<String>> {
    let known = fs::read_to_string(repository.join(LOCK)).unwrap_or_default();
    let now = text(repository)?;
    Ok(difference(&known, &now).map(|difference| {
        format!(
            "{LOCK} is not what the sources say:\n{difference}\
             if that is meant, run `cargo xtask schema` and commit the file with the change"
        )
    }))
}

/// The first lines that differ.
fn difference(known: &str, now: &str) -> Option<String> {
    const SHOWN: usize = 6;
    if known == now {
        return None;
    }
    let mut out = String::new();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (known, now) = (lines(known), lines(now));
    let same = known.iter().zip(&now).take_while(|(a, b)| a == b).count();
    let end = |text: &[String]| {
        let from_behind = known
            .iter()
            .rev()
            .zip(now.iter().rev())
            .take_while(|(a, b)| a == b);
        text.len().saturating_sub(from_behind.count()).max(same)
    };
    for (mark, text) in [('-', &known), ('+', &now)] {
        let changed = &text[same..end(text)];
        for line in changed.iter().take(SHOWN) {
            out.push_str(&format!("    {mark} {line}\n"));
        }
        if changed.len() > SHOWN {
            out.push_str(&format!(
                "    {mark} ... and {} lines more\n",
                changed.len() - SHOWN
            ));
        }
    }
    Some(out)
}

/// The whole text, as the sources say.
fn text(repository: &Path) -> Result<String> {
    let mut sources = Vec::new();
    for dir in CRATES {
        for file in rust_files(&repository.join(dir))? {
            let name = file
                .strip_prefix(repository)
                .unwrap_or(&file)
                .display()
                .to_string();
            let source =
                fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
            sources.push((name, source));
        }
    }
    of_sources(&sources)
}

fn of_sources(sources: &[(String, String)]) -> Result<String> {
    let mut files = Vec::new();
    for (name, source) in sources {
        files.push((
            name,
            items::Tokens::read(source).with_context(|| format!("cannot read {name}"))?,
        ));
    }
    let macros = items::serde_macros(files.iter().map(|(_, tokens)| tokens));
    let mut out = HEADING.to_owned();
    for (name, tokens) in &files {
        let found = tokens.serialized(&macros);
        if !found.is_empty() {
            out.push_str(&format!("\n== {name}\n"));
            found
                .iter()
                .for_each(|item| out.push_str(&print::item(item)));
        }
    }
    Ok(out)
}

/// All of a folder but tests, sorted.
fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            out.extend(rust_files(&path)?);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> String {
        let text = of_sources(&[("a.rs".to_owned(), source.to_owned())]).unwrap();
        text.strip_prefix(HEADING)
            .unwrap()
            .trim()
            .replace("== a.rs\n", "")
    }

    const MESSAGE: &str = r#"
        /// What it says.
        #[derive(Clone, Serialize, Deserialize)]
        pub enum Message {
            /// Effect: none.
            Ask { id: u64, #[serde(with = "serde_bytes")] data: Vec<u8> }, // a comment
            Stop,
        }
    "#;

    #[test]
    fn comments_and_other_attributes_are_left_out() {
        assert_eq!(
            of(MESSAGE),
            "pub enum Message{\n    Ask{id: u64, #[serde(with=\"serde_bytes\")]data: Vec<u8>},\n    Stop\n}"
        );
        let without = MESSAGE
            .replace("/// Effect: none.", "")
            .replace("// a comment", "");
        assert_eq!(of(&without), of(MESSAGE));
    }

    #[test]
    fn what_rustfmt_changes_does_not_count() {
        let wrapped = MESSAGE.replace("data: Vec<u8> }", "data: Vec<\n u8>,\n }");
        assert_eq!(of(&wrapped), of(MESSAGE));
    }

    #[test]
    fn order_types_and_names_count() {
        for (from, to) in [
            ("id: u64", "id: u32"),
            ("Stop", "Halt"),
            ("serde_bytes", "other"),
        ] {
            assert_ne!(of(&MESSAGE.replace(from, to)), of(MESSAGE), "{from}");
        }
    }

    #[test]
    fn serdes_attributes_on_the_type_count() {
        let source = "#[derive(Serialize)] #[serde(transparent)] #[repr(C)] struct A { b: u8 }";
        assert_eq!(of(source), "#[serde(transparent)]struct A{\n    b: u8\n}");
    }

    #[test]
    fn what_serde_does_not_write_is_left_out() {
        assert_eq!(
            of("#[derive(Clone)] struct A { b: u8 } impl Clone for A { fn x() {} } fn f() {}"),
            ""
        );
        assert_eq!(
            of("#[cfg(test)] mod tests { #[derive(Serialize)] struct A(u8); }"),
            ""
        );
    }

    #[test]
    fn a_macro_that_makes_types_counts_by_its_types_and_its_uses() {
        let source = |field: &str, method: &str| {
            format!(
                "macro_rules! number {{ ($(#[$m:meta])* $n:ident) => {{ $(#[$m])* #[derive(Serialize)] \
                 pub struct $n({field}); impl $n {{ fn {method}() {{}} }} }}; }}\n\
                 number!(/** Money. */ Satoshi); other!(Not);"
            )
        };
        assert_eq!(
            of(&source("u64", "a")),
            "pub struct $n(u64);\nnumber!(Satoshi)"
        );
        assert_eq!(of(&source("u64", "b")), of(&source("u64", "a")));
        assert_ne!(of(&source("u32", "a")), of(&source("u64", "a")));
    }

    #[test]
    fn a_serialization_by_hand_counts_whole() {
        let source = "impl Serialize for A { fn serialize(&self) -> u8 { 1 } }";
        assert!(of(source).contains("impl Serialize for A{"));
        assert_ne!(of(&source.replace('1', "2")), of(source));
    }

    #[test]
    fn a_difference_shows_only_what_changed() {
        assert_eq!(difference("a\nb\nc\n", "a\nb\nc\n"), None);
        let shown = difference("a\nb\nc\n", "a\nx\nc\n").unwrap();
        assert_eq!(shown, "    - b\n    + x\n");
        let shown = difference("a\nc\n", "a\nb\nc\n").unwrap();
        assert_eq!(shown, "    + b\n");
    }

    #[test]
    fn the_whole_repository_gives_every_edge() {
        let text = text(&paths::repository()).unwrap();
        for part in [
            "LightningdChanneld=\"lightningd_channeld\"",
            "pub enum KeyStep{",
            "OpenChannel=32{",
            "Satoshi",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
