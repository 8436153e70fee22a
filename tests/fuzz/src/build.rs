//! The binary with all targets, built with coverage instrumentation.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::home;

/// LLVM's sanitizer-coverage pass as libFuzzer wants it: a counter for each edge, and the operands
/// of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// A target, as its binary lists it.
#[derive(Clone)]
pub struct Listed {
    pub name: String,
    /// Longest input, in bytes.
    pub max_len: usize,
}

/// The built binary.
pub struct Instrumented {
    binary: PathBuf,
}

impl Instrumented {
    /// # Errors
    /// The build failed; cargo has said why.
    pub fn build() -> Result<Instrumented, String> {
        let (dir, triple) = (target_dir(), host()?);
        println!("building the targets with coverage into {}", dir.display());
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args([
                "build",
                "--quiet",
                "--release",
                "--features",
                "targets",
                "--bin",
                "targets",
            ])
            // Named, so that build scripts and macros are not instrumented.
            .args(["--target", &triple, "--manifest-path"])
            .arg(home().join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &dir)
            .env("RUSTFLAGS", COVERAGE)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .stdin(Stdio::null());
        // What `cargo run` set for this program would make cargo build some crates again.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(_) => return Err("the targets do not build".to_owned()),
            Err(e) => return Err(format!("cannot run cargo: {e}")),
        }
        let binary = dir.join(triple).join("release/targets");
        Ok(Instrumented { binary })
    }

    /// A run of one target, without libFuzzer's arguments as yet.
    pub fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("FUZZ_TARGET", target)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null());
        command
    }

    /// # Errors
    /// The binary does not run.
    pub fn list(&self) -> Result<Vec<Listed>, String> {
        let output = self
            .command("list")
            .output()
            .map_err(|e| format!("cannot list the targets: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let listed = text.lines().filter_map(|line| {
            let (name, max_len) = line.split_once(' ')?;
            Some(Listed {
                name: name.to_owned(),
                max_len: max_len.parse().ok()?,
            })
        });
        let listed: Vec<Listed> = listed.collect();
        if listed.is_empty() {
            return Err("the binary lists no target".to_owned());
        }
        Ok(listed)
    }

    /// # Errors
    /// A seed that its own target fails on, or a folder that cannot be written.
    pub fn write_seeds(&self, dir: &Path) -> Result<(), String> {
        match self.command(&format!("seeds:{}", dir.display())).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("writing the seeds failed ({status})")),
            Err(e) => Err(format!("cannot write the seeds: {e}")),
        }
    }
}

/// `$CARGO_TARGET_DIR`, which xtask sets, else the same folder as xtask would.
fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => env::current_dir().unwrap_or_default().join(dir),
        Some(_) | None => {
            let home = env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
            home.join(".cache/bulkhead/fuzz")
        }
    }
}

/// The triple of this machine, as rustc calls it.
fn host() -> Result<String, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .map_err(|e| format!("cannot run rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".to_owned())
}
