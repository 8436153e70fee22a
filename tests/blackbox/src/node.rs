//! A node: the built `lightningd` in a folder of its own, and what a test does to it.

mod channels;
mod lifecycle;
mod money;
mod recovery;

pub use channels::{ChannelState, Format, settled};
pub use lifecycle::Refusal;

use crate::process::{Pid, Process};
use crate::rpc::{Client, RpcError};
use crate::wait::{patience, until};
use crate::{Bitcoind, ports};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use tempfile::TempDir;

/// What a node is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further command-line arguments, such as `--fee-base=0`.
    pub arguments: Vec<String>,
    /// An interrupt from the terminal does not reach it.
    pub own_group: bool,
}

/// A node; its processes end and its folder goes when it is dropped (the folder stays with
/// `$BULKHEAD_KEEP` set).
pub struct Node {
    name: String,
    folder: Option<TempDir>,
    lightning_dir: PathBuf,
    bitcoin_data: PathBuf,
    bitcoin_port: u16,
    port: u16,
    options: Options,
    child: Option<Child>,
}

impl Node {
    /// Starts a node of this name with nothing special, and waits until it has seen the whole chain.
    ///
    /// # Errors
    /// Where it does not come up; the error holds the end of its log.
    pub fn start(bitcoind: &Bitcoind, name: &str) -> Result<Node> {
        Node::start_with(bitcoind, name, Options::default())
    }

    /// As [`Node::start`], with options.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_with(bitcoind: &Bitcoind, name: &str, options: Options) -> Result<Node> {
        let mut node = Node::prepare(bitcoind, name, options)?;
        node.launch()?;
        node.wait_for_height(bitcoind.height()?)?;
        Ok(node)
    }

    /// A node that is not started yet: its folder and ports.
    ///
    /// # Errors
    /// Where there is no folder or port to be had.
    pub fn prepare(bitcoind: &Bitcoind, name: &str, options: Options) -> Result<Node> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("bulkhead-{name}-"))
            .tempdir()?;
        Ok(Node {
            name: name.to_string(),
            lightning_dir: folder.path().to_path_buf(),
            folder: Some(folder),
            bitcoin_data: bitcoind.data().to_path_buf(),
            bitcoin_port: bitcoind.rpc_port(),
            port: ports::free()?,
            options,
            child: None,
        })
    }

    /// What the test calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder given as `--lightning-dir`.
    pub fn lightning_dir(&self) -> &Path {
        &self.lightning_dir
    }

    /// The folder with the database, the seed and the RPC socket.
    pub fn network_dir(&self) -> PathBuf {
        self.lightning_dir.join("regtest")
    }

    /// Its RPC socket.
    pub fn rpc_socket(&self) -> PathBuf {
        self.network_dir().join("lightning-rpc")
    }

    /// Its log at level debug.
    pub fn log_file(&self) -> PathBuf {
        self.lightning_dir.join("log")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// What its log has of disagreements about a channel: warnings and errors of either side, and
    /// refusals of the signer. Peers of our own kind have no reason for any.
    pub fn disagreements(&self) -> Vec<String> {
        const WORDS: [&str; 5] = [
            "got a warning",
            "the peer warns",
            "the peer says",
            "the channel failed",
            "refused by rule",
        ];
        let log = self.log();
        // Asked too early after a power failure, and asked again: what is not paid in the end is missed
        // where payments are counted.
        let early = |line: &str| line.contains("but no preimage yet");
        let told = |line: &&str| !early(line) && WORDS.iter().any(|word| line.contains(word));
        log.lines().filter(told).map(str::to_string).collect()
    }

    /// Where peers reach it on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Calls that outlive restarts and may be made from any thread.
    pub fn client(&self) -> Client {
        Client::new(&self.rpc_socket(), patience())
    }

    /// One call; `params` is an object or an array.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.client().call(method, params)
    }

    /// Its node id.
    ///
    /// # Errors
    /// Those of the call.
    pub fn id(&self) -> Result<String> {
        text(&self.rpc("getinfo", json!({}))?["id"], "getinfo's id")
    }

    /// Connects to another node.
    ///
    /// # Errors
    /// Those of the call.
    pub fn connect(&self, other: &Node) -> Result<()> {
        let params = json!({"id": other.id()?, "host": "127.0.0.1", "port": other.port});
        self.rpc("connect", params)?;
        Ok(())
    }

    /// Waits until `look` finds something in this node.
    ///
    /// # Errors
    /// The first error of `look`, or that it stayed empty; the error holds the end of the node's log.
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Node) -> Result<Option<T>>,
    ) -> Result<T> {
        let what = format!("{}: {what}", self.name);
        until(&what, || look(self)).with_context(|| self.last_words())
    }

    /// Waits until it has seen this height.
    ///
    /// # Errors
    /// Where it does not.
    pub fn wait_for_height(&self, height: u64) -> Result<()> {
        self.wait_for(&format!("block {height}"), |node| {
            let seen = node.rpc("getinfo", json!({}))?["blockheight"].as_u64();
            Ok(seen.is_some_and(|seen| seen >= height).then_some(()))
        })
    }

    /// lightningd's process id, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        let id = self.child.as_ref()?.id();
        i32::try_from(id).ok().map(Pid)
    }

    /// lightningd and all processes below it; empty while it does not run.
    pub fn processes(&self) -> Vec<Process> {
        let Some(pid) = self.pid() else {
            return Vec::new();
        };
        let master = Process::get(pid).ok();
        master
            .into_iter()
            .chain(Process::descendants(pid))
            .collect()
    }

    /// Its processes in this role (`lightningd`, `hsmd`, `channeld`, ...).
    pub fn processes_in_role(&self, role: &str) -> Vec<Process> {
        self.processes()
            .into_iter()
            .filter(|process| process.role == role)
            .collect()
    }

    /// The end of its log and of what it wrote to its terminal, for an error's context.
    pub fn last_words(&self) -> String {
        let files = [self.log_file(), self.lightning_dir.join("output.log")];
        let texts = files.iter().filter_map(|file| fs::read(file).ok());
        let ends = texts.map(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            // What the test itself asked while it waited would be all that is left.
            let own = |line: &&str| !line.contains("rpc request id=\"blackbox:");
            let lines: Vec<&str> = text.lines().filter(own).collect();
            lines[lines.len().saturating_sub(25)..].join("\n")
        });
        format!(
            "{}'s last words:\n{}",
            self.name,
            ends.collect::<Vec<_>>().join("\n--\n")
        )
    }
}

/// A program of the release build: in $BULKHEAD_BIN_DIR, or where the running test or tool was built.
///
/// # Errors
/// Where it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("BULKHEAD_BIN_DIR")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    let own = env::current_exe().context("this program has no path")?;
    // Tests lie in target/release/deps, tools in target/release.
    folders.extend(own.ancestors().skip(1).take(2).map(Path::to_path_buf));
    let found = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.with_context(|| {
        format!("no {name} in {folders:?}: build it first (`cargo xtask test` does), or set BULKHEAD_BIN_DIR")
    })
}

pub(crate) fn text(value: &Value, what: &str) -> Result<String> {
    value
        .as_str()
        .map(str::to_string)
        .with_context(|| format!("{what} is a string, not {value}"))
}

pub(crate) fn number(value: &Value, what: &str) -> Result<u64> {
    value
        .as_u64()
        .with_context(|| format!("{what} is a number, not {value}"))
}
