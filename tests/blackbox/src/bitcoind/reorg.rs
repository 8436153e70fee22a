//! A chain that does not stay as it is: blocks that take nothing, others in the place of the last ones, and a
//! mempool that forgets.

use super::Bitcoind;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;

impl Bitcoind {
    /// Mines so many blocks that take nothing of the mempool.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn mine_empty(&self, blocks: u64) -> Result<()> {
        let address = self.rpc("getnewaddress", json!([]))?;
        for _ in 0..blocks {
            self.rpc("generateblock", json!([address, []]))?;
        }
        Ok(())
    }

    /// Takes so many blocks out and mines others, one more, that take nothing. What was in them is in the mempool.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn reorganize(&self, depth: u64) -> Result<()> {
        let first = (self.height()? + 1).checked_sub(depth).context("blocks")?;
        let hash = self.rpc("getblockhash", json!([first]))?;
        self.rpc("invalidateblock", json!([hash]))?;
        self.mine_empty(depth + 1)
    }

    /// Comes back without any unconfirmed transaction.
    ///
    /// # Errors
    /// Those of [`Bitcoind::stop`] and [`Bitcoind::restart`].
    pub fn forget_mempool(&mut self) -> Result<()> {
        self.stop()?;
        fs::remove_file(self.data.join("regtest/mempool.dat"))?;
        self.restart()
    }
}
