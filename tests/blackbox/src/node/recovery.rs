//! A node that has lost what it had, and what its owner does about it.

use super::{Node, Options, program};
use crate::wait::until;
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

    /// Starts it with `--await-recovery` in its configuration, where it waits, and confirms the recovery once
    /// it says so.
    ///
    /// # Errors
    /// It does not say so, the confirmation is refused, or it does not come up.
    pub fn launch_and_confirm_recovery(&mut self) -> Result<()> {
        let config = self.lightning_dir.join("config");
        let mut text = fs::read_to_string(&config).unwrap_or_default();
        if !text.contains("await-recovery") {
            text.push_str("\nawait-recovery\n");
            fs::write(&config, text)?;
        }
        let logged = self.log().len();
        let (log, folder) = (self.log_file(), self.network_dir());
        let confirming = std::thread::spawn(move || -> Result<()> {
            until("the log says how to confirm", || {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let new = text.get(logged..).unwrap_or_default();
                Ok(new.contains("confirm-recovery").then_some(()))
            })?;
            let mut tool = Command::new(program("lightning-hsmtool")?);
            tool.arg("confirm-recovery").arg(folder).arg("--yes");
            let output = tool.output()?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{error}");
            Ok(())
        });
        self.launch()?;
        let confirmed = confirming.join();
        confirmed.map_err(|_| anyhow::anyhow!("the thread that confirms panicked"))?
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
