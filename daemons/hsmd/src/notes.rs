//! What was asked and what came of it, for the audit log (`hsm_files::audit`).

use std::os::fd::OwnedFd;

use hsm::UnixTime;
use hsm::msgs::Msg;
use hsm_files::audit::{AuditError, AuditLog, Decision, Entry, Head};
use wire::ChannelDbid;

use crate::listed::Request;

/// The log, from Init on, and how much there was to note. Before Init no key is there, and nothing is
/// answered but Init.
#[derive(Default)]
pub struct Notes {
    log: Option<AuditLog>,
    now: UnixTime,
    pub answered: u64,
}

/// A request, before it is answered.
#[derive(Clone, Copy)]
pub struct Asked {
    pub msg: Msg,
    pub channel: Option<ChannelDbid>,
    pub count: usize,
    /// SHA-256 of its bytes.
    pub request: [u8; 32],
}

impl Asked {
    /// `bytes` is SHA-256 of the request's.
    pub fn new(request: &impl Request, channel: Option<ChannelDbid>, bytes: [u8; 32]) -> Asked {
        Asked {
            msg: request.msg(),
            channel,
            count: request.count(),
            request: bytes,
        }
    }
}

impl Notes {
    /// Opens the log, if it is not open.
    ///
    /// # Errors
    /// It cannot be gone on with.
    pub fn open(&mut self, folder: OwnedFd) -> Result<(), AuditError> {
        if self.log.is_none() {
            self.log = Some(AuditLog::open(folder, self.now)?);
        }
        Ok(())
    }

    /// Begins a round at this time.
    pub fn set_now(&mut self, now: UnixTime) {
        self.now = now;
        if let Some(log) = &mut self.log {
            log.set_now(now);
        }
    }

    /// `reply` is SHA-256 of its bytes; zeros if there is none.
    pub fn note(&mut self, asked: Asked, decision: Decision<'_>, reply: [u8; 32]) {
        self.answered += 1;
        let row = asked.msg.row();
        let Some(log) = &mut self.log else {
            return;
        };
        log.note(&Entry {
            role: row.role.name(),
            channel: asked.channel,
            message: row.name,
            count: asked.count,
            request: asked.request,
            decision,
            reply,
        });
    }

    /// The last line.
    pub fn head(&self) -> Head {
        self.log.as_ref().map_or(Head::START, AuditLog::head)
    }

    /// Lines from number `from` on, at most `max` of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tail(&self, from: u64, max: usize) -> Result<Vec<String>, AuditError> {
        let log = self.log.as_ref();
        log.map_or(Ok(Vec::new()), |log| log.tail(from, max))
    }

    /// Before the round's replies leave.
    ///
    /// # Errors
    /// The disk refuses: they may not leave.
    pub fn write(&mut self) -> Result<(), AuditError> {
        self.log.as_mut().map_or(Ok(()), AuditLog::write)
    }

    /// Before hsmd ends.
    ///
    /// # Errors
    /// As [`Notes::write`].
    pub fn finish(&mut self) -> Result<(), AuditError> {
        self.write()?;
        self.log.as_mut().map_or(Ok(()), AuditLog::sync)
    }
}
