//! Debian packages of a newer suite, fetched and verified by apt without touching the system's apt:
//! own lists, own cache, own idea of what is installed, under the cache folder. The mirror is the one
//! that the machine's apt is set up with, and each index is verified against Debian's archive keys.

use super::system::is_root;
use crate::run::{output, say};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// An apt with a state of its own.
pub struct Apt {
    folder: PathBuf,
    mirror: String,
}

impl Apt {
    /// An apt in this folder that reads these suites of the machine's Debian mirror; `present` are
    /// packages that it takes for installed, so that it does not fetch them as dependencies.
    ///
    /// # Errors
    /// Where there is no apt, no Debian mirror in its configuration, no keyring, or where the mirror
    /// does not answer or does not verify.
    pub fn open(folder: &Path, suites: &[&str], present: &[&str]) -> Result<Apt> {
        let apt = Apt {
            folder: folder.to_path_buf(),
            mirror: String::new(),
        };
        apt.lay_out(present)?;
        let (mirror, release) = apt.configured_mirror()?;
        let apt = Apt { mirror, ..apt };
        let keyring = system_keyring()?;
        if apt.update(suites, &keyring).is_err() {
            // An old keyring lacks the newer suite's keys: take the newer keyring, which comes from
            // the suite that the old one verifies.
            let keyring = apt.newer_keyring(&release, &keyring)?;
            apt.update(suites, &keyring)?;
        }
        Ok(apt)
    }

    /// Fetches a package of this suite and all that it depends on; returns the .deb files.
    ///
    /// # Errors
    /// Where the package is not there, or a file does not arrive whole.
    pub fn fetch(&self, package: &str, suite: &str) -> Result<Vec<PathBuf>> {
        let archives = self.folder.join("cache/archives");
        for old in files_ending(&archives, ".deb")? {
            fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        let mut command = self.command("apt-get");
        command.args([
            "-y",
            "-q",
            "--no-install-recommends",
            "--download-only",
            "-t",
            suite,
        ]);
        output(command.args(["install", package]))?;
        files_ending(&archives, ".deb")
    }

    fn lay_out(&self, present: &[&str]) -> Result<()> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = self.folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let status: String = present.iter().map(|name| installed(name)).collect();
        fs::write(self.folder.join("status"), status).context("cannot write apt's status file")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.display();
        for option in [
            format!("Dir::State={folder}"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            format!("Dir::Cache::archives={folder}/cache/archives"),
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ] {
            command.arg("-o").arg(option);
        }
        if is_root() {
            // The user _apt cannot write into root's home.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C");
        command
    }

    fn update(&self, suites: &[&str], keyring: &Path) -> Result<()> {
        let line = |suite: &&str| {
            format!(
                "deb [signed-by={}] {} {suite} main\n",
                keyring.display(),
                self.mirror
            )
        };
        let sources: String = suites.iter().map(line).collect();
        fs::write(self.folder.join("sources.list"), sources)
            .context("cannot write apt's sources")?;
        let mut command = self.command("apt-get");
        output(command.args(["update", "-q", "-o", "APT::Update::Error-Mode=any"])).map(drop)
    }

    /// The URI of the Debian archive in the machine's apt configuration, and the suite it reads there.
    fn configured_mirror(&self) -> Result<(String, String)> {
        let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)";
        let targets = |extra: &[String]| {
            let mut command = Command::new("apt-get");
            output(command.args(extra).args([
                "indextargets",
                "--format",
                format,
                "Created-By: Packages",
            ]))
        };
        let mut listed = targets(&[]).context("this machine has no apt")?;
        if debian(&listed).is_none() {
            // A new machine has the configuration but not yet the lists, and apt names no target
            // without them: read them into a folder of our own.
            let lists = self.folder.join("system-lists");
            fs::create_dir_all(lists.join("partial"))
                .context("cannot make a folder for apt's lists")?;
            let mut extra = vec![
                "-o".to_string(),
                format!("Dir::State::lists={}", lists.display()),
            ];
            if is_root() {
                extra.extend(["-o".to_string(), "APT::Sandbox::User=root".to_string()]);
            }
            output(Command::new("apt-get").args(&extra).args(["update", "-q"]))?;
            listed = targets(&extra)?;
        }
        debian(&listed).context("this machine's apt is not set up with a Debian mirror")
    }

    fn newer_keyring(&self, release: &str, keyring: &Path) -> Result<PathBuf> {
        say(
            "setup: the installed archive keys do not verify the newer suite; fetching the newer keys",
        );
        self.update(&[release], keyring)?;
        let debs = self.fetch("debian-archive-keyring", release)?;
        let folder = self.folder.join("keyring");
        for deb in &debs {
            unpack(deb, &folder)?;
        }
        let inside = |path: &&str| folder.join(path.trim_start_matches('/'));
        let found = KEYRINGS.iter().map(inside).find(|path| path.is_file());
        found.context("the package debian-archive-keyring holds no keyring")
    }
}

/// Unpacks a .deb into this folder without installing it.
pub fn unpack(deb: &Path, folder: &Path) -> Result<()> {
    output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(folder)).map(drop)
}

/// The files in this folder whose name ends so.
fn files_ending(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    Ok(files
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect())
}

fn system_keyring() -> Result<PathBuf> {
    match KEYRINGS
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
    {
        Some(path) => Ok(path),
        None => bail!("Debian's archive keys are missing: install debian-archive-keyring"),
    }
}

/// The first target of Debian's own main archive: its URI and suite.
fn debian(targets: &str) -> Option<(String, String)> {
    targets.lines().find_map(|line| {
        let mut fields = line.split('|');
        let wanted =
            [fields.next()?, fields.next()?, fields.next()?] == ["Debian", "Debian", "main"];
        let (mirror, release) = (fields.next()?, fields.next()?);
        let base = !release.contains('-');
        (wanted && base).then(|| (mirror.to_string(), release.to_string()))
    })
}

/// A stanza by which apt takes a package for installed, in a version above any.
fn installed(name: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nVersion: 9999\nArchitecture: all\n\
         Maintainer: none\nDescription: not needed here\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_main_archive_and_not_security_or_updates() {
        let listed = "Debian|Debian-Security|main|http://mirror/sec/|bookworm-security\n\
                      Other|Other|main|http://other/|stable\n\
                      Debian|Debian|main|http://mirror/debian/|bookworm-updates\n\
                      Debian|Debian|main|http://mirror/debian/|bookworm\n";
        let found = Some(("http://mirror/debian/".to_string(), "bookworm".to_string()));
        assert_eq!(debian(listed), found);
        assert_eq!(debian("Ubuntu|Ubuntu|main|http://mirror/|noble\n"), None);
    }
}
