//! A bitcoind on a private regtest chain, with a wallet that holds the first coins.

use crate::rpc::{RpcError, outcome};
use crate::wait::{patience, until};
use crate::{http, ports};
use anyhow::{Context, Result, bail};
use base64::Engine;
use serde_json::{Value, json};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

mod reorg;

/// A user for those who cannot read the cookie. The line is what bitcoind's own rpcauth script makes of
/// this user, a fixed salt and this password; the chain is worthless.
pub const USER: &str = "bulkhead";
/// The password of [`USER`].
pub const PASSWORD: &str = "bulkhead-regtest";
const RPCAUTH: &str = "bulkhead:0123456789abcdef0123456789abcdef\
                       $fb8b2d171e48e4edab4a63f5041708dc7dee06557d04a47f3167e5553a7219df";
const WALLET: &str = "miner";
/// Most blocks in one call.
const PORTION: usize = 100;
/// A coinbase can be spent when it is 100 deep. A wallet may set nLockTime to as many as 100 blocks ago,
/// and Knots relays no transaction with an nLockTime of 21.
pub const FIRST_BLOCKS: u32 = 125;

/// A running bitcoind; ends, and removes its folder, when dropped.
pub struct Bitcoind {
    program: PathBuf,
    folder: Option<TempDir>,
    data: PathBuf,
    rpc_port: u16,
    child: Option<Child>,
    own_group: bool,
    /// The lowest fee, in satoshi for 1,000 virtual bytes, at which it takes a transaction; 1,000 if not set.
    min_relay_fee: Option<u64>,
}

impl Bitcoind {
    /// Starts one on free ports and mines blocks to its wallet.
    ///
    /// # Errors
    /// Where there is no bitcoind, or it does not come up; the error holds the end of its log.
    pub fn start() -> Result<Bitcoind> {
        Bitcoind::start_as(false)
    }

    /// As [`Bitcoind::start`]; `own_group`: an interrupt from the terminal does not reach it.
    ///
    /// # Errors
    /// As [`Bitcoind::start`].
    pub fn start_as(own_group: bool) -> Result<Bitcoind> {
        let folder = tempfile::Builder::new()
            .prefix("bulkhead-bitcoind-")
            .tempdir()?;
        let data = folder.path().to_path_buf();
        let rpc_port = ports::free()?;
        let program = program()?;
        let folder = Some(folder);
        let mut bitcoind = Bitcoind {
            program,
            folder,
            data,
            rpc_port,
            child: None,
            own_group,
            min_relay_fee: None,
        };
        bitcoind.launch()?;
        let wallet = json!({"wallet_name": WALLET, "load_on_startup": true});
        bitcoind.rpc("createwallet", wallet)?;
        bitcoind.mine(FIRST_BLOCKS)?;
        Ok(bitcoind)
    }

    /// The folder for `--bitcoin-datadir`; the cookie is in its `regtest`.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where its JSON-RPC listens on 127.0.0.1.
    pub fn rpc_port(&self) -> u16 {
        self.rpc_port
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// One call; `params` is an object or an array.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        // The wallet's path serves every method, and is not there before the wallet is.
        let path = match method {
            "createwallet" | "loadwallet" | "getblockchaininfo" => "/".to_string(),
            _ => format!("/wallet/{WALLET}"),
        };
        let authorization =
            base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let request =
            json!({"jsonrpc": "1.0", "id": "blackbox", "method": method, "params": params});
        let body = http::post(
            self.rpc_port,
            &path,
            &authorization,
            &request.to_string(),
            patience(),
        )
        .map_err(|source| RpcError::Io {
            method: method.to_string(),
            source,
        })?;
        match serde_json::from_slice(&body) {
            Ok(reply) => outcome(method, reply),
            Err(_) => Err(RpcError::Garbled {
                method: method.to_string(),
                reply: String::from_utf8_lossy(&body).into_owned(),
            }),
        }
    }

    /// Mines so many blocks; returns their hashes.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn mine(&self, blocks: u32) -> Result<Vec<String>> {
        let address = self.rpc("getnewaddress", json!([]))?;
        let mut hashes = Vec::new();
        // In portions, each of which is done long before the call would be given up.
        for first in (0..blocks).step_by(PORTION) {
            let count = (blocks - first).min(PORTION as u32);
            let mined = self.rpc("generatetoaddress", json!([count, address]))?;
            let mined: Vec<String> =
                serde_json::from_value(mined).context("generatetoaddress gives block hashes")?;
            hashes.extend(mined);
        }
        Ok(hashes)
    }

    /// The height of the tip.
    ///
    /// # Errors
    /// Those of the call.
    pub fn height(&self) -> Result<u64> {
        self.rpc("getblockcount", json!([]))?
            .as_u64()
            .context("getblockcount gives a number")
    }

    /// Sends so many satoshi to an address (unconfirmed); returns the txid.
    ///
    /// # Errors
    /// Those of the call.
    pub fn fund(&self, address: &str, satoshi: u64) -> Result<String> {
        let amount = format!("{}.{:08}", satoshi / 100_000_000, satoshi % 100_000_000);
        text(self.rpc("sendtoaddress", json!([address, amount]))?)
    }

    /// The ids of the unconfirmed transactions.
    ///
    /// # Errors
    /// Those of the call.
    pub fn mempool(&self) -> Result<Vec<String>> {
        let ids = self.rpc("getrawmempool", json!([]))?;
        serde_json::from_value(ids).context("getrawmempool gives txids")
    }

    /// Waits until so many transactions, or more, are unconfirmed; returns their ids.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn wait_for_mempool(&self, count: usize) -> Result<Vec<String>> {
        until(&format!("{count} transactions in the mempool"), || {
            let ids = self.mempool()?;
            Ok((ids.len() >= count).then_some(ids))
        })
    }

    /// The unspent output, unconfirmed spends counted; None when it is spent or unknown.
    ///
    /// # Errors
    /// Those of the call.
    pub fn unspent(&self, txid: &str, output: u64) -> Result<Option<Value>> {
        let found = self.rpc("gettxout", json!([txid, output, true]))?;
        Ok(Some(found).filter(|found| !found.is_null()))
    }

    /// The unconfirmed transaction that spends this output.
    ///
    /// # Errors
    /// Those of the call.
    pub fn spender(&self, txid: &str, output: u64) -> Result<Option<String>> {
        let outputs = json!([[{"txid": txid, "vout": output}]]);
        let found = self.rpc("gettxspendingprevout", outputs)?;
        Ok(found[0]["spendingtxid"].as_str().map(str::to_string))
    }

    /// An unconfirmed transaction that spends an output of this one, which is unconfirmed itself.
    ///
    /// # Errors
    /// Those of the call, or the mempool has it not.
    pub fn child(&self, txid: &str) -> Result<Option<String>> {
        let entry = self.rpc("getmempoolentry", json!([txid]))?;
        Ok(entry["spentby"][0].as_str().map(str::to_string))
    }

    /// A transaction with its outputs, confirmed or not.
    ///
    /// # Errors
    /// Those of the call.
    pub fn transaction(&self, txid: &str) -> Result<Value> {
        Ok(self.rpc("getrawtransaction", json!([txid, true]))?)
    }

    /// Stops it in order and waits for its end.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.rpc("stop", json!([]))?;
        if let Some(mut child) = self.child.take() {
            until("bitcoind ends", || Ok(child.try_wait()?))?;
        }
        Ok(())
    }

    /// kill -9.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts it again after [`Bitcoind::stop`] or [`Bitcoind::kill9`]: same chain, same ports.
    ///
    /// # Errors
    /// As [`Bitcoind::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill9()?;
        self.launch()
    }

    /// Starts it again with another lowest fee, in satoshi for 1,000 virtual bytes.
    ///
    /// # Errors
    /// Those of [`Bitcoind::stop`] and [`Bitcoind::restart`].
    pub fn restart_for_fees_from(&mut self, min_relay_fee: u64) -> Result<()> {
        self.min_relay_fee = Some(min_relay_fee);
        self.stop()?;
        self.restart()
    }

    /// Leaves it running when this value goes; returns its folder.
    pub fn leave(mut self) -> PathBuf {
        self.child = None;
        if let Some(folder) = self.folder.take() {
            return folder.keep();
        }
        self.data.clone()
    }

    fn launch(&mut self) -> Result<()> {
        let output = File::create(self.data.join("output.log"))?;
        let mut command = Command::new(&self.program);
        command.args([
            "-regtest",
            "-server",
            "-listen=0",
            "-dnsseed=0",
            "-txindex=1",
            "-listenonion=0",
        ]);
        command.args([
            "-fallbackfee=0.00002",
            "-rpcbind=127.0.0.1",
            "-rpcallowip=127.0.0.1",
        ]);
        command.args([
            "-rpcthreads=8",
            "-rpcworkqueue=256",
            "-par=1",
            "-dbcache=16",
        ]);
        if let Some(satoshi) = self.min_relay_fee {
            command.arg(format!("-minrelaytxfee=0.{satoshi:08}"));
        }
        command
            .arg(format!("-rpcauth={RPCAUTH}"))
            .arg(format!("-rpcport={}", self.rpc_port));
        command.arg(format!("-datadir={}", self.data.display()));
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        if self.own_group {
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        let came_up = until("bitcoind answers", || {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().transpose())
            {
                bail!("bitcoind ended at its start: {}", status?);
            }
            Ok(self.rpc("getblockchaininfo", json!([])).ok())
        });
        came_up.map(drop).with_context(|| self.last_words())
    }

    fn last_words(&self) -> String {
        let files = ["output.log", "regtest/debug.log"].map(|name| self.data.join(name));
        let texts = files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok());
        let ends = texts.map(|text| text.lines().rev().take(5).collect::<Vec<_>>().join("\n"));
        format!(
            "bitcoind's last words, newest first:\n{}",
            ends.collect::<Vec<_>>().join("\n")
        )
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its folder goes with it, so there is nothing to save.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// $BITCOIND, or bitcoind on PATH, or the one that `cargo xtask setup` fetched.
///
/// # Errors
/// There is none.
pub fn program() -> Result<PathBuf> {
    if let Some(named) = env::var_os("BITCOIND") {
        return Ok(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let fetched =
        env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/bulkhead/bitcoind/bin"));
    let found = env::split_paths(&path)
        .chain(fetched)
        .map(|folder| folder.join("bitcoind"));
    found
        .into_iter()
        .find(|file| file.is_file())
        .context("no bitcoind: run `cargo xtask setup`")
}

fn text(value: Value) -> Result<String> {
    value
        .as_str()
        .map(str::to_string)
        .context("bitcoind gives a string")
}
