//! lightningd's configuration file.
//!
//! It is the owner's, not a stranger's: what is asked here is only that no line of it makes the
//! node fall over without a word. `include` is left out, as it would read other files.

use std::path::PathBuf;
use std::sync::OnceLock;

use lightningd_options::{Environment, Start, parse};

use crate::Target;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("config_file", config_file, 1024, file_seeds),
        Target::new("command_line", command_line, 512, line_seeds),
    ]
}

static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();

fn dir() -> PathBuf {
    let dir = DIR.get_or_init(|| {
        tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .expect("a folder")
    });
    dir.path().to_owned()
}

fn config_file(data: &[u8]) {
    if data.windows(7).any(|word| word == b"include") {
        return;
    }
    let file = dir().join("config");
    std::fs::write(&file, data).expect("a file");
    let conf = format!("--conf={}", file.display());
    read(vec![conf]);
}

/// Arguments with line ends between them; none that names a file to read.
fn command_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if text.contains("conf") || text.contains("dir") {
        return;
    }
    read(text.lines().map(str::to_owned).collect());
}

fn read(arguments: Vec<String>) {
    let environment = Environment::at(&dir().join("nothing-here"));
    match parse(arguments.into_iter().map(Into::into), &environment, "v0") {
        Ok(Start::Run(_) | Start::Print(_)) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn file_seeds() -> Vec<Vec<u8>> {
    [
        "# ours\nnetwork=regtest\nalias=bulkhead\nrgb=010203\naddr=127.0.0.1:9735\nlog-level=debug\n",
        "fee-base=1000\nfee-per-satoshi=10\ncltv-delta=34\nmin-capacity-sat=10000\nbitcoin-rpcport=18443\n\n",
        "bind-addr=/tmp/socket\nannounce-addr=[::1]:9735\nbitcoin-rpcuser=me\nbitcoin-rpcpassword=secret\nlog-prefix=x\r\nrescan=-1\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn line_seeds() -> Vec<Vec<u8>> {
    [
        "--network=regtest\n--alias\nname\n--offline\n--log-level=io\n",
        "--help\n",
        "--addr=autotor:127.0.0.1:9051\n--rgb=zz\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
