//! A moment in which the node dies: `N:WHEN`. At the N-th sync of a file or folder in the folder every
//! process is killed, and the program is started again at once, as a supervisor would, and left alone.
//!
//! WHEN is `before`: what was to be synced is in the page cache, and nobody was told that it is durable;
//! `after`: it is durable, and nobody was told; or `power`: it is lost, with all that was never synced.

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Before,
    After,
    Power,
}

/// A moment, and how far it is.
pub struct Step {
    number: u64,
    when: When,
    /// Syncs so far.
    seen: u64,
    /// Who is in the call.
    inside: Option<Pid>,
    reached: bool,
}

impl Step {
    /// # Errors
    /// What does not stand there as it should.
    pub fn parse(text: &str) -> Result<Step> {
        let (number, when) = text.split_once(':').context("a step is N:WHEN")?;
        Ok(Step {
            number: number.parse().context("which one is a number")?,
            when: match when {
                "before" => When::Before,
                "after" => When::After,
                "power" => When::Power,
                other => bail!("nobody dies {other}"),
            },
            seen: 0,
            inside: None,
            reached: false,
        })
    }

    /// A thread begins to sync this.
    pub fn begins(&mut self, pid: Pid, file: &Path) {
        self.seen += 1;
        if self.seen == self.number {
            eprintln!(
                "power: step {}, {:?} {}",
                self.number,
                self.when,
                file.display()
            );
            match self.when {
                When::After => self.inside = Some(pid),
                When::Before | When::Power => self.reached = true,
            }
        }
    }

    /// A thread's system call is over.
    pub fn ends(&mut self, pid: Pid) {
        self.reached |= self.inside == Some(pid);
    }

    /// All die now.
    pub fn reached(&self) -> bool {
        self.reached
    }

    /// What was not synced is lost with them.
    pub fn loses_power(&self) -> bool {
        self.when == When::Power
    }
}
