//! The audit log's files: checked, compared, and in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hsm::Rule;
use hsm::msgs::{MSGS, Row};
use hsm_files::audit::{Broken, Decision, FILE, Head, KEPT, Line, read};

use crate::dates::date;

/// A log is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{0} has no {FILE}")]
    NoLog(PathBuf),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {broken}")]
    NotALog { path: PathBuf, broken: Broken },
    #[error(
        "{path} goes on after line {after}, but {before} ends with line {end}: what is between them is \
         missing or was changed"
    )]
    Gap {
        path: PathBuf,
        after: u64,
        before: PathBuf,
        end: u64,
    },
    #[error(
        "{path}: after line {last}: {broken}. {bytes} bytes behind it do not belong to the chain"
    )]
    Broken {
        path: PathBuf,
        last: u64,
        broken: Broken,
        bytes: usize,
    },
    #[error("there is no line {0} in these files")]
    NoLine(u64),
    #[error("there are no lines")]
    Empty,
}

type Result<T> = std::result::Result<T, LogError>;

/// The files of a log, oldest first: those of a folder, or these.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let [folder] = paths else {
        return Ok(paths.to_vec());
    };
    if !folder.is_dir() {
        return Ok(paths.to_vec());
    }
    let older = (1..=KEPT)
        .rev()
        .map(|number| folder.join(format!("{FILE}.{number}")));
    let all = older.chain([folder.join(FILE)]);
    let there: Vec<PathBuf> = all.filter(|file| file.exists()).collect();
    match there.is_empty() {
        true => Err(LogError::NoLog(folder.clone())),
        false => Ok(there),
    }
}

/// Says what a log amounts to, if each line follows from the one before, over all files.
pub fn verify(paths: &[PathBuf]) -> Result<String> {
    let mut lines: u64 = 0;
    let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
    let mut marks: BTreeMap<String, u64> = BTreeMap::new();
    let mut first: Option<Head> = None;
    let mut last: Option<(Head, &Path)> = None;
    let files = files(paths)?;
    for file in &files {
        let bytes = bytes(file)?;
        let whole = read(&bytes, |line| {
            lines += 1;
            match line.decision {
                Decision::Refused { rule, .. } => {
                    *refusals.entry(rule.to_owned()).or_default() += 1
                }
                Decision::Ok if line.role == "-" => {
                    *marks.entry(line.message.to_owned()).or_default() += 1;
                }
                Decision::Ok => {}
            }
        });
        let whole = whole.map_err(not_a_log(file))?;
        if let Some((before, name)) = last
            && before != whole.first
        {
            return Err(LogError::Gap {
                path: file.clone(),
                after: whole.first.number,
                before: name.to_owned(),
                end: before.number,
            });
        }
        if let Some(broken) = whole.broken {
            return Err(LogError::Broken {
                path: file.clone(),
                last: whole.last.number,
                broken,
                bytes: bytes.len() - whole.good,
            });
        }
        first.get_or_insert(whole.first);
        last = Some((whole.last, file));
    }
    let (Some(first), Some((last, _))) = (first, last) else {
        return Err(LogError::Empty);
    };
    let mut text = format!(
        "{lines} lines, from {} to {}, are one chain\n",
        first.number + 1,
        last.number
    );
    let _ = writeln!(text, "head {} {}", last.number, hex(&last.hash));
    for (rule, count) in refusals {
        let _ = writeln!(text, "{count} refused by {rule}");
    }
    for (mark, count) in marks {
        let _ = writeln!(text, "{count} of the log's own: {mark}");
    }
    Ok(text)
}

/// Where two copies of a log part: each a file or folder.
pub fn diff(a: &Path, b: &Path) -> Result<String> {
    let (a, b) = (text_lines(a)?, text_lines(b)?);
    let Some(start) = a.keys().next().max(b.keys().next()).copied() else {
        return Err(LogError::Empty);
    };
    let (mut same, mut at) = (0u64, start);
    loop {
        match (a.get(&at), b.get(&at)) {
            (Some(one), Some(other)) if one == other => same += 1,
            (Some(one), Some(other)) => {
                return Ok(format!(
                    "{same} lines are the same; they part at line {at}:\n- {one}\n+ {other}\n"
                ));
            }
            (None, None) => {
                return Ok(format!(
                    "{same} lines are the same; both end with line {}\n",
                    at - 1
                ));
            }
            (Some(_), None) => {
                return Ok(format!(
                    "{same} lines are the same; the first goes on after line {}\n",
                    at - 1
                ));
            }
            (None, Some(_)) => {
                return Ok(format!(
                    "{same} lines are the same; the second goes on after line {}\n",
                    at - 1
                ));
            }
        }
        at += 1;
    }
}

/// Entry `number` in words: who asked what, and why it was refused.
pub fn why(number: u64, paths: &[PathBuf]) -> Result<String> {
    for file in files(paths)?.iter().rev() {
        let bytes = bytes(file)?;
        let mut found = None;
        let whole = read(&bytes, |line| {
            if line.number == number {
                found = Some(in_words(&line));
            }
        });
        whole.map_err(not_a_log(file))?;
        if let Some(words) = found {
            return Ok(words);
        }
    }
    Err(LogError::NoLine(number))
}

fn in_words(line: &Line<'_>) -> String {
    let mut text = format!("line {}, {} (UTC)\n", line.number, date(line.time.0));
    if line.role == "-" {
        let _ = writeln!(
            text,
            "{}: a mark of the log's own, {} bytes",
            line.message, line.count
        );
        return text;
    }
    let _ = write!(text, "{} asked {}", line.role, line.message);
    if line.count != 1 {
        let _ = write!(text, " for {}", line.count);
    }
    if let Some(channel) = line.channel {
        let _ = write!(text, " of channel {}", channel.0);
    }
    text.push('\n');
    let row = MSGS
        .iter()
        .map(|msg| msg.row())
        .find(|row: &Row| row.role.name() == line.role && row.name == line.message);
    let key = match row {
        Some(row) if !row.key.is_empty() => format!("it is answered with: {} key\n", row.key),
        Some(_) => String::new(),
        None => "this version has no such message\n".to_owned(),
    };
    text += &key;
    match line.decision {
        Decision::Ok => text.push_str("it was answered\n"),
        Decision::Refused { rule, reason } => {
            let _ = writeln!(text, "it was refused by rule {rule}: {reason}");
            if let Some(rule) = Rule::from_id(rule) {
                let said = rule.said();
                let _ = writeln!(text, "{rule}: {} ({})", said.says, said.place);
            }
        }
    }
    let _ = writeln!(text, "request {}\nreply   {}", line.request, line.reply);
    text
}

/// All lines by number, without looking at the chain.
fn text_lines(path: &Path) -> Result<BTreeMap<u64, String>> {
    let mut lines = BTreeMap::new();
    for file in files(&[path.to_owned()])? {
        let bytes = bytes(&file)?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some(Ok(number)) = line.split(' ').next().map(str::parse) {
                lines.insert(number, line.to_owned());
            }
        }
    }
    Ok(lines)
}

fn bytes(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|source| LogError::Read {
        path: file.to_owned(),
        source,
    })
}

fn not_a_log(path: &Path) -> impl FnOnce(Broken) -> LogError {
    let path = path.to_owned();
    |broken| LogError::NotALog { path, broken }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsm::UnixTime;
    use hsm_files::audit::{AuditLog, Entry, digest};

    const REFUSED: Decision<'static> = Decision::Refused {
        rule: "C4",
        reason: "the peer has not revoked commitment 7",
    };

    /// A folder with a log of a start, an answered line and a refused one.
    fn log() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::File::open(dir.path()).unwrap();
        let mut log = AuditLog::open(folder.into(), UnixTime(1_764_121_817)).unwrap();
        for decision in [Decision::Ok, REFUSED] {
            log.note(&Entry {
                role: "CHAN",
                channel: Some(wire::ChannelDbid(3)),
                message: "SignRemote",
                count: 1,
                request: digest(b"request"),
                decision,
                reply: digest(b"reply"),
            });
        }
        log.write().unwrap();
        dir
    }

    #[test]
    fn a_whole_log_is_one_chain_and_a_changed_one_is_not() {
        let dir = log();
        let folder = [dir.path().to_owned()];
        let said = verify(&folder).unwrap();
        assert!(
            said.starts_with("3 lines, from 1 to 3, are one chain\nhead 3 "),
            "{said}"
        );
        assert!(said.contains("1 refused by C4\n"), "{said}");
        let file = dir.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("CHAN 3", "CHAN 4")).unwrap();
        let error = verify(&folder).unwrap_err().to_string();
        assert!(
            error.contains("after line 1: line 2 or one before it was changed"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_missing_between_two_is_noticed() {
        let (one, other) = (log(), log());
        let file = |dir: &tempfile::TempDir| dir.path().join(FILE);
        let error = verify(&[file(&one), file(&other)]).unwrap_err().to_string();
        assert!(error.contains("goes on after line 0"), "{error}");
    }

    #[test]
    fn copies_are_compared_up_to_where_they_part() {
        let (one, other) = (log(), log());
        let same = diff(one.path(), other.path()).unwrap();
        assert_eq!(same, "3 lines are the same; both end with line 3\n");
        let file = other.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("SignRemote 1", "SignRemote 2")).unwrap();
        let parted = diff(one.path(), other.path()).unwrap();
        assert!(
            parted.starts_with("1 lines are the same; they part at line 2:\n- 2 "),
            "{parted}"
        );
        let cut: String = text
            .lines()
            .take(3)
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(&file, cut).unwrap();
        let shorter = diff(one.path(), other.path()).unwrap();
        assert_eq!(
            shorter,
            "2 lines are the same; the first goes on after line 2\n"
        );
    }

    #[test]
    fn why_says_the_rule_in_words() {
        let dir = log();
        let folder = [dir.path().to_owned()];
        let words = why(3, &folder).unwrap();
        assert!(
            words.starts_with("line 3, 2025-11-26 01:50:17 (UTC)\n"),
            "{words}"
        );
        assert!(
            words.contains("CHAN asked SignRemote of channel 3\n"),
            "{words}"
        );
        let refused = "refused by rule C4: the peer has not revoked commitment 7\nC4: The peer has";
        assert!(words.contains(refused), "{words}");
        assert!(why(2, &folder).unwrap().contains("it was answered\n"));
        assert!(why(9, &folder).is_err());
    }
}
