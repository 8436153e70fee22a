//! How far hsmd's journal is durable, in a block of memory that hsmd writes and lightningd reads.
//!
//! hsmd hands the block (a memfd) over with the reply to Init, and writes it anew whenever the disk has
//! confirmed records, before the replies that they were for leave. lightningd's database puts what it
//! finds there into each batch (rule B2). So there is no message for it, and nobody waits. The block
//! checks itself: who reads it while it is written sees that, and reads again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const FACTS: usize = 48;
/// Length of the block, in bytes.
pub const BLOCK: usize = FACTS + 32;

/// hsmd's journal after one of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Number of hsmd's start, from 1 on.
    pub epoch: u64,
    /// Number of the record.
    pub sequence: u64,
    #[serde(with = "serde_bytes")]
    pub head: [u8; 32],
}

impl Mark {
    /// epoch 8, big-endian | sequence 8 | head 32 | SHA-256 of these 48 bytes.
    #[must_use]
    pub fn to_block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let facts = [self.epoch, self.sequence].map(u64::to_be_bytes);
        let facts = facts.iter().flatten().chain(&self.head);
        let sum = sum(self);
        for (to, from) in block.iter_mut().zip(facts.chain(&sum)) {
            *to = *from;
        }
        block
    }

    /// `None` if it is not whole.
    #[must_use]
    pub fn from_block(block: &[u8]) -> Option<Mark> {
        let (epoch, rest) = block.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (head, rest) = rest.split_first_chunk()?;
        let mark = Mark {
            epoch: u64::from_be_bytes(*epoch),
            sequence: u64::from_be_bytes(*sequence),
            head: *head,
        };
        (rest == sum(&mark)).then_some(mark)
    }

    /// Writes the block.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.to_block(), 0)
    }

    /// Reads the block, again if it is being written. `None` if it never is whole: nothing was written
    /// yet, or by no hsmd.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(file: &File) -> io::Result<Option<Mark>> {
        let mut block = [0; BLOCK];
        for _ in 0..100 {
            file.read_exact_at(&mut block, 0)?;
            if let Some(mark) = Mark::from_block(&block) {
                return Ok(Some(mark));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }
}

fn sum(mark: &Mark) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(mark.epoch.to_be_bytes());
    let hash = hash.chain_update(mark.sequence.to_be_bytes());
    hash.chain_update(mark.head).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark {
        epoch: 3,
        sequence: 70_000,
        head: [9; 32],
    };

    #[test]
    fn a_block_is_read_as_it_was_written_and_not_if_any_byte_differs() {
        let block = MARK.to_block();
        assert_eq!(Mark::from_block(&block), Some(MARK));
        for at in 0..BLOCK {
            let mut torn = block;
            torn[at] ^= 1;
            assert_eq!(Mark::from_block(&torn), None, "byte {at}");
        }
        assert_eq!(Mark::from_block(&block[1..]), None);
        assert_eq!(Mark::from_block(&[0; BLOCK]), None);
    }

    #[test]
    fn a_block_that_is_read_while_it_is_written_is_the_older_or_the_newer_one() {
        let fd = nix::sys::memfd::memfd_create("test", nix::sys::memfd::MFdFlags::empty()).unwrap();
        let file = File::from(fd);
        let mark = |sequence| Mark {
            epoch: 1,
            sequence,
            head: [sequence as u8; 32],
        };
        mark(0).write(&file).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..200_000).for_each(|n| mark(n).write(&file).unwrap()));
            let mut last = 0;
            while last < 199_999 {
                let read = Mark::read(&file).unwrap().expect("it is never whole");
                assert!(read.sequence >= last && read == mark(read.sequence));
                last = read.sequence;
            }
        });
    }
}
