//! `cargo xtask tcb`: how much has to be trusted with the keys.
//!
//! Lines of code are lines that hold something other than white space and a comment, outside of
//! tests: without items under `#[cfg(test)]`, files of such modules, and folders `tests`. They are
//! limited for hsm and hsmd; of our other crates that hsmd links they are shown.
//!
//! Crates are those of `cargo tree -p hsmd -e normal`: what is linked, and the macros that run in the
//! compiler. The limit is on those that we did not write; ours are counted in lines.

mod code;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::run::{cargo, output};

/// Lines of hsm and hsmd together.
const MOST_LINES: usize = 8_000;
/// Crates of others'.
const MOST_CRATES: usize = 60;
/// Folders of our crates that hsmd links; those whose lines are limited come first.
const OURS: [&str; 10] = [
    "hsm/src",
    "daemons/hsmd/src",
    "daemons/subd/src",
    "ipc/transport/src",
    "ipc/messages/hsm/src",
    "hsm/files/src",
    "protocol/tx/src",
    "protocol/headers/src",
    "protocol/invoice/src",
    "wire/src",
];
const LIMITED: usize = 2;
/// Where `unsafe` may be: descriptors, a subdaemon's first steps, secret memory.
const UNSAFE: [&str; 3] = ["ipc/transport/src/", "daemons/subd/src/", "hsm/src/secret"];
/// Runtimes, and what reaches a network.
const FORBIDDEN: [&str; 16] = [
    "tokio",
    "async-std",
    "async-executor",
    "smol",
    "mio",
    "futures-executor",
    "socket2",
    "hyper",
    "h2",
    "reqwest",
    "ureq",
    "curl",
    "rustls",
    "openssl",
    "native-tls",
    "quinn",
];

/// What was counted.
struct Counted {
    /// Folder and lines, in the order of [`OURS`].
    lines: Vec<(&'static str, usize)>,
    ours: BTreeSet<String>,
    /// With their version; of each version one.
    others: BTreeSet<String>,
    unsafes: Vec<code::Unsafe>,
}

/// Prints the table, and fails above a limit.
pub fn tcb() -> Result<()> {
    let counted = count(&paths::repository())?;
    print!("{}", table(&counted));
    let violations = broken(&counted);
    if !violations.is_empty() {
        bail!("too much to trust:\n  {}", violations.join("\n  "));
    }
    Ok(())
}

/// One line for each limit that is passed.
pub fn violations(repository: &Path) -> Result<Vec<String>> {
    Ok(broken(&count(repository)?))
}

fn count(repository: &Path) -> Result<Counted> {
    let mut lines = Vec::new();
    let mut unsafes = Vec::new();
    for folder in OURS {
        let counted = code::count(repository, folder)?;
        lines.push((folder, counted.lines));
        unsafes.extend(counted.unsafes);
    }
    let tree = output(&mut cargo(&[
        "tree",
        "--package",
        "hsmd",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]))?;
    let (ours, others) = crates(&tree);
    if ours.len() != OURS.len() {
        bail!(
            "hsmd links {} of our crates: list them in tcb.rs",
            ours.len()
        );
    }
    Ok(Counted {
        lines,
        ours,
        others,
        unsafes,
    })
}

/// Ours and those of others, from what `cargo tree --prefix none` says.
fn crates(tree: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    let all = lines
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned);
    // A path in brackets is that of a member of this workspace.
    all.partition(|line| line.contains(" (/"))
}

fn broken(counted: &Counted) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = limited_lines(counted);
    if lines > MOST_LINES {
        broken.push(format!(
            "hsm and hsmd have {lines} lines of code (at most {MOST_LINES})"
        ));
    }
    let crates = counted.others.len();
    if crates > MOST_CRATES {
        broken.push(format!(
            "hsmd links {crates} crates of others' (at most {MOST_CRATES})"
        ));
    }
    for krate in &counted.others {
        let name = krate.split(' ').next().unwrap_or_default();
        if FORBIDDEN.contains(&name) {
            broken.push(format!(
                "hsmd links {krate}: no runtime and no network there"
            ));
        }
    }
    for found in &counted.unsafes {
        if !UNSAFE.iter().any(|place| found.place.starts_with(place)) {
            broken.push(format!("{} is unsafe, which it may not be", found.place));
        }
        if found.safety.is_none() {
            broken.push(format!("{} is unsafe without a SAFETY line", found.place));
        }
    }
    broken
}

fn limited_lines(counted: &Counted) -> usize {
    counted
        .lines
        .iter()
        .take(LIMITED)
        .map(|(_, lines)| lines)
        .sum()
}

fn table(counted: &Counted) -> String {
    let mut text = String::from("lines of code, without comments and tests\n");
    for (at, (folder, lines)) in counted.lines.iter().enumerate() {
        if at == LIMITED {
            let sum = limited_lines(counted);
            text += &format!("  {sum:>6}  together, of at most {MOST_LINES}\n");
            text += "also linked by hsmd\n";
        }
        text += &format!("  {lines:>6}  {folder}\n");
    }
    let in_compiler = counted
        .others
        .iter()
        .filter(|krate| is_of_compiler(krate))
        .count();
    text += &format!(
        "crates of `cargo tree -p hsmd -e normal`\n  {:>6}  of others', of at most {MOST_CRATES} \
         ({in_compiler} of them only in the compiler)\n  {:>6}  ours\n",
        counted.others.len(),
        counted.ours.len(),
    );
    let others: Vec<&str> = counted.others.iter().map(|krate| krate.as_str()).collect();
    for line in others.chunks(6) {
        text += &format!("          {}\n", line.join(", "));
    }
    text += &format!("unsafe: {}\n", counted.unsafes.len());
    for found in &counted.unsafes {
        let safety = found.safety.as_deref().unwrap_or("NO SAFETY LINE");
        text += &format!("  {}: {safety}\n", found.place);
    }
    text
}

/// Whether it is a macro, or only macros use it.
fn is_of_compiler(krate: &str) -> bool {
    let name = krate.split(' ').next().unwrap_or_default();
    krate.ends_with("(proc-macro)")
        || ["syn", "quote", "proc-macro2", "unicode-ident"].contains(&name)
}

/// Reads a file, for [`code`].
fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_for_each_version_and_ours_apart() {
        let tree = "hsmd v0.1.0 (/somewhere/daemons/hsmd)\nlibc v0.2.1\nsyn v2.0.1\n\
                    serde_derive v1.0.1 (proc-macro)\nsyn v3.0.1\nlibc v0.2.1 (*)\n";
        let (ours, others) = crates(tree);
        assert_eq!((ours.len(), others.len()), (1, 4));
        assert_eq!(
            others.iter().filter(|krate| is_of_compiler(krate)).count(),
            3
        );
    }

    #[test]
    fn each_limit_is_named_when_it_is_passed() {
        let found = |place: &str, safety: Option<&str>| code::Unsafe {
            place: place.to_owned(),
            safety: safety.map(str::to_owned),
        };
        let counted = Counted {
            lines: vec![
                ("hsm/src", 7_000),
                ("daemons/hsmd/src", 1_001),
                ("wire/src", 9_999),
            ],
            ours: BTreeSet::new(),
            others: (0..60)
                .map(|n| format!("c{n} v1"))
                .chain(["tokio v1.0.0".into()])
                .collect(),
            unsafes: vec![
                found("wire/src/lib.rs:1", Some("really")),
                found("ipc/transport/src/fd.rs:2", None),
                found("hsm/src/secret.rs:3", Some("really")),
            ],
        };
        let expected = [
            "hsm and hsmd have 8001 lines of code (at most 8000)",
            "hsmd links 61 crates of others' (at most 60)",
            "hsmd links tokio v1.0.0: no runtime and no network there",
            "wire/src/lib.rs:1 is unsafe, which it may not be",
            "ipc/transport/src/fd.rs:2 is unsafe without a SAFETY line",
        ];
        assert_eq!(broken(&counted), expected);
    }
}
