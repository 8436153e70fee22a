//! `cargo xtask bolts`: docs/bolts.toml names what the BOLTs require; each place and test that it names
//! exists, and what has neither is shown.

use crate::paths;
use crate::run::say;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const TABLE: &str = "docs/bolts.toml";

/// How a requirement is kept.
enum Kept {
    By {
        place: String,
        test: String,
    },
    /// Why not.
    Gap(String),
}

struct Requirement {
    bolt: u32,
    section: String,
    n: u32,
    says: String,
    kept: Kept,
}

/// Prints how much of each BOLT's part of the table is kept, and each gap.
///
/// # Errors
/// The table is wrong: see [`violations`].
pub fn bolts() -> Result<()> {
    let repository = paths::repository();
    let wrong = violations(&repository)?;
    if !wrong.is_empty() {
        bail!("against the rules:\n  {}", wrong.join("\n  "));
    }
    let mut counts: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for requirement in read(&repository)? {
        let Requirement {
            bolt,
            section,
            n,
            says,
            kept,
        } = requirement;
        let (kept_ones, gaps) = counts.entry(bolt).or_default();
        match kept {
            Kept::By { .. } => *kept_ones += 1,
            Kept::Gap(why) => {
                *gaps += 1;
                println!("BOLT {bolt}, {section}, {n}: {says}: {why}");
            }
        }
    }
    for (bolt, (kept, gaps)) in counts {
        say(&format!("BOLT {bolt}: {kept} kept and shown, {gaps} not"));
    }
    Ok(())
}

/// One line for each place or test that is not there, and for each number that is missing.
///
/// # Errors
/// The table cannot be read.
pub fn violations(repository: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut last: BTreeMap<(u32, String), u32> = BTreeMap::new();
    for requirement in read(repository)? {
        let Requirement {
            bolt,
            section,
            n,
            says: _,
            kept,
        } = requirement;
        let at = format!("{TABLE}, BOLT {bolt}, {section}, {n}");
        let before = last.insert((bolt, section), n).unwrap_or(0);
        if n != before + 1 {
            wrong.push(format!("{at}: the one before it has number {before}"));
        }
        match kept {
            Kept::By { place, test } => {
                if !repository.join(&place).is_file() {
                    wrong.push(format!("{at}: there is no file {place}"));
                }
                if !is_test(repository, &test) {
                    wrong.push(format!("{at}: there is no test {test}"));
                }
            }
            Kept::Gap(why) if why.trim().is_empty() => wrong.push(format!("{at}: no reason")),
            Kept::Gap(_) => {}
        }
    }
    Ok(wrong)
}

/// `path::function`, and a test attribute in the lines above the function.
fn is_test(repository: &Path, test: &str) -> bool {
    let Some((path, function)) = test.rsplit_once("::") else {
        return false;
    };
    let Ok(text) = fs::read_to_string(repository.join(path)) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {function}(");
    let defined = |line: &&str| line.starts_with(&head) || line.contains(&format!(" {head}"));
    lines.iter().position(defined).is_some_and(|at| {
        let above = lines
            .iter()
            .take(at)
            .rev()
            .take_while(|line| !line.is_empty() && **line != "}");
        above.clone().any(|line| line.starts_with("#[") && line.contains("test"))
            // proptest! has its own way.
            || text.contains("proptest!")
    })
}

fn read(repository: &Path) -> Result<Vec<Requirement>> {
    let text = fs::read_to_string(repository.join(TABLE)).context(TABLE)?;
    let mut blocks = text.split("[[requirement]]");
    if let Some(line) = blocks.next().and_then(|head| lines(head).next()) {
        bail!("{TABLE}: before the first [[requirement]] stands {line}");
    }
    blocks.map(requirement).collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let all = text.lines().map(str::trim);
    all.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `name = "text"` or `name = number` in each line, as in TOML; the table needs no more of it.
fn requirement(block: &str) -> Result<Requirement> {
    let shown = || format!("{TABLE}: [[requirement]]{block}");
    let mut members: BTreeMap<&str, &str> = BTreeMap::new();
    for line in lines(block) {
        let (name, value) = line.split_once(" = ").with_context(shown)?;
        if members.insert(name, value).is_some() {
            bail!("{}: {name} stands twice", shown());
        }
    }
    let mut take = |name: &str| members.remove(name);
    let text = |value: Option<&str>| {
        let inside = value?.strip_prefix('"')?.strip_suffix('"')?;
        (!inside.contains(['"', '\\'])).then(|| inside.to_owned())
    };
    let number = |value: Option<&str>| value?.parse::<u32>().ok();
    let (bolt, section, n) = (
        number(take("bolt")).with_context(shown)?,
        text(take("section")).with_context(shown)?,
        number(take("n")).with_context(shown)?,
    );
    if !matches!(take("level"), Some("\"MUST\"" | "\"SHOULD\"")) {
        bail!("{}: level is MUST or SHOULD", shown());
    }
    let says = text(take("says")).with_context(shown)?;
    let kept = match (text(take("kept")), text(take("test")), text(take("gap"))) {
        (Some(place), Some(test), None) => Kept::By { place, test },
        (None, None, Some(why)) => Kept::Gap(why),
        _ => bail!("{}: kept and test, or gap", shown()),
    };
    if let Some(name) = members.keys().next() {
        bail!("{}: what is {name}?", shown());
    }
    Ok(Requirement {
        bolt,
        section,
        n,
        says,
        kept,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("docs"))?;
        fs::write(folder.path().join(TABLE), table)?;
        let code = "fn helper() {}\n\n#[test]\nfn it_holds() {}\n";
        fs::write(folder.path().join("code.rs"), code)?;
        violations(folder.path())
    }

    fn entry(n: u32, rest: &str) -> String {
        format!(
            "[[requirement]]\nbolt = 8\nsection = \"Act One\"\nn = {n}\nlevel = \"MUST\"\n\
             says = \"x\"\n{rest}\n"
        )
    }

    #[test]
    fn places_tests_and_numbers_are_checked() {
        let good = "kept = \"code.rs\"\ntest = \"code.rs::it_holds\"";
        let gap = "gap = \"not built\"";
        let both = [entry(1, good), entry(2, gap)].concat();
        assert_eq!(check(&both).unwrap(), [""; 0]);
        let wrong = |text: &str| check(text).unwrap().len();
        assert_eq!(wrong(&entry(2, good)), 1);
        assert_eq!(
            wrong(&entry(1, "kept = \"no.rs\"\ntest = \"code.rs::it_holds\"")),
            1
        );
        assert_eq!(
            wrong(&entry(
                1,
                "kept = \"code.rs\"\ntest = \"code.rs::nonesuch\""
            )),
            1
        );
        assert_eq!(
            wrong(&entry(1, "kept = \"code.rs\"\ntest = \"code.rs::helper\"")),
            1
        );
        assert_eq!(wrong(&entry(1, "gap = \" \"")), 1);
    }

    #[test]
    fn what_is_half_said_is_refused() {
        for rest in [
            "",
            "kept = \"code.rs\"",
            "gap = \"x\"\nkept = \"y\"",
            "gap = \"x\"\nodd = 1",
        ] {
            assert!(check(&entry(1, rest)).is_err(), "{rest}");
        }
    }
}
