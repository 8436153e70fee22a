//! Names and the backend's cookie, looked up for those who have no name service and no disk: chaind and
//! connectd.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipc_messages::lightningd_chaind::{Located, Location};
use ipc_messages::lightningd_connectd::Resolved;
use lightningd_options::Options;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;

/// How many lookups one subdaemon has going on at a time.
const AT_ONCE: usize = 16;
/// The longest host:port that is asked for, in bytes (RFC 1035: a name has at most 255).
const MAX_NAME: usize = 264;
/// A cookie is about 80 bytes long.
const MAX_COOKIE: u64 = 4096;

/// There is no cookie.
#[derive(Debug, thiserror::Error)]
enum CookieError {
    #[error(
        "the cookie file {path} cannot be read ({error}): is bitcoind running, and is that its \
         folder? Otherwise set bitcoin-datadir, or bitcoin-rpcuser and bitcoin-rpcpassword"
    )]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("the cookie file {path} holds no cookie of bitcoind")]
    None { path: PathBuf },
}

/// One subdaemon's lookups: a few at a time, however many it asks for.
#[derive(Clone)]
pub struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Lookups {
    /// Does one beside everything else, or `None` if too many are going on.
    #[must_use]
    pub fn spawn(&self, lookup: impl Future<Output = ()> + Send + 'static) -> Option<()> {
        let permit = self.0.clone().try_acquire_owned().ok()?;
        tokio::spawn(async move {
            lookup.await;
            drop(permit);
        });
        Some(())
    }
}

/// What connectd's host:port stands for.
pub async fn resolve(name: &str) -> Resolved {
    if name.len() > MAX_NAME {
        return Resolved::Failed {
            why: "the name is too long".to_owned(),
        };
    }
    match lookup_host(name).await {
        Ok(found) => Resolved::Addresses(found.collect()),
        Err(error) => Resolved::Failed {
            why: error.to_string(),
        },
    }
}

/// Where the backend is now, and what to say there.
pub async fn backend(options: &Options) -> Location {
    let unknown = |why| Location::Unknown { why };
    let bitcoind = &options.bitcoind;
    let credentials = match (&bitcoind.user, &bitcoind.password) {
        (Some(user), Some(password)) => format!("{user}:{}", password.expose()),
        (Some(_) | None, _) => match read_cookie(&bitcoind.cookie_file(options.network)) {
            Ok(cookie) => cookie,
            Err(error) => return unknown(error.to_string()),
        },
    };
    let host = bitcoind.connect.trim_start_matches('[');
    match lookup_host((host.trim_end_matches(']'), bitcoind.port)).await {
        Ok(found) => Location::At(Located {
            addresses: found.collect::<Vec<SocketAddr>>(),
            credentials,
        }),
        Err(error) => unknown(format!(
            "bitcoind's host {} has no address ({error}) (option bitcoin-rpcconnect)",
            bitcoind.connect
        )),
    }
}

/// A small file on the disk: not worth a thread.
fn read_cookie(path: &Path) -> Result<String, CookieError> {
    let mut cookie = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_COOKIE).read_to_string(&mut cookie))
        .map_err(|error| CookieError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
    let cookie = cookie.trim_end_matches(['\r', '\n']);
    // bitcoind writes it to another name and renames it, so half a cookie is no cookie.
    match cookie.contains(':') && !cookie.contains(char::is_control) {
        true => Ok(cookie.to_owned()),
        false => Err(CookieError::None {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_read_without_its_line_end_and_what_is_none_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".cookie");
        let missing = read_cookie(&path).unwrap_err().to_string();
        assert!(missing.contains(".cookie") && missing.contains("bitcoin-datadir"));
        for none in ["", "no colon", "a:b\nc:d"] {
            std::fs::write(&path, none).unwrap();
            let why = read_cookie(&path).unwrap_err().to_string();
            assert!(why.contains("holds no cookie"), "{none:?}: {why}");
        }
        std::fs::write(&path, "__cookie__:abcdef\n").unwrap();
        assert_eq!(read_cookie(&path).unwrap(), "__cookie__:abcdef");
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_one_that_is_too_long_is_not_asked_for() {
        let found = resolve("localhost:9735").await;
        assert!(matches!(found, Resolved::Addresses(found) if !found.is_empty()));
        let long = format!("{}:1", "a".repeat(300));
        assert!(matches!(resolve(&long).await, Resolved::Failed { why } if why.contains("long")));
    }
}
