//! A node that has lost what it had, and what its owner does about it.

use super::{Node, Options, program};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

impl Node {
    /// All that is in its folder goes but these files, while it does not run.
    ///
    /// # Errors
    /// It runs, or the folder cannot be written.
    pub fn lose_all_but(&mut self, kept: &[&str]) -> Result<()> {
        ensure!(!self.is_running(), "{} runs", self.name());
        for entry in fs::read_dir(self.network_dir())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if kept.contains(&&*name) {
                continue;
            }
            match path.is_dir() {
                true => fs::remove_dir_all(&path)?,
                false => fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    /// From now on it is started with these arguments.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// The words of its seed, which its owner writes down; once.
    ///
    /// # Errors
    /// The tool fails.
    pub fn words(&self) -> Result<String> {
        let folder = self.network_dir().display().to_string();
        let shown = tool(&["--json", "show-mnemonic", &folder, "--yes"], "")?;
        super::text(&shown["words"], "the words")
    }

    /// A seed file of these words, where there is none.
    ///
    /// # Errors
    /// The tool fails.
    pub fn restore_seed(&self, words: &str) -> Result<()> {
        fs::create_dir_all(self.network_dir())?;
        let file = self.network_dir().join("hsm_secret").display().to_string();
        tool(&["--json", "restorehsm", &file], &format!("{words}\n")).map(drop)
    }
}

/// The owner's tool, with what a person would type.
fn tool(arguments: &[&str], typed: &str) -> Result<Value> {
    let mut child = Command::new(program("lightning-hsmtool")?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("stdin is piped")?
        .write_all(typed.as_bytes())?;
    let output = child.wait_with_output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "lightning-hsmtool: {error}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
