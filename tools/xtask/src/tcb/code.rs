//! Lines of code and places of `unsafe` in formatted sources (`cargo fmt` is checked by the lints):
//! an item ends where its closing bracket stands as far to the right as its first line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::read;

pub struct Counted {
    pub lines: usize,
    pub unsafes: Vec<Unsafe>,
}

/// One use of the keyword.
pub struct Unsafe {
    /// File and line.
    pub place: String,
    /// Why it is sound, as its SAFETY line says.
    pub safety: Option<String>,
}

/// All files of a folder but those of tests.
pub fn count(repository: &Path, folder: &str) -> Result<Counted> {
    let mut files = Vec::new();
    collect(&repository.join(folder), &mut files)?;
    files.sort();
    let mut counted = Counted {
        lines: 0,
        unsafes: Vec::new(),
    };
    let texts = files.into_iter().map(|file| Ok((read(&file)?, file)));
    let texts = texts.collect::<Result<Vec<(String, PathBuf)>>>()?;
    let of_tests: BTreeSet<PathBuf> = texts
        .iter()
        .flat_map(|(text, file)| test_modules(text, file))
        .collect();
    for (text, file) in &texts {
        let is_test = of_tests
            .iter()
            .any(|module| file.starts_with(module) || *file == module.with_extension("rs"));
        if is_test {
            continue;
        }
        let shown = file.strip_prefix(repository).unwrap_or(file).display();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in outside_tests(&lines) {
            let code = without_comment(line);
            if code.trim().is_empty() {
                continue;
            }
            counted.lines += 1;
            if has_word(code, "unsafe") {
                counted.unsafes.push(Unsafe {
                    place: format!("{shown}:{}", number + 1),
                    safety: safety(&lines, number),
                });
            }
        }
    }
    Ok(counted)
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

/// The modules of a file that are there for tests alone, as paths without ending.
fn test_modules(text: &str, file: &Path) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default();
    let beside = file.parent().unwrap_or(Path::new(""));
    let folder = match stem.to_str() {
        Some("lib" | "main") => beside.to_owned(),
        Some(_) | None => beside.join(stem),
    };
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines
        .windows(2)
        .filter(|pair| pair[0].trim() == "#[cfg(test)]");
    let names = pairs.filter_map(|pair| pair[1].trim().strip_prefix("mod ")?.strip_suffix(';'));
    names.map(|name| folder.join(name)).collect()
}

/// The lines that are not of an item under `#[cfg(test)]`, with their numbers from 0.
fn outside_tests<'a>(lines: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut outside = Vec::new();
    let mut until: Option<String> = None;
    let mut pending = false;
    for (number, line) in lines.iter().enumerate() {
        if let Some(end) = &until {
            if line == end {
                until = None;
            }
            continue;
        }
        let code = line.trim();
        if code == "#[cfg(test)]" {
            pending = true;
        } else if !pending {
            outside.push((number, *line));
        } else if code.ends_with('{') {
            let indent = line.len() - line.trim_start().len();
            until = Some(format!("{}}}", " ".repeat(indent)));
            pending = false;
        } else if code.ends_with([';', '}', ',']) {
            pending = false;
        }
    }
    outside
}

/// The line up to a comment. What looks like one in a string (`http://`) ends it too, which
/// makes no line empty.
fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn has_word(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

/// The SAFETY comment above, up to three lines of the same statement away; of a function that is
/// unsafe to call, what its documentation says below `# Safety`.
fn safety(lines: &[&str], number: usize) -> Option<String> {
    let above = lines[..number].iter().rev();
    let mut statement = 0;
    let mut comment: Vec<&str> = Vec::new();
    for line in above {
        match line.trim().strip_prefix("//") {
            Some(words) => {
                let words = words.trim_start_matches('/').trim();
                let first = words.strip_prefix("SAFETY:");
                if let Some(first) = first.or_else(|| words.strip_prefix("# Safety")) {
                    comment.push(first.trim());
                    comment.reverse();
                    return Some(comment.join(" ").trim().to_owned());
                }
                comment.push(words);
            }
            None if !comment.is_empty() || statement == 3 => return None,
            None => statement += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
//! Doc.

use a::b; // why
#[cfg(test)]
mod tests;
#[cfg(test)]
mod more;

/// Doc.
fn one() {
    // SAFETY: it is
    // sound.
    let x = unsafe { f() };
    let unsafe_code = \"http://x\";
}

/// Doc.
///
/// # Safety
/// If called
/// once.
unsafe fn four() {}

#[cfg(test)]
mod inline {
    fn two() {}
}

fn three() {
    unsafe { g() }
}
";

    #[test]
    fn comments_blank_lines_and_tests_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("src");
        fs::create_dir_all(source.join("more")).unwrap();
        fs::write(source.join("lib.rs"), SOURCE).unwrap();
        fs::write(source.join("tests.rs"), "fn four() {}\n").unwrap();
        fs::write(source.join("more.rs"), "fn five() {}\n").unwrap();
        fs::write(source.join("more/deep.rs"), "fn six() {}\n").unwrap();
        fs::write(source.join("other.rs"), "fn seven() {}\n").unwrap();
        let counted = count(folder.path(), "src").unwrap();
        assert_eq!(counted.lines, 10);
        let unsafes: Vec<(String, Option<String>)> = counted
            .unsafes
            .into_iter()
            .map(|found| (found.place, found.safety))
            .collect();
        let expected = [
            ("src/lib.rs:13".to_owned(), Some("it is sound.".to_owned())),
            (
                "src/lib.rs:22".to_owned(),
                Some("If called once.".to_owned()),
            ),
            ("src/lib.rs:30".to_owned(), None),
        ];
        assert_eq!(unsafes, expected);
    }
}
