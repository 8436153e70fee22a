//! The arguments of a subdaemon: which descriptors it is meant to have, and what it is granted.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::RawFd;

use ipc_transport::log::Level;

use crate::grant::{Connect, Grant, MAX_BIND, Mode};

/// The name of the descriptor that takes the report.
pub(crate) const REPORT: &str = "report";
/// The name of the log edge's descriptor.
pub const LOG: &str = "log";
/// The most descriptors that a subdaemon is started with.
pub(crate) const MAX_FDS: usize = 32;
/// The first number after stdin, stdout and stderr.
pub(crate) const FIRST: RawFd = 3;
/// The longest name of a descriptor.
const MAX_NAME: usize = 32;

/// The arguments are not those of a subdaemon.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// One is missing.
    #[error("no `{0}...` among the arguments; this program is started by lightningd, not by hand")]
    Missing(&'static str),
    /// One is unknown or comes twice.
    #[error("unexpected argument {0:?}")]
    Unexpected(OsString),
    /// One does not have the form that it should.
    #[error("malformed argument {0:?}")]
    Malformed(String),
    /// A descriptor's name is not of 1 to 32 characters of a-z, 0-9, `-` and `_`.
    #[error("{0:?} is no name for a descriptor")]
    Name(String),
    /// A descriptor's name or number comes twice.
    #[error("descriptor {0:?} comes twice")]
    Twice(String),
    /// More descriptors than a subdaemon is started with.
    #[error("{0} descriptors, more than {MAX_FDS}")]
    TooMany(usize),
    /// More ports to listen on than a subdaemon is granted.
    #[error("{0} ports to listen on, more than {MAX_BIND}")]
    TooManyPorts(usize),
}

/// What a subdaemon is told by its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub fds: Vec<(String, RawFd)>,
    pub log_level: Level,
    /// The process that started it.
    pub parent: i32,
    pub grant: Grant,
}

const FDS: &str = "--fds=";
const LOG_LEVEL: &str = "--log-level=";
const PARENT: &str = "--parent=";
const SANDBOX: &str = "--sandbox=";
const CONNECT: &str = "--connect=";
const BIND: &str = "--bind=";

impl Manifest {
    /// From a process's arguments, the first of which is its name.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, ManifestError> {
        let (mut fds, mut log_level, mut parent) = (None, None, None);
        let (mut sandbox, mut connect, mut bind) = (None, None, None);
        for arg in args.into_iter().skip(1) {
            let text = arg.to_str().unwrap_or_default();
            let place = [
                (FDS, &mut fds),
                (LOG_LEVEL, &mut log_level),
                (PARENT, &mut parent),
                (SANDBOX, &mut sandbox),
                (CONNECT, &mut connect),
                (BIND, &mut bind),
            ]
            .into_iter()
            .find_map(|(prefix, place)| Some((place, text.strip_prefix(prefix)?)));
            match place {
                Some((place @ None, value)) => *place = Some(value.to_owned()),
                Some((Some(_), _)) | None => return Err(ManifestError::Unexpected(arg)),
            }
        }
        let malformed =
            |prefix: &str, value: &str| ManifestError::Malformed(format!("{prefix}{value}"));
        let fds = fds.ok_or(ManifestError::Missing(FDS))?;
        let log_level = log_level.ok_or(ManifestError::Missing(LOG_LEVEL))?;
        let parent = parent.ok_or(ManifestError::Missing(PARENT))?;
        let sandbox = sandbox.ok_or(ManifestError::Missing(SANDBOX))?;
        let connect = connect.ok_or(ManifestError::Missing(CONNECT))?;
        let bind = bind.ok_or(ManifestError::Missing(BIND))?;
        let grant = Grant {
            mode: Mode::from_name(&sandbox).ok_or_else(|| malformed(SANDBOX, &sandbox))?,
            connect: Connect::parse(&connect).ok_or_else(|| malformed(CONNECT, &connect))?,
            bind: parse_ports(&bind).ok_or_else(|| malformed(BIND, &bind))?,
        };
        check_ports(&grant)?;
        Ok(Manifest {
            fds: parse_fds(&fds)?,
            log_level: Level::from_name(&log_level)
                .ok_or_else(|| malformed(LOG_LEVEL, &log_level))?,
            parent: parent.parse().map_err(|_| malformed(PARENT, &parent))?,
            grant,
        })
    }

    /// As arguments, without the process's name.
    pub(crate) fn to_args(&self) -> [String; 6] {
        let fds: Vec<String> = self
            .fds
            .iter()
            .map(|(name, fd)| format!("{name}:{fd}"))
            .collect();
        let ports: Vec<String> = self.grant.bind.iter().map(u16::to_string).collect();
        [
            format!("{FDS}{}", fds.join(",")),
            format!("{LOG_LEVEL}{}", self.log_level.name()),
            format!("{PARENT}{}", self.parent),
            format!("{SANDBOX}{}", self.grant.mode.name()),
            format!("{CONNECT}{}", self.grant.connect),
            format!("{BIND}{}", ports.join(",")),
        ]
    }
}

fn parse_ports(list: &str) -> Option<Vec<u16>> {
    let ports = list.split(',').filter(|port| !port.is_empty());
    ports.map(|port| port.parse().ok()).collect()
}

/// Whether these are not too many.
pub(crate) fn check_ports(grant: &Grant) -> Result<(), ManifestError> {
    match grant.bind.len() {
        0..=MAX_BIND => Ok(()),
        many => Err(ManifestError::TooManyPorts(many)),
    }
}

fn parse_fds(list: &str) -> Result<Vec<(String, RawFd)>, ManifestError> {
    let mut fds = Vec::new();
    for entry in list.split(',').filter(|entry| !entry.is_empty()) {
        let parsed = entry
            .split_once(':')
            .and_then(|(name, fd)| Some((name, fd.parse::<RawFd>().ok()?)));
        match parsed {
            Some((name, fd)) if fd >= FIRST => fds.push((name.to_owned(), fd)),
            _ => return Err(ManifestError::Malformed(entry.to_owned())),
        }
    }
    check_names(fds.iter().map(|(name, _)| name.as_str()))?;
    let mut seen = BTreeSet::new();
    match fds.iter().find(|(_, fd)| !seen.insert(*fd)) {
        Some((_, fd)) => Err(ManifestError::Twice(fd.to_string())),
        None => Ok(fds),
    }
}

/// Whether these can be the names of one subdaemon's descriptors.
pub(crate) fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), ManifestError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            return Err(ManifestError::Name(name.to_owned()));
        }
        if !seen.insert(name) {
            return Err(ManifestError::Twice(name.to_owned()));
        }
    }
    match seen.len() {
        0..=MAX_FDS => Ok(()),
        many => Err(ManifestError::TooMany(many)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Manifest, ManifestError> {
        Manifest::parse(["channeld"].iter().chain(args).map(OsString::from))
    }

    const REST: [&str; 5] = [
        "--log-level=debug",
        "--parent=7",
        "--sandbox=required",
        "--connect=all-but:8332",
        "--bind=9735,9736",
    ];

    fn with_rest<'a>(first: &'a str, changed: &[&'a str]) -> Vec<&'a str> {
        let key = |arg: &str| arg.split('=').next().map(str::to_owned);
        let rest = REST.map(|arg| {
            let same = |other: &&&'a str| key(other) == key(arg);
            changed.iter().find(same).copied().unwrap_or(arg)
        });
        std::iter::once(first).chain(rest).collect()
    }

    fn fds(list: &str) -> Result<Vec<(String, RawFd)>, ManifestError> {
        Ok(parse(&with_rest(&format!("--fds={list}"), &[]))?.fds)
    }

    #[test]
    fn what_is_written_is_read() {
        let fds = vec![("lightningd".to_owned(), 3), ("log".to_owned(), 4)];
        let manifest = Manifest {
            fds,
            log_level: Level::Trace,
            parent: 42,
            grant: Grant {
                mode: Mode::BestEffort,
                connect: Connect::Only(18443),
                bind: vec![9735, 0],
            },
        };
        let args = manifest.to_args();
        assert_eq!(args[0], "--fds=lightningd:3,log:4");
        assert_eq!(args[4..], ["--connect=only:18443", "--bind=9735,0"]);
        assert_eq!(parse(&args.each_ref().map(String::as_str)), Ok(manifest));
        assert_eq!(self::fds(""), Ok(vec![]));
    }

    #[test]
    fn started_by_hand_it_says_what_is_missing() {
        assert_eq!(parse(&[]), Err(ManifestError::Missing("--fds=")));
        assert_eq!(
            parse(&["--fds="]),
            Err(ManifestError::Missing("--log-level="))
        );
        for (given, missing) in ["--parent=", "--sandbox=", "--connect=", "--bind="]
            .into_iter()
            .enumerate()
        {
            let mut args = vec!["--fds="];
            args.extend(&REST[..=given]);
            assert_eq!(parse(&args), Err(ManifestError::Missing(missing)));
        }
    }

    #[test]
    fn an_unknown_or_repeated_argument_is_an_error() {
        for extra in ["--help", "x", "", "--fds=a:9", "--parent=7"] {
            let mut args = with_rest("--fds=a:3", &[]);
            args.push(extra);
            assert_eq!(parse(&args), Err(ManifestError::Unexpected(extra.into())));
        }
    }

    #[test]
    fn a_malformed_value_is_an_error() {
        for bad in [
            "a",
            "a:",
            "a:x",
            "a:-3",
            "a:2",
            "a:0",
            "a:3:4",
            "a:99999999999",
        ] {
            assert_eq!(fds(bad), Err(ManifestError::Malformed(bad.into())), "{bad}");
        }
        for bad in [":3", "A:3", "a b:3", "a/b:3"] {
            assert!(matches!(fds(bad), Err(ManifestError::Name(_))), "{bad}");
        }
        for bad in [
            "--log-level=loud",
            "--parent=",
            "--sandbox=none",
            "--connect=",
            "--connect=all-but",
            "--connect=only:65536",
            "--bind=x",
            "--bind=-1",
        ] {
            assert_eq!(
                parse(&with_rest("--fds=", &[bad])),
                Err(ManifestError::Malformed(bad.into())),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_name_or_number_that_comes_twice_is_an_error() {
        assert_eq!(fds("a:3,a:4"), Err(ManifestError::Twice("a".into())));
        assert_eq!(fds("a:3,b:3"), Err(ManifestError::Twice("3".into())));
    }

    #[test]
    fn more_ports_than_allowed_are_an_error() {
        let bind = |count: usize| format!("--bind={}", vec!["9735"; count].join(","));
        let (most, more) = (bind(MAX_BIND), bind(MAX_BIND + 1));
        assert!(parse(&with_rest("--fds=", &[&most])).is_ok());
        assert_eq!(
            parse(&with_rest("--fds=", &[&more])),
            Err(ManifestError::TooManyPorts(MAX_BIND + 1))
        );
    }

    #[test]
    fn more_descriptors_than_allowed_are_an_error() {
        let list = |count: usize| {
            (0..count)
                .map(|n| format!("x{n}:{}", n + 3))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(fds(&list(MAX_FDS)).unwrap().len(), MAX_FDS);
        assert_eq!(
            fds(&list(MAX_FDS + 1)),
            Err(ManifestError::TooMany(MAX_FDS + 1))
        );
    }
}
