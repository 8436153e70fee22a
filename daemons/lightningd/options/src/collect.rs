//! Gathers settings: the command line, and the configuration files that it leads to.
//!
//! Order, the later winning: `<lightning-dir>/config`, `<lightning-dir>/<network>/config`, command
//! line. `--conf` names one file that stands in for both. A line `include PATH` reads another file,
//! relative to the one that it stands in.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::elsewhere::{self, Fate};
use crate::environment::Environment;
use crate::error::{OptionError, Place, Source};
use crate::network::Network;
use crate::setting::{Raw, Setting, Value};
use crate::table::{ROWS, Row};

/// Files that may include one another in a chain.
const MAX_INCLUDE_DEPTH: usize = 100;
/// Bytes of a configuration file and all that it includes, each time that it is included.
const MAX_BYTES: u64 = 1024 * 1024;
/// Below this likeness (Jaro-Winkler), a suggestion would puzzle more than help.
const MIN_LIKENESS: f64 = 0.75;

/// What to do with a name that is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Refuse,
    /// For lightning-cli, which needs to know only where lightningd is.
    Skip,
}

/// Which of the places a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileClass {
    Explicit,
    Base,
    Network,
}

/// All settings, in the order in which they count.
pub(crate) struct Collected {
    pub settings: Vec<Setting>,
    pub network: Network,
    /// Absolute.
    pub lightning_dir: PathBuf,
    /// Absolute.
    pub conf: Option<PathBuf>,
    pub warnings: Vec<String>,
}

/// Splits the command line into names and values; `--name VALUE` and `--name=VALUE` are the same.
pub(crate) fn command_line(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Vec<Raw>, OptionError> {
    let mut arguments = arguments.into_iter().map(|a| {
        a.into_string()
            .map_err(|a| OptionError::NotUnicode(a.to_string_lossy().into_owned()))
    });
    let mut out = Vec::new();
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        if argument == "--" {
            return arguments
                .next()
                .map_or(Ok(out), |stray| Err(OptionError::Stray(stray?)));
        }
        let (name, mut value) = if let Some(long) = argument.strip_prefix("--") {
            long.split_once('=')
                .map_or((long.to_owned(), None), |(n, v)| {
                    (n.to_owned(), Some(v.to_owned()))
                })
        } else {
            (short_name(&argument)?, None)
        };
        let takes_value = Row::find(&name)
            .map(Row::takes_value)
            .or(elsewhere::find(&name).map(|e| e.takes_value));
        if value.is_none() && takes_value == Some(true) {
            value = arguments.next().transpose()?;
        }
        out.push(Raw {
            name,
            value,
            source: Source::CommandLine,
        });
    }
    Ok(out)
}

fn short_name(argument: &str) -> Result<String, OptionError> {
    let mut letters = argument.strip_prefix('-').unwrap_or_default().chars();
    match (letters.next().and_then(Row::find_short), letters.next()) {
        (Some(row), None) => Ok(row.name.to_owned()),
        _ => Err(OptionError::Stray(argument.to_owned())),
    }
}

/// Reads the files and settles what counts.
pub(crate) fn collect(
    command_line: Vec<Raw>,
    environment: &Environment,
    unknown: Unknown,
) -> Result<Collected, OptionError> {
    let mut reading = Reading {
        unknown,
        warnings: Vec::new(),
    };
    let given = reading.look_up(command_line, None)?;
    let absolute = |text: &str| environment.current_dir.join(text);
    let conf = last_text(&given, "conf").map(absolute);
    let dir_of = |settings: &[Setting]| {
        last_text(settings, "lightning-dir")
            .map_or_else(|| environment.default_lightning_dir(), absolute)
    };

    let mut settings = match &conf {
        Some(conf) => reading.file(conf, FileClass::Explicit, true)?,
        None => {
            let dir = dir_of(&given);
            let mut settings = reading.file(&dir.join("config"), FileClass::Base, false)?;
            let network = network_of(settings.iter().chain(&given));
            settings.extend(reading.file(
                &dir.join(network.name()).join("config"),
                FileClass::Network,
                false,
            )?);
            settings
        }
    };
    settings.extend(given);
    Ok(Collected {
        network: network_of(&settings),
        lightning_dir: dir_of(&settings),
        conf,
        warnings: reading.warnings,
        settings,
    })
}

fn network_of<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> Network {
    settings
        .into_iter()
        .filter_map(Setting::network)
        .last()
        .unwrap_or(Network::Bitcoin)
}

fn last_text<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    settings
        .iter()
        .rev()
        .find(|s| s.row.name == name)
        .and_then(|s| match &s.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
}

struct Reading {
    unknown: Unknown,
    warnings: Vec<String>,
}

impl Reading {
    /// The settings of a file and of those that it includes, in order.
    fn file(
        &mut self,
        path: &Path,
        class: FileClass,
        must_exist: bool,
    ) -> Result<Vec<Setting>, OptionError> {
        let mut files = Files {
            left: MAX_BYTES,
            raw: Vec::new(),
        };
        files.read(path, must_exist, 0)?;
        self.look_up(files.raw, Some(class))
    }

    /// `class`: None for the command line.
    fn look_up(
        &mut self,
        raw: Vec<Raw>,
        class: Option<FileClass>,
    ) -> Result<Vec<Setting>, OptionError> {
        let mut out = Vec::new();
        for raw in raw {
            let Some(row) = Row::find(&raw.name) else {
                self.foreign(&raw)?;
                continue;
            };
            let setting = Setting::new(row, raw)?;
            if let Some(why) = class.and_then(|class| misplaced(&setting, class)) {
                return Err(setting.refuse(why));
            }
            out.push(setting);
        }
        Ok(out)
    }

    /// A name that is not in our table.
    fn foreign(&mut self, raw: &Raw) -> Result<(), OptionError> {
        match (elsewhere::find(&raw.name), self.unknown) {
            (_, Unknown::Skip) => {}
            (Some(e), Unknown::Refuse) => match e.fate {
                Fate::Warn => {
                    self.warnings
                        .push(format!("{} is ignored: {}", name_and_place(raw), e.why))
                }
                Fate::Refuse => {
                    return Err(OptionError::NotHere {
                        at: name_and_place(raw),
                        why: e.why,
                    });
                }
            },
            (None, Unknown::Refuse) => {
                return Err(OptionError::Unknown {
                    at: name_and_place(raw),
                    suggestion: nearest(&raw.name),
                });
            }
        }
        Ok(())
    }
}

/// Without the value: an option that we do not know may carry a password or a seed.
fn name_and_place(raw: &Raw) -> Place {
    Raw {
        value: None,
        ..raw.clone()
    }
    .place()
}

fn misplaced(setting: &Setting, class: FileClass) -> Option<&'static str> {
    match (setting.row.name, class) {
        ("conf" | "check" | "json", _) => Some("not permitted in configuration files"),
        ("lightning-dir", FileClass::Base | FileClass::Network) => Some(
            "not permitted in implicit configuration files (give it on the command line, or in a file named by --conf)",
        ),
        (_, FileClass::Network) if setting.network().is_some() => {
            Some("not permitted in network-specific configuration files")
        }
        _ if setting.row.exits => Some("not permitted in configuration files"),
        _ => None,
    }
}

/// The known name most like `name`.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let visible = ROWS.iter().filter(|r| !r.hidden).map(|r| r.name);
    let likeness = visible.map(|known| (strsim::jaro_winkler(name, known), known));
    likeness
        .filter(|(like, _)| *like >= MIN_LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// A file and those that it includes, line by line.
struct Files {
    /// Bytes that may still be read.
    left: u64,
    raw: Vec<Raw>,
}

impl Files {
    fn read(&mut self, path: &Path, must_exist: bool, depth: usize) -> Result<(), OptionError> {
        if depth > MAX_INCLUDE_DEPTH {
            return Err(OptionError::IncludeLoop(path.to_owned()));
        }
        let text = match self.text(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(()),
            Err(source) => {
                return Err(OptionError::File {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_start().trim_end_matches('\r');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(included) = line.strip_prefix("include ") {
                let from = path.parent().unwrap_or(Path::new(""));
                self.read(&from.join(included.trim()), true, depth + 1)?;
                continue;
            }
            let (name, value) = line
                .split_once('=')
                .map_or((line.trim_end(), None), |(n, v)| (n, Some(v.to_owned())));
            let source = Source::File {
                path: path.to_owned(),
                line: at + 1,
            };
            self.raw.push(Raw {
                name: name.to_owned(),
                value,
                source,
            });
        }
        Ok(())
    }

    /// No more than is left: a file may have no end.
    fn text(&mut self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let mut file = File::open(path)?.take(self.left + 1);
        let read = file.read_to_string(&mut text)? as u64;
        self.left = self.left.checked_sub(read).ok_or_else(|| {
            let why = format!("configuration files are limited to {MAX_BYTES} bytes together");
            io::Error::new(io::ErrorKind::FileTooLarge, why)
        })?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(arguments: &[&str]) -> Vec<(String, Option<String>)> {
        let raw = command_line(arguments.iter().map(OsString::from)).unwrap();
        raw.into_iter().map(|r| (r.name, r.value)).collect()
    }

    #[test]
    fn values_follow_an_equals_sign_or_stand_alone() {
        let both = split(&[
            "--fee-base=5",
            "--fee-base",
            "6",
            "--daemon",
            "-V",
            "--alias=",
        ]);
        let expected = [
            ("fee-base", Some("5")),
            ("fee-base", Some("6")),
            ("daemon", None),
            ("version", None),
            ("alias", Some("")),
        ];
        assert_eq!(
            both,
            expected.map(|(n, v)| (n.to_owned(), v.map(str::to_owned)))
        );
    }

    #[test]
    fn anything_but_options_is_refused() {
        for stray in [&["start"][..], &["-x"], &["--", "x"], &["-"], &["-hV"]] {
            assert!(
                matches!(
                    command_line(stray.iter().map(OsString::from)),
                    Err(OptionError::Stray(_))
                ),
                "{stray:?}"
            );
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("fee-bas"), Some("fee-base"));
        assert_eq!(nearest("aliass"), Some("alias"));
        assert_eq!(nearest("bitcoin-rpcpasword"), Some("bitcoin-rpcpassword"));
        assert_eq!(nearest("zzz"), None);
    }
}
