//! Files by name within one folder, which is a descriptor: hsmd knows no path.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use zeroize::Zeroizing;

/// What a file holds, and its permission bits.
pub type Contents = (Zeroizing<Vec<u8>>, u32);

/// The folder that holds the seed and the journal.
pub struct Folder(OwnedFd);

impl Folder {
    pub fn new(fd: OwnedFd) -> Folder {
        Folder(fd)
    }

    /// `None` if there is no such file. A link is none, but an error: what it leads to may be out of sight.
    pub fn open(&self, name: &str, flags: OFlag) -> io::Result<Option<File>> {
        match openat(
            self.0.as_fd(),
            name,
            flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// At most `max` bytes of the file, and its permission bits.
    pub fn read(&self, name: &str, max: usize) -> io::Result<Option<Contents>> {
        let Some(mut file) = self.open(name, OFlag::O_RDONLY)? else {
            return Ok(None);
        };
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let bytes = read_whole(&mut file, max)?;
        Ok(Some((bytes, mode)))
    }

    /// The same folder once more.
    pub fn try_clone(&self) -> io::Result<Folder> {
        self.0.try_clone().map(Folder)
    }

    /// An empty file; one of this name from an interrupted attempt is replaced.
    pub fn create(&self, name: &str, mode: u32) -> io::Result<File> {
        self.remove(name)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        Ok(openat(self.0.as_fd(), name, flags, mode)?.into())
    }

    /// Makes a whole file appear at once, durably. `temporary` is its name until it is whole.
    pub fn create_whole(
        &self,
        name: &str,
        temporary: &str,
        mode: u32,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut file = self.create(temporary, mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.rename(temporary, name)
    }

    /// Durably.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        renameat(self.0.as_fd(), from, self.0.as_fd(), to)?;
        Ok(fsync(self.0.as_fd())?)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(self.0.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// At most `max` bytes, into one allocation: a vector that grows leaves copies behind.
pub fn read_whole(mut from: impl Read, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; max]);
    let mut len = 0usize;
    while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => len = len.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}
