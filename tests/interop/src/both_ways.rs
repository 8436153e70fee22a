//! HTLCs of each end, both ways, in Alice's channel with LDK, and how each of them ends on chain.

use crate::{Held, Opener, World};

/// Values in satoshi, all different, so that an output says which HTLC it is. Ours: Alice pays LDK.
pub const OURS_CLAIMED: u64 = 30_000;
pub const OURS_NEVER: u64 = 20_000;
const OURS_DUST: u64 = 201;
/// Theirs: LDK pays the merchant through Alice.
pub const THEIRS_CLAIMED: u64 = 25_000;
pub const THEIRS_NEVER: u64 = 15_000;
const THEIRS_DUST: u64 = 303;

/// Three payments from Alice to LDK, three from LDK through Alice to the merchant, all of them held.
pub struct BothWays {
    pub ours_claimed: Held,
    pub ours_never: Held,
    ours_dust: Held,
    pub theirs_claimed: Held,
    theirs_never: Held,
    theirs_dust: Held,
    /// The last block before all of ours have expired.
    pub our_expiry: u64,
    /// The last block before that of LDK's which nobody claims has.
    pub their_expiry: u64,
    /// The last block before all have expired.
    pub expiry: u64,
}

impl BothWays {
    /// # Panics
    /// A payment does not arrive.
    #[must_use]
    pub fn start(world: &World) -> BothWays {
        let mut both = BothWays {
            ours_claimed: world.alice_pays_ldk(OURS_CLAIMED),
            ours_never: world.alice_pays_ldk(OURS_NEVER),
            ours_dust: world.alice_pays_ldk(OURS_DUST),
            our_expiry: world.last_expiry(),
            theirs_claimed: world.ldk_pays_merchant(THEIRS_CLAIMED),
            theirs_never: world.ldk_pays_merchant(THEIRS_NEVER),
            theirs_dust: world.ldk_pays_merchant(THEIRS_DUST),
            their_expiry: 0,
            expiry: 0,
        };
        both.their_expiry = world.expiry_of(THEIRS_NEVER);
        both.expiry = world.last_expiry();
        both
    }

    /// LDK shows its preimage on chain, and there alone.
    ///
    /// # Panics
    /// Alice does not see it.
    pub fn ldk_claims(&self, world: &World) {
        world.ldk.claim(&self.ours_claimed).unwrap();
        self.alice_sees_the_preimage(world);
    }

    /// What LDK has claimed is proved to Alice.
    ///
    /// # Panics
    /// It is not.
    pub fn alice_sees_the_preimage(&self, world: &World) {
        world.mine_until("alice sees LDK's preimage", 20, || {
            world.attempt_is(&self.ours_claimed, "complete")
        });
    }

    /// Alice learns her preimage late, and LDK learns it from the chain.
    ///
    /// # Panics
    /// LDK does not see it.
    pub fn alice_claims(&self, world: &World) {
        world.merchant.claim(&self.theirs_claimed).unwrap();
        self.ldk_sees_the_preimage(world);
    }

    /// What the merchant has claimed is proved to LDK.
    ///
    /// # Panics
    /// It is not.
    pub fn ldk_sees_the_preimage(&self, world: &World) {
        world.mine_until("LDK sees alice's preimage", 20, || {
            Ok((world.ldk.end_of(self.theirs_claimed.hash) == Some(true)).then_some(()))
        });
    }

    /// The merchant fails what is left of LDK's, before its own channel is late.
    ///
    /// # Panics
    /// It does not.
    pub fn merchant_fails(&self, world: &World) {
        for held in [&self.theirs_never, &self.theirs_dust] {
            world.merchant.fail(held).unwrap();
        }
        world.wait_quiet_with(&world.merchant);
    }

    /// All others fail on chain: those that have an output, at their expiry.
    ///
    /// # Panics
    /// One does not.
    pub fn others_fail(&self, world: &World) {
        world.mine_to(self.expiry);
        for held in [&self.ours_never, &self.ours_dust] {
            world.mine_until("alice's payment failed", 20, || {
                world.attempt_is(held, "failed")
            });
        }
        for held in [&self.theirs_never, &self.theirs_dust] {
            world.mine_until("LDK's payment failed", 20, || {
                Ok((world.ldk.end_of(held.hash) == Some(false)).then_some(()))
            });
        }
    }

    /// Everybody has what is theirs, to the satoshi. `ours`: the commitment is Alice's.
    ///
    /// # Panics
    /// They have not.
    pub fn is_shared_out(&self, world: &World, ours: bool) {
        world.is_shared_out(ours, |commitment_fee| {
            let fee = match world.opener {
                Opener::Alice => commitment_fee - OURS_DUST - THEIRS_DUST + world.anchors(),
                Opener::Ldk => 0,
            };
            world.balance + THEIRS_CLAIMED - OURS_CLAIMED - OURS_DUST - fee
        });
        // The merchant's channel had nothing to do with it but the payment.
        let merchant = world.channel_with(&world.merchant);
        assert_eq!(merchant["state"], "CHANNELD_NORMAL");
        assert_eq!(
            merchant["to_us_msat"],
            (world.with_merchant - THEIRS_CLAIMED) * 1000
        );
    }
}
