//! What is in blocks does not stay there, or gets into none.

use anyhow::Result;
use blackbox::until;
use blackbox::wait::until_within;
use serde_json::json;

use super::{REACTION, World};

/// So deep a block is final for LDK (its ANTI_REORG_DELAY): no test takes one out.
const FINAL: u64 = 6;

impl World {
    /// The last so many blocks are out, empty ones in their place, and everybody who runs sees it.
    ///
    /// # Panics
    /// They are final for LDK, or somebody does not see it.
    pub fn reorganize(&self, depth: u64) {
        assert!(depth < FINAL, "{depth} blocks");
        self.network.bitcoind.reorganize(depth).unwrap();
        self.mine(0);
    }

    /// How deep what is in this block is: 1 in the last.
    ///
    /// # Panics
    /// There is no such block yet.
    #[must_use]
    pub fn depth(&self, height: u64) -> u64 {
        let tip = self.network.bitcoind.height().unwrap();
        (tip + 1).checked_sub(height).unwrap()
    }

    /// The block in which the commitment's output of this value was taken.
    ///
    /// # Panics
    /// No commitment is in a block, or none with such an output.
    #[must_use]
    pub fn taken(&self, satoshi: u64) -> Option<u64> {
        let tally = self.tally();
        tally.taken(&tally.commitment().txid, satoshi)
    }

    /// Mines until all of the commitment's outputs of these values are taken.
    ///
    /// # Panics
    /// One is not.
    pub fn mine_until_taken(&self, all: &[u64]) {
        self.mine_until("HTLC outputs are taken", 10, || {
            let taken = all.iter().all(|satoshi| self.taken(*satoshi).is_some());
            Ok(taken.then_some(()))
        });
    }

    /// Mines until all of these outputs are taken; a reorg takes that out of the chain, and it comes back.
    ///
    /// # Panics
    /// It does not.
    pub fn taken_twice(&self, all: &[u64]) {
        self.mine_until_taken(all);
        let first = all.iter().filter_map(|satoshi| self.taken(*satoshi)).min();
        self.reorganize(self.depth(first.unwrap()));
        for satoshi in all {
            assert_eq!(self.taken(*satoshi), None, "{satoshi} sat");
        }
        self.mine_until_taken(all);
    }

    /// Alice waits until a block has a commitment.
    ///
    /// # Panics
    /// She does not.
    pub fn alice_awaits_a_close(&self) {
        let alice = self.alice();
        alice
            .wait_for_state(&self.ldk_id, "AWAITING_UNILATERAL")
            .unwrap();
    }

    /// LDK's commitment is in the mempool, without a child, before Alice hears of anything, and LDK is gone. Its id.
    ///
    /// # Panics
    /// LDK refuses.
    #[must_use]
    pub fn ldk_leaves_its_commitment(&mut self) -> String {
        self.alice().freeze();
        self.ldk.force_close(&self.alice_id).unwrap();
        let (txid, output) = &self.funding;
        let bitcoind = &self.network.bitcoind;
        let spender = || bitcoind.spender(txid, *output);
        let commitment = until("LDK's commitment", spender).unwrap();
        self.ldk.stop().unwrap();
        let tx = bitcoind.transaction(&commitment).unwrap();
        let bitcoind = &mut self.network.bitcoind;
        bitcoind.forget_mempool().unwrap();
        let again = json!([tx["hex"]]);
        bitcoind.rpc("sendrawtransaction", again).unwrap();
        self.alice().thaw();
        commitment
    }

    /// Mines blocks that take nothing, to this height.
    ///
    /// # Panics
    /// Somebody does not see them.
    pub fn mine_empty_to(&self, height: u64) {
        let bitcoind = &self.network.bitcoind;
        let blocks = height.saturating_sub(bitcoind.height().unwrap());
        bitcoind.mine_empty(blocks).unwrap();
        self.mine(0);
    }

    /// As [`World::mine_until`], blocks that take nothing.
    ///
    /// # Panics
    /// The blocks are used up.
    pub fn mine_empty_until<T>(
        &self,
        what: &str,
        last: u64,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> T {
        loop {
            if let Ok(found) = until_within(REACTION, what, &mut look) {
                return found;
            }
            let height = self.network.bitcoind.height().unwrap();
            assert!(height < last, "{what}\n{}", self.alice().last_words());
            self.mine_empty_to(height + 1);
        }
    }
}
