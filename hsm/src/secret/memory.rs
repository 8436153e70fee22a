//! The pages that secrets lie in.
//!
//! They come from memfd_secret where the kernel has it (Linux 5.14, unless turned off): such pages are
//! in nobody's page tables but ours, not even the kernel's, so that neither /proc/PID/mem nor ptrace
//! nor a core dump nor a swap device can show them. Elsewhere they are locked and kept out of dumps
//! and children, and where even locking is forbidden (RLIMIT_MEMLOCK), only that. [`memory`] says which.
//!
//! Cut into slots of three sizes. A slot that is given back is wiped first; pages are never unmapped.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::num::NonZeroUsize;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap, mmap_anonymous};
use nix::unistd::ftruncate;

/// How well the pages are hidden, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    /// memfd_secret.
    Secret,
    /// Locked, and in no dump and no child.
    Locked,
    /// In no dump and no child, but the kernel lets us lock no more.
    Unlocked,
}

/// What is mapped at a time, in bytes.
const CHUNK: usize = 64 << 10;
const ACCESS: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);
/// Sizes of slots, in bytes.
const SIZES: [usize; 3] = [32, 64, 256];

struct Arena {
    /// Free slots of each size.
    free: [Vec<Slot>; 3],
    worst: Memory,
}

struct Slot(NonNull<u8>);

// SAFETY: a free slot belongs to the arena, and one in use to its `Kept`; no thread owns any.
unsafe impl Send for Slot {}

static ARENA: Mutex<Arena> = Mutex::new(Arena {
    free: [const { Vec::new() }; 3],
    worst: Memory::Secret,
});

fn arena() -> MutexGuard<'static, Arena> {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How well the worst page so far is hidden.
#[must_use]
pub fn memory() -> Memory {
    arena().worst
}

/// A value in such a page; wiped on drop.
pub(super) struct Kept<T: Copy>(NonNull<T>);

// SAFETY: it owns its slot as a Box owns its memory.
unsafe impl<T: Copy + Send> Send for Kept<T> {}

impl<T: Copy> Kept<T> {
    /// The index of the smallest slots that hold a `T`, which any must.
    const CLASS: usize = {
        assert!(align_of::<T>() <= SIZES[0]);
        match size_of::<T>() {
            0..=32 => 0,
            33..=64 => 1,
            65..=256 => 2,
            _ => panic!("no slot is so large"),
        }
    };

    pub(super) fn new(value: T) -> Kept<T> {
        let slot = arena().take(Self::CLASS).0.cast::<T>();
        // SAFETY: the slot is mapped, large enough, aligned to its size, and nobody else's.
        unsafe { slot.write(value) };
        Kept(slot)
    }

    pub(super) fn get(&self) -> &T {
        // SAFETY: `new` wrote a value, and the slot is ours until drop.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        // SAFETY: as in `get`.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Copy> Drop for Kept<T> {
    fn drop(&mut self) {
        let slot = self.0.cast::<u8>();
        for at in 0..size_of::<T>() {
            // SAFETY: within the slot, which is ours; volatile, so that it is not left out.
            unsafe { slot.add(at).write_volatile(0) };
        }
        arena().give_back(Self::CLASS, Slot(slot));
    }
}

impl Arena {
    fn take(&mut self, class: usize) -> Slot {
        let size = SIZES.get(class).copied().unwrap_or(CHUNK);
        if let Some(slot) = self.free.get_mut(class).and_then(Vec::pop) {
            return slot;
        }
        let Ok((chunk, memory)) = map() else {
            // As for any other memory that is not there.
            handle_alloc_error(Layout::new::<[u8; CHUNK]>());
        };
        self.worst = self.worst.max(memory);
        for at in (size..CHUNK).step_by(size) {
            // SAFETY: within the chunk.
            self.give_back(class, Slot(unsafe { chunk.add(at) }));
        }
        Slot(chunk)
    }

    fn give_back(&mut self, class: usize, slot: Slot) {
        if let Some(free) = self.free.get_mut(class) {
            free.push(slot);
        }
    }
}

fn map() -> Result<(NonNull<u8>, Memory), Errno> {
    // Without a reason that would be worth to stop for: a kernel that lacks them, a limit on the
    // length of files (RLIMIT_FSIZE) or of what is locked.
    if let Ok(chunk) = map_secret() {
        return Ok((chunk, Memory::Secret));
    }
    // SAFETY: a new mapping where the kernel likes.
    let chunk = unsafe { mmap_anonymous(None, length()?, ACCESS, MapFlags::MAP_PRIVATE)? };
    for advice in [MmapAdvise::MADV_DONTDUMP, MmapAdvise::MADV_WIPEONFORK] {
        // SAFETY: the whole of that mapping, in which nothing is yet.
        unsafe { madvise(chunk, CHUNK, advice)? };
    }
    // SAFETY: the same.
    let memory = match unsafe { mlock(chunk, CHUNK) } {
        Ok(()) => Memory::Locked,
        Err(_) => Memory::Unlocked,
    };
    Ok((chunk.cast(), memory))
}

fn map_secret() -> Result<NonNull<u8>, Errno> {
    let fd = memfd_secret()?;
    ftruncate(&fd, CHUNK as libc::off_t)?;
    // SAFETY: a new mapping where the kernel likes; the file is nobody else's and keeps its size.
    let chunk = unsafe { mmap(None, length()?, ACCESS, MapFlags::MAP_SHARED, &fd, 0)? };
    // SAFETY: the whole of that mapping; a child just does not have it.
    unsafe { madvise(chunk, CHUNK, MmapAdvise::MADV_DONTFORK)? };
    Ok(chunk.cast())
}

fn length() -> Result<NonZeroUsize, Errno> {
    NonZeroUsize::new(CHUNK).ok_or(Errno::EINVAL)
}

fn memfd_secret() -> Result<OwnedFd, Errno> {
    // SAFETY: takes one integer, and returns a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_until_it_is_dropped_and_then_wiped() {
        let mut kept: Vec<_> = (0..5000u32).map(|n| Kept::new([n; 8])).collect();
        kept[7].get_mut()[0] = 0xfeed;
        assert_eq!(kept[7].get(), &[0xfeed, 7, 7, 7, 7, 7, 7, 7]);
        for (n, kept) in (0..).zip(&kept).filter(|(n, _)| *n != 7) {
            assert_eq!(kept.get(), &[n; 8]);
        }
        let last = kept.pop().unwrap();
        let slot = last.0.cast::<[u32; 8]>();
        drop(last);
        // SAFETY: pages are never unmapped; another thread's test may have the slot by now, with
        // anything but this number in it.
        assert_ne!(unsafe { slot.read_volatile() }, [4999; 8]);
    }

    #[test]
    fn slots_of_every_size_are_apart() {
        let (a, b, c) = (
            Kept::new([1u8; 32]),
            Kept::new([2u8; 64]),
            Kept::new([3u8; 192]),
        );
        let d = Kept::new([4u8; 192]);
        assert!(a.get() == &[1; 32] && b.get() == &[2; 64]);
        assert!(c.get() == &[3; 192] && d.get() == &[4; 192]);
    }
}
