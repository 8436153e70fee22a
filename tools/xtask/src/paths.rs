//! Where things are: the repository, the cache, the one target folder.

use std::env;
use std::path::PathBuf;

/// The folder of the workspace's Cargo.toml.
pub fn repository() -> PathBuf {
    // Two folders above this crate; cargo gives its path at compile time.
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from("."))
}

/// `$HOME/.cache/bulkhead`: what setup fetched and what builds made, kept across checkouts.
pub fn cache() -> PathBuf {
    let home = env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from("."));
    home.join(".cache/bulkhead")
}

/// Where cargo puts what it builds: `$CARGO_TARGET_DIR`, else one folder for all checkouts.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => repository().join(dir),
        Some(_) | None => cache().join("target"),
    }
}

/// Where tests/fuzz is built, with its coverage flags: `$CARGO_TARGET_DIR/fuzz`, else a folder of
/// its own for all checkouts.
pub fn fuzz_target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => repository().join(dir).join("fuzz"),
        Some(_) | None => cache().join("fuzz"),
    }
}

/// Where the binaries of a release build lie.
pub fn binaries() -> PathBuf {
    target().join("release")
}

/// The first executable of this name on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

/// True if this is a file that somebody may execute.
pub fn is_executable(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
