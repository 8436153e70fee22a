//! What stands behind all sockets: the keys, as far as they are there, and what hsmd can say of itself.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use hsm::{Hsm, Locked, OpenError, Opened, Passphrase, SeedError, Unconfirmed, UnixTime};
use hsm_messages::ctl::{self, Database};
use hsm_messages::operator::SeedFile;
use ipc_transport::Hardening;
use sha2::{Digest, Sha256};
use wire::{ChainHash, NodeId};

use crate::answer::{self, Answer};
use crate::marks::Marks;

/// After the first wrong passphrase; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How far the keys are.
pub enum Signer {
    /// Before Init.
    NotStarted,
    /// Init came, and the seed needs its passphrase.
    Locked(Locked),
    /// The database was put back, which the operator has to confirm.
    Unconfirmed(Unconfirmed),
    Open(Box<Open>),
    /// The files were looked at; that is all.
    Inspected(ctl::Inspected),
    /// Seed, journal and database do not go together.
    Failed(String),
}

/// The keys, and where lightningd reads how far their journal is.
pub struct Open {
    pub hsm: Hsm,
    pub marks: Marks,
}

impl Signer {
    fn of(opened: Opened) -> Signer {
        match opened {
            Opened::Unlocked(hsm) => Signer::open(*hsm),
            Opened::Locked(locked) => Signer::Locked(locked),
            Opened::Unconfirmed(unconfirmed) => Signer::Unconfirmed(unconfirmed),
            Opened::Inspected(inspected) => Signer::Inspected(inspected),
        }
    }

    fn failed(error: OpenError) -> Signer {
        Signer::Failed(error.to_string())
    }

    /// Whether the owner has to do something first.
    pub fn waits(&self) -> bool {
        matches!(self, Signer::Locked(_) | Signer::Unconfirmed(_))
    }

    fn open(mut hsm: Hsm) -> Signer {
        hsm.set_now(UnixTime::from(SystemTime::now()));
        if hsm.mark().epoch == 1 {
            answer::say_limits(&hsm);
        }
        match Marks::new(hsm.mark()) {
            Ok(marks) => Signer::Open(Box::new(Open { hsm, marks })),
            Err(error) => Signer::Failed(format!("cannot make a memfd: {error}")),
        }
    }
}

/// A passphrase was not taken.
pub enum NotUnlocked {
    NotLocked,
    Wrong(Duration),
    TooSoon(Duration),
    Failed(String),
}

pub struct Custody {
    pub signer: Signer,
    folder: OwnedFd,
    pub program: Program,
    pub hardening: Hardening,
    tries: Tries,
}

impl Custody {
    pub fn new(folder: OwnedFd, program: Program, hardening: Hardening) -> Custody {
        Custody {
            signer: Signer::NotStarted,
            folder,
            program,
            hardening,
            tries: Tries::default(),
        }
    }

    fn opened(&mut self) -> Option<&mut Open> {
        if let Signer::Open(open) = &mut self.signer {
            Some(open)
        } else {
            None
        }
    }

    pub fn hsm(&mut self) -> Option<&mut Hsm> {
        self.opened().map(|open| &mut open.hsm)
    }

    /// # Errors
    /// D4: the keys are not open.
    pub fn open_hsm(&mut self) -> Answer<&mut Hsm> {
        self.hsm().ok_or(hsm::Refused::NotOpen("this"))
    }

    /// Tells the signer what time it is; once a round.
    pub fn set_now(&mut self, now: UnixTime) {
        if let Some(hsm) = self.hsm() {
            hsm.set_now(now);
        }
    }

    /// Where seed, journal and audit log are.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn folder(&self) -> io::Result<OwnedFd> {
        self.folder.try_clone()
    }

    /// From [`Signer::NotStarted`] or [`Signer::Failed`].
    pub fn open(&mut self, chain_hash: ChainHash, database: Database) {
        let folder = self.folder.try_clone().map_err(SeedError::no_folder);
        let opened = folder.map_err(OpenError::Seed);
        let opened = opened.and_then(|folder| Hsm::open(folder, chain_hash, database));
        self.signer = opened.map_or_else(Signer::failed, Signer::of);
    }

    /// Opens beside a database that was put back; says why if it cannot.
    pub fn confirm_recovery(&mut self) -> Answer<Result<(), String>> {
        let Signer::Unconfirmed(unconfirmed) = &self.signer else {
            return Err(hsm::Refused::NoRecovery);
        };
        let confirmed = unconfirmed.confirm();
        let why = confirmed.as_ref().err().map(OpenError::to_string);
        self.signer = confirmed.map_or_else(Signer::failed, Signer::open);
        Ok(why.map_or(Ok(()), Err))
    }

    /// How far the journal is, where lightningd reads it. Before a reply leaves, so that a batch that
    /// holds what came of it names its record too.
    pub fn write_mark(&mut self) -> io::Result<()> {
        let open = self.opened();
        open.map_or(Ok(()), |open| open.marks.write(open.hsm.mark()))
    }

    /// Opens the seed with the passphrase that `read` gives, if it is time for one.
    pub fn unlock(
        &mut self,
        read: impl FnOnce() -> io::Result<Option<Passphrase>>,
    ) -> Result<NodeId, NotUnlocked> {
        let Signer::Locked(locked) = &self.signer else {
            return Err(NotUnlocked::NotLocked);
        };
        if let Some(wait) = self.tries.wait(Instant::now()) {
            return Err(NotUnlocked::TooSoon(wait));
        }
        let passphrase = read().map_err(|error| NotUnlocked::Failed(error.to_string()))?;
        let unlocked = match &passphrase {
            Some(passphrase) => locked.unlock(passphrase),
            None => Err(OpenError::Seed(SeedError::WrongPassphrase)),
        };
        match unlocked {
            Ok(opened) => {
                self.signer = Signer::of(opened);
                match &self.signer {
                    Signer::Open(open) => Ok(open.hsm.node_id()),
                    Signer::Failed(why) => Err(NotUnlocked::Failed(why.clone())),
                    Signer::Unconfirmed(unconfirmed) => Ok(unconfirmed.node_id),
                    Signer::Inspected(inspected) => Ok(inspected.node_id),
                    Signer::NotStarted | Signer::Locked(_) => Err(NotUnlocked::NotLocked),
                }
            }
            Err(OpenError::Seed(SeedError::WrongPassphrase)) => {
                Err(NotUnlocked::Wrong(self.tries.wrong(Instant::now())))
            }
            Err(error) => {
                let why = error.to_string();
                self.signer = Signer::failed(error);
                Err(NotUnlocked::Failed(why))
            }
        }
    }

    pub fn seed_file(&self) -> Result<Option<SeedFile>, SeedError> {
        let folder = self.folder.try_clone();
        hsm::seed_file(folder.map_err(SeedError::no_folder)?)
    }
}

/// The file that this process runs. Opened at start, before a sandbox hides it; whatever is put in
/// its place later is another file.
pub struct Program {
    file: File,
    hash: Option<[u8; 32]>,
}

impl Program {
    /// # Errors
    /// There is no /proc.
    pub fn open() -> io::Result<Program> {
        let file = File::open("/proc/self/exe")?;
        Ok(Program { file, hash: None })
    }

    /// SHA-256, computed once.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn hash(&mut self) -> io::Result<[u8; 32]> {
        if let Some(hash) = self.hash {
            return Ok(hash);
        }
        let mut hasher = Sha256::new();
        io::copy(&mut self.file, &mut hasher)?;
        Ok(*self.hash.insert(hasher.finalize().into()))
    }
}

/// Wrong passphrases and when the next may come: at most six in the first minute, then one a minute.
#[derive(Default)]
struct Tries {
    pause: Duration,
    next: Option<Instant>,
}

impl Tries {
    /// How long until one may come; `None` if it may now.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.next?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// How long from now on.
    fn wrong(&mut self, now: Instant) -> Duration {
        self.pause = (self.pause.saturating_mul(2)).clamp(FIRST_WAIT, LONGEST_WAIT);
        self.next = now.checked_add(self.pause);
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_wrong_passphrases_take_longer_than_a_minute() {
        let start = Instant::now();
        let (mut now, mut tries) = (start, Tries::default());
        assert_eq!(tries.wait(now), None);
        for _ in 0..6 {
            let wait = tries.wrong(now);
            assert_eq!(tries.wait(now), Some(wait));
            let nearly = now + wait - Duration::from_millis(1);
            assert_eq!(tries.wait(nearly), Some(Duration::from_millis(1)));
            now += wait;
            assert_eq!(tries.wait(now), None);
        }
        assert!(now - start > LONGEST_WAIT, "{:?}", now - start);
        for _ in 0..40 {
            assert!(tries.wrong(now) <= LONGEST_WAIT);
        }
    }
}
