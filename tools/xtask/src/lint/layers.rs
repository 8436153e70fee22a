//! Who may depend on whom. The root Cargo.toml lists the members lowest layer first; a crate may name
//! only crates above it in that list. Nobody depends on a daemon, and only hsmd and the owner's tool
//! depend on hsm.
//! Dependencies of tests are free.

use crate::run::{cargo, output};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

/// The binaries that are processes of their own.
const DAEMONS: [&str; 7] = [
    "lightningd",
    "hsmd",
    "connectd",
    "chaind",
    "payd",
    "channeld",
    "onchaind",
];
/// Who may hold keys: the signer, and the owner's tool for its files while no node runs (docs/adr/0006).
const KEY_HOLDERS: [&str; 2] = ["hsmd", "hsmtool"];
/// Crates that reach the outside: none of the pure crates may name one.
const IMPURE: [&str; 9] = [
    "tokio",
    "mio",
    "nix",
    "libc",
    "hyper",
    "rocksdb",
    "signal-hook",
    "tempfile",
    "getrandom",
];

/// A member with its place in the list and the names of its normal and build dependencies.
struct Crate {
    name: String,
    folder: String,
    needs: Vec<String>,
}

/// One line for each rule that is broken.
pub fn violations(repository: &Path) -> Result<Vec<String>> {
    let manifest =
        std::fs::read_to_string(repository.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let metadata = output(&mut cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]))
    .or_else(|_| {
        output(&mut cargo(&[
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
        ]))
    })?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    let crates = crates(&members(&manifest), &metadata, repository)?;
    Ok(judge(&crates))
}

fn judge(crates: &[Crate]) -> Vec<String> {
    let place = |name: &str| crates.iter().position(|member| member.name == name);
    let mut broken = Vec::new();
    for (own_place, member) in crates.iter().enumerate() {
        for need in &member.needs {
            if place(need).is_some_and(|its_place| its_place > own_place) {
                broken.push(format!(
                    "{} names {need}, which is a higher layer",
                    member.name
                ));
            }
            if DAEMONS.contains(&need.as_str()) {
                broken.push(format!("{} links the daemon {need}", member.name));
            }
            if need == "hsm" && !KEY_HOLDERS.contains(&member.name.as_str()) {
                broken.push(format!(
                    "{} links hsm; only hsmd and hsmtool may",
                    member.name
                ));
            }
            if is_pure(&member.folder) && IMPURE.contains(&need.as_str()) {
                broken.push(format!("{} is pure but names {need}", member.name));
            }
        }
    }
    broken
}

/// True for the crates that take time and randomness as arguments and do no I/O.
pub fn is_pure(folder: &str) -> bool {
    folder == "wire" || folder.starts_with("protocol/")
}

/// The members in the order of the manifest.
pub fn members(manifest: &str) -> Vec<String> {
    let list = manifest
        .lines()
        .skip_while(|line| !line.starts_with("members = ["));
    let quoted = list
        .take_while(|line| !line.starts_with(']'))
        .filter_map(|line| line.split('"').nth(1));
    quoted.map(str::to_string).collect()
}

fn crates(members: &[String], metadata: &Value, repository: &Path) -> Result<Vec<Crate>> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let one = |folder: &String| {
        let manifest = repository.join(folder).join("Cargo.toml");
        let package = packages
            .iter()
            .find(|package| {
                package["manifest_path"]
                    .as_str()
                    .is_some_and(|path| Path::new(path) == manifest)
            })
            .with_context(|| format!("cargo metadata does not know {folder}"))?;
        let dependencies = package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let needs = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_string))
            .collect();
        let name = package["name"].as_str().unwrap_or_default().to_string();
        Ok(Crate {
            name,
            folder: folder.clone(),
            needs,
        })
    };
    members.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, folder: &str, needs: &[&str]) -> Crate {
        let needs = needs.iter().map(ToString::to_string).collect();
        Crate {
            name: name.into(),
            folder: folder.into(),
            needs,
        }
    }

    #[test]
    fn members_are_read_in_their_order() {
        let manifest =
            "[workspace]\nmembers = [\n    \"wire\",\n    \"protocol/tx\",\n]\nexclude = [\"x\"]\n";
        assert_eq!(members(manifest), ["wire", "protocol/tx"]);
    }

    #[test]
    fn a_crate_that_names_a_higher_layer_is_reported() {
        let good = [
            member("wire", "wire", &[]),
            member("tx", "protocol/tx", &["wire"]),
        ];
        assert!(judge(&good).is_empty());
        let bad = [
            member("wire", "wire", &["tx"]),
            member("tx", "protocol/tx", &[]),
        ];
        assert_eq!(judge(&bad), ["wire names tx, which is a higher layer"]);
    }

    #[test]
    fn hsm_belongs_to_hsmd_and_the_owners_tool_alone() {
        let good = [
            member("hsm", "hsm", &[]),
            member("hsmd", "daemons/hsmd", &["hsm"]),
            member("hsmtool", "tools/hsmtool", &["hsm"]),
        ];
        assert!(judge(&good).is_empty());
        let bad = [
            member("hsm", "hsm", &[]),
            member("channeld", "daemons/channeld", &["hsm"]),
        ];
        assert_eq!(
            judge(&bad),
            ["channeld links hsm; only hsmd and hsmtool may"]
        );
    }

    #[test]
    fn a_pure_crate_may_not_name_a_runtime() {
        assert_eq!(
            judge(&[member("wire", "wire", &["tokio"])]),
            ["wire is pure but names tokio"]
        );
    }
}
