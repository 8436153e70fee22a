//! Rules about source text that neither rustfmt nor clippy knows: sizes of files, and that the pure
//! crates use no clock, file, socket, thread or randomness of the system.

use super::layers;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this holds more than one thing.
const LONGEST: usize = 1000;
/// What only a shell may use.
const SHELL_ONLY: [&str; 10] = [
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::thread",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "OsRng",
    "thread_rng",
];

/// One line for each rule that is broken.
pub fn violations(repository: &Path) -> Result<Vec<String>> {
    let manifest =
        fs::read_to_string(repository.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let mut broken = Vec::new();
    for member in layers::members(&manifest) {
        let mut files = Vec::new();
        collect(&repository.join(&member).join("src"), &mut files)?;
        for file in files {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let shown = file
                .strip_prefix(repository)
                .unwrap_or(&file)
                .display()
                .to_string();
            let lines = text.lines().count();
            if lines > LONGEST {
                broken.push(format!("{shown} has {lines} lines (at most {LONGEST})"));
            }
            if layers::is_pure(&member) && !is_test_file(&file) {
                broken.extend(
                    impurities(&text)
                        .into_iter()
                        .map(|(line, word)| format!("{shown}:{line} uses {word}")),
                );
            }
        }
    }
    Ok(broken)
}

/// Line numbers and words of shell-only things before the file's tests.
fn impurities(text: &str) -> Vec<(usize, &'static str)> {
    let code = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(|(number, line)| {
        SHELL_ONLY
            .iter()
            .filter(move |word| line.contains(**word))
            .map(move |word| (number + 1, *word))
    })
    .collect()
}

fn is_test_file(file: &Path) -> bool {
    file.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_pure_code_is_found_and_one_in_its_tests_is_not() {
        let text = "// Instant::now would be wrong here\nlet t = Instant::now();\n#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(impurities(text), [(2, "Instant::now")]);
    }
}
