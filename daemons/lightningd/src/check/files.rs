//! The folder: what a start would not begin with, before it has opened anything.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::path::Path;

use lightningd_options::Options;

use super::report::{Check, Finding, Report};
use crate::backup;
use crate::first_start;

const FOLDER: &str =
    "Do what it says, and never start an empty node in the place of one that had coins";
const FILE: &str = "See what stands there and why it cannot be used; put back the file, or give it back to the \
                    node's user";

/// Whether anything of a node is there.
pub fn is_a_nodes(folder: &Path) -> bool {
    let names = [
        "hsm_secret",
        "db",
        "hsm-journal",
        "hsm-audit",
        "emergency.recover",
    ];
    let is_there = |name: &str| folder.join(name).symlink_metadata().is_ok();
    names.into_iter().any(is_there)
}

pub fn look(options: &Options, report: &mut Report) {
    let folder = &options.network_dir;
    let finding = match first_start::judge(options, !folder.join("db").exists()) {
        Err(why) => Finding::wrong(format!("{why:#}"), FOLDER),
        Ok(()) => unusable(folder).map_or_else(
            || Finding::Well("can be read and written".to_owned()),
            |what| Finding::wrong(what, FILE),
        ),
    };
    report.add(Check::Files, finding);
}

/// The first file that the start would open and cannot.
fn unusable(folder: &Path) -> Option<String> {
    let kept = backup::read(folder).map(drop);
    let written =
        ["hsm-audit", "hsm-journal", "db/LOCK"].map(|name| (name, can_write(&folder.join(name))));
    let looked_at = [("emergency.recover", kept)].into_iter().chain(written);
    let mut wrong = looked_at.filter_map(|(name, result)| Some((name, result.err()?)));
    let (name, error) = wrong.next()?;
    Some(format!("{name} cannot be used: {error}"))
}

/// Without changing it. One that is not there is made by a start, or refused with its own words.
fn can_write(path: &Path) -> io::Result<()> {
    match OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened.map(drop),
    }
}
