//! The RPC socket's file: never open to others for an instant, never taken from a running node.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_fd, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::UnixListener;

/// Connections that the kernel holds while we are busy: as many as may come at once.
const BACKLOG: i32 = crate::server::MAX_CONNECTIONS as i32;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "rpc socket {0} is in use: another lightningd answers on it; stop that one first, or set another --rpc-file"
    )]
    InUse(PathBuf),
    #[error(
        "{0} is in the way of the rpc socket and is not a socket: move it, or set another --rpc-file"
    )]
    NotASocket(PathBuf),
    #[error(
        "rpc socket path {0} is longer than the system allows (107 bytes): set a shorter --rpc-file"
    )]
    TooLong(PathBuf),
    #[error("{doing} rpc socket {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Listens on `path` with file mode `mode` (CLN: 0600). A socket that nobody answers on any more is
/// replaced; one that somebody answers on, or a file of another kind, is left alone.
///
/// Must be called within a tokio runtime.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, BindError> {
    let failed = |doing| {
        move |source: io::Error| BindError::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    let address = UnixAddr::new(path).map_err(|_| BindError::TooLong(path.to_owned()))?;
    remove_stale(path)?;

    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )
    .map_err(|e| failed("creating")(e.into()))?;
    // Linux gives the file the mode of the unbound socket, less the umask: so it is never wider than wanted.
    fchmod(&fd, Mode::from_bits_truncate(mode as _))
        .map_err(|e| failed("setting the mode of")(e.into()))?;
    bind_fd(fd.as_raw_fd(), &address).map_err(|e| failed("binding")(e.into()))?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
        .map_err(failed("setting the mode of"))?;
    let backlog = Backlog::new(BACKLOG).map_err(|e| failed("listening on")(e.into()))?;
    listen(&fd, backlog).map_err(|e| failed("listening on")(e.into()))?;
    UnixListener::from_std(StdListener::from(fd)).map_err(failed("listening on"))
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |doing| {
        move |source: io::Error| BindError::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("looking for")(e)),
    };
    if !kind.is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match StdStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("removing stale"))
        }
        // Busy (its backlog is full) is in use, too.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(BindError::InUse(path.to_owned())),
        Err(e) => Err(failed("probing")(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_socket_has_the_mode_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o660] {
            let path = dir.path().join(format!("rpc-{mode:o}"));
            let _listener = bind(&path, mode).unwrap();
            assert_eq!(mode_of(&path), mode);
        }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc");
        let first = bind(&path, 0o600).unwrap();
        assert!(matches!(bind(&path, 0o600), Err(BindError::InUse(_))));
        drop(first);
        assert!(path.exists());
        bind(&path, 0o600).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path, 0o600), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_says_so() {
        let path = PathBuf::from("/tmp").join("x".repeat(200));
        assert!(matches!(bind(&path, 0o600), Err(BindError::TooLong(_))));
    }
}
