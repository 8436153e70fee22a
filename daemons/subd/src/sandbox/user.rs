//! The user that a subdaemon is, and the rights that it does not have.

use std::os::fd::BorrowedFd;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{
    Gid, Uid, UnlinkatFlags, fchown, fchownat, setgroups, setresgid, setresuid, unlinkat,
};

use crate::role::Role;

/// The beginning of the names of the files that are hsmd's own.
const OWN_FILES: &[u8] = b"hsm";

/// A file that is made and removed to see whether it can be.
const TRIED: &str = "hsm-own-user";

/// From root to the role's own user. Its files become its own; if it cannot be, they are root's.
pub(super) fn become_own(role: Role, folder: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let (user, group) = (
        Uid::from_raw(role.own_user()),
        Gid::from_raw(role.own_user()),
    );
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    let done = try_on(user, group, folder).and_then(|()| {
        drop_bounding();
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)
    });
    if let (Err(_), Some(folder)) = (done, folder) {
        // What can still be told is that it is not its own user.
        let _ = give_files(folder, root, wheel);
    }
    done
}

/// Gives it its files, and becomes the user and root again: what belongs to a user that it cannot be,
/// or that the file system does not know, would be lost to it.
fn try_on(user: Uid, group: Gid, folder: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let root = Uid::from_raw(0);
    if let Some(folder) = folder {
        give_files(folder, user, group)?;
    }
    setgroups(&[group])?;
    setresuid(user, user, root)?;
    let works = folder.map_or(Ok(()), can_work_in);
    setresuid(root, root, root)?;
    works
}

/// Whether this user may make files in the folder. That the disk is full is another matter.
fn can_work_in(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    match openat(folder, TRIED, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(file) => {
            drop(file);
            unlinkat(folder, TRIED, UnlinkatFlags::NoRemoveDir)
        }
        Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EIO | Errno::EROFS) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder stays its owner's, but this group may work in it; the files in it that are hsmd's
/// become this user's. All other files and folders in it keep their owner and their mode.
fn give_files(folder: BorrowedFd<'_>, user: Uid, group: Gid) -> Result<(), Errno> {
    fchown(folder, None, Some(group))?;
    let mode = Mode::from_bits_truncate(fstat(folder)?.st_mode & 0o7777);
    fchmod(folder, mode | Mode::S_IRWXG)?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    for entry in Dir::openat(folder, ".", flags, Mode::empty())?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        let own = name.to_bytes().starts_with(OWN_FILES);
        if own && entry.file_type() == Some(Type::File) {
            let no_link = AtFlags::AT_SYMLINK_NOFOLLOW;
            fchownat(folder, name, Some(user), Some(group), no_link)?;
        }
    }
    Ok(())
}

/// What a program could be given. Without effect for who may not; then there is no program that this
/// process could run.
#[allow(unsafe_code)]
fn drop_bounding() {
    for capability in 0..64 {
        // SAFETY: an integer goes in, and nothing of this process's memory changes.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
}

/// As the kernel's `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two sets of 32 bits.
const VERSION: u32 = 0x2008_0522;

/// Effective, permitted, inheritable and ambient: none.
#[allow(unsafe_code)]
pub(super) fn drop_capabilities() -> Result<(), Errno> {
    drop_bounding();
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL;
    // SAFETY: integers go in, and nothing of this process's memory changes.
    Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0) })?;
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let none = [[0u32; 3]; 2];
    // SAFETY: the header and the two sets of three words have the kernel's layout for that version,
    // and are only read.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    Errno::result(done).map(drop)
}
