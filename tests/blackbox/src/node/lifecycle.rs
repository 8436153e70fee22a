//! Start, stop, kill, restart.

use super::{Node, program};
use crate::process::Process;
use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// How a node that would not start said so.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it wrote in this start, log and terminal.
    pub words: String,
}

impl Node {
    /// Starts it (again) in its folder and waits until it answers `getinfo`.
    ///
    /// # Errors
    /// Where it ends or does not answer.
    pub fn launch(&mut self) -> Result<()> {
        self.child = Some(self.spawn()?);
        self.wait_for_answer()
    }

    /// Starts it (again) in its folder and waits for nothing.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn begin(&mut self) -> Result<()> {
        self.child = Some(self.spawn()?);
        Ok(())
    }

    /// As [`Node::launch`], on a power supply (the program `power` of this package) that can fail.
    ///
    /// # Errors
    /// As [`Node::launch`].
    pub fn launch_on(&mut self, power: &Path) -> Result<()> {
        self.child = Some(self.spawn_on(power, None)?);
        self.wait_for_answer()
    }

    /// Starts it on a power supply whose disk goes wrong (`power` says how it is told), and waits until it
    /// answers or has ended; says whether it runs.
    ///
    /// # Errors
    /// It does neither.
    pub fn launch_on_faulty(&mut self, power: &Path, fault: &str) -> Result<bool> {
        let fault = format!("--fault={fault}");
        self.child = Some(self.spawn_on(power, Some(fault))?);
        self.answers_or_ends()
    }

    /// Starts it on a power supply where every process dies at a moment (`N:WHEN`; `power` says what that is), and
    /// is then started again; waits for its answer. What is asked of it may find it dead for a moment.
    ///
    /// # Errors
    /// As [`Node::launch`].
    pub fn launch_to_die(&mut self, power: &Path, moment: &str) -> Result<()> {
        let step = format!("--step={moment}");
        self.child = Some(self.spawn_on(power, Some(step))?);
        self.wait_for_answer()
    }

    /// The moment of [`Node::launch_to_die`] has come: what was synced then.
    pub fn has_died(&self) -> Option<String> {
        let words = self.terminal();
        let line = words.lines().find(|line| line.starts_with("power: step"))?;
        line.rsplit_once("/regtest/")
            .map(|(_, file)| file.to_owned())
    }

    /// Starts it where it may refuse; `None` if it runs.
    ///
    /// # Errors
    /// It neither answers nor ends, or ends with success.
    pub fn launch_or_refuse(&mut self) -> Result<Option<Refusal>> {
        let logged = self.log().len();
        self.child = Some(self.spawn()?);
        if self.answers_or_ends()? {
            return Ok(None);
        }
        let status = self.wait_for_end()?;
        let words = self.terminal() + self.log().get(logged..).unwrap_or_default();
        ensure!(!status.success(), "it ended with success:\n{words}");
        Ok(Some(Refusal { status, words }))
    }

    fn answers_or_ends(&mut self) -> Result<bool> {
        let what = format!("{} answers or ends", self.name());
        let came = until(&what, || {
            if !self.is_running() {
                return Ok(Some(false));
            }
            Ok(self.rpc("getinfo", json!({})).ok().map(|_| true))
        });
        came.with_context(|| self.last_words())
    }

    /// The power fails: every process is gone, and what was not synced to the disk.
    ///
    /// # Errors
    /// It does not run, or not on a power supply.
    pub fn fail_power(&mut self) -> Result<()> {
        let pid = self.pid().context("it does not run")?;
        Process::get(pid)?.signal(Signal::SIGUSR1);
        let status = self.wait_for_end()?;
        ensure!(status.code().is_some(), "there is no power supply");
        Ok(())
    }

    fn wait_for_answer(&mut self) -> Result<()> {
        let answered = until(&format!("{} answers", self.name()), || {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().transpose())
            {
                bail!("{} ended at its start: {}", self.name(), status?);
            }
            Ok(self.rpc("getinfo", json!({})).ok())
        });
        answered.map(drop).with_context(|| self.last_words())
    }

    /// Starts it and kills it with everything below it before it can have come far.
    ///
    /// # Errors
    /// Where it cannot be started or killed.
    pub fn launch_and_kill9(&mut self, after: Duration) -> Result<()> {
        self.child = Some(self.spawn()?);
        std::thread::sleep(after);
        self.kill_all()
    }

    /// Starts it where it must refuse: waits for its end.
    ///
    /// # Errors
    /// Where it starts, or ends with success.
    pub fn launch_refused(&mut self) -> Result<Refusal> {
        let logged = self.log().len();
        let mut child = self.spawn()?;
        let ended = until(&format!("{} refuses to start", self.name()), || {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if self.rpc("getinfo", json!({})).is_ok() {
                bail!("{} started where it must refuse", self.name());
            }
            Ok(None)
        });
        let status = match ended {
            Ok(status) => status,
            Err(error) => {
                self.child = Some(child);
                self.kill_all()?;
                return Err(error);
            }
        };
        let terminal = self.terminal();
        let log = self.log();
        let words = format!("{terminal}{}", log.get(logged..).unwrap_or_default());
        if status.success() {
            bail!(
                "{} ended with success where it must refuse:\n{words}",
                self.name()
            );
        }
        Ok(Refusal { status, words })
    }

    /// What its last start wrote to its terminal.
    pub fn terminal(&self) -> String {
        fs::read_to_string(self.lightning_dir().join("output.log")).unwrap_or_default()
    }

    /// What `lightningd --check` says of it, and whether it ended with success.
    ///
    /// # Errors
    /// It says no JSON.
    pub fn check(&self) -> Result<(bool, Value)> {
        let output = self.check_with(&["--json"])?;
        let said = serde_json::from_slice(&output.stdout);
        let said = said.with_context(|| format!("--check said no JSON: {output:?}"))?;
        Ok((output.status.success(), said))
    }

    /// As [`Node::check`], with other arguments: all that it wrote.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn check_with(&self, arguments: &[&str]) -> Result<Output> {
        self.run(&[&["--check"], arguments].concat())
    }

    /// Starts it with `--daemon`: all that the command wrote until it ended. The node is the caller's to end.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn run_in_background(&self) -> Result<Output> {
        self.run(&["--daemon"])
    }

    /// Waits until nobody has its terminal any more.
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program("lightningd")?);
        self.add_arguments(&mut command);
        command.args(arguments);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// Ends it with the `stop` command; its exit status.
    ///
    /// # Errors
    /// Where the command fails or it does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.rpc("stop", json!({}))?;
        self.wait_for_end()
    }

    /// Ends it with SIGTERM; its exit status.
    ///
    /// # Errors
    /// Where it does not run or does not end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let pid = self
            .pid()
            .with_context(|| format!("{} does not run", self.name()))?;
        Process::get(pid)?.signal(Signal::SIGTERM);
        self.wait_for_end()
    }

    /// Waits until lightningd has ended by itself and everything below it too; its exit status.
    ///
    /// # Errors
    /// Where one of them stays.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let below = self.pid().map(Process::descendants).unwrap_or_default();
        let mut child = self
            .child
            .take()
            .with_context(|| format!("{} does not run", self.name()))?;
        let ended = until(&format!("{} ends", self.name()), || Ok(child.try_wait()?));
        if ended.is_err() {
            self.child = Some(child);
        }
        let status = ended.with_context(|| self.last_words())?;
        self.wait_until_gone(&below)?;
        Ok(status)
    }

    /// kill -9 of lightningd alone; the processes below it must then end by themselves.
    ///
    /// # Errors
    /// Where one of them stays.
    pub fn kill9(&mut self) -> Result<()> {
        let below = self.pid().map(Process::descendants).unwrap_or_default();
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.wait_until_gone(&below)
    }

    /// kill -9 of lightningd and everything below it, in one go.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn kill_all(&mut self) -> Result<()> {
        let all = self.processes();
        for process in &all {
            process.kill9();
        }
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.wait_until_gone(&all)
    }

    /// Stops it in order and starts it again.
    ///
    /// # Errors
    /// Those of both.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// True while lightningd runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// Leaves it running when this value goes; returns its folder.
    pub fn leave(mut self) -> PathBuf {
        self.child = None;
        match self.folder.take() {
            Some(folder) => folder.keep(),
            None => self.lightning_dir.clone(),
        }
    }

    fn wait_until_gone(&self, processes: &[Process]) -> Result<()> {
        let gone = until(&format!("{}'s processes are gone", self.name()), || {
            Ok((!processes.iter().any(Process::is_alive)).then_some(()))
        });
        gone.with_context(|| {
            let left = processes.iter().filter(|process| process.is_alive());
            let left: Vec<String> = left
                .map(|process| format!("{} ({})", process.role, process.pid))
                .collect();
            // Whoever calls us has failed; leave nothing behind.
            processes.iter().for_each(Process::kill9);
            format!("still there: {}", left.join(", "))
        })
    }

    fn spawn(&self) -> Result<Child> {
        self.spawn_by(Command::new(program("lightningd")?))
    }

    fn spawn_on(&self, power: &Path, trouble: Option<String>) -> Result<Child> {
        let mut command = Command::new(power);
        command.args(trouble).arg(self.network_dir());
        command.arg(program("lightningd")?);
        self.spawn_by(command)
    }

    /// Adds the node's arguments to the command.
    fn spawn_by(&self, mut command: Command) -> Result<Child> {
        let output = File::create(self.lightning_dir().join("output.log"))?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        self.add_arguments(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        if self.options.own_group {
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))
    }

    fn add_arguments(&self, command: &mut Command) {
        command
            .arg("--regtest")
            .arg(format!("--lightning-dir={}", self.lightning_dir.display()))
            .arg(format!("--bitcoin-datadir={}", self.bitcoin_data.display()))
            .arg("--bitcoin-rpcconnect=127.0.0.1")
            .arg(format!("--bitcoin-rpcport={}", self.bitcoin_port))
            .arg(format!("--addr=127.0.0.1:{}", self.port))
            .arg(format!("--alias={}", self.name))
            .arg("--log-level=debug")
            .arg(format!("--log-file={}", self.log_file().display()))
            .args(&self.options.arguments);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
        let all = self.processes();
        for process in &all {
            process.kill9();
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended before; then there is nothing to do.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::env::var_os("BULKHEAD_KEEP").is_some()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("{} is kept in {}", self.name, folder.keep().display());
        }
    }
}
