//! A real LDK node (ldk-node) as a peer of our nodes on a real bitcoind.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use blackbox::{Bitcoind, Node, ports, until};
use ldk_node::bitcoin::Network;
use ldk_node::bitcoin::secp256k1::PublicKey;
use ldk_node::config::{AnchorChannelsConfig, Config};
use ldk_node::lightning::ln::msgs::SocketAddress;
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description};
use ldk_node::{Builder, Event, UserChannelId};

pub mod both_ways;
mod held;
mod world;

pub use held::Held;
pub use world::{CHANNEL, Opener, World};

/// How often the event pump looks.
const PUMP: Duration = Duration::from_millis(2);

/// What its events said.
#[derive(Default)]
struct Heard {
    /// How and when a payment of its own ended: `None` while it is under way.
    ends: HashMap<[u8; 32], Option<(bool, Instant)>>,
    /// Hashes of payments to it that it may claim.
    claimable: HashSet<[u8; 32]>,
}

type Hears = Arc<Mutex<Heard>>;

/// Which channels it opens and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// option_anchors.
    Anchors,
    /// option_static_remotekey alone.
    StaticRemotekey,
}

/// A running LDK node, with its default store (SQLite) in a folder of its own.
pub struct Ldk {
    node: Option<Arc<ldk_node::Node>>,
    folder: tempfile::TempDir,
    port: u16,
    rpc_port: u16,
    format: Format,
    hears: Hears,
    pump: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Ldk {
    /// Starts a new node against this bitcoind.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(bitcoind: &Bitcoind) -> Result<Ldk> {
        Ldk::start_with(bitcoind, Format::Anchors)
    }

    /// As [`Ldk::start`], with channels of this format.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_with(bitcoind: &Bitcoind, format: Format) -> Result<Ldk> {
        let mut ldk = Ldk {
            node: None,
            folder: tempfile::tempdir()?,
            port: ports::free()?,
            rpc_port: bitcoind.rpc_port(),
            format,
            hears: Hears::default(),
            pump: None,
        };
        ldk.launch()?;
        Ok(ldk)
    }

    /// Starts it (again) on its folder.
    ///
    /// # Errors
    /// It does not start.
    pub fn launch(&mut self) -> Result<()> {
        let mut builder = Builder::from_config(Config {
            anchor_channels_config: match self.format {
                Format::Anchors => Some(AnchorChannelsConfig::default()),
                Format::StaticRemotekey => None,
            },
            ..Config::default()
        });
        builder.set_network(Network::Regtest);
        builder.set_storage_dir_path(self.folder.path().display().to_string());
        builder.set_filesystem_logger(None, Some(ldk_node::logger::LogLevel::Debug));
        let listen = SocketAddress::TcpIpV4 {
            addr: [127, 0, 0, 1],
            port: self.port,
        };
        builder
            .set_listening_addresses(vec![listen])
            .map_err(|e| anyhow!("{e}"))?;
        builder.set_chain_source_bitcoind_rpc(
            "127.0.0.1".to_owned(),
            self.rpc_port,
            blackbox::bitcoind::USER.to_owned(),
            blackbox::bitcoind::PASSWORD.to_owned(),
        );
        let node = Arc::new(builder.build().map_err(|e| anyhow!("ldk-node: {e}"))?);
        node.start()
            .map_err(|e| anyhow!("ldk-node does not start: {e}"))?;
        self.pump = Some(pump(node.clone(), self.hears.clone()));
        self.node = Some(node);
        Ok(())
    }

    /// The node itself.
    ///
    /// # Panics
    /// While it is stopped.
    #[must_use]
    pub fn node(&self) -> &ldk_node::Node {
        self.node.as_ref().expect("the LDK node runs")
    }

    #[must_use]
    pub fn id(&self) -> PublicKey {
        self.node().node_id()
    }

    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("ldk_node.log")
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.node.is_some()
    }

    /// Dials one of our nodes, if that is not connected.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn reconnect(&self, to: &Node) -> Result<()> {
        let at = SocketAddress::TcpIpV4 {
            addr: [127, 0, 0, 1],
            port: to.port(),
        };
        let id: PublicKey = to.id()?.parse()?;
        until("LDK reaches our node", || {
            Ok(self.node().connect(id, at.clone(), true).ok())
        })
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// It does not stop.
    pub fn stop(&mut self) -> Result<()> {
        if let Some((ended, thread)) = self.pump.take() {
            ended.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
        if let Some(node) = self.node.take() {
            node.stop()
                .map_err(|e| anyhow!("ldk-node does not stop: {e}"))?;
        }
        Ok(())
    }

    /// Stops and starts it on the same folder.
    ///
    /// # Errors
    /// It does not come back.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Gives it coins on chain and waits until it sees them.
    ///
    /// # Errors
    /// It never sees them.
    pub fn fund(&self, bitcoind: &Bitcoind, satoshi: u64) -> Result<()> {
        let address = self
            .node()
            .onchain_payment()
            .new_address()
            .map_err(|e| anyhow!("{e}"))?;
        bitcoind.fund(&address.to_string(), satoshi)?;
        bitcoind.mine(6)?;
        self.wait_for("its coins", |ldk| {
            Ok(
                (ldk.node().list_balances().spendable_onchain_balance_sats >= satoshi)
                    .then_some(()),
            )
        })
    }

    /// Syncs with the chain and looks again, until there is something.
    ///
    /// # Errors
    /// Patience ends.
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Ldk) -> Result<Option<T>>,
    ) -> Result<T> {
        until(what, || {
            self.node().sync_wallets().map_err(|e| anyhow!("{e}"))?;
            look(self)
        })
    }

    /// Opens a private channel to one of our nodes.
    ///
    /// # Errors
    /// LDK refuses.
    pub fn open(&self, to: &Node, satoshi: u64, push_msat: u64) -> Result<UserChannelId> {
        let at = SocketAddress::TcpIpV4 {
            addr: [127, 0, 0, 1],
            port: to.port(),
        };
        let id: PublicKey = to.id()?.parse()?;
        self.node()
            .open_channel(id, at, satoshi, Some(push_msat), None)
            .map_err(|e| anyhow!("LDK does not open: {e}"))
    }

    /// Opens a private channel to another LDK node.
    ///
    /// # Errors
    /// LDK refuses.
    pub fn open_to(&self, to: &Ldk, satoshi: u64) -> Result<UserChannelId> {
        let at = SocketAddress::TcpIpV4 {
            addr: [127, 0, 0, 1],
            port: to.port,
        };
        self.node()
            .open_channel(to.id(), at, satoshi, None, None)
            .map_err(|e| anyhow!("LDK does not open: {e}"))
    }

    /// Closes the one channel with this node.
    ///
    /// # Errors
    /// There is none, or LDK refuses.
    pub fn close(&self, with: &Node) -> Result<()> {
        let id: PublicKey = with.id()?.parse()?;
        let channels = self.node().list_channels();
        let channel = channels
            .iter()
            .find(|c| c.counterparty_node_id == id)
            .context("no channel")?;
        self.node()
            .close_channel(&channel.user_channel_id, id)
            .map_err(|e| anyhow!("{e}"))
    }

    /// Broadcasts its newest commitment of the one channel with this node.
    ///
    /// # Errors
    /// There is none, or LDK refuses.
    pub fn force_close(&self, with: &str) -> Result<()> {
        let id: PublicKey = with.parse()?;
        let channels = self.node().list_channels();
        let channel = channels
            .iter()
            .find(|c| c.counterparty_node_id == id)
            .context("no channel")?;
        self.node()
            .force_close_channel(&channel.user_channel_id, id, None)
            .map_err(|e| anyhow!("{e}"))
    }

    /// A copy of all that it has stored, made while it does not run.
    ///
    /// # Errors
    /// It runs, or cannot be copied.
    pub fn copy_folder_to(&self, to: &Path) -> Result<()> {
        if self.node.is_some() {
            bail!("the LDK node runs");
        }
        blackbox::folder::copy(self.folder.path(), to)
    }

    /// The copy takes its folder's place, while it does not run.
    ///
    /// # Errors
    /// It runs, or cannot be copied.
    pub fn put_back_folder(&self, from: &Path) -> Result<()> {
        if self.node.is_some() {
            bail!("the LDK node runs");
        }
        for entry in std::fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            match path.is_dir() {
                true => std::fs::remove_dir_all(path)?,
                false => std::fs::remove_file(path)?,
            }
        }
        for entry in std::fs::read_dir(from)? {
            let path = entry?.path();
            let name = path.file_name().context("a name")?;
            blackbox::folder::copy(&path, &self.folder.path().join(name))?;
        }
        Ok(())
    }

    /// Waits until it has seen this height.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_height(&self, height: u64) -> Result<()> {
        self.wait_for("the tip", |ldk| {
            let seen = u64::from(ldk.node().status().current_best_block.height);
            Ok((seen >= height).then_some(()))
        })
    }

    /// Its coins on chain in satoshi, unconfirmed ones included.
    #[must_use]
    pub fn coins(&self) -> u64 {
        self.node().list_balances().total_onchain_balance_sats
    }

    /// Whether its channel with this node can be used.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn is_usable(&self, with: &Node) -> Result<bool> {
        let id: PublicKey = with.id()?.parse()?;
        Ok(self
            .node()
            .list_channels()
            .iter()
            .any(|c| c.counterparty_node_id == id && c.is_usable))
    }

    /// What of the channel with this node is the LDK node's, in millisatoshi, when nothing is pending.
    ///
    /// # Errors
    /// There is no channel.
    pub fn channel_msat(&self, with: &Node) -> Result<u64> {
        let id: PublicKey = with.id()?.parse()?;
        let channels = self.node().list_channels();
        let channel = channels
            .iter()
            .find(|c| c.counterparty_node_id == id)
            .context("no channel")?;
        // LDK shows what it can send: its balance less the reserve and, as opener, fees.
        Ok(channel.outbound_capacity_msat)
    }

    /// # Errors
    /// LDK refuses.
    pub fn invoice(&self, msat: u64, what: &str) -> Result<String> {
        let text = Description::new(what.to_owned()).map_err(|e| anyhow!("{e}"))?;
        let invoice = self
            .node()
            .bolt11_payment()
            .receive(msat, &Bolt11InvoiceDescription::Direct(text), 3600)
            .map_err(|e| anyhow!("{e}"))?;
        Ok(invoice.to_string())
    }

    /// Begins to pay; see [`Ldk::wait_paid`]. The payment hash.
    ///
    /// # Errors
    /// LDK refuses at once.
    pub fn pay(&self, bolt11: &str) -> Result<[u8; 32]> {
        let invoice: Bolt11Invoice = bolt11.parse().map_err(|e| anyhow!("{e}"))?;
        let hash: [u8; 32] = *invoice.payment_hash().as_ref();
        lock(&self.hears).ends.insert(hash, None);
        self.node()
            .bolt11_payment()
            .send(&invoice, None)
            .map_err(|e| anyhow!("LDK does not pay: {e}"))?;
        Ok(hash)
    }

    /// Waits for a payment's end.
    ///
    /// # Errors
    /// It failed, or patience ends.
    pub fn wait_paid(&self, hash: [u8; 32]) -> Result<()> {
        self.paid_at(hash).map(drop)
    }

    /// As [`Ldk::wait_paid`]; when it ended.
    ///
    /// # Errors
    /// It failed, or patience ends.
    pub fn paid_at(&self, hash: [u8; 32]) -> Result<Instant> {
        until("LDK's payment ends", || {
            match lock(&self.hears).ends.get(&hash) {
                Some(Some((true, at))) => Ok(Some(*at)),
                Some(Some((false, _))) => bail!("LDK's payment {} failed", hex::encode(hash)),
                Some(None) | None => Ok(None),
            }
        })
    }

    /// Waits until a payment has failed.
    ///
    /// # Errors
    /// It was paid, or patience ends.
    pub fn wait_failed(&self, hash: [u8; 32]) -> Result<()> {
        until("LDK's payment fails", || match self.end_of(hash) {
            Some(true) => bail!("LDK's payment {} was paid", hex::encode(hash)),
            Some(false) => Ok(Some(())),
            None => Ok(None),
        })
    }

    /// Whether a payment of its own was paid; `None` while it is under way.
    #[must_use]
    pub fn end_of(&self, hash: [u8; 32]) -> Option<bool> {
        let heard = lock(&self.hears);
        heard
            .ends
            .get(&hash)
            .copied()
            .flatten()
            .map(|(paid, _)| paid)
    }

    /// How many of its payments are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        lock(&self.hears)
            .ends
            .values()
            .filter(|end| end.is_none())
            .count()
    }
}

impl Drop for Ldk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "LDK's last words:\n{}",
                lines[lines.len().saturating_sub(30)..].join("\n")
            );
        }
        let _ = self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pump(node: Arc<ldk_node::Node>, hears: Hears) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let thread = std::thread::spawn(move || {
        while !flag.load(Ordering::Relaxed) {
            let Some(event) = node.next_event() else {
                std::thread::sleep(PUMP);
                continue;
            };
            match event {
                Event::PaymentSuccessful { payment_hash, .. } => {
                    let end = Some((true, Instant::now()));
                    lock(&hears).ends.insert(payment_hash.0, end);
                }
                Event::PaymentFailed {
                    payment_hash: Some(hash),
                    ..
                } => {
                    let end = Some((false, Instant::now()));
                    lock(&hears).ends.insert(hash.0, end);
                }
                Event::PaymentClaimable { payment_hash, .. } => {
                    lock(&hears).claimable.insert(payment_hash.0);
                }
                _others => {}
            }
            let _ = node.event_handled();
        }
    });
    (ended, thread)
}
