//! The machine's own tools: a C++ compiler and libclang for RocksDB, rustfmt and clippy.

use crate::paths;
use crate::run::{check, say};
use anyhow::{Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A thing that the build needs, the Debian packages that bring it, and why.
pub struct Need {
    pub what: &'static str,
    pub why: &'static str,
    pub packages: &'static [&'static str],
    pub present: fn() -> bool,
}

const NEEDS: [Need; 3] = [
    Need {
        what: "a C compiler",
        why: "secp256k1 and SQLite (in tests) are C",
        packages: &["gcc", "libc6-dev"],
        present: || any_on_path(&["cc", "gcc", "clang"]),
    },
    Need {
        what: "a C++ compiler",
        why: "RocksDB is C++",
        packages: &["g++"],
        present: || any_on_path(&["c++", "g++", "clang++"]),
    },
    Need {
        what: "libclang",
        why: "the RocksDB bindings are made with bindgen",
        packages: &["clang", "libclang-dev"],
        present: || libclang().is_some(),
    },
];

/// What a build needs.
pub fn packages() -> Result<()> {
    provide(&NEEDS)
}

/// Checks each need; installs what is missing with apt-get where we are root or have sudo.
pub fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        say(&format!("setup: {} is missing ({})", need.what, need.why));
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    install(&packages)?;
    if let Some(need) = missing.iter().find(|need| !(need.present)()) {
        bail!(
            "{} is still missing after the installation of {}",
            need.what,
            packages.join(" ")
        );
    }
    Ok(())
}

/// rustfmt and clippy, through rustup where they are missing and it is there.
pub fn components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if answers("cargo", &[subcommand, "--version"]) {
            continue;
        }
        if paths::on_path("rustup").is_none() {
            bail!("`cargo {subcommand}` is missing: install {component} for your Rust toolchain");
        }
        say(&format!("setup: rustup component add {component}"));
        check(Command::new("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    if paths::on_path("apt-get").is_none() {
        bail!("install what is missing with your system's packages (on Debian: {by_hand})");
    }
    // -n: a sudo that would ask for a password is refused instead, since nobody may be there.
    let root: &[&str] = if is_root() {
        &[]
    } else if answers("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        bail!("run this as root, then try again:\n  apt-get update && {by_hand}");
    };
    let apt = |arguments: &[&str]| {
        let mut words = root.to_vec();
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        words.extend(arguments);
        say(&format!("setup: {}", words.join(" ")));
        check(Command::new(words[0]).args(&words[1..]))
    };
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

/// True where this process has root's rights.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

fn any_on_path(names: &[&str]) -> bool {
    names.iter().any(|name| paths::on_path(name).is_some())
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A libclang that bindgen will find: in $LIBCLANG_PATH, or where systems put it.
fn libclang() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("LIBCLANG_PATH")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    folders.extend(
        [
            "/usr/lib",
            "/usr/lib64",
            "/usr/local/lib",
            "/opt/homebrew/opt/llvm/lib",
        ]
        .map(PathBuf::from),
    );
    for entry in entries(Path::new("/usr/lib")) {
        let name = entry
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.starts_with("llvm-") {
            folders.push(entry.join("lib"));
        } else if name.contains("-linux-") {
            folders.push(entry);
        }
    }
    folders
        .iter()
        .flat_map(|folder| entries(folder))
        .find(|file| {
            let name = file
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let shared = name.contains(".so") || name.ends_with(".dylib");
            shared
                && (name.starts_with("libclang.") || name.starts_with("libclang-"))
                && !name.starts_with("libclang-cpp")
                && file.is_file()
        })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    list.flatten().map(|entry| entry.path()).collect()
}
