//! The audit log's files: `hsm-audit`, and the older `hsm-audit.1` and so on.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::fcntl::{Flock, FlockArg, OFlag};

use super::{Broken, Decision, Entry, Head, digest, read};
use crate::UnixTime;
use crate::folder::Folder;

pub const FILE: &str = "hsm-audit";
const TEMPORARY: &str = "hsm-audit.new";
/// A file that is longer is put aside, in bytes: about 60,000 lines.
const LONG: u64 = 16 << 20;
/// How many of those put aside are kept, the newest as number 1.
pub const KEPT: usize = 8;
/// Longest file that is read: what is written at once after it became long.
const MAX: u64 = LONG + (64 << 20);

/// Nothing may be answered that cannot be noted.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(
        "cannot {doing} {FILE}: {error}. Nothing is signed that is not in it: free or check the disk, \
         then start the node again"
    )]
    Io {
        doing: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("another hsmd uses {FILE}")]
    InUse,
    #[error("cannot use the folder: {0}")]
    Folder(#[from] io::Error),
}

fn doing(doing: &'static str) -> impl Fn(io::Error) -> AuditError {
    move |error| AuditError::Io { doing, error }
}

/// The log that is written to. What is noted is there after [`AuditLog::write`].
pub struct AuditLog {
    folder: Folder,
    file: Flock<File>,
    /// Written bytes.
    len: u64,
    head: Head,
    /// Noted and not yet written.
    pending: String,
    /// A refusal is pending: it must be on disk before its reply leaves.
    urgent: bool,
    now: UnixTime,
    /// A file that is longer is put aside, in bytes.
    long: u64,
}

impl AuditLog {
    /// Goes on with the log in this folder, and begins one if there is none. What cannot be read at
    /// its end is put aside or, if it is no whole line, cut off; both are noted.
    ///
    /// # Errors
    /// The system refuses, or another process writes to it.
    pub fn open(folder: OwnedFd, now: UnixTime) -> Result<AuditLog, AuditError> {
        AuditLog::open_with(folder, now, LONG)
    }

    pub fn open_with(folder: OwnedFd, now: UnixTime, long: u64) -> Result<AuditLog, AuditError> {
        let folder = Folder::new(folder);
        let (file, found) = match read_file(&folder, FILE)? {
            Some((file, bytes)) => (file, Found::of(&bytes)),
            None => {
                // Put aside, and nothing begun before a crash.
                let head = match read_file(&folder, &aside(1))? {
                    Some((_, bytes)) => Found::of(&bytes).head,
                    None => Head::START,
                };
                (begin(&folder, &head)?, Found::whole(&head))
            }
        };
        let mut log = AuditLog {
            folder,
            file,
            len: found.good,
            head: found.head,
            pending: String::new(),
            urgent: false,
            now,
            long,
        };
        match found.rest {
            Rest::None => {}
            Rest::Torn { bytes, hash } => {
                log.file.set_len(log.len).map_err(doing("cut"))?;
                log.mark("Torn", bytes, hash);
            }
            Rest::Damaged { bytes, hash } => {
                log.put_aside()?;
                log.mark("Damaged", bytes, hash);
            }
        }
        log.mark("Start", 1, [0; 32]);
        log.urgent = true;
        log.write()?;
        Ok(log)
    }

    /// What time it is for what is noted from now on.
    pub fn set_now(&mut self, now: UnixTime) {
        self.now = now;
    }

    /// The last line that was noted.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Adds a line to those that [`AuditLog::write`] writes.
    pub fn note(&mut self, entry: &Entry<'_>) {
        self.urgent |= entry.decision != Decision::Ok;
        self.head.append(self.now, entry, &mut self.pending);
    }

    /// Writes what was noted, and waits for the disk if a refusal is among it. No reply may leave
    /// before it has returned.
    ///
    /// # Errors
    /// The disk refused: nothing may leave, and nothing more may be asked.
    pub fn write(&mut self) -> Result<(), AuditError> {
        if !self.pending.is_empty() {
            if let Err(error) = self.file.write_all(self.pending.as_bytes()) {
                // Half a line would be a torn tail.
                let _ = self.file.set_len(self.len);
                return Err(doing("write")(error));
            }
            self.len = self.len.saturating_add(self.pending.len() as u64);
            self.pending.clear();
        }
        if std::mem::take(&mut self.urgent) {
            self.sync()?;
        }
        if self.len > self.long {
            self.sync()?;
            self.put_aside()?;
        }
        Ok(())
    }

    /// Waits until all that was written is on disk.
    ///
    /// # Errors
    /// As [`AuditLog::write`].
    pub fn sync(&mut self) -> Result<(), AuditError> {
        self.file.sync_data().map_err(doing("sync"))
    }

    /// The last lines of the present file, from number `from` on, at most `max` of them.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn tail(&self, from: u64, max: usize) -> Result<Vec<String>, AuditError> {
        let opened = self.folder.open(FILE, OFlag::O_RDONLY);
        let Some(file) = opened.map_err(doing("open"))? else {
            return Ok(Vec::new());
        };
        let mut bytes = Vec::new();
        let read = file.take(MAX).read_to_end(&mut bytes);
        read.map_err(doing("read"))?;
        let text = String::from_utf8_lossy(&bytes);
        let number = |line: &str| {
            line.split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok())
        };
        let lines = text.lines().skip(1);
        let wanted = lines.filter(|line| number(line).is_some_and(|number| number >= from));
        Ok(wanted.take(max).map(str::to_owned).collect())
    }

    fn mark(&mut self, message: &str, count: usize, request: [u8; 32]) {
        self.note(&Entry {
            role: "-",
            channel: None,
            message,
            count,
            request,
            decision: Decision::Ok,
            reply: [0; 32],
        });
    }

    /// The file becomes number 1, and a new one goes on where it ended.
    fn put_aside(&mut self) -> Result<(), AuditError> {
        for number in (1..KEPT).rev() {
            let (from, to) = (aside(number), aside(number.saturating_add(1)));
            match self.folder.rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(doing("put aside"))?,
            }
        }
        let renamed = self.folder.rename(FILE, &aside(1));
        renamed.map_err(doing("put aside"))?;
        self.file = begin(&self.folder, &self.head)?;
        self.len = self.head.title().len() as u64;
        Ok(())
    }
}

/// What stands at the end of a file.
enum Rest {
    None,
    /// No whole line.
    Torn {
        bytes: usize,
        hash: [u8; 32],
    },
    /// Lines that do not go on where the good ones end.
    Damaged {
        bytes: usize,
        hash: [u8; 32],
    },
}

struct Found {
    head: Head,
    /// Bytes up to the rest.
    good: u64,
    rest: Rest,
}

impl Found {
    fn whole(head: &Head) -> Found {
        Found {
            head: *head,
            good: head.title().len() as u64,
            rest: Rest::None,
        }
    }

    fn of(bytes: &[u8]) -> Found {
        let (head, good) = match read(bytes, |_| ()) {
            Ok(read) => (read.last, read.good),
            // Nothing is known of what was before: the chain begins anew behind what is put aside.
            Err(Broken::Title | Broken::Form | Broken::Number { .. } | Broken::Hash(_)) => {
                (Head::START, 0)
            }
        };
        let rest = bytes.get(good..).unwrap_or_default();
        let (len, hash) = (rest.len(), digest(rest));
        let rest = match rest {
            [] if good > 0 => Rest::None,
            rest if good > 0 && !rest.contains(&b'\n') => Rest::Torn { bytes: len, hash },
            _ => Rest::Damaged { bytes: len, hash },
        };
        Found {
            head,
            good: good as u64,
            rest,
        }
    }
}

fn aside(number: usize) -> String {
    format!("{FILE}.{number}")
}

/// A file and what is in it.
type Contents = (Flock<File>, Vec<u8>);

fn read_file(folder: &Folder, name: &str) -> Result<Option<Contents>, AuditError> {
    let opened = folder.open(name, OFlag::O_RDWR | OFlag::O_APPEND);
    let Some(file) = opened.map_err(doing("open"))? else {
        return Ok(None);
    };
    let file = lock(file)?;
    let mut bytes = Vec::new();
    let read = (&*file).take(MAX).read_to_end(&mut bytes);
    read.map_err(doing("read"))?;
    Ok(Some((file, bytes)))
}

/// A file with its first line, durably.
fn begin(folder: &Folder, head: &Head) -> Result<Flock<File>, AuditError> {
    let title = head.title();
    folder
        .create_whole(FILE, TEMPORARY, 0o600, title.as_bytes())
        .map_err(doing("begin"))?;
    let opened = folder.open(FILE, OFlag::O_RDWR | OFlag::O_APPEND);
    match opened.map_err(doing("open"))? {
        Some(file) => lock(file),
        None => Err(doing("open")(io::ErrorKind::NotFound.into())),
    }
}

fn lock(file: File) -> Result<Flock<File>, AuditError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| AuditError::InUse)
}
