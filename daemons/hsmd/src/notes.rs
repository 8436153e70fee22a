//! What was asked and what came of it, for the audit log (`hsm_files::audit`).

use std::os::fd::OwnedFd;

use hsm::UnixTime;
use hsm::msgs::Msg;
use hsm_files::audit::{AuditError, AuditLog, Decision, Entry, Head, digest};
use ipc_transport::{Conn, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::ChannelDbid;

use crate::listed::{Reply, Request};

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

/// The next request of a socket that is `channel`'s, or of one that its request names.
///
/// # Errors
/// The end is closed, or at fault.
pub fn next<Tx: Serialize, Rx: DeserializeOwned + Request>(
    conn: &mut Conn<Tx, Rx>,
    channel: Option<ChannelDbid>,
) -> Result<Option<(Rx, Asked)>, Error> {
    let mut bytes = [0; 32];
    let request = conn.recv_buffered_seen(|request| bytes = digest(request))?;
    Ok(request.map(|request| {
        let asked = Asked {
            msg: request.msg(),
            channel: channel.or_else(|| request.channel()),
            count: request.count(),
            request: bytes,
        };
        (request, asked)
    }))
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

    /// Puts a reply in the queue of its socket, and notes it.
    ///
    /// # Errors
    /// The end does not read.
    pub fn reply<Tx: Serialize + Reply, Rx: DeserializeOwned>(
        &mut self,
        conn: &mut Conn<Tx, Rx>,
        asked: Asked,
        reply: &Tx,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Error> {
        let mut bytes = [0; 32];
        let queued = conn.queue_seen(reply, fds, |reply| bytes = digest(reply));
        self.note(asked, reply.decision(), bytes);
        queued
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
