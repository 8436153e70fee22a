//! The report of the first steps on its way to the parent: one write into a pipe, which is then closed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_transport::codec;
use ipc_transport::hardening::{Hardening, Report};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// So much goes into a pipe at once and comes out at once (PIPE_BUF), in bytes.
const MAX: usize = 4096;
/// The longest reason for which a first step failed, in bytes.
const MAX_REASON: usize = 3000;

/// Where the parent hears the report of a subdaemon that it has started.
#[derive(Debug)]
pub struct Reporter(OwnedFd);

/// The parent's end, and the child's.
pub(crate) fn pipe() -> io::Result<(Reporter, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((Reporter(read), write))
}

impl Reporter {
    /// Waits for the report. `None`: the subdaemon ended without one.
    pub fn wait(self) -> Option<Report> {
        let mut bytes = [0; MAX];
        let read = File::from(self.0).read(&mut bytes).ok()?;
        codec::decode(bytes.get(..read).filter(|bytes| !bytes.is_empty())?).ok()
    }
}

/// Readable once the report is there or the subdaemon has ended: then [`Reporter::wait`] does not wait.
impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// All is done.
pub(crate) fn ready(pipe: OwnedFd, hardening: &Hardening) {
    send(pipe, &Report::Ready(Box::new(hardening.clone())));
}

/// A step failed.
pub(crate) fn failed(pipe: OwnedFd, reason: &str) {
    let mut reason = reason.to_owned();
    let end = (0..=MAX_REASON.min(reason.len())).rev();
    let end = end.into_iter().find(|end| reason.is_char_boundary(*end));
    reason.truncate(end.unwrap_or(0));
    send(pipe, &Report::Failed(reason));
}

/// A parent that does not read it does not matter.
fn send(pipe: OwnedFd, report: &Report) {
    if let Ok(bytes) = codec::encode(report) {
        let _ = File::from(pipe).write_all(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_however_long_arrives_in_one_piece() {
        let (reporter, pipe) = pipe().unwrap();
        failed(pipe, &"\u{e9}".repeat(MAX));
        let expected = "\u{e9}".repeat(MAX_REASON / 2);
        assert_eq!(reporter.wait(), Some(Report::Failed(expected)));
    }

    #[test]
    fn a_report_in_which_everything_is_missing_fits() {
        let (reporter, pipe) = pipe().unwrap();
        let hardening = Hardening {
            open_fds: (0..40).collect(),
            missing: vec!["x".repeat(400); 5],
            ..Hardening::default()
        };
        ready(pipe, &hardening);
        assert_eq!(reporter.wait(), Some(Report::Ready(Box::new(hardening))));
    }

    #[test]
    fn an_end_without_a_report_is_none() {
        let (reporter, pipe) = pipe().unwrap();
        drop(pipe);
        assert_eq!(reporter.wait(), None);
    }
}
