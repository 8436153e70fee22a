//! What a payment leaves on the disk, and what of it goes again.

use std::path::Path;

use anyhow::{Context, Result};
use blackbox::node::settled;
use blackbox::{Network, Node, Options, until};
use serde_json::json;

/// Satoshi of the channel, and millisatoshi of each payment.
const CHANNEL: u64 = 16_000_000;
const PAYMENT: u64 = 1_000_000;
/// After so many blocks a closed channel is forgotten, and spent coins.
const BURIED: u32 = 110;
const SPENT_KEPT: u32 = 2_020;

/// What one node has on the disk, in bytes: its database, hsmd's journal, hsmd's audit log.
#[derive(Clone, Copy, Default)]
pub struct Sizes {
    pub database: u64,
    pub journal: u64,
    pub audit: u64,
}

/// One node's, from one time to the next.
pub struct Side {
    pub name: &'static str,
    pub before: Sizes,
    pub paid: Sizes,
    /// The channel is closed and forgotten.
    pub closed: Sizes,
    /// And the coins that its funding spent are, too.
    pub pruned: Sizes,
}

pub struct Size {
    pub payments: usize,
    pub sides: Vec<Side>,
}

pub fn measure(payments: usize) -> Result<Size> {
    eprintln!("{payments} payments, for what they leave on the disk");
    let options = Options {
        arguments: vec!["--log-level=info".into()],
        ..Options::default()
    };
    let mut network = Network::start_with(&["payer", "payee"], &options)?;
    network.open(0, 1, CHANNEL, 0)?;
    let before = at_rest(&mut network)?;
    pay(&network, payments)?;
    let paid = at_rest(&mut network)?;
    close(&network)?;
    let closed = at_rest(&mut network)?;
    for _ in 0..SPENT_KEPT / 101 {
        network.mine(101)?;
    }
    let pruned = at_rest(&mut network)?;
    let names = ["payer", "payee"].into_iter();
    let sides = names.zip(before).zip(paid).zip(closed).zip(pruned);
    let sides = sides.map(|((((name, before), paid), closed), pruned)| Side {
        name,
        before,
        paid,
        closed,
        pruned,
    });
    Ok(Size {
        payments,
        sides: sides.collect(),
    })
}

/// Stopped, so that nothing is on its way; started twice, since logs are written out at a start.
fn at_rest(network: &mut Network) -> Result<Vec<Sizes>> {
    let mut sizes = Vec::new();
    for node in &mut network.nodes {
        node.restart()?;
        node.stop()?;
        let folder = node.network_dir();
        sizes.push(Sizes {
            database: of_folder(&folder.join("db"))?,
            journal: of_folder(&folder.join("hsm-journal"))?,
            audit: of_folder(&folder.join("hsm-audit"))?,
        });
        node.launch()?;
    }
    Ok(sizes)
}

fn pay(network: &Network, payments: usize) -> Result<()> {
    let [payer, payee] = super::nodes(network)?;
    payer.wait_for_normal(payee)?;
    let at_once = 30.min(payments);
    let client = payer.client();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..at_once)
            .map(|nth| {
                let client = &client;
                scope.spawn(move || -> Result<()> {
                    let mut connection = client.connect("bench size")?;
                    for n in (nth..payments).step_by(at_once) {
                        let invoice = payee.invoice(PAYMENT, &format!("size {n}"))?;
                        connection.call("pay", json!([invoice.bolt11]))?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            let done = worker.join();
            done.map_err(|_| anyhow::anyhow!("a worker died"))??;
        }
        Ok(())
    })?;
    settled(payer, payee)?;
    Ok(())
}

fn close(network: &Network) -> Result<()> {
    let [payer, payee] = super::nodes(network)?;
    payer.wait_for_normal(payee)?;
    payer.close(payee)?;
    network.bitcoind.wait_for_mempool(1)?;
    network.mine(BURIED)?;
    let forgotten = |node: &Node| -> Result<Option<()>> {
        let listed = node.rpc("listpeerchannels", json!({}))?;
        Ok((listed["channels"] == json!([])).then_some(()))
    };
    until("the channel is forgotten", || {
        Ok(forgotten(payer)?.and(forgotten(payee)?))
    })
}

/// Of a file, or of all files in a folder.
pub fn of_folder(path: &Path) -> Result<u64> {
    let found = std::fs::metadata(path).with_context(|| format!("no {}", path.display()))?;
    if found.is_file() {
        return Ok(found.len());
    }
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        sum += of_folder(&entry?.path())?;
    }
    Ok(sum)
}
