//! A real LDK node (ldk-node) as a peer of our nodes on a real bitcoind.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use blackbox::{Bitcoind, Node, ports, until};
use ldk_node::bitcoin::Network;
use ldk_node::bitcoin::secp256k1::PublicKey;
use ldk_node::lightning::ln::msgs::SocketAddress;
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description};
use ldk_node::{Builder, Event, UserChannelId};

/// How often the event pump looks.
const PUMP: Duration = Duration::from_millis(2);

/// How and when a payment of the LDK node's ended: `None` while it is under way.
type Ends = Arc<Mutex<HashMap<[u8; 32], Option<(bool, Instant)>>>>;

/// A running LDK node, with its default store (SQLite) in a folder of its own.
pub struct Ldk {
    node: Option<Arc<ldk_node::Node>>,
    folder: tempfile::TempDir,
    port: u16,
    rpc_port: u16,
    ends: Ends,
    pump: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Ldk {
    /// Starts a new node against this bitcoind.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(bitcoind: &Bitcoind) -> Result<Ldk> {
        let mut ldk = Ldk {
            node: None,
            folder: tempfile::tempdir()?,
            port: ports::free()?,
            rpc_port: bitcoind.rpc_port(),
            ends: Ends::default(),
            pump: None,
        };
        ldk.launch()?;
        Ok(ldk)
    }

    fn launch(&mut self) -> Result<()> {
        let mut builder = Builder::new();
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
        self.pump = Some(pump(node.clone(), self.ends.clone()));
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
        lock(&self.ends).insert(hash, None);
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
        until("LDK's payment ends", || match lock(&self.ends).get(&hash) {
            Some(Some((true, at))) => Ok(Some(*at)),
            Some(Some((false, _))) => bail!("LDK's payment {} failed", hex::encode(hash)),
            Some(None) | None => Ok(None),
        })
    }

    /// How many of its payments are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        lock(&self.ends)
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

fn pump(node: Arc<ldk_node::Node>, ends: Ends) -> (Arc<AtomicBool>, JoinHandle<()>) {
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
                    lock(&ends).insert(payment_hash.0, Some((true, Instant::now())));
                }
                Event::PaymentFailed {
                    payment_hash: Some(hash),
                    ..
                } => {
                    lock(&ends).insert(hash.0, Some((false, Instant::now())));
                }
                _others => {}
            }
            let _ = node.event_handled();
        }
    });
    (ended, thread)
}
