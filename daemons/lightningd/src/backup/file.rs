//! The file: read with a limit, replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// In the network's folder, as Core Lightning calls it.
pub const NAME: &str = "emergency.recover";
/// Beside it while it is written.
const NEW: &str = "emergency.recover.new";

/// `None` if there is none.
///
/// # Errors
/// It cannot be read, or is longer than `most` bytes.
pub fn read(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() <= most {
        true => Ok(Some(bytes)),
        false => Err(io::Error::other(format!("it is longer than {most} bytes"))),
    }
}

/// At no moment is there no whole one, and when this returns the new one outlives a loss of power.
///
/// # Errors
/// It cannot be written; then the old one is there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_file_name(NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_replaced_whole_and_what_a_crash_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        assert!(read(&path, 10).unwrap().is_none());
        fs::write(dir.path().join(NEW), "half").unwrap();
        for bytes in [&b"one"[..], b"another"] {
            replace(&path, bytes).unwrap();
            assert_eq!(read(&path, 10).unwrap().unwrap(), bytes);
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(read(&path, 6).is_err());
    }
}
