//! Running other programs, with a line that says what and when.

use crate::paths;
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// A progress line with the seconds since the first one.
pub fn say(text: &str) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs_f32();
    println!("[{seconds:7.1}s] {text}");
}

/// Cargo, told to build into the one target folder.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(paths::repository());
    // `cargo run`, which started us, sets these for us; a nested cargo that sees them would
    // rebuild crates whose build scripts look at them.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH");
    command.env("CARGO_TARGET_DIR", paths::target());
    command
}

/// Runs it to its end with our output; an unsuccessful end is an error.
pub fn check(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs it to its end and returns what it wrote; an unsuccessful end is an error with its words.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        bail!("`{shown}` failed ({}):\n{}", done.status, words.trim_end());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The command line, for a person.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
