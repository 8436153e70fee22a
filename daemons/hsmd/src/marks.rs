//! How far the journal is durable, where the database's writer reads it (rule B2).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use hsm_messages::mark::Mark;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// The block of [`hsm_messages::mark`].
pub struct Marks {
    block: File,
    written: Mark,
}

impl Marks {
    /// A block with its first mark.
    ///
    /// # Errors
    /// No memory or descriptors are left.
    pub fn new(first: Mark) -> io::Result<Marks> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let block = File::from(memfd_create("hsm-marks", flags)?);
        first.write(&block)?;
        // Whoever else has it cannot make our writes fail.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&block, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Marks {
            block,
            written: first,
        })
    }

    /// Writes a mark that is not there yet.
    ///
    /// # Errors
    /// As [`Marks::new`].
    pub fn write(&mut self, mark: Mark) -> io::Result<()> {
        if mark != self.written {
            mark.write(&self.block)?;
            self.written = mark;
        }
        Ok(())
    }

    /// The block for lightningd.
    ///
    /// # Errors
    /// As [`Marks::new`].
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.block.try_clone()?.into())
    }
}
